//! Flows over boards with real interpreters: placed, moved when a board dies, settled when it comes back, fewer steps
//! where memory is short, and running on when nobody looks.

use std::time::Instant;

use end_to_end::{Fleet, Hub, until};
use serde_json::{Value, json};

/// Sensor → two comparisons → and → pass → publish.
fn seed() -> Value {
    json!({
        "name": "seed",
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 200, "requires": ["temperature"]},
            {"id": "warm", "kind": "compare", "property": "temperature", "rules": [{"operator": "gt", "value": -50}],
             "prefers": ["micropython"]},
            {"id": "damp", "kind": "compare", "property": "humidity", "rules": [{"operator": "gte", "value": 0}],
             "prefers": ["micropython"]},
            {"id": "both", "kind": "and"},
            {"id": "on", "kind": "pass", "requires": ["micropython"]},
            {"id": "out", "kind": "publish", "topic": "seed/out"},
        ],
        "wires": [
            {"from": "th", "to": "warm"}, {"from": "th", "to": "damp"}, {"from": "warm", "to": "both"},
            {"from": "damp", "to": "both"}, {"from": "both", "to": "on"}, {"from": "on", "to": "out"},
        ],
        // Spread it: that is what is to be seen here.
        "weights": {"neighbourhood": 0},
    })
}

struct Bench {
    hub: Hub,
    fleet: Fleet,
    devices: Vec<String>,
}

/// A hub with boards that are there. The first `sensing` of them have a thermometer.
fn bench(count: usize, sensing: usize) -> Bench {
    let hub = Hub::start(&[]);
    let boards: Vec<(String, String)> =
        (0..count).map(|number| hub.api.micropython(&format!("bench-{number}"), "bench")).collect();
    let fleet = Fleet::micropython(&hub, &boards, &["--heap", "256k"]);
    let devices: Vec<String> = boards.into_iter().map(|(device, _)| device).collect();
    for (number, device) in devices.iter().enumerate() {
        let capabilities = if number < sensing { json!(["temperature"]) } else { json!([]) };
        let edit = json!({ "capabilities": capabilities });
        let (status, answer) = hub.api.call("PATCH", &format!("/devices/{device}"), Some(&edit));
        assert_eq!(status, 200, "{answer}");
        until("the board said what it can do", || {
            let said = hub.api.get(&format!("/devices/{device}"))["announced"].to_string();
            said.contains("micropython").then_some(())
        });
    }
    Bench { hub, fleet, devices }
}

impl Bench {
    fn deploy(&self, flow: &Value) -> String {
        let id = self.hub.api.post("/flows", flow)["id"].as_str().expect("an id").to_owned();
        self.hub.api.post(&format!("/flows/{id}/deploy"), &json!({}));
        id
    }

    fn placement(&self, flow: &str) -> Value {
        self.hub.api.get(&format!("/flows/{flow}/placement"))
    }

    /// Where a step runs: the id of a board, `hub`, or nothing.
    fn place(placement: &Value, step: &str) -> Option<String> {
        let steps = placement["steps"].as_array().expect("steps");
        let placed = steps.iter().find(|placed| placed["step"] == step).expect("the step");
        match &placed["place"] {
            Value::Null => None,
            place if place["hub"] == true => Some("hub".to_owned()),
            place => place["device"].as_str().map(str::to_owned),
        }
    }

    fn passed(placement: &Value, to: &str) -> u64 {
        let wires = placement["wires"].as_array().expect("wires");
        let wire = wires.iter().find(|wire| wire["to"] == to).expect("the wire");
        wire["messages"].as_u64().expect("a number")
    }

    /// Waits until more values arrive at a step than now. Returns how many came since the start.
    fn flows(&self, flow: &str, to: &str) -> u64 {
        let before = Self::passed(&self.placement(flow), to);
        until("values arrive", || {
            let now = Self::passed(&self.placement(flow), to);
            (now > before + 2).then_some(now)
        })
    }

    fn causes(&self, flow: &str) -> Vec<String> {
        let list = self.hub.api.get(&format!("/flows/{flow}/placements"));
        let items = list["items"].as_array().expect("items");
        items.iter().map(|item| item["cause"].as_str().expect("a cause").to_owned()).collect()
    }
}

#[test]
fn a_flow_moves_when_a_board_dies_and_settles_when_it_comes_back() {
    let mut bench = bench(3, 2);
    let flow = bench.deploy(&seed());
    bench.flows(&flow, "out");
    let placement = until("it has settled", || {
        let placement = bench.placement(&flow);
        (placement["settled"] == true).then_some(placement)
    });
    let sensing = Bench::place(&placement, "th").expect("a place");
    assert!(bench.devices[..2].contains(&sensing), "{placement}");
    assert_eq!(Bench::place(&placement, "out").as_deref(), Some("hub"), "{placement}");

    // Boards start anew with their programs; that is no reason to move anything.
    assert_eq!(bench.causes(&flow).len(), 1, "{:?}", bench.causes(&flow));

    let died = Instant::now();
    bench.fleet.order(&json!({ "board": sensing, "do": "power_cut" }));
    bench.fleet.await_fact("power_cut", |_| true);
    until("its steps are elsewhere", || {
        let placement = bench.placement(&flow);
        Bench::place(&placement, "th").filter(|place| *place != sensing)
    });
    bench.flows(&flow, "out");
    println!("flowing again {} ms after the power cut", died.elapsed().as_millis());
    let causes = bench.causes(&flow);
    assert!(causes[0].contains("went away"), "{causes:?}");

    // It comes back with its old program, is told to stop, and nothing else moves.
    bench.fleet.order(&json!({ "board": sensing, "do": "power_on" }));
    bench.fleet.await_fact("boot", |fact| fact["reason"] == "power_on");
    until("it has its new program", || {
        let placement = bench.placement(&flow);
        let mut boards = placement["boards"].as_array().expect("boards").iter();
        let board = boards.find(|board| board["device"] == sensing.as_str()).expect("the board");
        (board["online"] == true && board["task"].is_null()).then_some(())
    });
    bench.flows(&flow, "out");
    let after = bench.causes(&flow);
    assert!(after.len() <= causes.len() + 1, "a storm: {after:?}");

    // Stopped: no board runs anything of it.
    let (status, answer) = bench.hub.api.call("POST", &format!("/flows/{flow}/stop"), None);
    assert_eq!(status, 204, "{answer}");
    assert_eq!(bench.hub.api.get(&format!("/flows/{flow}"))["state"], "stopped");
}

