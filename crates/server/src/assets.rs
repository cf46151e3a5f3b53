//! The dashboard and the phone app, embedded in the binary, and the headers every page carries.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dashboard;

/// Shown when the program was built without the dashboard.
const WITHOUT_DASHBOARD: &str = include_str!("assets/without-dashboard.html");

/// No script but our own, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// What the phone app may do besides: call a new device that the phone is in the Wi-Fi of.
const PHONE_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self' http://192.168.4.1; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

/// Everything that is no other route: a file of the dashboard or the phone app, or the one page of each.
pub(crate) fn routes() -> Router {
    Router::new().fallback(page)
}

async fn page(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if method != Method::GET && method != Method::HEAD || path.starts_with("api/") {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    if let Some(file) = Dashboard::get(path) {
        return answer(path, file);
    }
    if path.rsplit('/').next().is_some_and(|name| name.contains('.')) {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    // The phone app lives in a folder, which is as far as its service worker reaches.
    if path == "app" {
        return Redirect::permanent("/app/").into_response();
    }
    let index = if path.starts_with("app/") { "app/index.html" } else { "index.html" };
    match Dashboard::get(index) {
        Some(file) => answer(index, file),
        None => Html(WITHOUT_DASHBOARD).into_response(),
    }
}

fn answer(path: &str, file: EmbeddedFile) -> Response {
    let lasts = path.starts_with("assets/");
    let cache = if lasts { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
    ];
    (headers, Body::from(file.data.into_owned())).into_response()
}

/// The middleware that adds the headers.
pub(crate) async fn with_headers(request: Request, next: Next) -> Response {
    let policy = if request.uri().path().starts_with("/app/") { PHONE_POLICY } else { POLICY };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
