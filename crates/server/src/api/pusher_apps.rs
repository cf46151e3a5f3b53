//! Pusher apps: added, listed with who is here by them and what is heard, deleted.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::id::PusherAppId;
use motehub_domain::pusher;
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::pusher::SocketView;
use crate::{random, secrets};

/// How long the token of a base is at least, in characters: who has it gives readings of units.
const BASE_TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=200;

/// A Pusher app; its secret is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PusherApp {
    /// Its id with the hub.
    id: String,
    /// Unique.
    name: String,
    /// Its id in the Pusher protocol: digits.
    app_id: String,
    /// What clients name in their address; no secret.
    key: String,
    /// Whether an original base comes in with it.
    base: bool,
    /// When it was added.
    created_at: String,
    /// Who is connected, the first come first.
    sockets: Vec<PusherSocket>,
    /// Which channels somebody hears, by name.
    channels: Vec<PusherChannel>,
}

/// A connection of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PusherSocket {
    /// Its number.
    id: String,
    /// From where.
    address: String,
    /// Since when.
    connected_at: String,
    /// What it hears.
    channels: Vec<String>,
}

/// A channel that somebody hears.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PusherChannel {
    /// Its name.
    name: String,
    /// How many connections hear it.
    sockets: usize,
    /// Who they are, if it is a presence channel.
    members: Vec<String>,
}

impl From<SocketView> for PusherSocket {
    fn from(view: SocketView) -> Self {
        Self {
            id: view.id.to_string(),
            address: view.address.ip().to_canonical().to_string(),
            connected_at: rfc3339(view.since),
            channels: view.channels,
        }
    }
}

/// All apps, and where the Pusher protocol is spoken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PusherAppList {
    /// By name.
    items: Vec<PusherApp>,
    /// How many there are.
    total: usize,
    /// Where it is spoken without TLS; null if it is not.
    address: Option<String>,
    /// Where it is spoken over TLS; null if it is not.
    tls_address: Option<String>,
}

/// What makes an app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPusherApp {
    /// 1 to 80 characters, unique.
    name: String,
    /// The key that clients have already, 4 to 64 letters and digits; a new one is made if left out.
    key: Option<String>,
    /// Whether an original base comes in with it.
    #[serde(default)]
    base: bool,
    /// The token that the base has already, 16 to 200 characters; a new one is made if left out.
    base_token: Option<String>,
}

/// A new app.
#[derive(Serialize, ToSchema)]
pub(crate) struct PusherAppCreated {
    /// Its id with the hub.
    id: String,
    /// Its id in the Pusher protocol: digits.
    app_id: String,
    /// What clients name in their address; no secret.
    key: String,
    /// With what servers sign; it is shown only now.
    secret: String,
    /// The token of the base, which is shown only now; null without a base, or if it was given.
    base_token: Option<String>,
}

/// All Pusher apps.
#[utoipa::path(get, path = "/api/v1/pusher-apps", tag = "pusher_apps",
    responses((status = 200, body = PusherAppList), (status = 403, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<PusherAppList>, ApiError> {
    let rooms = &app.pusher.rooms;
    let shown = |one: pusher::PusherApp| PusherApp {
        id: one.id.to_string(),
        app_id: one.number.to_string(),
        base: one.base_token.is_some(),
        created_at: rfc3339(one.created_at),
        sockets: rooms.sockets(one.id).into_iter().map(PusherSocket::from).collect(),
        channels: rooms
            .channels(one.id, "")
            .into_iter()
            .map(|view| PusherChannel { name: view.name, sockets: view.sockets, members: view.members })
            .collect(),
        name: one.name,
        key: one.key,
    };
    let items: Vec<PusherApp> = app.store.pusher_apps().await?.into_iter().map(shown).collect();
    let bound = app.addresses().pusher;
    Ok(axum::Json(PusherAppList {
        total: items.len(),
        items,
        address: bound.plain.map(|address| address.to_string()),
        tls_address: bound.tls.map(|address| address.to_string()),
    }))
}

/// Adds a Pusher app. Its secret, and the token of its base, are in this answer only.
#[utoipa::path(post, path = "/api/v1/pusher-apps", tag = "pusher_apps", request_body = NewPusherApp,
    responses((status = 201, body = PusherAppCreated), (status = 400, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewPusherApp>,
) -> Result<(StatusCode, axum::Json<PusherAppCreated>), ApiError> {
    let is_given = new.base_token.is_some();
    let base_token = (new.base || is_given).then(|| new.base_token.unwrap_or_else(random::secret));
    if base_token.as_ref().is_some_and(|token| !BASE_TOKEN_CHARS.contains(&token.chars().count())) {
        return Err(Rejection::invalid("base_token", "16 to 200 characters, or none for a new one").into());
    }
    let made = pusher::PusherApp {
        id: random::id(app.now()),
        number: u32::try_from(100_000_000 + random::number() % 900_000_000).unwrap_or(1),
        name: new.name,
        key: new.key.unwrap_or_else(|| random::hex24()[..20].to_owned()),
        base_token: base_token.as_deref().map(secrets::digest),
        created_at: app.now(),
    };
    let added = app.attempt(|| async {
        let apps = app.store.pusher_apps().await?;
        Ok(pusher::add(&made, &apps, &caller.actor())?)
    });
    let added = added.await?;
    let created = PusherAppCreated {
        id: added.id.to_string(),
        app_id: added.number.to_string(),
        secret: app.access_keys.pusher_secret_of(added.id),
        key: added.key,
        base_token: base_token.filter(|_| !is_given),
    };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Deletes a Pusher app: whoever is connected by it is cut off at once.
#[utoipa::path(delete, path = "/api/v1/pusher-apps/{id}", tag = "pusher_apps",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: PusherAppId = id("app", &path)?;
    let apps = app.store.pusher_apps().await?;
    let found = apps.iter().find(|one| one.id == id).ok_or_else(|| ApiError::not_found("app", id))?;
    app.perform(pusher::delete(found, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}
