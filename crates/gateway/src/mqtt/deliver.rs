//! From a message to the sessions of its subscribers: routing and quality of service.

use std::collections::HashSet;
use std::sync::Arc;

use motehub_domain::kept::Message;
use motehub_domain::message::Downlink;
use motehub_protocol::{MqttMessage, dialect};

use super::Millis;
use super::broker::Broker;
use super::gateway::Handle;
use super::out::{Out, Slot};
use super::routes::Match;
use super::send::{Outlet, has_room, note};
use super::session::Queued;

/// A message on its way to one session.
#[derive(Debug)]
pub(super) struct Delivery {
    session: u32,
    qos: u8,
    retain: bool,
    ids: Vec<u32>,
}

impl Handle {
    /// The hub wants to hear of what clients publish to these topics, and to no others.
    pub fn tap(&self, topics: HashSet<Box<str>>) {
        self.shared.call_aside(|broker, _, _| broker.taps = topics);
    }
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
        let granted = dialect::mqtt_downlink(identity, downlink).into_iter().find_map(|said| {
            let subscribed = session.subscriptions.iter().filter(|s| s.filter.matches(&said.topic));
            Some((subscribed.map(|s| s.qos).max()?, said))
        });
        let (Some((granted, said)), Some((index, _))) = (granted, at) else { return };
        let message = Message::plain(&said.topic, &said.payload, said.qos, false);
        let delivery =
            Delivery { session: index, qos: granted.min(said.qos), retain: false, ids: Vec::new() };
        self.deliver(now, delivery, &message, out);
    }

    /// An answer to the client of a connection, which gets it whether it has subscribed to it or not.
    pub fn reply(&mut self, now: Millis, slot: Slot, said: &MqttMessage, out: &mut Out) {
        let at = self.conn(slot).and_then(|conn| conn.session);
        let (Some(session), Some((index, _))) = (self.session(at), at) else { return };
        let subscribed = session.subscriptions.iter().filter(|s| s.filter.matches(&said.topic));
        let qos = subscribed.map(|s| s.qos).max().unwrap_or(0).min(said.qos);
        let message = Message::plain(&said.topic, &said.payload, said.qos, false);
        self.deliver(now, Delivery { session: index, qos, retain: false, ids: Vec::new() }, &message, out);
    }

    /// Retains a message if it asks for it, and delivers it to everybody who wants it and may have it. A session
    /// with several matching subscriptions gets it once, at the highest quality of service (section 3.3.4).
    pub(super) fn route(&mut self, now: Millis, from: Option<u32>, message: &Arc<Message>, out: &mut Out) {
        if message.retain {
            self.retain(message);
        }
        // What the hub itself publishes would come back to it for ever.
        if from.is_some() && self.taps.contains(&*message.topic) {
            out.tapped.push(message.clone());
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

    /// Keeps a message for those who will subscribe, within limits.
    fn retain(&mut self, message: &Arc<Message>) {
        let Self { limits, retained, notes, counters, .. } = self;
        let had_one = retained.has(&message.topic);
        let is_kept = retained.put(message, limits.retained_messages_max, limits.retained_bytes_max);
        if !is_kept {
            counters.dropped_retained += 1;
        }
        if is_kept || had_one {
            let kept = Some(message).filter(|message| is_kept && !message.payload.is_empty());
            notes.retained(&message.topic, kept);
        }
    }

    fn deliver(&mut self, now: Millis, delivery: Delivery, message: &Arc<Message>, out: &mut Out) {
        let Self { sessions, conns, limits, counters, notes, waiting_bytes, .. } = self;
        let Some(session) = sessions[delivery.session as usize].as_mut() else { return };
        if !session.rights.may_receive(&message.topic) {
            counters.dropped_rights += 1;
            return;
        }
        let slot = session.connection;
        let conn = slot.and_then(|slot| conns[slot.0 as usize].as_mut().map(|conn| (slot, conn)));
        let Delivery { qos, retain, ids, .. } = delivery;
        let mut queued = Queued {
            number: 0,
            ticket: 0,
            is_kept: false,
            again: false,
            message: message.clone(),
            qos,
            retain,
            ids,
        };
        if qos == 0 {
            let Some((slot, conn)) = conn else { return };
            let bytes = conn.output.len() + message.size_bytes();
            let is_slow = bytes > limits.output_bytes_max && !conn.output.is_empty();
            let has_memory = *waiting_bytes + message.size_bytes() <= limits.waiting_bytes_max;
            if is_slow || !has_memory {
                session.dropped += 1;
                counters.dropped_slow += u64::from(is_slow);
                counters.dropped_memory += u64::from(!is_slow);
            } else {
                Outlet { now, slot, conn, session, counters, notes, waiting_bytes }.send(queued, out);
            }
            return;
        }
        // QoS 2 is exactly once also over a power cut, so it waits for the disk before it is sent.
        let waits = qos == 2 && session.keeps();
        let is_next = !waits && session.queue.is_empty();
        match conn {
            Some((slot, conn)) if is_next && has_room(conn, session, limits) => {
                queued.number = session.number();
                note(session, &mut queued, notes);
                Outlet { now, slot, conn, session, counters, notes, waiting_bytes }.send(queued, out);
            }
            _ if !session.has_place(message, limits) => {
                session.dropped += 1;
                counters.dropped_full += 1;
            }
            _ if *waiting_bytes + message.size_bytes() > limits.waiting_bytes_max => {
                session.dropped += 1;
                counters.dropped_memory += 1;
            }
            conn => {
                *waiting_bytes += message.size_bytes();
                queued.number = session.number();
                let made = notes.made();
                note(session, &mut queued, notes);
                if let (true, Some((slot, _))) = (waits, conn) {
                    queued.ticket = notes.since(made);
                    notes.wait(queued.ticket, slot);
                }
                session.enqueue(queued);
            }
        }
    }
}
