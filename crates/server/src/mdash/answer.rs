//! What the API of mDash answers: plain JSON, and errors as `{"code":404,"message":"…"}`.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::perform::Failure;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow;
use motehub_store::StoreError;

/// A request that is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) message: String,
}

impl Refusal {
    /// With the code of the status.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: i64::from(status.as_u16()), message: message.into() }
    }
    /// What is not there, or not for this caller.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
    /// Nobody known.
    pub(super) fn unauthenticated() -> Self {
        let how = "log in by Basic, send an API key as Authorization: Bearer, or as access_token";
        Self::new(StatusCode::UNAUTHORIZED, how)
    }
    /// A body that is not what it should be.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let (status, message) = error.into_parts();
        Self::new(status, message)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        ApiError::from(failure).into()
    }
}

impl From<shadow::Refusal> for Refusal {
    fn from(refusal: shadow::Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, refusal.to_string())
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        ApiError::from(rejection).into()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let mut response = (status, axum::Json(json!({ "code": code, "message": message }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let how = header::HeaderValue::from_static("Basic realm=\"motehub\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}

/// A body: JSON whatever its type is said to be, because `curl -d '{}'` says that it is a form; null without one.
pub(super) struct Body(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| Refusal::new(error.status(), "the body is too large"))?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Value::Null));
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Refusal::invalid(format!("the body is JSON: {error}"))),
        }
    }
}
