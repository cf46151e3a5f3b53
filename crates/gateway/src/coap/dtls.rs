//! DTLS 1.2 with pre-shared keys (RFC 6347, RFC 4279) in front of the endpoint: datagrams of peers go in, what they say
//! inside comes out, under an address for each session. Whose key it is, is asked outside, and waited for.
//!
//! A peer that begins anew from the same address has its former session until the new one is established, so that a
//! forged beginning ends nothing (RFC 6347, section 4.2.8). There is no socket and no clock here.

mod record;
mod session;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dimpl::crypto::Dtls12CipherSuite;
use dimpl::{Config, PskResolver};

use record::Shape;
use session::{Session, State};

/// Peers that are established at once; the one that was silent longest makes room.
const SESSIONS_MAX: usize = 20_000;
/// Handshakes at once; the oldest makes room, since its peer can begin anew.
const HANDSHAKES_MAX: usize = 4_096;
/// How long a handshake may take.
const HANDSHAKE_MAX_MS: u64 = 20_000;
/// A session that says nothing for so long is forgotten.
const IDLE_MAX_MS: u64 = 60 * 60_000;
/// Addresses of sessions begin with this: nothing is routed there (RFC 6666).
const SESSION_PREFIX: u128 = 0x0100 << 112;

/// A session, once a peer proved its key; or one that shall become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SessionId(u64);

impl SessionId {
    /// The address under which the endpoint knows it: every session has its own, so that nothing of a former one of the
    /// same peer is left.
    pub(super) fn address(self) -> SocketAddr {
        let address = Ipv6Addr::from(SESSION_PREFIX | u128::from(self.0));
        SocketAddr::new(IpAddr::V6(address), 0)
    }

    /// The session of such an address.
    pub(super) fn of(address: SocketAddr) -> Option<Self> {
        let IpAddr::V6(ip) = address.ip() else { return None };
        let number = u128::from(ip) ^ SESSION_PREFIX;
        u64::try_from(number).ok().map(Self)
    }
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A peer says who it is: answer with [`Sessions::key`].
    Claimed(SessionId, String),
    /// A session said something.
    Said(SessionId, Vec<u8>),
    /// A session is over.
    Gone(SessionId),
}

/// Who a session was proven to be, and by which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven {
    /// The identity.
    pub(super) identity: String,
    /// Its key.
    pub(super) key: String,
    /// From where.
    pub(super) place: SocketAddr,
}

/// What was counted since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counters {
    /// Sessions that were established.
    pub(super) established: u64,
    /// Handshakes that came to nothing: an unknown identity, a wrong key, or no more word.
    pub(super) failed: u64,
    /// What was given up because there was too much of it.
    pub(super) forgotten: u64,
    /// Datagrams that belong to nothing.
    pub(super) stray: u64,
}

/// The sessions of one peer.
#[derive(Default)]
struct Peer {
    established: Option<SessionId>,
    beginning: Option<SessionId>,
}

/// All of them.
pub(super) struct Sessions {
    config: Arc<Config>,
    keys: Arc<Offered>,
    epoch: Instant,
    next: u64,
    peers: HashMap<SocketAddr, Peer>,
    sessions: HashMap<SessionId, Session>,
    /// Handshakes, oldest first.
    beginning: BTreeSet<SessionId>,
    /// Established ones, by when they were heard last.
    heard: BTreeSet<(u64, SessionId)>,
    due: BTreeSet<(u64, SessionId)>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    pub(super) counters: Counters,
}

/// The key that is used next: an identity and its key, set before a datagram is looked at that needs it.
#[derive(Default)]
struct Offered(Mutex<Option<(String, String)>>);

impl PskResolver for Offered {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let offered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = offered.as_ref().filter(|(known, _)| known.as_bytes() == identity);
        fitting.map(|(_, key)| key.clone().into_bytes())
    }
}

