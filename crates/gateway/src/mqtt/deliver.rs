//! From a message to its subscribers: routing, quality of service, flow control, and sending again.

use std::sync::Arc;

use motehub_domain::message::Downlink;
use motehub_protocol::dialect;

use super::broker::Broker;
use super::message::Message;
use super::out::{Out, Slot};
use super::routes::Match;
use super::session::{InFlight, Progress, Queued, Session};
use super::state::{Conn, Phase};
use super::wire::{self, Sending, kind, reason};
use super::{Counters, Limits, Millis};

/// A message on its way to one session.
#[derive(Debug)]
pub(super) struct Delivery {
    session: u32,
    qos: u8,
    retain: bool,
    ids: Vec<u32>,
}

impl Broker {
    /// Publishes in the name of the server: no rights are asked of the publisher, those of the subscribers are.
    pub fn publish_from_server(&mut self, now: Millis, message: &Arc<Message>, out: &mut Out) {
        self.route(now, None, message, out);
    }

    /// A downlink of the hub for a connection. It is sent if the client has subscribed to where it goes; a board
    /// that has not yet will ask by itself.
    pub fn downlink(&mut self, now: Millis, slot: Slot, downlink: &Downlink, out: &mut Out) {
        let at = self.conn(slot).and_then(|conn| conn.session);
        let Some(session) = self.session(at) else { return };
        let Some(identity) = &session.identity else { return };
        let Some(said) = dialect::mqtt_downlink(identity, downlink) else { return };
        let granted =
            session.subscriptions.iter().filter(|s| s.filter.matches(&said.topic)).map(|s| s.qos).max();
        let (Some(granted), Some((index, _))) = (granted, at) else { return };
        let message = Message::plain(&said.topic, &said.payload, said.qos, false);
        let delivery =
            Delivery { session: index, qos: granted.min(said.qos), retain: false, ids: Vec::new() };
        self.deliver(now, delivery, &message, out);
    }

    /// Retains a message if it asks for it, and delivers it to everybody who wants it and may have it. A session
    /// with several matching subscriptions gets it once, at the highest quality of service (section 3.3.4).
    pub(super) fn route(&mut self, now: Millis, from: Option<u32>, message: &Arc<Message>, out: &mut Out) {
        let limits = &self.limits;
        if message.retain
            && !self.retained.put(message, limits.retained_messages_max, limits.retained_bytes_max)
        {
            self.counters.dropped_retained += 1;
        }
        self.round += 1;
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let Self { routes, sessions, marks, round, .. } = self;
        let is_here = |index: u32| sessions[index as usize].as_ref().is_some_and(|s| s.connection.is_some());
        routes.matching(&message.topic, |found| {
            let interest = match found {
                Match::One(interest) if interest.no_local && from == Some(interest.session) => return,
                Match::One(interest) => interest,
                Match::Group(group) => match group.next(is_here) {
                    Some(interest) => interest,
                    None => return,
                },
            };
            let qos = interest.qos.min(message.qos);
            let retain = interest.retain_as_published && message.retain;
            let mark = &mut marks[interest.session as usize];
            if mark.0 == *round && matches!(found, Match::One(_)) {
                let delivery = &mut deliveries[mark.1 as usize];
                delivery.qos = delivery.qos.max(qos);
                delivery.retain |= retain;
                delivery.ids.extend(interest.id);
            } else {
                if matches!(found, Match::One(_)) {
                    *mark = (*round, deliveries.len() as u32);
                }
                let ids = interest.id.into_iter().collect();
                deliveries.push(Delivery { session: interest.session, qos, retain, ids });
            }
        });
        for delivery in deliveries.drain(..) {
            self.deliver(now, delivery, message, out);
        }
        self.deliveries = deliveries;
    }

    fn deliver(&mut self, now: Millis, delivery: Delivery, message: &Arc<Message>, out: &mut Out) {
        let Self { sessions, conns, limits, counters, .. } = self;
        let Some(session) = sessions[delivery.session as usize].as_mut() else { return };
        if !session.rights.may_receive(&message.topic) {
            counters.dropped_rights += 1;
            return;
        }
        let slot = session.connection;
        let conn = slot.and_then(|slot| conns[slot.0 as usize].as_mut().map(|conn| (slot, conn)));
        let Delivery { qos, retain, ids, .. } = delivery;
        match conn {
            Some((slot, conn)) if qos == 0 => {
                let bytes = conn.output.len() + message.size_bytes();
                if bytes > limits.output_bytes_max && !conn.output.is_empty() {
                    session.dropped += 1;
                    counters.dropped_slow += 1;
                } else {
                    let queued = Queued { message: message.clone(), qos, retain, ids };
                    send(now, slot, conn, session, queued, counters, out);
                }
            }
            Some((slot, conn)) if session.queue.is_empty() && has_room(conn, session, limits) => {
                let queued = Queued { message: message.clone(), qos, retain, ids };
                send(now, slot, conn, session, queued, counters, out);
            }
            None if qos == 0 => {}
            Some(_) | None => {
                if !session.enqueue(Queued { message: message.clone(), qos, retain, ids }, limits) {
                    counters.dropped_full += 1;
                }
            }
        }
    }

