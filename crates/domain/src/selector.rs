//! Selectors: textual conditions that pick devices, such as `free_ram < 20000 and not online`.
//!
//! `or` binds weakest, then `and`, then `not`; parentheses group. Keywords are written in any case; values with
//! blanks or other signs stand in double quotes. A word that is no field is the name of a metric or of a reported
//! attribute. The store turns the tree into one query.

mod field;
mod lexer;
mod parser;
mod value;

pub use field::{FIELDS, FLAGS, Field, Kind, Known};
pub use value::{Operator, Value};

use std::fmt;

use crate::rejection::Rejection;

/// Longest selector text in bytes.
pub const SELECTOR_BYTES_MAX: usize = 2000;
/// Most comparisons, and deepest nesting, in one selector text.
pub const SELECTOR_TERMS_MAX: usize = 50;
/// Most values between the parentheses of one `in`.
pub const SELECTOR_VALUES_MAX: usize = 100;

/// A condition on a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Selector {
    /// Every device.
    All,
    /// Those that have a live connection.
    Online,
    /// Those with a problem.
    Failing,
    /// Those for which something waits or is being applied.
    Pending,
    /// Those that may speak without a credential.
    Unauthenticated,
    /// A comparison. One with a value that is not there is false, and `!=` is the opposite of `=`.
    Compare(Field, Operator, Value),
    /// Equal to one of these.
    Among(Field, Vec<Value>),
    /// Those that have any value there.
    Exists(Field),
    /// Those that do not satisfy it.
    Not(Box<Selector>),
    /// Those that satisfy both.
    And(Box<Selector>, Box<Selector>),
    /// Those that satisfy at least one.
    Or(Box<Selector>, Box<Selector>),
}

impl Selector {
    /// Reads a selector. The refusal names the position, in characters from 1, and what was expected there.
    ///
    /// # Errors
    /// `invalid` for a text that is no selector, that is longer than [`SELECTOR_BYTES_MAX`] or has more than
    /// [`SELECTOR_TERMS_MAX`] terms.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        parser::parse(text)
    }

    /// Those that have a tag.
    pub fn tagged(tag: &str) -> Self {
        Self::Compare(Field::Known(Known::Tag), Operator::Equal, Value::Text(tag.to_owned()))
    }

    /// All comparisons in it, from left to right.
    pub fn terms(&self) -> Vec<&Selector> {
        match self {
            Self::Not(inner) => inner.terms(),
            Self::And(left, right) | Self::Or(left, right) => {
                let mut terms = left.terms();
                terms.extend(right.terms());
                terms
            }
            term => vec![term],
        }
    }

    fn binds(&self) -> u8 {
        match self {
            Self::Or(..) => 0,
            Self::And(..) => 1,
            _ => 2,
        }
    }
}

/// The text that reads as this selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Online => f.write_str("online"),
            Self::Failing => f.write_str("failing"),
            Self::Pending => f.write_str("pending"),
            Self::Unauthenticated => f.write_str("unauthenticated"),
            Self::Compare(field, operator, value) => write!(f, "{field} {} {value}", operator.sign()),
            Self::Among(field, values) => {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                write!(f, "{field} in ({})", values.join(", "))
            }
            Self::Exists(field) => write!(f, "{field} exists"),
            Self::Not(inner) if inner.binds() < 2 => write!(f, "not ({inner})"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::And(left, right) => both(f, left, 1, "and", right, 2),
            Self::Or(left, right) => both(f, left, 0, "or", right, 1),
        }
    }
}

