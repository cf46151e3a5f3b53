//! What a unit is told: a text in which names in braces stand for what is desired.

use std::fmt;

use serde_json::Value;

use super::TEXT_BYTES_MAX;
use crate::rejection::Rejection;

/// The member of what is desired that units are told.
const VALUE: &str = "value";

/// A text with names in braces: `{value}` is what is desired as `value`, `{value.red}` a member of it; `{{` and `}}`
/// are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The way from `value` downwards.
    Value(Vec<String>),
}

impl Default for Template {
    fn default() -> Self {
        Self(vec![Piece::Value(Vec::new())])
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// For a name that is not known, braces that are not closed, control characters and a text that is too long.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let wrong = |why: String| Rejection::invalid("template", why);
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(wrong(format!("1 to {TEXT_BYTES_MAX} bytes")));
        }
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(wrong("no control characters: what ends a line is a setting of its own".to_owned()));
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain += &rest[..at];
            let position = text[..text.len() - rest.len() + at].chars().count() + 1;
            let from = &rest[at..];
            if let Some(behind) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain += &from[..1];
                rest = behind;
                continue;
            }
            let Some((name, behind)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) else {
                let why = "a brace has no partner: names are written as {value}, and a brace itself twice";
                return Err(wrong(why.to_owned()).at_position(position));
            };
            let Some(way) = way(name) else {
                let why = format!(
                    "{{{name}}} is no known name: {{value}} is what is desired, {{value.red}} a member of it"
                );
                return Err(wrong(why).at_position(position));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Value(way));
            rest = behind;
        }
        plain += rest;
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The text for a desired value: a text as it is, anything else as JSON.
    ///
    /// # Errors
    /// If a member is named that it does not have.
    pub fn fill(&self, value: &Value) -> Result<String, Rejection> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text += plain,
                Piece::Value(way) => match way.iter().try_fold(value, |value, name| value.get(name)) {
                    Some(Value::String(member)) => text += member,
                    None | Some(Value::Null) => {
                        let why = format!("{} is wanted by the template and not desired", name(way));
                        return Err(Rejection::invalid("value", why));
                    }
                    Some(other) => text += &other.to_string(),
                },
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(plain) => f.write_str(&plain.replace('{', "{{").replace('}', "}}")),
            Piece::Value(way) => f.write_str(&name(way)),
        })
    }
}

fn name(way: &[String]) -> String {
    let members: String = way.iter().map(|name| format!(".{name}")).collect();
    format!("{{{VALUE}{members}}}")
}

fn way(name: &str) -> Option<Vec<String>> {
    let mut parts = name.split('.');
    let is_value = parts.next() == Some(VALUE);
    let way: Vec<String> = parts.map(str::to_owned).collect();
    (is_value && way.iter().all(|part| !part.is_empty())).then_some(way)
}
