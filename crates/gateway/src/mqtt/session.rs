//! What is remembered of a client between its connections. What of it is kept on disk is told to the notes where it
//! changes.

use std::collections::VecDeque;
use std::sync::Arc;

use motehub_domain::kept::{self, Message, Principal, Progress};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_protocol::Identity;

use super::routes::Interest;
use super::{Limits, Millis, Slot};

/// Finds a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose.
    pub principal: Principal,
    /// The client identifier.
    pub client_id: Box<str>,
}

/// A subscription.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// As it was written, with `$share/…`.
    pub text: Box<str>,
    /// The filter alone.
    pub filter: TopicFilter,
    /// The name of the share.
    pub share: Option<Box<str>>,
    /// Granted quality of service.
    pub qos: u8,
    /// Not for messages of the session itself.
    pub no_local: bool,
    /// The RETAIN flag is passed on as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub id: Option<u32>,
    /// Other nodes know it as something that this node wants, and not as a subscription of the session.
    pub is_wanted: bool,
}

impl Subscription {
    /// What the tree of topics keeps of it.
    pub(super) fn interest(&self, session: u32) -> Interest {
        let Self { qos, no_local, retain_as_published, id, .. } = *self;
        Interest { session, qos, no_local, retain_as_published, id }
    }

    /// What is kept of it.
    pub(super) fn record(&self) -> kept::Subscription {
        let Self { qos, no_local, retain_as_published, id, .. } = *self;
        kept::Subscription { qos, no_local, retain_as_published, id }
    }
}

/// A message that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    /// Its number within the session, from which its packet identifier follows; 0 for QoS 0.
    pub number: u64,
    /// It is sent only when this batch of notes is on disk; 0 if it need not wait.
    pub ticket: u64,
    /// It is on disk or on its way there.
    pub is_kept: bool,
    /// It may have been sent before.
    pub again: bool,
    /// What.
    pub message: Arc<Message>,
    /// At which quality of service it is delivered: 1 or 2.
    pub qos: u8,
    /// With which RETAIN flag.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: Vec<u32>,
}

/// A message that was sent and is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    /// Its packet identifier.
    pub packet_id: u16,
    /// How far it has come: sent or released.
    pub progress: Progress,
    /// For sending it again.
    pub queued: Queued,
}

/// A QoS 2 message of the client whose PUBREL has not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Its packet identifier.
    pub packet_id: u16,
    /// Whether it is stored and passed on; a repetition is then neither.
    pub is_settled: bool,
}

/// Retained messages that are being sent for a new subscription.
#[derive(Debug, Clone)]
pub(super) struct Replay {
    /// Of the subscription.
    pub filter: TopicFilter,
    /// Granted quality of service.
    pub qos: u8,
    /// The subscription identifier.
    pub id: Option<u32>,
    /// It begins when this batch of notes is on disk, behind the SUBACK.
    pub ticket: u64,
    /// The last topic that was sent.
    pub after: Option<Box<str>>,
}

/// A will that waits for its delay.
#[derive(Debug, Clone)]
pub(super) struct Will {
    /// The message.
    pub message: Arc<Message>,
    /// How long it waits after the connection ended, in milliseconds.
    pub delay_ms: u64,
    /// Its expiry in milliseconds, counted from when it is sent.
    pub expiry_ms: Option<u64>,
}

/// The packet identifier of a message, from its number. Kept messages have theirs again after a restart.
pub(super) fn packet_id_of(number: u64) -> u16 {
    (number % PACKET_IDS) as u16 + 1
}

/// How many packet identifiers there are.
const PACKET_IDS: u64 = 65_535;

/// A client's session.
#[derive(Debug)]
pub(super) struct Session {
    /// Finds it; never changes.
    pub key: Key,
    /// Distinguishes it from a former session at the same place in the table.
    pub serial: u64,
    /// The device, if it is one.
    pub identity: Option<Identity>,
    /// What it may do, as of its last connect or a later change.
    pub rights: TopicRights,
    /// Its owner's name, for people.
    pub name: Box<str>,
    /// When the credentials of its owner end, and it with them.
    pub valid_until: Option<Millis>,
    /// Its connection, if it has one.
    pub connection: Option<Slot>,
    /// How long it outlives its connection, in milliseconds; 0 ends it with the connection.
    pub expiry_ms: u64,
    /// When it ends; only without a connection.
    pub ends_at: Option<Millis>,
    /// The will of a former connection, and when it is due.
    pub will: Option<(Millis, Will)>,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Messages that wait.
    pub queue: VecDeque<Queued>,
    /// Bytes of `queue`.
    pub queue_bytes: usize,
    /// Messages that were sent, oldest first.
    pub in_flight: VecDeque<InFlight>,
    /// Messages that were received with QoS 2.
    pub received: Vec<Received>,
    /// Retained messages that are to be sent.
    pub replays: VecDeque<Replay>,
    /// The number of the next message of QoS 1 or 2 for it.
    pub next_number: u64,
    /// It is on disk or on its way there, because it outlives its connection.
    pub is_kept: bool,
    /// Other nodes know of it.
    pub is_told: bool,
    /// While what was passed to it before it came here may still come: the number that the next of that has. Nothing
    /// that was published since is sent meanwhile.
    pub late: Option<u64>,
    /// Messages that were dropped.
    pub dropped: u64,
    /// When its timer goes off next; at most one is armed that matters.
    pub timer_at: Option<Millis>,
}

