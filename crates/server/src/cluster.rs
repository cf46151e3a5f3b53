//! A hub of several nodes: each is one `motehub serve`, all on one PostgreSQL database, with the bus between them.
//!
//! PostgreSQL keeps all state. Which node does the work that only one may do is a lease in the store; the bus only
//! makes known quickly what is in the store. A hub on SQLite is alone: everything here is a no-op then.

mod again;
pub(crate) mod ask;
pub(crate) mod begin;
pub(crate) mod bus;
pub(crate) mod hear;
pub(crate) mod heart;
pub(crate) mod leases;
pub(crate) mod mqtt;
pub(crate) mod told;
pub(crate) mod words;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use motehub_domain::time::{Span, Time};
use motehub_store::{Node, Store, StoreError};
use tokio::time::Instant;

use bus::{Bus, BusState};
use leases::Leases;

use crate::settings::Settings;

/// Of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of a node of which nothing else is said.
const NAME: &str = "hub";
/// The longest name of a node.
const NAME_CHARS_MAX: usize = 32;
/// For how long a node may be silent that is only slow.
const SLOW_MAX: Span = Span::minutes(1);

/// The name of a node of the hub: 1 to 32 of a-z, 0-9 and `-`. It is a word of subjects of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

/// Work that one node does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Deadlines of tasks, and waves.
    Rollouts,
    /// Commands and wishes that expire.
    Commands,
    /// Where steps of flows run, and those that run on the hub.
    Flows,
    /// Changes that are posted.
    Webhooks,
    /// Rules that are told what was taken, and what they want.
    Rules,
    /// What has an age, or is counted once a day.
    Upkeep,
    /// Changes appended to a file.
    ActivityFile,
    /// Boards that are called.
    Boards,
    /// Units that are dialled.
    Units,
}

/// This node, and what it knows of the others.
pub(crate) struct Cluster {
    node: NodeName,
    bus: Bus,
    is_alone: bool,
    leases: Leases,
    is_draining: AtomicBool,
    known: Mutex<Known>,
    messages: Mutex<Messages>,
}

/// How many messages clients published, to know how many a second.
#[derive(Default)]
struct Messages {
    counted: Option<(u64, Instant)>,
    per_second: f64,
}

/// What this node last read.
struct Known {
    me: Node,
    nodes: Vec<Node>,
    /// How far the clock of the database is ahead of ours.
    ahead: Span,
    /// When it was read, by our clock.
    at: Time,
    /// Since when the store does not answer, and what is known of the reason.
    store_away: Option<(Time, String)>,
}

/// What is wrong that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// Since when, if that is known.
    pub(crate) since: Option<Time>,
    /// What is known of the reason, in words for those who may see the fleet.
    pub(crate) why: String,
}

impl Work {
    /// All work.
    pub(crate) const ALL: [Self; 9] = [
        Self::Rollouts,
        Self::Commands,
        Self::Flows,
        Self::Webhooks,
        Self::Rules,
        Self::Upkeep,
        Self::ActivityFile,
        Self::Boards,
        Self::Units,
    ];

