//! A whole installation moves from SQLite to PostgreSQL and back with `motehub store copy`.

use std::process::Command;
use std::sync::Arc;

use end_to_end::{Hub, Publisher, binary};
use serde_json::json;
use servers::Postgres;

const DEVICES: usize = 20;
/// Messages of each device.
const MESSAGES: usize = 50;
/// Points of each message; a million in all.
const POINTS: usize = 1000;
/// The time of the first point of each device; each is a second later.
const FIRST_MS: usize = 1_700_000_000_000;

/// What goes to other programs.
const EXPORTS: [&str; 5] = [
    "/telemetry/export?format=ndjson&selector=all",
    "/telemetry/export?format=csv&selector=all",
    "/activity/export",
    "/scripts?limit=1000",
    "/groups?limit=1000",
];

fn exports(hub: &Hub) -> Vec<String> {
    // That it started is each hub's own.
    let own = |line: &&str| !line.contains("hub_started");
    EXPORTS.iter().map(|path| hub.api.text(path).lines().filter(own).collect::<Vec<_>>().join("\n")).collect()
}

/// Publishes all messages of a device and waits until each is acknowledged.
fn publish(hub: &Hub, device: usize) {
    let (id, credential) = hub.api.native(&format!("Lämp {device}"), "lamp");
    let mut connection = Publisher::connect(&hub.mqtt(), &id, &id, &credential).expect("it is let in");
    for message in 0..MESSAGES {
        let point = |n: usize| {
            let n = message * POINTS + n;
            let value = match n % 100 {
                0 => json!(format!("word {n}")),
                1 => json!(n.is_multiple_of(3)),
                _ => json!(((n * 7 + device) % 997) as f64 / 10.0),
            };
            json!({ "ts": FIRST_MS + n * 1000, "t": value })
        };
        let points: Vec<_> = (0..POINTS).map(point).collect();
        let packet = u16::try_from(message + 1).expect("it fits");
        let topic = format!("devices/{id}/telemetry");
        connection.publish(&topic, packet, &json!(points).to_string()).expect("it is sent");
    }
    for _ in 0..MESSAGES {
        connection.acknowledged().expect("it is acknowledged");
    }
}

/// Copies, and says what it compared: each table with its number of rows and its digest.
fn copy(from: &str, to: &str) -> String {
    let done = Command::new(binary()).args(["store", "copy", "--from", from, "--to", to]).output();
    let done = done.expect("the program runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).expect("a text");
    let (tables, last) = said.trim_end().rsplit_once('\n').expect("a table");
    assert!(last.contains(&format!("the same as in {from}")), "{said}");
    tables.to_owned()
}

#[test]
fn the_exports_of_a_million_points_are_identical_there_and_back() {
    let postgres = Postgres::alone();
    let folder = Arc::new(tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a folder"));
    let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let (first, between, last) = (file("data/motehub.db"), postgres.new_database(), file("back/motehub.db"));

    let mut hub = Hub::one_of(folder.clone(), &["--store", &first], None);
    let token = hub.api.token.clone();
    hub.api.script("blink", "print(1)");
    hub.api.post("/groups", &json!({ "name": "all lamps", "selector": "tag=lamp" }));
    (0..DEVICES).for_each(|device| publish(&hub, device));
    let wanted = exports(&hub);
    assert_eq!(wanted[0].lines().count(), DEVICES * MESSAGES * POINTS);
    assert!(hub.terminate().success());

    let there = copy(&first, &between);
    let mut hub = Hub::one_of(folder.clone(), &["--store", &between], Some(&token));
    assert!(exports(&hub) == wanted, "the exports of PostgreSQL are those of SQLite");
    assert!(hub.terminate().success());

    std::fs::create_dir(folder.path().join("back")).expect("a folder");
    let back = copy(&between, &last);
    eprintln!("there:\n{there}\nback:\n{back}");
    let hub = Hub::one_of(folder.clone(), &["--store", &last], Some(&token));
    assert!(exports(&hub) == wanted, "the exports are the same again");
}
