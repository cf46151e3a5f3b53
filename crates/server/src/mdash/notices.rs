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
/// How many stored notifications are given at once.
const STORED_MAX: usize = 1_000;
/// What customers hear of their devices.
const OF_CUSTOMERS: [&str; 5] = ["online", "offline", "created", "updated", "rpc.out.Dash.Shadow.Update"];
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
    if !caller.is_customer() {
        caller.must(Permission::See)?;
    }
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let why = read(&front, &caller, socket).await;
        metrics::counter!("motehub_mdash_notify_ended_total", "reason" => why).increment(1);
    }))
}

/// Passes on what happens until the reader goes or cannot follow. Returns why it ended.
async fn read(front: &Front, caller: &Caller, mut socket: WebSocket) -> &'static str {
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
                    let mut notices: Vec<Notice> = Vec::new();
                    for (device, _, line) in lines.iter() {
                        let data = json!({ "fd": 1, "data": line.text });
                        // Many lines come at once from one device, which is looked up once.
                        let same = notices.last().filter(|(last, _)| last == device);
                        let more = same.map(|(_, last)| {
                            let mut notice = last.clone();
                            notice["data"] = data.clone();
                            (*device, notice)
                        });
                        match more {
                            Some(more) => notices.push(more),
                            None => notices.extend(about(app, *device, "rpc.out.Log", Some(data)).await),
                        }
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
            () = tokio::time::sleep_until(heard_at.max(pinged_at) + front.pace.ping_every) => {
                if heard_at.elapsed() >= front.pace.silence_max {
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
        for (device, notice) in notices {
            if !may_hear(app, caller, device, &notice).await {
                continue;
            }
            if !written(&mut socket, Message::Text(notice.to_string().into())).await {
                return "too_slow";
            }
        }
    }
}

async fn written(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_MAX, socket.send(message)).await, Ok(Ok(())))
}

/// Customers hear of devices that are shared with them, and of those not what is the vendor's, such as log lines.
async fn may_hear(app: &App, caller: &Caller, device: DeviceId, notice: &Value) -> bool {
    if !caller.is_customer() {
        return true;
    }
    let is_theirs = notice["name"].as_str().is_some_and(|name| OF_CUSTOMERS.contains(&name));
    let Some(user) = caller.user.filter(|_| is_theirs) else { return false };
    let share = app.store.share(device, user).await.ok().flatten();
    share.is_some_and(|share| !share.has_ended(app.now()))
}

/// A notification, and which device it is about.
type Notice = (DeviceId, Value);

async fn of_changes(app: &App, changes: &[Recorded]) -> Vec<Notice> {
    let mut notices = Vec::new();
    for change in changes {
        if change.change.kind == ChangeKind::CommandRequested {
            notices.extend(called(app, change).await);
            continue;
        }
        let Some((device, names)) = change.change.device.zip(names_of(change)) else { continue };
        for (name, data) in names {
            match change.change.kind {
                ChangeKind::DeviceDeleted => notices.push((device, deleted(change))),
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

/// The devices that were told a command as soon as it was requested; those that were away are stated one by one.
async fn called(app: &App, change: &Recorded) -> Vec<Notice> {
    let Ok(command) = change.change.subject.parse() else { return Vec::new() };
    let found = app.store.executions(command, &[], 0, STORED_MAX).await;
    let told =
        found.map(|(views, _)| views).unwrap_or_default().into_iter().filter(|it| it.execution.tries > 0);
    let name = format!("rpc.in.{}", change.change.subject_name);
    told.map(|it| (it.device.id, json!({ "name": name, "id": name_of(&it.device) }))).collect()
}

async fn about(app: &App, device: DeviceId, name: &str, data: Option<Value>) -> Option<Notice> {
    // One that was deleted meanwhile has only our id left.
    let found = app.store.device(device).await.ok()?;
    let id = found.map_or_else(|| device.to_string(), |device| name_of(&device));
    let mut notice = json!({ "name": name, "id": id });
    if let Some(data) = data {
        notice["data"] = data;
    }
    Some((device, notice))
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
        for (_, mut notice) in of_changes(&front.app, std::slice::from_ref(change)).await {
            notice["seq"] = json!(change.seq);
            notice["timestamp"] = json!(change.at.0.div_euclid(1000));
            stored.push(notice);
        }
    }
    Ok(axum::Json(stored))
}
