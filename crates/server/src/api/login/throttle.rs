//! Slows down whoever guesses passwords, per name and per address, and keeps password checks from eating the
//! machine. Nobody is ever locked out for good: the wait grows to a minute and no further, tries during a
//! wait do not lengthen it, and the address from which a person last came in does not wait for the guesses of
//! others. It is all in memory: a restart forgives.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use motehub_domain::rejection::Rejection;
use motehub_domain::text;
use motehub_domain::time::{Span, Time};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::app::App;
use crate::cluster::words::Word;
use crate::secrets;

/// Tries that are free of a wait.
const FREE_TRIES: u32 = 5;
/// The first wait; each further one is twice as long.
const WAIT_FIRST: Span = Span::seconds(2);
/// The longest wait.
const WAIT_MAX: Span = Span::seconds(60);
/// Tries are forgotten after so long without another one.
const FORGOTTEN_AFTER: Span = Span::minutes(15);
/// How many names and addresses are remembered; the oldest is dropped for a new one.
const ENTRIES_MAX: usize = 10_000;
/// How many passwords are hashed at once; each takes 19 MiB and a core.
const CHECKS_MAX: usize = 2;
/// How many requests may stand in line for a check; further ones are turned away.
const LINE_MAX: usize = 64;

/// What may be guessed. Each is counted by itself, over all nodes of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    /// A password, or the code of the first set-up.
    Password,
    /// The code of a device, or of an invitation.
    Code,
}

/// Counts tries and hands out turns.
pub(crate) struct Throttle {
    entries: Mutex<Entries>,
    line: Semaphore,
    checks: Semaphore,
    set_ups: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Entries {
    tries: HashMap<Key, Tries>,
    /// From where each name last came in.
    known: HashMap<String, IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    last: Time,
}

/// A try that may go on. It counts as failed until [`Throttle::succeeded`] takes it back, so that many tries
/// at once cannot slip through before the first has failed.
pub(crate) struct Ticket<'a> {
    keys: Vec<Key>,
    name: String,
    network: IpAddr,
    _place: SemaphorePermit<'a>,
}

impl App {
    /// Lets a try go on, here and as the other nodes count it, or says how many seconds to wait. It is not written: a
    /// flood would fill the log.
    pub(crate) fn admit_guess(&self, of: Guess, name: &str, from: IpAddr) -> Result<Ticket<'_>, u64> {
        let ticket = self.throttle_of(of).admit(name, from, self.now())?;
        self.say_guess(of, &ticket, false);
        Ok(ticket)
    }

    /// The try was right.
    pub(crate) fn guessed_right(&self, of: Guess, ticket: Ticket<'_>) {
        self.say_guess(of, &ticket, true);
        self.throttle_of(of).succeeded(ticket);
    }

    /// There was a try at another node.
    pub(crate) fn hear_guess(&self, of: Guess, name: &str, from: IpAddr, is_right: bool) {
        match is_right {
            true => self.throttle_of(of).hear_success(name, from),
            false => self.throttle_of(of).hear_try(name, from, self.now()),
        }
    }

    fn say_guess(&self, of: Guess, ticket: &Ticket<'_>, is_right: bool) {
        self.say_to_all(&Word::Tried(of, ticket.name.clone(), ticket.network.to_string(), is_right));
    }

    fn throttle_of(&self, guess: Guess) -> &Throttle {
        match guess {
            Guess::Password => &self.throttle,
            Guess::Code => &self.guesses,
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            line: Semaphore::new(LINE_MAX),
            checks: Semaphore::new(CHECKS_MAX),
            set_ups: tokio::sync::Mutex::default(),
        }
    }
}

impl Throttle {
    /// Lets a try go on, or says how many seconds to wait. Without a name only the address counts.
    pub(crate) fn admit(&self, name: &str, address: IpAddr, now: Time) -> Result<Ticket<'_>, u64> {
        let place = self.line.try_acquire().map_err(|_| 1u64)?;
        let (name, network) = (plain(name), network(address));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = entries.keys(&name, network);
        let wait = keys.iter().filter_map(|key| entries.tries.get(key)?.wait(now)).max();
        if let Some(wait) = wait {
            return Err(wait.0.unsigned_abs().div_ceil(1000));
        }
        for key in &keys {
            entries.count(key, now);
        }
        Ok(Ticket { keys, name, network, _place: place })
    }

    /// The try was right: what was counted against its name and address is forgotten.
    pub(crate) fn succeeded(&self, ticket: Ticket<'_>) {
        let Ticket { keys, name, network, .. } = ticket;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.forgive(&keys, name, network);
    }

    /// There was a try at another node.
    fn hear_try(&self, name: &str, address: IpAddr, now: Time) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for key in entries.keys(&plain(name), network(address)) {
            entries.count(&key, now);
        }
    }

    /// It was right.
    fn hear_success(&self, name: &str, address: IpAddr) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, network) = (plain(name), network(address));
        let keys = entries.keys(&name, network);
        entries.forgive(&keys, name, network);
    }

    /// [`secrets::verify_password`], when it is its turn.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> bool {
        let Ok(_turn) = self.checks.acquire().await else { return false };
        secrets::verify_password(password, hash).await
    }

    /// [`secrets::hash_password`], when it is its turn.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Rejection> {
        let _turn = self.checks.acquire().await;
        secrets::hash_password(password).await
    }

    /// One set-up at a time, so that its code makes one administrator.
    pub(crate) async fn one_set_up(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.set_ups.lock().await
    }
}

