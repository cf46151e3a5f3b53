//! Whether a balancer may send clients here. `/healthz` says only that the process lives.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::rfc3339;
use crate::app::App;

/// How long the store may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a node of several that ends goes on serving, so that balancers see that it is not ready any more.
const NOTICE: Duration = Duration::from_secs(2);

/// 200 if the store and the bus answer and the node does not end; else 503 and what is wrong, since when.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let mut troubles = app.cluster.troubles();
    let asked = tokio::time::timeout(ANSWER_MAX, app.store.note("hub")).await;
    let is_store_here = matches!(asked, Ok(Ok(_)));
    if is_store_here {
        troubles.retain(|trouble| trouble.code != "store_away");
    }
    let is_known = troubles.iter().any(|trouble| trouble.code == "store_away");
    let mut why: Vec<_> = troubles
        .iter()
        .map(|trouble| json!({ "code": trouble.code, "since": trouble.since.map(rfc3339) }))
        .collect();
    if !is_store_here && !is_known {
        why.push(json!({ "code": "store_away", "since": null }));
    }
    if app.cluster.is_draining() {
        why.push(json!({ "code": "draining", "since": null }));
    }
    // A clock that is wrong is to be seen to, and is no reason to send clients away.
    let is_ready = why.iter().all(|why| why["code"] == "clock");
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": is_ready, "node": app.cluster.node(), "why": why }).to_string() + "\n";
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

/// The node ends: it is not ready from now on, and where there are others clients have a moment to be sent to them.
pub(super) async fn drain(app: &App) {
    app.cluster.drain();
    // One that came just now is in the store only.
    let asked = tokio::time::timeout(ANSWER_MAX, app.cluster.was_another_there(&app.store, app.now())).await;
    if matches!(asked, Ok(Ok(true))) || !app.cluster.others().is_empty() {
        tracing::info!("this node is not ready any more and ends");
        tokio::time::sleep(NOTICE).await;
    }
}
