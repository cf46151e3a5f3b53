//! The native protocol over WebSocket: frames with a kind and a payload, in JSON as text or in CBOR as binary. Each
//! frame with an id is acknowledged once it is durable; many may be on their way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use motehub_domain::message::Downlink;
use motehub_domain::time::Span;
use motehub_protocol::{Encoding, Identity, native, payload};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{BODY_BYTES_MAX, Door, Problem};
use crate::hub::{Connection, Shown, Transport};

/// How many downlinks wait for one connection; further ones are dropped and said again later.
const QUEUE_MAX: usize = 64;
/// How many frames of one connection may be on their way to the disk; reading pauses then.
const UNACKNOWLEDGED_MAX: usize = 64;
/// After so much silence the device is pinged, after twice as much the connection ends.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// `GET /devices/<id>/ws`.
pub(super) async fn open(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let (device, shown) = door.admitted(peer, Transport::WebSocket, id, &headers).await?;
    let upgrade = upgrade.max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| serve(door, peer, device, shown, socket)))
}

async fn serve(door: Arc<Door>, address: SocketAddr, device: Identity, shown: Shown, mut socket: WebSocket) {
    let (sender, mut downlinks) = mpsc::channel(QUEUE_MAX);
    let id = door.next_connection();
    let (transport, silence_max) =
        (Transport::WebSocket, Some(Span::seconds(2 * SILENCE_MAX.as_secs().cast_signed())));
    let connection = Connection { id, device: device.device, address, transport, silence_max };
    shown.attach(&*door.hub, connection, sender).await;
    door.hub.listens(device.device).await;
    let _ = talk(&door, &device, &mut socket, &mut downlinks).await;
    door.hub.detach(id).await;
}

/// The connection is over.
struct Over;

async fn talk(
    door: &Door,
    device: &Identity,
    socket: &mut WebSocket,
    downlinks: &mut mpsc::Receiver<Downlink>,
) -> Result<(), Over> {
    let mut encoding = Encoding::Json;
    let mut under_way = FuturesUnordered::new();
    let mut quiet_since = Instant::now();
    let mut is_pinged = false;
    loop {
        let may_read = under_way.len() < UNACKNOWLEDGED_MAX;
        tokio::select! {
            message = socket.recv(), if may_read => {
                (quiet_since, is_pinged) = (Instant::now(), false);
                let frame = match message {
                    Some(Ok(Message::Text(text))) => {
                        encoding = Encoding::Json;
                        payload::decode(encoding, "a frame", text.as_bytes())
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        encoding = Encoding::Cbor;
                        payload::decode(encoding, "a frame", &bytes)
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over),
                };
                under_way.push(take(door, device, frame.map_err(|error| error.to_string())));
            }
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                if let Some(answer) = answer {
                    write(socket, encoding, &answer).await?;
                }
            }
            downlink = downlinks.recv() => {
                let Some(downlink) = downlink else { return Err(Over) };
                if let Some((kind, payload)) = native::downlink(device, &downlink) {
                    write(socket, encoding, &json!({ "kind": kind, "payload": payload })).await?;
                }
            }
            () = tokio::time::sleep_until(quiet_since + SILENCE_MAX) => {
                if std::mem::replace(&mut is_pinged, true) {
                    return Err(Over);
                }
                quiet_since = Instant::now();
                send(socket, Message::Ping(bytes::Bytes::new())).await?;
            }
            () = door.shutdown.cancelled() => return Err(Over),
        }
    }
}

/// Takes a frame; the answer if there is one to give.
async fn take(door: &Door, device: &Identity, frame: Result<Value, String>) -> Option<Value> {
    let mut frame = match frame {
        Ok(Value::Object(frame)) => frame,
        Ok(_) => return Some(json!({ "ack": null, "error": "a frame is an object with kind and payload" })),
        Err(why) => return Some(json!({ "ack": null, "error": why })),
    };
    let id = frame.remove("id").filter(Value::is_u64);
    let kind = frame.remove("kind").unwrap_or_default();
    let payload = frame.remove("payload").unwrap_or_default();
    let said = native::meaning(kind.as_str().unwrap_or_default(), payload).map_err(|error| error.to_string());
    match (door.take(device, said).await, id) {
        (Ok(None), None) => None,
        (Ok(None), Some(id)) => Some(json!({ "ack": id })),
        (Ok(Some(refused)), id) => Some(json!({ "ack": id, "refused": refused })),
        (Err(error), id) => Some(json!({ "ack": id, "error": error.to_string() })),
    }
}

async fn write(socket: &mut WebSocket, encoding: Encoding, value: &Value) -> Result<(), Over> {
    let message = match encoding {
        Encoding::Json => Message::Text(value.to_string().into()),
        Encoding::Cbor => Message::Binary(payload::encode(encoding, value).into()),
    };
    send(socket, message).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Over> {
    match timeout(WRITE_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Over),
    }
}
