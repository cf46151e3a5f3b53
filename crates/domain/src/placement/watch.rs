//! When to plan again: boards that come and go are collected for a moment, and those that do so often are trusted again
//! only after a time that grows.

use std::collections::BTreeMap;

use crate::id::DeviceId;
use crate::time::{Span, Time};

/// For how long changes are collected before a plan is made.
pub const SETTLE: Span = Span::seconds(2);
/// How long a board has to be there before it is trusted again, after its second loss; twice as long after each other.
pub const HOLD_MIN: Span = Span::seconds(5);
/// The longest such time.
pub const HOLD_MAX: Span = Span::minutes(10);
/// A board that was there for so long is as good as new.
const CALM: Span = Span::minutes(10);

/// Watches boards come and go.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    boards: BTreeMap<DeviceId, Presence>,
    /// When the changes since the last plan have been collected.
    due: Option<Time>,
    planned: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Presence {
    is_there: bool,
    since: Time,
    losses: u32,
}

impl Watch {
    /// Whether a board is there, told whenever it may have changed.
    pub fn saw(&mut self, board: DeviceId, is_there: bool, now: Time) {
        let known = self.boards.entry(board).or_insert(Presence { is_there: false, since: now, losses: 0 });
        if known.is_there == is_there {
            return;
        }
        if !is_there {
            known.losses = if now - known.since >= CALM { 1 } else { known.losses.saturating_add(1) };
        }
        (known.is_there, known.since) = (is_there, now);
        self.disturb(now);
    }

    /// A board is no more.
    pub fn forget(&mut self, board: DeviceId, now: Time) {
        if self.boards.remove(&board).is_some_and(|known| known.is_there) {
            self.disturb(now);
        }
    }

    /// Something else changed that a plan depends on: a limit, a capability, a script.
    pub fn disturb(&mut self, now: Time) {
        // Not put off by what comes later: else boards that never rest would put it off for ever.
        self.due.get_or_insert(now + SETTLE);
    }

    /// Whether a board is there.
    pub fn is_there(&self, board: DeviceId) -> bool {
        self.boards.get(&board).is_some_and(|known| known.is_there)
    }

    /// Whether a board has been there for long enough to be counted on.
    pub fn is_trusted(&self, board: DeviceId, now: Time) -> bool {
        self.boards.get(&board).and_then(Presence::trusted_at).is_some_and(|at| at <= now)
    }

    /// When the next plan should be made, if one should: changes were collected, or a board is trusted again.
    pub fn due(&self) -> Option<Time> {
        let trusted = self.boards.values().filter_map(Presence::trusted_at);
        let news = trusted.filter(|at| self.planned.is_some_and(|planned| *at > planned)).min();
        self.due.into_iter().chain(news).min()
    }

    /// A plan was made.
    pub fn planned(&mut self, now: Time) {
        (self.due, self.planned) = (None, Some(now));
    }
}

impl Presence {
    fn trusted_at(&self) -> Option<Time> {
        let hold = match self.losses {
            // Whoever was lost once may have been switched off.
            0 | 1 => Span(0),
            losses => Span(HOLD_MIN.0.saturating_mul(1 << (losses - 2).min(20)).min(HOLD_MAX.0)),
        };
        self.is_there.then_some(self.since + hold)
    }
}
