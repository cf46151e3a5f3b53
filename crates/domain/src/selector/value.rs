//! The right side of a comparison, and what it means for a value that was measured or reported.

use std::fmt;

use super::lexer::quoted;
use crate::telemetry::PointValue;
use crate::time::Span;

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`: not `=`.
    Unequal,
    /// `~`: contains, without case.
    Contains,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A finite number.
    Number(f64),
    /// True or false.
    Truth(bool),
    /// A span of time.
    Age(Span),
}

/// The units of spans, longest first, in milliseconds.
const UNITS: [(&str, i64); 5] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
/// Longest span: about a hundred years.
const SPAN_MAX: i64 = 36_525 * 86_400_000;

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 7] = [
        Self::Equal,
        Self::Unequal,
        Self::Contains,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
    ];

    /// How it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Contains => "~",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Value {
    /// A number: digits with sign, point and exponent as usual; no `inf` and no `nan`.
    pub(super) fn number(word: &str) -> Option<f64> {
        let starts =
            word.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
        word.parse().ok().filter(|number: &f64| starts && number.is_finite())
    }

    /// A span: a whole number and a unit, such as `10m`.
    pub(super) fn span(word: &str) -> Option<Span> {
        let digits = word.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = word.split_at(digits);
        let (_, length) = UNITS.iter().find(|(known, _)| *known == unit)?;
        let span = count.parse::<i64>().ok()?.checked_mul(*length)?;
        (span <= SPAN_MAX).then_some(Span(span))
    }

    /// A plain word as it is compared with what was measured: a number, true or false, or a text.
    pub(super) fn measured(word: &str) -> Self {
        match (Self::number(word), word) {
            (Some(number), _) => Self::Number(number),
            (None, "true") => Self::Truth(true),
            (None, "false") => Self::Truth(false),
            (None, _) => Self::Text(word.to_owned()),
        }
    }

    /// Whether a measured or reported value satisfies a comparison with this one. Values of different kinds are
    /// never equal, and none is less or greater than the other.
    pub fn satisfied(&self, operator: Operator, measured: &PointValue) -> bool {
        let order = match (measured, self) {
            (PointValue::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (PointValue::Boolean(one), Self::Truth(other)) if one == other => Some(std::cmp::Ordering::Equal),
            (PointValue::Text(one), Self::Text(other)) if operator == Operator::Contains => {
                return one.to_lowercase().contains(&other.to_lowercase());
            }
            (PointValue::Text(one), Self::Text(other)) if one == other => Some(std::cmp::Ordering::Equal),
            _ => None,
        };
        match operator {
            Operator::Equal => order.is_some_and(|order| order.is_eq()),
            Operator::Unequal => !order.is_some_and(|order| order.is_eq()),
            Operator::Less => order.is_some_and(|order| order.is_lt()),
            Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Operator::Greater => order.is_some_and(|order| order.is_gt()),
            Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
            Operator::Contains => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if is_plain(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Age(span) => {
                let (unit, length) =
                    UNITS.iter().find(|(_, length)| span.0 % length == 0).unwrap_or(&UNITS[4]);
                write!(f, "{}{unit}", span.0 / length)
            }
        }
    }
}

/// Whether a text needs no quotes, whatever it is compared with.
fn is_plain(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    !text.is_empty() && text.chars().all(is_word) && matches!(Value::measured(text), Value::Text(_))
}
