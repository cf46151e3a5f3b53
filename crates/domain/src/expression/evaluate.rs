//! What an expression is worth, on the hub.

use std::borrow::Cow;

use serde_json::Value;

use super::{Binary, Function, Node, number, same};
use crate::fields::what;

/// Longest text and list that an expression may make.
pub(crate) const SIZE_MAX: usize = 4_096;

/// What an expression is about.
pub(crate) trait World<'a, More> {
    /// What came.
    fn input(&mut self) -> Result<Cow<'a, Value>, String>;
    /// What only this world knows.
    fn more(&mut self, part: &'a More) -> Result<Cow<'a, Value>, String>;
    /// So much was done.
    ///
    /// # Errors
    /// If that was too much.
    fn charge(&mut self, steps: usize) -> Result<(), String>;
}

/// What a part is worth.
pub(crate) fn node<'a, More>(
    part: &'a Node<More>,
    world: &mut impl World<'a, More>,
) -> Result<Cow<'a, Value>, String> {
    world.charge(1)?;
    Ok(Cow::Owned(match part {
        Node::Literal(value) => return Ok(Cow::Borrowed(value)),
        Node::Input => return world.input(),
        Node::More(more) => return world.more(more),
        Node::Member(object, name) => return member(node(object, world)?, name),
        Node::Index(list, at) => {
            let list = node(list, world)?;
            return index(list, &*node(at, world)?);
        }
        Node::If(condition, yes, no) => {
            let is_so = truth(&*node(condition, world)?)?;
            return node(if is_so { yes } else { no }, world);
        }
        Node::Has(object, name) => match &*node(object, world)? {
            Value::Object(members) => Value::Bool(members.contains_key(name)),
            other => return Err(format!("{} is no object and has no {name}", what(other))),
        },
        Node::Not(one) => Value::Bool(!truth(&*node(one, world)?)?),
        Node::Negate(one) => number(-float(&*node(one, world)?)?),
        Node::Binary(Binary::And, one, other) => {
            Value::Bool(truth(&*node(one, world)?)? && truth(&*node(other, world)?)?)
        }
        Node::Binary(Binary::Or, one, other) => {
            Value::Bool(truth(&*node(one, world)?)? || truth(&*node(other, world)?)?)
        }
        Node::Binary(operator, one, other) => {
            let (one, other) = (node(one, world)?, node(other, world)?);
            world.charge(weight(&one))?;
            binary(*operator, &one, &other)?
        }
        Node::Call(function, arguments) => {
            let mut worth = Vec::with_capacity(arguments.len());
            for argument in arguments {
                worth.push(node(argument, world)?);
            }
            world.charge(worth.first().map_or(0, |first| weight(first)))?;
            call(*function, &worth)?
        }
        Node::List(parts) => {
            let mut list = Vec::with_capacity(parts.len());
            for part in parts {
                list.push(own(node(part, world)?, world)?);
            }
            Value::Array(list)
        }
        Node::Object(parts) => {
            let mut members = serde_json::Map::new();
            for (name, part) in parts {
                members.insert(name.clone(), own(node(part, world)?, world)?);
            }
            Value::Object(members)
        }
    }))
}

/// A value of one's own; a copy costs as much as there is to copy.
pub(crate) fn own<'a, More>(
    value: Cow<'a, Value>,
    world: &mut impl World<'a, More>,
) -> Result<Value, String> {
    if let Cow::Borrowed(value) = &value {
        world.charge(weight(value))?;
    }
    Ok(value.into_owned())
}

/// How much there is of a value: its parts, and one more for each 32 bytes of text.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() / 32,
        Value::Array(list) => list.iter().map(|part| 1 + weight(part)).sum(),
        Value::Object(members) => members.values().map(|part| 2 + weight(part)).sum(),
    }
}

fn member<'a>(object: Cow<'a, Value>, name: &str) -> Result<Cow<'a, Value>, String> {
    let found = match object {
        Cow::Borrowed(Value::Object(members)) => members.get(name).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut members)) => members.remove(name).map(Cow::Owned),
        other => return Err(format!("{} is no object and has no {name}", what(&other))),
    };
    found.ok_or_else(|| format!("there is no {name}"))
}