impl Session {
    /// A new session.
    pub(super) fn new(key: Key, serial: u64) -> Self {
        Self {
            key,
            serial,
            identity: None,
            rights: TopicRights::default(),
            name: Box::default(),
            valid_until: None,
            connection: None,
            expiry_ms: 0,
            ends_at: None,
            will: None,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: VecDeque::new(),
            received: Vec::new(),
            replays: VecDeque::new(),
            next_number: 0,
            is_kept: false,
            is_told: false,
            late: None,
            dropped: 0,
            timer_at: None,
        }
    }

    /// Whether what waits for it is kept on disk.
    pub(super) fn keeps(&self) -> bool {
        self.is_kept && self.expiry_ms > 0
    }

    /// The number of a new message. Its packet identifier is not that of a message that is on its way to the
    /// client; those that wait lie closer together than the identifiers reach.
    pub(super) fn number(&mut self) -> u64 {
        loop {
            let number = self.next_number;
            self.next_number += 1;
            let packet_id = packet_id_of(number);
            if number < PACKET_IDS || self.in_flight.iter().all(|m| m.packet_id != packet_id) {
                return number;
            }
        }
    }

    /// The number of a message that comes late: it is sent before what was published since.
    pub(super) fn late_number(&mut self) -> u64 {
        match &mut self.late {
            Some(number) => {
                *number += 1;
                *number - 1
            }
            None => self.number(),
        }
    }

    /// What is kept of it; its will is given with when it is due.
    pub(super) fn record(&self, will: Option<(Option<Millis>, &Will)>) -> kept::Session {
        kept::Session {
            serial: self.serial,
            principal: self.key.principal,
            client_id: self.key.client_id.clone(),
            expiry_ms: self.expiry_ms,
            ends_at: self.ends_at,
            will: will.map(|(due_at, will)| kept::Will {
                message: will.message.clone(),
                delay_ms: will.delay_ms,
                expiry_ms: will.expiry_ms,
                due_at,
            }),
        }
    }

    /// Whether there is room for another message. If not, the newest is dropped: this one.
    pub(super) fn has_place(&self, message: &Message, limits: &Limits) -> bool {
        let bytes = self.queue_bytes + message.size_bytes();
        let is_too_much = bytes > limits.queue_bytes_max && !self.queue.is_empty();
        self.queue.len() < limits.queue_messages_max && !is_too_much
    }

    /// Puts a message behind the others.
    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.message.size_bytes();
        let is_late = self.queue.back().is_some_and(|last| last.number > queued.number);
        if is_late {
            let at = self.queue.partition_point(|waiting| waiting.number < queued.number);
            self.queue.insert(at, queued);
        } else {
            self.queue.push_back(queued);
        }
    }

    /// Puts a message of a former life of the program behind the others.
    pub(super) fn recalled(&mut self, queued: Queued, progress: Progress) {
        if progress == Progress::Released {
            let packet_id = packet_id_of(queued.number);
            self.in_flight.push_back(InFlight { packet_id, progress, queued });
        } else {
            self.enqueue(queued);
        }
    }

    /// Puts a message that was sent before in front of the others again. It has room: it had it before.
    pub(super) fn requeue(&mut self, queued: Queued) {
        self.queue_bytes += queued.message.size_bytes();
        self.queue.push_front(Queued { again: true, ..queued });
    }

    /// Takes the message that waits longest.
    pub(super) fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.size_bytes();
        Some(queued)
    }

    /// The state of a QoS 2 message of the client.
    pub(super) fn received_mut(&mut self, packet_id: u16) -> Option<&mut Received> {
        self.received.iter_mut().find(|r| r.packet_id == packet_id)
    }

    /// When something is due without a connection: its end or its will.
    pub(super) fn due_at(&self) -> Option<Millis> {
        let will_at = self.will.as_ref().map(|(at, _)| *at);
        self.ends_at.into_iter().chain(self.valid_until).chain(will_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_identifier_in_use_is_passed_over_when_they_begin_again() {
        let key = Key { principal: Principal::Anonymous, client_id: "a".into() };
        let mut session = Session::new(key, 1);
        let message = Message::plain("t", b"x", 1, false);
        let number = session.number();
        let queued = Queued {
            number,
            ticket: 0,
            is_kept: false,
            again: false,
            message,
            qos: 1,
            retain: false,
            ids: vec![],
        };
        let packet_id = packet_id_of(number);
        session.in_flight.push_back(InFlight { packet_id, progress: Progress::Sent, queued });
        let ids: Vec<u16> = (1..=PACKET_IDS).map(|_| packet_id_of(session.number())).collect();
        assert!(!ids.contains(&packet_id) && !ids.contains(&0));
        assert_eq!(ids[ids.len() - 1], ids[0], "all others were given once before the first came again");
    }
}
