//! Which peers proved that their address is theirs. Others get nothing that is larger than three times what they sent
//! (RFC 9175, section 2.4), because their requests may come from somebody who wants it sent to a third.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use sha2::{Digest, Sha256};

/// How long a value may be said back, at most twice.
const SLOT_MS: u64 = 64_000;
/// How much larger than its request an answer to an unproven address may be.
pub(super) const TIMES_MAX: usize = 3;
/// With four bytes of header and two of the option, the answer has twelve: three times the smallest request.
const BYTES: usize = 6;

/// Addresses that are proven, and what others have to say back. Nothing is kept of those others.
pub(super) struct Proof {
    key: [u64; 4],
    all: bool,
    proven: HashMap<SocketAddr, u64>,
    order: VecDeque<(u64, SocketAddr)>,
    most: usize,
    life_ms: u64,
}

impl Proof {
    pub(super) fn new(key: [u64; 4], most: usize, life_ms: u64) -> Self {
        Self { key, all: false, proven: HashMap::new(), order: VecDeque::new(), most, life_ms }
    }

    pub(super) fn trust_all(&mut self) {
        self.all = true;
    }

    pub(super) fn is_proven(&self, peer: SocketAddr, now_ms: u64) -> bool {
        self.all || self.proven.get(&peer).is_some_and(|until| *until > now_ms)
    }

    /// It said something that only who receives at this address can know.
    pub(super) fn prove(&mut self, peer: SocketAddr, now_ms: u64) {
        if self.all {
            return;
        }
        let until = now_ms + self.life_ms;
        // Written anew at most every half of its life, so that the order stays short.
        if self.proven.get(&peer).is_some_and(|known| *known > now_ms + self.life_ms / 2) {
            return;
        }
        while self.order.len() >= self.most {
            self.pop();
        }
        self.proven.insert(peer, until);
        self.order.push_back((until, peer));
    }

    /// What an address has to say back.
    pub(super) fn challenge(&self, peer: SocketAddr, now_ms: u64) -> [u8; BYTES] {
        self.value(peer, now_ms / SLOT_MS)
    }

    /// Whether that is it.
    pub(super) fn fits(&self, peer: SocketAddr, said: &[u8], now_ms: u64) -> bool {
        let slot = now_ms / SLOT_MS;
        said == self.value(peer, slot) || slot > 0 && said == self.value(peer, slot - 1)
    }

    fn value(&self, peer: SocketAddr, slot: u64) -> [u8; BYTES] {
        let mut hash = Sha256::new();
        self.key.iter().for_each(|part| hash.update(part.to_be_bytes()));
        hash.update(slot.to_be_bytes());
        hash.update(peer.to_string());
        std::array::from_fn({
            let digest = hash.finalize();
            move |at| digest[at]
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.proven.is_empty()
    }

    pub(super) fn sweep(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now_ms) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((until, peer)) = self.order.pop_front()
            && self.proven.get(&peer) == Some(&until)
        {
            self.proven.remove(&peer);
        }
    }
}
