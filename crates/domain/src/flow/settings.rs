//! The settings of steps that have more than a field or two.

use serde_json::Value;

use crate::time::Span;

/// What a board can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensor {
    /// A DHT11: emits `{"temperature": °C, "humidity": %}`.
    Dht11,
    /// A DHT22, with the same.
    Dht22,
    /// An analogue input: emits a number, in the counts of the board.
    Adc,
    /// A digital input: emits true or false.
    Pin,
}

/// Whether rules hold for a value or a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Which part of the value, with dots: `temperature`, `weather.wind`; the whole if it is empty.
    pub property: Vec<String>,
    /// All of them have to hold.
    pub rules: Vec<Rule>,
    /// What is emitted: whether they hold, at every value; or the value itself, if they do.
    pub passes: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub operand: Operand,
}

/// With what a rule compares.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// With nothing: the operator says it all.
    None,
    /// With a value: a number, a text, true, false or null.
    One(Value),
    /// With two numbers, the smaller one first.
    Range(f64, f64),
}

/// How a rule compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Less.
    Lt,
    /// At most.
    Lte,
    /// More.
    Gt,
    /// At least.
    Gte,
    /// The same value. Numbers are the same however they are written.
    Eq,
    /// Another value.
    Neq,
    /// A number not outside of two, both included.
    Between,
    /// True.
    True,
    /// False.
    False,
    /// Null or absent.
    Null,
    /// Neither null nor absent.
    NotNull,
}

/// How long must be silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debounce {
    /// So long.
    pub quiet: Span,
}

/// Of what the mean is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Average {
    /// Which part of the value, as in [`Compare`].
    pub property: Vec<String>,
    /// Of so many numbers at most.
    pub count: usize,
    /// And of none older than this, if it is said.
    pub window: Option<Span>,
}

impl Sensor {
    /// Every sensor.
    pub const ALL: [Self; 4] = [Self::Dht11, Self::Dht22, Self::Adc, Self::Pin];
    /// The name in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dht11 => "dht11",
            Self::Dht22 => "dht22",
            Self::Adc => "adc",
            Self::Pin => "pin",
        }
    }
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 11] = [
        Self::Lt,
        Self::Lte,
        Self::Gt,
        Self::Gte,
        Self::Eq,
        Self::Neq,
        Self::Between,
        Self::True,
        Self::False,
        Self::Null,
        Self::NotNull,
    ];
    /// The name in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Between => "between",
            Self::True => "true",
            Self::False => "false",
            Self::Null => "null",
            Self::NotNull => "not_null",
        }
    }
}