    /// Sends what waits in a session, as far as the client and its connection take it.
    pub(super) fn pump(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Self { sessions, conns, limits, counters, retained, .. } = self;
        let Some(conn) = conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let (Phase::Open, Some((index, _))) = (&conn.phase, conn.session) else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        while has_room(conn, session, limits) {
            if let Some(replay) = session.replays.front_mut() {
                let Some(message) = retained.next(&replay.filter, replay.after.as_deref(), now) else {
                    session.replays.pop_front();
                    continue;
                };
                replay.after = Some(message.topic.clone());
                let (qos, ids) = (replay.qos.min(message.qos), replay.id.into_iter().collect());
                let queued = Queued { message: message.clone(), qos, retain: true, ids };
                send_checked(now, slot, conn, session, queued, counters, out);
            } else if let Some(queued) = session.dequeue() {
                send_checked(now, slot, conn, session, queued, counters, out);
            } else {
                return;
            }
        }
    }

    /// After a session was resumed: everything that was not acknowledged is sent again (section 4.4).
    pub(super) fn send_again(&mut self, now: Millis, slot: Slot, out: &mut Out) {
        let Self { sessions, conns, counters, .. } = self;
        let Some(conn) = conns.get_mut(slot.0 as usize).and_then(Option::as_mut) else { return };
        let Some((index, _)) = conn.session else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        let (version, packet_bytes_max) = (conn.version, conn.packet_bytes_max);
        session.in_flight.retain(|sent| {
            if sent.progress == Progress::Released {
                let id = sent.packet_id;
                wire::put_acknowledgement(&mut conn.output, version, kind::PUBREL, id, reason::SUCCESS, "");
                return true;
            }
            let sending = Sending {
                version,
                qos: sent.queued.qos,
                retain: sent.queued.retain,
                dup: true,
                packet_id: sent.packet_id,
                subscription_ids: &sent.queued.ids,
                now,
            };
            let message = &sent.queued.message;
            let fits = sending.packet_bytes(message) <= packet_bytes_max;
            if fits {
                sending.put(&mut conn.output, message);
                counters.messages_out += 1;
            } else {
                counters.dropped_large += 1;
            }
            fits
        });
        conn.mark_ready(slot, out);
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
        let at = self.conn(slot).and_then(|conn| conn.session);
        let Some(session) = self.session_mut(at) else { return };
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
            if let Some(sent) = known.and_then(|i| session.in_flight.get_mut(i)) {
                sent.progress = Progress::Released;
            }
            let code = if known.is_some() { reason::SUCCESS } else { reason::UNKNOWN_PACKET_ID };
            if let Some(conn) = self.conn_mut(slot) {
                wire::put_acknowledgement(&mut conn.output, conn.version, kind::PUBREL, packet_id, code, "");
                conn.mark_ready(slot, out);
            }
        } else if let Some(known) = known {
            session.in_flight.remove(known);
            self.pump(now, slot, out);
        }
    }
}

/// Whether another message may be sent: the client's window is open and the output is not full.
fn has_room(conn: &Conn, session: &Session, limits: &Limits) -> bool {
    session.in_flight.len() < conn.send_max && conn.output.len() < limits.output_bytes_max / 2
}

/// For what has waited: it may have expired, or rights may have changed.
fn send_checked(
    now: Millis,
    slot: Slot,
    conn: &mut Conn,
    session: &mut Session,
    queued: Queued,
    counters: &mut Counters,
    out: &mut Out,
) {
    if queued.message.has_expired(now) {
        session.dropped += 1;
        counters.dropped_expired += 1;
    } else if !session.rights.may_receive(&queued.message.topic) {
        session.dropped += 1;
        counters.dropped_rights += 1;
    } else {
        send(now, slot, conn, session, queued, counters, out);
    }
}

fn send(
    now: Millis,
    slot: Slot,
    conn: &mut Conn,
    session: &mut Session,
    queued: Queued,
    counters: &mut Counters,
    out: &mut Out,
) {
    let packet_id = if queued.qos > 0 { session.next_packet_id() } else { 0 };
    let sending = Sending {
        version: conn.version,
        qos: queued.qos,
        retain: queued.retain,
        dup: false,
        packet_id,
        subscription_ids: &queued.ids,
        now,
    };
    if sending.packet_bytes(&queued.message) > conn.packet_bytes_max {
        session.dropped += 1;
        counters.dropped_large += 1;
        return;
    }
    sending.put(&mut conn.output, &queued.message);
    counters.messages_out += 1;
    conn.mark_ready(slot, out);
    if queued.qos > 0 {
        session.in_flight.push_back(InFlight { packet_id, progress: Progress::Sent, queued });
    }
}
