//! Import of many devices from one CSV table: every wrong row is named, and either all rows are registered or, if
//! the caller says so, the good ones.

mod arriving;
mod entry;
pub(super) mod iot_base;
pub(super) mod mdash;
mod rows;

use std::collections::HashMap;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use motehub_domain::change::Actor;
use motehub_domain::device::{self, Device, Registration};
use motehub_domain::effects::Effects;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::Query;
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::random;
use crate::secrets;
use arriving::Expected;
use rows::Row;

/// What is taken.
const TABLE: Expected =
    Expected { noun: "table", name: "CSV", kind: "text/csv", mebibytes_max: 8, or_else: ": split it" };
/// How many wrong rows are named in an answer.
const NAMED_MAX: usize = 1000;
/// How many rows a preview shows.
const PREVIEW_MAX: usize = 20;

/// How something is imported.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// Changes nothing; says what would be.
    #[serde(default)]
    dry_run: bool,
    /// What happens if rows or entries are wrong: `stop` takes nothing (the default), `skip` takes the good ones.
    on_error: Option<String>,
}

impl ImportQuery {
    fn skips(&self) -> Result<bool, Rejection> {
        skips(self.on_error.as_deref())
    }
}

/// Whether the good entries are taken even if others are wrong.
fn skips(on_error: Option<&str>) -> Result<bool, Rejection> {
    match on_error {
        None | Some("stop") => Ok(false),
        Some("skip") => Ok(true),
        Some(_) => Err(Rejection::invalid("on_error", "stop or skip")),
    }
}

/// A row that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowError {
    /// The line of the file on which the row begins; the header is on line 1.
    row: u64,
    /// The column, or `row` for the row as a whole.
    field: String,
    /// What is wrong and what to do.
    detail: String,
}

/// A row as it was understood.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewRow {
    /// The line of the file on which the row begins.
    row: u64,
    /// For people.
    name: String,
    /// `nodemcu` or `native`.
    dialect: &'static str,
    /// Its own id.
    external_id: Option<String>,
    /// Sorted.
    tags: Vec<String>,
}

/// What came of a table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// How many rows it has, without the header.
    rows: usize,
    /// How many of them are good.
    good: usize,
    /// How many devices were registered.
    registered: usize,
    /// The wrong rows, at most 1000 of them.
    errors: Vec<RowError>,
    /// How many rows are wrong.
    errors_total: usize,
    /// The first good rows, as they were understood.
    preview: Vec<PreviewRow>,
    /// A CSV table with the credential of each registered device, shown only now:
    /// `name,dialect,external_id,id,credential`.
    credentials: Option<String>,
}

/// Registers the devices of a CSV table with the columns name, dialect, external_id, tags, description and address.
#[utoipa::path(post, path = "/api/v1/devices/import", tag = "devices", params(ImportQuery),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = ImportReport), (status = 400, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn import(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<axum::Json<ImportReport>, ApiError> {
    let skips = query.skips()?;
    let bytes = arriving::whole(request, &TABLE).await?;
    let (now, actor) = (app.now(), caller.actor());
    let read = tokio::task::spawn_blocking(move || {
        let mut rows = rows::read(&bytes)?;
        rows::refuse_repeated(&mut rows);
        Ok::<_, Rejection>(rows)
    });
    let mut rows = read.await.map_err(|_| unreadable())??;
    refuse_registered(&app, &mut rows).await?;
    refuse_outside(&app, &mut rows);
    let judged = tokio::task::spawn_blocking(move || judge(rows, &actor, now));
    let (mut report, good) = judged.await.map_err(|_| unreadable())?;
    if query.dry_run {
        return Ok(axum::Json(report));
    }
    if let Some(first) = report.errors.first().filter(|_| !skips) {
        return Err(nothing_done(&report, first));
    }
    let mut effects = Effects::none();
    let mut credentials = Vec::with_capacity(good.len());
    for one in good {
        effects = effects.and(one.effects);
        credentials.push((one.device, one.credential));
    }
    app.perform(effects).await?;
    report.registered = credentials.len();
    report.credentials = Some(written(&credentials)?);
    Ok(axum::Json(report))
}

