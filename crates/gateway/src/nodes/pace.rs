//! How long things may take with nodes.

use std::time::Duration;

/// How long things may take. The usual ones are for nodes in the field.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A silent node is pinged so often.
    pub ping_every: Duration,
    /// After so much silence it is gone.
    pub silence_max: Duration,
    /// How long it may take to say who it is; then it goes by its address.
    pub name_wait: Duration,
    /// How often the hub is asked about a node that was not let in.
    pub ask_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(30),
            silence_max: Duration::from_secs(90),
            name_wait: Duration::from_secs(5),
            ask_every: Duration::from_secs(10),
        }
    }
}

impl Pace {
    /// For nodes that speak by topics: they say every 30 seconds that they are there, and are gone after 120.
    pub fn by_topics() -> Self {
        Self { silence_max: Duration::from_secs(120), ..Self::default() }
    }
}
