//! A flow as a JSON document, the same that [`super::graph`] reads. Fields that say nothing are left out.

use serde_json::{Map, Value, json};

use super::Graph;
use super::settings::{Operand, Rule};
use super::step::{Kind, Step, Wanted};
use crate::placement::Weights;

/// The members `steps`, `wires`, `boards`, `take_over` and `weights`.
pub fn document(graph: &Graph) -> Value {
    let steps: Vec<Value> = graph.steps.iter().map(step).collect();
    let wire = |wire: &super::Wire| json!({ "from": wire.from.as_str(), "to": wire.to.as_str() });
    let wires: Vec<Value> = graph.wires.iter().map(wire).collect();
    let mut document = json!({ "steps": steps, "wires": wires });
    if let Some(selector) = &graph.boards {
        document["boards"] = json!(selector);
    }
    if graph.take_over {
        document["take_over"] = json!(true);
    }
    let mut weights = graph.weights;
    if weights != Weights::default() {
        let named = weights.named_mut().into_iter().map(|(name, weight)| (name.to_owned(), json!(*weight)));
        document["weights"] = Value::Object(named.collect());
    }
    document
}

fn step(step: &Step) -> Value {
    let mut all = Map::new();
    let mut say = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    say("id", json!(step.id.as_str()));
    if !step.name.is_empty() {
        say("name", json!(step.name));
    }
    say("kind", json!(step.kind.as_str()));
    settings(&step.kind, &mut say);
    if !step.requires.is_empty() {
        say("requires", json!(step.requires));
    }
    if !step.prefers.is_empty() {
        say("prefers", json!(step.prefers));
    }
    match &step.runs_on {
        Some(Wanted::Hub) => say("runs_on", json!("hub")),
        Some(Wanted::Device(device)) => say("runs_on", json!(device)),
        None => {}
    }
    say("x", json!(step.at.0));
    say("y", json!(step.at.1));
    Value::Object(all)
}

fn settings(kind: &Kind, say: &mut dyn FnMut(&str, Value)) {
    match kind {
        Kind::Sensor { sensor, pin, every } => {
            say("sensor", json!(sensor.as_str()));
            say("pin", json!(pin));
            say("every_ms", json!(every.0));
        }
        Kind::Metric { device, metric } => {
            say("device", json!(device));
            say("metric", json!(metric.as_str()));
        }
        Kind::Topic { topic } => say("topic", json!(topic)),
        Kind::Timer { every, value } => {
            say("every_ms", json!(every.0));
            say("value", value.clone());
        }
        Kind::Compare(compare) => {
            part(&compare.property, say);
            say("rules", compare.rules.iter().map(rule).collect());
            if compare.passes {
                say("emits", json!("value"));
            }
        }
        Kind::And | Kind::Or | Kind::Not | Kind::Pass => {}
        Kind::Debounce(debounce) => say("quiet_ms", json!(debounce.quiet.0)),
        Kind::Average(average) => {
            part(&average.property, say);
            say("count", json!(average.count));
            if let Some(window) = average.window {
                say("window_ms", json!(window.0));
            }
        }
        Kind::Expression(expression) => say("expression", json!(expression.text())),
        Kind::Map { cases, otherwise } => {
            let case = |(when, then): &(Value, Value)| json!({ "when": when, "then": then });
            say("cases", cases.iter().map(case).collect());
            perhaps("otherwise", otherwise, say);
        }
        Kind::Code { language, source } => {
            say("language", json!(language.as_str()));
            say("source", json!(source));
        }
        Kind::Failure { tags } => say("tags", json!(tags)),
        Kind::Switch { device, path, value } => {
            say("device", json!(device));
            say("path", json!(path));
            perhaps("value", value, say);
        }
        Kind::Publish { topic, retain } => {
            say("topic", json!(topic));
            if *retain {
                say("retain", json!(true));
            }
        }
        Kind::Command { device, command, arguments } => {
            say("device", json!(device));
            say("command", json!(command));
            perhaps("arguments", arguments, say);
        }
        Kind::Webhook { url } => say("url", json!(url)),
    }
}

fn part(property: &[String], say: &mut dyn FnMut(&str, Value)) {
    if !property.is_empty() {
        say("property", json!(property.join(".")));
    }
}

fn perhaps(name: &str, value: &Option<Value>, say: &mut dyn FnMut(&str, Value)) {
    if let Some(value) = value {
        say(name, value.clone());
    }
}

fn rule(rule: &Rule) -> Value {
    let operator = rule.operator.as_str();
    match &rule.operand {
        Operand::None => json!({ "operator": operator }),
        Operand::One(value) => json!({ "operator": operator, "value": value }),
        Operand::Range(from, to) => json!({ "operator": operator, "value": from, "to": to }),
    }
}
