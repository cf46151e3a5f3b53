//! MicroPython boards with Motehub's agent on the real interpreter: scripts are deployed, measured, commanded, and
//! whatever is wrong with one, the board comes back, the last good one runs, and the hub knows why.

use end_to_end::{Fleet, Hub, until};
use serde_json::{Value, json};

const GOOD: &str = r#"
import asyncio

import motehub


def double(args):
    return {"twice": args["n"] * 2}


motehub.on_command("double", double)


async def main():
    print("good")
    while True:
        motehub.telemetry({"t": 21.5})
        await asyncio.sleep(1)
"#;
/// What is wrong with a script, and what the hub is told of it.
const BAD: [(&str, &str, &str); 5] = [
    ("error", "def main():\n    raise ValueError('boom')\n", "boom"),
    ("loop", "while True:\n    pass\n", "watchdog"),
    ("memory", "kept = []\nwhile True:\n    kept.append(bytearray(1000))\n", "MemoryError"),
    ("import", "import nothing_of_that_name\n", "nothing_of_that_name"),
    ("depth", "def down():\n    down()\n\n\ndown()\n", "recursion"),
];

/// A hub with boards that run the good script.
fn with_good(count: usize) -> (Hub, Fleet, Vec<String>) {
    let hub = Hub::start(&[]);
    let boards: Vec<(String, String)> =
        (0..count).map(|number| hub.api.native(&format!("board {number}"), "python")).collect();
    let fleet = Fleet::micropython(&hub, &boards, &["--heap", "128k"]);
    let devices: Vec<String> = boards.into_iter().map(|(device, _)| device).collect();
    for device in &devices {
        until("the board said what it can do", || {
            let said = hub.api.get(&format!("/devices/{device}"))["announced"].to_string();
            said.contains("micropython").then_some(())
        });
    }
    let good = hub.api.script_in("python", "good", GOOD);
    let first = json!({ "script": good, "selector": "tag=python", "health_window_seconds": 5 });
    let first = hub.api.post("/deployments", &first)["id"].as_str().expect("an id").to_owned();
    for task in ended(&hub, &first) {
        assert_eq!(task["state"], "Done", "{task}");
    }
    (hub, fleet, devices)
}

fn ended(hub: &Hub, deployment: &str) -> Vec<Value> {
    until("the deployment has ended", || {
        let deployment = hub.api.get(&format!("/deployments/{deployment}"));
        (deployment["state"] != "Running").then(|| deployment["tasks"].as_array().expect("tasks").clone())
    })
}

#[test]
fn a_script_runs_measures_and_does_what_it_is_told() {
    let (hub, mut fleet, devices) = with_good(1);
    let device = &devices[0];
    fleet.await_print("good");
    until("it measures", || {
        let found = hub.api.get(&format!("/devices/{device}/telemetry?metric=t"));
        found["items"][0]["value"].as_f64().filter(|value| (value - 21.5).abs() < 1e-9)
    });
    let asked = json!({ "name": "double", "args": { "n": 21 }, "device": device });
    let command = hub.api.post("/commands", &asked)["id"].as_str().expect("an id").to_owned();
    let answer = until("it answers", || {
        let one = hub.api.get(&format!("/commands/{command}/executions"))["items"][0].clone();
        (one["state"] == "Done").then_some(one)
    });
    assert_eq!(answer["result"], json!({ "twice": 42 }), "{answer}");

    // The power fails, and comes back: so does the script.
    fleet.order(&json!({ "board": device, "do": "power_cut" }));
    fleet.await_fact("power_cut", |_| true);
    fleet.order(&json!({ "board": device, "do": "power_on" }));
    fleet.await_fact("boot", |fact| fact["reason"] == "power_on");
    fleet.await_print("good");
}

#[test]
fn whatever_is_wrong_with_a_script_the_good_one_runs_again_and_the_hub_knows_why() {
    let (hub, _fleet, devices) = with_good(BAD.len());
    let begun: Vec<String> = BAD
        .iter()
        .zip(&devices)
        .map(|((name, source, _), device)| {
            let script = hub.api.script_in("python", name, source);
            hub.api.deploy(&script, 1, device)
        })
        .collect();
    for (((name, _, why), deployment), device) in BAD.iter().zip(&begun).zip(&devices) {
        let task = ended(&hub, deployment)[0].clone();
        assert_eq!(task["state"], "Failed", "{name}: {task}");
        let said = task["reason"].to_string();
        assert!(said.contains(why), "{name}: {task}");
        until("the good one runs again", || {
            let device = hub.api.get(&format!("/devices/{device}"));
            (device["running"]["name"] == "good" && device["online"] == true).then_some(())
        });
    }
}
