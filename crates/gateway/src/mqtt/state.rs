//! What the broker knows of a connection while it lasts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::out::{Out, Slot};
use super::reply::Connect;
use super::session::Will;
use super::{Listener, Millis, Version};
use crate::hub::ConnectionId;
use motehub_domain::kept::Message;

pub(super) enum Phase {
    /// CONNECT is awaited.
    Greeting,
    /// The hub is asked.
    Asking(Box<Connect>),
    /// CONNACK was sent.
    Open,
    /// Nothing more is taken or sent; uplinks may still be settled.
    Closed,
}

#[derive(PartialEq, Eq)]
pub(super) enum Attachment {
    None,
    Asked,
    Done,
}

/// How a QoS 1 or 2 publish ended.
pub(super) enum Outcome {
    /// Taken; pass it on and acknowledge.
    Taken,
    /// Not taken, now or later: a reason code and a sentence.
    Refused(u8, String),
    /// Not taken now.
    Unavailable,
}

/// A QoS 1 or 2 publish that is not acknowledged.
pub(super) struct Pending {
    pub packet_id: u16,
    pub qos: u8,
    pub outcome: Option<Outcome>,
    /// Since it was passed on: the batch of notes that has to be on disk before it is acknowledged; 0 for none.
    pub ticket: Option<u64>,
    /// To pass on, if anybody wants it.
    pub message: Option<Arc<Message>>,
    /// Bytes of its topic and payload.
    pub bytes: usize,
    /// What of it was not taken.
    pub remark: Option<Box<str>>,
}

/// An answer that waits.
pub(super) struct Deferred {
    /// Until this batch of notes is on disk.
    pub ticket: u64,
    /// And until other nodes know what they were told up to this number, and of that batch.
    pub told: Option<u64>,
    pub bytes: Box<[u8]>,
}

pub(super) struct Conn {
    pub id: ConnectionId,
    pub peer: SocketAddr,
    pub opened_at: Millis,
    /// When its client was let in.
    pub since: Millis,
    /// How much had changed when the hub was asked about it.
    pub asked_at_change: u64,
    pub phase: Phase,
    pub version: Version,
    /// A packet that is not there in full yet.
    pub inbound: Vec<u8>,
    pub output: Vec<u8>,
    /// Bytes of messages in `output`.
    pub output_weighed: usize,
    /// It is in an `Out::ready` that was not answered by `take` yet.
    pub is_ready: bool,
    /// Index and serial of its session.
    pub session: Option<(u32, u64)>,
    pub attachment: Attachment,
    /// One and a half times the keep-alive; 0 is never.
    pub silence_max_ms: u64,
    pub last_at: Millis,
    /// When its CONNECT has to be there; later, nothing.
    pub connect_by: Option<Millis>,
    /// When its timer goes off next.
    pub timer_at: Option<Millis>,
    pub send_max: usize,
    pub packet_bytes_max: usize,
    pub wants_reasons: bool,
    pub aliases: Vec<Option<Box<str>>>,
    /// Topics that the client knows by alias: the first by 1.
    pub aliases_out: Vec<Box<str>>,
    /// How many aliases it takes.
    pub aliases_out_max: usize,
    /// What lies between TCP and MQTT.
    pub listener: Listener,
    /// What its client showed in TLS.
    pub certificate: Option<Box<[u8]>>,
    /// What it was told, in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// When its credentials end.
    pub valid_until: Option<Millis>,
    pub pending: VecDeque<Pending>,
    /// Bytes of `pending`.
    pub pending_bytes: usize,
    /// How many of `pending` are passed on.
    pub passed_on: usize,
    /// Answers that are written when a batch of notes is on disk.
    pub deferred: VecDeque<Deferred>,
    /// It is not read until the disk has caught up.
    pub is_throttled: bool,
    /// The token of the first of `pending`.
    pub first_token: u64,
    /// QoS 1 and 2 messages of the client that are not acknowledged in full.
    pub taken: u16,
    pub will: Option<Will>,
}

impl Conn {
    pub(super) fn new(now: Millis, id: ConnectionId, peer: SocketAddr, connect_by: Millis) -> Self {
        Self {
            id,
            peer,
            opened_at: now,
            since: now,
            asked_at_change: 0,
            phase: Phase::Greeting,
            version: Version::V3,
            inbound: Vec::new(),
            output: Vec::new(),
            output_weighed: 0,
            is_ready: false,
            session: None,
            attachment: Attachment::None,
            silence_max_ms: 0,
            last_at: now,
            connect_by: Some(connect_by),
            timer_at: None,
            send_max: 0,
            packet_bytes_max: usize::MAX,
            wants_reasons: false,
            aliases: Vec::new(),
            aliases_out: Vec::new(),
            aliases_out_max: 0,
            listener: Listener::Tcp,
            certificate: None,
            keep_alive_s: 0,
            valid_until: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            passed_on: 0,
            deferred: VecDeque::new(),
            is_throttled: false,
            first_token: 0,
            taken: 0,
            will: None,
        }
    }

    /// Puts a publish behind those that are not acknowledged.
    pub(super) fn push(&mut self, pending: Pending) {
        self.pending_bytes += pending.bytes;
        self.pending.push_back(pending);
    }

    /// The oldest publish that is settled and not passed on yet.
    pub(super) fn next_settled(&mut self) -> Option<&mut Pending> {
        let pending = self.pending.get_mut(self.passed_on)?;
        pending.outcome.as_ref()?;
        self.passed_on += 1;
        Some(pending)
    }

    /// Takes the oldest publish that is not acknowledged, if it is settled, passed on, and `is_kept` on disk.
    pub(super) fn pop_kept(&mut self, is_kept: impl Fn(u64) -> bool) -> Option<(Pending, Outcome)> {
        let front = self.pending.front_mut()?;
        if !is_kept(front.ticket?) {
            return None;
        }
        let outcome = front.outcome.take()?;
        let pending = self.pending.pop_front()?;
        self.passed_on = self.passed_on.saturating_sub(1);
        self.pending_bytes -= pending.bytes;
        self.first_token += 1;
        Some((pending, outcome))
    }

    /// When it is to be ended unless something comes.
    pub(super) fn due_at(&self) -> Option<Millis> {
        let silent_at = (self.silence_max_ms > 0).then_some(self.last_at + self.silence_max_ms);
        self.connect_by.or_else(|| silent_at.into_iter().chain(self.valid_until).min())
    }

    pub(super) fn mark_ready(&mut self, slot: Slot, out: &mut Out) {
        if !self.is_ready {
            self.is_ready = true;
            out.ready.push(slot);
        }
    }
}
