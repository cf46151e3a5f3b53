//! Requests of ours: what they send in blocks, what they gather in blocks, what they observe, and when they give up.

use std::net::SocketAddr;

use super::super::block::{Block, EXPONENT_MAX};
use super::super::limits::MAX_AGE_S;
use super::super::message::{self, Body, Code, Message, Request, Response, Token};
use super::outgoing::What;
use super::{CallId, Endpoint, Event, Failure, Timer};

/// A notification with a smaller number is newer after so long.
const NUMBERS_AGE_MS: u64 = 128_000;
/// An observation is asked for anew so long after its notification is not fresh any more, and up to ten seconds later.
const AGAIN_AFTER_MS: u64 = 5_000;
const AGAIN_RANDOM_MS: u64 = 10_000;

/// A request of ours that goes on.
pub(super) struct Call {
    pub(super) to: SocketAddr,
    request: Request,
    /// Of the request itself, and of those for further blocks.
    tokens: Vec<Token>,
    wait_ms: u64,
    deadline_ms: Option<u64>,
    /// Of our body: how much was taken, in blocks of which size.
    sent: usize,
    exponent: u8,
    echo: Option<Vec<u8>>,
    /// What was gathered of the answer.
    gathered: Option<Response>,
    body: Vec<u8>,
    /// The last notification: its number, and when it came.
    last: Option<(u32, u64)>,
    again_at_ms: Option<u64>,
}

impl Endpoint {
    /// Asks a peer. It has so long to answer, each time it is asked.
    pub fn request(
        &mut self,
        to: SocketAddr,
        request: Request,
        wait_ms: u64,
        now_ms: u64,
    ) -> Result<CallId, Failure> {
        self.at_work(now_ms);
        if self.calls.len() >= self.limits.calls_max {
            self.counters.refused_busy += 1;
            return Err(Failure::Busy);
        }
        let id = CallId(self.fresh_id());
        let token = self.fresh_token();
        let call = Call {
            to,
            request,
            tokens: vec![token],
            wait_ms,
            deadline_ms: None,
            sent: 0,
            exponent: EXPONENT_MAX,
            echo: None,
            gathered: None,
            body: Vec::new(),
            last: None,
            again_at_ms: None,
        };
        self.tokens.insert(token, id);
        self.calls.insert(id, call);
        match self.ask(id, token, None) {
            Ok(()) => Ok(id),
            Err(failure) => {
                self.forget(id);
                Err(failure)
            }
        }
    }

    /// Nobody waits for the answer any more. An observation ends with its next notification.
    pub fn cancel(&mut self, id: CallId) {
        self.forget(id);
    }

    /// Sends the request of a call, or one for the next block of its answer.
    fn ask(&mut self, id: CallId, token: Token, block: Option<Block>) -> Result<(), Failure> {
        let now = self.now_ms;
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        let deadline = now + call.wait_ms;
        call.deadline_ms = Some(deadline);
        let (to, echo) = (call.to, call.echo.clone());
        let mut request = call.request.clone();
        let payload = std::mem::take(&mut request.payload);
        let block1 = match block {
            // The rest of an answer is asked for without anything of our own.
            Some(_) => {
                (request.block, request.observe) = (block, None);
                None
            }
            None => call.next_block(payload.len()),
        };
        let part = match (block, block1) {
            (Some(_), _) => &[],
            (None, None) => &payload[..],
            (None, Some(block)) => &payload[block.offset()..payload.len().min(block.offset() + block.size())],
        };
        let block1 = block1.map(|block| (block, payload.len()));
        self.timers.insert((deadline, Timer::Deadline(id)));
        if request.is_confirmable {
            let write = |mid| message::plain(mid, token, &request, block1, part, echo.as_deref());
            return self.confirm(to, What::Call(id), write);
        }
        let mid = self.next_mid;
        self.next_mid = mid.wrapping_add(1);
        let bytes = message::plain(mid, token, &request, block1, part, echo.as_deref());
        self.send(to, bytes);
        Ok(())
    }

    /// A response to one of our requests; false if it breaks a rule, and is as good as none.
    pub(super) fn answered(&mut self, id: CallId, message: &Message) -> bool {
        let Some((response, block2)) = message::answer(message) else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        self.proof.prove(call.to, self.now_ms);
        let is_first = call.tokens.first() == Some(&message.token);
        if let Some(echo) =
            message.echo().filter(|_| message.code == Code::UNAUTHORIZED && call.echo.is_none())
        {
            call.echo = Some(echo.clone());
            return self.ask_anew(id, None);
        }
        if is_first && call.goes_on(&response, message.block1()) {
            return self.ask_anew(id, None);
        }
        if is_first && let Some(number) = response.observe.filter(|_| call.request.observe == Some(true)) {
            if !call.is_newer(number, self.now_ms) {
                return true;
            }
            call.last = Some((number, self.now_ms));
            (call.gathered, call.body) = (None, Vec::new());
            let again = self.now_ms
                + u64::from(response.max_age_s.unwrap_or(MAX_AGE_S)) * 1_000
                + AGAIN_AFTER_MS
                + (self.draw)() % AGAIN_RANDOM_MS;
            call.again_at_ms = Some(again);
            self.timers.insert((again, Timer::ObserveAgain(id)));
        }
        match call.gather(response, block2, self.limits.body_bytes_max) {
            Ok(None) => {
                let next = block2.map(|block| Block { number: block.number + 1, more: false, ..block });
                self.ask_anew(id, next)
            }
            Ok(Some(response)) => {
                self.deliver(id, response);
                true
            }
            Err(failure) => {
                self.fail(id, failure);
                true
            }
        }
    }

