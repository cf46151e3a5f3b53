//! Units: plain TCP devices that say a line for each reading, or are told one for each change. Each has a task of its
//! own, and one connection at a time; `unit` is the task, `call` one connection per change, `standing` one that stands.
//! Units that dial in are heard wherever they come; the others are dialled from one place at a time.
//!
//! Only addresses inside the networks that a setting allows are dialled or heard, and a name is weighed by what it
//! resolves to. Nothing that a unit says leads anywhere else.

mod attached;
mod call;
mod dial;
mod greeting;
mod listen;
mod pace;
mod queue;
mod readings;
mod standing;
mod unit;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use motehub_domain::id::DeviceId;
use motehub_domain::line::{Direction, Line};
use motehub_domain::network::Network;
use motehub_domain::time::{Span, Time};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::{ConnectionId, Hub};
use crate::link::Clock;

/// Most connections that are being made at once; further ones wait.
const DIALS_MAX: usize = 64;
/// How many words about one unit wait for its task; further ones are dropped: they are found out again.
const WORDS_MAX: usize = 4;
/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 0x58 << 56;
/// In how many places that others left a unit is looked for.
const LEFT_MAX: usize = 4;
/// How long units may take to end what they are at: what was read is stored.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// A unit, as its task knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Which device it is.
    pub device: DeviceId,
    /// How it is spoken to.
    pub line: Line,
    /// After so much silence a connection that stands is over; `None` for never.
    pub silence_max: Option<Span>,
}

/// The units that are reached from here; cheap to clone.
#[derive(Clone)]
pub struct Units(Arc<Shared>);

/// What the tasks of units share.
struct Shared {
    hub: Arc<dyn Hub>,
    networks: Vec<Network>,
    clock: Clock,
    dials: Semaphore,
    next_connection: AtomicU64,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    known: Mutex<HashMap<DeviceId, Known>>,
    /// The hub on whose behalf units are dialled, while they are.
    dialler: Mutex<Option<Arc<dyn Hub>>>,
    /// Who has the connection to an address: one at a time.
    places: Mutex<HashMap<SocketAddr, Arc<tokio::sync::Mutex<()>>>>,
}

struct Known {
    unit: Unit,
    words: mpsc::Sender<Word>,
    forgotten: CancellationToken,
    /// Its own addresses while it is somewhere else: another one may be there.
    left: Vec<SocketAddr>,
}

/// What the task of a unit is told.
enum Word {
    /// It dialled in.
    Came(TcpStream, SocketAddr),
    /// It greeted at another address than its own.
    FoundAt(SocketAddr),
}

