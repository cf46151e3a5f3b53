//! Where boards report facts. The queue is bounded: when nobody reads, facts are counted instead of kept.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::order::Fact;

/// Longest text of one printed line or error.
const TEXT_MAX_BYTES: usize = 4096;

/// The way facts leave a group; cheap to clone.
#[derive(Clone)]
pub(crate) struct Console {
    facts: SyncSender<Fact>,
    lost: Rc<Cell<u64>>,
    quiet: bool,
}

impl Console {
    pub(crate) fn new(facts: SyncSender<Fact>, quiet: bool) -> Self {
        Self { facts, lost: Rc::default(), quiet }
    }

    /// Reports a fact, unless the queue is full.
    pub(crate) fn report(&self, fact: Fact) {
        if self.quiet && matches!(fact, Fact::Print { .. }) {
            return;
        }
        if self.lost.get() > 0 && self.facts.try_send(Fact::Lost { facts: self.lost.get() }).is_ok() {
            self.lost.set(0);
        }
        if let Err(TrySendError::Full(_)) = self.facts.try_send(fact) {
            self.lost.set(self.lost.get() + 1);
        }
    }
}

/// Text for a fact: valid UTF-8 of a bounded length.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX_BYTES)]).into_owned()
}
