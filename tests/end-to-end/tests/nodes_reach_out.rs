//! What several nodes of one hub do towards boards and units, one at a time: boards that are called, units that are
//! dialled, values of flows between boards that are at two nodes. A node dies, and another one goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use end_to_end::{Api, Fleet, Nodes, Session, flow_over_two, own_address, until, until_within};
use serde_json::{Value, json};

/// How long a killed node may be missed.
const TAKEN_OVER_MAX: Duration = Duration::from_secs(40);
/// The port of virtual boards with ESP-FIRMWARE.
const PORT: &str = "18081";
const SENSORS: usize = 10;

/// Which node does a work, as one of them sees it.
fn holder(hub: &Nodes, seen_by: usize, work: &str) -> usize {
    until("a node does it", || hub.holder(seen_by, work))
}

fn points(api: &Api, id: &str) -> Vec<i64> {
    let answer = api.get(&format!("/devices/{id}/telemetry?metric=value&limit=10000&from=0"));
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().filter_map(|point| point["value"].as_f64()).map(|value| value as i64).collect()
}

fn told(api: &Api, fleet: &mut Fleet, lamp: &str, colour: &str) {
    let wanted = json!({ "state": { "desired": { "value": colour } } });
    let (status, answer) = api.call("PATCH", &format!("/devices/{lamp}/shadow"), Some(&wanted));
    assert_eq!(status, 200, "{answer}");
    fleet.await_fact("told", |fact| fact["text"] == colour);
    until("it is reported", || {
        let shadow = api.get(&format!("/devices/{lamp}/shadow"));
        (shadow["state"]["reported"]["value"] == colour).then_some(())
    });
}

#[test]
fn units_are_dialled_by_one_node_and_by_the_other_when_it_dies() {
    let mut hub = Nodes::start(2);
    let crowd = format!("{SENSORS}@127.0.0.1:0");
    let arguments = ["--sensors", &crowd, "--interval-ms", "200", "--counting", "--lamp", "desk@127.0.0.1:0"];
    let mut fleet = Fleet::line(&arguments);
    let ready = fleet.await_fact("ready", |_| true);
    let unit = |name: &str, settings: Value| {
        let address = ready["units"][name].as_str().expect("an address");
        let device = json!({ "name": name, "dialect": "line", "address": address, "line": settings });
        hub.api.post("/devices", &device)["id"].as_str().expect("an id").to_owned()
    };
    let names: Vec<String> = (1..=SENSORS).map(|number| format!("sensor-{number}")).collect();
    let sensors: Vec<String> = names.iter().map(|name| unit(name, json!({ "kind": "read" }))).collect();
    // It has a connection that stands, by which it is told.
    let lamp = unit("desk", json!({}));
    let heard = |api: &Api, more: usize| {
        let before: Vec<usize> = sensors.iter().map(|id| points(api, id).len()).collect();
        until("all sensors are heard", || {
            let mut both = sensors.iter().zip(&before);
            both.all(|(id, before)| points(api, id).len() >= before + more).then_some(())
        });
    };
    heard(&hub.nodes[0].api, 5);
    for name in &names {
        assert_eq!(fleet.count(name)["connections"], 1, "{name} is dialled by one node");
    }
    told(&hub.nodes[1].api, &mut fleet, &lamp, "red");

    let dies = holder(&hub, 0, "units");
    let lives = 1 - dies;
    hub.nodes[dies].kill();
    let killed = Instant::now();
    heard(&hub.nodes[lives].api, 2);
    println!("units are heard again after {:?}", killed.elapsed());
    assert!(killed.elapsed() < TAKEN_OVER_MAX, "{:?}", killed.elapsed());
    assert_eq!(holder(&hub, lives, "units"), lives);
    told(&hub.nodes[lives].api, &mut fleet, &lamp, "blue");

    // It comes back, and leaves them to the other one, which then ends in good order.
    hub.nodes[dies].again();
    until("both are there", || {
        let list = hub.nodes[lives].api.get("/nodes");
        let alive = list["items"].as_array()?.iter().filter(|node| node["alive"] == true).count();
        (alive == 2).then_some(())
    });
    heard(&hub.nodes[dies].api, 5);
    assert!(hub.nodes[lives].terminate().success());
    let ended = Instant::now();
    let api = &hub.nodes[dies].api;
    heard(api, 2);
    println!("units are heard again {:?} after the end of a node", ended.elapsed());
    told(api, &mut fleet, &lamp, "green");
    for (name, id) in names.iter().zip(&sensors) {
        assert_eq!(fleet.count(name)["connections"], 3, "{name} is dialled once by each");
        let mut got = points(api, id);
        let all = got.len();
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), all, "{name}: each reading once");
    }
    let facts = api.get(&format!("/activity?kind=device_offline&device={lamp}"));
    assert_eq!(facts["items"].as_array().map(Vec::len), Some(0), "{facts}");
}

