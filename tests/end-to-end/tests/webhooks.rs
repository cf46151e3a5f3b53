//! Webhooks of the real program: a hub that is killed loses none, and targets that hang slow nobody down.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use end_to_end::{Hub, Session, until};
use serde_json::{Value, json};

const OPEN: [&str; 2] = ["--webhook-network", "127.0.0.1"];

/// What a server took: ids of posts with what they say, in order.
type Taken = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that takes every post, or none: then it says nothing at all.
fn target(hangs: bool) -> (String, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let taken = Taken::default();
    let own = taken.clone();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            match hangs {
                true => held.push(stream),
                false => {
                    let own = own.clone();
                    std::thread::spawn(move || take(stream, &own));
                }
            }
        }
    });
    (url, taken)
}

fn take(stream: TcpStream, taken: &Taken) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim().split_once(": ") {
                Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let said = serde_json::from_slice(&body).ok()?;
        taken.lock().ok()?.push((headers.get("webhook-id")?.clone(), said));
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

fn make(hub: &Hub, path: &str, new: &Value) -> Value {
    let (status, made) = hub.api.call("POST", path, Some(new));
    assert_eq!(status, 201, "{made}");
    made
}

#[test]
fn a_hub_that_is_killed_delivers_everything_in_order() {
    let (url, taken) = target(false);
    let mut hub = Hub::start(&OPEN);
    make(&hub, "/webhooks", &json!({ "name": "ci", "url": url, "changes": ["group_created"] }));
    for number in 0..150 {
        make(&hub, "/groups", &json!({ "name": format!("group {number}"), "selector": "online" }));
        if number % 25 == 12 {
            // In the middle of it, however far it is.
            hub.again_with(&OPEN);
        }
    }
    until("everything is delivered", || {
        let (_, listed) = hub.api.call("GET", "/webhooks", None);
        let last =
            taken.lock().expect("a lock").last().map(|(_, said)| said["change"]["subject_name"].clone());
        (listed["items"][0]["waiting"] == 0 && last == Some(json!("group 149"))).then_some(())
    });
    let all = taken.lock().expect("a lock").clone();
    let mut once: Vec<(String, Value)> = Vec::new();
    for (id, said) in all {
        match once.iter().find(|(known, _)| *known == id) {
            // What was posted just before a kill comes again, with its id and the same words.
            Some((_, before)) => assert_eq!(*before, said),
            None => once.push((id, said)),
        }
    }
    let names: Vec<&str> =
        once.iter().filter_map(|(_, said)| said["change"]["subject_name"].as_str()).collect();
    let wanted: Vec<String> = (0..150).map(|number| format!("group {number}")).collect();
    assert_eq!(names, wanted, "each change is one delivery, in order");
}

/// A device of a hub, and how long its publishes took to be acknowledged.
struct Lamp {
    link: Session,
    took: Vec<Duration>,
}

impl Lamp {
    fn of(hub: &Hub) -> Self {
        let new = json!({ "name": "lamp", "dialect": "native", "external_id": "lamp" });
        let made = make(hub, "/devices", &new);
        let credential = made["credential"].as_str().expect("a credential");
        let link = Session::connect(&hub.mqtt(), false, "lamp", credential).expect("it is let in");
        Self { link, took: Vec::new() }
    }

    fn publish(&mut self) {
        let number = u16::try_from(1 + self.took.len()).expect("few");
        let began = Instant::now();
        self.link
            .publish("devices/lamp/telemetry", number, &format!("{{\"t\":{number}}}"), false)
            .expect("it is sent");
        self.link.acknowledged().expect("it is acknowledged");
        self.took.push(began.elapsed());
    }

    /// How long the slowest but one in a hundred took.
    fn p99(&mut self) -> Duration {
        self.took.sort();
        self.took[self.took.len() * 99 / 100]
    }
}

#[test]
fn a_hundred_targets_that_hang_do_not_slow_telemetry() {
    let (url, _) = target(true);
    let (quiet, busy) = (Hub::start(&OPEN), Hub::start(&OPEN));
    for number in 0..100 {
        let new = json!({ "name": format!("hook {number}"), "url": url, "changes": ["*"] });
        make(&busy, "/webhooks", &new);
    }
    for number in 0..50 {
        make(&busy, "/groups", &json!({ "name": format!("group {number}"), "selector": "online" }));
    }
    until("deliveries wait", || {
        let (_, listed) = busy.api.call("GET", "/webhooks", None);
        (listed["items"][0]["waiting"].as_i64() >= Some(50)).then_some(())
    });
    // By turns, so that whatever else the machine does slows both alike.
    let mut lamps = [&quiet, &busy].map(Lamp::of);
    for _ in 0..800 {
        lamps.iter_mut().for_each(Lamp::publish);
    }
    let [quiet, busy] = lamps.map(|mut lamp| lamp.p99());
    // Twice as long, and what the machine needs for a turn of its own.
    assert!(busy <= quiet * 2 + Duration::from_millis(20), "{quiet:?} without them, {busy:?} with them");
}
