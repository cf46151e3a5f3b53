//! What changes on a dashboard while somebody looks: a stream of server-sent events.
//!
//! A block goes out whole when something of it is different, at most twice a second; points of charts go out as they
//! come, gathered for as long. A reader that cannot follow is cut off, and loads what blocks show now when it is back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use motehub_domain::artifact::Digest;
use motehub_domain::dashboard::{Binding, Block, Dashboard, Kind, Reading};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::PointValue;
use motehub_store::Recorded;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::data::{BlockData, shown};
use super::{DEVICES_MAX, bound};
use crate::api::{self, ApiError};
use crate::app::App;
use crate::live::{ALIVE_EVERY, News, Shown};

/// Frames go out at most this often.
const FRAME_EVERY: Duration = Duration::from_millis(500);
/// The reader's rights are looked at again this often, and so is who satisfies selectors.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How long an event may wait for a slow reader.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How many events wait for a reader.
const WAITING_MAX: usize = 32;
/// How many points are held back for one frame; further ones of the same moment are left out, the history has them.
const POINTS_PER_FRAME: usize = 2_000;

/// Most people and programs that look at once, and most of those who look by a public link: these do not take the
/// places of those.
pub(crate) const LOOKS_MAX: usize = 500;
pub(crate) const PUBLIC_LOOKS_MAX: usize = 200;

/// By what somebody is let look.
pub(crate) enum Pass {
    /// As a caller, with these headers.
    Caller(HeaderMap),
    /// By a public link with this digest.
    Link(Digest),
}

/// The answer to somebody who looks. It ends with the hub.
///
/// # Errors
/// `unavailable` if too many look already.
pub(crate) fn answer(
    app: App,
    dashboard: Dashboard,
    pass: Pass,
    shutdown: CancellationToken,
) -> Result<Response, ApiError> {
    let places = match pass {
        Pass::Caller(_) => app.looks.clone(),
        Pass::Link(_) => app.public_looks.clone(),
    };
    let place = places.try_acquire_owned().map_err(|_| {
        let detail = "too many look at dashboards already: try again later";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    })?;
    let (events, waiting) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _place = place;
        let mut look = Look {
            blocks: Vec::new(),
            dashboard,
            pass,
            events,
            shown: HashMap::new(),
            watched: Vec::new(),
            is_unbound: false,
            stale: BTreeSet::new(),
            points: BTreeMap::new(),
            held: 0,
            app,
        };
        // However it ends, the stream ends with it.
        tokio::select! {
            _ = look.serve() => {}
            () = shutdown.cancelled() => {}
        }
        look.app.live.watch(&look.watched, &[]);
    });
    let stream = futures_util::stream::unfold(waiting, |mut waiting| async move {
        let event: Event = waiting.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(event), waiting))
    });
    // Proxies must not gather what is meant to be seen at once.
    let headers =
        [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Sse::new(stream)).into_response())
}

/// Somebody who looks.
struct Look {
    app: App,
    dashboard: Dashboard,
    blocks: Vec<Block>,
    pass: Pass,
    events: mpsc::Sender<Event>,
    /// What each block showed last.
    shown: HashMap<String, BlockData>,
    /// The devices that blocks are bound to.
    watched: Vec<DeviceId>,
    /// Other devices may satisfy the selectors by now.
    is_unbound: bool,
    /// Blocks that may show something else by now.
    stale: BTreeSet<usize>,
    /// Points of charts that wait for the next frame.
    points: BTreeMap<usize, Vec<Value>>,
    held: usize,
}

/// The look is over.
struct Over;

