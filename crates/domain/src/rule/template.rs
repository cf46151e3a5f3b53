//! Values with `{{ expressions }}` in their texts. A text that is one expression becomes its value, whatever it is.

use serde_json::{Map, Value};

use super::Condition;
use crate::expression::hub::Scope;

/// Most expressions of one template.
const EXPRESSIONS_MAX: usize = 20;
/// Longest text that a template makes, in bytes.
pub(super) const MADE_BYTES_MAX: usize = 16 * 1024;

/// A value to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// This one.
    Literal(Value),
    /// What an expression is worth.
    Expression(Condition),
    /// A text with expressions in it.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// These words.
    Words(String),
    /// What an expression is worth, as text.
    Expression(Condition),
}

impl Template {
    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with an expression in it, with its place in its text.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let mut count = 0;
        let template = read(value, &mut count)?;
        match count > EXPRESSIONS_MAX {
            true => Err(format!("at most {EXPRESSIONS_MAX} expressions")),
            false => Ok(template),
        }
    }

    /// Makes the value.
    ///
    /// # Errors
    /// Why an expression has no worth, or that the text is too long.
    pub fn make(&self, scope: &dyn Scope) -> Result<Value, String> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Expression(expression) => expression.on(scope)?,
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Words(words) => text.push_str(words),
                        Part::Expression(expression) => text.push_str(&written(expression.on(scope)?)),
                    }
                    if text.len() > MADE_BYTES_MAX {
                        return Err(format!("a text of more than {MADE_BYTES_MAX} bytes"));
                    }
                }
                Value::String(text)
            }
            Self::List(parts) => parts.iter().map(|part| part.make(scope)).collect::<Result<_, _>>()?,
            Self::Object(parts) => {
                let made = parts.iter().map(|(name, part)| Ok((name.clone(), part.make(scope)?)));
                Value::Object(made.collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }

    /// Makes a text.
    ///
    /// # Errors
    /// As [`Template::make`].
    pub fn text(&self, scope: &dyn Scope) -> Result<String, String> {
        self.make(scope).map(written)
    }

    /// Looks at every expression.
    pub(super) fn visit(&self, look: &mut impl FnMut(&Condition)) {
        match self {
            Self::Literal(_) => {}
            Self::Expression(expression) => look(expression),
            Self::Text(parts) => {
                for part in parts {
                    if let Part::Expression(expression) = part {
                        look(expression);
                    }
                }
            }
            Self::List(parts) => parts.iter().for_each(|part| part.visit(look)),
            Self::Object(parts) => parts.iter().for_each(|(_, part)| part.visit(look)),
        }
    }
}

fn written(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn read(value: &Value, count: &mut usize) -> Result<Template, String> {
    Ok(match value {
        Value::String(text) if text.contains("{{") => text_of(text, count)?,
        Value::Array(list) => {
            Template::List(list.iter().map(|part| read(part, count)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let parts = members.iter().map(|(name, part)| Ok((name.clone(), read(part, count)?)));
            Template::Object(parts.collect::<Result<_, String>>()?)
        }
        other => Template::Literal(other.clone()),
    })
}

fn text_of(text: &str, count: &mut usize) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((words, behind)) = rest.split_once("{{") {
        let begins = text.len() - behind.len();
        let (inside, after) = behind.split_once("}}").ok_or("there is {{ without }}")?;
        if !words.is_empty() {
            parts.push(Part::Words(words.to_owned()));
        }
        *count += 1;
        let expression = Condition::parse_hub(inside).map_err(|wrong| {
            let why = wrong.sentence.split_once(": ").map_or(wrong.sentence.as_str(), |(_, why)| why);
            match wrong.position {
                Some(position) => format!("column {}: {why}", text[..begins].chars().count() + position),
                None => why.to_owned(),
            }
        })?;
        parts.push(Part::Expression(expression));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Words(rest.to_owned()));
    }
    Ok(match <[Part; 1]>::try_from(parts) {
        Ok([Part::Expression(expression)]) => Template::Expression(expression),
        Ok(parts) => Template::Text(parts.into()),
        Err(parts) => Template::Text(parts),
    })
}
