//! Random flows of pure steps, and values that come to them.

use std::collections::BTreeSet;

use motehub_domain::expression::Expression;
use motehub_domain::flow::{Graph, StepId};
use serde_json::{Value, json};

use super::{id, read};

/// Numbers that look random and are the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    /// From 0 to below a number.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }
    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// One flow, which of its steps run here, and what comes: when in milliseconds, from which step, and what.
pub(super) struct Case {
    pub(super) graph: Graph,
    pub(super) here: BTreeSet<StepId>,
    pub(super) values: Vec<(i64, StepId, Value)>,
}

const INPUTS: usize = 3;

pub(super) fn case(seed: u64) -> Case {
    let mut dice = Dice(seed);
    let mut steps: Vec<Value> =
        (0..INPUTS).map(|at| json!({"id": format!("in{at}"), "kind": "timer", "every_ms": 1000})).collect();
    let mut wires = Vec::new();
    let mut here = BTreeSet::new();
    let mut names: Vec<String> = (0..INPUTS).map(|at| format!("in{at}")).collect();
    for at in 0..1 + dice.below(9) {
        let name = format!("s{at}");
        let mut step = step(&mut dice, at);
        step["id"] = json!(name);
        let froms: BTreeSet<String> = (0..1 + dice.below(3)).map(|_| dice.one(&names).clone()).collect();
        wires.extend(froms.iter().map(|from| json!({"from": from, "to": name})));
        steps.push(step);
        names.push(name.clone());
        here.insert(id(&name));
        // What it emits is seen elsewhere.
        steps.push(json!({"id": format!("{name}_out"), "kind": "publish", "topic": "t"}));
        wires.push(json!({"from": name, "to": format!("{name}_out")}));
    }
    for at in 0..INPUTS {
        // An input that no step takes is not heard; it may as well go nowhere.
        steps.push(json!({"id": format!("in{at}_out"), "kind": "publish", "topic": "t"}));
        wires.push(json!({"from": format!("in{at}"), "to": format!("in{at}_out")}));
    }
    let values =
        (1..30).map(|at| (at * 500, id(&format!("in{}", dice.below(INPUTS))), value(&mut dice, 2))).collect();
    Case { graph: read(&json!({"steps": steps, "wires": wires})), here, values }
}

/// One value becomes two, and each of them two, twelve times.
pub(super) fn doubling() -> Case {
    let mut steps = vec![json!({"id": "n0", "kind": "timer", "every_ms": 1000})];
    let mut wires = Vec::new();
    for at in 0..12 {
        for side in ["l", "r"] {
            steps.push(json!({"id": format!("{side}{at}"), "kind": "pass"}));
            wires.push(json!({"from": format!("n{at}"), "to": format!("{side}{at}")}));
            wires.push(json!({"from": format!("{side}{at}"), "to": format!("n{}", at + 1)}));
        }
        steps.push(json!({"id": format!("n{}", at + 1), "kind": "pass"}));
    }
    let here = steps[1..].iter().filter_map(|step| step["id"].as_str().map(id)).collect();
    for from in ["n0", "n4", "n12"] {
        steps.push(json!({"id": format!("{from}_out"), "kind": "publish", "topic": "t"}));
        wires.push(json!({"from": from, "to": format!("{from}_out")}));
    }
    let graph = read(&json!({"steps": steps, "wires": wires}));
    Case { graph, here, values: vec![(500, id("n0"), json!(7))] }
}

fn number(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => json!(0),
        1 => json!(dice.below(2000) as f64 / 8.0 - 100.0),
        2 => json!(dice.below(100) as f64 / 16.0),
        3 => json!(1e9 + dice.below(1000) as f64),
        _ => json!(dice.below(40) as i64 - 10),
    }
}

fn value(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 9 } else { 12 }) {
        0 => json!(true),
        1 => json!(false),
        2 => Value::Null,
        3 => json!(*dice.one(&["true", "True", "on", "kitchen", "ä\n\"x\\", "12", " 7.5 ", "x1", "z"])),
        4 if depth == 2 && dice.below(4) == 0 => json!("x".repeat(1000 + dice.below(60))),
        4..9 => number(dice),
        9 => Value::Array((0..1 + dice.below(3)).map(|_| value(dice, depth - 1)).collect()),
        _ => {
            let names = ["t", "u", "on"];
            // Only one in those that may become a text: nobody says in which order they are.
            let count = if depth == 2 { 1 + dice.below(3) } else { 1 };
            let members = names.iter().take(count).map(|name| ((*name).to_owned(), value(dice, depth - 1)));
            Value::Object(members.collect())
        }
    }
}

