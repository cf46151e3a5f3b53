//! Boards with ESP-FIRMWARE, on the real MicroPython interpreter: they come in without a credential, are posted their
//! scripts, and are posted them again whenever they lost them.

use end_to_end::{Fleet, Hub, flow_over_two, own_address, until};
use serde_json::{Value, json};

/// Passes what comes on one topic on to another, and says which part of a flow it is.
const SCRIPT: &str = r#"
import uasyncio as asyncio

mqtt = None


def on_input(topic, msg, retained):
    print("heard", msg)
    asyncio.create_task(mqtt.publish("topic1_node", msg, False, 1))


async def conn_han(client):
    await client.subscribe("topic0_node", 1)


def get_nodes():
    return "nothing:ab12"


def stop():
    print("stopped")


async def exec(mqtt_client, capabilities, client_id):
    global mqtt
    mqtt = mqtt_client
    print("runs", len(capabilities))
"#;
/// Takes all memory as soon as it is loaded.
const GREEDY: &str = "kept = []\nwhile True:\n    kept.append(bytearray(1000))\n";
/// The port of virtual boards.
const PORT: &str = "18080";

fn hub() -> Hub {
    Hub::start(&["--esp-firmware", "--esp-firmware-port", PORT])
}

fn boards(hub: &Hub, boards: &[(&str, String, &str)], arguments: &[&str]) -> Fleet {
    Fleet::esp_firmware(hub, boards, &[&["--port", PORT], arguments].concat())
}

fn is(hub: &Hub, device: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, || Some(hub.api.get(&format!("/devices/{device}"))).filter(&fits))
}

fn ended(hub: &Hub, deployment: &str) -> Value {
    until("the deployment has ended", || {
        let deployment = hub.api.get(&format!("/deployments/{deployment}"));
        (deployment["state"] != "Running").then(|| deployment["tasks"][0].clone())
    })
}

/// Whether it measured such a value.
fn measured(hub: &Hub, device: &str, metric: &str, fits: impl Fn(&Value) -> bool) -> Option<()> {
    let found = hub.api.get(&format!("/devices/{device}/telemetry?metric={metric}"));
    found["items"].as_array().expect("a list").iter().any(|point| fits(&point["value"])).then_some(())
}

#[test]
fn a_board_comes_in_runs_its_script_and_gets_it_again_after_a_restart() {
    let hub = hub();
    let address = own_address(201);
    let mut fleet = boards(&hub, &[("dev1", address.clone(), "micropython,dht")], &[]);
    let device = hub.api.let_in(&address);
    let said = is(&hub, &device, "it is there and said what it can do", |device| {
        device["online"] == true && device["announced"].to_string().contains("dht")
    });
    assert_eq!(said["dialect"], "esp-firmware");

    let script = hub.api.script_in("python", "pass", SCRIPT);
    let task = ended(&hub, &hub.api.deploy(&script, 1, &device));
    assert_eq!(task["state"], "Done", "{task}");
    fleet.await_print("runs 2");
    until("it measures", || {
        measured(&hub, &device, "nodes", |value| *value == "nothing:ab12")?;
        measured(&hub, &device, "running", |value| value.as_f64() == Some(1.0))?;
        measured(&hub, &device, "free_ram", |value| value.as_f64().is_some_and(|free| free > 0.0))
    });

    // Back before anybody missed it, with the same announcement: it has nothing to run, and is given it again.
    fleet.order(&json!({ "board": "dev1", "do": "restart" }));
    fleet.await_fact("boot", |fact| fact["reason"] == "reset");
    fleet.await_print("runs 2");
    is(&hub, &device, "it runs the script", |device| {
        device["running"]["name"] == "pass" && device["online"] == true
    });

    // Away for good: nobody tells the hub, which finds out by asking.
    fleet.order(&json!({ "board": "dev1", "do": "power_cut" }));
    fleet.await_fact("power_cut", |_| true);
    is(&hub, &device, "it is away", |device| device["online"] == false);
    fleet.order(&json!({ "board": "dev1", "do": "power_on" }));
    is(&hub, &device, "it is back", |device| device["online"] == true);
    fleet.await_print("runs 2");
}

#[test]
fn a_script_without_room_fails_with_its_cause_and_the_former_one_runs_again() {
    let hub = hub();
    let address = own_address(202);
    let mut fleet = boards(&hub, &[("dev2", address.clone(), "micropython")], &[]);
    let device = hub.api.let_in(&address);
    is(&hub, &device, "it is there", |device| device["online"] == true && device["announced"] != Value::Null);
    let (good, greedy) =
        (hub.api.script_in("python", "good", SCRIPT), hub.api.script_in("python", "greedy", GREEDY));
    assert_eq!(ended(&hub, &hub.api.deploy(&good, 1, &device))["state"], "Done");
    fleet.await_print("runs 1");
    let task = ended(&hub, &hub.api.deploy(&greedy, 1, &device));
    assert_eq!(task["state"], "Failed", "{task}");
    assert!(task["reason"].to_string().contains("out of memory"), "{task}");
    fleet.await_print("runs 1");
    is(&hub, &device, "the good one runs again", |device| device["running"]["name"] == "good");
}

#[test]
fn what_a_board_logs_is_kept_and_what_is_broken_on_the_way_is_not() {
    let hub = Hub::start(&["--esp-firmware", "--esp-firmware-port", PORT, "--logstash", "127.0.0.1:0"]);
    let logstash = hub.ready["logstash"].as_str().expect("the listener is in the ready line").to_owned();
    let address = own_address(203);
    let arguments = ["--logstash", &logstash, "--quirk", "corrupt"];
    let _fleet = boards(&hub, &[("dev3", address.clone(), "micropython")], &arguments);
    let device = hub.api.let_in(&address);
    until("a line is kept", || {
        let log = hub.api.get(&format!("/devices/{device}/log"));
        log.to_string().contains("listening on").then_some(())
    });
    until("it measures", || measured(&hub, &device, "free_ram", |value| value.is_number()));
    until("what is broken is said", || {
        let stated = hub.api.get(&format!("/activity?kind=uplink_refused&device={device}"));
        stated.to_string().contains("decimal digits").then_some(())
    });
    assert_eq!(measured(&hub, &device, "alloc_ram", |_| true), None);
}

#[test]
fn steps_of_a_flow_run_on_boards_as_they_are() {
    let hub = hub();
    let places = [own_address(211), own_address(212)];
    let fleet: Vec<(&str, String, &str)> = vec![
        ("dev1", places[0].clone(), "micropython,temperature"),
        ("dev2", places[1].clone(), "micropython"),
    ];
    let _fleet = boards(&hub, &fleet, &[]);
    let devices = places.map(|address| hub.api.let_in(&address));
    let flow = flow_over_two("as they are", &devices[1]);
    let id = hub.api.deploy_flow(&flow);
    until("values arrive from board to board and at the hub", || {
        let placement = hub.api.get(&format!("/flows/{id}/placement"));
        let wires = placement["wires"].as_array().expect("wires").clone();
        wires.iter().all(|wire| wire["messages"].as_u64() > Some(3)).then_some(())
    });
}