impl Sessions {
    /// None yet. All times are milliseconds since `epoch`.
    ///
    /// # Errors
    /// If the cryptography does not work here.
    pub(super) fn new(epoch: Instant) -> io::Result<Self> {
        let keys = Arc::<Offered>::default();
        let config = Config::builder()
            .dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8])
            .dtls13_cipher_suites(&[])
            .handshake_timeout(Duration::from_millis(HANDSHAKE_MAX_MS))
            .with_psk_server(None, keys.clone())
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            config: Arc::new(config),
            keys,
            epoch,
            next: 1,
            peers: HashMap::new(),
            sessions: HashMap::new(),
            beginning: BTreeSet::new(),
            heard: BTreeSet::new(),
            due: BTreeSet::new(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// A datagram came.
    pub(super) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now_ms: u64) {
        let known = self.peers.get(&from);
        let (established, beginning) = known.map_or((None, None), |peer| (peer.established, peer.beginning));
        let session = match record::shape(bytes) {
            Some(Shape::Hello { random, is_first }) => match beginning {
                Some(id)
                    if !is_first || self.sessions.get(&id).is_some_and(|known| known.random == random) =>
                {
                    Some(id)
                }
                // What it answers is not known here any more: its peer begins anew.
                None if !is_first => None,
                former => {
                    former.into_iter().for_each(|id| self.forget(id));
                    Some(self.begin(from, random, now_ms))
                }
            },
            Some(Shape::Handshake) => beginning.or(established),
            Some(Shape::Protected) => established.or(beginning),
            None => None,
        };
        match session {
            Some(id) => self.take(id, bytes, now_ms),
            None => self.counters.stray += 1,
        }
    }

    /// What is known of who a session says to be: the key, or nothing.
    pub(super) fn key(&mut self, id: SessionId, key: Option<String>, now_ms: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let held = session.answered(key);
        for bytes in held {
            self.feed(id, &bytes, now_ms);
        }
    }

    /// Says something to a session.
    pub(super) fn send(&mut self, id: SessionId, bytes: &[u8], now_ms: u64) {
        let now = self.instant(now_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let sent = session.dtls.handle_timeout(now).and_then(|()| session.dtls.send_application_data(bytes));
        match sent {
            Ok(_) => self.drain(id, now_ms),
            Err(_) => self.forget(id),
        }
    }

    /// Ends a session, and tells its peer.
    pub(super) fn close(&mut self, id: SessionId, now_ms: u64) {
        let now = self.instant(now_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.dtls.handle_timeout(now).and_then(|()| session.dtls.close()).is_ok() {
            self.drain(id, now_ms);
        }
        self.forget(id);
    }

    /// Something is due.
    pub(super) fn tick(&mut self, now_ms: u64) {
        let now = self.instant(now_ms);
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.due.remove(&(at, id));
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.due_ms = None;
            // What may go to somebody who asked for nothing is not repeated.
            if !session.has_returned {
                self.forget(id);
                continue;
            }
            match session.dtls.handle_timeout(now) {
                Ok(()) => self.drain(id, now_ms),
                Err(_) => self.forget(id),
            }
        }
        while let Some((_, id)) = self.heard.first().copied().filter(|(at, _)| at + IDLE_MAX_MS <= now_ms) {
            self.close(id, now_ms);
        }
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<u64> {
        let idle = self.heard.first().map(|(at, _)| at + IDLE_MAX_MS);
        self.due.first().map(|(at, _)| *at).into_iter().chain(idle).min()
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    /// What happened next.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Who a session is; `None` if it is over.
    pub(super) fn proven(&self, id: SessionId) -> Option<Proven> {
        let session = self.sessions.get(&id)?;
        let State::Known { identity, key: Some(key) } = &session.state else { return None };
        let (identity, key) = (identity.clone(), key.clone());
        session.is_established.then_some(Proven { identity, key, place: session.place })
    }

    /// How many are established.
    pub(super) fn established(&self) -> usize {
        self.heard.len()
    }

    fn instant(&self, now_ms: u64) -> Instant {
        self.epoch + Duration::from_millis(now_ms)
    }

    fn begin(&mut self, from: SocketAddr, random: [u8; 32], now_ms: u64) -> SessionId {
        if self.beginning.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.beginning.first().copied()
        {
            self.counters.forgotten += 1;
            self.forget(oldest);
        }
        let id = SessionId(self.next);
        self.next += 1;
        let session = Session::new(self.config.clone(), from, random, self.instant(now_ms), now_ms);
        self.sessions.insert(id, session);
        self.beginning.insert(id);
        self.peers.entry(from).or_default().beginning = Some(id);
        id
    }

    /// Gives a datagram to a session; one that says who the peer is waits until that is known.
    fn take(&mut self, id: SessionId, bytes: &[u8], now_ms: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match &session.state {
            State::Unknown => match record::identity(bytes) {
                Some(identity) => {
                    self.events.push_back(Event::Claimed(id, identity.clone()));
                    session.claim(identity, bytes);
                }
                None => self.feed(id, bytes, now_ms),
            },
            State::Claimed { .. } => session.hold(bytes),
            State::Known { .. } => self.feed(id, bytes, now_ms),
        }
    }

    fn feed(&mut self, id: SessionId, bytes: &[u8], now_ms: u64) {
        let now = self.instant(now_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        *self.keys.0.lock().unwrap_or_else(PoisonError::into_inner) = session.offered();
        let fed = session.dtls.handle_timeout(now).and_then(|()| session.dtls.handle_packet(bytes));
        *self.keys.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match fed {
            Ok(()) => self.drain(id, now_ms),
            Err(_) => self.forget(id),
        }
    }

    /// What a session has to say, to its peer and to us.
    fn drain(&mut self, id: SessionId, now_ms: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let drained = session.drain();
        let place = session.place;
        self.out.extend(drained.packets.into_iter().map(|bytes| (place, bytes)));
        let due_ms = match drained.wake.filter(|_| session.has_returned) {
            Some(at) => {
                let after = at.saturating_duration_since(self.epoch);
                Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(now_ms) + 1)
            }
            None => Some(session.heard_ms + HANDSHAKE_MAX_MS),
        };
        if session.due_ms != due_ms {
            if let Some(former) = std::mem::replace(&mut session.due_ms, due_ms) {
                self.due.remove(&(former, id));
            }
            self.due.extend(due_ms.map(|at| (at, id)));
        }
        if drained.is_connected {
            self.established_now(id, now_ms);
        }
        if !drained.said.is_empty()
            && let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_established)
        {
            self.heard.remove(&(session.heard_ms, id));
            session.heard_ms = now_ms;
            self.heard.insert((now_ms, id));
            self.events.extend(drained.said.into_iter().map(|bytes| Event::Said(id, bytes)));
        }
        if drained.is_over {
            self.forget(id);
        }
    }

    /// A peer proved its key: its former session is over.
    fn established_now(&mut self, id: SessionId, now_ms: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        (session.is_established, session.heard_ms) = (true, now_ms);
        let peer = self.peers.entry(session.place).or_default();
        let former = peer.established.replace(id);
        peer.beginning = peer.beginning.filter(|beginning| *beginning != id);
        self.beginning.remove(&id);
        self.heard.insert((now_ms, id));
        self.counters.established += 1;
        former.into_iter().for_each(|former| self.forget(former));
        if self.heard.len() > SESSIONS_MAX
            && let Some((_, silent)) = self.heard.first().copied()
        {
            self.counters.forgotten += 1;
            self.close(silent, now_ms);
        }
    }

    fn forget(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(at) = session.due_ms {
            self.due.remove(&(at, id));
        }
        self.beginning.remove(&id);
        self.heard.remove(&(session.heard_ms, id));
        if let Some(peer) = self.peers.get_mut(&session.place) {
            peer.established = peer.established.filter(|known| *known != id);
            peer.beginning = peer.beginning.filter(|known| *known != id);
            if peer.established.is_none() && peer.beginning.is_none() {
                self.peers.remove(&session.place);
            }
        }
        match session.is_established {
            true => self.events.push_back(Event::Gone(id)),
            false => {
                self.counters.failed += 1;
                if let Some(identity) = session.identity() {
                    tracing::info!(
                        address = %session.place, identity,
                        "a DTLS handshake did not come to an end: an unknown identity, a wrong key, or silence"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
