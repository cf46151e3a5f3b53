//! `/metrics`: what was counted, for Prometheus.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::access::Permission;

use crate::api;
use crate::app::App;

/// Metrics in the Prometheus text format, for callers on this machine and for those who may see the fleet.
pub(crate) async fn metrics(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let is_forwarded =
        ["x-forwarded-for", "forwarded", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
    if !peer.ip().to_canonical().is_loopback() || is_forwarded {
        let caller =
            api::caller(&app, &method, &headers).await.and_then(|caller| caller.must(Permission::See));
        if let Err(error) = caller {
            return error.into_response();
        }
    }
    let mut text = app.metrics.render();
    match app.store.overview().await {
        Ok(overview) => {
            text.push_str(&format!("# TYPE motehub_devices gauge\nmotehub_devices {}\n", overview.total));
            text.push_str(&format!(
                "# TYPE motehub_devices_online gauge\nmotehub_devices_online {}\n",
                overview.online
            ));
        }
        Err(error) => tracing::warn!(%error, "devices could not be counted for the metrics"),
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// One recorder per process, however many hubs a test starts in it.
pub(crate) fn recorder() -> metrics_exporter_prometheus::PrometheusHandle {
    static RECORDER: Mutex<Option<metrics_exporter_prometheus::PrometheusHandle>> = Mutex::new(None);
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    recorder
        .get_or_insert_with(|| {
            let made = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
            let handle = made.handle();
            let _ = metrics::set_global_recorder(made);
            metrics::counter!("motehub_panics_total").increment(0);
            handle
        })
        .clone()
}
