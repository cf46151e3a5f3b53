//! Units as they stand at home: sensors that say a number for each reading and lamps that are told a colour, reached by
//! the hub itself. What the virtual units count is what the hub has.

use std::time::{Duration, Instant};

use end_to_end::{Fleet, Hub, until};
use serde_json::{Value, json};

/// Sensors of the crowd, and how often each says something.
const SENSORS: usize = 100;
const INTERVAL_MS: &str = "100";
/// How many readings each has said at least before it is counted.
const READINGS: u64 = 50;

fn unit(hub: &Hub, name: &str, address: &str, settings: &Value) -> String {
    let device = json!({ "name": name, "dialect": "line", "address": address, "line": settings });
    hub.api.post("/devices", &device)["id"].as_str().expect("an id").to_owned()
}

fn desire(hub: &Hub, id: &str, value: &Value) {
    let wanted = json!({ "state": { "desired": { "value": value } } });
    let (status, answer) = hub.api.call("PATCH", &format!("/devices/{id}/shadow"), Some(&wanted));
    assert_eq!(status, 200, "{answer}");
}

fn reports(hub: &Hub, id: &str, value: &Value) {
    until(&format!("{value} is reported"), || {
        let shadow = hub.api.get(&format!("/devices/{id}/shadow"));
        (shadow["state"]["reported"]["value"] == *value).then_some(())
    });
}

fn is_online(hub: &Hub, id: &str) -> bool {
    hub.api.get(&format!("/devices/{id}"))["online"] == true
}

