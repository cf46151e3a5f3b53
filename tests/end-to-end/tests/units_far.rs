//! Units in another network than the hub: `motehub gateway tcp` stands there in place of a base. What they say while the
//! link is cut waits on its disk.

use end_to_end::{Cable, Fleet, Gateway, Hub, join_file, until};
use serde_json::json;

fn points(hub: &Hub, id: &str) -> usize {
    let answer = hub.api.get(&format!("/devices/{id}/telemetry?metric=value&limit=10000&from=0"));
    answer["items"].as_array().map_or(0, Vec::len)
}

fn sent(fleet: &mut Fleet, name: &str) -> usize {
    let sent = fleet.count(name)["sent"].as_u64().expect("a number");
    usize::try_from(sent).expect("it fits")
}

#[test]
fn readings_survive_a_cut_of_the_link_and_lamps_are_told_behind_it() {
    let hub = Hub::start(&["--https", "127.0.0.1:0"]);
    let cable = Cable::to(hub.ready["https"].as_str().expect("it listens by TLS"));
    let way = format!("https://{}", cable.address);
    let made = hub.api.post("/gateways", &json!({ "name": "home", "selector": "", "hub": way }));
    let gateway_id = made["gateway"]["id"].as_str().expect("an id").to_owned();
    let key = join_file(&hub.data().join(".."), made["join_file"].as_str().expect("a file"));
    let words = ["--sensor", "hall@127.0.0.1:0", "--lamp", "desk@127.0.0.1:0", "--interval-ms", "50"];
    let mut fleet = Fleet::line(&[&words[..], &["--counting"]].concat());
    let ready = fleet.await_fact("ready", |_| true);
    let unit = |name: &str, kind: &str| {
        let settings = json!({ "through": gateway_id, "kind": kind });
        let address = &ready["units"][name];
        let device = json!({ "name": name, "dialect": "line", "address": address, "line": settings });
        hub.api.post("/devices", &device)["id"].as_str().expect("an id").to_owned()
    };
    let hall = unit("hall", "read");
    let mut gateway = Gateway::start("tcp", &key, &[], &[]);
    until("the sensor is heard", || (points(&hub, &hall) >= 10).then_some(()));

    // One that is registered while the gateway is there.
    let desk = unit("desk", "update");
    let is = |id: &str, what: &str| hub.api.get(&format!("/devices/{id}"))["reach"] == what;
    until("the lamp is there", || is(&desk, "online").then_some(()));
    assert_eq!(hub.api.get(&format!("/devices/{desk}"))["gateway"], json!(gateway_id));
    let desire = |colour: &str| {
        let wanted = json!({ "state": { "desired": { "value": colour } } });
        hub.api.call("PATCH", &format!("/devices/{desk}/shadow"), Some(&wanted));
    };
    desire("#ff8800");
    assert_eq!(fleet.await_fact("told", |_| true)["text"], "#ff8800");
    until("it is reported", || {
        let shadow = hub.api.get(&format!("/devices/{desk}/shadow"));
        (shadow["state"]["reported"]["value"] == "#ff8800").then_some(())
    });

    cable.cut();
    until("nobody knows how the sensor is", || is(&hall, "unreachable").then_some(()));
    let before = sent(&mut fleet, "hall");
    until("it goes on", || (sent(&mut fleet, "hall") >= before + 40).then_some(()));
    // The gateway starts again while the hub is away, and knows its units.
    let connections = fleet.count("hall")["connections"].as_u64();
    gateway.again();
    until("it dials again", || (fleet.count("hall")["connections"].as_u64() > connections).then_some(()));
    desire("blue");
    cable.mend();
    assert_eq!(fleet.await_fact("told", |_| true)["text"], "blue", "what was desired meanwhile is told");
    fleet.order(&json!({ "unit": "hall", "do": "deaf" }));
    // Of the moment in which the gateway was killed a reading may be lost: the sensor repeats nothing.
    let said = sent(&mut fleet, "hall");
    until("what it said is stored", || (points(&hub, &hall) + 3 >= said).then_some(()));
    println!("the sensor said {said} readings, and {} points are stored", points(&hub, &hall));
    hub.api.call("DELETE", &format!("/devices/{hall}"), None);
    fleet.await_fact("closed", |fact| fact["unit"] == "hall");
}
