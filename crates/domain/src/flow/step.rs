//! The kinds of steps and their settings.

use std::fmt;

use serde_json::Value;

use super::settings::{Average, Compare, Debounce, Sensor};
use crate::expression::Expression;
use crate::rejection::Rejection;
use crate::script::Language;
use crate::telemetry::Metric;
use crate::time::Span;

/// Longest id of a step in bytes.
const ID_BYTES_MAX: usize = 32;

/// The id of a step, unique in its flow: letters, digits and underscores, such as `warm`. It is part of names in
/// generated code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(String);

impl StepId {
    /// Reads an id.
    ///
    /// # Errors
    /// If it is empty, too long or has other signs.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match (1..=ID_BYTES_MAX).contains(&text.len()) && is_plain {
            true => Ok(Self(text.to_owned())),
            false => Err(Rejection::invalid(
                "id",
                format!("1 to {ID_BYTES_MAX} letters, digits or underscores, not {text:?}"),
            )),
        }
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Unique in its flow.
    pub id: StepId,
    /// For people; may be empty.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Capabilities that a device must have to run it, sorted. The fork of Node-RED calls them predicates.
    pub requires: Vec<String>,
    /// Capabilities that a device had better have, sorted. The fork calls them priorities.
    pub prefers: Vec<String>,
    /// Where a person wants it, if they said so.
    pub runs_on: Option<Wanted>,
    /// Where it is drawn, in pixels from the left and from the top.
    pub at: (i64, i64),
}

/// Where a person wants a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// On the hub.
    Hub,
    /// On this device, by id or name.
    Device(String),
}

/// Where a step can run at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// On boards only: it needs their pins, or their language.
    Boards,
    /// On the hub only: it needs what only the hub knows or may do.
    Hub,
    /// On both.
    Anywhere,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Reads a sensor of the board, again and again.
    Sensor {
        /// What is read.
        sensor: Sensor,
        /// On which pin.
        pin: i64,
        /// How often.
        every: Span,
    },
    /// What a device measures, whenever it says so.
    Metric {
        /// Which device, by id or name.
        device: String,
        /// Which of its metrics.
        metric: Metric,
    },
    /// What is published to a topic of the broker: JSON if it is, else text.
    Topic {
        /// A topic name without wildcards.
        topic: String,
    },
    /// The same value, again and again.
    Timer {
        /// How often.
        every: Span,
        /// What it emits.
        value: Value,
    },
    /// Whether all rules hold.
    Compare(Compare),
    /// Whether the last values of all its wires are true. Emits once every wire has had a value, and then at each.
    And,
    /// Whether the last value of any of its wires is true.
    Or,
    /// Whether the value is not true.
    Not,
    /// Passes a value on when none came for a while.
    Debounce(Debounce),
    /// The mean of the last numbers.
    Average(Average),
    /// A value computed from the one that came.
    Expression(Expression),
    /// One value for another; what has none is dropped if there is no `otherwise`.
    Map {
        /// What becomes what.
        cases: Vec<(Value, Value)>,
        /// What all others become.
        otherwise: Option<Value>,
    },
    /// Passes on what came.
    Pass,
    /// A function in a language of the board, `step(value)`; what it returns is emitted, unless that is nothing.
    Code {
        /// Of the source text.
        language: Language,
        /// Defines `step`.
        source: String,
    },
    /// Runs out of memory on boards that have all these capabilities: to try what happens then.
    Failure {
        /// The capabilities.
        tags: Vec<String>,
    },
    /// Sets what is desired of a device.
    Switch {
        /// Which device, by id or name.
        device: String,
        /// Where in its shadow, with dots: `light.on`.
        path: String,
        /// What is set; the value that came if it is not said.
        value: Option<Value>,
    },
    /// Publishes what came to a topic of the broker, as JSON.
    Publish {
        /// The topic.
        topic: String,
        /// Whether it is kept for those who subscribe later.
        retain: bool,
    },
    /// Gives a device a command.
    Command {
        /// Which device, by id or name.
        device: String,
        /// The name of the command.
        command: String,
        /// With what; the value that came if it is not said.
        arguments: Option<Value>,
    },
    /// Posts what came to an address, as JSON.
    Webhook {
        /// `http` or `https`.
        url: String,
    },
}

impl Kind {
    /// Every word for a kind, in the order in which an editor offers them.
    pub const WORDS: [&'static str; 19] = [
        "sensor",
        "metric",
        "topic",
        "timer",
        "compare",
        "and",
        "or",
        "not",
        "debounce",
        "average",
        "expression",
        "map",
        "pass",
        "code",
        "failure",
        "switch",
        "publish",
        "command",
        "webhook",
    ];
    /// The word for the kind in a document.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sensor { .. } => "sensor",
            Self::Metric { .. } => "metric",
            Self::Topic { .. } => "topic",
            Self::Timer { .. } => "timer",
            Self::Compare(_) => "compare",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Debounce(_) => "debounce",
            Self::Average(_) => "average",
            Self::Expression(_) => "expression",
            Self::Map { .. } => "map",
            Self::Pass => "pass",
            Self::Code { .. } => "code",
            Self::Failure { .. } => "failure",
            Self::Switch { .. } => "switch",
            Self::Publish { .. } => "publish",
            Self::Command { .. } => "command",
            Self::Webhook { .. } => "webhook",
        }
    }
    /// Where it can run.
    pub fn runs(&self) -> Where {
        match self {
            Self::Sensor { .. } | Self::Code { .. } | Self::Failure { .. } => Where::Boards,
            Self::Metric { .. }
            | Self::Topic { .. }
            | Self::Switch { .. }
            | Self::Publish { .. }
            | Self::Command { .. }
            | Self::Webhook { .. } => Where::Hub,
            Self::Timer { .. }
            | Self::Compare(_)
            | Self::And
            | Self::Or
            | Self::Not
            | Self::Debounce(_)
            | Self::Average(_)
            | Self::Expression(_)
            | Self::Map { .. }
            | Self::Pass => Where::Anywhere,
        }
    }
    /// Whether it takes values.
    pub fn has_input(&self) -> bool {
        !matches!(
            self,
            Self::Sensor { .. }
                | Self::Metric { .. }
                | Self::Topic { .. }
                | Self::Timer { .. }
                | Self::Failure { .. }
        )
    }
    /// Whether it emits values.
    pub fn has_output(&self) -> bool {
        !matches!(
            self,
            Self::Failure { .. }
                | Self::Switch { .. }
                | Self::Publish { .. }
                | Self::Command { .. }
                | Self::Webhook { .. }
        )
    }
    /// The only language of boards that can run it, if there is one.
    pub fn language(&self) -> Option<Language> {
        match self {
            Self::Code { language, .. } => Some(*language),
            _ => None,
        }
    }
}