/// What stands left may bind as closely as the word itself, what stands right must bind closer: so the tree stays.
fn both(
    f: &mut fmt::Formatter<'_>,
    left: &Selector,
    left_min: u8,
    word: &str,
    right: &Selector,
    right_min: u8,
) -> fmt::Result {
    for (side, min) in [(left, left_min), (right, right_min)] {
        match side.binds() < min {
            true => write!(f, "({side})")?,
            false => write!(f, "{side}")?,
        }
        if std::ptr::eq(side, left) {
            write!(f, " {word} ")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(known: Known, operator: Operator, value: &str) -> Selector {
        Selector::Compare(Field::Known(known), operator, Value::Text(value.to_owned()))
    }

    fn metric(name: &str, operator: Operator, value: Value) -> Selector {
        Selector::Compare(Field::Either(name.to_owned()), operator, value)
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let tag = |value| Box::new(Selector::tagged(value));
        let expected = Selector::Or(
            tag("a"),
            Box::new(Selector::And(tag("b"), Box::new(Selector::Not(Box::new(Selector::Online))))),
        );
        assert_eq!(Selector::parse("tag=a or tag = b AND not online"), Ok(expected));
    }

    #[test]
    fn quoted_values_may_hold_anything() {
        let text = r#"name = "my (\"best\") lamp""#;
        assert_eq!(Selector::parse(text), Ok(is(Known::Name, Operator::Equal, r#"my ("best") lamp"#)));
    }

    #[test]
    fn a_word_that_is_no_field_is_a_metric_or_attribute() {
        let low = metric("free_ram", Operator::Less, Value::Number(20000.0));
        let away = Selector::Not(Box::new(Selector::Online));
        assert_eq!(
            Selector::parse("free_ram < 20000 and not online"),
            Ok(Selector::And(Box::new(low), Box::new(away)))
        );
        let cases = [
            ("model=d1", metric("model", Operator::Equal, Value::Text("d1".into()))),
            ("code=\"7\"", metric("code", Operator::Equal, Value::Text("7".into()))),
            ("code=7", metric("code", Operator::Equal, Value::Number(7.0))),
            ("safe_mode=true", metric("safe_mode", Operator::Equal, Value::Truth(true))),
            (
                "\"soil moisture\" >= -1.5",
                metric("soil moisture", Operator::GreaterOrEqual, Value::Number(-1.5)),
            ),
            (
                "telemetry.state=on",
                Selector::Compare(
                    Field::Telemetry("state".into()),
                    Operator::Equal,
                    Value::Text("on".into()),
                ),
            ),
            ("telemetry.\"a b\" exists", Selector::Exists(Field::Telemetry("a b".into()))),
            (
                "reported.attributes.board ~ 7",
                Selector::Compare(
                    Field::Reported("board".into()),
                    Operator::Contains,
                    Value::Text("7".into()),
                ),
            ),
            (
                "seen > 10m",
                Selector::Compare(
                    Field::Known(Known::Seen),
                    Operator::Greater,
                    Value::Age(crate::time::Span::minutes(10)),
                ),
            ),
            (
                "tag in (a, \"b c\")",
                Selector::Among(
                    Field::Known(Known::Tag),
                    vec![Value::Text("a".into()), Value::Text("b c".into())],
                ),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Selector::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_name_the_position_and_what_was_expected() {
        let cases = [
            ("", 1, "expected a condition"),
            ("tag", 4, "expected =, !=, ~, in or exists behind tag"),
            ("tag=", 5, "expected a value"),
            ("tag < a", 5, "expected =, !=, ~, in or exists"),
            ("online and", 11, "expected a condition"),
            ("(online", 8, "closing parenthesis"),
            ("online online", 8, "expected and, or, or the end"),
            ("colour", 7, "<, <=, >, >=, in or exists behind colour"),
            ("free < many", 8, "expected a number"),
            ("free < inf", 8, "expected a number"),
            ("version=two", 9, "a whole number"),
            ("seen > 10", 8, "a span of time such as 90s"),
            ("seen = 10m", 6, "expected <, <=, >, >= or exists"),
            ("seen > 999999999w", 8, "a span of time"),
            ("tag in a", 8, "a list in parentheses"),
            ("tag in (a b)", 11, "a comma or a closing parenthesis"),
            ("tag in ()", 9, "expected a value"),
            ("group ~ x", 7, "expected =, != or in behind group"),
            ("group exists", 7, "expected =, != or in"),
            ("telemetry. < 5", 1, "a name of 1 to 64 bytes"),
            ("5 < 6", 1, "expected a condition"),
            ("küche=1 und", 9, "expected and, or"),
            ("name=\"x", 6, "not closed"),
            ("!online", 1, "expected !="),
        ];
        for (text, position, expected) in cases {
            let error = Selector::parse(text).expect_err(text);
            assert_eq!(error.position, Some(position), "{text}: {error}");
            let found = format!("at position {position}: ");
            assert!(error.sentence.contains(&found) && error.sentence.contains(expected), "{text}: {error}");
        }
        assert!(Selector::parse(&"(".repeat(500)).is_err());
        assert!(Selector::parse(&"not ".repeat(400)).is_err());
        assert!(Selector::parse(&format!("tag in ({})", vec!["a"; 101].join(","))).is_err());
        assert!(Selector::parse(&"x".repeat(2001)).is_err());
    }

    #[test]
    fn every_field_of_the_table_is_read_and_printed_with_every_operator_it_takes() {
        for (word, known, kind, _) in FIELDS {
            for operator in Operator::ALL {
                let value = if *kind == Kind::Age { "5m" } else { "7" };
                let text = format!("{word} {} {value}", operator.sign());
                let read = Selector::parse(&text);
                assert_eq!(read.is_ok(), kind.operators().contains(&operator), "{text}");
                if let Ok(selector) = read {
                    assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector));
                    assert!(
                        matches!(selector, Selector::Compare(Field::Known(k), o, _) if k == *known && o == operator)
                    );
                }
            }
            assert_eq!(Selector::parse(&format!("{word} in (7)")).is_ok(), kind.has_in(), "{word}");
            assert_eq!(Selector::parse(&format!("{word} exists")).is_ok(), kind.has_exists(), "{word}");
        }
        for (word, _) in FLAGS {
            assert_eq!(Selector::parse(word).map(|flag| flag.to_string()).as_deref(), Ok(*word));
        }
    }
}
