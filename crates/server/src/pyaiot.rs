//! The listener for Pyaiot: its gateways at `/gw`, for the nodes they speak for, and the programs made for it at `/ws`.
//! It is off unless it is asked for: what original programs send is neither encrypted nor, without a further setting,
//! of limited age.

mod clients;
mod gateway;
mod nodes;
mod orders;
mod session;
mod token;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use motehub_domain::artifact::Digest;
use motehub_domain::effects::Save;
use motehub_domain::id::{DeviceId, PyaiotKeyId};
use motehub_domain::pyaiot::Key;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::ConnectionId;
use motehub_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::words::Word;
use crate::mirror::Mirror;
use crate::secrets;

pub(crate) use token::KeyFile;

/// Connections of nodes are numbered from here on, far from those of other gateways.
const FIRST_CONNECTION: u64 = 7 << 61;
/// How far ahead of ours the clock of a gateway may be.
const AHEAD_MAX: Span = Span::minutes(1);
/// How many tokens are remembered that serve once.
const TOKENS_KEPT: usize = 10_000;

/// The keys, and the gateways that are here. Keys are in memory: an original gateway that is answered with an error
/// because the store is busy never tries again.
pub(crate) struct Pyaiot {
    keys: Mirror<Vec<Key>>,
    used: Mutex<HashMap<Digest, Time>>,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    owners: Mutex<HashMap<DeviceId, ConnectionId>>,
    next: AtomicU64,
}

/// A gateway that is here.
pub(crate) struct Link {
    /// By which key.
    pub(crate) key: PyaiotKeyId,
    /// From where.
    pub(crate) address: SocketAddr,
    /// Since when.
    pub(crate) since: Time,
    /// For how many devices it speaks.
    pub(crate) devices: AtomicUsize,
    /// How many of its nodes are no devices it may speak for.
    pub(crate) strangers: AtomicUsize,
    /// Whether it does what it is told, as far as is known.
    pub(crate) listens: AtomicBool,
    /// Cancelled when its key is revoked.
    revoked: CancellationToken,
    /// A device was registered: it may be one of its nodes.
    registered: Notify,
}

impl Pyaiot {
    /// With the keys that are kept.
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Self {
            keys: Mirror::new(keys),
            used: Mutex::default(),
            links: Mutex::default(),
            owners: Mutex::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
        }
    }

    /// Reads all keys again. Gateways that came in by another one are cut off.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let take = |keys: &mut Vec<Key>, found| {
            *keys = found;
            let links = self.links();
            let has = |id: PyaiotKeyId| keys.iter().any(|key| key.id == id);
            links.values().filter(|link| !has(link.key)).for_each(|link| link.revoked.cancel());
        };
        self.keys.refresh(|| store.pyaiot_keys(), take).await
    }

    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        for save in saved {
            match save {
                Save::PyaiotKey(key) => {
                    let mut keys = self.keys.change();
                    keys.retain(|known| known.id != key.id);
                    keys.push((**key).clone());
                }
                Save::DeletePyaiotKey(id) => {
                    self.keys.change().retain(|key| key.id != *id);
                    self.links()
                        .values()
                        .filter(|link| link.key == *id)
                        .for_each(|link| link.revoked.cancel());
                }
                Save::PyaiotKeyUsed(id, at) => {
                    let mut keys = self.keys.change();
                    keys.iter_mut().filter(|key| key.id == *id).for_each(|key| key.last_used_at = Some(*at));
                }
                Save::Device(_) => self.links().values().for_each(|link| link.registered.notify_one()),
                _ => {}
            }
        }
    }

    /// How many keys take tokens of any age.
    pub(crate) fn ageless_keys(&self) -> usize {
        self.keys.look().iter().filter(|key| key.token_age_max.is_none()).count()
    }

    /// The gateways that are here.
    pub(crate) fn here(&self) -> Vec<Arc<Link>> {
        self.links().values().cloned().collect()
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that serves once has served at another node.
    pub(crate) fn hear_served(&self, token: Digest, until: Time, now: Time) {
        self.is_first_use(token, until, now);
    }

    /// Whose token this is, if it is one that may be used now; and what of it is remembered, and until when, if it
    /// serves once.
    fn admitted(&self, token: &str, now: Time) -> Option<(Key, Option<(Digest, Time)>)> {
        let keys = self.keys.look();
        let (key, made_at) = keys.iter().find_map(|key| Some((key.clone(), token::opened(token, key)?)))?;
        drop(keys);
        match key.token_age_max {
            None => Some((key, None)),
            Some(age_max) if now - made_at <= age_max && made_at - now <= AHEAD_MAX => {
                let (token, until) = (secrets::digest(token), now + age_max + AHEAD_MAX);
                self.is_first_use(token, until, now).then_some((key, Some((token, until))))
            }
            Some(_) => None,
        }
    }

    /// Remembers a token for as long as it would be young enough.
    fn is_first_use(&self, token: Digest, until: Time, now: Time) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > now);
        // Whoever has the key could fill this; then nobody comes in until some have grown too old.
        used.len() < TOKENS_KEPT && used.insert(token, until).is_none()
    }

    fn begin(&self, key: &Key, address: SocketAddr, now: Time) -> (u64, Arc<Link>) {
        let link = Link {
            key: key.id,
            address,
            since: now,
            devices: AtomicUsize::new(0),
            strangers: AtomicUsize::new(0),
            listens: AtomicBool::new(true),
            revoked: CancellationToken::new(),
            registered: Notify::new(),
        };
        let (number, link) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(link));
        self.links().insert(number, link.clone());
        // It may have been revoked since the token was looked at.
        let keys = self.keys.look();
        if !keys.iter().any(|known| known.id == key.id) {
            link.revoked.cancel();
        }
        (number, link)
    }

    fn end(&self, number: u64) {
        self.links().remove(&number);
    }

    /// A gateway speaks for a device from now on. Returns the connection by which another one did.
    fn take_over(&self, device: DeviceId, connection: ConnectionId) -> Option<ConnectionId> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(device, connection)
    }

    /// A gateway does not speak for a device any more.
    fn give_up(&self, device: DeviceId, connection: ConnectionId) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(&device) == Some(&connection) {
            owners.remove(&device);
        }
    }
}

impl App {
    /// Whose token this is. One that serves once serves at one node of a hub.
    fn pyaiot_admitted(&self, token: &str) -> Option<Key> {
        let (key, served) = self.pyaiot.admitted(token, self.now())?;
        if let Some((token, until)) = served {
            self.say_to_all(&Word::Served(token, until));
        }
        Some(key)
    }
}

/// What the routes share.
struct Front {
    app: App,
    shutdown: CancellationToken,
    /// Those that have not proved themselves yet by a first frame.
    unproven: tokio::sync::Semaphore,
}

/// The routes of Pyaiot.
pub(crate) fn router(app: &App, shutdown: CancellationToken) -> Router {
    let unproven = tokio::sync::Semaphore::new(gateway::UNPROVEN_MAX);
    let front = Arc::new(Front { app: app.clone(), shutdown, unproven });
    Router::new()
        .route("/gw", get(gateway::open))
        .route("/ws", get(clients::open))
        .with_state(front)
        .fallback(|| async { (StatusCode::NOT_FOUND, "here are /gw for gateways and /ws for clients\n") })
}
