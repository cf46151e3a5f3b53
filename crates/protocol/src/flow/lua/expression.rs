//! Expressions in Lua.

use motehub_domain::expression::{Binary, Function, Node};
use serde_json::Value;

use super::super::{Known, known};
use super::{key_of_table, literal, text};

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
        // Two signs without a blank would begin a comment.
        Node::Negate(one) => format!("(- {})", checked(one, Known::Number)),
        Node::Binary(operator, one, other) => binary(*operator, one, other),
        Node::If(condition, yes, no) => {
            let (condition, no) = (checked(condition, Known::Truth), written(no));
            match known(yes) {
                // These are never false, so the short form does.
                Some(Known::Number | Known::Text) => format!("({condition} and {} or {no})", written(yes)),
                _ => {
                    format!("(function() if {condition} then return {} end return {no} end)()", written(yes))
                }
            }
        }
        Node::Call(function, arguments) => call(*function, arguments),
        Node::List(parts) => format!("{{ {} }}", parts.iter().map(written).collect::<Vec<_>>().join(", ")),
        Node::Object(parts) => {
            let parts =
                parts.iter().map(|(name, part)| format!("{} = {}", key_of_table(name), written(part)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
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
    let pair = |kind: Known| (checked(one, kind), checked(other, kind));
    let numbers = |sign: &str| {
        let (one, other) = pair(Known::Number);
        format!("whole({one} {sign} {other})")
    };
    let both = |function: &str| {
        let (one, other) = pair(Known::Number);
        format!("{function}({one}, {other})")
    };
    let truths = |sign: &str| {
        let (one, other) = pair(Known::Truth);
        format!("({one} {sign} {other})")
    };
    let is_number = [known(one), known(other)].contains(&Some(Known::Number));
    match operator {
        Binary::Add if is_number => numbers("+"),
        Binary::Add => format!("add({}, {})", written(one), written(other)),
        Binary::Subtract => numbers("-"),
        Binary::Multiply => numbers("*"),
        Binary::Divide => both("divide"),
        Binary::Remainder => both("rest"),
        Binary::Equal => equal("==", one, other),
        Binary::NotEqual => equal("~=", one, other),
        Binary::And => truths("and"),
        Binary::Or => truths("or"),
        Binary::Less => order("<", one, other),
        Binary::LessEqual => order("<=", one, other),
        Binary::Greater => order(">", one, other),
        Binary::GreaterEqual => order(">=", one, other),
    }
}

fn equal(sign: &str, one: &Node, other: &Node) -> String {
    let is_plain =
        |node: &Node| known(node).is_some() || matches!(node, Node::Literal(Value::Null | Value::Bool(_)));
    let (is_plain, one, other) = (is_plain(one) || is_plain(other), written(one), written(other));
    match (is_plain, sign) {
        (true, _) => format!("({one} {sign} {other})"),
        (false, "==") => format!("same({one}, {other})"),
        (false, _) => format!("(not same({one}, {other}))"),
    }
}

fn order(sign: &str, one: &Node, other: &Node) -> String {
    let either = [known(one), known(other)];
    let kind = [Known::Number, Known::Text].into_iter().find(|kind| either.contains(&Some(*kind)));
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
    let first = written(&arguments[0]);
    let numbers: Vec<String> = arguments.iter().map(|one| checked(one, Known::Number)).collect();
    let all = numbers.join(", ");
    match function {
        Function::Abs | Function::Min | Function::Max | Function::Floor | Function::Ceil => {
            format!("math.{}({all})", function.as_str())
        }
        Function::Round => format!("math.floor({all} + 0.5)"),
        Function::Int => format!("int({first})"),
        Function::Double => format!("double({first})"),
        Function::String => format!("text({first})"),
        Function::Size => format!("size({first})"),
    }
}
