//! The bytes of an artifact as the answer to a request, in whole or a range of them.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::artifact::Digest;
use motehub_protocol::native::said::digest_text;

use crate::hub::{Hub, UplinkError};

/// How much of an artifact is read at once.
const PART_BYTES: usize = 256 * 1024;

/// What of an artifact of this size was asked for.
pub(super) fn answer(hub: Arc<dyn Hub>, digest: Digest, size: usize, asked: &HeaderMap) -> Response {
    let range = asked.get(header::RANGE).and_then(|value| value.to_str().ok());
    let common = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{}\"", digest_text(digest))),
    ];
    match range.and_then(|range| asked_range(range, size)) {
        None => {
            let length = [(header::CONTENT_LENGTH, size.to_string())];
            (StatusCode::OK, common, length, parts(hub, digest, 0..size)).into_response()
        }
        Some(Err(())) => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()
        }
        Some(Ok((first, last))) => {
            let place = [
                (header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
                (header::CONTENT_LENGTH, (last + 1 - first).to_string()),
            ];
            (StatusCode::PARTIAL_CONTENT, common, place, parts(hub, digest, first..last + 1)).into_response()
        }
    }
}

/// Some of the bytes of an artifact, a part at a time: firmware is large, and many devices fetch it at once.
fn parts(hub: Arc<dyn Hub>, digest: Digest, whole: Range<usize>) -> Body {
    let parts = futures_util::stream::try_unfold((hub, whole), move |(hub, rest)| async move {
        if rest.is_empty() {
            return Ok::<_, UplinkError>(None);
        }
        let part = rest.start..rest.end.min(rest.start + PART_BYTES);
        let bytes = hub.artifact_part(digest, part.clone()).await?;
        Ok(Some((bytes, (hub, part.end..rest.end))))
    });
    Body::from_stream(parts)
}

/// The first and last byte of a range (RFC 9110 section 14.1.2): `None` if it is none that is known here, so that all
/// is sent; an error if it lies beyond the end.
fn asked_range(text: &str, length: usize) -> Option<Result<(usize, usize), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1);
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => {
            let suffix: usize = suffix.parse().ok()?;
            (length.saturating_sub(suffix), end.filter(|_| suffix > 0))
        }
        (first, "") => (first.parse().ok()?, end),
        (first, last) => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, end.map(|end| end.min(last)))
        }
    };
    match range {
        (first, Some(last)) if first <= last => Some(Ok((first, last))),
        _ => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_standard() {
        let cases = [
            ("bytes=0-3", Some(Ok((0, 3)))),
            ("bytes=4-", Some(Ok((4, 9)))),
            ("bytes=4-400", Some(Ok((4, 9)))),
            ("bytes=-3", Some(Ok((7, 9)))),
            ("bytes=-30", Some(Ok((0, 9)))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=10-12", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=a-b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(asked_range(text, 10), expected, "{text}");
        }
        assert_eq!(asked_range("bytes=0-", 0), Some(Err(())));
    }
}
