//! Boards with ESP-FIRMWARE, which have an HTTP server: they are asked whether they are there, and posted their script.
//! Each has a task of its own; what it does next is decided in `board`, `exchange` is one request, `call` does both.
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
    known: Mutex<HashMap<DeviceId, Known>>,
}

struct Known {
    address: SocketAddr,
    words: mpsc::Sender<Word>,
    forgotten: CancellationToken,
    /// Its MQTT connections: its script hears on one of them.
    ears: Vec<(ConnectionId, mpsc::Sender<Downlink>)>,
}

impl Boards {
    /// None yet.
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

    /// A board is at this address, and runs this of ours as far as is known. Nothing happens if that was known.
    pub fn know(&self, device: DeviceId, address: SocketAddr, runs: Option<Digest>) {
        let mut known = self.known();
        let ears = match known.remove(&device) {
            Some(board) if board.address == address => {
                known.insert(device, board);
                return;
            }
            Some(board) => {
                board.forgotten.cancel();
                board.ears
            }
            None => Vec::new(),
        };
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let forgotten = self.0.shutdown.child_token();
        known.insert(device, Known { address, words, forgotten: forgotten.clone(), ears });
        drop(known);
        self.0.tasks.spawn(call::run(self.0.clone(), device, address, runs, heard, forgotten));
    }

    /// It is not called any more.
    pub fn forget(&self, device: DeviceId) {
        if let Some(board) = self.known().remove(&device) {
            board.forgotten.cancel();
        }
    }

    /// Whether a device is a board that is called.
    pub fn knows(&self, device: DeviceId) -> bool {
        self.known().contains_key(&device)
    }

    /// Something was heard of a board.
    pub fn tell(&self, device: DeviceId, word: Word) {
        let known = self.known();
        let is_lost = known.get(&device).is_some_and(|board| board.words.try_send(word).is_err());
        if is_lost {
            metrics::counter!("motehub_boards_words_dropped_total").increment(1);
        }
    }

    /// An MQTT connection begins. Returns whether it is one of a board, whose connections say nothing of whether it is
    /// there.
    pub fn connected(&self, connection: &Connection, downlinks: &mpsc::Sender<Downlink>) -> bool {
        match self.known().get_mut(&connection.device) {
            Some(board) => {
                board.ears.push((connection.id, downlinks.clone()));
                true
            }
            None => false,
        }
    }

    /// An MQTT connection ended. If it was one of a board, that may be away.
    pub fn left(&self, connection: ConnectionId) {
        for board in self.known().values_mut() {
            let before = board.ears.len();
            board.ears.retain(|(id, _)| *id != connection);
            if board.ears.len() < before {
                let _ = board.words.try_send(Word::Left);
                return;
            }
        }
    }

    /// Runs until `shutdown`, and then until what is under way has ended.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let _ = timeout(DRAIN_MAX, self.0.tasks.wait()).await;
    }

    fn known(&self) -> MutexGuard<'_, HashMap<DeviceId, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Says something to the script of a board, by way of MQTT. A full queue loses it.
    fn pass_on(&self, device: DeviceId, downlink: &Downlink) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, ear) in known.get(&device).into_iter().flat_map(|board| &board.ears) {
            let _ = ear.try_send(downlink.clone());
        }
    }

    /// Milliseconds since the boards began.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