#[test]
fn a_node_that_stood_still_tells_units_nothing_any_more() {
    let hub = Nodes::start(2);
    let mut fleet = Fleet::line(&["--lamp", "desk@127.0.0.1:0"]);
    let ready = fleet.await_fact("ready", |_| true);
    // It is told each change by a connection of its own: one that stands would keep it from others.
    let settings = json!({ "kind": "update" });
    let device =
        json!({ "name": "desk", "dialect": "line", "address": ready["units"]["desk"], "line": settings });
    let lamp = hub.nodes[0].api.post("/devices", &device)["id"].as_str().expect("an id").to_owned();
    told(&hub.nodes[0].api, &mut fleet, &lamp, "red");
    let still = holder(&hub, 0, "units");
    let (moves, pid) = (1 - still, hub.nodes[still].pid().to_string());
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    };
    signal("-STOP");
    // It is said to the node that stands still, too, which hears it later.
    told(&hub.nodes[moves].api, &mut fleet, &lamp, "blue");
    told(&hub.nodes[moves].api, &mut fleet, &lamp, "white");
    signal("-CONT");
    until("it knows that another one does it", || (hub.holder(still, "units")? == moves).then_some(()));
    told(&hub.nodes[still].api, &mut fleet, &lamp, "green");
    let all = fleet.count("desk");
    assert_eq!((&all["told"], &all["colour"]), (&json!(4), &json!("#008000")), "{all}");
}

/// How many values passed along each wire of a flow, as a node sees it.
fn passed(hub: &Nodes, node: usize, flow: &str) -> Vec<u64> {
    let placement = hub.nodes[node].api.get(&format!("/flows/{flow}/placement"));
    let wires = placement["wires"].as_array().unwrap_or_else(|| panic!("{placement}"));
    wires.iter().map(|wire| wire["messages"].as_u64().expect("a number")).collect()
}

/// Waits until more values passed along every wire than now, as a node sees it.
fn flows(hub: &Nodes, node: usize, flow: &str) {
    let before = passed(hub, node, flow);
    let mut now = Vec::new();
    until(&format!("values pass, as node {node} sees it"), || {
        now = passed(hub, node, flow);
        now.iter().zip(&before).all(|(now, before)| now > before).then_some(())
    });
}

#[test]
fn boards_are_called_by_one_node_and_by_the_other_when_it_dies() {
    let mut hub = Nodes::start_with(2, &["--esp-firmware", "--esp-firmware-port", PORT]);
    let places = [own_address(221), own_address(222)];
    let boards =
        [("dev1", places[0].clone(), "micropython,temperature"), ("dev2", places[1].clone(), "micropython")];
    let flash = hub.nodes[0].data().join("../flash");
    // Their own connections are spread over both nodes.
    let mut fleet = Fleet::esp_firmware_at(&hub.mqtt, flash, &boards, &["--port", PORT]);
    let devices = places.map(|address| hub.api.let_in(&address));
    let flow = flow_over_two("over both", &devices[1]);
    let id = hub.nodes[1].api.deploy_flow(&flow);
    flows(&hub, 0, &id);
    flows(&hub, 1, &id);

    let dies = holder(&hub, 0, "boards");
    let lives = 1 - dies;
    hub.nodes[dies].kill();
    let killed = Instant::now();
    until_within(TAKEN_OVER_MAX, "the other one calls them", || {
        (hub.holder(lives, "boards")? == lives).then_some(())
    });
    flows(&hub, lives, &id);
    println!("values of boards that are called pass again after {:?}", killed.elapsed());
    // One that lost its program is posted it by the node that calls it now.
    fleet.order(&json!({ "board": "dev2", "do": "restart" }));
    fleet.await_fact("boot", |fact| fact["reason"] == "reset");
    flows(&hub, lives, &id);
    hub.nodes[dies].again();
    flows(&hub, dies, &id);
    for device in &devices {
        assert_eq!(hub.nodes[lives].api.get(&format!("/devices/{device}"))["online"], true);
    }
}