impl Entries {
    /// What a try counts against.
    fn keys(&self, name: &str, network: IpAddr) -> Vec<Key> {
        let mut keys = vec![Key::Address(network)];
        if !name.is_empty() && self.known.get(name) != Some(&network) {
            keys.push(Key::Name(name.to_owned()));
        }
        keys
    }

    fn forgive(&mut self, keys: &[Key], name: String, network: IpAddr) {
        for key in keys {
            self.tries.remove(key);
        }
        if !name.is_empty() {
            if self.known.len() >= ENTRIES_MAX {
                self.known.clear();
            }
            self.known.insert(name, network);
        }
    }

    fn count(&mut self, key: &Key, now: Time) {
        let count = match self.tries.get(key) {
            Some(tries) if !tries.is_forgotten(now) => tries.count.saturating_add(1),
            _ => 1,
        };
        if self.tries.len() >= ENTRIES_MAX && !self.tries.contains_key(key) {
            let oldest = self.tries.iter().min_by_key(|(_, tries)| tries.last).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.tries.remove(&oldest));
        }
        self.tries.insert(key.clone(), Tries { count, last: now });
    }
}

impl Tries {
    /// How long the next try must wait; `None` if it need not. A clock that was set back makes nobody wait
    /// longer than the longest wait.
    fn wait(self, now: Time) -> Option<Span> {
        let doublings = self.count.checked_sub(FREE_TRIES)?.min(16);
        let wait = Span(WAIT_FIRST.0 << doublings).min(WAIT_MAX);
        let left = self.last + wait - now;
        (left > Span(0) && left <= wait).then_some(left)
    }

    fn is_forgotten(self, now: Time) -> bool {
        now - self.last > FORGOTTEN_AFTER
    }
}

/// A name as it is compared, cut to the longest that a user can have.
fn plain(name: &str) -> String {
    name.trim().chars().take(text::NAME_CHARS_MAX).flat_map(char::to_lowercase).collect()
}

/// One subscriber has one IPv4 address, or 2^64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_800_000_000_000);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn fails(throttle: &Throttle, name: &str, from: IpAddr, now: Time) -> Result<(), u64> {
        throttle.admit(name, from, now).map(drop)
    }

    #[test]
    fn the_wait_grows_from_two_seconds_to_a_minute_and_no_further() {
        let throttle = Throttle::default();
        let mut now = START;
        for _ in 0..FREE_TRIES {
            assert_eq!(fails(&throttle, "ada", address(1), now), Ok(()));
        }
        for wait in [2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(fails(&throttle, "ada", address(1), now), Err(wait));
            now = now + Span::seconds(i64::try_from(wait).unwrap());
            assert_eq!(fails(&throttle, "ada", address(1), now), Ok(()));
        }
    }

    #[test]
    fn at_most_ten_tries_per_name_and_minute_from_however_many_addresses() {
        let throttle = Throttle::default();
        let mut checked = 0;
        for second in 0..60 {
            for from in 0..=255 {
                let now = START + Span::seconds(second);
                checked += u32::from(
                    fails(&throttle, [" Ada", "aDA"][usize::from(from) % 2], address(from), now).is_ok(),
                );
            }
        }
        assert!((5..=10).contains(&checked), "{checked} were checked");
    }

    #[test]
    fn an_address_waits_whatever_names_it_tries() {
        let throttle = Throttle::default();
        for name in 0..FREE_TRIES {
            assert_eq!(fails(&throttle, &name.to_string(), address(1), START), Ok(()));
        }
        assert_eq!(fails(&throttle, "another", address(1), START), Err(2));
        assert_eq!(fails(&throttle, "another", address(2), START), Ok(()));
        let neighbours = ["2001:db8::1", "2001:db8::ffff:2"].map(|text| network(text.parse().unwrap()));
        assert_eq!(neighbours[0], neighbours[1]);
    }

    #[test]
    fn a_success_forgives_and_its_address_does_not_wait_for_the_guesses_of_others() {
        let throttle = Throttle::default();
        for _ in 1..FREE_TRIES {
            assert_eq!(fails(&throttle, "ada", address(1), START), Ok(()));
        }
        let Ok(ticket) = throttle.admit("ada", address(1), START) else { panic!("was not let through") };
        throttle.succeeded(ticket);
        for from in 10..10 + 5 {
            assert_eq!(fails(&throttle, "ada", address(from), START), Ok(()));
        }
        assert_eq!(fails(&throttle, "ada", address(99), START), Err(2));
        assert_eq!(fails(&throttle, "Ada", address(1), START), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_line_too() {
        let throttle = Throttle::default();
        for number in 0..6_000u32 {
            let from = IpAddr::from(number.to_be_bytes());
            assert_eq!(fails(&throttle, &number.to_string(), from, START + Span(i64::from(number))), Ok(()));
        }
        assert_eq!(throttle.entries.lock().unwrap().tries.len(), ENTRIES_MAX);
        let tickets: Vec<_> = (0..LINE_MAX as u32)
            .map(|n| throttle.admit("", IpAddr::from((n + 9_000_000).to_be_bytes()), START))
            .collect();
        assert!(tickets.iter().all(Result::is_ok));
        assert_eq!(fails(&throttle, "bo", address(77), START), Err(1));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        let throttle = Throttle::default();
        for _ in 0..FREE_TRIES {
            assert_eq!(fails(&throttle, "ada", address(1), START), Ok(()));
        }
        assert_eq!(fails(&throttle, "ada", address(1), START - Span::days(1)), Ok(()));
    }
}
