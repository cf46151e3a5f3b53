//! From a message to the sessions of its subscribers: routing and quality of service.

use std::collections::HashSet;
use std::sync::Arc;

use motehub_domain::kept::Message;
use motehub_domain::message::Downlink;
use motehub_protocol::{MqttMessage, dialect};

use super::Millis;
use super::broker::Broker;
use super::cluster::{Away, Passing, Whose};
use super::gateway::Handle;
use super::out::{Out, Slot};
use super::routes::Match;
use super::send::{Outlet, has_room, note};
use super::session::Queued;

/// A message on its way to one session.
#[derive(Debug)]
pub(super) struct Delivery {
    pub session: u32,
    pub qos: u8,
    pub retain: bool,
    pub ids: Vec<u32>,
}

impl Handle {
    /// The hub wants to hear of what clients publish to these topics, and to no others. With several nodes it hears of
    /// all of them, so one node does this.
    pub fn tap(&self, topics: HashSet<Box<str>>) {
        self.shared.call_aside(|broker, _, _| broker.set_taps(topics));
    }
}

impl Broker {
    /// See [`Handle::tap`].
    pub fn set_taps(&mut self, topics: HashSet<Box<str>>) {
        self.tell_taps(&topics);
        self.taps = topics;
    }

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
            self.retain(now, message);
        }
        // What the hub itself publishes would come back to it for ever.
        if from.is_some() && self.taps.contains(&*message.topic) {
            out.tapped.push(message.clone());
        }
        let Found { passing, nodes } = self.find(message, from, None);
        self.deliver_found(now, message, out);
        if nodes != 0 || !passing.is_empty() {
            self.pass(message, passing, nodes, from.is_some());
        }
    }

    /// Delivers a message of another node to everybody here who wants it, but to those who get it by the store and to
    /// members of shared subscriptions: who of them gets it was chosen there.
    pub(super) fn spread(
        &mut self,
        now: Millis,
        message: &Arc<Message>,
        skip: &[u64],
        is_of_client: bool,
        out: &mut Out,
    ) {
        if is_of_client && self.taps.contains(&*message.topic) {
            out.tapped.push(message.clone());
        }
        self.find(message, None, Some(skip));
        self.deliver_found(now, message, out);
    }

    /// Collects who gets a message: those here into `deliveries`, the others in the answer. Only those here, without
    /// those who are to be skipped, if it comes from another node.
    fn find(&mut self, message: &Message, from: Option<u32>, skip: Option<&[u64]>) -> Found {
        self.round += 1;
        let Self { routes, sessions, marks, round, cluster, deliveries, .. } = self;
        let (mut elsewhere, round) = (Found::default(), *round);
        let away_of = |away| cluster.as_ref().and_then(|cluster| cluster.aways.get(away));
        let is_here = |place: u32| match Whose::of(place) {
            Whose::Here(index) => sessions[index as usize].as_ref().is_some_and(|s| s.connection.is_some()),
            Whose::Away(away) => away_of(away).is_some_and(|away| away.is_here),
            Whose::Node(_) => false,
        };
        let is_skipped = |index: u32| {
            let serial = sessions[index as usize].as_ref().map(|session| session.serial);
            skip.is_some_and(|skip| serial.is_some_and(|serial| skip.contains(&serial)))
        };
        routes.matching(&message.topic, |found| {
            let interest = match found {
                Match::One(interest) if interest.no_local && from == Some(interest.session) => return,
                Match::One(interest) => interest,
                Match::Group(_) if skip.is_some() => return,
                Match::Group(group) => match group.next(is_here) {
                    Some(interest) => interest,
                    None => return,
                },
            };
            let is_one = matches!(found, Match::One(_));
            let qos = interest.qos.min(message.qos);
            let retain = interest.retain_as_published && message.retain;
            match Whose::of(interest.session) {
                Whose::Here(index) if is_skipped(index) => {}
                Whose::Here(session) => {
                    let mark = &mut marks[session as usize];
                    if mark.0 == round && is_one {
                        let delivery = &mut deliveries[mark.1 as usize];
                        delivery.qos = delivery.qos.max(qos);
                        delivery.retain |= retain;
                        delivery.ids.extend(interest.id);
                    } else {
                        if is_one {
                            *mark = (round, deliveries.len() as u32);
                        }
                        let ids = interest.id.into_iter().collect();
                        deliveries.push(Delivery { session, qos, retain, ids });
                    }
                }
                Whose::Away(_) | Whose::Node(_) if skip.is_some() => {}
                Whose::Away(index) => {
                    let Some(away) = away_of(index) else { return };
                    elsewhere.passes(index, away, round, (qos, retain, interest.id), is_one);
                }
                Whose::Node(node) => elsewhere.nodes |= 1 << node,
            }
        });
        elsewhere
    }

    fn deliver_found(&mut self, now: Millis, message: &Arc<Message>, out: &mut Out) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        for delivery in deliveries.drain(..) {
            self.deliver(now, delivery, message, out);
        }
        self.deliveries = deliveries;
    }

    /// Delivers to a session of this node.
    pub(super) fn deliver(
        &mut self,
        now: Millis,
        delivery: Delivery,
        message: &Arc<Message>,
        out: &mut Out,
    ) -> Option<u64> {
        self.deliver_in_turn(now, delivery, message, false, out)
    }

    /// Delivers what was passed to a session: before what was published since the session came here.
    pub(super) fn deliver_late(
        &mut self,
        now: Millis,
        delivery: Delivery,
        message: &Arc<Message>,
        out: &mut Out,
    ) -> Option<u64> {
        self.deliver_in_turn(now, delivery, message, true, out)
    }

    /// The number that the message has in the session; `None` if it has none, or was dropped.
    fn deliver_in_turn(
        &mut self,
        now: Millis,
        delivery: Delivery,
        message: &Arc<Message>,
        is_late: bool,
        out: &mut Out,
    ) -> Option<u64> {
        let Self { sessions, conns, limits, counters, notes, waiting_bytes, .. } = self;
        let session = sessions[delivery.session as usize].as_mut()?;
        if !session.rights.may_receive(&message.topic) {
            counters.dropped_rights += 1;
            return None;
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
            let (slot, conn) = conn?;
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
            return None;
        }
        // QoS 2 is exactly once also over a power cut, so it waits for the disk before it is sent.
        let waits = qos == 2 && session.keeps();
        let is_next = !waits && session.queue.is_empty() && session.late.is_none();
        match conn {
            Some((slot, conn)) if is_next && has_room(conn, session, limits) => {
                queued.number = session.number();
                let number = queued.number;
                note(session, &mut queued, notes);
                Outlet { now, slot, conn, session, counters, notes, waiting_bytes }.send(queued, out);
                Some(number)
            }
            _ if !session.has_place(message, limits) => {
                session.dropped += 1;
                counters.dropped_full += 1;
                None
            }
            _ if *waiting_bytes + message.size_bytes() > limits.waiting_bytes_max => {
                session.dropped += 1;
                counters.dropped_memory += 1;
                None
            }
            conn => {
                *waiting_bytes += message.size_bytes();
                queued.number = if is_late { session.late_number() } else { session.number() };
                let (made, number) = (notes.made(), queued.number);
                note(session, &mut queued, notes);
                if let (true, Some((slot, _))) = (waits, conn) {
                    queued.ticket = notes.since(made);
                    notes.wait(queued.ticket, slot);
                }
                session.enqueue(queued);
                Some(number)
            }
        }
    }
}

/// Who gets a message elsewhere.
#[derive(Default)]
struct Found {
    passing: Vec<Passing>,
    /// A bit for each node that wants it.
    nodes: u64,
}

impl Found {
    fn passes(
        &mut self,
        index: u32,
        away: &Away,
        round: u64,
        (qos, retain, id): (u8, bool, Option<u32>),
        is_one: bool,
    ) {
        let mark = away.mark.get();
        if is_one
            && mark.0 == round
            && let Some(passing) = self.passing.get_mut(mark.1 as usize)
        {
            passing.qos = passing.qos.max(qos);
            passing.retain |= retain;
            passing.ids.extend(id);
            return;
        }
        if is_one {
            away.mark.set((round, self.passing.len() as u32));
        }
        let ids = id.into_iter().collect();
        self.passing.push(Passing { away: index, qos, retain, ids, is_chosen: !is_one });
    }
}
