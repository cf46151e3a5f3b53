//! What the gateway decides, without a socket, a clock or a wait.

mod asked;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::shadow;
use motehub_protocol::Encoding;
use motehub_protocol::coap::{Block, CallId, Code, Endpoint, Event, ExchangeId, Failure, Limits, Response};

use super::dtls::{self, SessionId, Sessions};
use super::native::{Asked, Enter, Native};
use super::riot::{About, Hands, Riot, SignOf};
use crate::hub::{Arrival, Client, ConnectionId, Refusal, Shown, UplinkError};

/// Messages that wait to be taken; beyond it none are.
const UPLINKS_MAX: usize = 20_000;
/// Requests to be let in that the hub has at once.
const KNOCKS_MAX: usize = 4_096;
/// When somebody shall come again who cannot be served now, in seconds.
pub(super) const RETRY_AFTER_S: u32 = 5;

/// Something that the hub shall do.
#[derive(Debug)]
pub(super) enum Wish {
    /// Tell whether a node may come in; answered with [`Core::admitted`].
    Admit(SignOf),
    /// Tell who somebody is; answered with [`Core::entered`].
    Enter(Box<Enter>),
    /// Tell which key belongs to an identity; answered with [`Core::key`].
    Key(SessionId, String),
    /// Tell a device its shadow; answered with [`Core::answer`].
    Shadow(ExchangeId, DeviceId, shadow::Request, Encoding),
    /// Give a device a part of an artifact; answered with [`Core::answer`].
    Part(ExchangeId, DeviceId, Digest, Block),
    /// A device is there; answered with [`Core::attached`].
    Attach {
        /// Its connection.
        connection: ConnectionId,
        /// Which it is.
        device: DeviceId,
        /// From where it speaks.
        address: SocketAddr,
        /// How long it may be silent.
        silence_max_ms: u64,
        /// What it showed, if that serves for as long as it is there.
        shown: Option<Shown>,
    },
    /// A device is away.
    Detach(ConnectionId),
    /// Send again what waits for a device.
    Listen(DeviceId),
    /// A message was refused.
    Refuse(DeviceId, String),
}

/// A message of a device, and who waits for it to be taken.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) arrival: Arrival,
    /// The request that brought it, and what it is answered then.
    pub(super) then: Option<(ExchangeId, Response)>,
}

/// Who waits for a message to be taken, with the answer, and what became of it.
pub(super) type Outcome = (Option<(ExchangeId, Response)>, Result<(), UplinkError>);

/// The whole of it.
pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    /// Those who proved who they are, if everybody here has to.
    pub(super) sessions: Option<Sessions>,
    riot: Riot,
    native: Native,
    pub(super) out: Outbox,
}

/// What is to be done outside.
#[derive(Default)]
pub(super) struct Outbox {
    /// In their order.
    pub(super) wishes: VecDeque<Wish>,
    /// In their order.
    pub(super) uplinks: Vec<Said>,
    /// Requests of ours, and what they are about.
    pub(super) calls: HashMap<CallId, About>,
    /// How many were asked to be let in and not answered.
    knocking: usize,
    pub(super) counters: Counters,
}

/// What was counted since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counters {
    /// Messages that were taken.
    pub(super) taken: u64,
    /// Messages that mean nothing, or come from nobody known.
    pub(super) refused: u64,
    /// Of those: values of an address that several nodes share.
    pub(super) ambiguous: u64,
    /// Messages that were dropped because too many waited.
    pub(super) dropped: u64,
}

impl Outbox {
    /// Takes a message; false if too many wait.
    pub(super) fn say(
        &mut self,
        device: DeviceId,
        uplink: Uplink,
        then: Option<(ExchangeId, Response)>,
    ) -> bool {
        if self.uplinks.len() >= UPLINKS_MAX {
            self.counters.dropped += 1;
            return false;
        }
        self.counters.taken += 1;
        let arrival = Arrival { device, uplink, mark: None, again: false };
        self.uplinks.push(Said { arrival, then });
        true
    }

    /// Whether the hub may be asked about one more.
    pub(super) fn may_knock(&mut self) -> bool {
        let may = self.knocking < KNOCKS_MAX;
        self.knocking += usize::from(may);
        may
    }
}

/// Devices of the native protocol have connections from so many on behind the first.
const NATIVE_FROM: u64 = 1 << 58;

impl Core {
    pub(super) fn new(
        limits: Limits,
        sessions: Option<Sessions>,
        node_port: u16,
        first_connection: u64,
        draw: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        let mut endpoint = Endpoint::new(limits, draw);
        if sessions.is_some() {
            endpoint.trust_addresses();
        }
        Self {
            endpoint,
            sessions,
            riot: Riot::new(node_port, first_connection),
            native: Native::new(first_connection + NATIVE_FROM),
            out: Outbox::default(),
        }
    }

