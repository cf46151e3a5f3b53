//! What comes in with a request: JSON bodies, queries and path parts, refused with a problem that says why.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::Timestamp;
use motehub_domain::id::Id;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use serde::de::DeserializeOwned;

use super::problem::ApiError;

/// How much of a body that is too large is read and thrown away, so that the sender sees the answer.
pub(crate) const THROWN_AWAY_MAX: usize = 128 * MIB;
/// A mebibyte.
pub(crate) const MIB: usize = 1024 * 1024;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(match &rejection {
                JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body has at most 1 MiB")
                }
                JsonRejection::MissingJsonContentType(_) => ApiError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "invalid",
                    "send the body as JSON, with Content-Type: application/json",
                ),
                _ => ApiError::new(StatusCode::BAD_REQUEST, "invalid", rejection.body_text()),
            }),
        }
    }
}

/// The query part of the address.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid", rejection.body_text())),
        }
    }
}

/// Reads an id out of a path; what is no id names nothing.
pub(crate) fn id<Kind>(noun: &str, text: &str) -> Result<Id<Kind>, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(noun, text.chars().take(40).collect::<String>()))
}

/// Reads a time: milliseconds since 1970, or RFC 3339.
pub(crate) fn time(field: &str, text: &str) -> Result<Time, ApiError> {
    if let Ok(ms) = text.parse() {
        return Ok(Time(ms));
    }
    text.parse::<Timestamp>().map(|at| Time(at.as_millisecond())).map_err(|_| {
        Rejection::invalid(
            field,
            "a time is milliseconds since 1970 or RFC 3339, such as 2026-11-21T02:30:00Z",
        )
        .into()
    })
}

/// Writes a time as RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: Time) -> String {
    match Timestamp::from_millisecond(time.0) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => time.0.to_string(),
    }
}

/// Which part of a long list is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// How many to leave out.
    pub(crate) offset: usize,
    /// How many at most.
    pub(crate) limit: usize,
}

/// Largest page.
const PAGE_MAX: usize = 1000;

impl Page {
    /// Checks what was asked; 50 items by default.
    pub(crate) fn new(offset: Option<usize>, limit: Option<usize>) -> Result<Self, ApiError> {
        let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(50));
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(
                Rejection::invalid("limit", format!("offset from 0, limit from 1 to {PAGE_MAX}")).into()
            );
        }
        Ok(Self { offset, limit })
    }
}