fn index<'a>(list: Cow<'a, Value>, at: &Value) -> Result<Cow<'a, Value>, String> {
    if let (Value::Object(_), Value::String(name)) = (&*list, at) {
        return member(list, name);
    }
    let (Value::Array(parts), Value::Number(number)) = (&*list, at) else {
        return Err(format!("{} has no part {at}", what(&list)));
    };
    let place = number.as_f64().filter(|at| at.fract() == 0.0 && (0.0..=1e9).contains(at));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let place = place.map(|at| at as usize).filter(|at| *at < parts.len());
    let place = place.ok_or_else(|| format!("the list has no part {at}"))?;
    Ok(match list {
        Cow::Borrowed(list) => Cow::Borrowed(&list[place]),
        Cow::Owned(mut list) => Cow::Owned(list[place].take()),
    })
}

fn binary(operator: Binary, one: &Value, other: &Value) -> Result<Value, String> {
    use std::cmp::Ordering::{Greater, Less};
    match operator {
        Binary::Equal => return Ok(Value::Bool(same(one, other))),
        Binary::NotEqual => return Ok(Value::Bool(!same(one, other))),
        Binary::Less => return Ok(Value::Bool(order(one, other)? == Less)),
        Binary::LessEqual => return Ok(Value::Bool(order(one, other)? != Greater)),
        Binary::Greater => return Ok(Value::Bool(order(one, other)? == Greater)),
        Binary::GreaterEqual => return Ok(Value::Bool(order(one, other)? != Less)),
        _ => {}
    }
    if let (Binary::Add, Value::String(one), Value::String(other)) = (operator, one, other) {
        return if one.len() + other.len() <= SIZE_MAX {
            Ok(Value::String(format!("{one}{other}")))
        } else {
            Err(format!("a text of more than {SIZE_MAX} bytes"))
        };
    }
    let (one, other) = (float(one)?, float(other)?);
    if matches!(operator, Binary::Divide | Binary::Remainder) && other == 0.0 {
        return Err("divided by 0".to_owned());
    }
    Ok(number(match operator {
        Binary::Add => one + other,
        Binary::Subtract => one - other,
        Binary::Multiply => one * other,
        Binary::Divide => one / other,
        _ => one % other,
    }))
}

pub(crate) fn order(one: &Value, other: &Value) -> Result<std::cmp::Ordering, String> {
    let ordering = match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
        }
        _ => None,
    };
    ordering.ok_or_else(|| {
        format!("two numbers or two texts can be compared, not {} with {}", what(one), what(other))
    })
}

pub(crate) fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("true or false is expected, not {}", what(value)))
}

fn float(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("numbers are expected, not {}", what(value)))
}

fn call(function: Function, arguments: &[Cow<Value>]) -> Result<Value, String> {
    let first = &*arguments[0];
    Ok(match function {
        Function::Abs => number(float(first)?.abs()),
        Function::Round => number((float(first)? + 0.5).floor()),
        Function::Floor => number(float(first)?.floor()),
        Function::Ceil => number(float(first)?.ceil()),
        Function::Int => number(written(first)?.trunc()),
        Function::Double => number(written(first)?),
        Function::Min | Function::Max => {
            let mut best = float(first)?;
            for value in &arguments[1..] {
                let value = float(value)?;
                best = if function == Function::Min { best.min(value) } else { best.max(value) };
            }
            number(best)
        }
        Function::String => match first {
            Value::String(text) => Value::String(text.clone()),
            Value::Number(_) => Value::String(number(float(first)?).to_string()),
            other => Value::String(other.to_string()),
        },
        Function::Size => match first {
            Value::String(text) => Value::from(text.chars().count()),
            Value::Array(list) => Value::from(list.len()),
            Value::Object(members) => Value::from(members.len()),
            other => return Err(format!("{} has no size", what(other))),
        },
    })
}

fn written(value: &Value) -> Result<f64, String> {
    match value {
        Value::String(text) => {
            let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| "the text writes no number".to_owned())
        }
        other => float(other),
    }
}