    /// A datagram came.
    pub(super) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now_ms: u64) {
        match &mut self.sessions {
            Some(sessions) => sessions.datagram(from, bytes, now_ms),
            None => {
                self.native.heard(from, now_ms);
                self.endpoint.datagram(from, bytes, now_ms);
            }
        }
        self.events(now_ms);
    }

    /// Something is due.
    pub(super) fn tick(&mut self, now_ms: u64) {
        if let Some(sessions) = &mut self.sessions {
            sessions.tick(now_ms);
        }
        self.endpoint.handle_timeout(now_ms);
        self.events(now_ms);
        self.riot.tick(Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms });
        self.native.tick(Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms });
        self.events(now_ms);
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self, now_ms: u64) -> Option<(SocketAddr, Vec<u8>)> {
        let Some(sessions) = &mut self.sessions else { return self.endpoint.poll_transmit() };
        while let Some((to, bytes)) = self.endpoint.poll_transmit() {
            if let Some(session) = SessionId::of(to) {
                sessions.send(session, &bytes, now_ms);
            }
        }
        sessions.poll_transmit()
    }

    /// How many devices are there.
    pub(super) fn nodes(&self) -> usize {
        self.riot.nodes() + self.native.speakers()
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<u64> {
        let sessions = self.sessions.as_ref().and_then(Sessions::next_moment);
        let next =
            [self.endpoint.next_timeout(), self.riot.next_moment(), self.native.next_moment(), sessions];
        next.into_iter().flatten().min()
    }

    /// The hub said which key belongs to who a session says to be.
    pub(super) fn key(&mut self, session: SessionId, key: Option<String>, now_ms: u64) {
        self.out.knocking = self.out.knocking.saturating_sub(1);
        if let Some(sessions) = &mut self.sessions {
            sessions.key(session, key, now_ms);
        }
        self.events(now_ms);
    }

    /// The hub said who somebody is.
    pub(super) fn entered(&mut self, enter: Enter, answer: Result<Client, Refusal>, now_ms: u64) {
        self.out.knocking = self.out.knocking.saturating_sub(1);
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        self.native.entered(hands, enter, answer);
        self.events(now_ms);
    }

    /// A device is there, and what waits for it was said.
    pub(super) fn attached(&mut self, connection: ConnectionId, now_ms: u64) {
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        self.native.attached(hands, connection);
        self.events(now_ms);
    }

    /// The hub had the answer to a request.
    pub(super) fn answer(&mut self, exchange: ExchangeId, response: Response, now_ms: u64) {
        self.out.counters.refused += u64::from(!response.code.is_success());
        self.endpoint.respond(exchange, response, now_ms);
        self.events(now_ms);
    }

    /// The hub said whether a node may come in.
    pub(super) fn admitted(&mut self, sign: SignOf, answer: Result<Client, Refusal>, now_ms: u64) {
        self.out.knocking = self.out.knocking.saturating_sub(1);
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        self.riot.admitted(hands, sign, answer);
        self.events(now_ms);
    }

    /// The hub has something for a device; `None` if it has ended the connection.
    pub(super) fn downlink(&mut self, connection: ConnectionId, downlink: Option<Downlink>, now_ms: u64) {
        let mut hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        match downlink {
            Some(downlink) => {
                let is_secret = self.sessions.is_some();
                if !self.native.say(hands.lend(), connection, &downlink, is_secret) {
                    self.riot.say(hands, connection, &downlink);
                }
            }
            None => match self.native.ended(hands.lend(), connection) {
                // Its key may have been revoked.
                Some(peer) => {
                    if let (Some(sessions), Some(session)) = (&mut self.sessions, SessionId::of(peer)) {
                        sessions.close(session, now_ms);
                    }
                }
                None => self.riot.ended(hands, connection),
            },
        }
        self.events(now_ms);
    }

    /// What became of messages.
    pub(super) fn taken(&mut self, done: impl Iterator<Item = Outcome>, now_ms: u64) {
        for (then, outcome) in done {
            let Some((exchange, response)) = then else { continue };
            let response = match outcome {
                Ok(()) => response,
                Err(UplinkError::Refused(why)) => Response::text(Code::BAD_REQUEST, why),
                Err(UplinkError::Unavailable(_)) => unavailable(),
            };
            self.endpoint.respond(exchange, response, now_ms);
        }
    }

    fn events(&mut self, now_ms: u64) {
        self.sessions_said(now_ms);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Asked { exchange, from, request, block } => {
                    self.asked(Asked { exchange, from, request, block }, now_ms);
                }
                Event::Answered { call, response } => self.answered(call, Ok(response), now_ms),
                Event::Failed { call, failure } => self.answered(call, Err(failure), now_ms),
                Event::ObserverGone { observer } => self.native.observer_gone(observer),
            }
        }
    }

    /// What sessions said goes to the endpoint, under an address of each session.
    fn sessions_said(&mut self, now_ms: u64) {
        let Some(sessions) = &mut self.sessions else { return };
        while let Some(event) = sessions.poll_event() {
            match event {
                dtls::Event::Claimed(session, identity) if identity.is_empty() || !self.out.may_knock() => {
                    sessions.key(session, None, now_ms);
                }
                dtls::Event::Claimed(session, identity) => {
                    self.out.wishes.push_back(Wish::Key(session, identity));
                }
                dtls::Event::Said(session, bytes) => {
                    self.native.heard(session.address(), now_ms);
                    self.endpoint.datagram(session.address(), &bytes, now_ms);
                }
                dtls::Event::Gone(session) => {
                    let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
                    self.native.gone(hands, session.address());
                    self.endpoint.forget_peer(session.address());
                }
            }
        }
    }

    fn answered(&mut self, call: CallId, outcome: Result<Response, Failure>, now_ms: u64) {
        let is_one_of_many =
            outcome.as_ref().is_ok_and(|response| response.observe.is_some() && response.code.is_success());
        let about = match self.out.calls.get_mut(&call).filter(|_| is_one_of_many) {
            Some(known) => {
                let about = known.clone();
                known.goes_on();
                Some(about)
            }
            None => self.out.calls.remove(&call),
        };
        if let Some(about) = about {
            let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
            self.riot.answered(hands, about, outcome);
        }
    }
}

/// For whom cannot be served now.
pub(super) fn unavailable() -> Response {
    let sentence = "it cannot be stored at present: send it again later";
    Response { max_age_s: Some(RETRY_AFTER_S), ..Response::text(Code::UNAVAILABLE, sentence) }
}

#[cfg(test)]
mod tests;
