//! Errors of the API: `application/problem+json` (RFC 9457) with a stable code and a sentence.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use motehub_domain::rejection::{Rejection, RejectionKind};
use motehub_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::perform::Failure;

/// The content type of a problem.
const PROBLEM_TYPE: &str = "application/problem+json";
/// Longest sentence that is taken over from the HTTP library.
const DETAIL_BYTES_MAX: usize = 500;

/// What the API answers when it does not do what was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable, `snake_case`, for programs.
    code: &'static str,
    /// What was wrong and what to do, for people.
    detail: String,
    /// The field that was wrong, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The line of a script that does not compile.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<i64>,
    /// Where in a selector the mistake is, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    line: Option<i64>,
    position: Option<usize>,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    /// Any status with a code and a sentence.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            field: None,
            line: None,
            position: None,
            retry_after_seconds: None,
        }
    }
    /// Nobody known.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "log in, or send Authorization: Bearer TOKEN")
    }
    /// Something that does not exist.
    pub(crate) fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Rejection::not_found(noun, name).into()
    }
    /// The line of a script that is wrong.
    pub(crate) fn at_line(mut self, line: i64) -> Self {
        self.line = Some(line);
        self
    }
    /// Status and sentence, for answers of another form.
    pub(crate) fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.detail)
    }
    /// Whether a field was wrong.
    pub(crate) fn is_invalid(&self) -> bool {
        self.code == "invalid"
    }
    /// When to try again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match (rejection.kind, rejection.code) {
            (_, "script_syntax") => StatusCode::UNPROCESSABLE_ENTITY,
            (RejectionKind::Invalid, _) => StatusCode::BAD_REQUEST,
            (RejectionKind::NotFound, _) => StatusCode::NOT_FOUND,
            (RejectionKind::Conflict, _) => StatusCode::CONFLICT,
            (RejectionKind::Forbidden, _) => StatusCode::FORBIDDEN,
            (RejectionKind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let names_field = matches!(rejection.kind, RejectionKind::Invalid | RejectionKind::TooLarge);
        let field =
            rejection.sentence.split_once(": ").filter(|_| names_field).map(|(field, _)| field.to_owned());
        let position = rejection.position;
        Self { field, position, ..Self::new(status, rejection.code, rejection.sentence) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let sentence = error.to_string();
        match error {
            StoreError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "stale",
                "it was changed by somebody else meanwhile: load it again",
            ),
            StoreError::Taken { field } => {
                let code = if field == "external_id" { "external_id_taken" } else { "name_taken" };
                Self::new(StatusCode::CONFLICT, code, format!("{field}: it is taken already, choose another"))
            }
            StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "unavailable",
                "the disk is full: nothing was changed; free some space and try again",
            ),
            StoreError::Unavailable(_)
            | StoreError::Newer { .. }
            | StoreError::Foreign
            | StoreError::Unfinished
            | StoreError::Damaged { .. } => {
                tracing::error!(error = sentence, "the store did not answer");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the store does not answer at present: nothing was changed; try again, and look into the log",
                )
            }
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Store(error) => error.into(),
        }
    }
}

/// What is true of every answer below `/api/`, also of those that no handler of ours gave: no cache keeps it, and
/// a refusal is a problem.
pub(crate) async fn answers(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    if !is_api {
        return response;
    }
    if response.status().is_client_error() && !is_problem(&response) {
        response = to_problem(response).await;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_TYPE)
}

async fn to_problem(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let said = axum::body::to_bytes(body, DETAIL_BYTES_MAX).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let (code, sentence) = match parts.status {
        StatusCode::NOT_FOUND => ("not_found", "there is no such address: see /api/v1/openapi.json"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method_not_allowed", "this address has other methods: see the header Allow")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body has at most 1 MiB"),
        _ => ("invalid", "the request is not what this address takes"),
    };
    let detail = if code == "invalid" && !said.is_empty() { said } else { sentence.to_owned() };
    let mut problem = ApiError::new(parts.status, code, detail).into_response();
    if let Some(allowed) = parts.headers.get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    problem
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
            field: self.field,
            line: self.line,
            position: self.position,
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
