//! What an expression is worth, on the hub.

use serde_json::Value;

use super::{Binary, Function, Node, number, same};
use crate::fields::what;

/// Longest text and list that an expression may make.
const SIZE_MAX: usize = 4_096;

pub(super) fn node(part: &Node, input: &Value) -> Result<Value, String> {
    let of = |part: &Node| node(part, input);
    Ok(match part {
        Node::Literal(value) => value.clone(),
        Node::Input => input.clone(),
        Node::Member(object, name) => member(of(object)?, name)?,
        Node::Index(list, at) => index(of(list)?, &of(at)?)?,
        Node::Has(object, name) => match of(object)? {
            Value::Object(members) => Value::Bool(members.contains_key(name)),
            other => return Err(format!("{} is no object and has no {name}", what(&other))),
        },
        Node::Not(one) => Value::Bool(!truth(&of(one)?)?),
        Node::Negate(one) => number(-float(&of(one)?)?),
        Node::Binary(Binary::And, one, other) => Value::Bool(truth(&of(one)?)? && truth(&of(other)?)?),
        Node::Binary(Binary::Or, one, other) => Value::Bool(truth(&of(one)?)? || truth(&of(other)?)?),
        Node::Binary(operator, one, other) => binary(*operator, &of(one)?, &of(other)?)?,
        Node::If(condition, yes, no) => of(if truth(&of(condition)?)? { yes } else { no })?,
        Node::Call(function, arguments) => {
            let arguments = arguments.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            call(*function, &arguments)?
        }
        Node::List(parts) => Value::Array(parts.iter().map(of).collect::<Result<_, _>>()?),
        Node::Object(parts) => {
            let parts = parts.iter().map(|(name, part)| Ok((name.clone(), of(part)?)));
            Value::Object(parts.collect::<Result<_, String>>()?)
        }
    })
}

fn member(object: Value, name: &str) -> Result<Value, String> {
    match object {
        Value::Object(mut members) => members.remove(name).ok_or_else(|| format!("there is no {name}")),
        other => Err(format!("{} is no object and has no {name}", what(&other))),
    }
}

fn index(list: Value, at: &Value) -> Result<Value, String> {
    match (list, at) {
        (object @ Value::Object(_), Value::String(name)) => member(object, name),
        (Value::Array(mut list), Value::Number(at)) => {
            let place = at.as_f64().filter(|at| at.fract() == 0.0 && (0.0..=1e9).contains(at));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
            match place.map(|at| at as usize).filter(|at| *at < list.len()) {
                Some(at) => Ok(list.swap_remove(at)),
                None => Err(format!("the list has no part {at}")),
            }
        }
        (other, at) => Err(format!("{} has no part {at}", what(&other))),
    }
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

pub(in crate::flow) fn order(one: &Value, other: &Value) -> Result<std::cmp::Ordering, String> {
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

fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("true or false is expected, not {}", what(value)))
}

fn float(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("numbers are expected, not {}", what(value)))
}

fn call(function: Function, arguments: &[Value]) -> Result<Value, String> {
    let first = &arguments[0];
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
