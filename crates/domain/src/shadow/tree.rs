//! Trees of JSON objects whose leaves are values. An array is a leaf: it is compared and replaced as a whole.

use serde_json::{Map, Number, Value};

use crate::time::Time;

/// What is at a path of names with dots between them, if something is.
pub fn at_path<'a>(tree: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = tree.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// A value inside of objects, one for each name of a path with dots.
pub fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| Value::Object(Map::from_iter([(name.to_owned(), value)])))
}

/// Puts the leaves of a patch into a tree; null takes a member away, and what becomes empty by that goes too. An
/// empty object that is given is a value and stays.
pub(super) fn merge(tree: &mut Map<String, Value>, patch: &Map<String, Value>) {
    walk(tree, patch, &|value| value.clone());
}

/// The same for the tree of times: what a patch gives came now.
pub(super) fn merge_times(times: &mut Map<String, Value>, patch: &Map<String, Value>, now: Time) {
    walk(times, patch, &|value| stamped(value, now));
}

fn walk(tree: &mut Map<String, Value>, patch: &Map<String, Value>, leaf: &impl Fn(&Value) -> Value) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(tree.remove(name)),
            Value::Object(patch) if patch.is_empty() => {
                if !tree.get(name).is_some_and(Value::is_object) {
                    tree.insert(name.clone(), Value::Object(Map::new()));
                }
            }
            Value::Object(patch) => {
                let mut child = match tree.remove(name) {
                    Some(Value::Object(child)) => child,
                    _ => Map::new(),
                };
                walk(&mut child, patch, leaf);
                if !child.is_empty() {
                    tree.insert(name.clone(), Value::Object(child));
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                tree.insert(name.clone(), leaf(value));
            }
        }
    }
}

/// A value with a time in place of each leaf, through arrays element by element.
fn stamped(value: &Value, now: Time) -> Value {
    match value {
        Value::Object(members) => Value::Object(stamps(members, now)),
        Value::Array(items) => items.iter().map(|item| stamped(item, now)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => now.0.into(),
    }
}

/// An object with a time in place of each leaf.
pub(super) fn stamps(values: &Map<String, Value>, now: Time) -> Map<String, Value> {
    values.iter().map(|(name, value)| (name.clone(), stamped(value, now))).collect()
}

/// A tree with one value in place of each leaf; an array is one leaf.
pub(super) fn leaves(values: &Map<String, Value>, leaf: &Value) -> Map<String, Value> {
    let replaced = |value: &Value| match value {
        Value::Object(members) if !members.is_empty() => Value::Object(leaves(members, leaf)),
        _ => leaf.clone(),
    };
    let one = |(name, value): (&String, &Value)| {
        let value = if value.is_null() { Value::Null } else { replaced(value) };
        (name.clone(), value)
    };
    values.iter().map(one).collect()
}

/// What is desired and not reported: members that are absent or different there. Of objects that differ only what
/// differs is left.
pub fn difference(desired: &Map<String, Value>, reported: &Map<String, Value>) -> Map<String, Value> {
    let differing = |(name, wish): (&String, &Value)| {
        let rest = match (wish, reported.get(name)) {
            (Value::Object(wish), Some(Value::Object(has))) => {
                let rest = difference(wish, has);
                (!rest.is_empty()).then_some(Value::Object(rest))
            }
            (wish, Some(has)) => (!is_equal(wish, has)).then(|| wish.clone()),
            (wish, None) => Some(wish.clone()),
        };
        rest.map(|rest| (name.clone(), rest))
    };
    desired.iter().filter_map(differing).collect()
}

/// What makes one tree another when it is merged into it; null takes a member away.
pub fn patch(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = |(name, value): (&String, &Value)| match (from.get(name), value) {
        (Some(Value::Object(from)), Value::Object(to)) => {
            let rest = patch(from, to);
            (!rest.is_empty()).then(|| (name.clone(), Value::Object(rest)))
        }
        (Some(known), value) if known == value => None,
        (_, value) => Some((name.clone(), value.clone())),
    };
    gone.chain(to.iter().filter_map(changed)).collect()
}

/// Whether two values are the same. Numbers are compared by what they are worth: a device whose language has one kind
/// of number reports 1 as 1.0, and has done what was wanted.
pub fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || is_worth(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_same = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| is_equal(value, other))
            };
            one.len() == other.len() && one.iter().all(has_same)
        }
        _ => one == other,
    }
}

/// An integer and a number with a fraction; two integers are compared exactly.
fn is_worth(one: &Number, other: &Number) -> bool {
    (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

/// Of a tree that mirrors the whole, the part that mirrors `part`.
pub(super) fn like(tree: &Map<String, Value>, part: &Map<String, Value>) -> Map<String, Value> {
    let alike = |(name, value): (&String, &Value)| {
        let found = match (tree.get(name)?, value) {
            (Value::Object(tree), Value::Object(part)) => Value::Object(like(tree, part)),
            (found, _) => found.clone(),
        };
        Some((name.clone(), found))
    };
    part.iter().filter_map(alike).collect()
}

/// The smallest of the numbers in a tree.
pub(super) fn earliest(tree: &Map<String, Value>) -> Option<i64> {
    let of = |value: &Value| match value {
        Value::Object(members) => earliest(members),
        leaf => leaf.as_i64(),
    };
    tree.values().filter_map(of).min()
}

/// A patch that takes away what is not beyond a moment.
pub(super) fn until(tree: &Map<String, Value>, now_ms: i64) -> Map<String, Value> {
    let ended = |(name, value): (&String, &Value)| match value {
        Value::Object(members) => {
            let rest = until(members, now_ms);
            (!rest.is_empty()).then(|| (name.clone(), Value::Object(rest)))
        }
        leaf => leaf.as_i64().is_some_and(|at| at <= now_ms).then(|| (name.clone(), Value::Null)),
    };
    tree.iter().filter_map(ended).collect()
}

/// Bytes of the JSON of an object; nothing if it is empty.
pub(super) fn size(values: &Map<String, Value>) -> usize {
    if values.is_empty() { 0 } else { serde_json::to_string(values).map_or(usize::MAX, |text| text.len()) }
}

/// The deepest nesting of members: 1 for an object of plain values. An array is a level too.
pub(super) fn levels(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The name of the first member that has a null in an array.
pub(super) fn null_in_array(values: &Map<String, Value>) -> Option<&str> {
    let has_null = |items: &[Value]| items.iter().any(contains_null);
    values.iter().find_map(|(name, value)| match value {
        Value::Object(members) => null_in_array(members),
        Value::Array(items) => has_null(items).then_some(name.as_str()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn contains_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(contains_null),
        Value::Object(members) => members.values().any(contains_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
