//! The broker as one structure: its tables, the way bytes come in, and the way bytes and deeds go out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use motehub_domain::kept::Principal;

use super::cluster::Cluster;
use super::deliver::Delivery;
use super::notes::Notes;
use super::reply;
use super::retained::Retained;
use super::routes::Routes;
use super::session::{Key, Session};
use super::stale::Stale;
use super::state::{Conn, Outcome, Phase};
use super::wire::{self, Fault, Frame, kind, reason};
use super::{Counters, Flow, Limits, Listener, Millis, Out, Slot, Token, Version};
use crate::hub::{ConnectionId, UplinkError};

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Connection(u32, u64),
    Session(u32, u64),
}

/// The broker. See the module's description.
pub struct Broker {
    pub(super) limits: Limits,
    pub(super) conns: Vec<Option<Conn>>,
    pub(super) free_slots: Vec<u32>,
    pub(super) per_address: HashMap<IpAddr, usize>,
    pub(super) sessions: Vec<Option<Session>>,
    pub(super) free_sessions: Vec<u32>,
    pub(super) session_of: HashMap<Key, u32>,
    /// Places of the sessions of each.
    pub(super) per_principal: HashMap<Principal, Vec<u32>>,
    pub(super) stale: Stale,
    /// CONNECTs of each address since `connects_since`.
    pub(super) connects: HashMap<IpAddr, u32>,
    pub(super) connects_since: Millis,
    /// Bytes of all that waits for clients, about.
    pub(super) waiting_bytes: usize,
    pub(super) weighed_at: Millis,
    pub(super) next_serial: u64,
    pub(super) routes: Routes,
    /// Topics of which the hub wants to hear.
    pub(super) taps: HashSet<Box<str>>,
    pub(super) retained: Retained,
    pub(super) timers: BinaryHeap<Reverse<(Millis, Timer)>>,
    pub(super) retained_swept_at: Millis,
    /// When it was last noted that the broker is alive.
    pub(super) alive_noted_at: Millis,
    pub(super) notes: Notes,
    /// Connections that are not read until the disk has caught up.
    pub(super) throttled: Vec<Slot>,
    pub(super) counters: Counters,
    /// What it knows because there are others; `None` if there are none.
    pub(super) cluster: Option<Box<Cluster>>,
    /// Kept for its capacity.
    pub(super) deliveries: Vec<Delivery>,
    /// Per session: in which round it was last met, and where in `deliveries` it is.
    pub(super) marks: Vec<(u64, u32)>,
    pub(super) round: u64,
}

