//! Gateways in processes of their own: their keys, for which devices they may speak, and how their links are.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::gateway::{self, Gateway};
use motehub_domain::id::GatewayId;
use motehub_domain::rejection::Rejection;
use motehub_gateway::link::Status;
use motehub_store::GatewayView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::gateways::join;
use crate::gateways::seen::Seen;
use crate::perform::Failure;
use crate::random;

/// A gateway in a process of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gateway)]
pub(crate) struct GatewayDto {
    /// Its id.
    id: String,
    /// Unique without regard to case.
    name: String,
    /// For which devices it may speak; empty for all that show their own credential to it.
    selector: String,
    /// `linked`, `lost`, `new` (it never came) or `revoked`.
    state: &'static str,
    /// The beginning of its public key; none if it is revoked.
    key: Option<String>,
    /// The beginning of the key that it was given and has not used yet.
    next_key: Option<String>,
    /// When its link was last made or lost.
    last_seen: Option<String>,
    /// From which address it came last.
    address: Option<String>,
    /// How many of its devices are online.
    devices_online: i64,
    /// How many of its devices are unreachable.
    devices_unreachable: i64,
    /// How its link is; none while there is none.
    link: Option<LinkDto>,
    /// When it was made.
    created_at: String,
}

/// A link while it lives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GatewayLink)]
pub(crate) struct LinkDto {
    /// Since when.
    since: String,
    /// What kinds of devices it serves.
    serves: String,
    /// The version of its program.
    version: String,
    /// How long its last beat took to be answered.
    round_trip_ms: u64,
    /// How often a link was made since the gateway started.
    links: u64,
    /// Connections of devices that the gateway has now.
    connections: u64,
    /// Messages of devices since the gateway started.
    messages: u64,
    /// Messages of devices within a minute, from the last two times that the gateway said how it is (every 5 seconds).
    messages_per_minute: u64,
    /// Messages that wait on its disk.
    spooled: u64,
    /// Bytes of those.
    spooled_bytes: u64,
    /// Messages that were dropped from its disk since it started because they were too many or too old.
    dropped: u64,
    /// Messages that waited on its disk since it started and that the hub refused for good when they came.
    refused: u64,
}

/// All gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayList {
    /// By name.
    items: Vec<GatewayDto>,
    /// How many there are.
    total: usize,
}

/// How a gateway reaches the hub, for its join file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinWay {
    /// Where the gateway reaches this hub, such as `https://hub.example.org:8443`; of a hub of several nodes the
    /// addresses of all of them, with commas between.
    hub: String,
    /// Whether TLS is spoken there with the certificate of the hub's own authority, and not by a proxy or with a
    /// certificate that machines know. By default if the hub listens by --https without a certificate of its own.
    own_authority: Option<bool>,
}

/// What makes a gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGateway {
    /// Unique without regard to case, 1 to 80 characters.
    name: String,
    /// For which devices it may speak; all that show their own credential to it if it is left out.
    #[serde(default)]
    selector: String,
    /// Where the gateway reaches this hub, such as `https://hub.example.org:8443`; of a hub of several nodes the
    /// addresses of all of them, with commas between.
    hub: String,
    /// As in the other calls that make a key.
    own_authority: Option<bool>,
}

/// What changes a gateway; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayEdit {
    /// New name.
    name: Option<String>,
    /// For which devices it may speak.
    selector: Option<String>,
}

/// A join file. It holds the private key, which is shown only now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Joining {
    /// The gateway.
    gateway: GatewayDto,
    /// For `motehub gateway … --key FILE`.
    join_file: String,
}

/// All gateways, by name.
#[utoipa::path(get, path = "/api/v1/gateways", tag = "gateways", responses((status = 200, body = GatewayList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<GatewayList>, ApiError> {
    let behind = app.store.behind_gateways().await?;
    let views = app.store.gateways().await?;
    let items: Vec<GatewayDto> = views.into_iter().map(|view| shown(&app, view, &behind)).collect();
    Ok(axum::Json(GatewayList { total: items.len(), items }))
}

/// Makes a gateway with a key. The join file is shown only now.
#[utoipa::path(post, path = "/api/v1/gateways", tag = "gateways", request_body = NewGateway,
    responses((status = 201, body = Joining), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewGateway>,
) -> Result<(StatusCode, axum::Json<Joining>), ApiError> {
    let NewGateway { name, selector, hub, own_authority } = new;
    let way = way(&app, &JoinWay { hub, own_authority })?;
    let key = join::new_key()?;
    let id: GatewayId = random::id(app.now());
    let made = app
        .attempt(|| async {
            let count = app.store.gateways().await?.len();
            Ok(gateway::register(id, &name, &selector, key.public, count, &caller.actor(), app.now())?)
        })
        .await?;
    let join_file = join::join_file(&app.gateways.hub, &made, &way, &key);
    Ok((StatusCode::CREATED, axum::Json(Joining { gateway: one(&app, id).await?, join_file })))
}

