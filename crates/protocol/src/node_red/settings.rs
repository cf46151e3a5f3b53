//! What the settings of nodes are as settings of steps.

use motehub_domain::flow::VALUE_BYTES_MAX;
use serde_json::{Map, Value, json};

use super::node::{Node, number};
use super::step::Draft;

/// How often the fork's sensor measures if it does not say so.
const INTERVAL_MS: f64 = 1000.0;
/// The shortest and the longest time between two values of a step.
const EVERY_MS: (f64, f64) = (100.0, 86_400_000.0);

/// The fork's sensor of temperature and humidity, a DHT22 by its own code.
pub(super) fn sensor(node: &Node<'_>) -> Result<Draft, String> {
    let pin = node.number("pin").ok_or("its pin is no number")?;
    let mut draft = Draft::of(json!({ "kind": "sensor", "sensor": "dht22", "pin": exact(pin) }));
    if node.text("sensor").eq_ignore_ascii_case("dht11") {
        draft.settings.insert("sensor".into(), json!("dht11"));
    }
    every(&mut draft, node.number("interval").unwrap_or(INTERVAL_MS));
    if !node.truth("repeat") {
        draft.notes.push("it was to measure once; a sensor step measures again and again".into());
    }
    Ok(draft)
}

/// `if` of the fork, which emits whether its rules hold, and `switch`, which passes on what came if its rule holds.
pub(super) fn compare(node: &Node<'_>, emits: &str) -> Result<Draft, String> {
    let rules = node.member("rules").and_then(Value::as_array).ok_or("it has no rules")?;
    if emits == "value" && rules.len() != 1 {
        return Err(format!("a switch with {} rules: draw one with a single rule for each", rules.len()));
    }
    let rules = rules.iter().map(rule).collect::<Result<Vec<Value>, String>>()?;
    let mut draft = Draft::of(json!({ "kind": "compare", "rules": rules, "emits": emits }));
    let property = property(node)?;
    if !property.is_empty() {
        draft.settings.insert("property".into(), json!(property));
    }
    Ok(draft)
}

/// `and` of the fork.
pub(super) fn and(node: &Node<'_>) -> Draft {
    let mut draft = Draft::of(json!({ "kind": "and" }));
    if property(node).is_ok_and(|property| !property.is_empty()) {
        draft.notes.push("it takes whole values, not a part of them".into());
    }
    draft
}

/// `mqtt in`.
pub(super) fn topic(node: &Node<'_>) -> Result<Draft, String> {
    match node.text("topic") {
        "" => Err("it has no topic of its own".into()),
        topic if topic.contains(['+', '#']) => {
            Err(format!("a step takes one topic, without + and #, not {topic}"))
        }
        topic => Ok(Draft::of(json!({ "kind": "topic", "topic": topic }))),
    }
}

/// `mqtt out`.
pub(super) fn publish(node: &Node<'_>) -> Result<Draft, String> {
    match node.text("topic") {
        "" => Err("its topic comes with each message; a step publishes to one topic".into()),
        topic => {
            let mut draft = Draft::of(json!({ "kind": "publish", "topic": topic }));
            if node.truth("retain") {
                draft.settings.insert("retain".into(), json!(true));
            }
            Ok(draft)
        }
    }
}

