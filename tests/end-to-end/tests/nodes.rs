//! Virtual nodes that open a WebSocket: many are let in at once, followed, told what to do, and known again when they
//! start again.

use end_to_end::{Fleet, Hub, until};
use serde_json::{Value, json};

/// Most that are let in by one request here.
const NODES: usize = 300;

fn name(number: usize) -> String {
    format!("fd00:aaaa:bbbb::{number:x}")
}

/// Registers nodes that may speak from this machine.
fn register(hub: &Hub) -> Vec<String> {
    let mut ids = Vec::with_capacity(NODES);
    for number in 1..=NODES {
        let name = name(number);
        let new = json!({ "name": name, "dialect": "riot", "external_id": name });
        let made = hub.api.post("/devices", &new);
        let id = made["id"].as_str().expect("an id").to_owned();
        let open = json!({ "unauthenticated_allowed": true, "allowed_from": "127.0.0.0/8", "revision": 1 });
        let (status, answer) = hub.api.call("PATCH", &format!("/devices/{id}"), Some(&open));
        assert_eq!(status, 200, "{answer}");
        ids.push(id);
    }
    ids
}

fn online(hub: &Hub) -> Value {
    hub.api.get("/devices?selector=online&limit=1")["total"].clone()
}

#[test]
fn many_nodes_come_are_commanded_and_known_again() {
    let hub = Hub::start(&["--nodes-ws", "127.0.0.1:0"]);
    let ids = register(&hub);
    let nodes = NODES.to_string();
    let mut fleet =
        Fleet::websocket(&hub, &["--nodes", &nodes, "--firmware", "leds", "--firmware", "bmx280"]);
    until("all nodes are online", || (online(&hub) == NODES).then_some(()));
    let order = json!({ "name": "led", "args": "1", "device": ids[0] });
    hub.api.post("/commands", &order);
    let set = fleet.await_fact("set", |fact| fact["uid"] == name(1));
    assert_eq!((&set["resource"], &set["value"]), (&json!("led"), &json!("1")));
    until("the command is done", || {
        let list = hub.api.get(&format!("/devices/{}/commands", ids[0]));
        (list["items"][0]["state"] == "Done").then_some(())
    });
    until("the other measures", || {
        let list = hub.api.get(&format!("/devices/{}/telemetry", ids[1]));
        let items = list["items"].as_array().expect("a list").clone();
        items.iter().any(|point| point["metric"] == "humidity").then_some(())
    });
    // It starts again with its LED off, and what is desired is told anew.
    let desired = json!({ "state": { "desired": { "led": 1 } } });
    let (status, answer) = hub.api.call("PATCH", &format!("/devices/{}/shadow", ids[0]), Some(&desired));
    assert_eq!(status, 200, "{answer}");
    fleet.order(&json!({ "node": name(1), "do": "reboot" }));
    fleet.await_fact("booted", |fact| fact["uid"] == name(1));
    let set = fleet.await_fact("set", |fact| fact["uid"] == name(1));
    assert_eq!(set["value"], "1");
}
