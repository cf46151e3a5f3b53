//! Who calls: a device by the certificate that it showed, or a program by its signature. The body is part of what is
//! signed, so it is read here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use motehub_domain::access::Permission;
use motehub_domain::change::Actor;
use motehub_domain::device::Device;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::person::{self, Token};
use motehub_gateway::http::Shown;

use super::answer::Refusal;
use super::{Front, signature};
use crate::{api, secrets};

/// Largest request body in bytes.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// How long a body may take.
const BODY_MAX: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A device, which reaches its own thing.
    Device(Box<Device>),
    /// A program, which reaches all things as far as its role goes.
    Program(Box<Token>),
}

impl Caller {
    /// As the activity log names it.
    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Device(device) => Actor::Device(device.name.clone()),
            Self::Program(token) => Actor::Token(token.name.clone()),
        }
    }

    /// The device that a thing is; `None` if there is no such device, which only a program hears: to a device all but
    /// its own thing are forbidden, and none is looked up.
    pub(super) async fn thing(&self, front: &Front, thing: &str) -> Result<Option<DeviceId>, Refusal> {
        match self {
            Self::Device(device) => {
                let is_own = device.external_id.as_deref() == Some(thing) || device.id.to_string() == thing;
                is_own.then_some(Some(device.id)).ok_or_else(Refusal::forbidden)
            }
            Self::Program(token) => Ok(front.app.thing(Principal::Token(token.id), thing).await?),
        }
    }
}

/// The middleware of one route.
pub(super) async fn guard(
    State((front, permission)): State<(Arc<Front>, Permission)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let (caller, body) = match parts.extensions.get::<Shown>() {
        Some(Shown(certificate)) => (certified(&front, certificate).await?, read(body).await?),
        None => signed(&front, peer, &parts, body).await?,
    };
    match &caller {
        Caller::Program(token) if !token.role.may(permission) => return Err(Refusal::forbidden()),
        Caller::Program(_) | Caller::Device(_) => {}
    }
    parts.extensions.insert(caller);
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// The device of a certificate of ours; refused if it was revoked.
async fn certified(front: &Front, certificate: &[u8]) -> Result<Caller, Refusal> {
    let device = front.app.store.device_by_certificate(secrets::digest(certificate)).await?;
    device.map(|device| Caller::Device(Box::new(device))).ok_or_else(Refusal::forbidden)
}

/// The program that signed a request. Of somebody who names no access key of ours no body is read. Whoever fails too
/// often is told to wait; a right signature is let through meanwhile, since nobody can guess it.
async fn signed(
    front: &Front,
    peer: SocketAddr,
    parts: &Parts,
    body: Body,
) -> Result<(Caller, Bytes), Refusal> {
    let app = &front.app;
    let signed = signature::read(&parts.headers, app.now())?;
    let token = match signed.key_id.parse() {
        Ok(id) => app.store.token(id).await?,
        Err(_) => None,
    };
    let is_valid = |token: &Token| token.has_access_key && token.expires_at.is_none_or(|at| at > app.now());
    if let Some(token) = token.filter(is_valid) {
        let body = read(body).await?;
        if signed.is_by(&app.access_keys.secret_of(&token), parts, &body) {
            api::used(app, &token).await?;
            return Ok((Caller::Program(Box::new(token)), body));
        }
    }
    front.throttle.admit(&signed.key_id, peer.ip(), app.now()).map_err(Refusal::wait)?;
    metrics::counter!("motehub_logins_total", "outcome" => "failed").increment(1);
    app.perform(person::log_in_failed(&signed.key_id, &peer.ip().to_canonical().to_string())).await?;
    Err(Refusal::wrong_signature())
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_MAX, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    read.ok().and_then(Result::ok).ok_or_else(Refusal::too_large)
}
