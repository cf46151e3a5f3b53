//! `/metrics`: what was counted, for Prometheus.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::access::Permission;

use crate::api;
use crate::app::App;
use crate::cluster::{VERSION, Work};

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
    text.push_str(&of_node(&app));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// What is told of this node alone.
fn of_node(app: &App) -> String {
    let cluster = &app.cluster;
    let is_away = |code: &str| cluster.troubles().iter().any(|trouble| trouble.code == code);
    let mut text = format!(
        "# TYPE motehub_node_info gauge\nmotehub_node_info{{node=\"{}\",version=\"{VERSION}\"}} 1\n",
        cluster.node()
    );
    let gauges: [(&str, f64); 6] = [
        ("motehub_node_ready", f64::from(u8::from(!cluster.is_draining() && cluster.troubles().is_empty()))),
        ("motehub_store_up", f64::from(u8::from(!is_away("store_away")))),
        ("motehub_bus_up", f64::from(u8::from(!is_away("bus_away")))),
        ("motehub_nodes_alive", (cluster.others().len() + 1) as f64),
        ("motehub_clock_ahead_seconds", cluster.ahead().0 as f64 / 1000.0),
        ("motehub_messages_per_second", cluster.messages_per_second()),
    ];
    for (name, value) in gauges {
        text.push_str(&format!("# TYPE {name} gauge\n{name} {value}\n"));
    }
    text.push_str("# TYPE motehub_lease_held gauge\n");
    for work in Work::ALL {
        let held = u8::from(cluster.holds(work));
        text.push_str(&format!("motehub_lease_held{{work=\"{}\"}} {held}\n", work.as_str()));
    }
    text
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
