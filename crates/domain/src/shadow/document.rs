//! A shadow as it is written: the documents of AWS, which are also those of our API and of the native protocol.

use serde_json::{Map, Value, json};

use super::update::{Part, Patch};
use super::{Delta, Refusal, Section, Shadow, Update, tree};
use crate::time::Time;

/// The whole: state with delta, metadata, version, time.
pub fn document(shadow: &Shadow, token: Option<&str>, now: Time) -> Value {
    let (mut state, mut metadata) = body(shadow);
    if let Some(delta) = shadow.delta() {
        metadata.insert("delta".to_owned(), times(&delta.times));
        state.insert("delta".to_owned(), Value::Object(delta.state));
    }
    answered(json!({ "state": state, "metadata": metadata, "version": shadow.version }), token, now)
}

/// The answer to an update: what of it was taken.
pub fn accepted(shadow: &Shadow, update: &Update, now: Time) -> Value {
    let (mut state, mut metadata) = (Map::new(), Map::new());
    let (state, metadata) = match &update.state {
        Patch::Clear => (Value::Null, timestamp(now)),
        Patch::Parts { desired, reported } => {
            for (name, part) in [("desired", desired), ("reported", reported)] {
                let stamps = match part {
                    Part::Untouched => continue,
                    Part::Removed => timestamp(now),
                    Part::Merged(patch) => times(&tree::stamps(patch, now)),
                };
                state.extend(part.value().map(|value| (name.to_owned(), value)));
                metadata.insert(name.to_owned(), stamps);
            }
            (Value::Object(state), Value::Object(metadata))
        }
    };
    let answer = json!({ "state": state, "metadata": metadata, "version": shadow.version });
    answered(answer, update.token.as_deref(), now)
}

/// What a shadow was before an update, and what it is now.
pub(super) fn documents(before: &Shadow, after: &Shadow, token: Option<&str>, now: Time) -> Value {
    let one = |shadow: &Shadow| {
        let (state, metadata) = body(shadow);
        json!({ "state": state, "metadata": metadata, "version": shadow.version })
    };
    answered(json!({ "previous": one(before), "current": one(after) }), token, now)
}

/// What a device is told.
pub fn delta_document(delta: &Delta) -> Value {
    json!({
        "state": delta.state,
        "metadata": times(&delta.times),
        "version": delta.version,
        "timestamp": seconds(delta.at),
    })
}

/// The answer to a deletion.
pub fn deleted(version: i64, token: Option<&str>, now: Time) -> Value {
    answered(json!({ "version": version }), token, now)
}

/// The answer to what is not done.
pub fn rejected(refusal: &Refusal, token: Option<&str>, now: Time) -> Value {
    answered(json!({ "code": refusal.code(), "message": refusal.to_string() }), token, now)
}

fn body(shadow: &Shadow) -> (Map<String, Value>, Map<String, Value>) {
    let (mut state, mut metadata) = (Map::new(), Map::new());
    for (name, Section { values, times: stamps }) in
        [("desired", &shadow.desired), ("reported", &shadow.reported)]
    {
        if !values.is_empty() {
            state.insert(name.to_owned(), Value::Object(values.clone()));
            metadata.insert(name.to_owned(), times(stamps));
        }
    }
    (state, metadata)
}

fn times(stamps: &Map<String, Value>) -> Value {
    stamps.iter().map(|(name, value)| (name.clone(), time(value))).collect()
}

fn time(value: &Value) -> Value {
    match value {
        Value::Object(members) => times(members),
        Value::Array(items) => items.iter().map(time).collect(),
        leaf => timestamp(Time(leaf.as_i64().unwrap_or_default())),
    }
}

fn timestamp(at: Time) -> Value {
    json!({ "timestamp": seconds(at) })
}

fn seconds(at: Time) -> i64 {
    at.0.div_euclid(1000)
}

fn answered(mut answer: Value, token: Option<&str>, now: Time) -> Value {
    answer["timestamp"] = seconds(now).into();
    if let Some(token) = token {
        answer["clientToken"] = token.into();
    }
    answer
}
