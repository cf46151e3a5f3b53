//! RIOT nodes as they are in the field, over a network on which a tenth of all questions gets no answer: they wait in the
//! inbox, are found out about, followed, told what is desired, and missed when they are gone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use end_to_end::{Fleet, Hub, until};
use serde_json::{Value, json};

/// Names and ids of devices.
type Ids = HashMap<String, String>;

/// Accepts so many nodes that knocked, each under the name that it has in the field.
fn accept(hub: &Hub, fleet: &mut Fleet, nodes: usize) -> Ids {
    let mut names = HashMap::new();
    for _ in 0..nodes {
        let node = fleet.await_fact("node", |_| true);
        names.insert(node["uid"].as_str().expect("a uid").to_owned(), node["name"].clone());
    }
    let knocks = until("all nodes are in the inbox", || {
        let (_, list) = hub.api.call("GET", "/inbox", None);
        (list["total"] == nodes).then_some(list)
    });
    let mut ids = HashMap::new();
    for knock in knocks["items"].as_array().expect("a list") {
        assert_eq!((&knock["dialect"], &knock["transport"]), (&json!("riot"), &json!("coap")));
        let name = &names[knock["name"].as_str().expect("a name")];
        let wanted = json!({ "name": name, "without_credential": true });
        let path = format!("/inbox/{}/accept", knock["id"].as_str().expect("an id"));
        let (status, device) = hub.api.call("POST", &path, Some(&wanted));
        assert_eq!((status, &device["allowed_from"]), (201, &knock["address"]), "{device}");
        let name = name.as_str().expect("a name").to_owned();
        ids.insert(name, device["id"].as_str().expect("an id").to_owned());
    }
    ids
}

fn device(hub: &Hub, id: &str) -> Value {
    hub.api.call("GET", &format!("/devices/{id}"), None).1
}

fn shadow(hub: &Hub, id: &str) -> Value {
    hub.api.call("GET", &format!("/devices/{id}/shadow"), None).1["state"].clone()
}

fn reports(hub: &Hub, id: &str, what: &str, fits: impl Fn(&Value) -> bool) {
    until(&format!("{what} is reported"), || fits(&shadow(hub, id)["reported"][what]).then_some(()));
}

