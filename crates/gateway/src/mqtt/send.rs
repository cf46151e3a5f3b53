//! From a session to its client: flow control, sending again, and what the client acknowledges.

use motehub_domain::kept::{Entry, Progress};

use super::broker::Broker;
use super::notes::Notes;
use super::out::{Out, Slot};
use super::session::{InFlight, Queued, Session, packet_id_of};
use super::state::{Conn, Phase};
use super::wire::{self, Sending, kind, reason};
use super::{Counters, Limits, Millis};

/// Where a message goes out.
pub(super) struct Outlet<'a> {
    pub now: Millis,
    pub slot: Slot,
    pub conn: &'a mut Conn,
    pub session: &'a mut Session,
    pub counters: &'a mut Counters,
    pub notes: &'a mut Notes,
    /// Bytes of all that waits for clients.
    pub waiting_bytes: &'a mut usize,
}

impl Broker {
    /// Sends what waits in a session, as far as the client and its connection take it.
    pub(super) fn pump(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Self { sessions, conns, limits, counters, retained, notes, waiting_bytes, .. } = self;
        let Some(conn) = conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let (Phase::Open, Some((index, _))) = (&conn.phase, conn.session) else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        let mut outlet = Outlet { now, slot, conn, session, counters, notes, waiting_bytes };
        while has_room(outlet.conn, outlet.session, limits) {
            let session = &mut *outlet.session;
            let is_again = session.queue.front().is_some_and(|queued| queued.again);
            if session.late.is_some() && !is_again {
                return;
            }
            if let Some(replay) = session.replays.front_mut().filter(|_| !is_again) {
                let follows_suback = outlet.conn.deferred.iter().any(|deferred| deferred.told.is_some());
                if !outlet.notes.is_kept(replay.ticket) || follows_suback {
                    return;
                }
                let Some(message) = retained.next(&replay.filter, replay.after.as_deref(), now) else {
                    session.replays.pop_front();
                    continue;
                };
                replay.after = Some(message.topic.clone());
                let (qos, ids) = (replay.qos.min(message.qos), replay.id.into_iter().collect());
                let mut queued = Queued {
                    number: 0,
                    ticket: 0,
                    is_kept: false,
                    again: false,
                    message: message.clone(),
                    qos,
                    retain: true,
                    ids,
                };
                if qos > 0 {
                    queued.number = session.number();
                    note(session, &mut queued, outlet.notes);
                }
                outlet.send_checked(queued, out);
            } else if session.queue.front().is_some_and(|queued| !outlet.notes.is_kept(queued.ticket)) {
                return;
            } else if let Some(queued) = session.dequeue() {
                *outlet.waiting_bytes = outlet.waiting_bytes.saturating_sub(queued.message.size_bytes());
                outlet.send_checked(queued, out);
            } else {
                return;
            }
        }
    }

    /// After a session was resumed: everything that was not acknowledged is sent again (section 4.4), as far as the
    /// client takes it; the rest as it acknowledges.
    pub(super) fn send_again(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Self { sessions, conns, counters, notes, waiting_bytes, .. } = self;
        let Some(conn) = conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let Some((index, _)) = conn.session else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        let former = std::mem::take(&mut session.in_flight);
        let released = former.iter().filter(|sent| sent.progress == Progress::Released).count();
        let mut room = conn.send_max.saturating_sub(released);
        let mut held_back = Vec::new();
        let mut outlet = Outlet { now, slot, conn, session, counters, notes, waiting_bytes };
        for sent in former {
            if sent.progress == Progress::Released {
                let (output, version) = (&mut outlet.conn.output, outlet.conn.version);
                let success = reason::SUCCESS;
                wire::put_acknowledgement(output, version, kind::PUBREL, sent.packet_id, success, "");
                outlet.session.in_flight.push_back(sent);
                outlet.conn.mark_ready(slot, out);
            } else if room > 0 {
                room -= 1;
                outlet.send(Queued { again: true, ..sent.queued }, out);
            } else {
                held_back.push(sent.queued);
            }
        }
        held_back.into_iter().rev().for_each(|queued| session.requeue(queued));
    }

