//! About whom something changed while the hub was asked who somebody is: what it answers may be from before.

use std::collections::HashMap;

use motehub_domain::kept::Principal;

use super::broker::Broker;
use super::state::Phase;

/// About whom something changed of late, by the number of the change.
#[derive(Debug, Default)]
pub(super) struct Stale {
    changes: u64,
    changed: HashMap<Principal, u64>,
}

impl Stale {
    /// How many changes there were. What the hub is asked from now on is answered by all of them.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether something changed about somebody since.
    pub(super) fn has_changed(&self, who: &Principal, since: u64) -> bool {
        self.changed.get(who).is_some_and(|change| *change > since)
    }
}

impl Broker {
    /// Something changed about somebody: a credential, what they may do, or that there are such. Whether they have a
    /// session, connected or away; if not, they may be about to have one, and the hub is asked once more then.
    pub fn changed(&mut self, who: Principal) -> bool {
        self.stale.changes += 1;
        self.stale.changed.insert(who, self.stale.changes);
        self.per_principal.contains_key(&who)
    }

    /// Forgets what changed before the hub was asked about any of those who still wait for its answer.
    pub(super) fn sweep_stale(&mut self) {
        let asking = self.conns.iter().flatten().filter(|conn| matches!(conn.phase, Phase::Asking(_)));
        let oldest = asking.map(|conn| conn.asked_at_change).min().unwrap_or(u64::MAX);
        self.stale.changed.retain(|_, change| *change > oldest);
    }
}
