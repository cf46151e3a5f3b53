//! The live connection: one WebSocket per page, resumed by sequence number. A customer's has its devices instead of
//! changes.

mod shared;

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::Response;
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::report::LogLine;
use motehub_domain::shadow::Shadow;
use motehub_domain::time::Time;
use motehub_store::{ChangeQuery, Recorded};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};
use utoipa::IntoParams;

use super::access::Caller;
use super::activity::ChangeDto;
use super::extract::Query;
use super::problem::{ApiError, Problem};
use super::shadows::ShadowDto;
use crate::app::App;
use crate::live::{ALIVE_EVERY, News, Shown};
use shared::Customer;

/// How many missed changes are sent on resuming; a reader that missed more loads its page again.
const MISSED_MAX: usize = 1000;
/// How many devices one reader may watch.
const WATCHED_MAX: usize = 50;
/// How many points are held back for one frame; further ones of the same moment are left out.
const POINTS_PER_FRAME: usize = 2000;
/// Telemetry goes out at most this often.
const FRAME_EVERY: Duration = Duration::from_millis(200);
/// The caller's rights are looked at again this often.
const RIGHTS_EVERY: Duration = Duration::from_secs(20);
/// How long a frame may take to be written to a slow reader.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Largest frame a reader may send.
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// From where the reader resumes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveQuery {
    /// The last sequence number it has.
    after: Option<i64>,
}

/// Opens the live connection (WebSocket).
#[utoipa::path(get, path = "/api/v1/live", tag = "activity", params(LiveQuery),
    responses((status = 101, description = "JSON text frames follow"), (status = 401, body = Problem)))]
pub(crate) async fn connect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<LiveQuery>,
    headers: axum::http::HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let upgrade =
        upgrade.read_buffer_size(4096).max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        tracing::debug!(caller = caller.name, "a live connection begins");
        let customer = caller.customer().map(Customer::new);
        let mut reader = Reader {
            app,
            headers,
            socket,
            customer,
            watched: Vec::new(),
            followed: None,
            held: HashMap::new(),
            held_points: 0,
        };
        let _ = reader.serve(query.after).await;
        reader.app.live.watch(&reader.watched, &[]);
        reader.app.follow(reader.followed, None);
        reader.unfollow();
    }))
}

struct Reader {
    app: App,
    headers: axum::http::HeaderMap,
    socket: WebSocket,
    /// Who reads and what it sees, if it is a customer.
    customer: Option<Customer>,
    watched: Vec<DeviceId>,
    /// The flow whose wires it looks at.
    followed: Option<FlowId>,
    held: HashMap<DeviceId, Vec<Value>>,
    held_points: usize,
}

/// The connection is over.
struct Over;

impl Reader {
    async fn serve(&mut self, after: Option<i64>) -> Result<(), Over> {
        let mut news = self.app.live.subscribe();
        let last = self.place(after).await?;
        let hello = if self.customer.is_some() { json!({}) } else { json!({ "seq": last }) };
        self.send(json!({ "hello": hello })).await?;
        let mut sent = match self.customer {
            Some(_) => self.show_all().await.map(|()| last)?,
            None => self.catch_up(after, last).await?,
        };
        let mut frames = interval(FRAME_EVERY);
        let mut rights = interval(RIGHTS_EVERY);
        let mut alive = interval(ALIVE_EVERY);
        for interval in [&mut frames, &mut rights, &mut alive] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        loop {
            tokio::select! {
                item = news.recv() => match item {
                    Ok(News::Changes(changes)) => {
                        if changes.iter().any(concerns_callers) {
                            self.still_allowed().await?;
                        }
                        sent = match self.customer {
                            Some(_) => self.show_changed(&changes).await.map(|()| sent)?,
                            None => self.changes(&changes, sent).await?,
                        };
                    }
                    Ok(News::Telemetry(shown)) => self.hold(&shown),
                    // What waits at the door and what devices log is the vendor's.
                    Ok(News::Inbox(_) | News::Log(_)) if self.customer.is_some() => {}
                    Ok(News::Inbox(waiting)) => {
                        self.send(json!({ "inbox": { "waiting": waiting } })).await?;
                    }
                    Ok(News::Shadows(shadows)) => match self.customer {
                        Some(_) => self.show_shadows(&shadows).await?,
                        None => self.shadows(&shadows).await?,
                    },
                    Ok(News::Flow(flow, wires)) => {
                        if self.followed == Some(flow) {
                            self.send(json!({ "flow": flow.to_string(), "wires": *wires })).await?;
                        }
                    }
                    Ok(News::Log(lines)) => self.log(&lines).await?,
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return Err(Over),
                },
                message = self.socket.recv() => self.heard(message).await?,
                _ = frames.tick(), if self.held_points > 0 || self.customer.is_some() => {
                    self.drop_ended().await?;
                    self.release().await?;
                }
                _ = rights.tick() => self.still_allowed().await?,
                _ = alive.tick() => self.send(json!({ "alive": true })).await?,
            }
        }
    }

    /// Up to where this node tells what happened. A reader may come from another node that was a moment ahead.
    async fn place(&mut self, after: Option<i64>) -> Result<i64, Over> {
        let last = self.app.live.last_seq();
        let Some(after) = after.filter(|after| *after > last) else { return Ok(last) };
        let newest = self.app.store.last_seq().await.map_err(|_| Over)?;
        Ok(if newest >= after { after } else { last })
    }