    /// PUBACK, PUBREC and PUBCOMP of the client.
    pub(super) fn take_acknowledgement(
        &mut self,
        now: Millis,
        slot: Slot,
        kind: u8,
        packet_id: u16,
        code: u8,
        out: &mut Out,
    ) {
        let Some(conn) = self.conn(slot) else { return };
        let (at, version) = (conn.session, conn.version);
        let Self { sessions, notes, .. } = self;
        let session = at.and_then(|(index, _)| sessions.get_mut(index as usize)?.as_mut());
        let Some(session) = session else { return };
        let known = session.in_flight.iter().position(|sent| sent.packet_id == packet_id);
        let known = known.filter(|i| {
            let sent = &session.in_flight[*i];
            match kind {
                kind::PUBACK => sent.queued.qos == 1,
                kind::PUBREC => sent.queued.qos == 2,
                _ => sent.progress == Progress::Released,
            }
        });
        if kind == kind::PUBREC && code < 0x80 {
            let mut ticket = 0;
            if let Some(sent) = known.and_then(|i| session.in_flight.get_mut(i)) {
                if sent.progress != Progress::Released && sent.queued.is_kept {
                    notes.progress(session.serial, sent.queued.number, Progress::Released);
                }
                sent.progress = Progress::Released;
                // Were it not on disk, the message could be sent once more after the client had forgotten it.
                ticket = if sent.queued.is_kept { notes.so_far() } else { 0 };
            }
            let code = if known.is_some() { reason::SUCCESS } else { reason::UNKNOWN_PACKET_ID };
            let mut bytes = Vec::new();
            wire::put_acknowledgement(&mut bytes, version, kind::PUBREL, packet_id, code, "");
            self.write_kept(slot, ticket, &bytes, out);
        } else if let Some(sent) = known.and_then(|known| session.in_flight.remove(known)) {
            if sent.queued.is_kept {
                notes.done(session.serial, sent.queued.number);
            }
            self.pump(now, slot, out);
        }
    }
}

/// Whether another message may be sent: the client's window is open and the output is not full.
pub(super) fn has_room(conn: &Conn, session: &Session, limits: &Limits) -> bool {
    session.in_flight.len() < conn.send_max && conn.output.len() < limits.output_bytes_max / 2
}

/// Has a new message kept on disk, if its session is.
pub(super) fn note(session: &Session, queued: &mut Queued, notes: &mut Notes) {
    if session.keeps() {
        queued.is_kept = true;
        let Queued { message, qos, retain, ids, .. } = &*queued;
        let progress = Progress::Waiting;
        let entry =
            Entry { message: message.clone(), qos: *qos, retain: *retain, ids: ids.clone(), progress };
        notes.put(session.serial, queued.number, entry);
    }
}

impl Outlet<'_> {
    /// For what has waited: it may have expired, or rights may have changed. What may have been sent before does not
    /// expire any more (section 4.3.3).
    fn send_checked(&mut self, queued: Queued, out: &mut Out) {
        if queued.message.has_expired(self.now) && !queued.again {
            self.counters.dropped_expired += 1;
            self.drop(&queued);
        } else if !self.session.rights.may_receive(&queued.message.topic) {
            self.counters.dropped_rights += 1;
            self.drop(&queued);
        } else {
            self.send(queued, out);
        }
    }

    /// The alias of a topic, 0 for none, and whether the client knows it already.
    fn alias(&self, topic: &str) -> (u16, bool) {
        let Conn { aliases_out, aliases_out_max, .. } = &*self.conn;
        if *aliases_out_max == 0 {
            return (0, false);
        }
        match aliases_out.iter().position(|known| **known == *topic) {
            Some(at) => (at as u16 + 1, true),
            None if aliases_out.len() < *aliases_out_max => (aliases_out.len() as u16 + 1, false),
            None => (0, false),
        }
    }

    fn drop(&mut self, queued: &Queued) {
        self.session.dropped += 1;
        if queued.is_kept {
            self.notes.done(self.session.serial, queued.number);
        }
    }

    /// Writes a message to the connection, unless it is larger than the client takes.
    pub(super) fn send(&mut self, queued: Queued, out: &mut Out) {
        let packet_id = if queued.qos > 0 { packet_id_of(queued.number) } else { 0 };
        let (alias, alias_is_known) = self.alias(&queued.message.topic);
        let sending = Sending {
            alias,
            alias_is_known,
            version: self.conn.version,
            qos: queued.qos,
            retain: queued.retain,
            dup: queued.again,
            packet_id,
            subscription_ids: &queued.ids,
            now: self.now,
        };
        if sending.packet_bytes(&queued.message) > self.conn.packet_bytes_max {
            self.counters.dropped_large += 1;
            self.drop(&queued);
            return;
        }
        if alias > 0 && !alias_is_known {
            self.conn.aliases_out.push(queued.message.topic.clone());
        }
        let before = self.conn.output.len();
        sending.put(&mut self.conn.output, &queued.message);
        let bytes = self.conn.output.len() - before;
        *self.waiting_bytes += bytes;
        self.conn.output_weighed += bytes;
        self.counters.messages_out += 1;
        self.conn.mark_ready(self.slot, out);
        if queued.qos > 0 {
            self.session.in_flight.push_back(InFlight { packet_id, progress: Progress::Sent, queued });
        }
    }
}
