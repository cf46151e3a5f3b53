//! Firmware: upload, look at, take out, delete.

mod upload;

use std::ops::Range;

use axum::body::Body as Answer;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::firmware::{self, Firmware, Label};
use motehub_domain::id::FirmwareId;
use motehub_domain::rejection::Rejection;
use motehub_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::devices::DeviceList;
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;

pub(crate) use upload::{AT_ONCE_MAX as UPLOADS_AT_ONCE_MAX, Known, keep, upload};
// The description of the route is found beside its handler.
pub(crate) use upload::__path_upload;

/// How much of a firmware is read at once.
const PART_BYTES: usize = 256 * 1024;
/// How many devices that run a firmware are shown.
const DEVICES_SHOWN: usize = 1000;

/// An image that devices run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Firmware)]
pub(crate) struct FirmwareDto {
    /// Its id.
    id: String,
    /// Of the program.
    name: String,
    /// Such as `1.2.0`.
    version: String,
    /// The hardware that it is for.
    platform: String,
    /// Tells builds of one version apart; may be empty.
    build_id: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    digest: String,
    /// How many bytes it has.
    size_bytes: i64,
    /// In the words of people.
    notes: String,
    /// What the manifest in it says, if it has one.
    #[schema(value_type = Option<Object>)]
    manifest: Option<Value>,
    /// How many devices run it or await it.
    used_by: i64,
    /// Who uploaded it.
    created_by: String,
    /// When.
    created_at: String,
}

impl FirmwareDto {
    fn new(firmware: Firmware, used_by: i64) -> Self {
        Self {
            id: firmware.id.to_string(),
            name: firmware.label.name,
            version: firmware.label.version,
            platform: firmware.label.platform,
            build_id: firmware.label.build,
            digest: firmware.digest.to_string(),
            size_bytes: firmware.size_bytes,
            notes: firmware.notes,
            manifest: firmware.manifest.map(Value::Object),
            used_by,
            created_by: firmware.created_by,
            created_at: rfc3339(firmware.created_at),
        }
    }
}

/// A firmware in a few words.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FirmwareRef {
    /// Its id.
    firmware: String,
    /// Of the program.
    name: String,
    /// Its version.
    version: String,
    /// The hardware that it is for.
    platform: String,
}

impl FirmwareRef {
    /// Of its id, name, version and platform.
    pub(crate) fn new(id: FirmwareId, [name, version, platform]: [String; 3]) -> Self {
        Self { firmware: id.to_string(), name, version, platform }
    }
}

impl From<Firmware> for FirmwareRef {
    fn from(firmware: Firmware) -> Self {
        let Label { name, version, platform, .. } = firmware.label;
        Self::new(firmware.id, [name, version, platform])
    }
}

/// A part of the firmware.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FirmwareList {
    items: Vec<FirmwareDto>,
    /// How many there are in all.
    total: i64,
    /// The largest file that is taken.
    size_bytes_max: usize,
}

/// Which firmware is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// A part of name, version, platform, build or notes.
    q: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Firmware, newest first.
#[utoipa::path(get, path = "/api/v1/firmware", tag = "firmware", params(ListQuery),
    responses((status = 200, body = FirmwareList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<FirmwareList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let (found, total) = app.store.firmware_list(query.q.as_deref(), page.offset, page.limit).await?;
    let items = found.into_iter().map(|(firmware, used_by)| FirmwareDto::new(firmware, used_by)).collect();
    Ok(axum::Json(FirmwareList { items, total, size_bytes_max: app.settings.firmware_bytes_max }))
}

/// One firmware.
#[utoipa::path(get, path = "/api/v1/firmware/{id}", tag = "firmware",
    responses((status = 200, body = FirmwareDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<FirmwareDto>, ApiError> {
    let firmware = load_firmware(&app, id("firmware", &path)?).await?;
    let used_by = app.store.firmware_used_by(firmware.id).await?;
    Ok(axum::Json(FirmwareDto::new(firmware, used_by)))
}

/// The devices that say they run it, at most 1000.
#[utoipa::path(get, path = "/api/v1/firmware/{id}/devices", tag = "firmware",
    responses((status = 200, body = DeviceList), (status = 404, body = Problem)))]
pub(crate) async fn devices(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<DeviceList>, ApiError> {
    let firmware = load_firmware(&app, id("firmware", &path)?).await?;
    let (views, total) = app.store.firmware_runners(firmware.id, DEVICES_SHOWN).await?;
    Ok(axum::Json(DeviceList::new(views, total)))
}

/// What changes a firmware.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FirmwareEdit {
    /// In the words of people.
    notes: String,
}

/// Changes the notes on a firmware.
#[utoipa::path(patch, path = "/api/v1/firmware/{id}", tag = "firmware", request_body = FirmwareEdit,
    responses((status = 200, body = FirmwareDto), (status = 400, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<FirmwareEdit>,
) -> Result<axum::Json<FirmwareDto>, ApiError> {
    let id = id("firmware", &path)?;
    app.attempt(|| async {
        let firmware = load_firmware(&app, id).await?;
        Ok(((), firmware::edit(&firmware, &edit.notes, &caller.actor())?))
    })
    .await?;
    get(State(app.clone()), Path(path)).await
}

/// Deletes a firmware that no device runs or awaits.
#[utoipa::path(delete, path = "/api/v1/firmware/{id}", tag = "firmware",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = id("firmware", &path)?;
    // No upload goes on meanwhile: its bytes may be the same.
    let _alone = app.uploads.acquire_many(UPLOADS_AT_ONCE_MAX).await;
    app.attempt(|| async {
        let firmware = load_firmware(&app, id).await?;
        let used_by = app.store.firmware_used_by(id).await?;
        Ok(((), firmware::delete(&firmware, used_by, &caller.actor())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a firmware.
#[utoipa::path(get, path = "/api/v1/firmware/{id}/file", tag = "firmware", responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(crate) async fn file(State(app): State<App>, Path(path): Path<String>) -> Result<Response, ApiError> {
    let firmware = load_firmware(&app, id("firmware", &path)?).await?;
    let size = usize::try_from(firmware.size_bytes).unwrap_or(0);
    let kind = if firmware.manifest.is_some() { "zip" } else { "bin" };
    let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-+".contains(c), "_");
    let label = &firmware.label;
    let name = [&label.name, &label.version, &label.platform].map(|word| plain(word)).join("-");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_ENCODING, "identity".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{kind}\"")),
    ];
    Ok((headers, parts(app, firmware.digest, 0..size)).into_response())
}

/// The bytes of an artifact, a part at a time.
fn parts(app: App, digest: Digest, whole: Range<usize>) -> Answer {
    let parts = futures_util::stream::try_unfold((app, whole), move |(app, rest)| async move {
        if rest.is_empty() {
            return Ok::<_, StoreError>(None);
        }
        let part = rest.start..rest.end.min(rest.start + PART_BYTES);
        let bytes = app.store.artifact_part(digest, part.clone()).await?;
        Ok(Some((Bytes::from(bytes), (app, part.end..rest.end))))
    });
    Answer::from_stream(parts)
}

/// A firmware, or the refusal that there is none.
pub(crate) async fn load_firmware(app: &App, id: FirmwareId) -> Result<Firmware, Failure> {
    Ok(app.store.firmware(id).await?.ok_or_else(|| Rejection::not_found("firmware", id))?)
}
