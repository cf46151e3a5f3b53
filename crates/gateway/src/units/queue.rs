//! Which changes wait for a unit. Nothing here waits: time is an argument.

use std::collections::VecDeque;

use motehub_domain::line::{QUEUE_MAX, Queue};
use motehub_domain::time::{Span, Time};
use serde_json::Value;

/// Something that is desired of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The version of its shadow.
    pub(super) version: i64,
    /// Since when.
    pub(super) at: Time,
    /// What is reported once it was told.
    pub(super) value: Value,
    /// What it is told.
    pub(super) bytes: Vec<u8>,
}

/// Changes that wait, the next one first.
#[derive(Debug)]
pub(super) struct Waiting {
    kind: Queue,
    expiry: Option<Span>,
    changes: VecDeque<Change>,
    /// The version of the latest change that was told and reported; versions only grow.
    told: i64,
}

impl Waiting {
    pub(super) fn new(kind: Queue, expiry: Option<Span>) -> Self {
        Self { kind, expiry, changes: VecDeque::new(), told: 0 }
    }

    /// One more. The hub may say one twice, such as when it changes while the unit is being found: one that waits
    /// already, and one that was told or is older than that, is not taken. Where only the latest counts, it takes the
    /// place of the others. `false` if there is no room.
    pub(super) fn push(&mut self, change: Change) -> bool {
        if change.version <= self.told || self.changes.iter().any(|it| it.version == change.version) {
            return true;
        }
        match self.kind {
            Queue::Latest => self.changes.clear(),
            Queue::All if self.changes.len() >= QUEUE_MAX => return false,
            Queue::All => {}
        }
        self.changes.push_back(change);
        true
    }

    /// Takes those that have waited too long.
    pub(super) fn expired(&mut self, now: Time) -> Vec<Change> {
        let Some(expiry) = self.expiry else { return Vec::new() };
        let (late, rest): (Vec<_>, Vec<_>) =
            self.changes.drain(..).partition(|change| now - change.at > expiry);
        self.changes = rest.into();
        late
    }

    /// The next one.
    pub(super) fn take(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// It could not be told. It waits in front of the others, unless only the latest counts and there is a later one.
    pub(super) fn put_back(&mut self, change: Change) {
        if self.kind == Queue::All || self.changes.is_empty() {
            self.changes.push_front(change);
        }
    }

    /// This version was told and reported: neither it nor an older one is told again.
    pub(super) fn told(&mut self, version: i64) {
        self.told = self.told.max(version);
        self.changes.retain(|change| change.version > version);
    }

    /// Where only the latest counts, none of these may be that.
    pub(super) fn forget_latest(&mut self) {
        if self.kind == Queue::Latest {
            self.changes.clear();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(version: i64) -> Change {
        Change { version, at: Time(version * 1000), value: Value::from(version), bytes: Vec::new() }
    }

    fn rest(mut waiting: Waiting) -> Vec<i64> {
        std::iter::from_fn(|| waiting.take()).map(|change| change.version).collect()
    }

    #[test]
    fn the_latest_takes_the_place_of_the_others() {
        let mut waiting = Waiting::new(Queue::Latest, None);
        assert!((1..=200).all(|version| waiting.push(change(version))));
        let taken = waiting.take().unwrap();
        assert_eq!(taken.version, 200);
        waiting.push(change(201));
        waiting.put_back(taken);
        waiting.push(change(202));
        assert_eq!(waiting.changes.len(), 1);
        waiting.forget_latest();
        assert_eq!(rest(waiting), [0; 0]);
    }

    #[test]
    fn all_wait_in_their_order_as_far_as_there_is_room() {
        let mut waiting = Waiting::new(Queue::All, None);
        let most = i64::try_from(QUEUE_MAX).unwrap();
        assert!((1..=most).all(|version| waiting.push(change(version))));
        assert!(waiting.push(change(most)), "it waits already");
        assert!(!waiting.push(change(most + 1)));
        let taken = waiting.take().unwrap();
        waiting.put_back(taken);
        assert_eq!(rest(waiting), (1..=most).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        for kind in [Queue::Latest, Queue::All] {
            let mut waiting = Waiting::new(kind, None);
            waiting.push(change(2));
            let telling = waiting.take().unwrap();
            // It is said again while it is told, and an older one comes late.
            assert!(waiting.push(change(2)));
            waiting.told(telling.version);
            assert!(waiting.push(change(2)) && waiting.push(change(1)));
            assert!(waiting.is_empty(), "{kind:?}");
            assert!(waiting.push(change(3)));
            assert_eq!(rest(waiting), [3]);
        }
    }

    #[test]
    fn what_waited_too_long_is_not_told() {
        let mut waiting = Waiting::new(Queue::All, Some(Span(2500)));
        assert!((1..=4).all(|version| waiting.push(change(version))));
        let late: Vec<i64> = waiting.expired(Time(4600)).iter().map(|change| change.version).collect();
        assert_eq!((late, rest(waiting)), (vec![1, 2], vec![3, 4]));
    }
}
