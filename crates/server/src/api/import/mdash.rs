//! Import of everything that mDash keeps: users with their passwords, API keys, devices with their tokens and shadows,
//! and who sees which device. What is here already stays as it is, so that an import can be repeated.

mod file;
mod plan;

use std::collections::HashMap;

use axum::extract::{Extension, Request, State};
use motehub_domain::device::Dialect;
use serde::Serialize;
use utoipa::ToSchema;

use super::ImportQuery;
use super::arriving::{self, Expected};
use super::entry::{EntryError, Imported, nothing_done};
use crate::api::access::Caller;
use crate::api::extract::Query;
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::secrets;
use file::File;
use plan::Here;

/// What is taken.
const FILE: Expected = Expected {
    noun: "file",
    name: "JSON",
    kind: "application/json",
    mebibytes_max: 32,
    or_else: ": is it the db.json of mDash?",
};

/// How much is made.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MdashMade {
    /// Users: `admin` as administrator, all others as customers.
    users: usize,
    /// API tokens.
    keys: usize,
    /// Devices.
    devices: usize,
    /// Shadows of them.
    shadows: usize,
    /// Customers' shares of them.
    shares: usize,
}

/// What comes of a file.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MdashReport {
    /// How much of it is made.
    made: MdashMade,
    /// How many users, keys and devices are here already.
    known: usize,
    /// How many have no place here: keys of customers.
    left_out: usize,
    /// The good entries, at most 1000 of them.
    entries: Vec<Imported>,
    /// How many entries are good.
    entries_total: usize,
    /// The wrong ones, at most 1000 of them.
    errors: Vec<EntryError>,
    /// How many are wrong.
    errors_total: usize,
}

/// Imports the `db.json` of mDash.
#[utoipa::path(post, path = "/api/v1/import/mdash", tag = "import", params(ImportQuery),
    request_body(content = Object, description = "The file as it is", content_type = "application/json"),
    responses((status = 200, body = MdashReport), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn mdash(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<axum::Json<MdashReport>, ApiError> {
    let skips = query.skips()?;
    let bytes = arriving::whole(request, &FILE).await?;
    let read = tokio::task::spawn_blocking(move || file::read(&bytes));
    let file = read.await.map_err(|_| FILE.unreadable())??;
    let here = here(&app, &file).await?;
    let (actor, now) = (caller.actor(), app.now());
    let planned = tokio::task::spawn_blocking(move || plan::plan(&file, here, &actor, now));
    let (report, effects) = planned.await.map_err(|_| FILE.unreadable())?;
    if query.dry_run {
        return Ok(axum::Json(report));
    }
    if let Some(first) = report.errors.first().filter(|_| !skips) {
        let count = report.entries_total + report.errors_total;
        return Err(nothing_done(report.errors_total, count, first));
    }
    app.perform(effects).await?;
    Ok(axum::Json(report))
}

/// What is here of that which the file speaks of.
async fn here(app: &App, file: &File) -> Result<Here, Failure> {
    let mut users = HashMap::new();
    for user in file.users.iter().filter_map(|entry| entry.read.as_ref().ok()) {
        if let Some(known) = app.store.user_by_name(&user.name).await? {
            users.insert(user.name.to_lowercase(), known);
        }
    }
    let given: Vec<&file::Device> =
        file.devices.iter().filter_map(|entry| entry.read.as_ref().ok()).collect();
    let ids: Vec<&str> = given.iter().map(|device| device.id.as_str()).collect();
    let named = app.store.devices_by_external_ids(&ids).await?;
    let lights = named.into_iter().filter(|device| device.dialect == Dialect::Mongoose);
    let devices = lights.filter_map(|device| Some((device.external_id.clone()?, device))).collect();
    let mut credentials = HashMap::new();
    for device in given {
        let digest = secrets::digest(&device.token);
        if let Some(known) = app.store.device_by_credential(digest).await? {
            credentials.insert(digest, known);
        }
    }
    Ok(Here { users, tokens: app.store.tokens().await?, devices, credentials })
}
