//! What a unit measured, on its way to the hub: in batches, one at a time, and bounded. While the hub is slow nothing
//! more is read from the unit.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_domain::telemetry::{POINTS_PER_MESSAGE_MAX, Point, When};
use motehub_domain::time::{Span, Time};
use tokio::time::sleep;

use super::Shared;
use crate::hub::{Arrival, Hub, UplinkError};

/// With so many points nothing more is read.
const WAITING_MAX: usize = POINTS_PER_MESSAGE_MAX;
/// How soon a batch that could not be stored is offered again.
const AGAIN: Duration = Duration::from_millis(500);
/// So much may the times of readings that come faster than the clock ticks be ahead of it.
const AHEAD_MAX: Span = Span::seconds(1);

type Delivering = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The readings of one unit.
pub(super) struct Readings {
    shared: Arc<Shared>,
    hub: Arc<dyn Hub>,
    device: DeviceId,
    waiting: Vec<Point>,
    /// The time of the last one: each has its own, so that two that say the same are two.
    last: Time,
    delivering: Option<Delivering>,
}

impl Readings {
    pub(super) fn new(shared: Arc<Shared>, hub: Arc<dyn Hub>, device: DeviceId) -> Self {
        Self { shared, hub, device, waiting: Vec::new(), last: Time(i64::MIN), delivering: None }
    }

    /// One reading.
    pub(super) fn push(&mut self, points: Vec<Point>) {
        let now = self.shared.now();
        let next = Time(self.last.0.saturating_add(1));
        let at = if next > now + AHEAD_MAX { self.last } else { now.max(next) };
        self.last = at;
        let stamped = points.into_iter().map(|point| match point.time {
            When::At(_) => point,
            When::Before(_) => Point { time: When::At(at), ..point },
        });
        self.waiting.extend(stamped);
        self.send();
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Whether everything is stored, or was refused.
    pub(super) fn is_done(&self) -> bool {
        self.delivering.is_none() && self.waiting.is_empty()
    }

    /// Resolves when a batch is stored or refused, with why it was; never while there is none. May be dropped.
    pub(super) async fn delivered(&mut self) -> Option<String> {
        let refused = match &mut self.delivering {
            Some(delivering) => delivering.await,
            None => pending().await,
        };
        self.delivering = None;
        self.send();
        refused
    }

    fn send(&mut self) {
        if self.delivering.is_some() || self.waiting.is_empty() {
            return;
        }
        let count = self.waiting.len().min(POINTS_PER_MESSAGE_MAX);
        let points: Vec<Point> = self.waiting.drain(..count).collect();
        self.delivering = Some(Box::pin(deliver(self.hub.clone(), self.device, points)));
    }
}

/// Offers a batch until it is stored or refused for good; returns why it was.
async fn deliver(hub: Arc<dyn Hub>, device: DeviceId, points: Vec<Point>) -> Option<String> {
    loop {
        let uplink = Uplink::Telemetry(points.clone());
        let arrival = Arrival { device, uplink, mark: None, again: false };
        let outcomes = hub.uplink(vec![arrival]).await;
        match outcomes.into_iter().next() {
            Some(Err(UplinkError::Unavailable(_))) => sleep(AGAIN).await,
            Some(Err(UplinkError::Refused(why))) => return Some(why),
            Some(Ok(())) | None => {
                metrics::counter!("motehub_units_points_total").increment(points.len() as u64);
                return None;
            }
        }
    }
}
