//! One connection of one node, whatever carries it: first of somebody who is not known, then of a device. A stranger
//! may stay, within bounds: firmware exists that never comes again. What it says is kept and taken when it is let in.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use motehub_domain::device::Dialect;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::time::Span;
use motehub_protocol::riot::Write;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::node::{Node, Step};
use super::values::RESOURCES_MAX;
use super::{Pace, names};
use crate::hub::{
    Arrival, Client, Connection, ConnectionId, Credentials, Hub, Knock, Refusal, Transport, UplinkError,
};

/// How many downlinks wait for one node; further ones are dropped and said again later.
const QUEUE_MAX: usize = 16;
/// Most strangers that are connected at once; further ones are turned away.
const STRANGERS_MAX: usize = 1_000;
/// What a stranger says with more bytes than this of one resource is not kept.
const KEPT_BYTES_MAX: usize = 1_024;

/// What the connections of a listener share.
pub(super) struct House {
    pub(super) hub: Arc<dyn Hub>,
    pub(super) pace: Pace,
    pub(super) shutdown: CancellationToken,
    transport: Transport,
    next: AtomicU64,
    strangers: Arc<Semaphore>,
    started: Instant,
    /// The newest connection of each device; a later one ends it.
    live: Mutex<HashMap<DeviceId, (ConnectionId, CancellationToken)>>,
}

/// The connection of a node.
pub(super) struct Guest {
    house: Arc<House>,
    address: SocketAddr,
    opened_at: Instant,
    /// What it said before it was let in, by resource.
    kept: BTreeMap<String, String>,
    /// What it calls itself, if it says that apart from its resources.
    called: Option<String>,
    /// By which name the hub was asked about it.
    name: Option<String>,
    /// When that was, and when it is asked again.
    asked_at: Option<Instant>,
    ask_at: Option<Instant>,
    place: Option<OwnedSemaphorePermit>,
    inside: Option<Inside>,
    /// When it shall say all it has once more: something could not be stored.
    again_at: Option<Instant>,
}

/// A guest that is a device.
struct Inside {
    device: DeviceId,
    connection: ConnectionId,
    downlinks: mpsc::Receiver<Downlink>,
    replaced: CancellationToken,
    node: Node,
}

/// What is to be said to a node.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Deed {
    /// To be written to its resources.
    pub(super) writes: Vec<Write>,
    /// Whether it shall say all it has.
    pub(super) asks: bool,
    /// Something that it said is not stored.
    pub(super) is_lost: bool,
}

/// The connection is to be ended, and what the node is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    /// As a WebSocket says it (RFC 6455 section 7.4.1).
    pub(super) code: u16,
    /// In a few words.
    pub(super) why: &'static str,
}

const AWAY: Over = Over { code: 1001, why: "the hub stops" };
const REPLACED: Over = Over { code: 1008, why: "the node has a newer connection, or is no device any more" };
const CROWDED: Over = Over { code: 1013, why: "too many nodes that are not let in: come again later" };
const SILENT: Over = Over { code: 1008, why: "nothing was said: say update, with data" };

impl House {
    pub(super) fn new(
        hub: Arc<dyn Hub>,
        pace: Pace,
        transport: Transport,
        first_connection: u64,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            pace,
            shutdown,
            transport,
            next: AtomicU64::new(first_connection),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            started: Instant::now(),
            live: Mutex::default(),
        })
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// A connection of a device begins; it ends when the token is cancelled.
    fn begin(&self, device: DeviceId, id: ConnectionId) -> CancellationToken {
        let replaced = CancellationToken::new();
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, former)) = live.insert(device, (id, replaced.clone())) {
            former.cancel();
        }
        replaced
    }

    fn end(&self, device: DeviceId, id: ConnectionId) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.get(&device).is_some_and(|(newest, _)| *newest == id) {
            live.remove(&device);
        }
    }
}

impl Guest {
    pub(super) fn new(house: Arc<House>, address: SocketAddr) -> Self {
        Self {
            house,
            address,
            opened_at: Instant::now(),
            kept: BTreeMap::new(),
            called: None,
            name: None,
            asked_at: None,
            ask_at: None,
            place: None,
            inside: None,
            again_at: None,
        }
    }

