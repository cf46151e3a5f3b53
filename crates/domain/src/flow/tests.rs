//! Flows are read, checked, run on the hub and written again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::run::{Act, Runner};
use super::{Graph, StepId, document, graph};
use crate::time::Time;

fn id(text: &str) -> StepId {
    StepId::parse(text).expect("an id")
}

fn read(document: &Value) -> Graph {
    graph(document).unwrap_or_else(|rejection| panic!("{rejection}"))
}

fn chain(kinds: &[Value]) -> Graph {
    let mut steps = vec![json!({"id": "in", "kind": "timer", "every_ms": 1000, "value": 1})];
    let mut wires = Vec::new();
    let mut last = "in".to_owned();
    for (at, kind) in kinds.iter().enumerate() {
        let mut step = kind.clone();
        step["id"] = json!(format!("s{at}"));
        wires.push(json!({"from": last, "to": step["id"]}));
        last = format!("s{at}");
        steps.push(step);
    }
    read(&json!({"steps": steps, "wires": wires}))
}

fn all(graph: &Graph) -> BTreeSet<StepId> {
    graph.steps.iter().map(|step| step.id.clone()).collect()
}

/// What the last step emits for each value that comes into the first.
fn emitted(kind: Value, values: &[Value]) -> Vec<Value> {
    let graph = chain(&[kind]);
    let mut runner = Runner::new(graph.clone(), all(&graph), Time(0));
    let acts = values
        .iter()
        .enumerate()
        .flat_map(|(at, value)| runner.emit(&id("in"), value.clone(), Time(at as i64 * 1000)));
    acts.filter_map(|act| match act {
        Act::Emitted(from, value) if from == id("s0") => Some(value),
        Act::Failed(_, why) => Some(json!({ "failed": why })),
        _ => None,
    })
    .collect()
}

#[test]
fn steps_do_what_they_are_for() {
    let celsius = |t: f64| json!({"temperature": t});
    let warm =
        json!({"kind": "compare", "property": "temperature", "rules": [{"operator": "gt", "value": 20}]});
    assert_eq!(emitted(warm, &[celsius(19.0), celsius(20.5), json!({})])[..2], [json!(false), json!(true)]);
    let passes =
        json!({"kind": "compare", "emits": "value", "rules": [{"operator": "between", "value": 9, "to": 1}]});
    assert_eq!(emitted(passes, &[json!(1), json!(10), json!(9)]), [json!(1), json!(9)]);
    assert_eq!(
        emitted(json!({"kind": "not"}), &[json!(true), json!("True"), json!(0)]),
        [json!(false), json!(false), json!(true)]
    );
    let average = json!({"kind": "average", "count": 2});
    assert_eq!(emitted(average, &[json!(1), json!(2), json!(4)]), [json!(1), json!(1.5), json!(3)]);
    let window = json!({"kind": "average", "count": 9, "window_ms": 1500});
    assert_eq!(emitted(window, &[json!(1), json!(2), json!(4)]), [json!(1), json!(1.5), json!(3)]);
    let map = json!({"kind": "map", "cases": [{"when": true, "then": "on"}], "otherwise": "off"});
    assert_eq!(emitted(map, &[json!(true), json!(1)]), [json!("on"), json!("off")]);
    let twice = json!({"kind": "expression", "expression": "value * 2"});
    let values = emitted(twice, &[json!(21), json!("x")]);
    assert_eq!(values[0], json!(42));
    assert!(values[1]["failed"].as_str().is_some_and(|why| why.contains("numbers")), "{values:?}");
}

