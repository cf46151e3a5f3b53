//! The history of a shadow: every revision with who made it and when, what it was at a time, what differs between two,
//! and back to one of them.

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use motehub_domain::change::Actor;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::{self, Deed, Refusal, Request, Revision, Shadow, ShadowName, Update};
use motehub_domain::share::{Right, Share};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::devices::load;
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
    /// What made it: `user`, `token`, `device` or `system`; for a customer also `you`, and `vendor` for the vendor's
    /// people and programs.
    actor_kind: &'static str,
    /// Its name; empty if the customer who asks may not know it.
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

/// The revisions of a shadow, newest first; the newest 1000 are kept. For a customer, those of the shadow without a
/// name since the device is shared.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadow/history", tag = "shadows",
    params(("id" = String, Path), HistoryQuery),
    responses((status = 200, body = ShadowHistory), (status = 404, body = Problem)))]
pub(crate) async fn revisions(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<axum::Json<ShadowHistory>, ApiError> {
    let (device, name) = (load(&app, id("device", &path)?).await?, shadow_name(query.name.as_deref())?);
    if share.is_some() && name.is_some() {
        return Err(Refusal::no_shadow(name.as_ref(), &device).into());
    }
    let limit = Page::new(None, query.limit)?.limit;
    let made = app.store.shadow_revisions(device.id, name.as_ref(), query.before, limit).await?;
    let items = match share {
        None => made.into_iter().map(ShadowRevision::from).collect(),
        Some(Extension(share)) => seen(&app, &caller, &share, made).await?,
    };
    Ok(axum::Json(ShadowHistory { items }))
}

/// Revisions as a customer sees them: those since the share, with no names but those that this customer sees anyway.
async fn seen(
    app: &App,
    caller: &Caller,
    share: &Share,
    made: Vec<Revision>,
) -> Result<Vec<ShadowRevision>, ApiError> {
    let staff: Vec<String> = app.store.users().await?.into_iter().map(|user| user.name).collect();
    let known = match share.right {
        Right::Owner => app.store.shares_of(share.device).await?.into_iter().map(|of| of.user_name).collect(),
        Right::View | Right::Control => vec![share.created_by.clone()],
    };
    let who = |actor: &Actor| match actor {
        Actor::User(name) if *name == caller.name => ("you", name.clone()),
        Actor::User(name) if staff.contains(name) => ("vendor", String::new()),
        Actor::User(name) if known.contains(name) => (actor.kind(), name.clone()),
        Actor::Token(_) => ("vendor", String::new()),
        Actor::User(_) | Actor::Device(_) | Actor::System => (actor.kind(), String::new()),
    };
    let shown = made.into_iter().filter(|made| share.shows(made.at)).map(|made| {
        let (actor_kind, actor) = who(&made.actor);
        ShadowRevision { actor_kind, actor, ..made.into() }
    });
    Ok(shown.collect())
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