#[test]
fn nodes_in_the_field_are_found_followed_told_and_missed() {
    let hub = Hub::start(&["--coap", "127.0.0.1:0"]);
    let firmware = ["leds", "bmp180", "ccs811", "imu"].map(|name| ["--firmware", name]).concat();
    let network = ["--nodes", "4", "--loss", "5", "--delay-ms", "20", "--alive-ms", "700", "--speed", "5"];
    let mut fleet = Fleet::riot(&hub, &[&network[..], &firmware].concat());
    let ids = accept(&hub, &mut fleet, 4);
    for id in ids.values() {
        until("a node is online and found out about", || {
            let device = device(&hub, id);
            (device["online"] == true && device["report"]["model"] == "samr21-xpro").then_some(())
        });
    }

    let (weather, gas, motion) = (&ids["Weather Sensor"], &ids["Gas Sensor"], &ids["IMU Unit"]);
    reports(&hub, weather, "temperature", Value::is_number);
    reports(&hub, weather, "position", |position| {
        position["lat"].as_f64().is_some_and(|lat| (48.7..48.8).contains(&lat))
    });
    reports(&hub, gas, "eco2", Value::is_number);
    reports(&hub, motion, "imu", |imu| imu[0]["values"].as_array().is_some_and(|values| values.len() == 3));
    until("the unit is known", || {
        let (_, list) = hub.api.call("GET", "/metrics", None);
        let metrics = list["items"].as_array()?;
        metrics.iter().any(|metric| metric["name"] == "temperature" && metric["unit"] == "°C").then_some(())
    });

    let lamp = &ids["Node LED"];
    let desired = json!({ "state": { "desired": { "led": true } } });
    let (status, answer) = hub.api.call("PATCH", &format!("/devices/{lamp}/shadow"), Some(&desired));
    assert_eq!(status, 200, "{answer}");
    fleet.await_fact("set", |fact| fact["value"] == "1");
    until("the lamp says so", || (shadow(&hub, lamp)["reported"]["led"] == true).then_some(()));
    assert!(shadow(&hub, lamp).get("delta").is_none());

    // Its LED is off after a restart: that is put right.
    let uid = device(&hub, lamp)["external_id"].clone();
    // A node says once that it has started, and does not look whether anybody heard it.
    let is_set = (0..10).any(|_| {
        fleet.order(&json!({ "node": uid, "do": "reboot" }));
        std::iter::from_fn(|| fleet.next_fact(Duration::from_secs(10))).any(|fact| fact["fact"] == "set")
    });
    assert!(is_set, "its LED stays off");

    let command = json!({ "name": "led", "device": lamp });
    assert_eq!(hub.api.call("POST", "/commands", Some(&command)).0, 201);
    until("the lamp answers", || {
        let (_, list) = hub.api.call("GET", &format!("/devices/{lamp}/commands"), None);
        (list["items"][0]["state"] == "Done" && list["items"][0]["result"] == 1).then_some(())
    });

    let edit = json!({ "silence_max_seconds": 5 });
    assert_eq!(hub.api.call("PATCH", &format!("/devices/{lamp}"), Some(&edit)).0, 200);
    until("the lamp is back under its new rule", || (device(&hub, lamp)["online"] == true).then_some(()));
    fleet.order(&json!({ "node": uid, "do": "power_off" }));
    until("the lamp is missed", || (device(&hub, lamp)["online"] == false).then_some(()));
    assert_eq!(device(&hub, weather)["online"], true);
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node of aiocoap (PyPI) at an address that no other test has, with a resource that can be observed.
fn aiocoap_node(hub: &Hub, uid: &str) -> Ended {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python: PathBuf =
        std::env::var_os("PYTHON").map_or_else(|| root.join(".tools/venv/bin/python"), Into::into);
    let [.., high, low] = std::process::id().to_be_bytes();
    let child = Command::new(&python)
        .arg(root.join("tests/interop/aiocoap_peer.py"))
        .args([
            "node",
            &format!("127.{}.{low}.9", high | 64),
            hub.ready["coap"].as_str().expect("it listens"),
            uid,
        ])
        .spawn();
    Ended(child.unwrap_or_else(|error| panic!("{}: {error}; run xtask/setup.sh test", python.display())))
}

#[test]
fn a_node_of_aiocoap_is_found_observed_and_told() {
    let hub = Hub::start(&["--coap", "127.0.0.1:0"]);
    let _node = aiocoap_node(&hub, "aio-1");
    let knock = until("it is in the inbox", || {
        let (_, list) = hub.api.call("GET", "/inbox", None);
        list["items"].as_array()?.first().cloned()
    });
    let wanted = json!({ "name": "aio", "without_credential": true });
    let path = format!("/inbox/{}/accept", knock["id"].as_str().expect("an id"));
    let (status, device) = hub.api.call("POST", &path, Some(&wanted));
    assert_eq!(status, 201, "{device}");
    let id = device["id"].as_str().expect("an id").to_owned();
    reports(&hub, &id, "count", Value::is_number);
    // It is read once and observed from then on: what follows it tells by itself.
    let first = shadow(&hub, &id)["reported"]["count"].as_i64().expect("a number");
    reports(&hub, &id, "count", |count| count.as_i64().is_some_and(|count| count >= first + 3));
    let desired = json!({ "state": { "desired": { "thing": "hello" } } });
    assert_eq!(hub.api.call("PATCH", &format!("/devices/{id}/shadow"), Some(&desired)).0, 200);
    reports(&hub, &id, "thing", |thing| thing == "hello");
    let command = json!({ "name": "thing", "device": id });
    hub.api.post("/commands", &command);
    until("it answers", || {
        let list = hub.api.get(&format!("/devices/{id}/commands"));
        (list["items"][0]["state"] == "Done" && list["items"][0]["result"] == "hello").then_some(())
    });
}