#[test]
fn and_waits_for_every_wire_and_then_answers_each_value() {
    let graph = read(&json!({
        "steps": [
            {"id": "a", "kind": "timer", "every_ms": 1000}, {"id": "b", "kind": "timer", "every_ms": 1000},
            {"id": "both", "kind": "and"}, {"id": "any", "kind": "or"},
        ],
        "wires": [
            {"from": "a", "to": "both"}, {"from": "b", "to": "both"}, {"from": "a", "to": "any"},
            {"from": "b", "to": "any"},
        ],
    }));
    let here = BTreeSet::from([id("both"), id("any")]);
    let mut runner = Runner::new(graph, here, Time(0));
    let mut said = |from: &str, value: bool| -> Vec<(String, bool)> {
        let acts = runner.take(&id(from), json!(value), Time(0));
        acts.into_iter()
            .map(|act| match act {
                Act::Emitted(from, value) => (from.to_string(), value == json!(true)),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let pair = |one: bool, other: bool| vec![("both".to_owned(), one), ("any".to_owned(), other)];
    assert_eq!(said("a", true), [("any".to_owned(), true)]);
    assert_eq!(said("b", false), pair(false, true));
    assert_eq!(said("b", true), pair(true, true));
    assert_eq!(said("a", false), pair(false, true));
}

#[test]
fn timers_and_debounce_keep_to_the_clock() {
    let graph =
        chain(&[json!({"kind": "debounce", "quiet_ms": 1500}), json!({"kind": "publish", "topic": "t"})]);
    let mut runner = Runner::new(graph.clone(), all(&graph), Time(0));
    assert_eq!(runner.due(), Some(Time(1000)));
    assert_eq!(runner.tick(Time(999)), []);
    assert_eq!(runner.tick(Time(1000)), [Act::Emitted(id("in"), json!(1))]);
    assert_eq!(runner.due(), Some(Time(2000)));
    assert_eq!(runner.tick(Time(2000)).len(), 1, "the value that waited has made way for a new one");
    let rest = BTreeSet::from([id("s0"), id("s1")]);
    runner.place(rest, Time(2100));
    assert_eq!(runner.due(), Some(Time(3500)), "what stays keeps what it knew");
    assert_eq!(runner.tick(Time(9000)), [Act::Emitted(id("s0"), json!(1)), Act::Do(id("s1"), json!(1))]);
    assert_eq!(runner.due(), None);
}

#[test]
fn a_value_that_doubles_is_stopped() {
    let mut steps = vec![json!({"id": "n0", "kind": "timer", "every_ms": 1000})];
    let mut wires = Vec::new();
    for at in 0..40 {
        for side in ["l", "r"] {
            steps.push(json!({"id": format!("{side}{at}"), "kind": "pass"}));
            wires.push(json!({"from": format!("n{at}"), "to": format!("{side}{at}")}));
            wires.push(json!({"from": format!("{side}{at}"), "to": format!("n{}", at + 1)}));
        }
        steps.push(json!({"id": format!("n{}", at + 1), "kind": "pass"}));
    }
    let graph = read(&json!({"steps": steps, "wires": wires}));
    let acts = Runner::new(graph.clone(), all(&graph), Time(0)).emit(&id("n0"), json!(1), Time(0));
    assert!(
        matches!(acts.last(), Some(Act::Failed(_, why)) if why.contains("more than")),
        "{:?}",
        acts.len()
    );
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let seed = json!({
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 5000, "requires": ["temperature"],
             "x": 10, "y": -3},
            {"id": "warm", "name": "Warm?", "kind": "compare", "property": "temperature",
             "rules": [{"operator": "between", "value": 20.5, "to": 30}], "prefers": ["micropython"], "x": 0, "y": 0},
            {"id": "each", "kind": "map", "cases": [{"when": null, "then": 1}], "otherwise": null, "x": 0, "y": 0},
            {"id": "lamp", "kind": "switch", "device": "lamp", "path": "light.on", "runs_on": "hub", "x": 0, "y": 0},
        ],
        "wires": [{"from": "th", "to": "warm"}, {"from": "warm", "to": "each"}, {"from": "each", "to": "lamp"}],
        "boards": "tag=kitchen",
        "weights": {"priorities": 0.5, "load": 0.4, "specificity": 0.1, "neighbourhood": 0.0, "stickiness": 0.5},
    });
    let once = read(&seed);
    assert_eq!(read(&document(&once)), once);
    let written = document(&once);
    assert_eq!(written["steps"][1]["rules"], json!([{"operator": "between", "value": 20.5, "to": 30.0}]));
    assert_eq!(written["steps"][2]["otherwise"], Value::Null);
}

#[test]
fn mistakes_name_the_step_and_the_field() {
    let step = |extra: Value| {
        let mut step = json!({"id": "a", "kind": "timer", "every_ms": 1000});
        for (name, value) in extra.as_object().expect("an object") {
            step[name] = value.clone();
        }
        json!({"steps": [step]})
    };
    let two = |wires: Value| {
        json!({"steps": [{"id": "a", "kind": "timer", "every_ms": 1000}, {"id": "b", "kind": "pass"},
            {"id": "c", "kind": "pass"}], "wires": wires})
    };
    let many: Vec<Value> =
        (0..10_000).map(|at| json!({"id": format!("s{at}"), "kind": "timer", "every_ms": 1000})).collect();
    let cases = [
        (json!([]), "document: an object"),
        (json!({"steps": []}), "at least one step"),
        (json!({"steps": many}), "at most 200 steps, this one 10000"),
        (step(json!({"id": "a b"})), "steps[0].id: 1 to 32 letters"),
        (
            step(json!({"kind": "teleport"})),
            "steps.a.kind: there is no kind \"teleport\"; the kinds are sensor",
        ),
        (step(json!({"every_ms": 1})), "steps.a.every_ms: a whole number from 100"),
        (step(json!({"every_ms": null})), "steps.a.every_ms: is missing"),
        (step(json!({"colour": 1})), "steps.a.colour: there is no such field"),
        (step(json!({"requires": "x"})), "steps.a.requires: a list"),
        (step(json!({"kind": "sensor", "sensor": "nose"})), "steps.a.sensor: one of dht11"),
        (step(json!({"kind": "webhook", "url": "file:///etc"})), "steps.a.url: an address"),
        (
            step(json!({"kind": "expression", "expression": "value +"})),
            "steps.a.expression: it is no expression",
        ),
        (
            step(json!({"kind": "failure", "tags": ["x"], "runs_on": "hub"})),
            "steps.a.runs_on: a step of the kind",
        ),
        (two(json!([{"from": "a", "to": "b"}])), "steps.c: no wire leads to it"),
        (two(json!([{"from": "a", "to": "x"}])), "wires[0].to: there is no step x"),
        (two(json!([{"from": "b", "to": "a"}])), "wires[0].to: a is of the kind timer, which takes nothing"),
        (two(json!([{"from": "b", "to": "c"}, {"from": "c", "to": "b"}])), "the steps b, c lead in a circle"),
        (
            two(json!([{"from": "a", "to": "b"}, {"from": "a", "to": "b"}])),
            "there is a wire from a to b already",
        ),
        (json!({"steps": [], "boards": "tag="}), "boards: "),
        (json!({"steps": [], "weights": {"load": -1}}), "weights.load: a number from 0 to 10"),
    ];
    for (document, expected) in cases {
        let rejection = graph(&document).expect_err(expected);
        assert!(rejection.sentence.contains(expected), "{expected:?} in {rejection}");
    }
}
