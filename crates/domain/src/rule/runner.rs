//! Drives a rule for one device: everything that is due is done in its time, before the next signal. Live and in a
//! replay it is this that runs.

use std::collections::VecDeque;

use super::engine::{self, Looking, Outcome, State};
use super::{Fresh, Known, Meaning};
use crate::id::DeviceId;
use crate::time::Time;

/// A rule and one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Runner {
    /// How they stand.
    pub state: State,
    /// Nothing is done before: the hub was off until then.
    floor: Time,
    /// Since when and until when the hub was off, what is not over yet.
    off: VecDeque<(Time, Time)>,
}

/// Who looks at whom.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// What the rule does.
    pub meaning: &'a Meaning,
    /// At which device; none for a schedule without devices.
    pub device: Option<DeviceId>,
}

impl Runner {
    /// From a state; `off`: since when and until when the hub was off behind it, in order. Nothing is done before
    /// `floor`.
    pub fn new(state: State, off: impl IntoIterator<Item = (Time, Time)>, floor: Time) -> Self {
        Self { state, floor, off: off.into_iter().collect() }
    }

    /// The hub was off since then, until now.
    pub fn woke(&mut self, since: Time, at: Time) {
        self.off.push_back((since, at));
    }

    /// When it is to be advanced if nothing is said before.
    pub fn due(&self, meaning: &Meaning, known: &Known) -> Option<Time> {
        let due = self.state.due(meaning, known).map(|due| due.max(self.floor));
        match self.off.front() {
            Some((since, up)) => Some(due.filter(|due| due < since).unwrap_or(*up)),
            None => due,
        }
    }

    /// Does everything that is due until a moment, that one included; with the times.
    pub fn advance(&mut self, pair: Pair<'_>, known: &Known, until: Time) -> Vec<(Time, Outcome)> {
        let mut done = Vec::new();
        while let Some(due) = self.due(pair.meaning, known).filter(|due| *due <= until) {
            if let Some((since, up)) = self.off.front().copied()
                && due >= since
            {
                self.off.pop_front();
                self.state.woke(up);
                self.floor = up;
                continue;
            }
            let looking = Looking { meaning: pair.meaning, device: pair.device, known, at: due };
            done.push((due, engine::tick(looking, &mut self.state)));
        }
        done
    }

    /// Tells it what is new. It was advanced until then before what is known of the device changed.
    pub fn take(&mut self, pair: Pair<'_>, known: &Known, fresh: &Fresh, at: Time) -> Outcome {
        let looking = Looking { meaning: pair.meaning, device: pair.device, known, at };
        engine::take(looking, &mut self.state, fresh)
    }
}
