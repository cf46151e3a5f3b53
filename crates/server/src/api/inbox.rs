//! The inbox: unknown devices that knocked, to be accepted, refused, ignored or forgotten.

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::device::{Dialect, Registration};
use motehub_domain::id::{DeviceId, KnockId};
use motehub_domain::knock::{self, Acceptance, Knock, Standing};
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::devices::{Registered, view};
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::random;
use crate::secrets;

/// Somebody unknown who asked to be let in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Knock)]
pub(crate) struct KnockDto {
    /// Its id.
    id: String,
    /// What it calls itself: its user name, client id or chip id.
    name: String,
    /// Which firmware it seems to be: `nodemcu`, `native`, `riot` or `esp-firmware`.
    dialect: &'static str,
    /// The MQTT client id, if it is not the name.
    client_id: Option<String>,
    /// `mqtt`, `http` or `coap`.
    transport: &'static str,
    /// From which address it came last.
    address: String,
    /// Whether it showed a secret; it was a wrong one.
    has_secret: bool,
    /// How often it came.
    count: i64,
    /// When it came first.
    first_at: String,
    /// When it came last.
    last_at: String,
    /// `new`, `ignored` or `refused`.
    state: &'static str,
    /// The registered device of that name: it came without its credential, or with a wrong one.
    device: Option<String>,
}

impl KnockDto {
    fn new(knock: Knock, device: Option<DeviceId>) -> Self {
        let Knock { id, said, count, first_at, last_at, standing } = knock;
        Self {
            id: id.to_string(),
            name: said.name,
            dialect: said.dialect.as_str(),
            client_id: said.client_id,
            transport: said.via.as_str(),
            address: said.address,
            has_secret: said.has_secret,
            count,
            first_at: rfc3339(first_at),
            last_at: rfc3339(last_at),
            state: standing.as_str(),
            device: device.map(|id| id.to_string()),
        }
    }
}

/// A part of the inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KnockList {
    /// The last heard first.
    items: Vec<KnockDto>,
    /// How many there are of this state.
    total: usize,
    /// How many wait for a decision.
    waiting: usize,
}

/// Which knocks are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct InboxQuery {
    /// `new` (by default), `ignored` or `refused`.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Unknown devices that knocked, the last heard first.
#[utoipa::path(get, path = "/api/v1/inbox", tag = "inbox", params(InboxQuery),
    responses((status = 200, body = KnockList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<InboxQuery>,
) -> Result<axum::Json<KnockList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let standing = Standing::parse(query.state.as_deref().unwrap_or("new"))
        .ok_or_else(|| Rejection::invalid("state", "the states are new, ignored and refused"))?;
    let (knocks, total, waiting) = {
        let inbox = app.knocks.inbox();
        let all = inbox.list(standing);
        let part: Vec<Knock> = all.iter().skip(page.offset).take(page.limit).map(|k| (*k).clone()).collect();
        (part, all.len(), inbox.waiting())
    };
    let names: Vec<&str> = knocks.iter().map(|knock| knock.said.name.as_str()).collect();
    let registered = app.store.devices_by_external_ids(&names).await?;
    let registered: HashMap<_, _> =
        registered.into_iter().map(|device| ((device.dialect, device.external_id), device.id)).collect();
    let items = knocks.into_iter().map(|knock| {
        let device = registered.get(&(knock.said.dialect, Some(knock.said.name.clone()))).copied();
        KnockDto::new(knock, device)
    });
    Ok(axum::Json(KnockList { items: items.collect(), total, waiting }))
}

/// What the device is registered as; what is left out is taken from what it said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    /// 1 to 80 characters; what it calls itself if left out.
    name: Option<String>,
    /// `nodemcu`, `native`, `micropython`, `mongoose`, `riot` or `esp-firmware`; what it seems to be if left out.
    dialect: Option<String>,
    /// For people.
    #[serde(default)]
    description: String,
    /// Letters, digits and `_ - . :`.
    #[serde(default)]
    tags: Vec<String>,
    /// Lets a NodeMCU board in as it is, or a RIOT node or an ESP-FIRMWARE board from the address
    /// that it came from, without a credential: a
    /// weakness, for devices that cannot be given one.
    #[serde(default)]
    without_credential: bool,
}

/// Registers who knocked; the answer has the credential, which is shown only now.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/accept", tag = "inbox", request_body = Accept,
    responses((status = 201, body = Registered), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn accept(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<Accept>,
) -> Result<(StatusCode, axum::Json<Registered>), ApiError> {
    let knock = load(&app, &path).await?;
    let now = app.now();
    let dialect = wanted.dialect.as_deref().map(Dialect::parse).transpose()?.unwrap_or(knock.said.dialect);
    let registration = Registration {
        name: wanted.name.unwrap_or_else(|| knock.said.name.clone()),
        description: wanted.description,
        dialect,
        external_id: Some(knock.said.name.clone()),
        tags: wanted.tags,
        line: None,
    };
    let acceptance = Acceptance { registration, without_credential: wanted.without_credential };
    let credential = random::secret();
    let digest = secrets::digest(&credential);
    let (device, effects) =
        knock::accept(random::id(now), &knock, &acceptance, digest, &caller.actor(), now)?;
    app.perform(effects).await?;
    app.knocks.forget(knock.id);
    Ok((StatusCode::CREATED, axum::Json(Registered::new(view(&app, device.id).await?, credential))))
}

/// Refuses who knocked: it is denied from now on, and not listed again.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/refuse", tag = "inbox",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn refuse(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    decide(&app, &caller, &path, Standing::Refused).await
}

/// Hides who knocked until it says something else or comes from another address.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/ignore", tag = "inbox",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn ignore(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    decide(&app, &caller, &path, Standing::Ignored).await
}

/// Takes a refusal or ignoring back: it waits for a decision again.
#[utoipa::path(post, path = "/api/v1/inbox/{id}/reopen", tag = "inbox",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn reopen(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    decide(&app, &caller, &path, Standing::New).await
}

/// Takes who knocked out of the inbox; it is listed as new when it knocks again.
#[utoipa::path(delete, path = "/api/v1/inbox/{id}", tag = "inbox",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let knock = load(&app, &path).await?;
    app.perform(knock::delete(&knock, &caller.actor())).await?;
    app.knocks.forget(knock.id);
    Ok(StatusCode::NO_CONTENT)
}

async fn decide(app: &App, caller: &Caller, path: &str, standing: Standing) -> Result<StatusCode, ApiError> {
    let knock = load(app, path).await?;
    app.perform(knock::decide(&knock, standing, &caller.actor())).await?;
    app.knocks.decided(knock.id, standing);
    Ok(StatusCode::NO_CONTENT)
}

async fn load(app: &App, path: &str) -> Result<Knock, ApiError> {
    let id: KnockId = id("knock", path)?;
    app.knock(id).await?.ok_or_else(|| ApiError::not_found("knock", id))
}
