//! How AWS refuses: a status, the kind of error in a header, by which SDKs choose the exception that they raise, and a
//! body with a sentence.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::shadow;
use motehub_domain::time::Time;
use motehub_store::StoreError;
use serde_json::json;

use crate::perform::Failure;

/// The header with the kind of error.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// A request that is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), retry_after_seconds: None }
    }
    /// Nobody shows who they are.
    pub(super) fn missing_token() -> Self {
        let how = "Missing Authentication Token";
        Self::new(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", how)
    }
    /// A signature that is not written as it should be.
    pub(super) fn incomplete(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "IncompleteSignatureException", message)
    }
    /// One answer for an access key that nobody has, was revoked or has expired, and for a wrong signature.
    pub(super) fn wrong_signature() -> Self {
        let sentence = "The request signature we calculated does not match the signature you provided. \
            Check your AWS Secret Access Key and signing method.";
        Self::new(StatusCode::FORBIDDEN, "InvalidSignatureException", sentence)
    }
    /// A signature of another time.
    pub(super) fn out_of_time() -> Self {
        let sentence = "Signature expired, or not yet current: the clocks differ by more than 15 minutes";
        Self::new(StatusCode::FORBIDDEN, "InvalidSignatureException", sentence)
    }
    /// Whoever asks may not.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden")
    }
    /// Something in the address is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message)
    }
    /// The body is too large, or was cut off.
    pub(super) fn too_large() -> Self {
        of_shadow(&shadow::Refusal::TooLarge)
    }
    /// Too many tries, or too much at once.
    pub(super) fn wait(seconds: u64) -> Self {
        let slower = Self::new(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", "Rate exceeded");
        Self { retry_after_seconds: Some(seconds), ..slower }
    }
    /// The address has other methods.
    pub(super) fn method_not_allowed() -> Self {
        let sentence = "The specified combination of HTTP verb and URI is not supported";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException", sentence)
    }
    /// There is no such address.
    pub(super) fn unknown_operation() -> Self {
        let sentence = "There is no such operation: shadows are at /things/THING/shadow";
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", sentence)
    }
    fn unavailable() -> Self {
        let sentence = "Service is unavailable at present: nothing was changed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", sentence)
    }
}

fn of_shadow(refusal: &shadow::Refusal) -> Refusal {
    let status = StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = match refusal.code() {
        401 => "UnauthorizedException",
        403 => "ForbiddenException",
        404 => "ResourceNotFoundException",
        409 => "ConflictException",
        413 => "RequestEntityTooLargeException",
        415 => "UnsupportedDocumentEncodingException",
        429 => "ThrottlingException",
        500 => "InternalFailureException",
        _ => "InvalidRequestException",
    };
    Refusal::new(status, kind, refusal.to_string())
}

/// The refusal of something about a shadow, with the token by which the asker knows it.
pub(super) fn rejected(refusal: &shadow::Refusal, token: Option<&str>, now: Time) -> Response {
    let body = axum::Json(shadow::rejected(refusal, token, now));
    let Refusal { status, kind, .. } = of_shadow(refusal);
    (status, [(ERROR_TYPE, kind)], body).into_response()
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store did not answer");
        Self::unavailable()
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => Self::invalid(rejection.to_string()),
            Failure::Store(error) => error.into(),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = axum::Json(json!({ "code": self.status.as_u16(), "message": self.message }));
        let mut response = (self.status, [(ERROR_TYPE, self.kind)], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
