//! The history of a shadow: every revision with who made it and when, what it was at a time, what differs between two,
//! and back to one of them.

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::{self, Deed, Request, Revision, Shadow, ShadowName, Update};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Page, Query, id, rfc3339, time};
use super::problem::{ApiError, Problem};
use super::shadows::{ShadowDto, ShadowQuery, perform, shadow_name};
use crate::app::App;

/// A shadow as it was.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowRevision {
    /// Larger for later ones; the history is without those that changed nothing.
    revision: i64,
    /// The version that began with it.
    version: i64,
    at: String,
    /// What made it: `user`, `token`, `device` or `system`.
    actor_kind: &'static str,
    actor: String,
    #[schema(value_type = Object)]
    desired: Map<String, Value>,
    #[schema(value_type = Object)]
    reported: Map<String, Value>,
    /// The shadow was deleted then.
    is_deleted: bool,
}

/// Revisions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowHistory {
    items: Vec<ShadowRevision>,
}

/// What makes the first of two revisions the second: merged into it, leaf by leaf; null takes a member away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowDiff {
    #[schema(value_type = Object)]
    desired: Map<String, Value>,
    #[schema(value_type = Object)]
    reported: Map<String, Value>,
}

/// To which revision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreShadow {
    /// Its number.
    revision: i64,
}

/// Which part of the history is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// Of a named shadow; of the one without a name if it is left out.
    name: Option<String>,
    /// Only revisions before this one.
    before: Option<i64>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Which moment is wanted: a version, or a time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtQuery {
    /// Of a named shadow; of the one without a name if it is left out.
    name: Option<String>,
    /// As it was with this version.
    version: Option<i64>,
    /// As it was then: milliseconds since 1970 or RFC 3339.
    time: Option<String>,
}

/// Between which revisions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    /// Of a named shadow; of the one without a name if it is left out.
    name: Option<String>,
    /// The number of the first.
    from: i64,
    /// The number of the second.
    to: i64,
}

impl From<Revision> for ShadowRevision {
    fn from(made: Revision) -> Self {
        Self {
            revision: made.revision,
            version: made.version,
            at: rfc3339(made.at),
            actor_kind: made.actor.kind(),
            actor: made.actor.name().to_owned(),
            desired: made.desired,
            reported: made.reported,
            is_deleted: made.is_deleted,
        }
    }
}

/// The revisions of a shadow, newest first; the newest 1000 are kept.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadow/history", tag = "shadows",
    params(("id" = String, Path), HistoryQuery),
    responses((status = 200, body = ShadowHistory), (status = 404, body = Problem)))]
pub(crate) async fn revisions(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<axum::Json<ShadowHistory>, ApiError> {
    let (device, name) = (known(&app, &path).await?, shadow_name(query.name.as_deref())?);
    let limit = Page::new(None, query.limit)?.limit;
    let made = app.store.shadow_revisions(device, name.as_ref(), query.before, limit).await?;
    Ok(axum::Json(ShadowHistory { items: made.into_iter().map(ShadowRevision::from).collect() }))
}

/// What a shadow was at a version or a time.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadow/at", tag = "shadows",
    params(("id" = String, Path), AtQuery),
    responses((status = 200, body = ShadowRevision), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn at(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<AtQuery>,
) -> Result<axum::Json<ShadowRevision>, ApiError> {
    let (device, name) = (known(&app, &path).await?, shadow_name(query.name.as_deref())?);
    let found = match (query.version, query.time) {
        (Some(version), None) => app.store.shadow_at_version(device, name.as_ref(), version).await?,
        (None, Some(at)) => app.store.shadow_at(device, name.as_ref(), time("time", &at)?).await?,
        _ => return Err(Rejection::invalid("version", "give \"version\" or \"time\"").into()),
    };
    let found = found.ok_or_else(|| ApiError::not_found("revision of the shadow", "that old"))?;
    Ok(axum::Json(found.into()))
}

/// What differs between two revisions of a shadow.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadow/diff", tag = "shadows",
    params(("id" = String, Path), DiffQuery),
    responses((status = 200, body = ShadowDiff), (status = 404, body = Problem)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<axum::Json<ShadowDiff>, ApiError> {
    let (device, name) = (known(&app, &path).await?, shadow_name(query.name.as_deref())?);
    let from = revision(&app, device, name.as_ref(), query.from).await?;
    let to = revision(&app, device, name.as_ref(), query.to).await?;
    let desired = shadow::patch(&from.desired, &to.desired);
    let reported = shadow::patch(&from.reported, &to.reported);
    Ok(axum::Json(ShadowDiff { desired, reported }))
}

/// Makes what was desired at a revision desired again. What the device reports is left as it is: it is true.
#[utoipa::path(post, path = "/api/v1/devices/{id}/shadow/restore", tag = "shadows",
    params(("id" = String, Path), ShadowQuery), request_body = RestoreShadow,
    responses((status = 200, body = ShadowDto), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn restore(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<ShadowQuery>,
    Body(wanted): Body<RestoreShadow>,
) -> Result<axum::Json<ShadowDto>, ApiError> {
    let (device, name) = (known(&app, &path).await?, query.name()?);
    let then = revision(&app, device, name.as_ref(), wanted.revision).await?;
    let found = app.store.shadow(device, name.as_ref()).await?;
    let now = found.unwrap_or_else(|| Shadow::none(device, name.clone()));
    let update = Update::restoring(&now, &then);
    let request = Request { shadow: name, deed: Deed::Update(Box::new(update)) };
    Ok(axum::Json(perform(&app, &caller, &path, &HeaderMap::new(), request).await?.into()))
}

async fn known(app: &App, path: &str) -> Result<DeviceId, ApiError> {
    let device = id("device", path)?;
    match app.store.device(device).await? {
        Some(_) => Ok(device),
        None => Err(ApiError::not_found("device", path)),
    }
}

async fn revision(
    app: &App,
    device: DeviceId,
    name: Option<&ShadowName>,
    number: i64,
) -> Result<Revision, ApiError> {
    let found = app.store.shadow_revision(device, name, number).await?;
    found.ok_or_else(|| ApiError::not_found("revision of the shadow", number))
}
