//! Devices that say where they are.

use axum::extract::State;
use motehub_store::Placed;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::ApiError;
use crate::app::App;

/// Most devices on one map.
const POSITIONS_MAX: usize = 2_000;

/// A device and where it says that it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Position {
    /// Its id.
    device: String,
    /// Its name.
    name: String,
    /// `online`, `offline`, or `unreachable`: the link to its gateway is lost.
    reach: &'static str,
    /// Degrees to the north, -90 to 90.
    lat: f64,
    /// Degrees to the east, -180 to 180.
    lng: f64,
}

/// Devices that say where they are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionList {
    /// By name.
    items: Vec<Position>,
    /// Whether there are more than these.
    more: bool,
}

/// The devices that report a `position`, by name; the first 2000.
#[utoipa::path(get, path = "/api/v1/positions", tag = "positions", responses((status = 200, body = PositionList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<PositionList>, ApiError> {
    let (placed, more) = app.store.positions(POSITIONS_MAX).await?;
    let items = placed.into_iter().map(|Placed { device, name, reach, position }| Position {
        device: device.to_string(),
        name,
        reach: reach.as_str(),
        lat: position.latitude,
        lng: position.longitude,
    });
    Ok(axum::Json(PositionList { items: items.collect(), more }))
}