#[test]
fn a_flow_over_boards_and_topics_at_two_nodes_goes_on_when_one_dies() {
    let mut hub = Nodes::start(2);
    let boards: Vec<(String, String)> =
        ["sensing", "passing"].map(|name| hub.api.micropython(name, "bench")).into();
    let flash = hub.nodes[0].data().join("../flash");
    let at = [hub.http.as_str(), hub.mqtt.as_str()];
    let _fleet = Fleet::micropython_at(at, &flash, &[], &boards, &["--heap", "256k"]);
    let edit = json!({ "capabilities": ["temperature"] });
    assert_eq!(hub.api.call("PATCH", &format!("/devices/{}", boards[0].0), Some(&edit)).0, 200);
    for (device, _) in &boards {
        until("the board said what it can do", || {
            let said = hub.api.get(&format!("/devices/{device}"))["announced"].to_string();
            said.contains("micropython").then_some(())
        });
    }
    let spread = hub.api.get("/nodes");
    let of_each =
        spread["items"].as_array().expect("nodes").iter().map(|node| &node["figures"]["connections"]);
    println!("connections of each node: {:?}", of_each.collect::<Vec<_>>());
    let flow = json!({
        "name": "over both",
        "steps": [
            {"id": "th", "kind": "sensor", "sensor": "dht22", "pin": 4, "every_ms": 200, "requires": ["temperature"]},
            {"id": "on", "kind": "pass", "runs_on": boards[1].0},
            {"id": "out", "kind": "publish", "topic": "flow/out"},
            {"id": "in", "kind": "topic", "topic": "flow/in"},
            {"id": "echo", "kind": "pass", "runs_on": boards[1].0},
            {"id": "back", "kind": "publish", "topic": "flow/back"},
        ],
        "wires": [
            {"from": "th", "to": "on"}, {"from": "on", "to": "out"},
            {"from": "in", "to": "echo"}, {"from": "echo", "to": "back"},
        ],
    });
    // Deployed at the node that does not run it.
    let runs = holder(&hub, 0, "flows");
    let id = hub.nodes[1 - runs].api.deploy_flow(&flow);
    let plan = |node: usize| {
        let path = format!("/flows/{id}/dry-run");
        let (status, plan) = hub.nodes[node].api.call("POST", &path, Some(&json!({})));
        (status == 200).then(|| plan["steps"].clone())
    };
    // Boards are away for a moment while they take their program.
    until("a plan is the same at every node", || (plan(0)? == plan(1)?).then_some(()));
    echoes(&hub, &[0, 1], 1);
    flows_sensed(&hub, 0, &id);
    flows_sensed(&hub, 1, &id);

    hub.nodes[runs].kill();
    let killed = Instant::now();
    until_within(TAKEN_OVER_MAX, "the other one runs it", || {
        (hub.holder(1 - runs, "flows")? == 1 - runs).then_some(())
    });
    flows_sensed(&hub, 1 - runs, &id);
    echoes(&hub, &[1 - runs], 100);
    println!("values of the flow pass again after {:?}", killed.elapsed());
    assert!(killed.elapsed() < 2 * TAKEN_OVER_MAX, "{:?}", killed.elapsed());
}

/// The same for the first two wires, along which something passes by itself.
fn flows_sensed(hub: &Nodes, node: usize, flow: &str) {
    let before = passed(hub, node, flow);
    until(&format!("readings pass, as node {node} sees it"), || {
        let now = passed(hub, node, flow);
        (now[0] > before[0] && now[1] > before[1]).then_some(())
    });
}

/// What is published at any node goes through the flow and is heard at every node.
fn echoes(hub: &Nodes, nodes: &[usize], first: u16) {
    let clients = |name: &str| -> Vec<Session> {
        let connect = |node: &usize| {
            let id = format!("{name}-{node}-{first}");
            Session::connect(&hub.nodes[*node].mqtt(), false, &id, &hub.api.token).expect("it is let in")
        };
        nodes.iter().map(connect).collect()
    };
    let mut listeners = clients("listener");
    for listener in &mut listeners {
        listener.subscribe("flow/back", 0).expect("it is granted");
        listener.patience(Duration::from_secs(1)).expect("it is set");
    }
    for (number, mut client) in clients("speaker").into_iter().enumerate() {
        let mut said = first + u16::try_from(number).expect("few") * 1_000;
        let mut silent: Vec<usize> = (0..listeners.len()).collect();
        // A value is live: it may be lost while a board takes its program.
        until("it is heard at every node", || {
            said += 1;
            client.publish("flow/in", said, &said.to_string(), false).expect("it is sent");
            client.acknowledged().expect("it is acknowledged");
            let floor = said;
            silent.retain(|listener| {
                let heard = listeners[*listener].delivered();
                !heard.is_ok_and(|heard| {
                    heard.payload.parse::<u16>().is_ok_and(|it| it > floor - floor % 1_000)
                })
            });
            silent.is_empty().then_some(())
        });
    }
}