/// `inject` that repeats.
pub(super) fn timer(node: &Node<'_>) -> Result<Draft, String> {
    if !node.text("crontab").is_empty() {
        return Err("a timer step has no times of day".into());
    }
    let seconds = node.number("repeat").filter(|seconds| *seconds > 0.0);
    let seconds = seconds.ok_or("it sends when a person presses it; a timer step repeats")?;
    let mut draft = Draft::of(json!({ "kind": "timer" }));
    every(&mut draft, seconds * 1000.0);
    // Later versions have the payload as one of several properties.
    let properties = node.member("props").and_then(Value::as_array);
    let payload = properties.and_then(|all| all.iter().find(|one| one["p"] == "payload"));
    let of =
        |own: &str, newer: &str| node.member(own).or_else(|| payload?.get(newer)).unwrap_or(&Value::Null);
    let text = of("payload", "v");
    let (value, note) = match of("payloadType", "vt").as_str().unwrap_or("date") {
        "str" => (text.clone(), None),
        "num" => (number(text).map_or(json!(0), exact), None),
        "bool" => (json!(text == "true" || *text == true), None),
        "json" => {
            let value = text.as_str().and_then(|text| serde_json::from_str(text).ok());
            (value.ok_or("its payload is no JSON")?, None)
        }
        other => (json!(true), Some(format!("its payload is of the type {other}; the step sends true"))),
    };
    if value.to_string().len() > VALUE_BYTES_MAX {
        return Err(format!("its payload has more than {VALUE_BYTES_MAX} bytes"));
    }
    draft.settings.insert("value".into(), value);
    draft.notes.extend(note);
    Ok(draft)
}

/// The steps of `node-red-contrib-motehub`, which keep the settings as a document has them.
pub(super) fn own(node: &Node<'_>) -> Result<Draft, String> {
    let mut settings = match node.member("settings") {
        None | Some(Value::Null) => Map::new(),
        Some(value) => value.as_object().cloned().ok_or("settings: an object is expected")?,
    };
    settings.insert("kind".into(), json!(node.text("kind")));
    Ok(Draft { settings, notes: Vec::new() })
}

/// The topic between a flow and Node-RED.
pub(super) fn bridge(node: &Node<'_>) -> String {
    match node.text("topic").trim() {
        "" => format!("node-red/{}", node.id),
        topic => topic.to_owned(),
    }
}

/// The part of a value that a property of a message is: `payload.temperature` is `temperature`.
fn property(node: &Node<'_>) -> Result<String, String> {
    let property = match node.text("property").trim() {
        "" => "payload",
        property => property.strip_prefix("msg.").unwrap_or(property),
    };
    let is_of_message = matches!(node.text("propertyType"), "" | "msg");
    let part = property.strip_prefix("payload").filter(|_| is_of_message);
    match part.map(|part| part.strip_prefix('.').unwrap_or(part)) {
        Some(part) if !part.contains(['[', ']', '"', '\'']) => Ok(part.to_owned()),
        _ => Err(format!(
            "a step looks at a part of its value, such as payload.temperature, not at {property}"
        )),
    }
}

fn rule(rule: &Value) -> Result<Value, String> {
    let operator = match rule["t"].as_str().unwrap_or_default() {
        "btwn" => "between",
        "nnull" => "not_null",
        same @ ("eq" | "neq" | "lt" | "lte" | "gt" | "gte" | "true" | "false" | "null") => same,
        other => return Err(format!("a step has no rule {other:?}")),
    };
    let mut made = Map::from_iter([("operator".to_owned(), json!(operator))]);
    if !matches!(operator, "true" | "false" | "null" | "not_null") {
        made.insert("value".into(), operand(&rule["v"], &rule["vt"])?);
    }
    if operator == "between" {
        made.insert("to".into(), operand(&rule["v2"], &rule["v2t"])?);
    }
    Ok(Value::Object(made))
}

/// A text that is a number is compared as one: so does the fork, and so does JavaScript.
fn operand(value: &Value, kind: &Value) -> Result<Value, String> {
    match kind.as_str().unwrap_or("str") {
        "num" => number(value).map(exact).ok_or_else(|| format!("{value} is no number")),
        "str" => Ok(number(value).map_or_else(|| value.clone(), exact)),
        other => {
            Err(format!("a rule compares with a number or a text, not with a value of the type {other}"))
        }
    }
}

fn every(draft: &mut Draft, wanted_ms: f64) {
    let every_ms = wanted_ms.clamp(EVERY_MS.0, EVERY_MS.1);
    if every_ms != wanted_ms {
        draft.notes.push(format!("every {wanted_ms} ms is not possible; it is every {every_ms} ms"));
    }
    draft.settings.insert("every_ms".into(), json!(every_ms.round() as i64));
}

/// Whole numbers without a fraction.
fn exact(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => json!(number as i64),
        false => json!(number),
    }
}
