//! How far an update of a board is.

use std::time::Duration;

use tokio::time::Instant;

/// An update, from its offer until the hub knows that it is kept.
#[derive(PartialEq)]
pub(super) enum Update {
    /// It is fetched. It ends with its line: the hub offers it again.
    Fetching(String),
    /// It is tried out for so long, until then; after a restart from the beginning.
    Trying { digest: String, health: Duration, until: Instant },
    /// It is kept, and the hub has not confirmed yet that it knows.
    Kept(String),
}

impl Update {
    /// It is tried out from now on.
    pub(super) fn trying(digest: String, health: Duration) -> Self {
        Self::Trying { digest, health, until: Instant::now() + health }
    }

    /// What the board makes of it when it starts again.
    pub(super) fn after_restart(self) -> Self {
        match self {
            Self::Trying { digest, health, .. } => Self::trying(digest, health),
            other => other,
        }
    }

    pub(super) fn digest(&self) -> &str {
        match self {
            Self::Fetching(digest) | Self::Trying { digest, .. } | Self::Kept(digest) => digest,
        }
    }

    /// Until when it is tried out, if it is.
    pub(super) fn tried_until(&self) -> Option<Instant> {
        match self {
            Self::Trying { until, .. } => Some(*until),
            Self::Fetching(_) | Self::Kept(_) => None,
        }
    }
}
