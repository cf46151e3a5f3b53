//! How the broker's memory gets to the disk and back: batches of notes out, sessions and retained messages in.

use motehub_domain::kept::{self, Batch, Principal, Progress, Recalled, RecalledSession, Retained};
use motehub_domain::topic::TopicRights;

use super::Millis;
use super::broker::Broker;
use super::out::{Out, Slot};
use super::session::{Key, Queued, Received, Session, Subscription, Will};
use super::state::{Deferred, Phase};
use super::subscribe::filter_of;
use super::wire::reason;
use crate::hub::Client;

/// How often it is noted that the broker is alive, as long as there are sessions to be kept: after a power cut, this
/// is when their connections ended.
const ALIVE_EVERY_MS: u64 = 60_000;

impl Broker {
    /// Whether there is something for [`Broker::take_notes`].
    pub fn has_notes(&self) -> bool {
        self.notes.has_some()
    }

    /// What is to be kept on disk, with a number for [`Broker::kept`]; `None` if there is nothing, or if the last
    /// batch was not reported yet.
    pub fn take_notes(&mut self) -> Option<(u64, Batch)> {
        let (number, batch) = self.notes.take()?;
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.batch_leaves(batch.taken.keys().copied());
        }
        Some((number, batch))
    }

    /// The batch that has to be on disk for everything that was noted so far.
    pub fn noted(&mut self) -> u64 {
        self.notes.so_far()
    }

    /// A batch is on disk.
    pub fn kept(&mut self, now: Millis, number: u64, out: &mut Out) {
        let slots = self.notes.kept(number);
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.batch_is_kept(now, number);
        }
        for slot in slots {
            self.acknowledge(now, slot, out);
            self.write_deferred(slot, out);
            self.pump(now, slot, out);
        }
        if !self.notes.is_full() {
            for slot in std::mem::take(&mut self.throttled) {
                if let Some(conn) = self.conn_mut(slot) {
                    conn.is_throttled = false;
                    conn.mark_ready(slot, out);
                }
            }
        }
    }

    /// Whether a connection still has to be told that something is on disk.
    pub fn awaits_disk(&self, slot: Slot) -> bool {
        self.conn(slot).is_some_and(|conn| !conn.deferred.is_empty() || !conn.pending.is_empty())
    }

    /// Writes an answer as soon as a batch of notes is on disk, behind the answers that wait already.
    pub(super) fn write_kept(&mut self, slot: Slot, ticket: u64, bytes: &[u8], out: &mut Out) {
        let is_kept = self.notes.is_kept(ticket);
        let Some(conn) = self.conn_mut(slot) else { return };
        if is_kept && conn.deferred.is_empty() {
            return self.write(slot, bytes, out);
        }
        conn.deferred.push_back(Deferred { ticket, told: None, bytes: bytes.into() });
        self.notes.wait(ticket, slot);
    }

    /// Like [`Broker::write_kept`] for an answer that waits also until other nodes know what they are told.
    pub(super) fn write_known(&mut self, slot: Slot, ticket: u64, bytes: &[u8], out: &mut Out) {
        let Some(cluster) = &self.cluster else { return self.write_kept(slot, ticket, bytes, out) };
        let told = cluster.to_know();
        if self.notes.is_kept(ticket) && cluster.peers.are_known(told, ticket) {
            return self.write_kept(slot, ticket, bytes, out);
        }
        let Some(conn) = self.conn_mut(slot) else { return };
        conn.deferred.push_back(Deferred { ticket, told: Some(told), bytes: bytes.into() });
        self.notes.wait(ticket, slot);
        self.wait_for_others(slot);
    }

    /// Whether an answer waits until other nodes know something.
    pub(super) fn awaits_others(&self, slot: Slot) -> bool {
        self.conn(slot).is_some_and(|conn| conn.deferred.iter().any(|deferred| deferred.told.is_some()))
    }

    pub(super) fn write_deferred(&mut self, slot: Slot, out: &mut Out) {
        let Self { conns, notes, cluster, .. } = self;
        let Some(conn) = conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let is_open = !matches!(conn.phase, Phase::Closed);
        let is_known =
            |ticket, told| cluster.as_ref().is_none_or(|cluster| cluster.peers.are_known(told, ticket));
        let is_due = |deferred: &Deferred| {
            notes.is_kept(deferred.ticket) && deferred.told.is_none_or(|told| is_known(deferred.ticket, told))
        };
        while conn.deferred.front().is_some_and(is_due)
            && let Some(Deferred { bytes, .. }) = conn.deferred.pop_front()
        {
            if is_open {
                conn.output.extend_from_slice(&bytes);
                conn.mark_ready(slot, out);
            }
        }
    }

    /// Notes a session as it is now, if it is kept.
    pub(super) fn note_session(&mut self, now: Millis, index: u32) {
        let Some(session) = self.sessions[index as usize].as_ref().filter(|session| session.is_kept) else {
            return;
        };
        let conn = session.connection.and_then(|slot| self.conn(slot));
        let will = match (&session.will, conn.and_then(|conn| conn.will.as_ref())) {
            (Some((due_at, will)), _) => Some((Some(*due_at), will)),
            (None, Some(will)) => Some((None, will)),
            (None, None) => None,
        };
        let record = session.record(will);
        self.notes.session(record);
        self.notes.alive(now);
        self.alive_noted_at = now;
    }

    /// Notes which messages were sent to a client that is gone, so that they are marked when they are sent again.
    pub(super) fn note_sent(&mut self, index: u32) {
        let Self { sessions, notes, .. } = self;
        let Some(session) = sessions[index as usize].as_ref().filter(|session| session.keeps()) else {
            return;
        };
        let sent = session.in_flight.iter().filter(|sent| sent.queued.is_kept);
        for sent in sent.filter(|sent| sent.progress == Progress::Sent && !sent.queued.again) {
            notes.progress(session.serial, sent.queued.number, Progress::Sent);
        }
    }

    /// Notes now and then that the broker is alive.
    pub(super) fn note_alive(&mut self, now: Millis) {
        if now < self.alive_noted_at + ALIVE_EVERY_MS {
            return;
        }
        self.alive_noted_at = now;
        if self.sessions.iter().flatten().any(|session| session.is_kept && session.connection.is_some()) {
            self.notes.alive(now);
        }
    }

    /// Makes the broker what it was when it was stopped or killed. `who` says what a principal may do now; sessions of
    /// those who are gone are forgotten. To be called once, before anything else.
    pub fn recall(&mut self, now: Millis, recalled: Recalled, who: impl Fn(&Principal) -> Option<Client>) {
        for (stamp, message) in recalled.retained {
            let (messages_max, bytes_max) =
                (self.limits.retained_messages_max, self.limits.retained_bytes_max);
            if !self.retained.put(&message, stamp, messages_max, bytes_max) {
                self.counters.dropped_retained += 1;
                self.notes.retained(&message.topic, Retained { message: None, stamp });
            }
        }
        // When the connections of a hub that was killed ended: not later than this.
        let died_at = recalled.alive_at.map_or(now, |at| now.min(at + ALIVE_EVERY_MS));
        for session in recalled.sessions {
            if self.cluster.is_none() {
                self.next_serial = self.next_serial.max(session.session.serial + 1);
            }
            match who(&session.session.principal) {
                Some(client) => self.recall_session(now, died_at, session, client),
                None => self.notes.forget_session(session.session.serial),
            }
        }
        let mut out = Out::default();
        for (id, passed) in recalled.passed {
            self.take_passed(now, id, passed, &mut out);
        }
    }

    pub(super) fn recall_session(
        &mut self,
        now: Millis,
        died_at: Millis,
        recalled: RecalledSession,
        client: Client,
    ) {
        let RecalledSession { session: record, subscriptions, entries, received } = recalled;
        let key = Key { principal: record.principal, client_id: record.client_id };
        if record.expiry_ms == 0 && record.will.is_none() || self.session_of.contains_key(&key) {
            return self.notes.forget_session(record.serial);
        }
        let was_connected = record.ends_at.is_none();
        let (index, mut session) = self.place_for(key, record.serial);
        session.is_kept = true;
        session.identity = client.device;
        session.name = client.name.into();
        session.valid_until = client.until.map(|until| until.0.unsigned_abs());
        session.expiry_ms = record.expiry_ms;
        session.ends_at = Some(record.ends_at.unwrap_or(died_at + record.expiry_ms));
        session.will = record.will.map(|will| {
            let due_at = will.due_at.unwrap_or(died_at + will.delay_ms.min(record.expiry_ms));
            (due_at, Will { message: will.message, delay_ms: will.delay_ms, expiry_ms: will.expiry_ms })
        });
        session.received = received.iter().map(|id| Received { packet_id: *id, is_settled: true }).collect();
        let mut may_be_sent =
            if was_connected { usize::from(self.limits.sent_unacknowledged_max) } else { 0 };
        for (number, entry) in entries {
            session.next_number = session.next_number.max(number + 1);
            let again = entry.progress >= Progress::Sent || may_be_sent > 0;
            may_be_sent = may_be_sent.saturating_sub(1);
            let queued = Queued {
                number,
                ticket: 0,
                is_kept: true,
                again,
                message: entry.message,
                qos: entry.qos,
                retain: entry.retain,
                ids: entry.ids,
            };
            session.recalled(queued, entry.progress);
        }
        self.sessions[index as usize] = Some(session);
        self.set_session_rights(index, &client.rights);
        for (text, kept) in subscriptions {
            self.recall_subscription(index, &text, &kept);
        }
        self.arm_session(now, index);
    }

    fn recall_subscription(&mut self, index: u32, text: &str, kept: &kept::Subscription) {
        let Some(session) = self.sessions[index as usize].as_mut() else { return };
        let found = filter_of(text).filter(|(_, filter)| session.rights.may_subscribe(filter));
        let Some((share, filter)) = found else {
            return self.notes.subscription(session.serial, text, None);
        };
        let subscription = Subscription {
            share: share.map(Into::into),
            filter,
            qos: kept.qos,
            no_local: kept.no_local,
            retain_as_published: kept.retain_as_published,
            id: kept.id,
            text: text.into(),
            is_wanted: false,
        };
        self.routes.insert(share, subscription.filter.as_str(), subscription.interest(index));
        session.subscriptions.push(subscription);
        self.tell_subscribed(index, text);
    }

    /// A place in the table for a new session, which is to be put there.
    pub(super) fn place_for(&mut self, key: Key, serial: u64) -> (u32, Session) {
        let index = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.marks.push((0, 0));
            (self.sessions.len() - 1) as u32
        });
        self.per_principal.entry(key.principal).or_default().push(index);
        self.session_of.insert(key.clone(), index);
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.here.insert(serial, index);
        }
        (index, Session::new(key, serial))
    }

    /// Takes a session out of the table, whatever becomes of it.
    pub(super) fn vacate(&mut self, index: u32) -> Option<Session> {
        let session = self.sessions[index as usize].take()?;
        self.free_sessions.push(index);
        self.session_of.remove(&session.key);
        match self.per_principal.get_mut(&session.key.principal) {
            Some(indexes) if indexes.len() > 1 => indexes.retain(|of| *of != index),
            _ => drop(self.per_principal.remove(&session.key.principal)),
        }
        Some(session)
    }

    /// Ends all sessions of somebody who is gone, with their connections; their wills are not sent.
    pub fn forget_principal(&mut self, now: Millis, principal: &Principal, out: &mut Out) {
        self.changed(*principal);
        for index in self.per_principal.get(principal).cloned().unwrap_or_default() {
            self.set_session_rights(index, &TopicRights::default());
            self.forget_session(now, index, out);
        }
    }

    /// Ends a session, and its connection if it has one.
    pub(super) fn forget_session(&mut self, now: Millis, index: u32, out: &mut Out) {
        let Some(session) = self.sessions[index as usize].as_ref() else { return };
        let serial = session.serial;
        if let Some(slot) = session.connection {
            self.end(now, slot, reason::ADMINISTRATIVE, "disconnected by an administrator", true, out);
        }
        if self.session(Some((index, serial))).is_some() {
            self.end_session(now, index, out);
        }
    }
}