fn step(dice: &mut Dice, at: usize) -> Value {
    let property = *dice.one(&["", "t", "u", "t.u", "on"]);
    match dice.below(12) {
        0..3 => {
            let rules: Vec<Value> = (0..1 + dice.below(3)).map(|_| rule(dice)).collect();
            let emits = *dice.one(&["result", "value"]);
            json!({"kind": "compare", "property": property, "rules": rules, "emits": emits})
        }
        3 => json!({"kind": "and"}),
        4 => json!({"kind": "or"}),
        5 => json!({"kind": "not"}),
        6 => json!({"kind": "debounce", "quiet_ms": 300 + 137 * at}),
        7 => json!({"kind": "average", "property": property, "count": 1 + dice.below(5)}),
        8 => {
            let window = 700 + 1000 * dice.below(4);
            json!({"kind": "average", "property": property, "count": 1 + dice.below(9), "window_ms": window})
        }
        9 => {
            let cases: Vec<Value> = (0..1 + dice.below(3))
                .map(|_| json!({"when": value(dice, 1), "then": value(dice, 1)}))
                .collect();
            let mut map = json!({"kind": "map", "cases": cases});
            if dice.below(2) == 0 {
                map["otherwise"] = value(dice, 1);
            }
            map
        }
        10 => json!({"kind": "pass"}),
        _ => loop {
            let text = expression(dice, 4);
            if Expression::parse(&text).is_ok() {
                return json!({"kind": "expression", "expression": text});
            }
        },
    }
}

fn rule(dice: &mut Dice) -> Value {
    let operator =
        *dice.one(&["lt", "lte", "gt", "gte", "eq", "neq", "between", "true", "false", "null", "not_null"]);
    let ordered = if dice.below(5) == 0 { json!("kitchen") } else { number(dice) };
    match operator {
        "between" => json!({"operator": operator, "value": number(dice), "to": number(dice)}),
        "eq" | "neq" => json!({"operator": operator, "value": value(dice, 0)}),
        _ => json!({"operator": operator, "value": ordered}),
    }
}

/// An expression of a random kind: much of it makes no sense, and has to fail in the same way everywhere.
fn expression(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 || dice.below(6) == 0 {
        let leaves = [
            "value",
            "value.t",
            "value.u",
            "value.on",
            "1",
            "2.5",
            "0",
            "'kitchen'",
            "true",
            "null",
            "-3",
            "value[1]",
        ];
        return (*dice.one(&leaves)).to_owned();
    }
    let mut part = || expression(dice, depth - 1);
    let (one, other) = (part(), part());
    match dice.below(24) {
        0..3 => format!("({one} + {other})"),
        3 => format!("({one} - {other})"),
        4 => format!("({one} * {other})"),
        5 => format!("({one} / {other})"),
        6 => format!("({one} % {other})"),
        7..12 => format!("({one} {} {other})", dice.one(&["<", "<=", ">", ">=", "==", "!="])),
        12 => format!("({one} && {other})"),
        13 => format!("({one} || {other})"),
        14 => format!("!{one}"),
        15 => format!("({one} > 3 ? {other} : {one})"),
        16 => format!("{}({one})", dice.one(&["abs", "round", "floor", "ceil", "int", "double", "size"])),
        17 => {
            format!("string({})", dice.one(&["value.u", "value.t", "12", "21.0", "2.5", "true", "[1, null]"]))
        }
        18 => format!("{}({one}, {other})", dice.one(&["min", "max"])),
        19 => format!("[{one}, {other}][{}]", dice.one(&["0", "1", "2", "value", "-1", "0.5"])),
        20 => format!("{{'t': {one}, 'u': {other}}}"),
        21 => (*dice.one(&["has(value.t)", "has(value.t.u)", "(has(value.t) ? value.t : 0)"])).to_owned(),
        22 => format!("{{'t': {one}}}.t"),
        _ => format!("-{one}"),
    }
}
