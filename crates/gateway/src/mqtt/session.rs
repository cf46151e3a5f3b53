//! What is remembered of a client between its connections: plain data, so that it can be stored one day.

use std::collections::VecDeque;
use std::sync::Arc;

use motehub_domain::id::DeviceId;
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_protocol::Identity;

use super::message::Message;
use super::routes::Interest;
use super::{Limits, Millis, Slot};

/// Whose a session is. Part of its key, so that nobody can take over the session of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Principal {
    /// A device.
    Device(DeviceId),
    /// A token, a person or "anonymous".
    Named(Box<str>),
}

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
}

impl Subscription {
    /// What the tree of topics keeps of it.
    pub(super) fn interest(&self, session: u32) -> Interest {
        let Self { qos, no_local, retain_as_published, id, .. } = *self;
        Interest { session, qos, no_local, retain_as_published, id }
    }
}

/// A message that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    /// What.
    pub message: Arc<Message>,
    /// At which quality of service it is delivered: 1 or 2.
    pub qos: u8,
    /// With which RETAIN flag.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: Vec<u32>,
}

/// How far a sent message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Sent; PUBACK (QoS 1) or PUBREC (QoS 2) is awaited.
    Sent,
    /// PUBREL is sent; PUBCOMP is awaited.
    Released,
}

/// A message that was sent and is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    /// Its packet identifier.
    pub packet_id: u16,
    /// How far it has come.
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
    /// The last packet identifier that was given.
    pub last_packet_id: u16,
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
            last_packet_id: 0,
            dropped: 0,
            timer_at: None,
        }
    }

    /// A packet identifier that is not in use. The window is far smaller than the range, so there always is one.
    pub(super) fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|m| m.packet_id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    /// Puts a message behind the others. False if there is no room: the newest is dropped.
    pub(super) fn enqueue(&mut self, queued: Queued, limits: &Limits) -> bool {
        let bytes = self.queue_bytes + queued.message.size_bytes();
        let is_too_much = bytes > limits.queue_bytes_max && !self.queue.is_empty();
        if self.queue.len() >= limits.queue_messages_max || is_too_much {
            self.dropped += 1;
            return false;
        }
        self.queue_bytes = bytes;
        self.queue.push_back(queued);
        true
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
        self.ends_at.into_iter().chain(will_at).min()
    }
}
