//! Confirmable messages of ours: one at a time for each peer (NSTART is 1), sent again until they are acknowledged.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::super::limits::{ACK_RANDOM_MS, ACK_TIMEOUT_MS, EXCHANGE_LIFETIME_MS, RETRANSMIT_MAX};
use super::{CallId, Endpoint, Failure, ObserverId, Timer};

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A request of ours.
    Call(CallId),
    /// An answer that comes by itself.
    Answer,
    /// Something for an observer.
    Notice(ObserverId),
}

struct Outgoing {
    mid: u16,
    bytes: Vec<u8>,
    what: What,
}

/// A message that waits for its acknowledgement.
struct Flight {
    message: Outgoing,
    tries: u32,
    timeout_ms: u64,
    at_ms: u64,
}

/// A peer that something is sent to.
pub(super) struct Peer {
    next_mid: u16,
    flight: Option<Flight>,
    waiting: VecDeque<Outgoing>,
    used_ms: u64,
}

impl Peer {
    /// Whether nothing is under way, and none of its identifiers is remembered there.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        self.flight.is_none() && self.waiting.is_empty() && self.used_ms + EXCHANGE_LIFETIME_MS <= now_ms
    }
}

impl Endpoint {
    /// Sends a confirmable message when its turn comes; `make` writes it with its identifier.
    pub(super) fn confirm(
        &mut self,
        to: SocketAddr,
        what: What,
        make: impl FnOnce(u16) -> Vec<u8>,
    ) -> Result<(), Failure> {
        if !self.peers.contains_key(&to) && self.peers.len() >= self.limits.peers_max {
            self.forget_a_peer()?;
        }
        let first = (self.draw)() as u16;
        let (waiting_max, now) = (self.limits.waiting_per_peer_max, self.now_ms);
        let new = || Peer { next_mid: first, flight: None, waiting: VecDeque::new(), used_ms: now };
        let peer = self.peers.entry(to).or_insert_with(new);
        // Answers are not held up by questions.
        let is_question = matches!(what, What::Call(_));
        if is_question && peer.waiting.len() >= waiting_max || peer.waiting.len() >= 2 * waiting_max {
            self.counters.refused_busy += 1;
            return Err(Failure::Busy);
        }
        let mid = peer.next_mid;
        peer.next_mid = mid.wrapping_add(1);
        peer.used_ms = now;
        let message = Outgoing { mid, bytes: make(mid), what };
        if is_question {
            peer.waiting.push_back(message);
        } else {
            peer.waiting.push_front(message);
        }
        self.start(to);
        Ok(())
    }

    fn forget_a_peer(&mut self) -> Result<(), Failure> {
        let is_free = |peer: &Peer| peer.flight.is_none() && peer.waiting.is_empty();
        let free = self.peers.iter().filter(|(_, peer)| is_free(peer)).min_by_key(|(_, peer)| peer.used_ms);
        match free.map(|(address, _)| *address) {
            Some(address) => {
                self.counters.forgotten += 1;
                self.peers.remove(&address);
                Ok(())
            }
            None => {
                self.counters.refused_busy += 1;
                Err(Failure::Busy)
            }
        }
    }

    /// Sends the next message that waits, if none is in flight.
    fn start(&mut self, to: SocketAddr) {
        let timeout_ms = ACK_TIMEOUT_MS + (self.draw)() % ACK_RANDOM_MS;
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.flight.is_none()) else { return };
        let Some(message) = peer.waiting.pop_front() else { return };
        let at_ms = self.now_ms + timeout_ms;
        let bytes = message.bytes.clone();
        peer.flight = Some(Flight { message, tries: 0, timeout_ms, at_ms });
        peer.used_ms = self.now_ms;
        self.timers.insert((at_ms, Timer::Resend(to)));
        self.send(to, bytes);
    }

    /// The message with this identifier is acknowledged or rejected.
    pub(super) fn settle(&mut self, from: SocketAddr, mid: u16) -> Option<What> {
        let peer = self.peers.get_mut(&from)?;
        let flight = peer.flight.take_if(|flight| flight.message.mid == mid)?;
        self.start(from);
        Some(flight.message.what)
    }

    /// What of a request is under way or waits is not needed any more.
    pub(super) fn settle_call(&mut self, to: SocketAddr, call: CallId) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let is_its = |message: &Outgoing| message.what == What::Call(call);
        peer.waiting.retain(|message| !is_its(message));
        if peer.flight.take_if(|flight| is_its(&flight.message)).is_some() {
            self.start(to);
        }
    }

    /// No acknowledgement came: once more, or never again.
    pub(super) fn resend(&mut self, to: SocketAddr, at: u64) {
        // Who has not proven its address is not sent much.
        let is_proven = self.proof.is_proven(to, self.now_ms);
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let Some(flight) = peer.flight.as_mut().filter(|flight| flight.at_ms == at) else { return };
        let is_notice = matches!(flight.message.what, What::Notice(_));
        let tries_max = if is_notice && !is_proven { 1 } else { RETRANSMIT_MAX };
        if flight.tries < tries_max {
            flight.tries += 1;
            flight.timeout_ms *= 2;
            flight.at_ms = self.now_ms + flight.timeout_ms;
            let (at_ms, bytes) = (flight.at_ms, flight.message.bytes.clone());
            self.timers.insert((at_ms, Timer::Resend(to)));
            self.counters.sent_again += 1;
            return self.send(to, bytes);
        }
        let what = peer.flight.take().map(|flight| flight.message.what);
        self.start(to);
        match what {
            Some(What::Call(call)) => self.fail(call, Failure::Timeout),
            Some(What::Notice(observer)) => self.observer_gone(observer),
            Some(What::Answer) | None => {}
        }
    }
}