    /// Its name, as in the store and in subjects of the bus.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rollouts => "rollouts",
            Self::Commands => "commands",
            Self::Flows => "flows",
            Self::Webhooks => "webhooks",
            Self::Rules => "rules",
            Self::Upkeep => "upkeep",
            Self::ActivityFile => "activity-file",
            Self::Boards => "boards",
            Self::Units => "units",
        }
    }

    /// Whether a node with these settings can do it.
    fn fits(self, settings: &Settings) -> bool {
        match self {
            Self::Boards => settings.esp_firmware.is_some(),
            Self::ActivityFile => settings.activity_file.is_some(),
            _ => true,
        }
    }

    /// The work of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|work| work.as_str() == name)
    }
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

    fn as_str(&self) -> &str {
        &self.0
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
    /// A hub of one node, on a file.
    pub(crate) fn alone(settings: &Settings) -> Self {
        let me = Node {
            name: settings.node.to_string(),
            instance: String::new(),
            version: VERSION.to_owned(),
            started_at: Time(0),
            seen_at: Time(0),
            address: String::new(),
            figures: serde_json::Value::Null,
        };
        Self::one_of(settings, me, Bus::none(), true)
    }

    /// A node on a database that others may share.
    pub(crate) fn one_of(settings: &Settings, me: Node, bus: Bus, is_alone: bool) -> Self {
        let known = Known { me, nodes: Vec::new(), ahead: Span(0), at: Time(0), store_away: None };
        Self {
            node: settings.node.clone(),
            bus,
            is_alone,
            leases: Leases::of(Work::ALL.into_iter().filter(|work| work.fits(settings))),
            is_draining: AtomicBool::new(false),
            known: Mutex::new(known),
            messages: Mutex::default(),
        }
    }

    /// Whether there is no other node and never will be.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// The name of this node.
    pub(crate) fn node(&self) -> &str {
        self.node.as_str()
    }

    /// This node, as it was when it started.
    pub(crate) fn me(&self) -> Node {
        self.known().me.clone()
    }

    /// The names of the other nodes that are alive.
    pub(crate) fn others(&self) -> Vec<String> {
        let known = self.known();
        let now = known.at + known.ahead;
        let others = known.nodes.iter().filter(|node| node.name != self.node.as_str());
        others.filter(|node| heart::is_alive(node, now)).map(|node| node.name.clone()).collect()
    }

    /// Whether another node was there within the last minute, as far as it did not say that it leaves.
    pub(crate) async fn was_another_there(&self, store: &Store, now: Time) -> Result<bool, StoreError> {
        let since = now + self.ahead() - SLOW_MAX;
        let nodes = match self.is_alone {
            true => Vec::new(),
            false => store.nodes().await?,
        };
        Ok(nodes.iter().any(|node| node.name != self.node.as_str() && node.seen_at >= since))
    }

    /// Since when another node counts as gone, by our clock.
    pub(crate) fn gone_since(&self, name: &str) -> Option<Time> {
        let known = self.known();
        let node = known.nodes.iter().find(|node| node.name == name)?;
        Some(node.seen_at + leases::TTL - known.ahead)
    }

    /// All nodes as they were last read, those that are gone too, and whether each lives.
    pub(crate) fn nodes(&self) -> Vec<(Node, bool)> {
        let known = self.known();
        let now = known.at + known.ahead;
        known.nodes.iter().map(|node| (node.clone(), heart::is_alive(node, now))).collect()
    }

    /// How many points the other nodes that live took in a minute, lately.
    pub(crate) fn points_elsewhere(&self) -> usize {
        let others =
            self.nodes().into_iter().filter(|(node, alive)| *alive && node.name != self.node.as_str());
        let points = others.filter_map(|(node, _)| node.figures["points_per_minute"].as_u64());
        points.map(|points| usize::try_from(points).unwrap_or(usize::MAX)).sum()
    }

    /// The bus; a hub that is alone hears nothing on it and reaches nobody.
    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Whether this node does that work at present.
    pub(crate) fn holds(&self, work: Work) -> bool {
        self.is_alone || self.leases.holds(work)
    }

    /// The leases of this node.
    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Something is to be done by whoever does that work: if that is another node, it is told to look. What rules and
    /// flows want is kept at every node.
    pub(crate) fn nudge(&self, work: Work) {
        if !self.holds(work) || matches!(work, Work::Rules | Work::Flows) {
            self.bus.publish(&format!("work.{}", work.as_str()), format!("look {}", self.node()));
        }
    }

    /// Nothing is accepted any more.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
    }

    /// Whether this node ends.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// How far the clock of the database is ahead of ours.
    pub(crate) fn ahead(&self) -> Span {
        self.known().ahead
    }

    /// What is wrong at present.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let known = self.known();
        if let Some((since, why)) = &known.store_away {
            troubles.push(Trouble { code: "store_away", since: Some(*since), why: why.clone() });
        }
        if known.ahead.0.abs() > begin::APART_MAX.0 {
            let why = format!("{} s apart from the clock of the database", known.ahead.0.abs() / 1000);
            troubles.push(Trouble { code: "clock", since: None, why });
        }
        drop(known);
        if let BusState::Away { since, why } = &*self.bus.state().borrow() {
            troubles.push(Trouble { code: "bus_away", since: Some(*since), why: why.clone() });
        }
        troubles
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many messages were published until now.
    pub(crate) fn counted(&self, messages: u64) {
        let mut known = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((before, at)) = known.counted {
            let seconds = (now - at).as_secs_f64().max(0.001);
            known.per_second = (messages.saturating_sub(before) as f64 / seconds * 10.0).round() / 10.0;
        }
        known.counted = Some((messages, now));
    }

    /// How many messages clients published a second, lately.
    pub(crate) fn messages_per_second(&self) -> f64 {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).per_second
    }

    /// The nodes were read.
    pub(crate) fn saw(&self, nodes: Vec<Node>, ahead: Span, at: Time) {
        let mut known = self.known();
        (known.nodes, known.ahead, known.at) = (nodes, ahead, at);
    }

    /// The store answered, or why it did not.
    pub(crate) fn store_is(&self, away: Option<String>, now: Time) {
        let mut known = self.known();
        match (away, &known.store_away) {
            (Some(why), Some((since, _))) => known.store_away = Some((*since, why)),
            (Some(why), None) => {
                tracing::error!(%why, "the store is away: nothing is acknowledged until it is back");
                known.store_away = Some((now, why));
            }
            (None, Some(_)) => {
                tracing::info!("the store is back");
                known.store_away = None;
            }
            (None, None) => {}
        }
    }
}