#[test]
fn a_board_that_runs_out_of_memory_gets_fewer_steps() {
    let bench = bench(3, 3);
    let tiny = &bench.devices[1];
    let edit = json!({ "capabilities": ["temperature", "tiny"] });
    assert_eq!(bench.hub.api.call("PATCH", &format!("/devices/{tiny}"), Some(&edit)).0, 200);
    let mut flow = seed();
    for step in flow["steps"].as_array_mut().expect("steps").iter_mut().filter(|step| step["id"] != "out") {
        step["prefers"] = json!(["tiny"]);
    }
    // It fills the memory of boards that are tiny.
    let full = json!({"id": "full", "kind": "failure", "tags": ["tiny"], "prefers": ["tiny"]});
    flow["steps"].as_array_mut().expect("steps").push(full);
    let id = bench.hub.api.post("/flows", &flow)["id"].as_str().expect("an id").to_owned();
    let planned = bench.hub.api.post(&format!("/flows/{id}/deploy"), &json!({}));
    let count = |placement: &Value| {
        let mut boards = placement["boards"].as_array().expect("boards").iter();
        let board = boards.find(|board| board["device"] == tiny.as_str()).expect("the board");
        (board["steps"].as_array().expect("steps").len(), board["limit"].as_u64())
    };
    let (before, limit) = count(&planned);
    assert!(before > 1 && limit.is_none(), "{planned}");
    let after = until("it has fewer steps, and the flow has settled", || {
        let placement = bench.placement(&id);
        let (steps, limit) = count(&placement);
        let is_spared = steps < before && limit.is_some_and(|limit| limit < before as u64);
        (is_spared && placement["settled"] == true).then_some(placement)
    });
    assert!(count(&after).0 <= usize::try_from(count(&after).1.expect("a limit")).expect("small"), "{after}");
    bench.flows(&id, "out");
    let causes = bench.causes(&id);
    assert!(
        causes.iter().any(|cause| cause.contains("failed") && cause.contains("MemoryError")),
        "{causes:?}"
    );
}

#[test]
fn under_churn_the_flow_works_where_boards_are_and_settles_when_it_stops() {
    let mut bench = bench(5, 5);
    let flow = bench.deploy(&seed());
    bench.flows(&flow, "out");
    // Numbers from a seed: which board loses its power for how many rounds.
    let mut dice = 7_u64;
    let mut off = vec![0_u64; bench.devices.len()];
    for _ in 0..12 {
        for (number, device) in bench.devices.iter().enumerate() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match off[number] {
                0 if (dice >> 33) % 100 < 20 => {
                    off[number] = 1 + (dice >> 41) % 3;
                    bench.fleet.order(&json!({ "board": device, "do": "power_cut" }));
                }
                1 => {
                    off[number] = 0;
                    bench.fleet.order(&json!({ "board": device, "do": "power_on" }));
                }
                rounds => off[number] = rounds.saturating_sub(1),
            }
        }
        // A round lasts until the boards that are there were heard again, some values long.
        let before = Bench::passed(&bench.placement(&flow), "out");
        end_to_end::waited(std::time::Duration::from_secs(2), || {
            Bench::passed(&bench.placement(&flow), "out") > before + 10
        });
    }
    for (number, device) in bench.devices.iter().enumerate() {
        if off[number] > 0 {
            bench.fleet.order(&json!({ "board": device, "do": "power_on" }));
        }
    }
    let stopped = Instant::now();
    until("it settles", || {
        let placement = bench.placement(&flow);
        let is_quiet = placement["boards"]
            .as_array()
            .expect("boards")
            .iter()
            .all(|board| board["online"] == true && board["task"].is_null());
        (placement["settled"] == true && is_quiet).then_some(())
    });
    println!("settled {} ms after the last board came back", stopped.elapsed().as_millis());
    bench.flows(&flow, "out");
    let placement = bench.placement(&flow);
    for wire in placement["wires"].as_array().expect("wires") {
        println!(
            "{} -> {}: {} delivered, {} lost",
            wire["from"], wire["to"], wire["messages"], wire["dropped"]
        );
    }
    let quiet = bench.causes(&flow).len();
    bench.flows(&flow, "out");
    assert_eq!(bench.causes(&flow).len(), quiet, "it goes on moving");
}

#[test]
fn a_flow_runs_on_over_a_restart_of_the_hub() {
    let mut bench = bench(2, 1);
    let flow = bench.deploy(&seed());
    bench.flows(&flow, "out");
    until("it has settled", || (bench.placement(&flow)["settled"] == true).then_some(()));
    let layouts = bench.causes(&flow).len();
    bench.hub.kill();
    bench.hub.again();
    bench.flows(&flow, "out");
    assert_eq!(bench.causes(&flow).len(), layouts, "the steps moved: {:?}", bench.causes(&flow));
}
