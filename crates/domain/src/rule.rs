//! Rules: when something happens, and a condition holds, for how long, then actions.
//!
//! [`engine`] says what a rule does with what it is told of one device. It is pure and knows only the times of what it
//! is told, so that a rule that is replayed over what is stored fires exactly as it fired live.

mod cron;
mod deed;
pub mod engine;
mod known;
mod read;
mod runner;
mod template;
#[cfg(test)]
mod tests;
mod verb;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::alarm::Severity;
use crate::device::Reach;
use crate::expression::Expression;
use crate::expression::hub::Hub;
use crate::id::{DeviceId, FiringId, RuleId};
use crate::selector::Selector;
use crate::telemetry::Metric;
use crate::time::{Span, Time};

pub use cron::Schedule;
pub use deed::{Deed, Target};
pub use known::{Fresh, Known, Said, Signal};
pub use read::{STABLE_SELECTOR, is_stable, meaning};
pub use runner::{Pair, Runner};
pub use template::Template;
pub use verb::{Words, create, delete, edit};

/// Most rules.
pub const RULES_MAX: usize = 1_000;
/// Longest document of a rule in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Most actions of a rule.
pub const ACTIONS_MAX: usize = 10;
/// How often a rule may fire for one device within a minute. One that sets off itself is held up by this.
pub const FIRINGS_PER_MINUTE_MAX: u32 = 30;
/// Points that were measured longer than this before they arrived are history: rules do not look at them.
pub const LATE_MAX: Span = Span::days(1);

/// What a rule may say on the hub.
pub type Condition = Expression<Hub>;

/// A rule as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Since when it is on; none if it is off. A rule that is changed begins anew.
    pub enabled_at: Option<Time>,
    /// As it was written, without name and description.
    pub document: Value,
    /// What the document means.
    pub meaning: Meaning,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub struct Meaning {
    /// Which devices it looks at; all if it is not said. A schedule without devices is about none.
    pub devices: Option<Selector>,
    /// At what it looks.
    pub when: When,
    /// What must be true then.
    pub condition: Option<Condition>,
    /// How long that must hold before it fires.
    pub hold: Span,
    /// When it is over again; when the condition is false if it is not said.
    pub until: Option<Condition>,
    /// What it does.
    pub actions: Vec<Action>,
    /// How long it does not fire again for the same device.
    pub quiet: Span,
    /// What it must know of a device.
    pub wants: Wants,
}

/// At what a rule looks.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Each new point of a metric.
    Metric(Metric),
    /// A value in the shadow without a name becomes another.
    State(Section, Vec<String>),
    /// Nothing was said for so long: no point of a metric, or nothing at all.
    Absence(Option<Metric>, Span),
    /// It comes, goes, or cannot be reached.
    Presence(Reach),
    /// At these times.
    Schedule(Schedule),
    /// Something happens at it; anything if no name is said.
    Event(Option<String>),
}

/// A half of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What people want.
    Desired,
    /// What the device says.
    Reported,
}

/// One thing that a rule does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Desires a value.
    Desired {
        /// Where, with dots.
        path: String,
        /// What.
        value: Template,
        /// Of which devices.
        target: Target,
    },
    /// Gives a command.
    Command {
        /// Which.
        name: String,
        /// With what.
        arguments: Template,
        /// To which devices.
        target: Target,
    },
    /// Posts what happened.
    Webhook(String),
    /// Sends a mail.
    Mail {
        /// To whom.
        to: String,
        /// Its subject.
        subject: Template,
        /// What it says.
        text: Template,
    },
    /// Publishes to a topic.
    Publish {
        /// Which.
        topic: Template,
        /// What.
        payload: Template,
    },
    /// Raises an alarm, and clears it when it is over.
    Alarm {
        /// How bad it is.
        severity: Severity,
        /// What is the matter.
        message: Template,
    },
}

/// What a rule must know of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// These metrics.
    pub metrics: BTreeSet<Metric>,
    /// Every point, to know that the device says something.
    pub all_points: bool,
    /// Its shadow without a name.
    pub shadow: bool,
}

/// That a rule fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// For which device; none for a schedule without devices.
    pub device: Option<DeviceId>,
    /// When.
    pub at: Time,
    /// Why: what came, what the condition looked at, since when it held, and what is to be done.
    pub trace: Value,
    /// What is to be done.
    pub deeds: Vec<Deed>,
}

/// A firing as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: FiringId,
    /// Of which rule.
    pub rule: RuleId,
    /// For which device; none if it was for none, or if that is gone.
    pub device: Option<DeviceId>,
    /// When.
    pub at: Time,
    /// Why.
    pub trace: Value,
    /// When what it fired for was over.
    pub ended_at: Option<Time>,
    /// Whether everything was done, or tried.
    pub done: bool,
    /// What could not be done, and why.
    pub problems: Vec<String>,
}

impl When {
    /// Whether it lasts, so that it can hold for some time and be over again, or is of a moment.
    pub fn lasts(&self, has_condition: bool) -> bool {
        match self {
            Self::Metric(_) | Self::State(..) => has_condition,
            Self::Absence(..) | Self::Presence(_) => true,
            Self::Schedule(_) | Self::Event(_) => false,
        }
    }
}

impl Meaning {
    /// Whether it is about devices; only a schedule without devices is not.
    pub fn is_about_devices(&self) -> bool {
        self.devices.is_some() || !matches!(self.when, When::Schedule(_))
    }
    /// Whether it raises alarms.
    pub fn has_alarm(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Alarm { .. }))
    }
}

impl Rule {
    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled_at.is_some()
    }
}
