//! The fleet at a glance, and the hub itself with the weaknesses that are switched on.

use std::sync::atomic::Ordering;

use axum::extract::State;
use motehub_store::ChangeQuery;
use serde::Serialize;
use utoipa::ToSchema;

use super::activity::ChangeDto;
use super::extract::rfc3339;
use super::problem::ApiError;
use crate::app::App;

/// How many of the last changes the overview shows.
const ACTIVITY_SHOWN: usize = 20;
/// Until when this version gets security updates.
const SUPPORT_UNTIL: &str = "2028-12-31";

/// How many devices there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceCounts {
    /// In all.
    total: i64,
    /// With a live connection.
    online: i64,
    /// Without.
    offline: i64,
    /// With a problem.
    failing: i64,
    /// For which something waits.
    pending: i64,
    /// That may speak without a credential.
    unauthenticated: i64,
}

/// How many deployments there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentCounts {
    /// That run.
    running: i64,
}

/// The fleet at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Overview)]
pub(crate) struct OverviewDto {
    devices: DeviceCounts,
    deployments: DeploymentCounts,
    /// Points stored during the last minute.
    points_per_minute: usize,
    /// The last changes, newest first.
    activity: Vec<ChangeDto>,
}

/// The fleet at a glance.
#[utoipa::path(get, path = "/api/v1/overview", tag = "overview", responses((status = 200, body = OverviewDto)))]
pub(crate) async fn overview(State(app): State<App>) -> Result<axum::Json<OverviewDto>, ApiError> {
    let counted = app.store.overview().await?;
    let query = ChangeQuery { limit: ACTIVITY_SHOWN, newest_first: true, ..ChangeQuery::default() };
    let activity = app.store.changes(query).await?.into_iter().map(ChangeDto::from).collect();
    Ok(axum::Json(OverviewDto {
        devices: DeviceCounts {
            total: counted.total,
            online: counted.online,
            offline: counted.total - counted.online,
            failing: counted.failing,
            pending: counted.pending,
            unauthenticated: counted.unauthenticated,
        },
        deployments: DeploymentCounts { running: counted.running_deployments },
        points_per_minute: app.points.per_minute(app.now()),
        activity,
    }))
}

/// A weakness that is switched on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Weakness {
    /// Stable, for programs.
    code: &'static str,
    /// What it means and how to end it.
    sentence: String,
}

/// The hub itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SystemDto {
    /// Of the program.
    version: &'static str,
    /// When it started.
    started_at: String,
    /// The port of MQTT over TCP, for the settings of boards.
    mqtt_port: u16,
    /// What is switched on that makes it weaker.
    weaknesses: Vec<Weakness>,
    /// Until when this version gets security updates.
    support_until: &'static str,
}

/// The hub itself, with the weaknesses that are switched on.
#[utoipa::path(get, path = "/api/v1/system", tag = "overview", responses((status = 200, body = SystemDto)))]
pub(crate) async fn system(State(app): State<App>) -> Result<axum::Json<SystemDto>, ApiError> {
    let mut weaknesses = Vec::new();
    let open = &app.settings.mqtt_anonymous;
    if !open.is_empty() {
        let filters = open.iter().map(|filter| filter.as_str()).collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "MQTT clients without credentials may use {filters}; leave out --mqtt-anonymous to end that"
        );
        weaknesses.push(Weakness { code: "mqtt_anonymous", sentence });
    }
    let unauthenticated = app.store.overview().await?.unauthenticated;
    if unauthenticated > 0 {
        let sentence = format!(
            "{unauthenticated} devices may speak without a credential: whoever knows the chip id can speak for them; \
             give them the secret path and switch it off on the device page"
        );
        weaknesses.push(Weakness { code: "unauthenticated_devices", sentence });
    }
    if !app.settings.mqtt.ip().is_loopback() {
        let sentence =
            "MQTT without encryption listens beyond this machine: credentials can be read on the way; \
            use --mqtt-tls where the devices can"
                .to_owned();
        weaknesses.push(Weakness { code: "mqtt_plain", sentence });
    }
    if !app.settings.http.ip().is_loopback() {
        let sentence =
            "the dashboard listens beyond this machine without encryption: put a TLS proxy in front, \
            or keep it in a network that you trust"
                .to_owned();
        weaknesses.push(Weakness { code: "http_plain", sentence });
    }
    Ok(axum::Json(SystemDto {
        version: env!("CARGO_PKG_VERSION"),
        started_at: rfc3339(app.started_at),
        mqtt_port: app.mqtt_port.load(Ordering::Relaxed),
        weaknesses,
        support_until: SUPPORT_UNTIL,
    }))
}
