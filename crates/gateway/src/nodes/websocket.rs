//! Nodes that open a WebSocket at `/node`, as they do with the gateway of Pyaiot: they are asked what they have, say it
//! in frames of JSON, and are told what to set. Nothing that they send is acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt;
use motehub_protocol::pyaiot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Pace;
use super::guest::{Deed, Guest, House, Over};
use crate::hub::{Hub, Transport};

/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 5 << 60;
/// Largest frame in bytes: a whole set of resources, a script among them.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// How many frames are taken together.
const FRAMES_AT_ONCE: usize = 32;
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// The routes. Connections end with `shutdown`.
pub fn routes(hub: Arc<dyn Hub>, pace: Pace, shutdown: CancellationToken) -> Router {
    let house = House::new(hub, pace, Transport::WebSocket, FIRST_CONNECTION, shutdown);
    Router::new().route("/node", get(open)).with_state(house).fallback(|| async {
        (StatusCode::NOT_FOUND, "here is /node, for WebSocket nodes\n").into_response()
    })
}

/// `GET /node`.
async fn open(
    State(house): State<Arc<House>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    upgrade.on_upgrade(move |mut socket| async move {
        let mut guest = Guest::new(house.clone(), peer);
        let over = talk(&house, &mut guest, &mut socket).await;
        guest.leave().await;
        if let Err(End::Told(Over { code, why })) = over {
            let close = CloseFrame { code, reason: why.into() };
            let _ = send(&mut socket, Message::Close(Some(close))).await;
        }
    })
}

/// How a connection ends.
enum End {
    /// By the node, or because it is not there any more.
    Gone,
    /// By us.
    Told(Over),
}

impl From<Over> for End {
    fn from(over: Over) -> Self {
        Self::Told(over)
    }
}

async fn talk(house: &House, guest: &mut Guest, socket: &mut WebSocket) -> Result<(), End> {
    send(socket, Message::Text(pyaiot::DISCOVER.into())).await?;
    let (mut heard_at, mut pinged_at) = (Instant::now(), Instant::now());
    let pace = house.pace;
    loop {
        let ping_at = pinged_at.max(heard_at) + pace.ping_every;
        let deed = tokio::select! {
            message = socket.recv() => {
                heard_at = Instant::now();
                take(guest, socket, message).await?
            }
            downlink = guest.waits() => guest.meets(downlink?).await?,
            () = tokio::time::sleep_until(ping_at.min(heard_at + pace.silence_max)) => {
                if Instant::now() >= heard_at + pace.silence_max {
                    return Err(End::Gone);
                }
                pinged_at = Instant::now();
                send(socket, Message::Ping(bytes::Bytes::new())).await?;
                Deed::default()
            }
        };
        for write in deed.writes {
            let text = pyaiot::node_command(&write.resource, &write.text());
            send(socket, Message::Text(text.into())).await?;
        }
        if deed.asks {
            send(socket, Message::Text(pyaiot::DISCOVER.into())).await?;
        }
    }
}

/// Takes a frame and those that have come behind it. What was said before a bad one counts.
async fn take(
    guest: &mut Guest,
    socket: &mut WebSocket,
    first: Option<Result<Message, axum::Error>>,
) -> Result<Deed, End> {
    let mut deed = Deed::default();
    let mut next = Some(first);
    for _ in 0..FRAMES_AT_ONCE {
        let Some(message) = next.take() else { break };
        let frame = match message {
            Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
            Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                next = socket.recv().now_or_never();
                continue;
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        let said = match pyaiot::from_node(&frame) {
            Ok(said) => said.unwrap_or_default(),
            Err(error) => {
                guest.misspoke(&error.0).await;
                let close = CloseFrame { code: close_code::UNSUPPORTED, reason: error.0.into() };
                send(socket, Message::Close(Some(close))).await?;
                return Err(End::Gone);
            }
        };
        let mut values = Vec::with_capacity(said.len());
        for (endpoint, data) in &said {
            match pyaiot::resource(endpoint) {
                Some(resource) => values.push((resource.to_owned(), pyaiot::data_text(data))),
                None => guest.misspoke("the name of a resource has 1 to 64 printable signs").await,
            }
        }
        if !values.is_empty() {
            let more = guest.says(&values).await?;
            deed.writes.extend(more.writes);
            deed.asks |= more.asks;
        }
        next = socket.recv().now_or_never();
    }
    Ok(deed)
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(WRITE_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}
