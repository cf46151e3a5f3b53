//! How connections and sessions end: DISCONNECT, silence, take-over, expiry; wills; the timers behind them.

use std::cmp::Reverse;
use std::sync::Arc;

use motehub_domain::id::DeviceId;
use motehub_domain::kept::{Message, Principal, Retained};
use motehub_protocol::{Encoding, Said, dialect};

use super::broker::{Broker, Timer};
use super::out::{Out, Slot};
use super::reply;
use super::session::Will;
use super::state::{Attachment, Conn, Phase};
use super::wire::{Fault, reason};
use super::{Millis, Version};
use crate::hub::Arrival;

/// A timer is looked at again at least this often, so that those of ended connections do not pile up.
const TIMER_MS_MAX: u64 = 60_000;
/// How often it is added up what waits for clients.
const WEIGH_MS: u64 = 1_000;
/// How often expired retained messages are removed, and what is remembered of changes.
const SWEEP_MS: u64 = 60_000;

impl Broker {
    /// The transport ended without a word.
    pub fn closed(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        self.end(now, slot, reason::SUCCESS, "", true, out);
    }

    /// Takes a DISCONNECT.
    pub(super) fn take_disconnect(
        &mut self,
        now: Millis,
        slot: Slot,
        code: u8,
        expiry_s: Option<u32>,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let expiry_max_s = self.limits.session_expiry_max_s;
        let at = self.conn(slot).and_then(|conn| conn.session);
        if let (Some(session), Some(expiry_s)) = (self.session_mut(at), expiry_s) {
            if session.expiry_ms == 0 && expiry_s != 0 {
                return Err(Fault(
                    reason::PROTOCOL_ERROR,
                    "a session that was not to be kept cannot be kept",
                ));
            }
            session.expiry_ms = u64::from(expiry_s.min(expiry_max_s)) * 1000;
        }
        self.end(now, slot, reason::SUCCESS, "", code == reason::WITH_WILL || code >= 0x80, out);
        Ok(())
    }

    /// Ends a connection: tells a 5.0 client why if there is a reason, lets go of the session, and sends or drops
    /// the will.
    pub(super) fn end(
        &mut self,
        now: Millis,
        slot: Slot,
        code: u8,
        why: &str,
        with_will: bool,
        out: &mut Out,
    ) {
        let Some(conn) = self.conn_mut(slot) else { return };
        let phase = std::mem::replace(&mut conn.phase, Phase::Closed);
        if let Phase::Closed = phase {
            return;
        }
        if let (Phase::Open, Version::V5, true) = (phase, conn.version, code >= 0x80) {
            let bytes = reply::disconnect(conn.version, code, if conn.wants_reasons { why } else { "" });
            conn.output.extend_from_slice(&bytes);
        }
        conn.mark_ready(slot, out);
        conn.inbound = Vec::new();
        conn.aliases = Vec::new();
        conn.aliases_out = Vec::new();
        if std::mem::replace(&mut conn.attachment, Attachment::None) == Attachment::Done {
            out.detach.push(conn.id);
        }
        let (at, will) = (conn.session, conn.will.take().filter(|_| with_will));
        let Some(session) = self.session_mut(at).filter(|session| session.connection == Some(slot)) else {
            return;
        };
        session.connection = None;
        let (expiry_ms, mut due) = (session.expiry_ms, None);
        session.ends_at = Some(now + expiry_ms);
        if let Some(will) = will {
            if will.delay_ms == 0 || expiry_ms == 0 {
                due = Some(will);
            } else {
                session.will = Some((now + will.delay_ms.min(expiry_ms), will));
            }
        }
        let Some((index, _)) = at else { return };
        if let Some(will) = due {
            self.send_will(now, index, will, out);
        }
        if expiry_ms == 0 {
            self.end_session(now, index, out);
        } else {
            self.note_session(now, index);
            self.note_sent(index);
            self.tell_presence(index);
            self.arm_session(now, index);
        }
    }

    /// Ends a session: its will is sent if it still waits, everything else is forgotten.
    pub(super) fn end_session(&mut self, now: Millis, index: u32, out: &mut Out) {
        let Some(session) = self.sessions[index as usize].as_mut() else { return };
        if let Some((_, will)) = session.will.take() {
            self.send_will(now, index, will, out);
        }
        self.tell_ended(index);
        if let Some(session) = self.sessions[index as usize].as_mut()
            && std::mem::take(&mut session.is_kept)
        {
            self.notes.forget_session(session.serial);
        }
        self.drop_subscriptions(index, |_| true);
        drop(self.vacate(index));
    }

    pub(super) fn send_will(&mut self, now: Millis, index: u32, will: Will, out: &mut Out) {
        let Some(session) = self.sessions[index as usize].as_ref() else { return };
        if !session.rights.may_publish(&will.message.topic) {
            self.counters.refused_rights += 1;
            return;
        }
        if let Some(identity) = &session.identity
            && let Some(meaning) =
                dialect::mqtt_uplink(identity, &will.message.topic, Encoding::Json, &will.message.payload)
        {
            match meaning {
                Ok(Said { uplink, .. }) => {
                    out.offers.push(Arrival { device: identity.device, uplink, mark: None, again: false });
                }
                Err(_) => {
                    self.counters.refused_payload += 1;
                    return;
                }
            }
        }
        let message = match will.expiry_ms {
            None => will.message,
            Some(expiry_ms) => Arc::new(Message {
                topic: will.message.topic.clone(),
                payload: will.message.payload.clone(),
                properties: will.message.properties.clone(),
                expires_at: Some(now + expiry_ms),
                ..*will.message
            }),
        };
        self.route(now, Some(index), &message, out);
    }

