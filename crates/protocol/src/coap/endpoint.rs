//! One end of CoAP: what comes as datagrams becomes events, what is asked, answered and told becomes datagrams.
//!
//! Everything that a stranger can fill has a bound. What is dropped or refused for it is counted.

mod calls;
mod exchanges;
mod observers;
mod outgoing;
mod proof;
mod seen;
mod uploads;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use super::Limits;
use super::block::Block;
use super::message::{Bad, Code, Kind, Message, Request, Response, Token, decode, empty};
use calls::Call;
use exchanges::Exchange;
use observers::Observer;
use outgoing::{Peer, What};
use proof::Proof;
use seen::{Look, Seen};
use uploads::Uploads;

/// How often what has expired is thrown away.
const SWEEP_EVERY_MS: u64 = 10_000;

/// The size of a message without anything.
const EMPTY_BYTES: usize = 4;

/// A request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A request of a peer that waits for our answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// A peer that observes something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObserverId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer asks: answer it with [`Endpoint::respond`].
    Asked {
        /// Say it with the answer.
        exchange: ExchangeId,
        /// Who asks.
        from: SocketAddr,
        /// What.
        request: Request,
        /// The block of a large answer that is wanted, for who reads it from where it is stored.
        block: Block,
    },
    /// A peer answers. There is more to come if it has a number of observation.
    Answered {
        /// Which of our requests.
        call: CallId,
        /// What; its body is whole.
        response: Response,
    },
    /// There will be no answer, or no more of them.
    Failed {
        /// To which of our requests.
        call: CallId,
        /// Why.
        failure: Failure,
    },
    /// A peer does not observe any more.
    ObserverGone {
        /// Which.
        observer: ObserverId,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// None came in time.
    #[error("no answer came in time")]
    Timeout,
    /// The peer knows nothing of it.
    #[error("the device rejected the message")]
    Reset,
    /// Too much waits for that peer, or for all, already.
    #[error("too many requests wait already")]
    Busy,
    /// The answer is larger than what is taken.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer keeps no rule.
    #[error("the answer breaks the rules of CoAP")]
    Malformed,
}

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Of those that came: such that keep no rule of form.
    pub malformed: u64,
    /// Of those that came: repetitions.
    pub repeated: u64,
    /// Of those that were sent: repetitions.
    pub sent_again: u64,
    /// Requests that were refused because too much was under way.
    pub refused_busy: u64,
    /// Bodies that were too large.
    pub refused_large: u64,
    /// Answers that were held back until their address is proven.
    pub unproven: u64,
    /// Observations that were not begun because there are too many.
    pub refused_observers: u64,
    /// What was forgotten before its time, because there was too much of it.
    pub forgotten: u64,
}

/// What is due at a moment. Those that came to nothing meanwhile are let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Resend(SocketAddr),
    Deadline(CallId),
    Separate(ExchangeId),
    ObserveAgain(CallId),
    Sweep,
}

/// One end of CoAP, on one socket.
pub struct Endpoint {
    limits: Limits,
    draw: Box<dyn FnMut() -> u64 + Send>,
    now_ms: u64,
    next_id: u64,
    next_mid: u16,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    timers: BTreeSet<(u64, Timer)>,
    is_sweeping: bool,
    seen: Seen,
    proof: Proof,
    peers: HashMap<SocketAddr, Peer>,
    calls: HashMap<CallId, Call>,
    tokens: HashMap<Token, CallId>,
    exchanges: HashMap<ExchangeId, Exchange>,
    per_address: HashMap<std::net::IpAddr, usize>,
    uploads: Uploads,
    observers: HashMap<ObserverId, Observer>,
    observing: BTreeMap<(SocketAddr, Token), ObserverId>,
    counters: Counters,
}