    fn deliver(&mut self, id: CallId, response: Response) {
        let goes_on = response.observe.is_some() && response.code.is_success();
        match self.calls.get_mut(&id) {
            Some(call) if goes_on => {
                call.deadline_ms = None;
                for token in call.tokens.drain(1..) {
                    self.tokens.remove(&token);
                }
            }
            Some(_) | None => self.forget(id),
        }
        self.events.push_back(Event::Answered { call: id, response });
    }

    /// Asks again under the same token, or for the next block under another one.
    fn ask_anew(&mut self, id: CallId, block: Option<Block>) -> bool {
        let fresh = self.fresh_token();
        let Some(call) = self.calls.get_mut(&id) else { return true };
        let token = match block {
            None => call.tokens[0],
            Some(_) => {
                for token in call.tokens.drain(1..) {
                    self.tokens.remove(&token);
                }
                // What is not observed has no use for its first token any more.
                if call.last.is_none() {
                    self.tokens.remove(&call.tokens[0]);
                }
                call.tokens.push(fresh);
                self.tokens.insert(fresh, id);
                fresh
            }
        };
        if let Err(failure) = self.ask(id, token, block) {
            self.fail(id, failure);
        }
        true
    }

    pub(super) fn observe_again(&mut self, id: CallId, at: u64) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.again_at_ms == Some(at)) else { return };
        call.again_at_ms = None;
        self.ask_anew(id, None);
    }

    pub(super) fn too_late(&mut self, id: CallId, at: u64) {
        if self.calls.get(&id).is_some_and(|call| call.deadline_ms == Some(at)) {
            self.fail(id, Failure::Timeout);
        }
    }

    pub(super) fn fail(&mut self, id: CallId, failure: Failure) {
        if self.calls.contains_key(&id) {
            self.forget(id);
            self.events.push_back(Event::Failed { call: id, failure });
        }
    }

    fn forget(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            for token in call.tokens {
                self.tokens.remove(&token);
            }
            self.settle_call(call.to, id);
        }
    }
}

impl Call {
    /// The block of our body that is next; `None` if it goes in one piece.
    fn next_block(&self, size: usize) -> Option<Block> {
        let full = 16 << self.exponent;
        let number = u32::try_from(self.sent / full).unwrap_or(u32::MAX);
        let more = self.sent + full < size;
        (size > full || self.sent > 0).then_some(Block { number, more, exponent: self.exponent })
    }

    /// Whether our body goes on after this response: with the next block, or anew in smaller ones.
    fn goes_on(&mut self, response: &Response, block1: Option<Block>) -> bool {
        let Some(sent) = self.next_block(self.request.payload.len()) else { return false };
        match (response.code, block1) {
            (Code::CONTINUE, block1) if sent.more => {
                self.sent += sent.size();
                self.exponent = block1.map_or(self.exponent, |block| block.exponent.min(self.exponent));
                true
            }
            (Code::TOO_LARGE, Some(block)) if self.sent == 0 && block.exponent < self.exponent => {
                self.exponent = block.exponent;
                true
            }
            _ => false,
        }
    }

    /// RFC 7641, section 3.4.
    fn is_newer(&self, number: u32, now_ms: u64) -> bool {
        let Some((last, at)) = self.last else { return true };
        let half = 1 << 23;
        last < number && number - last < half
            || last > number && last - number > half
            || now_ms > at + NUMBERS_AGE_MS
    }

    /// Puts the blocks of an answer together. `None` as long as some are missing.
    fn gather(
        &mut self,
        mut response: Response,
        block: Option<Block>,
        bytes_max: usize,
    ) -> Result<Option<Response>, Failure> {
        let Some(block) = block.filter(|_| response.code.is_success()) else {
            return Ok(Some(response));
        };
        if block.number == 0 {
            self.body.clear();
            self.gathered = None;
        }
        let is_next = block.offset() == self.body.len();
        let is_same = self.gathered.as_ref().is_none_or(|first| first.etag == response.etag);
        if !is_next || !is_same || block.more && response.payload().len() != block.size() {
            return Err(Failure::Malformed);
        }
        self.body.extend_from_slice(response.payload());
        if self.body.len() > bytes_max || block.more && self.body.len() == bytes_max {
            return Err(Failure::TooLarge);
        }
        if block.more {
            self.gathered.get_or_insert(response);
            return Ok(None);
        }
        if let Some(first) = self.gathered.take() {
            response.observe = first.observe;
        }
        response.body = Body::Whole(std::mem::take(&mut self.body));
        Ok(Some(response))
    }
}
