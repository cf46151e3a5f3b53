//! A file on its way in, as the body of a request.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use crate::api::extract::{MIB, THROWN_AWAY_MAX};
use crate::api::problem::ApiError;

/// How long a file may take to arrive.
const ARRIVE_MAX: Duration = Duration::from_secs(60);

/// What is taken.
pub(super) struct Expected {
    /// What it is, in sentences: "table".
    pub(super) noun: &'static str,
    /// How it is written, in sentences: "CSV".
    pub(super) name: &'static str,
    /// The content type of that.
    pub(super) kind: &'static str,
    /// How large it may be.
    pub(super) mebibytes_max: usize,
    /// What to do with a larger one, as the end of a sentence.
    pub(super) or_else: &'static str,
}

impl Expected {
    /// It did not arrive, or is none.
    pub(super) fn unreadable(&self) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid", format!("the {} cannot be read", self.noun))
    }

    fn too_large(&self) -> ApiError {
        let Self { noun, mebibytes_max, or_else, .. } = self;
        let detail = format!("the {noun} has at most {mebibytes_max} MiB{or_else}");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    fn is_said(&self, headers: &HeaderMap) -> bool {
        let kind =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(self.kind))
    }
}

/// The bytes of a file. One that is too large is refused at once if the sender waits to be told so, and else read to
/// its end: a sender that is still sending would not see the answer.
pub(super) async fn whole(request: Request, expected: &Expected) -> Result<Vec<u8>, ApiError> {
    let Expected { noun, name, kind, mebibytes_max, .. } = expected;
    let bytes_max = mebibytes_max * MIB;
    let (head, mut body) = request.into_parts();
    if !expected.is_said(&head.headers) {
        let detail = format!("send the {noun} as {name}, with Content-Type: {kind}");
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", detail));
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length: usize = length.and_then(|value| value.parse().ok()).unwrap_or(0);
    if length > bytes_max && (head.headers.contains_key(header::EXPECT) || length > THROWN_AWAY_MAX) {
        return Err(expected.too_large());
    }
    let mut bytes = Vec::with_capacity(length.min(bytes_max));
    let mut size = 0;
    let arriving = tokio::time::timeout(ARRIVE_MAX, async {
        while let Some(frame) = body.frame().await {
            let data = frame.map_err(|_| expected.unreadable())?.into_data().unwrap_or_default();
            size += data.len();
            if size > THROWN_AWAY_MAX {
                return Err(expected.too_large());
            }
            if size <= bytes_max {
                bytes.extend_from_slice(&data);
            } else {
                bytes = Vec::new();
            }
        }
        Ok(())
    });
    arriving.await.map_err(|_| {
        let detail = format!("the {noun} did not arrive within a minute");
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid", detail)
    })??;
    if size > bytes_max { Err(expected.too_large()) } else { Ok(bytes) }
}