fn unreadable() -> ApiError {
    TABLE.unreadable()
}

fn nothing_done(report: &ImportReport, first: &RowError) -> ApiError {
    let detail = format!(
        "{} of {} rows are wrong, so nothing was registered; the first is row {}: {}: {}",
        report.errors_total, report.rows, first.row, first.field, first.detail
    );
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "rows_refused", detail)
}

async fn refuse_registered(app: &App, rows: &mut [Row]) -> Result<(), ApiError> {
    let named: Vec<String> =
        rows.iter().filter_map(|row| row.read.as_ref().ok()?.external_id.clone()).collect();
    let names: Vec<&str> = named.iter().map(String::as_str).collect();
    let registered = app.store.devices_by_external_ids(&names).await?;
    let registered: HashMap<_, _> = registered
        .into_iter()
        .filter_map(|device| Some(((device.dialect, device.external_id?), device.name)))
        .collect();
    for row in rows {
        let Ok(Registration { dialect, external_id: Some(id), .. }) = &row.read else { continue };
        if let Some(name) = registered.get(&(*dialect, id.clone())) {
            let sentence = format!("{id} is registered already, as {name:?}");
            row.read = Err(Rejection::invalid("external_id", sentence));
        }
    }
    Ok(())
}

/// Refuses units at addresses at which this hub may not call.
fn refuse_outside(app: &App, rows: &mut [Row]) {
    for row in rows {
        let weighed = row.read.as_ref().map_or(Ok(()), |unit| app.weigh_line(unit.line.as_deref()));
        if let Err(rejection) = weighed {
            row.read = Err(rejection);
        }
    }
}

/// A row that can be registered.
struct Good {
    device: Device,
    credential: String,
    effects: Effects,
}

/// Lets the domain judge each row.
fn judge(rows: Vec<Row>, actor: &Actor, now: Time) -> (ImportReport, Vec<Good>) {
    let mut report = ImportReport {
        rows: rows.len(),
        good: 0,
        registered: 0,
        errors: Vec::new(),
        errors_total: 0,
        preview: Vec::new(),
        credentials: None,
    };
    let mut good = Vec::with_capacity(rows.len());
    for Row { line, read } in rows {
        let credential = random::secret();
        let registered = read.and_then(|registration| {
            device::register(random::id(now), &registration, secrets::digest(&credential), actor, now)
        });
        match registered {
            Ok((device, effects)) => {
                if report.preview.len() < PREVIEW_MAX {
                    report.preview.push(PreviewRow {
                        row: line,
                        name: device.name.clone(),
                        dialect: device.dialect.as_str(),
                        external_id: device.external_id.clone(),
                        tags: device.tags.clone(),
                    });
                }
                good.push(Good { device, credential, effects });
            }
            Err(rejection) => {
                report.errors_total += 1;
                if report.errors.len() < NAMED_MAX {
                    let (field, detail) = rejection.sentence.split_once(": ").unwrap_or(("row", ""));
                    let (field, detail) = (field.to_owned(), detail.to_owned());
                    report.errors.push(RowError { row: line, field, detail });
                }
            }
        }
    }
    report.good = good.len();
    (report, good)
}

/// The credentials as a CSV table.
fn written(devices: &[(Device, String)]) -> Result<String, ApiError> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(devices.len() * 100));
    let head = ["name", "dialect", "external_id", "id", "credential"];
    writer.write_record(head).map_err(|_| unreadable())?;
    for (device, credential) in devices {
        let name = harmless(&device.name);
        let external_id = harmless(device.external_id.as_deref().unwrap_or_default());
        let fields =
            [name.as_str(), device.dialect.as_str(), &external_id, &device.id.to_string(), credential];
        writer.write_record(fields).map_err(|_| unreadable())?;
    }
    let bytes = writer.into_inner().map_err(|_| unreadable())?;
    String::from_utf8(bytes).map_err(|_| unreadable())
}

/// A cell that no spreadsheet takes for a formula.
fn harmless(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}
