//! The kinds of blocks, and what a person may do with those that change something.

use serde_json::{Map, Value};

use crate::id::{DeviceId, FlowId};
use crate::rejection::Rejection;
use crate::shadow;
use crate::telemetry::Metric;
use crate::time::Span;

/// Longest text that a person may type into an input block, in bytes.
const INPUT_BYTES_MAX: usize = 1_024;

/// A part of a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Unique on its dashboard.
    pub id: String,
    /// What it shows.
    pub kind: Kind,
}

/// Of which devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// One.
    Device(DeviceId),
    /// Those that satisfy a selector now.
    Selector(String),
}

/// What is read of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The newest point of a metric.
    Metric(Metric),
    /// What it reports, at a path with dots.
    Reported(String),
    /// What is desired of it, at a path with dots.
    Desired(String),
    /// Whether it is there.
    Presence,
}

/// A line of a chart; for a selector one per device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Of which devices.
    pub of: Binding,
    /// What they measure.
    pub metric: Metric,
    /// What it is called; the device's name if nothing is said.
    pub label: Option<String>,
}

/// What a bar says of the points of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The newest.
    Last,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The average.
    Mean,
    /// The sum.
    Sum,
}

/// What a block sets at a path of what is desired.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// One of two values.
    Switch(Value, Value),
    /// A number in a range.
    Slider(f64, f64),
    /// `#rrggbb`.
    Colour,
    /// A text.
    Text,
    /// Any number.
    Number,
}

/// What a block shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One value of each device; a gauge shows the same.
    Value(Binding, Reading),
    /// Lines over a range of time that ends now.
    Chart(Vec<Series>, Span),
    /// One bar for each device.
    Bar(Binding, Metric, Statistic, Span),
    /// Which state each device was in, over a range of time that ends now.
    Timeline(Binding, Reading, Span),
    /// Sets what is desired at a path, and shows what is reported there.
    Act(Binding, String, Deed),
    /// Gives a command with arguments.
    Button(Binding, String, Value),
    /// Devices with values in columns.
    Table(String, Vec<Reading>),
    /// Devices where they say that they are.
    Map(String),
    /// A picture.
    Image,
    /// A text in Markdown.
    Text,
    /// Alarms that are not cleared, of all devices or of some.
    Alarms(Option<String>),
    /// How a flow is doing.
    Flow(FlowId),
}

impl Deed {
    /// Refuses a value that is not meant by it.
    ///
    /// # Errors
    /// `invalid`, with what is expected.
    pub fn check(&self, value: &Value) -> Result<(), Rejection> {
        let wrong = |why: String| Err(Rejection::invalid("value", why));
        match self {
            Self::Switch(on, off) if value == on || value == off => Ok(()),
            Self::Switch(on, off) => wrong(format!("{on} or {off} is expected")),
            Self::Slider(min, max) => match value.as_f64() {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                _ => wrong(format!("a number from {min} to {max} is expected")),
            },
            Self::Colour => match value.as_str() {
                Some(text) if is_colour(text) => Ok(()),
                _ => wrong("a colour is written #rrggbb".to_owned()),
            },
            Self::Text => match value.as_str() {
                Some(text) if text.len() <= INPUT_BYTES_MAX => Ok(()),
                _ => wrong(format!("a text of at most {INPUT_BYTES_MAX} bytes is expected")),
            },
            Self::Number if value.is_number() => Ok(()),
            Self::Number => wrong("a number is expected".to_owned()),
        }
    }
}

impl Kind {
    /// The bindings of it, in their order.
    pub fn bindings(&self) -> Vec<Binding> {
        match self {
            Self::Value(of, _)
            | Self::Bar(of, ..)
            | Self::Timeline(of, ..)
            | Self::Act(of, ..)
            | Self::Button(of, ..) => vec![of.clone()],
            Self::Chart(series, _) => series.iter().map(|series| series.of.clone()).collect(),
            Self::Table(selector, _) | Self::Map(selector) | Self::Alarms(Some(selector)) => {
                vec![Binding::Selector(selector.clone())]
            }
            Self::Image | Self::Text | Self::Alarms(None) | Self::Flow(_) => Vec::new(),
        }
    }
}

impl Reading {
    /// What it reads of a shadow, if it reads there.
    pub fn of_shadow<'a>(
        &self,
        desired: &'a Map<String, Value>,
        reported: &'a Map<String, Value>,
    ) -> Option<&'a Value> {
        match self {
            Self::Reported(path) => shadow::at_path(reported, path),
            Self::Desired(path) => shadow::at_path(desired, path),
            Self::Metric(_) | Self::Presence => None,
        }
    }
}

/// Whether a text is `#rrggbb`.
fn is_colour(text: &str) -> bool {
    text.len() == 7 && text.starts_with('#') && text[1..].bytes().all(|b| b.is_ascii_hexdigit())
}