impl Broker {
    /// A broker without connections.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            conns: Vec::new(),
            free_slots: Vec::new(),
            per_address: HashMap::new(),
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            session_of: HashMap::new(),
            per_principal: HashMap::new(),
            stale: Stale::default(),
            connects: HashMap::new(),
            connects_since: 0,
            waiting_bytes: 0,
            weighed_at: 0,
            next_serial: 1,
            routes: Routes::default(),
            taps: HashSet::new(),
            retained: Retained::default(),
            timers: BinaryHeap::new(),
            retained_swept_at: 0,
            alive_noted_at: 0,
            notes: Notes::default(),
            throttled: Vec::new(),
            counters: Counters::default(),
            cluster: None,
            deliveries: Vec::new(),
            marks: Vec::new(),
            round: 0,
        }
    }

    /// A transport connection was made. `None` if there are too many: close it without a word.
    pub fn opened(&mut self, now: Millis, id: ConnectionId, peer: SocketAddr) -> Option<Slot> {
        let here = self.per_address.get(&peer.ip()).copied().unwrap_or(0);
        let open = self.conns.len() - self.free_slots.len();
        if open >= self.limits.connections_max || here >= self.limits.connections_per_address_max {
            self.counters.refused_limit += 1;
            return None;
        }
        self.per_address.insert(peer.ip(), here + 1);
        let conn = Conn::new(now, id, peer, now + self.limits.connect_wait_ms);
        let index = self.free_slots.pop().unwrap_or_else(|| {
            self.conns.push(None);
            (self.conns.len() - 1) as u32
        });
        self.conns[index as usize] = Some(conn);
        self.arm_connection(now, Slot(index));
        Some(Slot(index))
    }

    /// Bytes came. There may be many packets in them, or a part of one.
    pub fn received(&mut self, now: Millis, slot: Slot, bytes: &[u8], out: &mut Out) {
        let Some(conn) = self.conn_mut(slot) else { return };
        conn.last_at = now;
        let mut held = std::mem::take(&mut conn.inbound);
        let rest = if held.is_empty() {
            let used = self.consume(now, slot, bytes, out);
            bytes[used..].to_vec()
        } else {
            held.extend_from_slice(bytes);
            let used = self.consume(now, slot, &held, out);
            held.drain(..used);
            if held.is_empty() { Vec::new() } else { held }
        };
        if let Some(conn) = self.conn_mut(slot)
            && !matches!(conn.phase, Phase::Closed)
        {
            conn.inbound = rest;
        }
    }

    /// Handles whole packets as long as the connection takes any; returns how many bytes they had.
    fn consume(&mut self, now: Millis, slot: Slot, bytes: &[u8], out: &mut Out) -> usize {
        let mut used = 0;
        while let Some(conn) = self.conn(slot) {
            let bytes_max = match conn.phase {
                // Whatever else it is, it is not worth waiting for the rest.
                Phase::Greeting if bytes.get(used).is_some_and(|first| first >> 4 != kind::CONNECT) => 0,
                Phase::Greeting => self.limits.connect_bytes_max,
                Phase::Open => self.limits.packet_bytes_max,
                Phase::Asking(_) | Phase::Closed => break,
            };
            let rest = &bytes[used..];
            let done = match wire::frame(rest, bytes_max) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    used += frame.end;
                    self.packet(now, slot, &frame, &rest[frame.body..frame.end], out)
                }
                Err(fault) => Err(fault),
            };
            if let Err(Fault(code, why)) = done {
                self.counters.refused_protocol += 1;
                self.end(now, slot, code, why, true, out);
            }
        }
        used
    }

    fn packet(
        &mut self,
        now: Millis,
        slot: Slot,
        frame: &Frame,
        body: &[u8],
        out: &mut Out,
    ) -> Result<(), Fault> {
        if !wire::flags_are_right(frame) {
            return Err(Fault(reason::MALFORMED, "the flags of the packet are wrong"));
        }
        let Some(conn) = self.conn(slot) else { return Ok(()) };
        let version = conn.version;
        let is_v5 = version == Version::V5 || frame.kind == kind::CONNECT && reply::says_v5(body);
        if is_v5 && frame.is_padded() {
            return Err(Fault(reason::MALFORMED, "a length has no more bytes than needed"));
        }
        if let Phase::Greeting = conn.phase {
            return match frame.kind {
                kind::CONNECT => self.greet(now, slot, body, out),
                _ => Err(Fault(reason::PROTOCOL_ERROR, "the first packet is a CONNECT")),
            };
        }
        match frame.kind {
            kind::PUBLISH => self.take_publish(now, slot, frame.flags, body, out),
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
                let (packet_id, code) = wire::acknowledgement(version, body)?;
                match frame.kind {
                    kind::PUBREL => self.take_release(slot, packet_id, out),
                    kind => self.take_acknowledgement(now, slot, kind, packet_id, code, out),
                }
                Ok(())
            }
            kind::SUBSCRIBE => self.take_subscribe(now, slot, body, out),
            kind::UNSUBSCRIBE => self.take_unsubscribe(slot, body, out),
            kind::PINGREQ if body.is_empty() => {
                self.write(slot, &[0xd0, 0], out);
                Ok(())
            }
            kind::DISCONNECT => {
                let (code, expiry_s) = reply::farewell(version, body)?;
                self.take_disconnect(now, slot, code, expiry_s, out)
            }
            kind::CONNECT => Err(Fault(reason::PROTOCOL_ERROR, "a second CONNECT")),
            kind::AUTH => Err(Fault(reason::PROTOCOL_ERROR, "there is no extended authentication here")),
            _ => Err(Fault(reason::PROTOCOL_ERROR, "only servers send such packets")),
        }
    }

    /// Gives the bytes to write, in exchange for an empty buffer, and refills from what waits in the session.
    /// Call it again after writing, until it gives nothing.
    pub fn take(&mut self, now: Millis, slot: Slot, buffer: &mut Vec<u8>, out: &mut Out) -> Flow {
        let Some(conn) = self.conn_mut(slot) else { return Flow::Closing };
        buffer.clear();
        std::mem::swap(&mut conn.output, buffer);
        conn.is_ready = false;
        let is_closed = matches!(conn.phase, Phase::Closed);
        let weighed = std::mem::take(&mut conn.output_weighed);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(weighed);
        if is_closed {
            return Flow::Closing;
        }
        if !buffer.is_empty() {
            self.pump(now, slot, out);
        }
        Flow::Open
    }

    /// Whether so much is unacknowledged that the socket should not be read for now.
    pub fn is_full(&mut self, slot: Slot) -> bool {
        let (taken_max, bytes_max) =
            (usize::from(self.limits.taken_unacknowledged_max), self.limits.taken_bytes_max);
        let disk_is_full = self.notes.is_full();
        let Some(conn) = self.conn_mut(slot) else { return false };
        if disk_is_full && !std::mem::replace(&mut conn.is_throttled, true) {
            self.throttled.push(slot);
        }
        let Some(conn) = self.conn(slot) else { return false };
        disk_is_full
            || conn.pending.len() + conn.deferred.len() >= taken_max
            || conn.pending_bytes >= bytes_max
    }

    /// The connection is closed and everything it asked of the hub is settled: its place is free.
    pub fn forget(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        self.free_slots.push(slot.0);
        let address = conn.peer.ip();
        match self.per_address.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.per_address.remove(&address)),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says through which listener a connection came; TCP if it is not said.
    pub fn came_through(&mut self, slot: Slot, listener: Listener) {
        if let Some(conn) = self.conn_mut(slot) {
            conn.listener = listener;
        }
    }

    /// What its client showed in TLS.
    pub fn came_with(&mut self, slot: Slot, certificate: &[u8]) {
        if let Some(conn) = self.conn_mut(slot) {
            conn.certificate = Some(certificate.into());
        }
    }

    /// How many connections, sessions and retained messages there are.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.conns.len() - self.free_slots.len(), self.session_of.len(), self.retained.len())
    }

    pub(super) fn conn(&self, slot: Slot) -> Option<&Conn> {
        self.conns.get(slot.0 as usize)?.as_ref()
    }

    pub(super) fn conn_mut(&mut self, slot: Slot) -> Option<&mut Conn> {
        self.conns.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(super) fn session(&self, at: Option<(u32, u64)>) -> Option<&Session> {
        let (index, serial) = at?;
        self.sessions.get(index as usize)?.as_ref().filter(|session| session.serial == serial)
    }

    pub(super) fn session_mut(&mut self, at: Option<(u32, u64)>) -> Option<&mut Session> {
        let (index, serial) = at?;
        self.sessions.get_mut(index as usize)?.as_mut().filter(|session| session.serial == serial)
    }

    /// Appends to a connection's output.
    pub(super) fn write(&mut self, slot: Slot, bytes: &[u8], out: &mut Out) {
        if let Some(conn) = self.conn_mut(slot)
            && !matches!(conn.phase, Phase::Closed)
        {
            conn.output.extend_from_slice(bytes);
            conn.mark_ready(slot, out);
        }
    }

    /// Appends to a connection's output unless the client takes only smaller packets; whether it did.
    pub(super) fn write_if_it_fits(&mut self, slot: Slot, bytes: &[u8], out: &mut Out) -> bool {
        let fits = self.conn(slot).is_some_and(|conn| bytes.len() <= conn.packet_bytes_max);
        if fits {
            self.write(slot, bytes, out);
        }
        fits
    }

    /// The hub's outcomes of uplinks, in any order.
    pub fn settled(
        &mut self,
        now: Millis,
        slot: Slot,
        outcomes: impl IntoIterator<Item = (Token, Result<(), UplinkError>)>,
        out: &mut Out,
    ) {
        let Some(conn) = self.conn_mut(slot) else { return };
        let mut counters = (0, 0);
        for (token, outcome) in outcomes {
            let at = token.0.checked_sub(conn.first_token).and_then(|at| usize::try_from(at).ok());
            let Some(pending) = at.and_then(|at| conn.pending.get_mut(at)) else { continue };
            pending.outcome = Some(match outcome {
                Ok(()) => Outcome::Taken,
                Err(UplinkError::Refused(why)) => {
                    counters.0 += 1;
                    Outcome::Refused(reason::BAD_PAYLOAD, why)
                }
                Err(UplinkError::Unavailable(_)) => {
                    counters.1 += 1;
                    Outcome::Unavailable
                }
            });
        }
        self.counters.refused_payload += counters.0;
        self.counters.refused_unavailable += counters.1;
        self.acknowledge(now, slot, out);
    }
}