impl Look {
    async fn serve(&mut self) -> Result<(), Over> {
        let mut news = self.app.live.subscribe();
        // It may have been saved between the request and this.
        let saved = self.app.store.dashboard(self.dashboard.id).await.map_err(|_| Over)?;
        self.dashboard = saved.ok_or(Over)?;
        self.blocks.clone_from(&self.dashboard.document.blocks);
        self.rebind().await?;
        for index in 0..self.blocks.len() {
            let data = self.look_at(index).await?;
            self.shown.insert(self.blocks[index].id.clone(), data);
        }
        self.send(
            Event::default().event("hello").data(json!({ "revision": self.dashboard.revision }).to_string()),
        )
        .await?;
        let mut frames = interval(FRAME_EVERY);
        let mut looks = interval(LOOK_EVERY);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        looks.reset();
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                item = news.recv() => match item {
                    Ok(News::Changes(changes)) => self.changed(&changes).await?,
                    Ok(News::Telemetry(shown)) => self.measured(&shown),
                    Ok(News::Shadows(shadows)) => {
                        let devices: Vec<DeviceId> = shadows.iter().map(|shadow| shadow.device).collect();
                        self.touch(&devices, reads_shadow);
                    }
                    Ok(News::Inbox(_) | News::Flow(..) | News::Log(_)) => {}
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return Err(Over),
                },
                _ = frames.tick(), if self.has_news() => self.release().await?,
                _ = looks.tick() => {
                    self.still_allowed().await?;
                    self.rebind().await?;
                    self.stale.extend(0..self.blocks.len());
                }
                _ = alive.tick() => self.send(Event::default().comment("alive")).await?,
                () = self.events.closed() => return Err(Over),
            }
        }
    }

    /// Which devices blocks are bound to by now.
    async fn rebind(&mut self) -> Result<(), Over> {
        let mut watched = BTreeSet::new();
        for of in self.blocks.iter().flat_map(|block| block.kind.bindings()) {
            // A selector that cannot be meant any more is said in its block.
            if let Ok((views, _)) = bound(&self.app, &of, DEVICES_MAX).await {
                watched.extend(views.iter().map(|view| view.device.id));
            }
        }
        let watched: Vec<DeviceId> = watched.into_iter().collect();
        self.app.live.watch(&self.watched, &watched);
        self.watched = watched;
        Ok(())
    }

    async fn changed(&mut self, changes: &[Recorded]) -> Result<(), Over> {
        let own = self.dashboard.id.to_string();
        let mut members = false;
        let mut devices = Vec::new();
        for Recorded { change, .. } in changes {
            match change.kind.noun() {
                "dashboard" if change.subject == own => {
                    self.still_allowed().await?;
                    let saved = self.app.store.dashboard(self.dashboard.id).await.map_err(|_| Over)?;
                    let saved = saved.ok_or(Over)?;
                    let said = json!({ "revision": saved.revision }).to_string();
                    let is_other = saved.revision != self.dashboard.revision;
                    self.dashboard = saved;
                    if is_other {
                        self.send(Event::default().event("saved").data(said)).await?;
                        // It shows other blocks by now: the reader comes again.
                        return Err(Over);
                    }
                }
                "user" | "token" | "login" => self.still_allowed().await?,
                "device" | "group" => {
                    members = true;
                    devices.extend(change.device);
                }
                "alarm" => self.touch_kind(|kind| matches!(kind, Kind::Alarms(_))),
                "flow" | "deployment" => self.touch_kind(|kind| matches!(kind, Kind::Flow(_))),
                _ => {}
            }
        }
        if members {
            self.is_unbound = true;
            let picks = |of: &Binding| matches!(of, Binding::Selector(_));
            self.touch_kind(|kind| kind.bindings().iter().any(picks));
            self.touch(&devices, |_| true);
        }
        Ok(())
    }

    fn touch_kind(&mut self, is_meant: impl Fn(&Kind) -> bool) {
        let meant = self.blocks.iter().enumerate().filter(|(_, block)| is_meant(&block.kind));
        self.stale.extend(meant.map(|(index, _)| index));
    }

    /// Blocks that are bound to one of these devices may show something else.
    fn touch(&mut self, devices: &[DeviceId], is_meant: impl Fn(&Kind) -> bool) {
        for (index, block) in self.blocks.iter().enumerate() {
            let shown = self.shown.get(&block.id).and_then(|data| data.devices.as_ref());
            let has = shown.is_some_and(|shown| shown.iter().any(|shown| devices.contains(&shown.device)));
            if has && is_meant(&block.kind) {
                self.stale.insert(index);
            }
        }
    }

    fn measured(&mut self, news: &[Shown]) {
        for Shown { device, points } in news {
            for (index, block) in self.blocks.iter().enumerate() {
                let Some(data) = self.shown.get(&block.id) else { continue };
                if !data.devices.iter().flatten().any(|shown| shown.device == *device) {
                    continue;
                }
                let Kind::Chart(series, _) = &block.kind else {
                    let reads = points.iter().any(|(metric, ..)| reads_metric(&block.kind, metric.as_str()));
                    if reads {
                        self.stale.insert(index);
                    }
                    continue;
                };
                for (at_series, series) in series.iter().enumerate() {
                    for (_, at, value) in points.iter().filter(|(metric, ..)| *metric == series.metric) {
                        let PointValue::Number(number) = value else { continue };
                        if self.held < POINTS_PER_FRAME {
                            let device = device.to_string();
                            let point =
                                json!({ "series": at_series, "device": device, "at": at.0, "value": number });
                            self.points.entry(index).or_default().push(point);
                            self.held += 1;
                        }
                    }
                }
            }
        }
    }

    async fn look_at(&self, index: usize) -> Result<BlockData, Over> {
        let data = shown(&self.app, &self.blocks[index]).await.map_err(|_| Over)?;
        Ok(match self.pass {
            Pass::Caller(_) => data,
            Pass::Link(_) => data.without_people(),
        })
    }

    /// Whether anything is to be told at the next frame.
    fn has_news(&self) -> bool {
        self.held > 0 || self.is_unbound || !self.stale.is_empty()
    }

    /// Sends what is different.
    async fn release(&mut self) -> Result<(), Over> {
        if std::mem::take(&mut self.is_unbound) {
            self.rebind().await?;
        }
        for (index, points) in std::mem::take(&mut self.points) {
            let said = json!({ "block": self.blocks[index].id, "points": points }).to_string();
            self.send(Event::default().event("points").data(said)).await?;
        }
        self.held = 0;
        for index in std::mem::take(&mut self.stale) {
            let id = self.blocks[index].id.clone();
            let data = self.look_at(index).await?;
            if self.shown.get(&id) != Some(&data) {
                let said = json!({ "block": id, "data": data }).to_string();
                self.shown.insert(id, data);
                self.send(Event::default().event("block").data(said)).await?;
            }
        }
        Ok(())
    }

    /// A login may have ended, a link may have been withdrawn or expired meanwhile.
    async fn still_allowed(&self) -> Result<(), Over> {
        match &self.pass {
            Pass::Caller(headers) => {
                api::caller(&self.app, &Method::GET, headers).await.map(drop).map_err(|_| Over)
            }
            Pass::Link(digest) => api::by_public_link(&self.app, *digest).await.map(drop).map_err(|_| Over),
        }
    }

    async fn send(&mut self, event: Event) -> Result<(), Over> {
        match timeout(WRITE_MAX, self.events.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

fn reads_shadow(kind: &Kind) -> bool {
    let is_shadow = |reading: &Reading| matches!(reading, Reading::Reported(_) | Reading::Desired(_));
    match kind {
        Kind::Value(_, reading) | Kind::Timeline(_, reading, _) => is_shadow(reading),
        Kind::Table(_, columns) => columns.iter().any(is_shadow),
        Kind::Act(..) | Kind::Map(_) => true,
        _ => false,
    }
}

fn reads_metric(kind: &Kind, name: &str) -> bool {
    let is_it = |reading: &Reading| matches!(reading, Reading::Metric(metric) if metric.as_str() == name);
    match kind {
        Kind::Value(_, reading) | Kind::Timeline(_, reading, _) => is_it(reading),
        Kind::Table(_, columns) => columns.iter().any(is_it),
        Kind::Bar(_, metric, ..) => metric.as_str() == name,
        _ => false,
    }
}
