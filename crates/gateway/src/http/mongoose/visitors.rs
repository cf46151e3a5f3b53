//! Who comes too often. Some firmware connects again without any pause while it is not let in; that must cost next to
//! nothing, and must not keep other devices behind the same address out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Handshakes of one address in [`SPAN`]: a fleet behind one router comes back at once after a power cut.
const HANDSHAKES_MAX: u32 = 3_000;
const SPAN: Duration = Duration::from_secs(60);
/// A credential that was refused is refused again without being looked up for so long.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How many addresses, and how many refused credentials, are remembered.
const KEPT_MAX: usize = 10_000;

/// What is remembered of those who came.
#[derive(Default)]
pub(super) struct Visitors {
    hasher: RandomState,
    counted: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    refused: Mutex<HashMap<(IpAddr, u64), Instant>>,
}

impl Visitors {
    /// Counts a handshake; whether there were not too many.
    pub(super) fn may_ask(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut counted, |(since, _)| now - *since < SPAN);
        let (since, count) = counted.entry(address).or_insert((now, 0));
        if now - *since >= SPAN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= HANDSHAKES_MAX
    }

    /// Whether this credential was refused to this address a moment ago.
    pub(super) fn is_refused(&self, address: IpAddr, secret: &str) -> bool {
        let key = (address, self.hasher.hash_one(secret));
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&key).is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    /// Remembers that a credential was refused.
    pub(super) fn refuse(&self, address: IpAddr, secret: &str) {
        let now = Instant::now();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut refused, |at| now - *at < REFUSED_FOR);
        refused.insert((address, self.hasher.hash_one(secret)), now);
    }
}

fn make_room<K: Eq + std::hash::Hash, V>(kept: &mut HashMap<K, V>, is_wanted: impl Fn(&V) -> bool) {
    if kept.len() >= KEPT_MAX {
        kept.retain(|_, value| is_wanted(value));
    }
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_credential_keeps_no_other_out() {
        let visitors = Visitors::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(!visitors.is_refused(here, "a"));
        visitors.refuse(here, "a");
        assert!(visitors.is_refused(here, "a"));
        assert!(!visitors.is_refused(here, "b"), "another device at the same address");
        assert!(!visitors.is_refused(there, "a"));
        let let_in = (0..HANDSHAKES_MAX + 10).filter(|_| visitors.may_ask(here)).count();
        assert_eq!(let_in, HANDSHAKES_MAX as usize);
        assert!(visitors.may_ask(there));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let visitors = Visitors::default();
        for number in 0..KEPT_MAX * 3 {
            visitors.refuse(IpAddr::from([10, 0, 0, 1]), &number.to_string());
        }
        assert!(visitors.refused.lock().unwrap_or_else(PoisonError::into_inner).len() <= KEPT_MAX);
    }
}