    /// Ends the connections of a device, because it was disabled, deleted or has a new credential.
    pub fn disconnect_device(&mut self, now: Millis, device: DeviceId, out: &mut Out) {
        self.changed(Principal::Device(device));
        for index in self.sessions_of(device) {
            if let Some(slot) = self.sessions[index as usize].as_ref().and_then(|s| s.connection) {
                self.end(now, slot, reason::ADMINISTRATIVE, "disconnected by an administrator", true, out);
            }
        }
    }

    /// The server ends: a client is told. Its will is sent: to those who are still here, and to kept sessions.
    pub fn shut_down(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        self.end(now, slot, reason::SHUTTING_DOWN, "", true, out);
    }

    /// When [`Broker::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Millis> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        timer.into_iter().chain(self.cluster_deadline()).min()
    }

    /// Does what is due: silent connections, expired sessions, delayed wills.
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
            && let Some(Reverse((at, timer))) = self.timers.pop()
        {
            match timer {
                Timer::Connection(index, id) => self.connection_due(now, at, Slot(index), id, out),
                Timer::Session(index, serial) => self.session_due(now, at, (index, serial), out),
            }
        }
        if now >= self.retained_swept_at + SWEEP_MS {
            self.retained_swept_at = now;
            for (topic, stamp) in self.retained.sweep(now) {
                self.notes.retained(&topic, Retained { message: None, stamp });
            }
            self.sweep_stale();
        }
        self.tick_cluster(now, out);
        self.note_alive(now);
        self.weigh(now);
    }

    /// Adds up what waits for clients. What is counted between two times is right only about.
    fn weigh(&mut self, now: Millis) {
        if now < self.weighed_at + WEIGH_MS {
            return;
        }
        self.weighed_at = now;
        let outputs = self.conns.iter().flatten().map(|conn| conn.output_weighed);
        let sessions = self.sessions.iter().flatten().map(|session| {
            let in_flight = session.in_flight.iter().map(|sent| sent.queued.message.size_bytes());
            session.queue_bytes + in_flight.sum::<usize>()
        });
        self.waiting_bytes = outputs.chain(sessions).sum();
    }

    fn connection_due(&mut self, now: Millis, at: Millis, slot: Slot, id: u64, out: &mut Out) {
        let is_full = self.is_full(slot);
        let is_its = |conn: &&mut Conn| conn.id.0 == id && conn.timer_at == Some(at);
        let Some(conn) = self.conn_mut(slot).filter(is_its) else { return };
        conn.timer_at = None;
        if is_full {
            // It is we who do not read; its silence says nothing.
            conn.last_at = now;
        }
        match conn.phase {
            Phase::Closed => {}
            Phase::Greeting | Phase::Asking(_) if conn.due_at().is_some_and(|due_at| due_at <= now) => {
                self.end(now, slot, reason::SUCCESS, "", false, out);
            }
            Phase::Open if conn.valid_until.is_some_and(|until| until <= now) => {
                let why = "the token has expired";
                let at = conn.session;
                self.end(now, slot, reason::NOT_AUTHORIZED, why, true, out);
                if let (Some((index, _)), Some(_)) = (at, self.session(at)) {
                    self.end_session(now, index, out);
                }
            }
            Phase::Open if conn.due_at().is_some_and(|due_at| due_at <= now) => {
                self.end(now, slot, reason::KEEP_ALIVE, "nothing was heard for too long", true, out);
            }
            Phase::Greeting | Phase::Asking(_) | Phase::Open => self.arm_connection(now, slot),
        }
    }

    /// Sees to it that the connection is looked at when it is due. At most one timer of it matters.
    pub(super) fn arm_connection(&mut self, now: Millis, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let Some(due_at) = conn.due_at() else { return };
        let at = due_at.min(now + TIMER_MS_MAX);
        if conn.timer_at.is_none_or(|armed| at < armed) {
            conn.timer_at = Some(at);
            self.timers.push(Reverse((at, Timer::Connection(slot.0, conn.id.0))));
        }
    }

    fn session_due(&mut self, now: Millis, at: Millis, session_at: (u32, u64), out: &mut Out) {
        let Some(session) = self.session_mut(Some(session_at)) else { return };
        if session.timer_at == Some(at) {
            session.timer_at = None;
        }
        if session.connection.is_some() {
            return;
        }
        let ends_at = session.ends_at.into_iter().chain(session.valid_until).min();
        if ends_at.is_some_and(|ends_at| ends_at <= now) {
            return self.end_session(now, session_at.0, out);
        }
        if let Some((_, will)) = session.will.take_if(|(will_at, _)| *will_at <= now) {
            self.send_will(now, session_at.0, will, out);
            self.note_session(now, session_at.0);
        }
        self.arm_session(now, session_at.0);
    }

    pub(super) fn arm_session(&mut self, now: Millis, index: u32) {
        let Some(session) = self.sessions[index as usize].as_mut() else { return };
        let Some(due_at) = session.due_at() else { return };
        let at = due_at.min(now + TIMER_MS_MAX);
        if session.timer_at.is_none_or(|armed| at < armed) {
            session.timer_at = Some(at);
            let timer = Timer::Session(index, session.serial);
            self.timers.push(Reverse((at, timer)));
        }
    }
}
