//! Requests of peers and our answers: in the acknowledgement if they come soon, by themselves if not, in blocks if
//! they are large, and small to whom has not proven its address.

use std::net::SocketAddr;

use super::super::block::{Block, EXPONENT_MAX};
use super::super::limits::{DATAGRAM_BYTES_MAX, SEPARATE_AFTER_MS};
use super::super::message::{self, Body, Code, Kind, Message, Method, Response, Token, Wanted, Wrong};
use super::outgoing::What;
use super::proof::TIMES_MAX;
use super::seen::Look;
use super::uploads::Taken;
use super::{Endpoint, Event, ExchangeId, ObserverId, Timer};

/// What a response has at most beside token and body: header, ETag, format, two block options, sizes, marker.
const OVERHEAD_BYTES: usize = 32;
/// Who has not proven its address gets at most so many small blocks; for more it has to.
const SMALL_BLOCKS_MAX: usize = 64;
/// Who is refused because too much is under way may come again after so many seconds.
const RETRY_AFTER_S: u32 = 5;

/// A request that waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) from: SocketAddr,
    pub(super) token: Token,
    /// Begins (true) or ends (false).
    pub(super) observe: Option<bool>,
    mid: u16,
    method: Method,
    is_confirmable: bool,
    /// It was acknowledged without an answer, which comes by itself then.
    is_acknowledged: bool,
    /// How large an answer may be.
    pub(super) budget: usize,
    /// Which block of the body is wanted, and whether that was said.
    block: Block,
    has_block: bool,
    /// The last block of the request's body.
    block1: Option<Block>,
}

impl Exchange {
    /// The size of blocks that its peer may be sent.
    pub(super) fn exponent(&self) -> u8 {
        self.block.exponent
    }
}

impl Endpoint {
    /// A request came.
    pub(super) fn asked(&mut self, from: SocketAddr, message: &Message, size: usize) {
        let is_confirmable = message.kind == Kind::Confirmable;
        if let Look::Again(reply) = self.seen.look(from, message.mid, self.now_ms) {
            self.counters.repeated += 1;
            // It may be smaller than what it claims to repeat.
            let budget = self.budget(from, size);
            if let Some(reply) = reply.filter(|reply| is_confirmable && reply.len() <= budget) {
                self.send(from, reply);
            }
            return;
        }
        self.seen.insert(from, message.mid, is_confirmable, self.now_ms, &mut self.counters.forgotten);
        let wanted = message::wanted(message);
        if let Ok(Wanted { echo: Some(echo), .. }) = &wanted
            && self.proof.fits(from, echo, self.now_ms)
        {
            self.proof.prove(from, self.now_ms);
        }
        let mut exchange = self.exchange(from, message, size);
        let parsed = message::request(message).and_then(|request| Ok((request, wanted?)));
        let (mut request, wanted) = match parsed {
            Ok(parsed) => parsed,
            Err(wrong) => return self.refuse(&exchange, wrong),
        };
        (exchange.method, exchange.observe) = (request.method, request.observe);
        if let Some(block) = request.block {
            exchange.has_block = true;
            exchange.block = smaller(block, exchange.block.exponent);
        }
        if let Some(block1) = wanted.block1 {
            exchange.block1 = Some(block1);
            match self.uploads.take(from, &request, block1, wanted.size1, &self.limits, self.now_ms) {
                Ok(Taken::Whole(body)) => request.payload = body,
                Ok(Taken::Continue) => return self.answer(&exchange, &Response::new(Code::CONTINUE)),
                Err(wrong) => return self.refuse(&exchange, wrong),
            }
        }
        let per_address = self.per_address.get(&from.ip()).copied().unwrap_or(0);
        if self.exchanges.len() >= self.limits.exchanges_max
            || per_address >= self.limits.exchanges_per_address_max
        {
            self.counters.refused_busy += 1;
            let busy = Response { max_age_s: Some(RETRY_AFTER_S), ..Response::new(Code::UNAVAILABLE) };
            return self.answer(&exchange, &busy);
        }
        let id = ExchangeId(self.fresh_id());
        let block = exchange.block;
        *self.per_address.entry(from.ip()).or_default() += 1;
        if is_confirmable {
            self.timers.insert((self.now_ms + SEPARATE_AFTER_MS, Timer::Separate(id)));
        }
        self.exchanges.insert(id, exchange);
        self.events.push_back(Event::Asked { exchange: id, from, request, block });
    }

    /// How large an answer to a datagram may be.
    fn budget(&self, from: SocketAddr, size: usize) -> usize {
        if self.proof.is_proven(from, self.now_ms) { usize::MAX } else { TIMES_MAX * size }
    }

    fn exchange(&self, from: SocketAddr, message: &Message, size: usize) -> Exchange {
        let budget = self.budget(from, size);
        let room = budget
            .min(DATAGRAM_BYTES_MAX + OVERHEAD_BYTES)
            .saturating_sub(OVERHEAD_BYTES + message.token.as_bytes().len());
        let exponent = (0..=EXPONENT_MAX).rev().find(|exponent| 16 << exponent <= room).unwrap_or(0);
        Exchange {
            from,
            token: message.token,
            observe: None,
            mid: message.mid,
            method: Method::Get,
            is_confirmable: message.kind == Kind::Confirmable,
            is_acknowledged: false,
            budget,
            block: Block { number: 0, more: false, exponent },
            has_block: false,
            block1: None,
        }
    }

