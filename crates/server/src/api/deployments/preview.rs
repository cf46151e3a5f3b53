//! Whom a deployment would reach, before anything is done.

use std::collections::HashMap;

use axum::extract::State;
use motehub_domain::deployment::Target;
use motehub_domain::id::DeviceId;
use motehub_store::{DeviceQuery, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::devices::DeviceList;
use super::super::extract::Body;
use super::super::problem::{ApiError, Problem};
use super::super::selectors;
use super::brought::Brought;
use super::{Meant, resolve, token};
use crate::app::App;

/// How many devices a preview shows.
const PREVIEW_SHOWN: usize = 20;

/// A device that a deployment would not reach.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeftOut {
    /// Id of the device.
    device: String,
    /// Its name.
    name: String,
    /// Why.
    reason: String,
}

/// Whom a deployment would reach.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentPreview {
    /// The first 20 devices that are meant, and how many there are in all.
    #[serde(flatten)]
    devices: DeviceList,
    /// The first 20 of those that lack something that the script requires, or have another platform.
    left_out: Vec<LeftOut>,
    /// How many there are of those.
    left_out_total: usize,
    /// Stands for exactly these devices: send it with the deployment or the command.
    token: String,
}

/// The first of the devices that lack something, with their names, in the order of `devices`.
async fn named(
    app: &App,
    devices: &[DeviceId],
    lacking: &HashMap<DeviceId, String>,
    limit: usize,
) -> Result<Vec<LeftOut>, StoreError> {
    let first: Vec<DeviceId> =
        devices.iter().filter(|device| lacking.contains_key(device)).take(limit).copied().collect();
    let name = |target: Target| {
        let reason = lacking.get(&target.device.id).cloned().unwrap_or_default();
        LeftOut { device: target.device.id.to_string(), name: target.device.name, reason }
    };
    Ok(app.store.targets(&first).await?.into_iter().map(name).collect())
}

/// Whom a deployment would reach: a selector or ids, and which script.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// A condition such as `tag=kitchen and online`.
    selector: Option<String>,
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// Id of the script, to learn which devices lack something that it requires.
    script: Option<String>,
    /// Id of the firmware, to learn which devices have another platform.
    firmware: Option<String>,
}

/// Which devices are meant, before anything is done to them.
#[utoipa::path(post, path = "/api/v1/deployments/preview", tag = "deployments", request_body = Wanted,
    responses((status = 200, body = DeploymentPreview), (status = 400, body = Problem)))]
pub(crate) async fn preview(
    State(app): State<App>,
    Body(wanted): Body<Wanted>,
) -> Result<axum::Json<DeploymentPreview>, ApiError> {
    let Wanted { selector, devices, script, firmware } = wanted;
    let meant = Meant { selector, devices };
    let ids = resolve(&app, &meant).await?;
    let lacking = match (script, firmware) {
        (None, None) => HashMap::new(),
        (script, firmware) => {
            let brought = Brought::asked(&app, script.as_deref(), firmware.as_deref()).await?;
            brought.refused(&app, &ids).await?
        }
    };
    let left_out = named(&app, &ids, &lacking, PREVIEW_SHOWN).await?;
    let devices = previewed(&app, &meant, &ids).await?;
    Ok(axum::Json(DeploymentPreview { devices, left_out, left_out_total: lacking.len(), token: token(&ids) }))
}

async fn previewed(app: &App, meant: &Meant, ids: &[DeviceId]) -> Result<DeviceList, ApiError> {
    if let Some(selector) = &meant.selector {
        let selector = Some(selectors::read(app, selector).await?);
        let now = app.now();
        let query = DeviceQuery { selector, now, limit: PREVIEW_SHOWN, ..DeviceQuery::default() };
        let (views, total) = app.store.devices(query).await?;
        return Ok(DeviceList::new(views, total));
    }
    let mut views = Vec::new();
    for id in ids.iter().take(PREVIEW_SHOWN) {
        views.extend(app.store.device_view(*id).await?);
    }
    Ok(DeviceList::new(views, i64::try_from(ids.len()).unwrap_or(i64::MAX)))
}