fn points(hub: &Hub, id: &str) -> Vec<f64> {
    let answer = hub.api.get(&format!("/devices/{id}/telemetry?metric=value&limit=10000&from=0"));
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let mut all: Vec<f64> = items.iter().filter_map(|point| point["value"].as_f64()).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn place(ready: &Value, name: &str) -> String {
    ready["units"][name].as_str().expect("an address").to_owned()
}

#[test]
fn a_hundred_sensors_at_ten_readings_a_second_lose_nothing() {
    let hub = Hub::start(&[]);
    let crowd = format!("{SENSORS}@127.0.0.1:0");
    let mut fleet = Fleet::line(&["--sensors", &crowd, "--interval-ms", INTERVAL_MS, "--counting"]);
    let ready = fleet.await_fact("ready", |_| true);
    let names: Vec<String> = (1..=SENSORS).map(|number| format!("sensor-{number}")).collect();
    let ids: Vec<String> =
        names.iter().map(|name| unit(&hub, name, &place(&ready, name), &json!({ "kind": "read" }))).collect();
    let mut stored = 0;
    for (name, id) in names.iter().zip(&ids) {
        until("it said enough", || fleet.count(name)["sent"].as_u64().filter(|sent| *sent >= READINGS));
        // It is quiet now: whatever it said is said.
        fleet.order(&json!({ "unit": name, "do": "deaf" }));
        let got = until("as many points are stored as it said", || {
            let sent = fleet.count(name)["sent"].as_u64();
            Some(points(&hub, id)).filter(|got| Some(got.len() as u64) == sent)
        });
        let expected: Vec<f64> = (1..=got.len()).map(|number| number as f64).collect();
        assert_eq!(got, expected, "{name}: each reading once");
        stored += got.len();
    }
    println!("{SENSORS} sensors said {stored} readings, and {stored} points are stored");
    assert!(ids.iter().all(|id| is_online(&hub, id)));
}

#[test]
fn a_unit_that_comes_back_at_another_address_keeps_its_history() {
    let hub = Hub::start(&["--line-listen", "127.0.0.1:0"]);
    let settings = ["--sensor", "hall@127.0.0.1:0", "--interval-ms", "50", "--counting"];
    let mut fleet = Fleet::line(&settings);
    let ready = fleet.await_fact("ready", |_| true);
    let id = unit(&hub, "hall", &place(&ready, "hall"), &json!({}));
    until("it is heard", || (points(&hub, &id).len() >= 5).then_some(()));
    fleet.order(&json!({ "unit": "hall", "do": "power_off" }));
    until("it is missed", || (!is_online(&hub, &id)).then_some(()));
    let before = points(&hub, &id).len();
    fleet.order(&json!({ "unit": "hall", "do": "move", "to": "127.0.0.1:0" }));
    let moved = fleet.await_fact("moved", |_| true);
    let (status, answer) =
        hub.api.call("PATCH", &format!("/devices/{id}"), Some(&json!({ "address": moved["to"] })));
    assert_eq!((status, &answer["address"]), (200, &moved["to"]), "{answer}");
    until("it is heard again", || (points(&hub, &id).len() >= before + 5).then_some(()));

    // One that dials in and greets is known wherever it comes from.
    let door = hub.ready["line"].as_str().expect("where units dial in");
    let greets = json!({ "direction": "listen", "greeting": "porch", "kind": "read" });
    let device = json!({ "name": "porch", "dialect": "line", "line": greets });
    let porch = hub.api.post("/devices", &device)["id"].as_str().expect("an id").to_owned();
    for (round, from) in ["porch@127.0.0.1:0", "porch@127.0.0.2:0"].into_iter().enumerate() {
        let known = points(&hub, &porch).len();
        let words = ["--sensor", from, "--dial", door, "--greet", "--interval-ms", "50", "--counting"];
        let fleet = Fleet::line(&words);
        until(&format!("it is heard in round {round}"), || {
            (points(&hub, &porch).len() >= known + 3).then_some(())
        });
        drop(fleet);
        until("it is missed", || (!is_online(&hub, &porch)).then_some(()));
    }
}

#[test]
fn a_lamp_is_told_a_colour_at_once() {
    let hub = Hub::start(&[]);
    let mut fleet = Fleet::line(&["--lamp", "desk@127.0.0.1:0", "--lamp", "hall@127.0.0.1:0"]);
    let ready = fleet.await_fact("ready", |_| true);
    // One with a connection for each change, and one as it is without settings.
    let desk = unit(&hub, "desk", &place(&ready, "desk"), &json!({ "kind": "update" }));
    let hall = unit(&hub, "hall", &place(&ready, "hall"), &json!({}));
    for (name, id) in [("desk", &desk), ("hall", &hall)] {
        until("it is there", || is_online(&hub, id).then_some(()));
        let mut took = Vec::new();
        for colour in ["#ff8800", "#0f0", "rebeccapurple", "red", "#123456"] {
            let begun = Instant::now();
            desire(&hub, id, &json!(colour));
            let told = fleet.await_fact("told", |fact| fact["unit"] == name);
            took.push(begun.elapsed().as_millis());
            assert_eq!(told["text"], colour, "{told}");
            reports(&hub, id, &json!(colour));
        }
        let all = fleet.count(name);
        assert_eq!((&all["told"], &all["colour"]), (&json!(5), &json!("#123456")), "{all}");
        println!("{name}: told after {took:?} ms, {} connections", all["connections"]);
        // A machine that has much else to do may be late, but not as a rule.
        took.sort_unstable();
        assert!(took[took.len() / 2] < 2_000, "{took:?}");
    }
}

#[test]
fn a_lamp_that_was_away_is_told_the_latest_when_it_is_back() {
    let hub = Hub::start(&[]);
    let mut fleet = Fleet::line(&["--lamp", "desk@127.0.0.1:0"]);
    let ready = fleet.await_fact("ready", |_| true);
    let desk = unit(&hub, "desk", &place(&ready, "desk"), &json!({ "kind": "update" }));
    until("it is there", || is_online(&hub, &desk).then_some(()));
    fleet.order(&json!({ "unit": "desk", "do": "power_off" }));
    fleet.await_fact("gone", |_| true);
    for colour in ["red", "green", "blue"] {
        desire(&hub, &desk, &json!(colour));
    }
    until("it is missed", || (!is_online(&hub, &desk)).then_some(()));
    fleet.order(&json!({ "unit": "desk", "do": "power_on" }));
    let told = fleet.await_fact("told", |_| true);
    assert_eq!(told["text"], "blue", "{told}");
    reports(&hub, &desk, &json!("blue"));
}

#[test]
fn what_is_no_address_of_a_unit_is_refused() {
    let hub = Hub::start(&[]);
    let cases = [
        (json!({ "name": "a", "dialect": "line" }), "address:"),
        (json!({ "name": "a", "dialect": "line", "address": "8.8.8.8:53" }), "--line-network"),
        (json!({ "name": "a", "dialect": "line", "address": "169.254.169.254:80" }), "--line-network"),
        (json!({ "name": "a", "dialect": "native", "address": "127.0.0.1:8888" }), "address:"),
        (
            json!({ "name": "a", "dialect": "line", "address": "x", "line": { "template": "{colour}" } }),
            "{colour}",
        ),
        (
            json!({ "name": "a", "dialect": "line", "address": "x", "line": { "parser": "regex", "pattern": "(" } }),
            "pattern:",
        ),
        (json!({ "name": "a", "dialect": "line", "address": "x", "line": { "colour": 1 } }), "colour"),
    ];
    for (device, word) in cases {
        let (status, answer) = hub.api.call("POST", "/devices", Some(&device));
        assert_eq!(status, 400, "{device}: {answer}");
        assert!(answer.to_string().contains(word), "{device}: {answer}");
    }
    // A name is weighed by what it resolves to.
    let hub = Hub::start(&["--line-network", "10.0.0.0/8"]);
    let id = unit(&hub, "a", "localhost:9", &json!({}));
    until("why it is not reached is in the activity log", || {
        let log = hub.api.get(&format!("/activity?device={id}"));
        log.to_string().contains("outside the networks").then_some(())
    });
}

#[test]
fn units_with_faults_disturb_nobody() {
    let hub = Hub::start(&[]);
    let words = ["--sensor", "bad@127.0.0.1:0", "--sensor", "good@127.0.0.1:0", "--lamp", "deaf@127.0.0.1:0"];
    let mut fleet = Fleet::line(&[&words[..], &["--interval-ms", "100", "--counting"]].concat());
    let ready = fleet.await_fact("ready", |_| true);
    let [bad, good, deaf] = ["bad", "good", "deaf"].map(|name| {
        let kind = if name == "deaf" { "update" } else { "read" };
        unit(&hub, name, &place(&ready, name), &json!({ "kind": kind }))
    });
    let log_has = |id: &str, word: &str| {
        until(&format!("{word:?} is in the activity log"), || {
            let log = hub.api.get(&format!("/activity?device={id}"));
            log.to_string().contains(word).then_some(())
        });
    };
    until("they are heard", || (points(&hub, &bad).len() > 2 && points(&hub, &good).len() > 2).then_some(()));
    fleet.order(&json!({ "unit": "bad", "do": "garbage" }));
    log_has(&bad, "no text: byte 1 is 0x80");
    let before = points(&hub, &bad).len();
    fleet.order(&json!({ "unit": "bad", "do": "endless", "bytes": 10_000_000 }));
    until("it is read again behind the line without end", || {
        (points(&hub, &bad).len() > before + 3).then_some(())
    });
    fleet.order(&json!({ "unit": "bad", "do": "slow" }));
    // It takes connections and reads nothing; it is told all the same, and nobody waits for it.
    fleet.order(&json!({ "unit": "deaf", "do": "deaf" }));
    for number in 0..20 {
        desire(&hub, &deaf, &json!(format!("#{number:06}")));
    }
    fleet.order(&json!({ "unit": "bad", "do": "vanish" }));
    let (status, _) =
        hub.api.call("PATCH", &format!("/devices/{bad}"), Some(&json!({ "silence_max_seconds": 5 })));
    assert_eq!(status, 200);
    let begun = Instant::now();
    let before = points(&hub, &good).len();
    until("the good one goes on", || (points(&hub, &good).len() > before + 10).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(30), "it is not held up");
    until("the one that vanished is missed", || (!is_online(&hub, &bad)).then_some(()));
    let sent = fleet.count("good")["sent"].as_u64().expect("a number");
    until("nothing of the good one is lost", || (points(&hub, &good).len() as u64 >= sent).then_some(()));
    fleet.order(&json!({ "unit": "deaf", "do": "well" }));
    fleet.await_fact("told", |fact| fact["text"] == "#000019");
}

#[test]
fn units_that_swapped_their_addresses_are_known_by_their_greetings() {
    let hub = Hub::start(&[]);
    let words = ["--sensor", "one@127.0.0.1:0", "--sensor", "two@127.0.0.1:0", "--greet"];
    let mut fleet = Fleet::line(&[&words[..], &["--interval-ms", "50"]].concat());
    let ready = fleet.await_fact("ready", |_| true);
    let greets = |name: &str| json!({ "kind": "read", "greeting": name });
    let one = unit(&hub, "one", &place(&ready, "two"), &greets("one"));
    let two = unit(&hub, "two", &place(&ready, "one"), &greets("two"));
    for id in [&one, &two] {
        until("it is heard", || (points(&hub, id).len() > 3).then_some(()));
    }
    fleet.order(&json!({ "unit": "one", "do": "power_off" }));
    until("the one is missed", || (!is_online(&hub, &one)).then_some(()));
    let before = points(&hub, &two).len();
    until("the other goes on", || (points(&hub, &two).len() > before + 3).then_some(()));
    let before = points(&hub, &one).len();
    fleet.order(&json!({ "unit": "one", "do": "power_on" }));
    until("the one is heard again", || (points(&hub, &one).len() > before + 3).then_some(()));
}
