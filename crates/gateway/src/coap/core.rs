//! What the gateway decides, without a socket, a clock or a wait.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_protocol::coap::{
    CallId, Code, Endpoint, Event, ExchangeId, Failure, Limits, Method, Request, Response, format,
};
use motehub_protocol::riot::{ALIVE, SERVER};

use super::riot::{About, Hands, Riot, SignOf};
use crate::hub::{Arrival, Client, ConnectionId, Refusal, UplinkError};

/// Messages that wait to be taken; beyond it none are.
const UPLINKS_MAX: usize = 20_000;
/// Requests to be let in that the hub has at once.
const KNOCKS_MAX: usize = 256;
/// When somebody shall come again who cannot be served now, in seconds.
pub(super) const RETRY_AFTER_S: u32 = 5;

/// Something that the hub shall do.
#[derive(Debug)]
pub(super) enum Wish {
    /// Tell whether a node may come in; answered with [`Core::admitted`].
    Admit(SignOf),
    /// A device is there.
    Attach {
        /// Its connection.
        connection: ConnectionId,
        /// Which it is.
        device: DeviceId,
        /// From where it speaks.
        address: SocketAddr,
        /// How long it may be silent.
        silence_max_ms: u64,
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
    riot: Riot,
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

impl Core {
    pub(super) fn new(
        limits: Limits,
        node_port: u16,
        first_connection: u64,
        draw: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        let endpoint = Endpoint::new(limits, draw);
        Self { endpoint, riot: Riot::new(node_port, first_connection), out: Outbox::default() }
    }

    /// A datagram came.
    pub(super) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now_ms: u64) {
        self.endpoint.datagram(from, bytes, now_ms);
        self.events(now_ms);
    }

    /// Something is due.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.endpoint.handle_timeout(now_ms);
        self.events(now_ms);
        self.riot.tick(Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms });
        self.events(now_ms);
    }

    /// How many nodes are there.
    pub(super) fn nodes(&self) -> usize {
        self.riot.nodes()
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<u64> {
        [self.endpoint.next_timeout(), self.riot.next_moment()].into_iter().flatten().min()
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
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        match downlink {
            Some(downlink) => self.riot.say(hands, connection, &downlink),
            None => self.riot.ended(hands, connection),
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
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Asked { exchange, from, request, .. } => self.asked(exchange, from, &request, now_ms),
                Event::Answered { call, response } => self.answered(call, Ok(response), now_ms),
                Event::Failed { call, failure } => self.answered(call, Err(failure), now_ms),
                Event::ObserverGone { .. } => {}
            }
        }
    }

    fn answered(&mut self, call: CallId, outcome: Result<Response, Failure>, now_ms: u64) {
        if let Some(about) = self.out.calls.remove(&call) {
            let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
            self.riot.answered(hands, about, outcome);
        }
    }

    fn asked(&mut self, exchange: ExchangeId, from: SocketAddr, request: &Request, now_ms: u64) {
        let path = request.path_text();
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        let answer = match (request.method, path.as_str()) {
            (Method::Post, ALIVE) => self.riot.alive(hands, exchange, from, &request.payload),
            (Method::Post, SERVER) => self.riot.posted(hands, exchange, from, &request.payload),
            (_, ALIVE | SERVER) => Some(Response::text(Code::METHOD_NOT_ALLOWED, "only POST is known here")),
            (Method::Get, "/.well-known/core") => {
                let links = format!("<{ALIVE}>;rt=\"pyaiot.alive\",<{SERVER}>;rt=\"pyaiot.server\"");
                Some(Response::with(Code::CONTENT, format::LINKS, links.into_bytes()))
            }
            _ => Some(Response::text(Code::NOT_FOUND, "there is no such resource")),
        };
        if let Some(answer) = answer {
            self.out.counters.refused += u64::from(!answer.code.is_success());
            self.endpoint.respond(exchange, answer, now_ms);
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
