//! Which messages came already: a repetition is answered as before and not taken twice.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::super::limits::{EXCHANGE_LIFETIME_MS, NON_LIFETIME_MS};

type Key = (SocketAddr, u16);

/// What is known of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    New,
    /// It came before; what was said to it, if something was.
    Again(Option<Vec<u8>>),
}

/// Identifiers of messages, until they may be used again.
pub(super) struct Seen {
    messages: HashMap<Key, (u64, Option<Vec<u8>>)>,
    /// In the order in which they expire: confirmable ones, and others.
    orders: [VecDeque<(u64, Key)>; 2],
    bytes: usize,
    most: usize,
    bytes_most: usize,
}

impl Seen {
    pub(super) fn new(most: usize, bytes_most: usize) -> Self {
        Self { messages: HashMap::new(), orders: Default::default(), bytes: 0, most, bytes_most }
    }

    pub(super) fn look(&self, from: SocketAddr, mid: u16, now_ms: u64) -> Look {
        match self.messages.get(&(from, mid)) {
            Some((expires, reply)) if *expires > now_ms => Look::Again(reply.clone()),
            Some(_) | None => Look::New,
        }
    }

    /// It came. What is forgotten before its time, because there are too many, is counted.
    pub(super) fn insert(
        &mut self,
        from: SocketAddr,
        mid: u16,
        is_confirmable: bool,
        now_ms: u64,
        forgotten: &mut u64,
    ) {
        self.sweep(now_ms);
        while self.messages.len() >= self.most {
            self.forget_oldest(forgotten);
        }
        let life = if is_confirmable { EXCHANGE_LIFETIME_MS } else { NON_LIFETIME_MS };
        let key = (from, mid);
        self.drop_reply(&key);
        self.messages.insert(key, (now_ms + life, None));
        self.orders[usize::from(!is_confirmable)].push_back((now_ms + life, key));
    }

    /// What was said to it. If there is no room the repetition gets nothing.
    pub(super) fn remember(&mut self, from: SocketAddr, mid: u16, reply: &[u8]) {
        if self.bytes + reply.len() > self.bytes_most {
            return;
        }
        if let Some((_, kept)) = self.messages.get_mut(&(from, mid)) {
            self.bytes += reply.len();
            self.bytes -= kept.replace(reply.to_vec()).map_or(0, |former| former.len());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn sweep(&mut self, now_ms: u64) {
        for order in 0..self.orders.len() {
            while self.orders[order].front().is_some_and(|(expires, _)| *expires <= now_ms) {
                let _ = self.pop(order);
            }
        }
    }

    fn forget_oldest(&mut self, forgotten: &mut u64) {
        let first = |order: &VecDeque<(u64, Key)>| order.front().map(|(expires, _)| *expires);
        let order = match (first(&self.orders[0]), first(&self.orders[1])) {
            (Some(confirmable), Some(other)) => usize::from(other < confirmable),
            (Some(_), None) => 0,
            (None, _) => 1,
        };
        if self.pop(order) {
            *forgotten += 1;
        }
    }

    /// Forgets the first of an order, unless the same identifier was used anew meanwhile.
    fn pop(&mut self, order: usize) -> bool {
        let Some((expires, key)) = self.orders[order].pop_front() else { return false };
        let is_it = self.messages.get(&key).is_some_and(|(until, _)| *until == expires);
        if is_it {
            self.drop_reply(&key);
            self.messages.remove(&key);
        }
        is_it
    }

    fn drop_reply(&mut self, key: &Key) {
        let reply = self.messages.get_mut(key).and_then(|(_, reply)| reply.take());
        self.bytes -= reply.map_or(0, |reply| reply.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_message_is_known_until_its_identifier_may_be_used_again() {
        let (mut seen, mut forgotten) = (Seen::new(10, 100), 0);
        seen.insert(peer(1), 7, true, 0, &mut forgotten);
        seen.insert(peer(1), 8, false, 0, &mut forgotten);
        seen.remember(peer(1), 7, b"reply");
        assert_eq!(seen.look(peer(1), 7, 1), Look::Again(Some(b"reply".to_vec())));
        assert_eq!(seen.look(peer(2), 7, 1), Look::New);
        assert_eq!(seen.look(peer(1), 8, NON_LIFETIME_MS - 1), Look::Again(None));
        assert_eq!(seen.look(peer(1), 8, NON_LIFETIME_MS), Look::New);
        seen.sweep(EXCHANGE_LIFETIME_MS);
        assert!(seen.is_empty() && seen.bytes == 0 && forgotten == 0);
    }

    #[test]
    fn what_is_too_much_is_forgotten_oldest_first_and_counted() {
        let (mut seen, mut forgotten) = (Seen::new(3, 8), 0);
        for mid in 0..5 {
            seen.insert(peer(1), mid, true, u64::from(mid), &mut forgotten);
            seen.remember(peer(1), mid, b"12345");
        }
        assert_eq!(forgotten, 2);
        assert_eq!(seen.look(peer(1), 1, 5), Look::New);
        assert_ne!(seen.look(peer(1), 4, 5), Look::New);
        assert!(seen.bytes <= 8, "{} bytes", seen.bytes);
    }
}