    /// It says this of its resources. Resolves when that is stored, as far as the node is let in.
    pub(super) async fn says(&mut self, said: &[(String, String)]) -> Result<Deed, Over> {
        let now_ms = self.house.ms(Instant::now());
        let Some(inside) = &mut self.inside else {
            for (resource, text) in said.iter().filter(|(_, text)| text.len() <= KEPT_BYTES_MAX) {
                if self.kept.len() < RESOURCES_MAX || self.kept.contains_key(resource) {
                    self.kept.insert(resource.clone(), text.clone());
                }
            }
            return self.look().await;
        };
        let step = inside.node.heard(said.iter().map(|(name, text)| (name.as_str(), text.as_str())), now_ms);
        Ok(self.perform(step).await)
    }

    /// It says who it is, and that it is there.
    pub(super) async fn is_called(&mut self, name: &str) -> Result<Deed, Over> {
        let Some(inside) = &self.inside else {
            self.called = Some(name.to_owned());
            return self.look().await;
        };
        let is_lost = !take(&self.house, inside.device, vec![Uplink::Alive]).await;
        Ok(Deed { is_lost, ..Deed::default() })
    }

    /// Whether it is let in.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// What it says means nothing.
    pub(super) async fn misspoke(&self, why: &str) {
        metrics::counter!("motehub_nodes_refused_total", "reason" => "meaning").increment(1);
        if let Some(inside) = &self.inside {
            self.house.hub.refused(inside.device, why.to_owned()).await;
        }
    }

    /// Waits until something is to be said to it, or something is due. May be dropped while it waits.
    pub(super) async fn waits(&mut self) -> Result<Option<Downlink>, Over> {
        let wake = self.wake_at();
        let shutdown = self.house.shutdown.clone();
        tokio::select! {
            next = async {
                match &mut self.inside {
                    None => std::future::pending().await,
                    Some(Inside { downlinks, replaced, .. }) => tokio::select! {
                        downlink = downlinks.recv() => downlink.ok_or(REPLACED),
                        () = replaced.cancelled() => Err(REPLACED),
                    }
                }
            } => next.map(Some),
            () = tokio::time::sleep_until(wake) => Ok(None),
            () = shutdown.cancelled() => Err(AWAY),
        }
    }

    /// What it waited for is there.
    pub(super) async fn meets(&mut self, downlink: Option<Downlink>) -> Result<Deed, Over> {
        let now = Instant::now();
        let now_ms = self.house.ms(now);
        let Some(inside) = &mut self.inside else { return self.look().await };
        let step = match downlink {
            Some(downlink) => inside.node.say(&downlink, now_ms),
            None => inside.node.elapsed(now_ms),
        };
        let mut deed = self.perform(step).await;
        deed.asks |= self.again_at.take_if(|at| *at <= now).is_some();
        Ok(deed)
    }

    fn wake_at(&self) -> Instant {
        let pace = &self.house.pace;
        let now = Instant::now();
        let far = now + pace.silence_max;
        match &self.inside {
            Some(inside) => {
                let node = inside.node.next_moment();
                let node = node.map(|ms| self.house.started + Duration::from_millis(ms));
                [node, self.again_at].into_iter().flatten().fold(far, Instant::min)
            }
            None => match self.ask_at {
                Some(at) => at,
                None if self.kept.is_empty() => self.opened_at + pace.silence_max,
                None => self.opened_at + pace.name_wait,
            },
        }
    }

