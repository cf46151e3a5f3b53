//! What the broker shows of itself to people: its sessions, connected and away, and what it holds.

use std::net::SocketAddr;

use motehub_domain::kept::Principal;

use super::broker::Broker;
use super::out::Out;
use super::session::Session;
use super::wire::reason;
use super::{Listener, Millis, Version};

/// A session, connected or away. Moments are milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// Its number, by which it can be disconnected and forgotten; never used twice.
    pub serial: u64,
    /// Its client identifier.
    pub client_id: String,
    /// Whose it is.
    pub principal: Principal,
    /// Their name.
    pub name: String,
    /// Its connection; `None` if the client is away.
    pub connection: Option<LiveView>,
    /// When it ends; `None` as long as it is connected.
    pub ends_at: Option<Millis>,
    /// How long it outlives its connection, in milliseconds.
    pub expiry_ms: u64,
    /// Topic filters it is subscribed to, with their quality of service.
    pub subscriptions: Vec<(String, u8)>,
    /// Messages that were sent to it and that it has not acknowledged.
    pub in_flight: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Bytes of those.
    pub queued_bytes: usize,
    /// Messages for it that were dropped.
    pub dropped: u64,
}

/// A live connection.
#[derive(Debug, Clone)]
pub struct LiveView {
    /// The remote address.
    pub address: SocketAddr,
    /// Through which listener it came.
    pub listener: Listener,
    /// Which version it speaks.
    pub version: Version,
    /// Since when.
    pub since: Millis,
    /// Its keep-alive in seconds; 0 for none.
    pub keep_alive_s: u16,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only those connected (true) or away (false).
    pub is_connected: Option<bool>,
    /// Only those whose client identifier, owner or address contains this text; the case does not matter.
    pub search: String,
    /// How many to leave out.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

/// What the broker holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open connections, also of those who were not let in yet.
    pub connections: usize,
    /// Sessions, connected or away.
    pub sessions: usize,
    /// Sessions without a connection.
    pub away: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Messages that wait or are not acknowledged.
    pub queued: usize,
    /// Bytes of all that waits for clients, about.
    pub waiting_bytes: usize,
    /// Retained messages.
    pub retained: usize,
}

impl Broker {
    /// The sessions that are wanted, ordered by owner and client identifier, and how many there are in all.
    pub fn sessions(&self, wanted: &Wanted) -> (Vec<SessionView>, usize) {
        let search = wanted.search.to_lowercase();
        let is_wanted = |session: &&Session| {
            wanted.is_connected.is_none_or(|is_connected| session.connection.is_some() == is_connected)
                && (search.is_empty() || self.is_about(session, &search))
        };
        let found = self.sessions.iter().flatten().filter(is_wanted);
        if wanted.limit == 0 {
            return (Vec::new(), found.count());
        }
        let mut found: Vec<&Session> = found.collect();
        found.sort_unstable_by_key(|session| (&session.name, &session.key.client_id, session.serial));
        let page = found.iter().skip(wanted.offset).take(wanted.limit);
        (page.map(|session| self.view(session)).collect(), found.len())
    }

    /// One session.
    pub fn session_view(&self, serial: u64) -> Option<SessionView> {
        self.sessions.iter().flatten().find(|session| session.serial == serial).map(|s| self.view(s))
    }

    fn is_about(&self, session: &Session, search: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(search);
        let conn = session.connection.and_then(|slot| self.conn(slot));
        has(&session.key.client_id)
            || has(&session.name)
            || conn.is_some_and(|conn| conn.peer.to_string().contains(search))
    }

    fn view(&self, session: &Session) -> SessionView {
        let conn = session.connection.and_then(|slot| self.conn(slot));
        SessionView {
            serial: session.serial,
            client_id: session.key.client_id.to_string(),
            principal: session.key.principal,
            name: session.name.to_string(),
            connection: conn.map(|conn| LiveView {
                address: conn.peer,
                listener: conn.listener,
                version: conn.version,
                since: conn.opened_at,
                keep_alive_s: conn.keep_alive_s,
            }),
            ends_at: session.ends_at,
            expiry_ms: session.expiry_ms,
            subscriptions: session.subscriptions.iter().map(|s| (s.text.to_string(), s.qos)).collect(),
            in_flight: session.in_flight.len(),
            queued: session.queue.len(),
            queued_bytes: session.queue_bytes,
            dropped: session.dropped,
        }
    }

    /// What it holds.
    pub fn totals(&self) -> Totals {
        let (connections, sessions, retained) = self.sizes();
        let all = || self.sessions.iter().flatten();
        Totals {
            connections,
            sessions,
            away: all().filter(|session| session.connection.is_none()).count(),
            subscriptions: all().map(|session| session.subscriptions.len()).sum(),
            queued: all().map(|session| session.queue.len() + session.in_flight.len()).sum(),
            waiting_bytes: self.waiting_bytes,
            retained,
        }
    }

    /// Ends the connection of a session; its client may come back. False if it has none.
    pub fn disconnect_session(&mut self, now: Millis, serial: u64, out: &mut Out) -> bool {
        let found = self.sessions.iter().flatten().find(|session| session.serial == serial);
        let Some(slot) = found.and_then(|session| session.connection) else { return false };
        self.end(now, slot, reason::ADMINISTRATIVE, "disconnected by an administrator", true, out);
        true
    }

    /// Ends a session and everything that waits for it, with its connection. False if there is none.
    pub fn remove_session(&mut self, now: Millis, serial: u64, out: &mut Out) -> bool {
        let is_it = |session: &Option<Session>| session.as_ref().is_some_and(|s| s.serial == serial);
        let Some(index) = self.sessions.iter().position(is_it) else { return false };
        self.forget_session(now, index as u32, out);
        true
    }
}