impl Units {
    /// None yet, inside of these networks. None is dialled before [`Units::dial`].
    pub fn new(hub: Arc<dyn Hub>, networks: Vec<Network>, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            hub,
            networks,
            clock,
            dials: Semaphore::new(DIALS_MAX),
            next_connection: AtomicU64::new(FIRST_CONNECTION),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            known: Mutex::default(),
            dialler: Mutex::default(),
            places: Mutex::default(),
        }))
    }

    /// There is this unit, with these settings. Nothing happens if that was known; else it is reached anew.
    pub fn know(&self, unit: Unit) {
        let mut known = self.0.known();
        if known.get(&unit.device).is_some_and(|it| it.unit == unit) {
            return;
        }
        self.begin(&mut known, unit);
    }

    /// From now on those that do not dial in are dialled, on behalf of this hub.
    pub fn dial(&self, hub: Arc<dyn Hub>) {
        self.dial_or_not(Some(hub));
    }

    /// They are not dialled from here any more.
    pub fn rest(&self) {
        self.dial_or_not(None);
    }

    fn dial_or_not(&self, hub: Option<Arc<dyn Hub>>) {
        let mut known = self.0.known();
        *self.0.dialler() = hub;
        let dialled = known.values().filter(|it| it.unit.line.direction == Direction::Dial);
        let dialled: Vec<Unit> = dialled.map(|it| it.unit.clone()).collect();
        dialled.into_iter().for_each(|unit| self.begin(&mut known, unit));
    }

    /// A unit has a task from now on, if it is reached from here. One that it had ends.
    fn begin(&self, known: &mut HashMap<DeviceId, Known>, unit: Unit) {
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let forgotten = self.0.shutdown.child_token();
        let now = Known { unit: unit.clone(), words, forgotten: forgotten.clone(), left: Vec::new() };
        if let Some(before) = known.insert(unit.device, now) {
            before.forgotten.cancel();
        }
        let hub = match unit.line.direction {
            Direction::Dial => self.0.dialler().clone(),
            Direction::Listen => Some(self.0.hub.clone()),
        };
        if let Some(hub) = hub {
            self.0.tasks.spawn(unit::run(self.0.clone(), hub, unit, heard, forgotten));
        }
    }

    /// These are all units that there are.
    pub fn know_all(&self, units: Vec<Unit>) {
        let here: Vec<DeviceId> = self.0.known().keys().copied().collect();
        for device in here.into_iter().filter(|device| units.iter().all(|unit| unit.device != *device)) {
            self.forget(device);
        }
        units.into_iter().for_each(|unit| self.know(unit));
    }

    /// It is not reached any more.
    pub fn forget(&self, device: DeviceId) {
        if let Some(unit) = self.0.known().remove(&device) {
            unit.forgotten.cancel();
        }
    }

    /// Takes units that dial in, until the end.
    pub async fn listen(self, listener: TcpListener, shutdown: CancellationToken) {
        listen::run(self.0, listener, shutdown).await;
    }

    /// Runs until `shutdown`, and then until what was read is stored.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let _ = timeout(DRAIN_MAX, self.0.tasks.wait()).await;
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<DeviceId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dialler(&self) -> MutexGuard<'_, Option<Arc<dyn Hub>>> {
        self.dialler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        (self.clock)()
    }

    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// The only place for a connection to an address.
    async fn place(&self, address: SocketAddr) -> OwnedMutexGuard<()> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| Arc::strong_count(place) > 1);
            places.entry(address).or_default().clone()
        };
        place.lock_owned().await
    }

    /// A unit is not at its own addresses, which are these; none if it is.
    fn note_left(&self, device: DeviceId, left: Vec<SocketAddr>) {
        if let Some(unit) = self.known().get_mut(&device) {
            unit.left = left;
        }
    }

    /// Where units ought to be that are somewhere else.
    fn left(&self) -> Vec<SocketAddr> {
        self.known().values().flat_map(|unit| &unit.left).copied().take(LEFT_MAX).collect()
    }

    /// Tells the task of the unit that greets so, if there is one. Returns whether there is.
    fn tell_greeter(&self, greeting: &str, direction: Direction, word: Word) -> bool {
        let known = self.known();
        let is_it = |it: &&Known| {
            it.unit.line.direction == direction && it.unit.line.greeting.as_deref() == Some(greeting)
        };
        match known.values().find(is_it) {
            Some(unit) => unit.words.try_send(word).is_ok(),
            None => false,
        }
    }

    /// Tells the task of the unit that dials in from an address and does not greet, if there is one.
    fn tell_caller(&self, stream: TcpStream, peer: SocketAddr) -> bool {
        let known = self.known();
        let is_it = |it: &&Known| {
            let line = &it.unit.line;
            let ip = line.address.as_ref().and_then(motehub_domain::line::Address::ip);
            line.direction == Direction::Listen
                && line.greeting.is_none()
                && ip == Some(peer.ip().to_canonical())
        };
        match known.values().find(is_it) {
            Some(unit) => unit.words.try_send(Word::Came(stream, peer)).is_ok(),
            None => false,
        }
    }

    /// Whether units dial in from an address without a greeting.
    fn has_caller(&self, peer: SocketAddr) -> bool {
        let known = self.known();
        known.values().any(|it| {
            let line = &it.unit.line;
            let ip = line.address.as_ref().and_then(motehub_domain::line::Address::ip);
            line.direction == Direction::Listen
                && line.greeting.is_none()
                && ip == Some(peer.ip().to_canonical())
        })
    }
}