    /// Asks about a stranger, if it is time to.
    async fn look(&mut self) -> Result<Deed, Over> {
        let (now, pace) = (Instant::now(), self.house.pace);
        let waited = now.saturating_duration_since(self.opened_at);
        let mut name = self.called.clone().or_else(|| names::name(|resource| self.kept.get(resource)));
        if name.is_none() && !self.kept.is_empty() && waited >= pace.name_wait {
            name = names::plain(&self.address.ip().to_canonical().to_string());
        }
        let Some(name) = name else {
            return if waited >= pace.silence_max { Err(SILENT) } else { Ok(Deed::default()) };
        };
        let is_new = self.name.as_ref() != Some(&name);
        let is_time = match (self.asked_at, self.ask_at) {
            (None, _) => true,
            (Some(asked), _) if is_new => now >= asked + pace.name_wait,
            (_, ask_at) => ask_at.is_some_and(|at| now >= at),
        };
        if !is_time {
            if let (true, Some(asked)) = (is_new, self.asked_at) {
                self.ask_at = Some(asked + pace.name_wait);
            }
            return Ok(Deed::default());
        }
        (self.asked_at, self.ask_at, self.name) = (Some(now), Some(now + pace.ask_every), Some(name.clone()));
        let credentials = Credentials::Riot { uid: name };
        let knock = Knock { address: self.address, transport: self.house.transport, credentials };
        match self.house.hub.authenticate(knock).await {
            Ok(Client { device: Some(identity), .. }) if identity.dialect == Dialect::Riot => {
                Ok(self.enter(identity.device).await)
            }
            Ok(_) | Err(Refusal::BadCredentials | Refusal::NotAllowed) => {
                metrics::counter!("motehub_nodes_refused_total", "reason" => "stranger").increment(1);
                if self.place.is_none() {
                    self.place = self.house.strangers.clone().try_acquire_owned().ok();
                }
                if self.place.is_some() { Ok(Deed::default()) } else { Err(CROWDED) }
            }
            Err(Refusal::Unavailable) => Ok(Deed::default()),
        }
    }

    /// It is let in: what it said before counts, and then it is told what is desired.
    async fn enter(&mut self, device: DeviceId) -> Deed {
        let house = self.house.clone();
        self.place = None;
        let (sender, downlinks) = mpsc::channel(QUEUE_MAX);
        let id = ConnectionId(house.next.fetch_add(1, Ordering::Relaxed));
        let silence_max = i64::try_from(house.pace.silence_max.as_millis()).ok().map(Span);
        let (address, transport) = (self.address, house.transport);
        let connection = Connection { id, device, address, transport, silence_max };
        // The new one is attached before the former one ends, so that the device never seems to be away.
        house.hub.attach(connection, sender).await;
        let replaced = house.begin(device, id);
        let mut node = Node::default();
        let kept = std::mem::take(&mut self.kept);
        let said = kept.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let step = node.heard(said, house.ms(Instant::now()));
        self.inside = Some(Inside { device, connection: id, downlinks, replaced, node });
        let deed = self.perform(step).await;
        house.hub.listens(device).await;
        deed
    }

    async fn perform(&mut self, step: Step) -> Deed {
        let Step { uplinks, writes, asks, refused } = step;
        let mut deed = Deed { writes, asks, is_lost: false };
        let Some(inside) = &self.inside else { return deed };
        for why in refused {
            self.house.hub.refused(inside.device, why).await;
        }
        deed.is_lost = !take(&self.house, inside.device, uplinks).await;
        if deed.is_lost {
            self.again_at = Some(Instant::now() + self.house.pace.ask_every);
        }
        deed
    }

    /// The connection is over.
    pub(super) async fn leave(mut self) {
        let Some(mut inside) = self.inside.take() else { return };
        take(&self.house, inside.device, inside.node.gone()).await;
        self.house.end(inside.device, inside.connection);
        self.house.hub.detach(inside.connection).await;
    }
}

/// Has the hub take what a device said; whether all of it that can be stored is.
async fn take(house: &House, device: DeviceId, uplinks: Vec<Uplink>) -> bool {
    if uplinks.is_empty() {
        return true;
    }
    let arrivals = uplinks.into_iter().map(|uplink| Arrival { device, uplink, mark: None, again: false });
    let outcomes = house.hub.uplink(arrivals.collect()).await;
    let is_lost = outcomes.iter().any(|outcome| matches!(outcome, Err(UplinkError::Unavailable(_))));
    if is_lost {
        metrics::counter!("motehub_nodes_refused_total", "reason" => "not_stored").increment(1);
    }
    !is_lost
}
