//! Notifications: what happens to devices, in the words of mDash, on a WebSocket that is only read, and from the
//! activity log. Each is `{"name","id","data"}`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use motehub_domain::access::Permission;
use motehub_domain::change::ChangeKind;
use motehub_domain::id::DeviceId;
use motehub_store::{ChangeQuery, Recorded};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::{Caller, caller};
use super::devices::name_of;
use crate::app::App;
use crate::live::News;

/// How long a notification may take to be written; who does not read is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How often a silent reader is pinged, and when it is given up.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How many stored notifications are given at once.
const STORED_MAX: usize = 1_000;
/// Readers say nothing that is listened to, so little is read.
const FRAME_BYTES_MAX: usize = 4 * 1024;

/// `GET /api/v2/notify`.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let caller = caller(&front, peer, &headers, &uri).await?;
    caller.must(Permission::See)?;
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let why = read(&front, &caller, socket).await;
        metrics::counter!("motehub_mdash_notify_ended_total", "reason" => why).increment(1);
    }))
}

/// Passes on what happens until the reader goes or cannot follow. Returns why it ended.
async fn read(front: &Front, _caller: &Caller, mut socket: WebSocket) -> &'static str {
    let app = &front.app;
    let mut news = app.live.subscribe();
    let _wanted = app.live.watch_all();
    let (mut heard_at, mut pinged_at) = (Instant::now(), Instant::now());
    loop {
        let notices = tokio::select! {
            news = news.recv() => match news {
                Ok(News::Changes(changes)) => of_changes(app, &changes).await,
                Ok(News::Shadows(shadows)) => {
                    let mut notices = Vec::new();
                    for shadow in shadows.iter().filter(|shadow| shadow.name.is_none()) {
                        let data = json!({ "state": { "reported": shadow.reported.values } });
                        notices.extend(about(app, shadow.device, "rpc.out.Dash.Shadow.Update", Some(data)).await);
                    }
                    notices
                }
                Ok(News::Log(lines)) => {
                    let mut notices = Vec::new();
                    for (device, _, line) in lines.iter() {
                        let data = json!({ "fd": 1, "data": line.text });
                        notices.extend(about(app, *device, "rpc.out.Log", Some(data)).await);
                    }
                    notices
                }
                Ok(_) => Vec::new(),
                Err(RecvError::Lagged(_)) => return "too_slow",
                Err(RecvError::Closed) => return "shutdown",
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return "closed",
                Some(Ok(_)) => {
                    heard_at = Instant::now();
                    continue;
                }
            },
            () = tokio::time::sleep_until(heard_at.max(pinged_at) + PING_EVERY) => {
                if heard_at.elapsed() >= SILENCE_MAX {
                    return "silent";
                }
                pinged_at = Instant::now();
                if !written(&mut socket, Message::Ping(bytes::Bytes::new())).await {
                    return "too_slow";
                }
                continue;
            }
            () = front.shutdown.cancelled() => return "shutdown",
        };
        for notice in notices {
            if !written(&mut socket, Message::Text(notice.to_string().into())).await {
                return "too_slow";
            }
        }
    }
}

async fn written(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_MAX, socket.send(message)).await, Ok(Ok(())))
}

async fn of_changes(app: &App, changes: &[Recorded]) -> Vec<Value> {
    let mut notices = Vec::new();
    for change in changes {
        let Some((device, names)) = change.change.device.zip(names_of(change)) else { continue };
        for (name, data) in names {
            match change.change.kind {
                ChangeKind::DeviceDeleted => notices.push(deleted(change)),
                _ => notices.extend(about(app, device, &name, data).await),
            }
        }
    }
    notices
}

type Named = (String, Option<Value>);

/// What mDash calls a fact. The original app looks again only when something was updated, so that comes too.
fn names_of(change: &Recorded) -> Option<Vec<Named>> {
    let plain = |names: &[&str]| Some(names.iter().map(|name| ((*name).to_owned(), None)).collect());
    match change.change.kind {
        ChangeKind::DeviceOnline => plain(&["online", "updated"]),
        ChangeKind::DeviceOffline => plain(&["offline", "updated"]),
        ChangeKind::DeviceRegistered => plain(&["created"]),
        ChangeKind::DeviceDeleted => plain(&["deleted"]),
        ChangeKind::DeviceEdited | ChangeKind::ShadowUpdated | ChangeKind::ShadowDeleted => {
            plain(&["updated"])
        }
        ChangeKind::DeviceEvent => {
            let after = change.change.after.as_ref()?;
            Some(vec![(format!("rpc.out.{}", after["name"].as_str()?), Some(after["data"].clone()))])
        }
        ChangeKind::CommandMoved => {
            let after = change.change.after.as_ref().filter(|after| after["state"] == "Sent")?;
            Some(vec![(format!("rpc.in.{}", after["name"].as_str()?), None)])
        }
        _ => None,
    }
}

async fn about(app: &App, device: DeviceId, name: &str, data: Option<Value>) -> Option<Value> {
    // One that was deleted meanwhile has only our id left.
    let id =
        app.store.device(device).await.ok()?.map_or_else(|| device.to_string(), |device| name_of(&device));
    let mut notice = json!({ "name": name, "id": id });
    if let Some(data) = data {
        notice["data"] = data;
    }
    Some(notice)
}

/// It cannot be looked up any more.
fn deleted(change: &Recorded) -> Value {
    let own = change.change.before.as_ref().and_then(|before| before["external_id"].as_str());
    json!({ "name": "deleted", "id": own.unwrap_or(&change.change.subject) })
}

/// `POST /api/v2/logs {"start":0}`: the stored notifications behind a number, oldest first.
pub(super) async fn stored(
    State(front): State<Arc<Front>>,
    Extension(_): Extension<Caller>,
    Body(body): Body,
) -> Result<axum::Json<Vec<Value>>, Refusal> {
    let start = body["start"].as_i64().unwrap_or(0).max(0);
    let query =
        ChangeQuery { after: Some(start), limit: STORED_MAX, newest_first: false, ..ChangeQuery::default() };
    let changes = front.app.store.changes(query).await?;
    let mut stored = Vec::new();
    for change in &changes {
        for mut notice in of_changes(&front.app, std::slice::from_ref(change)).await {
            notice["seq"] = json!(change.seq);
            notice["timestamp"] = json!(change.at.0.div_euclid(1000));
            stored.push(notice);
        }
    }
    Ok(axum::Json(stored))
}
