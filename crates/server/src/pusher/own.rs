//! Who may hear the channels that the hub fills itself, and the address where that is asked, as Laravel has it.
//!
//! The signature is the hub's own, and whoever it was given to is remembered with the socket: the right is looked at
//! again while the channel is heard.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::access::Permission;
use motehub_domain::pusher::PusherApp;
use motehub_domain::rejection::Rejection;
use motehub_protocol::pusher::{Channel, Own, signature};
use ring::hmac;
use serde_json::json;

use super::Front;
use super::rooms::SocketId;
use crate::api::{self, ApiError, Proof};
use crate::app::App;
use crate::secrets;

/// Largest form that is read.
const FORM_BYTES_MAX: usize = 4096;
/// What of a request proves who sent it.
const PROOFS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

/// Who was let in, so that it can be asked again.
#[derive(Debug, Clone, Default)]
pub(super) struct Grant(pub(super) HeaderMap);

/// As what somebody hears a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A person or a program.
    ByCaller,
    /// An original base: what is said on `private-requests` is given to its units.
    ByBase,
}

impl App {
    /// Whether somebody may hear one of the hub's own channels.
    pub(super) async fn may_hear(&self, app: &PusherApp, own: Own, grant: &Grant) -> Result<Heard, ApiError> {
        if let Some(token) = bearer(&grant.0)
            && app.base_token == Some(secrets::digest(token))
        {
            return match own {
                Own::Requests | Own::Units => Ok(Heard::ByBase),
                Own::Devices | Own::Device(_) => {
                    Err(refused("a base hears private-requests and private-units only"))
                }
            };
        }
        let caller = api::caller(self, &Method::GET, &grant.0).await?;
        if matches!(caller.proof, Proof::Login { must_change_password: true, .. }) {
            return Err(refused("change the one-time password in the dashboard first"));
        }
        match own {
            Own::Devices | Own::Units => caller.must(Permission::See)?,
            Own::Device(device) => {
                caller.must(Permission::See)?;
                self.store.device(device).await?.ok_or_else(|| ApiError::not_found("device", device))?;
            }
            Own::Requests => {
                caller.must(Permission::Operate)?;
                // The token of a program that may tell units what to do serves an original base too.
                if matches!(caller.proof, Proof::Token) {
                    return Ok(Heard::ByBase);
                }
            }
        }
        Ok(Heard::ByCaller)
    }
}

/// `POST /broadcasting/auth`: lets a socket hear one of the hub's own channels.
pub(super) async fn authorise(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = match authorised(&front.app, &headers, &body).await {
        Ok(auth) => Json(json!({ "auth": auth })).into_response(),
        Err(error) => {
            let (_, why) = error.into_parts();
            metrics::counter!("motehub_pusher_unsigned_total").increment(1);
            tracing::debug!(%peer, why, "a channel may not be heard");
            (StatusCode::FORBIDDEN, Json(json!({ "status": 403, "message": why }))).into_response()
        }
    };
    for_pages(&front.app, &headers, answer)
}

/// `OPTIONS` of the same: a browser asks before a page of another origin sends a token.
pub(super) async fn preflight(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let mut answer = for_pages(&front.app, &headers, StatusCode::NO_CONTENT.into_response());
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, X-Requested-With"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    allowed.into_iter().for_each(|(name, value)| {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    });
    answer
}

/// Any page may send a token that it has; the login of its visitors only those that a setting names.
fn for_pages(app: &App, headers: &HeaderMap, mut answer: Response) -> Response {
    let origin = named_origin(app, headers);
    let told = answer.headers_mut();
    told.insert(header::VARY, HeaderValue::from_static("Origin"));
    match origin {
        Some(origin) => {
            told.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            told.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        None => {
            told.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
    answer
}

fn named_origin<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    app.settings.pusher.origins.iter().any(|one| one.as_bytes() == origin.as_bytes()).then_some(origin)
}

async fn authorised(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
    if body.len() > FORM_BYTES_MAX {
        return Err(refused("the form is far shorter"));
    }
    let is_by_token = headers.contains_key(header::AUTHORIZATION);
    if !is_by_token && named_origin(app, headers).is_none() {
        // It asks for the token against forged requests, and for our own origin.
        api::caller(app, &Method::POST, headers).await?;
    }
    let form = String::from_utf8_lossy(body).replace('+', " ");
    let field = |name: &str| {
        let found = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(signature::decoded).ok_or_else(|| refused(&format!("{name} is missing in the form")))
    };
    let channel = Channel::parse(&field("channel_name")?).map_err(|error| refused(&error.0))?;
    let own = channel.own().ok_or_else(|| {
        refused("the hub says who hears private-devices, private-device-ID, private-units and private-requests; for \
            the app's own channels its server signs, with the secret")
    })?;
    let socket: SocketId =
        field("socket_id")?.parse().map_err(|()| refused("socket_id: digits, a dot, digits"))?;
    let gone = || refused("no such socket is connected here");
    let (id, place) = app.place_of(socket).await.ok_or_else(gone)?;
    let of = app.pusher.app(|one| one.id == id).ok_or_else(|| refused("the app is gone"))?;
    let mut grant = Grant::default();
    for name in PROOFS {
        if let Some(value) = headers.get(&name) {
            grant.0.insert(name, value.clone());
        }
    }
    if is_by_token {
        grant.0.remove(header::COOKIE);
    }
    app.may_hear(&of, own, &grant).await?;
    if !app.let_in(place, socket, channel.clone(), grant).await {
        return Err(gone());
    }
    let text = signature::of_channel(&socket.to_string(), channel.as_str(), None);
    let signed = hmac::sign(&app.access_keys.own_channels_of(of.id), text.as_bytes());
    Ok(format!("{}:{}", of.key, signature::hex(signed.as_ref())))
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

fn refused(why: &str) -> ApiError {
    Rejection::forbidden(why).into()
}
