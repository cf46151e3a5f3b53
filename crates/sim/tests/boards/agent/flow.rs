//! Generated code for steps of flows on a board with the agent.

use std::collections::BTreeSet;

use motehub_domain::flow::{self, StepId};
use motehub_domain::id::FlowId;
use motehub_protocol::flow::{Part, Shell, program};
use serde_json::{Value, json};

use super::Rig;
use crate::hub::Fault;

fn of_flow(document: &Value, here: &[&str]) -> String {
    let graph = flow::graph(document).unwrap();
    let here = here.iter().map(|id| StepId::parse(id).unwrap()).collect();
    let part = Part { flow: FlowId::from_parts(0, 1), graph: &graph, here };
    program(&[part], &BTreeSet::from(["weak".to_owned()]), Shell::Lua)
}

#[tokio::test]
async fn steps_of_a_flow_run_on_a_board() {
    let document = json!({
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 5000},
            {"id": "there", "kind": "compare", "property": "temperature", "rules": [{"operator": "not_null"}]},
            {"id": "door", "kind": "sensor", "sensor": "pin", "pin": 2, "every_ms": 5000},
            {"id": "light", "kind": "sensor", "sensor": "adc", "every_ms": 5000},
            {"id": "in", "kind": "timer", "every_ms": 1000},
            {"id": "calm", "kind": "debounce", "quiet_ms": 500},
            {"id": "twice", "kind": "code", "language": "lua",
             "source": "function step(value) return { twice = value.n * 2 } end"},
            {"id": "out", "kind": "publish", "topic": "t"},
        ],
        "wires": [
            {"from": "th", "to": "there"}, {"from": "there", "to": "out"}, {"from": "door", "to": "out"},
            {"from": "light", "to": "out"}, {"from": "in", "to": "calm"}, {"from": "calm", "to": "twice"},
            {"from": "twice", "to": "out"},
        ],
    });
    let mut rig =
        Rig::start(Some(&of_flow(&document, &["th", "there", "door", "light", "calm", "twice"]))).await;
    let value = |message: &str| serde_json::from_str::<Value>(message).unwrap()["v"].clone();
    assert_eq!(value(&rig.message("/flow-out", "/there\"").await), json!(true));
    assert!(value(&rig.message("/flow-out", "/door\"").await).is_boolean());
    assert!(value(&rig.message("/flow-out", "/light\"").await).is_number());
    let wire = format!("{}/in", FlowId::from_parts(0, 1));
    for (id, sent) in [json!({"n": 1}), json!("no table"), json!({"n": 4})].into_iter().enumerate() {
        rig.say("flow-in", &json!({"w": wire, "i": id, "v": sent}).to_string());
    }
    assert_eq!(value(&rig.message("/flow-out", "/twice\"").await), json!({"twice": 8}), "the last one");
    rig.forget();
    rig.say("flow-in", &json!({"w": wire, "i": 3, "v": "no table"}).to_string());
    rig.message("/log", "/twice: ").await;
    rig.say("flow-in", &json!({"w": wire, "i": 4, "v": {"n": 5}}).to_string());
    assert_eq!(value(&rig.message("/flow-out", "/twice\"").await), json!({"twice": 10}));
    rig.boards.fleet.stop().await;
}

#[tokio::test]
async fn a_step_that_fails_makes_its_board_run_out_of_memory() {
    let document = json!({"steps": [{"id": "oom", "kind": "failure", "tags": ["weak"]}], "wires": []});
    let mut rig = Rig::start(Some("-- nothing")).await;
    rig.offer(&of_flow(&document, &["oom"]), Fault::None);
    let report: Value = serde_json::from_str(&rig.message("/task", "Failed").await).unwrap();
    assert!(report["reason"].as_str().unwrap().contains("not enough memory"), "{report}");
    rig.boards.fleet.stop().await;
}
