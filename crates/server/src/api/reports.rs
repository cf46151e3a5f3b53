//! What a device says of itself: its last announcement, its log, and the versions that are kept away from it.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::rejection::Rejection;
use motehub_domain::report::{self, Announcement, LOG_LINES_KEPT, Quarantine, Report, Running};
use motehub_protocol::native::said::{digest_text, parse_digest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::devices::load;
use super::extract::{Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// How many log lines are listed by default.
const LINES_DEFAULT: usize = 100;

/// What a device last said of itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Report)]
pub(crate) struct ReportDto {
    /// When it said so.
    at: String,
    /// What kind of board it is.
    model: Option<String>,
    /// Which firmware it has.
    firmware: Option<String>,
    /// Which version of the firmware.
    version: Option<String>,
    /// Why it last started.
    reset: Option<String>,
    /// What it can do.
    capabilities: Vec<String>,
    /// Free memory in bytes.
    free_memory: Option<i64>,
    /// The digest of what it runs, as `sha256:…`; null if nothing, or if it did not say.
    running: Option<String>,
    /// Whether it keeps its script stopped because the script crashed again and again.
    safe_mode: bool,
    /// Anything else it says.
    #[schema(value_type = Object)]
    attributes: serde_json::Value,
}

impl From<Report> for ReportDto {
    fn from(report: Report) -> Self {
        let at = rfc3339(report.at);
        let Announcement { model, firmware, version, reset, capabilities, .. } = report.announcement;
        let Announcement { free_memory, running, safe_mode, attributes, .. } = report.announcement;
        let running = match running {
            Some(Running::Artifact(digest)) => Some(digest_text(digest)),
            Some(Running::Nothing) | None => None,
        };
        let attributes = attributes.into();
        Self {
            at,
            model,
            firmware,
            version,
            reset,
            capabilities,
            free_memory,
            running,
            safe_mode,
            attributes,
        }
    }
}

/// A version that is not given to a device any more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quarantine)]
pub(crate) struct QuarantineDto {
    /// Its digest, as `sha256:…`.
    digest: String,
    /// Id of the script, if it is still known.
    script: Option<String>,
    /// Its name.
    name: Option<String>,
    /// Which version.
    version: Option<i64>,
    /// Why.
    reason: String,
    /// The traceback, if the device sent one.
    traceback: Option<String>,
    /// Since when.
    at: String,
}

impl QuarantineDto {
    async fn new(app: &App, quarantine: Quarantine) -> Result<Self, ApiError> {
        let artifact = app.store.artifact_with(quarantine.digest).await?;
        let of = artifact.and_then(|artifact| artifact.script());
        let script = match of {
            Some((script, _)) => app.store.script(script).await?,
            None => None,
        };
        Ok(Self {
            digest: digest_text(quarantine.digest),
            script: of.map(|(script, _)| script.to_string()),
            name: script.map(|script| script.name),
            version: of.map(|(_, version)| version),
            reason: quarantine.reason,
            traceback: quarantine.traceback,
            at: rfc3339(quarantine.at),
        })
    }

    /// All of a device.
    pub(super) async fn of(app: &App, id: motehub_domain::id::DeviceId) -> Result<Vec<Self>, ApiError> {
        let mut items = Vec::new();
        for quarantine in app.store.quarantines(&[id]).await? {
            items.push(Self::new(app, quarantine).await?);
        }
        Ok(items)
    }
}

/// One line of a device's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLineDto {
    /// Larger for later lines; ask for what is before it to see older ones.
    id: i64,
    /// When it arrived, in milliseconds since 1970.
    at: i64,
    /// When it was written by the device's clock, in milliseconds since 1970, if the device said so.
    time: Option<i64>,
    /// `debug`, `info`, `warn` or `error`.
    level: &'static str,
    /// What it says.
    text: String,
}

/// Lines of a device's log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLineList {
    items: Vec<LogLineDto>,
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    /// Those before this id.
    before: Option<i64>,
    /// How many at most: 1 to 1000, 100 by default.
    limit: Option<usize>,
}

/// The newest lines of a device's log. The newest 1,000 of each device are kept.
#[utoipa::path(get, path = "/api/v1/devices/{id}/log", tag = "devices", params(LogQuery),
    responses((status = 200, body = LogLineList), (status = 404, body = Problem)))]
pub(crate) async fn log(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<axum::Json<LogLineList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let limit = query.limit.unwrap_or(LINES_DEFAULT);
    if !(1..=LOG_LINES_KEPT).contains(&limit) {
        return Err(Rejection::invalid("limit", format!("1 to {LOG_LINES_KEPT}")).into());
    }
    let lines = app.store.log_lines(device.id, query.before, limit).await?;
    let items = lines.into_iter().map(|logged| LogLineDto {
        id: logged.id,
        at: logged.at.0,
        time: logged.line.time.map(|time| time.0),
        level: logged.line.level.as_str(),
        text: logged.line.text,
    });
    Ok(axum::Json(LogLineList { items: items.collect() }))
}

/// Lets a device have a version again that crashed on it.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/quarantine/{digest}", tag = "devices",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn lift_quarantine(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, text)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let digest = parse_digest(&text);
    let quarantined = app.store.quarantines(&[device.id]).await?;
    let found = quarantined.into_iter().find(|quarantine| Some(quarantine.digest) == digest);
    let found = found.ok_or_else(|| {
        ApiError::not_found("version in quarantine", text.chars().take(80).collect::<String>())
    })?;
    app.perform(report::lift(&device, &found, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}
