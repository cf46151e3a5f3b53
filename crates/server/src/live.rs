//! The live feed: changes in their order, and telemetry of watched devices.
//!
//! One feeder reads the changes behind the last one it published, so that their order is the store's however
//! many commits end at once. Readers that cannot follow are cut off and resume by sequence number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
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

/// How many batches a reader may be behind before it is cut off.
const BEHIND_MAX: usize = 256;
/// How many changes are read at once.
const BATCH_MAX: usize = 1000;
/// How often it is looked for changes that another process made: users and tokens made at the console.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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

/// Who watches what.
pub(crate) struct Live {
    news: broadcast::Sender<News>,
    watched: RwLock<HashMap<DeviceId, usize>>,
    /// How many readers watch the shadows and the logs of all devices.
    watch_all: AtomicUsize,
    /// How many readers watch the points and the shadows of all devices.
    watch_points: AtomicUsize,
    changed: Notify,
    published: AtomicI64,
}

/// Somebody watches all devices.
pub(crate) struct AllWatched<'a>(&'a Live);

impl Drop for AllWatched<'_> {
    fn drop(&mut self) {
        self.0.watch_all.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Live {
    /// A feed that begins behind a sequence number.
    pub(crate) fn new(last_seq: i64) -> Self {
        let (news, _) = broadcast::channel(BEHIND_MAX);
        Self {
            news,
            watched: RwLock::default(),
            watch_all: AtomicUsize::new(0),
            watch_points: AtomicUsize::new(0),
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
        self.watch_all.fetch_add(1, Ordering::SeqCst);
        AllWatched(self)
    }

    /// A reader begins to watch the points and the shadows of all devices, or ends.
    pub(crate) fn watch_points_of_all(&self, begins: bool) {
        match begins {
            true => self.watch_points.fetch_add(1, Ordering::SeqCst),
            false => self.watch_points.fetch_sub(1, Ordering::SeqCst),
        };
    }

    fn is_all_watched(&self) -> bool {
        self.watch_all.load(Ordering::SeqCst) > 0 || self.are_all_points_watched()
    }

    fn are_all_points_watched(&self) -> bool {
        self.watch_points.load(Ordering::SeqCst) > 0
    }

    /// A reader watches other devices than before.
    pub(crate) fn watch(&self, before: &[DeviceId], after: &[DeviceId]) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        for device in after {
            *watched.entry(*device).or_insert(0) += 1;
        }
        for device in before {
            if let Some(count) = watched.get_mut(device) {
                *count -= 1;
                if *count == 0 {
                    watched.remove(device);
                }
            }
        }
    }

    /// What of a batch somebody watches.
    pub(crate) fn wanted(&self, measured: &[Measured]) -> Vec<Shown> {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        let are_all = self.are_all_points_watched();
        if watched.is_empty() && !are_all {
            return Vec::new();
        }
        let wanted = measured.iter().filter(|measured| are_all || watched.contains_key(&measured.device));
        wanted
            .map(|measured| {
                let points = measured.points.iter();
                let points =
                    points.map(|p| (p.metric.clone(), p.time.for_arrival(measured.arrived), p.value.clone()));
                Shown { device: measured.device, points: points.collect() }
            })
            .collect()
    }

    /// Shows how many unknown devices wait for a decision.
    pub(crate) fn show_inbox(&self, waiting: usize) {
        let _ = self.news.send(News::Inbox(waiting));
    }

    /// What log lines of a batch somebody watches.
    pub(crate) fn wanted_lines(
        &self,
        logged: &[(DeviceId, Vec<LogLine>)],
        now: Time,
    ) -> Vec<(DeviceId, Time, LogLine)> {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            logged.iter().filter(|(device, _)| self.is_all_watched() || watched.contains_key(device));
        wanted.flat_map(|(device, lines)| lines.iter().map(|line| (*device, now, line.clone()))).collect()
    }

    /// Shows shadows that are on disk now, of devices that somebody watches.
    pub(crate) fn show_shadows(&self, saved: Vec<Save>) {
        let shadows = saved.into_iter().filter_map(|save| match save {
            Save::Shadow(shadow, _) => Some(*shadow),
            _ => None,
        });
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        let shown: Vec<Shadow> =
            shadows.filter(|shadow| self.is_all_watched() || watched.contains_key(&shadow.device)).collect();
        drop(watched);
        if !shown.is_empty() {
            let _ = self.news.send(News::Shadows(Arc::new(shown)));
        }
    }

    /// Shows log lines that are on disk now.
    pub(crate) fn show_lines(&self, shown: Vec<(DeviceId, Time, LogLine)>) {
        if !shown.is_empty() {
            let _ = self.news.send(News::Log(Arc::new(shown)));
        }
    }

    /// Shows how the wires of a flow stand.
    pub(crate) fn show_flow(&self, flow: FlowId, wires: serde_json::Value) {
        let _ = self.news.send(News::Flow(flow, Arc::new(wires)));
    }

    /// Shows points that are on disk now.
    pub(crate) fn show(&self, shown: Vec<Shown>) {
        if !shown.is_empty() {
            let _ = self.news.send(News::Telemetry(Arc::new(shown)));
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
            let _ = app.live.news.send(News::Changes(Arc::new(changes)));
        }
    }
}