    /// Sends what was missed since `after`; a reader that missed too much, or comes from another history (the
    /// data folder was restored), is told to load its page again. Returns the last sequence number that it has.
    async fn catch_up(&mut self, after: Option<i64>, last: i64) -> Result<i64, Over> {
        let Some(after) = after.filter(|after| *after != last) else { return Ok(last) };
        let missed = usize::try_from(last.saturating_sub(after));
        if missed.is_err() || missed.is_ok_and(|missed| missed > MISSED_MAX) {
            self.send(json!({ "resync": true })).await?;
            return Ok(last);
        }
        let query = ChangeQuery {
            after: Some(after),
            limit: MISSED_MAX,
            newest_first: false,
            ..ChangeQuery::default()
        };
        let missed = self.app.store.changes(query).await.map_err(|_| Over)?;
        self.changes(&missed, after).await
    }

    async fn changes(&mut self, changes: &[Recorded], sent: i64) -> Result<i64, Over> {
        let fresh: Vec<ChangeDto> =
            changes.iter().filter(|recorded| recorded.seq > sent).cloned().map(ChangeDto::from).collect();
        let Some(last) = changes.last().map(|recorded| recorded.seq).filter(|_| !fresh.is_empty()) else {
            return Ok(sent);
        };
        self.send(json!({ "changes": fresh, "seq": last })).await?;
        Ok(last)
    }

    /// Shadows go out as they change: somebody waits for the lamp.
    async fn shadows(&mut self, shadows: &[Shadow]) -> Result<(), Over> {
        for shadow in shadows {
            if !self.watched.contains(&shadow.device) {
                continue;
            }
            let device = shadow.device.to_string();
            self.send(json!({ "shadow": { device: ShadowDto::from(shadow.clone()) } })).await?;
        }
        Ok(())
    }

    /// Log lines go out as they come: devices write few.
    async fn log(&mut self, lines: &[(DeviceId, Time, LogLine)]) -> Result<(), Over> {
        let mut log: HashMap<String, Vec<Value>> = HashMap::new();
        for (device, at, line) in lines.iter().filter(|(device, ..)| self.watched.contains(device)) {
            log.entry(device.to_string()).or_default().push(json!([line.level.as_str(), at.0, line.text]));
        }
        if log.is_empty() { Ok(()) } else { self.send(json!({ "log": log })).await }
    }

    fn hold(&mut self, shown: &[Shown]) {
        for shown in shown.iter().filter(|shown| self.watched.contains(&shown.device)) {
            for (metric, time, value) in &shown.points {
                let may_see = self.customer.as_ref().is_none_or(|it| it.may_see(shown.device, *time));
                if may_see && self.held_points < POINTS_PER_FRAME {
                    let point = json!([metric.as_str(), time.0, value.to_json()]);
                    self.held.entry(shown.device).or_default().push(point);
                    self.held_points += 1;
                }
            }
        }
    }

    async fn release(&mut self) -> Result<(), Over> {
        if self.held_points == 0 {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.held_points = 0;
        let telemetry: serde_json::Map<String, Value> =
            held.into_iter().map(|(device, points)| (device.to_string(), Value::Array(points))).collect();
        self.send(json!({ "telemetry": telemetry })).await
    }

    async fn heard(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        match message {
            Some(Ok(Message::Text(text))) => match wish(&text) {
                Some(Wish::Watch(devices))
                    if self.customer.as_ref().is_some_and(|customer| !customer.sees(&devices)) =>
                {
                    self.send(json!({ "error": "there is no such device among yours" })).await
                }
                Some(Wish::Watch(devices)) => {
                    self.app.live.watch(&self.watched, &devices);
                    self.watched = devices;
                    Ok(())
                }
                Some(Wish::Follow(_)) if self.customer.is_some() => {
                    self.send(json!({ "error": "flows are not for customers" })).await
                }
                Some(Wish::Follow(flow)) => {
                    self.app.follow(self.followed, flow);
                    self.followed = flow;
                    Ok(())
                }
                None => {
                    let detail = format!(
                        "send {{\"watch\":[device ids]}} with at most {WATCHED_MAX} of them, or {{\"follow_flow\":id}}"
                    );
                    self.send(json!({ "error": detail })).await
                }
            },
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Over),
        }
    }

    /// A login may have ended, a user may have been disabled meanwhile.
    async fn still_allowed(&mut self) -> Result<(), Over> {
        let caller = super::access::caller(&self.app, &axum::http::Method::GET, &self.headers).await;
        caller.map(drop).map_err(|_| Over)
    }

    async fn send(&mut self, frame: Value) -> Result<(), Over> {
        match timeout(WRITE_MAX, self.socket.send(Message::Text(frame.to_string().into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

/// Whether it may be about what a caller may do.
fn concerns_callers(recorded: &Recorded) -> bool {
    matches!(recorded.change.kind.noun(), "user" | "token" | "login")
}

/// What a reader wants to see.
enum Wish {
    /// What these devices measure and log.
    Watch(Vec<DeviceId>),
    /// How the wires of a flow move, or of none.
    Follow(Option<FlowId>),
}

fn wish(text: &str) -> Option<Wish> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Frame {
        Watch(Vec<String>),
        FollowFlow(Option<String>),
    }
    match serde_json::from_str(text).ok()? {
        Frame::Watch(ids) if ids.len() <= WATCHED_MAX => {
            ids.iter().map(|id| id.parse().ok()).collect::<Option<_>>().map(Wish::Watch)
        }
        Frame::Watch(_) => None,
        Frame::FollowFlow(None) => Some(Wish::Follow(None)),
        Frame::FollowFlow(Some(id)) => id.parse().ok().map(|id| Wish::Follow(Some(id))),
    }
}
