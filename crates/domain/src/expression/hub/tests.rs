//! What rules may say beyond flows, what is refused, and that nothing runs for ever.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::expression::same;

struct World {
    value: Value,
    names: BTreeMap<&'static str, Value>,
    metrics: BTreeMap<String, Value>,
}

impl Scope for World {
    fn value(&self) -> &Value {
        &self.value
    }
    fn name(&self, name: Name) -> &Value {
        let name = match name {
            Name::Previous => "previous",
            Name::Device => "device",
            Name::Reported => "reported",
            Name::Desired => "desired",
            Name::Event => "event",
            Name::Now => "now",
        };
        self.names.get(name).unwrap_or(&Value::Null)
    }
    fn metric(&self, name: &str) -> Option<&Value> {
        self.metrics.get(name)
    }
}

fn world() -> World {
    World {
        value: json!(21.5),
        names: BTreeMap::from([
            ("previous", json!(20)),
            ("device", json!({ "name": "Lamp", "tags": ["kitchen", "floor:1"] })),
            ("reported", json!({ "lamp": { "on": true } })),
            ("event", json!({ "name": "button", "data": { "presses": 2 } })),
            // Monday 2026-11-30, 04:50:07 UTC
            ("now", json!(1_796_014_207_000_i64)),
        ]),
        metrics: BTreeMap::from([("free ram".into(), json!(900)), ("numbers".into(), numbers())]),
    }
}

fn numbers() -> Value {
    (0..200).map(Value::from).collect()
}

fn worth(text: &str) -> Result<Value, String> {
    Expression::parse_hub(text).map_err(|wrong| wrong.to_string())?.on(&world())
}

#[test]
fn rules_say_what_flows_cannot() {
    let cases = [
        ("value > previous + 1", json!(true)),
        ("'kitchen' in device.tags", json!(true)),
        ("'lamp' in reported && !('fan' in reported)", json!(true)),
        ("has(metrics.co2) ? metrics.co2 : metrics['free ram']", json!(900)),
        ("device.tags.exists(tag, tag.startsWith('floor:'))", json!(true)),
        ("device.tags.all(tag, tag.contains('o'))", json!(false)),
        ("device.tags.exists_one(tag, tag.endsWith('1'))", json!(true)),
        ("device.tags.map(tag, tag.size())", json!([7, 7])),
        ("[1, 2, 3].filter(n, n > 1).map(n, n * 10)", json!([20, 30])),
        ("[1, 2].map(a, [3, 4].map(b, a * b))", json!([[3, 4], [6, 8]])),
        ("[[1], [2]].map(value, value[0])", json!([1, 2])),
        ("desired == null", json!(true)),
        ("event.data.presses == 2", json!(true)),
        ("now.getHours()", json!(4)),
        ("now.getHours('-05:00')", json!(23)),
        ("now.getDayOfWeek('-05:00')", json!(0)),
        ("now.getMinutes('+05:30')", json!(20)),
        ("{'a': 1}.map(name, name)", json!(["a"])),
    ];
    for (text, expected) in cases {
        let worth = worth(text);
        assert!(worth.as_ref().is_ok_and(|worth| same(worth, &expected)), "{text}: {worth:?}");
    }
}

#[test]
fn mistakes_are_shown_in_their_place() {
    let cases = [
        ("value > ", None, "expression"),
        ("valu > 1", Some(1), "there are value, previous, device, metrics"),
        ("1 + metrics", Some(5), "metrics.temperature"),
        ("value.foo(1)", None, "contains, startsWith"),
        ("now.getHours('Berlin')", None, "'+01:00'"),
        ("[1].map(x, y)", Some(12), "there is no y"),
        ("[1].map(x, x) + x", Some(17), "there is no x"),
        ("b'x'", Some(1), "part of CEL is not for rules"),
    ];
    for (text, position, expected) in cases {
        let wrong = Expression::parse_hub(text).expect_err(text);
        assert!(wrong.sentence.contains(expected), "{text}: {wrong}");
        if position.is_some() {
            assert_eq!(wrong.position, position, "{text}: {wrong}");
        }
    }
    for (text, expected) in
        [("device.x", "there is no x"), ("metrics.co2 > 1", "the metric co2 yet"), ("1 in 2", "in a")]
    {
        let why = worth(text).expect_err(text);
        assert!(why.contains(expected), "{text}: {why}");
    }
}

#[test]
fn what_would_run_for_ever_is_stopped() {
    let ten = "[0,1,2,3,4,5,6,7,8,9]";
    let mut hostile = vec![
        format!("{ten}.all(a, {ten}.all(b, {ten}.all(c, {ten}.all(d, a+b+c+d >= 0))))"),
        format!("{ten}.map(a, {ten}.map(b, {ten}.map(c, {ten}.map(d, [a, b, c, d]))))"),
        "metrics.numbers.map(a, metrics.numbers.map(b, metrics.numbers))".to_owned(),
        "metrics.numbers.all(a, metrics.numbers == metrics.numbers)".to_owned(),
        "metrics.numbers.filter(a, metrics.numbers.exists(b, b in metrics.numbers))".to_owned(),
        "metrics.numbers.map(a, [metrics.numbers, metrics.numbers]).size() > 0".to_owned(),
    ];
    for depth in 2..46 {
        let inner =
            (0..depth).fold("true".to_owned(), |inner, n| format!("metrics.numbers.all(v{n}, {inner})"));
        hostile.push(inner);
    }
    assert_eq!(hostile.len(), 50);
    for text in hostile {
        // What is nested too deeply is refused when it is read.
        let Ok(expression) = Expression::parse_hub(&text) else { continue };
        let mut run = run::Run { scope: &world(), steps: 0, variables: Vec::new() };
        let worth = crate::expression::evaluate::node(expression.root(), &mut run);
        assert!(worth.as_ref().is_err_and(|why| why.contains("too much work")), "{text}: {worth:?}");
        assert!(run.steps < STEPS_MAX + 1_000, "{text}: {} steps", run.steps);
    }
}