impl Endpoint {
    /// With a source of random numbers; its quality decides how hard it is to forge an answer.
    pub fn new(limits: Limits, mut draw: impl FnMut() -> u64 + Send + 'static) -> Self {
        let key = std::array::from_fn(|_| draw());
        let next_mid = draw() as u16;
        Self {
            seen: Seen::new(limits.seen_max, limits.seen_bytes_max),
            proof: Proof::new(key, limits.proven_max, limits.proven_ms),
            uploads: Uploads::default(),
            limits,
            draw: Box::new(draw),
            now_ms: 0,
            next_id: 1,
            next_mid,
            out: VecDeque::new(),
            events: VecDeque::new(),
            timers: BTreeSet::new(),
            is_sweeping: false,
            peers: HashMap::new(),
            calls: HashMap::new(),
            tokens: HashMap::new(),
            exchanges: HashMap::new(),
            per_address: HashMap::new(),
            observers: HashMap::new(),
            observing: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// Every peer has proven its address already, as those of DTLS have.
    pub fn trust_addresses(&mut self) {
        self.proof.trust_all();
    }

    /// A datagram came.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now_ms: u64) {
        self.at_work(now_ms);
        self.counters.received += 1;
        let message = match decode(bytes) {
            Ok(message) => message,
            Err(bad) => {
                self.counters.malformed += 1;
                if let Bad::Rejected(mid) = bad {
                    self.send(from, empty(Kind::Reset, mid));
                }
                return;
            }
        };
        match (message.kind, message.code.class()) {
            (Kind::Acknowledgement | Kind::Reset, _) => self.settled(from, &message),
            (Kind::Confirmable | Kind::NonConfirmable, 0) if message.code != Code::EMPTY => {
                self.asked(from, &message, bytes.len());
            }
            (Kind::Confirmable | Kind::NonConfirmable, 2 | 4 | 5) => self.said(from, &message),
            // An empty confirmable message is a ping, and a reset is its answer.
            (Kind::Confirmable, _) => self.send(from, empty(Kind::Reset, message.mid)),
            (Kind::NonConfirmable, _) => {}
        }
    }

    /// A peer is gone for good: nothing more is said to it, and it observes nothing any more.
    pub fn forget_peer(&mut self, peer: SocketAddr) {
        let of_peer = self.observing.range((peer, Token::default())..).take_while(|((of, _), _)| *of == peer);
        let observers: Vec<ObserverId> = of_peer.map(|(_, id)| *id).collect();
        observers.into_iter().for_each(|id| self.observer_gone(id));
        let of_peer = self.exchanges.iter().filter(|(_, exchange)| exchange.from == peer).map(|(id, _)| *id);
        let exchanges: Vec<ExchangeId> = of_peer.collect();
        exchanges.into_iter().for_each(|id| self.ignore(id));
        self.peers.remove(&peer);
    }

    /// The moment of [`Endpoint::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.at(now_ms);
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Resend(peer) => self.resend(peer, at),
                Timer::Deadline(call) => self.too_late(call, at),
                Timer::Separate(exchange) => self.acknowledge(exchange),
                Timer::ObserveAgain(call) => self.observe_again(call, at),
                Timer::Sweep => self.sweep(),
            }
        }
    }

    /// When something is due next.
    pub fn next_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many observe something here.
    pub fn observers(&self) -> usize {
        self.observers.len()
    }

    fn at(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Something is done that leaves something behind.
    fn at_work(&mut self, now_ms: u64) {
        self.at(now_ms);
        if !self.is_sweeping {
            self.is_sweeping = true;
            self.timers.insert((self.now_ms + SWEEP_EVERY_MS, Timer::Sweep));
        }
    }

    fn sweep(&mut self) {
        let now = self.now_ms;
        self.seen.sweep(now);
        self.proof.sweep(now);
        self.uploads.sweep(now.saturating_sub(self.limits.upload_idle_ms));
        self.peers.retain(|_, peer| !peer.is_idle(now));
        let holds = !self.seen.is_empty()
            || !self.proof.is_empty()
            || !self.uploads.is_empty()
            || !self.peers.is_empty();
        self.is_sweeping = holds;
        if holds {
            self.timers.insert((now + SWEEP_EVERY_MS, Timer::Sweep));
        }
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.counters.sent += 1;
        self.out.push_back((to, bytes));
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn fresh_token(&mut self) -> Token {
        Token::new(&(self.draw)().to_be_bytes())
    }

    /// An acknowledgement, perhaps with the answer in it, or a reset.
    fn settled(&mut self, from: SocketAddr, message: &Message) {
        let Some(what) = self.settle(from, message.mid) else { return };
        if message.kind == Kind::Acknowledgement {
            self.proof.prove(from, self.now_ms);
        }
        match (what, message.kind) {
            (What::Call(call), Kind::Reset) => self.fail(call, Failure::Reset),
            (What::Notice(observer), Kind::Reset) => self.observer_gone(observer),
            (What::Notice(observer), _) => self.notice_taken(observer),
            (What::Call(call), _) if message.code != Code::EMPTY => {
                let is_its = self.tokens.get(&message.token) == Some(&call);
                if is_its && !self.answered(call, message) {
                    self.fail(call, Failure::Malformed);
                }
            }
            (What::Call(_) | What::Answer, _) => {}
        }
    }

    /// A response that comes by itself.
    fn said(&mut self, from: SocketAddr, message: &Message) {
        let is_confirmable = message.kind == Kind::Confirmable;
        if let Look::Again(reply) = self.seen.look(from, message.mid, self.now_ms) {
            self.counters.repeated += 1;
            // A request may have had this identifier, and a larger answer.
            return if let Some(reply) = reply.filter(|reply| is_confirmable && reply.len() == EMPTY_BYTES) {
                self.send(from, reply);
            };
        }
        let call = self.tokens.get(&message.token).copied();
        let call = call.filter(|call| self.calls.get(call).is_some_and(|call| call.to == from));
        let is_taken = call.is_some_and(|call| {
            // An answer says also that the request arrived.
            self.settle_call(from, call);
            self.answered(call, message)
        });
        // What nobody waits for is rejected, so that an observation ends that was forgotten here.
        let is_notice = message.code.is_success() && super::message::answer(message).is_some_and(has_number);
        let reply = match (is_taken, is_confirmable) {
            (true, true) => empty(Kind::Acknowledgement, message.mid),
            (false, true) => empty(Kind::Reset, message.mid),
            (false, false) if is_notice => empty(Kind::Reset, message.mid),
            (_, false) => return,
        };
        if is_confirmable {
            self.seen.insert(from, message.mid, true, self.now_ms, &mut self.counters.forgotten);
            self.seen.remember(from, message.mid, &reply);
        }
        self.send(from, reply);
    }
}

fn has_number((response, _): (Response, Option<Block>)) -> bool {
    response.observe.is_some()
}

#[cfg(test)]
mod tests;
