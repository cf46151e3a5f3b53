//! Who observes something here (RFC 7641). Every notification is confirmable: what is told is state, and must arrive.
//! While one is under way the newest that follows it waits, and takes the place of the one before.

use std::net::SocketAddr;

use super::super::message::{Kind, Response, Token};
use super::exchanges::{Exchange, compose};
use super::outgoing::What;
use super::{Endpoint, Event, ObserverId};

/// Numbers of notifications have 24 bits.
const NUMBERS: u32 = 1 << 24;

/// A peer that observes something.
pub(super) struct Observer {
    to: SocketAddr,
    token: Token,
    number: u32,
    is_under_way: bool,
    newest: Option<Response>,
    /// How large a notification may be until the peer has proven its address.
    budget: usize,
    exponent: u8,
}

impl Endpoint {
    /// What a request says of observation, with the response to it. An observer that asks again stays the same.
    pub(super) fn observe(&mut self, exchange: &Exchange, response: &mut Response) -> Option<ObserverId> {
        let accepted = response.observe.take().is_some() && response.code.is_success();
        let key = (exchange.from, exchange.token);
        let known = self.observing.get(&key).copied();
        match exchange.observe {
            Some(true) if accepted => {}
            Some(_) => {
                if let Some(id) = known {
                    self.observer_gone(id);
                }
                return None;
            }
            None => return None,
        }
        let id = match known {
            Some(id) => id,
            None => self.begin_observation(exchange)?,
        };
        response.observe = self.next_number(id);
        Some(id)
    }

    fn begin_observation(&mut self, exchange: &Exchange) -> Option<ObserverId> {
        let (to, token) = (exchange.from, exchange.token);
        let of_peer = self.observing.range((to, Token::default())..).take_while(|((peer, _), _)| *peer == to);
        if of_peer.count() >= self.limits.observers_per_peer_max
            || self.observers.len() >= self.limits.observers_max
        {
            self.counters.refused_observers += 1;
            return None;
        }
        let id = ObserverId(self.fresh_id());
        self.observing.insert((to, token), id);
        let (budget, exponent) = (exchange.budget, exchange.exponent());
        let observer = Observer { to, token, number: 0, is_under_way: false, newest: None, budget, exponent };
        self.observers.insert(id, observer);
        Some(id)
    }

    fn next_number(&mut self, id: ObserverId) -> Option<u32> {
        let observer = self.observers.get_mut(&id)?;
        observer.number = (observer.number + 1) % NUMBERS;
        Some(observer.number)
    }

    /// Tells an observer what is so now. A response that is no success ends the observation.
    pub fn notify(&mut self, id: ObserverId, response: Response, now_ms: u64) {
        self.at_work(now_ms);
        let Some(observer) = self.observers.get_mut(&id) else { return };
        if observer.is_under_way {
            observer.newest = Some(response);
            return;
        }
        self.tell(id, response);
    }

    fn tell(&mut self, id: ObserverId, mut response: Response) {
        let is_last = !response.code.is_success();
        response.observe = self.next_number(id).filter(|_| !is_last);
        let Some(observer) = self.observers.get_mut(&id) else { return };
        let (to, token, budget, exponent) = (observer.to, observer.token, observer.budget, observer.exponent);
        observer.is_under_way = true;
        let is_proven = self.proof.is_proven(to, self.now_ms);
        let exponent = if is_proven { super::super::block::EXPONENT_MAX } else { exponent };
        let block = super::Block { number: 0, more: false, exponent };
        let mut bytes = compose((Kind::Confirmable, 0, token), &response, Some((block, false)), None);
        if !is_proven && bytes.len() > budget {
            self.counters.unproven += 1;
            return self.observer_gone(id);
        }
        let write = |mid: u16| {
            bytes[2..4].copy_from_slice(&mid.to_be_bytes());
            bytes
        };
        if self.confirm(to, What::Notice(id), write).is_err() || is_last {
            self.observer_gone(id);
        }
    }

    /// A notification arrived; the newest that waits is next.
    pub(super) fn notice_taken(&mut self, id: ObserverId) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        observer.is_under_way = false;
        if let Some(newest) = observer.newest.take() {
            self.tell(id, newest);
        }
    }

    /// An observer is told nothing more, without a word.
    pub fn forget_observer(&mut self, id: ObserverId) {
        if let Some(observer) = self.observers.remove(&id) {
            self.observing.remove(&(observer.to, observer.token));
        }
    }

    /// It observes no more.
    pub(super) fn observer_gone(&mut self, id: ObserverId) {
        if let Some(observer) = self.observers.remove(&id) {
            self.observing.remove(&(observer.to, observer.token));
            self.events.push_back(Event::ObserverGone { observer: id });
        }
    }
}
