//! Boards with ESP-FIRMWARE, which have an HTTP server: they are asked whether they are there, and posted their script.
//! Each has a task of its own while they are called from here; what it does next is decided in `board`, `exchange` is
//! one request, `call` does both. Who they are and what they say by MQTT is known also where another node calls them.
//!
//! Only addresses that the hub allows come here. Nothing that a board answers leads anywhere else.

mod board;
mod call;
mod exchange;
mod log;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hub::{Connection, ConnectionId, Hub};

pub use board::Word;
pub use motehub_protocol::esp_firmware::PORT;

/// Most requests to boards at once; further ones wait.
const REQUESTS_MAX: usize = 32;
/// How many words about one board wait for it; further ones are dropped: what matters is said again.
const WORDS_MAX: usize = 64;
/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 0x57 << 56;
/// How long boards may take to end what they are at.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// The boards that are called; cheap to clone.
#[derive(Clone)]
pub struct Boards(Arc<Shared>);

/// What the tasks of boards share.
struct Shared {
    hub: Arc<dyn Hub>,
    started: Instant,
    requests: Semaphore,
    next_connection: AtomicU64,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    known: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    boards: HashMap<DeviceId, Known>,
    /// The hub on whose behalf they are called, while they are.
    caller: Option<Arc<dyn Hub>>,
}

struct Known {
    address: SocketAddr,
    /// What of ours it runs, as far as was known when it was looked up.
    runs: Option<Digest>,
    called: Option<Called>,
    /// Its MQTT connections: its script hears on one of them.
    ears: Vec<(ConnectionId, mpsc::Sender<Downlink>)>,
}

/// The task of a board. Dropping it ends it.
struct Called {
    words: mpsc::Sender<Word>,
    forgotten: CancellationToken,
}

impl Drop for Called {
    fn drop(&mut self) {
        self.forgotten.cancel();
    }
}

impl Boards {
    /// None yet, and nobody is called.
    pub fn new(hub: Arc<dyn Hub>) -> Self {
        Self(Arc::new(Shared {
            hub,
            started: Instant::now(),
            requests: Semaphore::new(REQUESTS_MAX),
            next_connection: AtomicU64::new(FIRST_CONNECTION),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            known: Mutex::default(),
        }))
    }

    /// From now on they are called, on behalf of this hub.
    pub fn call(&self, hub: Arc<dyn Hub>) {
        let mut known = self.known();
        for (device, board) in &mut known.boards {
            board.called = Some(self.begin(*device, board, hub.clone()));
        }
        known.caller = Some(hub);
    }

    /// They are not called from here any more.
    pub fn rest(&self) {
        let mut known = self.known();
        known.caller = None;
        known.boards.values_mut().for_each(|board| board.called = None);
    }

    /// Whether they are called from here.
    pub fn are_called(&self) -> bool {
        self.known().caller.is_some()
    }

    /// A board is at this address, and runs this of ours as far as is known. Nothing happens if it is called there.
    pub fn know(&self, device: DeviceId, address: SocketAddr, runs: Option<Digest>) {
        let mut known = self.known();
        let ears = match known.boards.remove(&device) {
            Some(board) if board.address == address && board.called.is_some() => {
                known.boards.insert(device, board);
                return;
            }
            Some(board) => board.ears,
            None => Vec::new(),
        };
        let mut board = Known { address, runs, called: None, ears };
        board.called = known.caller.clone().map(|hub| self.begin(device, &board, hub));
        known.boards.insert(device, board);
    }

    fn begin(&self, device: DeviceId, board: &Known, hub: Arc<dyn Hub>) -> Called {
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let forgotten = self.0.shutdown.child_token();
        let (shared, end) = (self.0.clone(), forgotten.clone());
        self.0.tasks.spawn(call::run(shared, hub, (device, board.address), board.runs, heard, end));
        Called { words, forgotten }
    }

    /// It is not called any more.
    pub fn forget(&self, device: DeviceId) {
        self.known().boards.remove(&device);
    }

    /// Whether a device is a board that is called, by whatever node.
    pub fn knows(&self, device: DeviceId) -> bool {
        self.known().boards.contains_key(&device)
    }

    /// Something was heard of a board: its task is told, if that is here.
    pub fn tell(&self, device: DeviceId, word: Word) {
        let known = self.known();
        let called = known.boards.get(&device).and_then(|board| board.called.as_ref());
        if called.is_some_and(|called| called.words.try_send(word).is_err()) {
            metrics::counter!("motehub_boards_words_dropped_total").increment(1);
        }
    }

    /// Says something to the script of a board, by way of its MQTT connections to this node. A full queue loses it.
    pub fn pass_on(&self, device: DeviceId, downlink: &Downlink) {
        for (_, ear) in self.known().boards.get(&device).into_iter().flat_map(|board| &board.ears) {
            let _ = ear.try_send(downlink.clone());
        }
    }

    /// An MQTT connection begins. Returns whether it is one of a board, whose connections say nothing of whether it is
    /// there.
    pub fn connected(&self, connection: &Connection, downlinks: &mpsc::Sender<Downlink>) -> bool {
        match self.known().boards.get_mut(&connection.device) {
            Some(board) => {
                board.ears.push((connection.id, downlinks.clone()));
                true
            }
            None => false,
        }
    }

    /// An MQTT connection ended. Returns the board of which it was one: that may be away.
    pub fn left(&self, connection: ConnectionId) -> Option<DeviceId> {
        let mut known = self.known();
        let is_it =
            |ears: &[(ConnectionId, mpsc::Sender<Downlink>)]| ears.iter().any(|(id, _)| *id == connection);
        let (device, board) = known.boards.iter_mut().find(|(_, board)| is_it(&board.ears))?;
        board.ears.retain(|(id, _)| *id != connection);
        Some(*device)
    }

    /// Runs until `shutdown`, and then until what is under way has ended.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let _ = timeout(DRAIN_MAX, self.0.tasks.wait()).await;
    }

    fn known(&self) -> MutexGuard<'_, Table> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Milliseconds since the boards began.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
