//! Mongoose OS devices: JSON-RPC over a WebSocket that they open at `/api/v2/rpc`, as they do with mDash. The
//! credential in the handshake alone says which device it is; no other header is looked at, because each generation
//! of their firmware sends others.

mod calls;
mod links;
mod session;
mod taking;
mod transfer;
mod visitors;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use motehub_domain::id::DeviceId;
use motehub_domain::time::Span;
use motehub_protocol::{Identity, mongoose};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::hub::{Connection, ConnectionId, Credentials, Hub, Knock, Refusal, Shown, Transport};
pub use links::{Lent, Links};
use session::Session;
use visitors::Visitors;

/// How many downlinks wait for one connection; further ones are dropped and said again later.
const QUEUE_MAX: usize = 64;
/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 3 << 61;
/// How soon a device shall try again that was not let in, in seconds.
const RETRY_AFTER_SECONDS: &str = "10";

/// How often a silent device is pinged, and when its connection is given up.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// So often.
    pub ping_every: Duration,
    /// After so much silence.
    pub silence_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { ping_every: Duration::from_secs(30), silence_max: Duration::from_secs(90) }
    }
}

/// The routes. Connections end with `shutdown`; `links` has the addresses at which devices fetch firmware.
pub fn routes(hub: Arc<dyn Hub>, pace: Pace, links: Links, shutdown: CancellationToken) -> Router {
    let door = Door {
        hub,
        pace,
        shutdown,
        visitors: Visitors::default(),
        links,
        next: AtomicU64::new(FIRST_CONNECTION),
        live: Mutex::default(),
    };
    Router::new()
        .route("/api/v2/rpc", get(open))
        .route("/api/v2/firmware/{name}", get(links::fetch))
        .with_state(Arc::new(door))
}

/// What all connections share.
struct Door {
    hub: Arc<dyn Hub>,
    pace: Pace,
    shutdown: CancellationToken,
    visitors: Visitors,
    /// Where devices fetch firmware that cannot be pushed into them.
    links: Links,
    next: AtomicU64,
    /// The newest connection of each device; a later one ends it.
    live: Mutex<HashMap<DeviceId, (ConnectionId, CancellationToken)>>,
}

impl Door {
    /// A connection begins. It ends when the token is cancelled: then the device has a newer one.
    fn begin(&self, device: DeviceId, id: ConnectionId) -> CancellationToken {
        let replaced = CancellationToken::new();
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, former)) = live.insert(device, (id, replaced.clone())) {
            former.cancel();
        }
        replaced
    }

    fn end(&self, device: DeviceId, id: ConnectionId) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.get(&device).is_some_and(|(newest, _)| *newest == id) {
            live.remove(&device);
        }
    }
}

/// `GET /api/v2/rpc`.
async fn open(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (device, shown) = match admitted(&door, peer, &headers).await {
        Ok(admitted) => admitted,
        Err(status) => return refusal(status),
    };
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let first = offered.and_then(|names| names.split(',').next()).map(|name| name.trim().to_owned());
    let upgrade = upgrade.protocols(first);
    let upgrade = upgrade.max_message_size(mongoose::BYTES_MAX).max_frame_size(mongoose::BYTES_MAX);
    let origin = origin(&headers);
    upgrade.on_upgrade(move |socket| serve(door, peer, (device, shown), origin, socket))
}

/// Where the device reached us, so that it reaches us there again; behind a proxy, that says whether it does TLS.
fn origin(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_tls = text("x-forwarded-proto").is_some_and(|proto| ["https", "wss"].contains(&proto.trim()));
    Some(format!("{}://{}", if is_tls { "https" } else { "http" }, text("host")?))
}

async fn admitted(
    door: &Door,
    address: SocketAddr,
    headers: &HeaderMap,
) -> Result<(Identity, Shown), StatusCode> {
    let refused = |why: &'static str, status| {
        metrics::counter!("motehub_mongoose_refused_total", "reason" => why).increment(1);
        Err(status)
    };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(secret) = shown.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim) else {
        return refused("no_credential", StatusCode::UNAUTHORIZED);
    };
    let from = address.ip().to_canonical();
    if !door.visitors.may_ask(from) {
        return refused("too_many", StatusCode::TOO_MANY_REQUESTS);
    }
    if door.visitors.is_refused(from, secret) {
        return refused("refused_before", StatusCode::UNAUTHORIZED);
    }
    let credentials = Credentials::Token { secret: secret.to_owned() };
    let knock = Knock { address, transport: Transport::WebSocket, credentials };
    let (shown, answer) = Shown::ask(&*door.hub, knock).await;
    match answer {
        Ok(client) => match client.device {
            Some(device) => Ok((device, shown)),
            None => refused("no_device", StatusCode::UNAUTHORIZED),
        },
        Err(Refusal::BadCredentials | Refusal::NotAllowed) => {
            door.visitors.refuse(from, secret);
            refused("not_admitted", StatusCode::UNAUTHORIZED)
        }
        Err(Refusal::Unavailable) => refused("unavailable", StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn refusal(status: StatusCode) -> Response {
    let sentence = match status {
        StatusCode::UNAUTHORIZED => "send Authorization: Bearer and the token of a registered device",
        StatusCode::TOO_MANY_REQUESTS => "too many connections from this address: come back later",
        _ => "the hub cannot look up who you are: come back later",
    };
    let mut response = (status, format!("{sentence}\n")).into_response();
    let name =
        if status == StatusCode::UNAUTHORIZED { header::WWW_AUTHENTICATE } else { header::RETRY_AFTER };
    let value = if status == StatusCode::UNAUTHORIZED { "Bearer" } else { RETRY_AFTER_SECONDS };
    response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    response
}

async fn serve(
    door: Arc<Door>,
    address: SocketAddr,
    (identity, shown): (Identity, Shown),
    origin: Option<String>,
    socket: WebSocket,
) {
    let (sender, downlinks) = mpsc::channel(QUEUE_MAX);
    let id = ConnectionId(door.next.fetch_add(1, Ordering::Relaxed));
    let device = identity.device;
    let silence_max = i64::try_from(door.pace.silence_max.as_millis()).ok().map(Span);
    let transport = Transport::WebSocket;
    let connection = Connection { id, device, address, transport, silence_max };
    // The new one is attached before the former one ends, so that the device never seems to be away.
    shown.attach(&*door.hub, connection, sender).await;
    let replaced = door.begin(device, id);
    door.hub.listens(device).await;
    Session::new(door.clone(), device, origin, socket).run(downlinks, replaced).await;
    door.end(device, id);
    door.hub.detach(id).await;
}
