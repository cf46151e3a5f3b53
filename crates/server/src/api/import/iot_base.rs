//! Import of what the dashboard of IoT base keeps, in both of its schemas: units and devices, their history, and the
//! blocks of its page. What is here already stays as it is, so that an import can be repeated.

mod dump;
mod file;
mod page;
mod plan;
mod table;

use std::collections::HashMap;

use axum::extract::{Extension, Request, State};
use motehub_domain::device::Dialect;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value as SelectorValue};
use motehub_store::Measured;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::arriving::{self, Expected};
use super::entry::{EntryError, Imported, nothing_done};
use super::skips;
use crate::api::access::Caller;
use crate::api::dashboards;
use crate::api::extract::Query;
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use file::File;
use plan::Here;

/// What is taken.
const FILE: Expected = Expected {
    noun: "file",
    name: "text",
    kind: "text/plain",
    mebibytes_max: 32,
    or_else: ": dump units, devices, device_states and dashboard_blocks alone, and a part of device_states after the \
              other with devices in each",
};
/// How many points are stored at once.
const POINTS_AT_ONCE: usize = 5_000;

/// How something is imported.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct IotBaseQuery {
    /// Changes nothing; says what would be.
    #[serde(default)]
    dry_run: bool,
    /// What happens if rows are wrong: `stop` takes nothing (the default), `skip` takes the good ones.
    on_error: Option<String>,
    /// How many minutes the times of the file are ahead of UTC; 0, as in a dump, if left out.
    #[serde(default)]
    #[param(minimum = -1439, maximum = 1439)]
    offset_minutes: i32,
}

/// How much is made.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct IotBaseMade {
    /// Devices of the dialect `line`.
    devices: usize,
    /// Dashboards: one, if the file has blocks of it.
    dashboards: usize,
}

/// What comes of the file.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct IotBaseReport {
    /// How much of it is made.
    made: IotBaseMade,
    /// How many devices and dashboards are here already.
    known: usize,
    /// How many points the history of the devices has; those that are here already are not stored twice.
    points: usize,
    /// The good entries, at most 1000 of them.
    entries: Vec<Imported>,
    /// How many entries are good.
    entries_total: usize,
    /// The wrong ones, at most 1000 of them.
    errors: Vec<EntryError>,
    /// How many are wrong.
    errors_total: usize,
}

/// Imports what the dashboard of IoT base keeps: a dump of MySQL or MariaDB, or its tables as CSV with the names of
/// their columns, one behind the other.
#[utoipa::path(post, path = "/api/v1/import/iot-base", tag = "import", params(IotBaseQuery),
    request_body(content = String, description = "The dump, or the tables", content_type = "text/plain"),
    responses((status = 200, body = IotBaseReport), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn iot_base(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<IotBaseQuery>,
    request: Request,
) -> Result<axum::Json<IotBaseReport>, ApiError> {
    let skips = skips(query.on_error.as_deref())?;
    let bytes = arriving::whole(request, &FILE).await?;
    let read = tokio::task::spawn_blocking(move || file::read(&bytes, query.offset_minutes));
    let file = read.await.map_err(|_| FILE.unreadable())??;
    let here = here(&app, &caller, &file).await?;
    let (editor, now) = (dashboards::editor(&caller), app.now());
    let planned = tokio::task::spawn_blocking(move || plan::plan(file, here, &editor, now));
    let planned = planned.await.map_err(|_| FILE.unreadable())?;
    let report = planned.report;
    if query.dry_run {
        return Ok(axum::Json(report));
    }
    if let Some(first) = report.errors.first().filter(|_| !skips) {
        let count = report.entries_total + report.errors_total;
        return Err(nothing_done(report.errors_total, count, first));
    }
    app.perform(planned.effects).await?;
    // What was long ago is no news: neither rules nor flows hear of it.
    for (device, points) in planned.histories {
        for points in points.chunks(POINTS_AT_ONCE) {
            let points = points.to_vec();
            let history = Measured { device, arrived: now, mark: None, again: false, points };
            app.store.append(vec![history]).await.map_err(Failure::from)?;
        }
    }
    Ok(axum::Json(report))
}

/// What is here of that which the file speaks of.
async fn here(app: &App, caller: &Caller, file: &File) -> Result<Here, Failure> {
    let uuids: Vec<&str> =
        file.devices.iter().filter_map(|entry| Some(entry.read.as_ref().ok()?.uuid.as_str())).collect();
    let named = app.store.devices_by_external_ids(&uuids).await?;
    let named = named.into_iter().filter(|device| device.dialect == Dialect::Line);
    let by_uuid = named.filter_map(|device| Some((device.external_id.clone()?, device))).collect();
    let mut by_ip = HashMap::new();
    if !file.units.is_empty() {
        let dialect = SelectorValue::Text(Dialect::Line.as_str().to_owned());
        let all = Selector::Compare(Field::Known(Known::Dialect), Operator::Equal, dialect);
        for id in app.store.select_ids(&all, app.now(), usize::MAX).await? {
            let Some(device) = app.store.device(id).await? else { continue };
            if let Some(ip) = device.line.as_ref().and_then(|line| line.address.as_ref()?.ip()) {
                by_ip.entry(ip).or_insert(device);
            }
        }
    }
    let count = app.store.count_dashboards().await?;
    let seen = usize::try_from(count).unwrap_or(usize::MAX);
    let (pages, _) = app.store.dashboards(dashboards::user(caller), 0, seen).await?;
    let networks = app.settings.line.networks.clone();
    let has_page = pages.iter().any(|page| page.is_shared && page.name == page::NAME);
    Ok(Here { by_uuid, by_ip, networks, dashboards: count, has_page })
}
