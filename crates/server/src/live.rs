//! The live feed: changes in their order, and telemetry of watched devices.
//!
//! One feeder reads the changes behind the last one it published, so that their order is the store's however
//! many commits end at once, at whatever node. Readers that cannot follow are cut off and resume by sequence number.

pub(crate) mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use motehub_domain::effects::Save;
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::report::LogLine;
use motehub_domain::shadow::Shadow;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::Time;
use motehub_store::{ChangeQuery, Measured, Recorded};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use watched::{AllWatched, Watched};

/// How many batches a reader may be behind before it is cut off.
const BEHIND_MAX: usize = 256;
/// How many changes are read at once.
const BATCH_MAX: usize = 1000;
/// How often it is looked for changes that another process made: users and tokens made at the console.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Pages are told so often that the hub is there: a machine that dies closes nothing.
pub(crate) const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Points of one device to show.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Of which device.
    pub(crate) device: DeviceId,
    /// Metric, time and value.
    pub(crate) points: Vec<(Metric, Time, PointValue)>,
}

/// What goes to every reader.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Changes, oldest first.
    Changes(Arc<Vec<Recorded>>),
    /// Points of devices that somebody watches.
    Telemetry(Arc<Vec<Shown>>),
    /// How many unknown devices wait for a decision.
    Inbox(usize),
    /// Shadows of devices that somebody watches, as they are now.
    Shadows(Arc<Vec<Shadow>>),
    /// How the wires of a flow stand that somebody looks at.
    Flow(FlowId, Arc<serde_json::Value>),
    /// Log lines of devices that somebody watches, each with the time of its arrival.
    Log(Arc<Vec<(DeviceId, Time, LogLine)>>),
}

/// The feed, and who watches what of it.
pub(crate) struct Live {
    news: broadcast::Sender<News>,
    /// Who watches what.
    pub(crate) watched: Watched,
    changed: Notify,
    published: AtomicI64,
}

impl Live {
    /// A feed that begins behind a sequence number.
    pub(crate) fn new(last_seq: i64) -> Self {
        let (news, _) = broadcast::channel(BEHIND_MAX);
        Self {
            news,
            watched: Watched::default(),
            changed: Notify::new(),
            published: AtomicI64::new(last_seq),
        }
    }

    /// The sequence number of the last published change.
    pub(crate) fn last_seq(&self) -> i64 {
        self.published.load(Ordering::SeqCst)
    }

    /// Everything from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Changes were committed.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// A reader watches the shadows and the logs of all devices for as long as it keeps this.
    pub(crate) fn watch_all(&self) -> AllWatched<'_> {
        self.watched.all()
    }

    /// A reader begins to watch the points and the shadows of all devices, or ends.
    pub(crate) fn watch_points_of_all(&self, begins: bool) {
        self.watched.points_of_all(begins);
    }

    /// A reader watches other devices than before.
    pub(crate) fn watch(&self, before: &[DeviceId], after: &[DeviceId]) {
        self.watched.devices(before, after);
    }

    /// What of a batch somebody watches.
    pub(crate) fn wanted(&self, measured: &[Measured]) -> Vec<Shown> {
        if !self.watched.is_any() {
            return Vec::new();
        }
        let is_watched = self.watched.points();
        let wanted = measured.iter().filter(|measured| is_watched(measured.device));
        wanted
            .map(|measured| {
                let points = measured.points.iter();
                let points =
                    points.map(|p| (p.metric.clone(), p.time.for_arrival(measured.arrived), p.value.clone()));
                Shown { device: measured.device, points: points.collect() }
            })
            .collect()
    }

    /// What log lines of a batch somebody watches.
    pub(crate) fn wanted_lines(
        &self,
        logged: &[(DeviceId, Vec<LogLine>)],
        now: Time,
    ) -> Vec<(DeviceId, Time, LogLine)> {
        if !self.watched.is_any() {
            return Vec::new();
        }
        let is_watched = self.watched.rest();
        let wanted = logged.iter().filter(|(device, _)| is_watched(*device));
        wanted.flat_map(|(device, lines)| lines.iter().map(|line| (*device, now, line.clone()))).collect()
    }

    /// Shows something to the readers here.
    pub(crate) fn show_here(&self, news: News) {
        let is_something = match &news {
            News::Telemetry(shown) => !shown.is_empty(),
            News::Shadows(shadows) => !shadows.is_empty(),
            News::Log(lines) => !lines.is_empty(),
            News::Changes(_) | News::Inbox(_) | News::Flow(..) => true,
        };
        if is_something {
            let _ = self.news.send(news);
        }
    }

    /// What readers at each other node look at of some news.
    fn elsewhere(&self, news: &News) -> Vec<(String, News)> {
        match news {
            News::Telemetry(shown) => self.watched.for_others(|points, _| {
                let part: Vec<Shown> = shown.iter().filter(|shown| points(shown.device)).cloned().collect();
                (!part.is_empty()).then(|| News::Telemetry(Arc::new(part)))
            }),
            News::Shadows(shadows) => self.watched.for_others(|_, rest| {
                let part: Vec<Shadow> =
                    shadows.iter().filter(|shadow| rest(shadow.device)).cloned().collect();
                (!part.is_empty()).then(|| News::Shadows(Arc::new(part)))
            }),
            News::Log(lines) => self.watched.for_others(|_, rest| {
                let part: Vec<_> = lines.iter().filter(|(device, ..)| rest(*device)).cloned().collect();
                (!part.is_empty()).then(|| News::Log(Arc::new(part)))
            }),
            News::Flow(flow, _) => {
                self.watched.following(*flow).into_iter().map(|node| (node, news.clone())).collect()
            }
            // Each node finds these by itself.
            News::Changes(_) | News::Inbox(_) => Vec::new(),
        }
    }
}

impl App {
    /// Shows something to everybody who looks at it, at whatever node.
    pub(crate) fn show(&self, news: News) {
        for (node, part) in self.live.elsewhere(&news) {
            self.say_live(&node, part);
        }
        self.live.show_here(news);
    }

    /// A reader here looks at the wires of another flow than before.
    pub(crate) fn follow(&self, before: Option<FlowId>, after: Option<FlowId>) {
        self.flows.follow(before, after);
        self.live.watched.changed.notify_one();
    }

    /// Shows shadows that are on disk now, of devices that somebody watches.
    pub(crate) fn show_shadows(&self, saved: Vec<Save>) {
        let shadows = saved.into_iter().filter_map(|save| match save {
            Save::Shadow(shadow, _) => Some(*shadow),
            _ => None,
        });
        let is_watched = self.live.watched.rest();
        let shown: Vec<Shadow> = shadows.filter(|shadow| is_watched(shadow.device)).collect();
        drop(is_watched);
        if !shown.is_empty() {
            self.show(News::Shadows(Arc::new(shown)));
        }
    }
}

/// The feeder.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = app.live.changed.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        loop {
            let query = ChangeQuery {
                after: Some(app.live.last_seq()),
                limit: BATCH_MAX,
                newest_first: false,
                ..ChangeQuery::default()
            };
            let changes = match app.store.changes(query).await {
                Ok(changes) => changes,
                Err(error) => {
                    tracing::warn!(%error, "changes could not be read for the live feed");
                    break;
                }
            };
            let Some(last) = changes.last().map(|recorded| recorded.seq) else { break };
            app.live.published.store(last, Ordering::SeqCst);
            app.heed(&changes).await;
            let _ = app.live.news.send(News::Changes(Arc::new(changes)));
        }
    }
}
