//! A hub of several nodes: each is one `motehub serve`, all on one PostgreSQL database, with the bus between them.
//!
//! PostgreSQL keeps all state. Which node does the work that only one may do is a lease in the store; the bus only
//! makes known quickly what is in the store. A hub on SQLite is alone: everything here is a no-op then.

pub(crate) mod bus;
pub(crate) mod mqtt;

use bus::Bus;

/// The name of a node of which nothing else is said.
const NAME: &str = "hub";
/// The longest name of a node.
const NAME_CHARS_MAX: usize = 32;

/// The name of a node of the hub: 1 to 32 of a-z, 0-9 and `-`. It is a word of subjects of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

/// Work that one node does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Deadlines of tasks, and waves.
    Rollouts,
    /// Commands that expire.
    Commands,
    /// Where steps of flows run, and what runs on the hub of them.
    Flows,
    /// Changes that are posted.
    Webhooks,
    /// Rules that are told what was taken.
    Rules,
    /// What has an age, or is counted once a day.
    Upkeep,
    /// Changes appended to a file.
    ActivityFile,
}

/// This node, and what it knows of the others.
pub(crate) struct Cluster {
    node: NodeName,
    bus: Option<Bus>,
    /// What stands for the bus where there is none.
    none: Bus,
}

impl NodeName {
    /// Reads a name.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.chars().all(fits) {
            return Err(format!("{text:?} is no name of a node: 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for NodeName {
    fn default() -> Self {
        Self(NAME.to_owned())
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cluster {
    /// A node, on a bus or alone.
    pub(crate) fn new(node: NodeName, bus: Option<Bus>) -> Self {
        Self { node, bus, none: Bus::none() }
    }

    /// Whether there is no other node and never will be.
    pub(crate) fn is_alone(&self) -> bool {
        self.bus.is_none()
    }

    /// The name of this node.
    pub(crate) fn node(&self) -> &str {
        &self.node.0
    }

    /// The names of the other nodes that are alive.
    pub(crate) fn others(&self) -> Vec<String> {
        Vec::new()
    }

    /// The bus; a hub that is alone hears nothing on it and reaches nobody.
    pub(crate) fn bus(&self) -> &Bus {
        self.bus.as_ref().unwrap_or(&self.none)
    }

    /// Whether this node does that work at present.
    pub(crate) fn holds(&self, _work: Work) -> bool {
        true
    }
}
