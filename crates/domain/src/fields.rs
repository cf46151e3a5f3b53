//! Reading members of a JSON object, with errors that say where they are.

use serde_json::{Map, Value};

use crate::rejection::Rejection;
use crate::time::Span;

/// The members of one object. What was not asked for when it is [`Fields::end`]ed is a mistake.
pub(crate) struct Fields<'a> {
    at: String,
    members: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The members of a value that has to be an object. `at`: where it is, empty for the whole.
    pub(crate) fn of(value: &'a Value, at: impl Into<String>) -> Result<Self, Rejection> {
        let at = at.into();
        match value {
            Value::Object(members) => Ok(Self { at, members, known: Vec::new() }),
            other => Err(Rejection::invalid(
                if at.is_empty() { "document" } else { &at },
                format!("an object is expected, not {}", what(other)),
            )),
        }
    }
    /// Where a member is.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }
    /// A refusal of a member.
    pub(crate) fn wrong(&self, name: &str, why: impl Into<String>) -> Rejection {
        Rejection::invalid(&self.path(name), why)
    }
    /// The same refusal, said of a member here.
    pub(crate) fn says<T>(&self, name: &str, read: Result<T, Rejection>) -> Result<T, Rejection> {
        read.map_err(|mut rejection| {
            let sentence =
                rejection.sentence.split_once(": ").map_or(rejection.sentence.as_str(), |(_, why)| why);
            rejection.sentence = format!("{}: {sentence}", self.path(name));
            rejection
        })
    }
    /// A member if it is there and not null.
    pub(crate) fn member(&mut self, name: &'static str) -> Option<&'a Value> {
        self.anything(name).filter(|value| !value.is_null())
    }
    /// A member if it is there; null is a value.
    pub(crate) fn anything(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.members.get(name)
    }
    /// A text that may be absent.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Rejection> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, format!("a text is expected, not {}", what(other)))),
        }
    }
    /// A text that has to be there and not empty, of so many bytes at most.
    pub(crate) fn needed(&mut self, name: &'static str, bytes_max: usize) -> Result<&'a str, Rejection> {
        match self.text(name)? {
            Some(text) if text.len() > bytes_max => {
                Err(self.wrong(name, format!("at most {bytes_max} bytes, these are {}", text.len())))
            }
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.wrong(name, "is missing")),
        }
    }
    /// A whole number in a range.
    pub(crate) fn whole(&mut self, name: &'static str, range: (i64, i64)) -> Result<Option<i64>, Rejection> {
        let Some(value) = self.member(name) else { return Ok(None) };
        match value.as_i64() {
            Some(number) if (range.0..=range.1).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(name, format!("a whole number from {} to {} is expected", range.0, range.1))),
        }
    }
    /// A span in milliseconds, in a range.
    pub(crate) fn span(
        &mut self,
        name: &'static str,
        range: (Span, Span),
    ) -> Result<Option<Span>, Rejection> {
        Ok(self.whole(name, (range.0.0, range.1.0))?.map(Span))
    }
    /// A finite number in a range.
    pub(crate) fn number(&mut self, name: &'static str, range: (f64, f64)) -> Result<Option<f64>, Rejection> {
        let Some(value) = self.member(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if (range.0..=range.1).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(name, format!("a number from {} to {} is expected", range.0, range.1))),
        }
    }
    /// True or false; absent is false.
    pub(crate) fn truth(&mut self, name: &'static str) -> Result<bool, Rejection> {
        match self.member(name) {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(other) => Err(self.wrong(name, format!("true or false is expected, not {}", what(other)))),
        }
    }
    /// A list that may be absent.
    pub(crate) fn list(&mut self, name: &'static str) -> Result<&'a [Value], Rejection> {
        match self.member(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(name, format!("a list is expected, not {}", what(other)))),
        }
    }
    /// A list of texts that may be absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Rejection> {
        let list = self.list(name)?;
        let texts = list.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>();
        texts.ok_or_else(|| self.wrong(name, "a list of texts is expected"))
    }
    /// There is nothing else.
    pub(crate) fn end(self) -> Result<(), Rejection> {
        match self.members.keys().find(|name| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Rejection::invalid(
                &self.path(&crate::text::shown(name, 40)),
                format!("there is no such field here; there are {}", self.known.join(", ")),
            )),
        }
    }
}

/// What kind of value this is, for people.
pub(crate) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
