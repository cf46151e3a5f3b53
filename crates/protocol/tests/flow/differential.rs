//! What the hub does with values, as the same lines that the boards of the tests write.

use motehub_domain::flow::run::{Act, Runner};
use motehub_domain::flow::wire_name;
use motehub_domain::time::Time;
use serde_json::{Value, json};

use super::flow_id;
use super::graphs::Case;

/// What came of a case, group by group: of each value, and of the time before it. Of numbers, twelve digits.
pub(super) type Came = Vec<Vec<Value>>;

pub(super) fn expected(case: &Case) -> Came {
    let mut runner = Runner::new(case.graph.clone(), case.here.clone(), Time(0));
    let mut came = Vec::new();
    for (at, from, value) in &case.values {
        let mut before = Vec::new();
        while let Some(due) = runner.due().filter(|due| *due <= Time(*at)) {
            before.extend(runner.tick(due).into_iter().filter_map(|act| line(case, act)));
        }
        came.push(before);
        let acts = runner.take(from, value.clone(), Time(*at)).into_iter();
        came.push(acts.filter_map(|act| line(case, act)).collect());
    }
    came
}

fn line(case: &Case, act: Act) -> Option<Value> {
    let name = |step| wire_name(flow_id(1), step);
    let is_seen = |step| case.graph.targets(step).any(|target| !case.here.contains(target));
    match act {
        Act::Emitted(step, _) if !is_seen(&step) => None,
        Act::Emitted(step, value) => Some(json!([name(&step), rounded(&value)])),
        // That others elsewhere have something to do is seen from what was emitted.
        Act::Do(..) => None,
        Act::Failed(step, _) => Some(json!([name(&step)])),
    }
}

/// The same value however its numbers were written.
pub(super) fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(format!("{:.11e}", number.as_f64().unwrap_or(f64::NAN) + 0.0)),
        Value::Array(list) => list.iter().map(rounded).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), rounded(value))).collect()
        }
        other => other.clone(),
    }
}

/// Compares what came on a board. `later`: what is sent there is sent when the steps are done.
pub(super) fn compare(case: &Case, seed: u64, program: &str, came: &Came, later: bool) {
    let mut expected = expected(case);
    let in_order = |came: &mut Vec<Value>| came.sort_by_key(|line| later && line.get(1).is_some());
    expected.iter_mut().for_each(in_order);
    for (at, (expected, came)) in expected.iter().zip(came).enumerate() {
        let mut came: Vec<Value> = came
            .iter()
            .map(|line| line.as_array().map_or(Value::Null, |parts| parts.iter().map(rounded).collect()))
            .collect();
        in_order(&mut came);
        assert_eq!(expected, &came, "seed {seed}, value {:?}\n{program}", case.values.get(at / 2));
    }
    assert_eq!(expected.len(), came.len(), "seed {seed}");
}
