//! Expressions in Python.

use motehub_domain::expression::{Binary, Function, Node};
use serde_json::Value;

use super::super::{Known, known};
use super::{is, literal, text};

/// An expression over `value`, in parentheses where that is needed.
pub(super) fn written(node: &Node) -> String {
    match node {
        Node::Literal(value) => literal(value),
        Node::Input => "value".to_owned(),
        Node::More(more) => match *more {},
        Node::Member(object, name) => format!("item({}, {})", written(object), text(name)),
        Node::Index(list, at) => format!("item({}, {})", written(list), written(at)),
        Node::Has(object, name) => format!("has({}, {})", written(object), text(name)),
        Node::Not(one) => format!("(not {})", checked(one, Known::Truth)),
        Node::Negate(one) => format!("(-{})", checked(one, Known::Number)),
        Node::Binary(operator, one, other) => binary(*operator, one, other),
        Node::If(condition, yes, no) => {
            format!("({} if {} else {})", written(yes), checked(condition, Known::Truth), written(no))
        }
        Node::Call(function, arguments) => call(*function, arguments),
        Node::List(parts) => format!("[{}]", parts.iter().map(written).collect::<Vec<_>>().join(", ")),
        Node::Object(parts) => {
            let parts = parts.iter().map(|(name, part)| format!("{}: {}", text(name), written(part)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

/// An expression that has to be of a kind, with a check if it is not known to be.
fn checked(node: &Node, kind: Known) -> String {
    let check = match kind {
        _ if known(node) == Some(kind) => return written(node),
        Known::Number => "number",
        Known::Text => "word",
        Known::Truth => "boolean",
    };
    format!("{check}({})", written(node))
}

fn binary(operator: Binary, one: &Node, other: &Node) -> String {
    let numbers = |sign: &str| {
        format!("whole({} {sign} {})", checked(one, Known::Number), checked(other, Known::Number))
    };
    let truths =
        |sign: &str| format!("({} {sign} {})", checked(one, Known::Truth), checked(other, Known::Truth));
    let either = |kind: Known| known(one) == Some(kind) || known(other) == Some(kind);
    match operator {
        Binary::Add if either(Known::Number) => numbers("+"),
        Binary::Add => format!("add({}, {})", written(one), written(other)),
        Binary::Subtract => numbers("-"),
        Binary::Multiply => numbers("*"),
        Binary::Divide => numbers("/"),
        Binary::Remainder => {
            format!("rest({}, {})", checked(one, Known::Number), checked(other, Known::Number))
        }
        Binary::Equal => equal(one, other),
        Binary::NotEqual => format!("(not {})", equal(one, other)),
        Binary::And => truths("and"),
        Binary::Or => truths("or"),
        Binary::Less => order("<", one, other),
        Binary::LessEqual => order("<=", one, other),
        Binary::Greater => order(">", one, other),
        Binary::GreaterEqual => order(">=", one, other),
    }
}

fn equal(one: &Node, other: &Node) -> String {
    let simple = |node: &Node| match node {
        Node::Literal(value @ (Value::Null | Value::Bool(_) | Value::String(_))) => Some(value.clone()),
        _ => None,
    };
    match (simple(one), simple(other)) {
        (_, Some(value)) => is(&value, &written(one)),
        (Some(value), None) => is(&value, &written(other)),
        (None, None) => format!("same({}, {})", written(one), written(other)),
    }
}

fn order(sign: &str, one: &Node, other: &Node) -> String {
    let kind = [Known::Number, Known::Text]
        .into_iter()
        .find(|kind| [known(one), known(other)].contains(&Some(*kind)));
    if let Some(kind) = kind {
        return format!("({} {sign} {})", checked(one, kind), checked(other, kind));
    }
    let (one, other) = (written(one), written(other));
    match sign {
        "<" => format!("less({one}, {other})"),
        ">" => format!("less({other}, {one})"),
        "<=" => format!("(not less({other}, {one}))"),
        _ => format!("(not less({one}, {other}))"),
    }
}

fn call(function: Function, arguments: &[Node]) -> String {
    let first = &arguments[0];
    let numbers: Vec<String> = arguments.iter().map(|one| checked(one, Known::Number)).collect();
    match (function, &numbers[..]) {
        (Function::Min | Function::Max, [only]) => only.clone(),
        (Function::Abs | Function::Min | Function::Max, all) => {
            format!("{}({})", function.as_str(), all.join(", "))
        }
        (Function::Round, all) => format!("floor({} + 0.5)", all[0]),
        (Function::Floor, all) => format!("floor({})", all[0]),
        (Function::Ceil, all) => format!("(-floor(-{}))", all[0]),
        (Function::Int, _) => format!("int(double({}))", written(first)),
        (Function::Double | Function::String, _) => format!("{}({})", function.as_str(), written(first)),
        (Function::Size, _) => format!("len({})", written(first)),
    }
}