    fn refuse(&mut self, exchange: &Exchange, Wrong(code, why): Wrong) {
        if code == Code::TOO_LARGE {
            self.counters.refused_large += 1;
        }
        self.answer(exchange, &Response::text(code, why));
    }

    /// It takes longer: the request is acknowledged, so that it is not sent again.
    pub(super) fn acknowledge(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id).filter(|exchange| !exchange.is_acknowledged) else {
            return;
        };
        exchange.is_acknowledged = true;
        let (from, mid) = (exchange.from, exchange.mid);
        let reply = message::empty(Kind::Acknowledgement, mid);
        self.seen.remember(from, mid, &reply);
        self.send(from, reply);
    }

    /// Answers a request. If it wants to observe and the response has a number of observation (any), the peer is an
    /// observer from now on.
    pub fn respond(&mut self, id: ExchangeId, mut response: Response, now_ms: u64) -> Option<ObserverId> {
        self.at_work(now_ms);
        let exchange = self.take_exchange(id)?;
        let observer = self.observe(&exchange, &mut response);
        self.answer(&exchange, &response);
        observer
    }

    /// A request is left without an answer, as if it had been lost.
    pub fn ignore(&mut self, id: ExchangeId) {
        let _ = self.take_exchange(id);
    }

    fn take_exchange(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&id)?;
        let address = exchange.from.ip();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(exchange)
    }

    fn answer(&mut self, exchange: &Exchange, response: &Response) {
        let Exchange { from, mid, token, .. } = *exchange;
        match (exchange.is_confirmable, exchange.is_acknowledged) {
            (true, false) => {
                let bytes = self.composed(exchange, response, (Kind::Acknowledgement, mid, token));
                if let Some(bytes) = bytes {
                    self.seen.remember(from, mid, &bytes);
                    self.send(from, bytes);
                }
            }
            (true, true) => {
                // Written when its identifier is known; nothing is sent if it is too much for this address.
                let made = self.composed(exchange, response, (Kind::Confirmable, 0, token));
                if let Some(mut bytes) = made {
                    let write = |mid: u16| {
                        bytes[2..4].copy_from_slice(&mid.to_be_bytes());
                        bytes
                    };
                    let _ = self.confirm(from, What::Answer, write);
                }
            }
            (false, _) => {
                let mid = self.next_mid;
                self.next_mid = mid.wrapping_add(1);
                if let Some(bytes) = self.composed(exchange, response, (Kind::NonConfirmable, mid, token)) {
                    self.send(from, bytes);
                }
            }
        }
    }

    /// The datagram of a response, or one that asks for a proof of the address. `None` if even that is too large.
    fn composed(
        &mut self,
        exchange: &Exchange,
        response: &Response,
        head: (Kind, u16, Token),
    ) -> Option<Vec<u8>> {
        let Exchange { method, block, has_block, block1, budget, .. } = *exchange;
        let wanted = (method == Method::Get && response.code.is_success()).then_some((block, has_block));
        let bytes = compose(head, response, wanted, block1);
        // In small blocks a large body would take for ever: one question more, and it comes in large ones.
        let is_long = budget < usize::MAX
            && wanted.is_some_and(|(block, _)| block.number == 0)
            && response.body.size() > SMALL_BLOCKS_MAX * block.size();
        if bytes.len() <= budget && !is_long {
            return Some(bytes);
        }
        self.counters.unproven += 1;
        let bytes = match method {
            Method::Get if response.code.is_success() => {
                message::echo(head, &self.proof.challenge(exchange.from, self.now_ms))
            }
            // It was done, and must not be done again: how it went is said without the words.
            Method::Get | Method::Post | Method::Put | Method::Delete => {
                compose(head, &Response::new(response.code), None, block1)
            }
        };
        (bytes.len() <= budget).then_some(bytes)
    }
}

/// The same place of a body, in blocks that are not larger than so.
fn smaller(block: Block, exponent: u8) -> Block {
    let exponent = block.exponent.min(exponent);
    Block { number: block.number << (block.exponent - exponent), more: false, exponent }
}

/// The datagram of a response; `wanted` is the block of the body, and whether the request has the option.
pub(super) fn compose(
    head: (Kind, u16, Token),
    response: &Response,
    wanted: Option<(Block, bool)>,
    block1: Option<Block>,
) -> Vec<u8> {
    let (block, has_block) =
        wanted.unwrap_or((Block { number: 0, more: false, exponent: EXPONENT_MAX }, false));
    match &response.body {
        Body::Part { offset, bytes, size } => {
            let more = offset + bytes.len() < *size;
            let number = u32::try_from(offset / block.size()).unwrap_or(u32::MAX);
            let block = Block { number, more, ..block };
            message::response(head, response, bytes, Some((block, *size)), block1)
        }
        Body::Whole(bytes) if !has_block && bytes.len() <= block.size() => {
            message::response(head, response, bytes, None, block1)
        }
        // Nobody can ask for the rest of what is no answer to a GET.
        Body::Whole(bytes) if wanted.is_none() => {
            message::response(head, response, &bytes[..bytes.len().min(block.size())], None, block1)
        }
        Body::Whole(bytes) => {
            let start = block.offset();
            if start > 0 && start >= bytes.len() {
                let beyond = Response::text(Code::BAD_REQUEST, "the body has no such block");
                return message::response(head, &beyond, beyond.payload(), None, block1);
            }
            let end = bytes.len().min(start + block.size());
            let block = Block { more: end < bytes.len(), ..block };
            message::response(head, response, &bytes[start..end], Some((block, bytes.len())), block1)
        }
    }
}
