//! How a Pyaiot gateway comes in: by a token in the handshake, or, if it is an older one, in its first frame.
//!
//! A gateway that is answered with anything but 101 never tries again, so only those are that shall not.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::pyaiot::{self, Key};
use motehub_domain::time::Span;
use motehub_protocol::pyaiot::FRAME_BYTES_MAX;

use super::Front;
use super::session::Session;

/// How many may be here at once without having proved themselves.
pub(super) const UNPROVEN_MAX: usize = 64;
/// How long an older gateway may take to send its token.
const TOKEN_WAIT_MAX: Span = Span::seconds(5);
/// The label of a token among the subprotocols.
const LABEL: &str = "token";

/// Which of the two generations a gateway is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// It proves itself in the handshake, and says every 30 seconds that it is alive.
    Present,
    /// It proves itself by its first frame, and says nothing of itself.
    Former,
}

/// `GET /gw`.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    let offered: Vec<_> = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().collect();
    if offered.is_empty() {
        return upgrade.on_upgrade(move |socket| former(front, peer, socket));
    }
    let parts: Option<Vec<&str>> = offered.iter().map(|value| value.to_str().ok()).collect();
    let parts: Vec<&str> = parts.iter().flatten().flat_map(|text| text.split(',')).map(str::trim).collect();
    let [LABEL, token] = parts[..] else { return refusal("subprotocols", "Invalid subprotocols") };
    match front.app.pyaiot_admitted(token) {
        Some(key) => {
            let upgrade = upgrade.protocols([LABEL]);
            upgrade.on_upgrade(move |socket| serve(front, peer, key, Generation::Present, socket))
        }
        None => refusal("token", "Invalid token"),
    }
}

fn refusal(reason: &'static str, sentence: &'static str) -> Response {
    refused(reason);
    (StatusCode::UNAUTHORIZED, sentence).into_response()
}

fn refused(reason: &'static str) {
    metrics::counter!("motehub_pyaiot_gateways_refused_total", "reason" => reason).increment(1);
}

/// An older gateway: it is nobody until its first frame is a token.
async fn former(front: Arc<Front>, peer: SocketAddr, mut socket: WebSocket) {
    let Ok(place) = front.unproven.try_acquire() else { return refused("too_many") };
    let until = front.app.now() + TOKEN_WAIT_MAX;
    let first = tokio::select! {
        first = socket.recv() => first,
        () = front.app.clock.sleep_until(until) => None,
        () = front.shutdown.cancelled() => None,
    };
    let key = match &first {
        Some(Ok(Message::Text(token))) => front.app.pyaiot_admitted(token.trim()),
        _ => None,
    };
    drop(place);
    match key {
        Some(key) => serve(front, peer, key, Generation::Former, socket).await,
        None => {
            refused("first_frame");
            // Without a code, as its own broker does it.
            let _ = socket.send(Message::Close(None)).await;
        }
    }
}

async fn serve(front: Arc<Front>, peer: SocketAddr, key: Key, generation: Generation, mut socket: WebSocket) {
    let app = &front.app;
    let address = peer.ip().to_canonical().to_string();
    let (number, link) = app.pyaiot.begin(&key, peer, app.now());
    state(&front, pyaiot::connected(&key, &address, app.now())).await;
    let mut session = Session::new(app.clone(), key.clone(), link, generation);
    let end = session.run(&mut socket, &front.shutdown).await;
    session.forget_all().await;
    app.pyaiot.end(number);
    state(&front, pyaiot::disconnected(&key, &address, &end.why)).await;
    let close = end.code.map(|code| CloseFrame { code, reason: end.why.into() });
    let _ = socket.send(Message::Close(close)).await;
}

/// States a fact about a gateway; that it cannot be written now is no reason to turn it away.
async fn state(front: &Front, effects: motehub_domain::effects::Effects) {
    if let Err(error) = front.app.perform(effects).await {
        tracing::warn!(%error, "the coming or going of a Pyaiot gateway could not be recorded");
    }
}
