//! From words to the tree.

use super::field::{FIELDS, FLAGS, Field, Kind};
use super::lexer::{Word, refused, words};
use super::value::{Operator, Value};
use super::{SELECTOR_BYTES_MAX, SELECTOR_TERMS_MAX, SELECTOR_VALUES_MAX, Selector};
use crate::rejection::Rejection;
use crate::telemetry::METRIC_BYTES_MAX;

/// See [`Selector::parse`].
pub(super) fn parse(text: &str) -> Result<Selector, Rejection> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(Rejection::invalid("selector", format!("at most {SELECTOR_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { words: words(text)?, next: 0, terms: 0, end: text.chars().count() + 1 };
    let selector = parser.or(0)?;
    match parser.words.get(parser.next) {
        None => Ok(selector),
        Some(_) => Err(parser.expected("and, or, or the end")),
    }
}

struct Parser {
    words: Vec<(usize, Word)>,
    next: usize,
    terms: usize,
    end: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Selector, Rejection> {
        let mut left = self.and(depth)?;
        while self.takes("or") {
            left = Selector::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Selector, Rejection> {
        let mut left = self.not(depth)?;
        while self.takes("and") {
            left = Selector::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Selector, Rejection> {
        self.terms += 1;
        if self.terms > SELECTOR_TERMS_MAX || depth > SELECTOR_TERMS_MAX {
            return Err(Rejection::invalid("selector", format!("at most {SELECTOR_TERMS_MAX} terms")));
        }
        if self.takes("not") {
            return Ok(Selector::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.takes_sign("(") {
            let inner = self.or(depth + 1)?;
            return match self.takes_sign(")") {
                true => Ok(inner),
                false => Err(self.expected("and, or, or a closing parenthesis")),
            };
        }
        self.term()
    }

    fn term(&mut self) -> Result<Selector, Rejection> {
        for (word, selector) in [
            ("all", Selector::All),
            ("online", Selector::Online),
            ("failing", Selector::Failing),
            ("pending", Selector::Pending),
            ("unauthenticated", Selector::Unauthenticated),
        ] {
            if self.takes(word) {
                return Ok(selector);
            }
        }
        let field = self.field()?;
        let kind = field.kind();
        if kind.has_exists() && self.takes("exists") {
            return Ok(Selector::Exists(field));
        }
        if kind.has_in() && self.takes("in") {
            return self.list(kind).map(|values| Selector::Among(field, values));
        }
        let operator = kind.operators().iter().copied().find(|operator| self.takes_sign(operator.sign()));
        let Some(operator) = operator else {
            return Err(self.expected(&format!("{} behind {field}", kind.expectation())));
        };
        let value = self.value(kind, operator)?;
        Ok(Selector::Compare(field, operator, value))
    }

    fn field(&mut self) -> Result<Field, Rejection> {
        let (word, is_quoted) = match self.words.get(self.next).map(|(_, word)| word.clone()) {
            Some(Word::Plain(word)) => (word, false),
            Some(Word::Quoted(word)) => (word, true),
            Some(Word::Sign(_)) | None => return Err(self.expected(&condition())),
        };
        if !is_quoted {
            if let Some(known) = Field::known(&word) {
                self.next += 1;
                return Ok(known);
            }
            if let Some(name) = word.strip_prefix("telemetry.") {
                return self.name(name).map(Field::Telemetry);
            }
            if let Some(name) = word.strip_prefix("reported.") {
                let name = self.name(name)?;
                return Ok(Field::Reported(name.strip_prefix("attributes.").unwrap_or(&name).to_owned()));
            }
            let is_keyword =
                ["and", "or", "not", "in", "exists"].iter().any(|k| k.eq_ignore_ascii_case(&word));
            let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$');
            if is_keyword || !is_name {
                return Err(self.expected(&condition()));
            }
        }
        self.name(&word).map(Field::Either)
    }

    /// A name of a metric or attribute: what is left of the word, or, if nothing is, the quoted text behind it.
    fn name(&mut self, rest: &str) -> Result<String, Rejection> {
        let mut name = rest.to_owned();
        if name.is_empty()
            && let Some((_, Word::Quoted(text))) = self.words.get(self.next + 1)
        {
            name.clone_from(text);
            self.next += 1;
        }
        if name.is_empty() || name.len() > METRIC_BYTES_MAX || name.chars().any(char::is_control) {
            let what = format!("a name of 1 to {METRIC_BYTES_MAX} bytes, in double quotes if it has blanks");
            return Err(self.expected(&what));
        }
        self.next += 1;
        Ok(name)
    }

    fn list(&mut self, kind: Kind) -> Result<Vec<Value>, Rejection> {
        if !self.takes_sign("(") {
            return Err(self.expected("a list in parentheses, such as (a, b)"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(kind, Operator::Equal)?);
            if values.len() > SELECTOR_VALUES_MAX {
                return Err(Rejection::invalid(
                    "selector",
                    format!("at most {SELECTOR_VALUES_MAX} values in a list"),
                ));
            }
            if self.takes_sign(")") {
                return Ok(values);
            }
            if !self.takes_sign(",") {
                return Err(self.expected("a comma or a closing parenthesis"));
            }
        }
    }

    fn value(&mut self, kind: Kind, operator: Operator) -> Result<Value, Rejection> {
        let (word, is_quoted) = match self.words.get(self.next).map(|(_, word)| word.clone()) {
            Some(Word::Plain(word)) => (word, false),
            Some(Word::Quoted(word)) => (word, true),
            Some(Word::Sign(_)) | None => return Err(self.expected(expected_value(kind, operator))),
        };
        let is_ordered = !matches!(operator, Operator::Equal | Operator::Unequal | Operator::Contains);
        let value = match kind {
            Kind::Texts | Kind::Text | Kind::Group => Some(Value::Text(word)),
            Kind::Number => word.parse::<i32>().ok().map(|number| Value::Number(f64::from(number))),
            Kind::Age => Value::span(&word).map(Value::Age),
            Kind::Any if is_ordered => Value::number(&word).map(Value::Number),
            Kind::Any if is_quoted || operator == Operator::Contains => Some(Value::Text(word)),
            Kind::Any => Some(Value::measured(&word)),
        };
        let value = value.ok_or_else(|| self.expected(expected_value(kind, operator)))?;
        self.next += 1;
        Ok(value)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is_it =
            matches!(self.words.get(self.next), Some((_, Word::Plain(w))) if w.eq_ignore_ascii_case(keyword));
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.words.get(self.next), Some((_, Word::Sign(s))) if *s == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn expected(&self, what: &str) -> Rejection {
        let position = self.words.get(self.next).map_or(self.end, |(position, _)| *position);
        refused(position, &format!("expected {what}"))
    }
}

fn condition() -> String {
    let flags: Vec<&str> = FLAGS.iter().map(|(word, _)| *word).collect();
    let fields: Vec<&str> = FIELDS.iter().map(|entry| entry.0).collect();
    let (flags, fields) = (flags.join(", "), fields.join(", "));
    format!("a condition: {flags}; or one of {fields}, a metric or a reported attribute, and an operator")
}

fn expected_value(kind: Kind, operator: Operator) -> &'static str {
    match (kind, operator) {
        (Kind::Number, _) => "a whole number",
        (Kind::Age, _) => "a span of time such as 90s, 10m, 2h, 3d or 1w",
        (Kind::Group, _) => "the name of a group, in double quotes if it has blanks",
        (
            Kind::Any,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual,
        ) => "a number",
        (Kind::Texts | Kind::Text | Kind::Any, _) => "a value, in double quotes if it has blanks",
    }
}