/// One gateway.
#[utoipa::path(get, path = "/api/v1/gateways/{id}", tag = "gateways",
    responses((status = 200, body = GatewayDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<GatewayDto>, ApiError> {
    Ok(axum::Json(one(&app, id("gateway", &path)?).await?))
}

/// Changes a gateway. For which devices it may speak changes at once.
#[utoipa::path(patch, path = "/api/v1/gateways/{id}", tag = "gateways", request_body = GatewayEdit,
    responses((status = 200, body = GatewayDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<GatewayEdit>,
) -> Result<axum::Json<GatewayDto>, ApiError> {
    let id = id("gateway", &path)?;
    app.attempt(|| async {
        let is = load(&app, id).await?;
        let name = edit.name.as_deref().unwrap_or(&is.name);
        let selector = edit.selector.as_deref().unwrap_or(&is.selector);
        Ok(gateway::edit(&is, name, selector, &caller.actor())?)
    })
    .await?;
    app.cut_gateway(id, "its rights changed: it makes a new link");
    Ok(axum::Json(one(&app, id).await?))
}

/// Deletes a gateway and ends its link at once. Its devices stay.
#[utoipa::path(delete, path = "/api/v1/gateways/{id}", tag = "gateways",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let is = load(&app, id("gateway", &path)?).await?;
    let unreachable = app.store.unreachable(is.id).await?;
    app.perform(gateway::delete(&is, &caller.actor())).await?;
    app.cut_gateway(is.id, "it was deleted");
    app.connections.settled(is.id, unreachable);
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new key for a gateway. The key it has works until the new one was used. The join file is shown only now.
#[utoipa::path(post, path = "/api/v1/gateways/{id}/key", tag = "gateways", request_body = JoinWay,
    responses((status = 201, body = Joining), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<JoinWay>,
) -> Result<(StatusCode, axum::Json<Joining>), ApiError> {
    let (id, way, key) = (id("gateway", &path)?, way(&app, &wanted)?, join::new_key()?);
    let is = app
        .attempt(|| async {
            let is = load(&app, id).await?;
            let effects = gateway::rotate(&is, key.public, &caller.actor());
            Ok((is, effects))
        })
        .await?;
    let join_file = join::join_file(&app.gateways.hub, &is, &way, &key);
    Ok((StatusCode::CREATED, axum::Json(Joining { gateway: one(&app, id).await?, join_file })))
}

/// Revokes the keys of a gateway and ends its link at once.
#[utoipa::path(delete, path = "/api/v1/gateways/{id}/key", tag = "gateways",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = id("gateway", &path)?;
    app.attempt(|| async { Ok(((), gateway::revoke(&load(&app, id).await?, &caller.actor()))) }).await?;
    app.cut_gateway(id, "its key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn way(app: &App, wanted: &JoinWay) -> Result<join::Way, Rejection> {
    let speaks_own = app.settings.https.is_some() && app.settings.tls_files.is_none();
    join::Way::new(&wanted.hub, wanted.own_authority.unwrap_or(speaks_own), &app.settings.data)
}

async fn load(app: &App, id: GatewayId) -> Result<Gateway, Failure> {
    let found = app.store.gateway(id).await?;
    Ok(found.map(|view| view.gateway).ok_or_else(|| Rejection::not_found("gateway", id))?)
}

async fn one(app: &App, id: GatewayId) -> Result<GatewayDto, ApiError> {
    let view = app.store.gateway(id).await?.ok_or_else(|| ApiError::not_found("gateway", id))?;
    Ok(shown(app, view, &app.store.behind_gateways().await?))
}

fn shown(app: &App, view: GatewayView, behind: &[(GatewayId, i64, i64)]) -> GatewayDto {
    let GatewayView { gateway, seen_at, address } = view;
    let link = app.gateways.seen(gateway.id);
    let state = match (&link, gateway.key, seen_at) {
        (Some(_), ..) => "linked",
        (None, None, _) => "revoked",
        (None, Some(_), None) => "new",
        (None, Some(_), Some(_)) => "lost",
    };
    let counted = behind.iter().find(|(of, ..)| *of == gateway.id);
    let (devices_online, devices_unreachable) = counted.map_or((0, 0), |(_, online, lost)| (*online, *lost));
    let short = |key: gateway::PublicKey| key.to_string().chars().take(16).collect();
    GatewayDto {
        id: gateway.id.to_string(),
        name: gateway.name,
        selector: gateway.selector,
        state,
        key: gateway.key.map(short),
        next_key: gateway.next_key.map(short),
        last_seen: link.as_ref().map(|_| app.now()).or(seen_at).map(rfc3339),
        address,
        devices_online,
        devices_unreachable,
        link: link.map(shown_link),
        created_at: rfc3339(gateway.created_at),
    }
}

fn shown_link(link: Seen) -> LinkDto {
    let Seen { since, serves, program, status, per_minute: messages_per_minute } = link;
    let Status { round_trip_ms, links, spooled, spooled_bytes, dropped, refused, messages, devices } = status;
    LinkDto {
        since: rfc3339(since),
        serves,
        version: program,
        round_trip_ms,
        links,
        connections: devices,
        messages,
        messages_per_minute,
        spooled,
        spooled_bytes,
        dropped,
        refused,
    }
}
