//! Two nodes behind a balancer, many devices, and messages between programs: a node is killed, and nobody misses anything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Api, Nodes, Session, Swarm, until, until_within};
use serde_json::json;

const DEVICES: usize = 500;
const KILLS: usize = 2;
/// Within this a device has to be back.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// So many numbers may be said that are not heard: fewer than may wait for a session.
const WAITING_MAX: u64 = 500;
/// How often each device measures.
const EVERY: Duration = Duration::from_secs(5);

fn register(api: &Api) -> Vec<(String, String)> {
    (0..DEVICES).map(|n| api.native(&format!("d{n}"), "swarm")).collect()
}

/// A program that publishes numbers, one after the other, over as many connections as it takes, and never so many that
/// they could not all wait for the other one.
fn publisher(mqtt: &str, token: &str, stop: &AtomicBool, said: &AtomicU64, heard: &AtomicU64) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut link) = Session::connect(mqtt, false, "speaker", token) else { continue };
        let _ = link.patience(Duration::from_secs(10));
        while !stop.load(Ordering::SeqCst) {
            let next = said.load(Ordering::SeqCst) + 1;
            if next > heard.load(Ordering::SeqCst) + WAITING_MAX {
                std::thread::yield_now();
                continue;
            }
            let id = u16::try_from(1 + next % 1_000).expect("small");
            let is_said =
                link.publish("news/numbers", id, &next.to_string(), false).and_then(|()| link.acknowledged());
            if is_said.is_err() {
                break;
            }
            said.store(next, Ordering::SeqCst);
        }
    }
}

/// A program with a session that is kept: all that it was given, until it is told the number of the last one.
fn subscriber(mqtt: &str, token: &str, last: &AtomicU64, newest: &AtomicU64) -> Vec<u64> {
    let mut heard = Vec::new();
    loop {
        let Ok(mut link) = Session::connect(mqtt, false, "listener", token) else { continue };
        let _ = link.patience(Duration::from_secs(5));
        while let Ok(message) = link.delivered() {
            let number = message.payload.parse().expect("a number");
            newest.fetch_max(number, Ordering::SeqCst);
            heard.push(number);
            if link.acknowledge(message.id).is_err() {
                break;
            }
        }
        let last = last.load(Ordering::SeqCst);
        if last > 0 && heard.contains(&last) {
            return heard;
        }
    }
}

fn online(api: &Api) -> u64 {
    api.get("/overview")["devices"]["online"].as_u64().expect("a number")
}

#[test]
fn a_node_that_is_killed_takes_nothing_along() {
    let mut hub = Nodes::start(2);
    let swarm = Swarm::start(&hub.http, &hub.mqtt, register(&hub.nodes[0].api), EVERY);
    until("all are connected", || (swarm.connected() == DEVICES).then_some(()));
    until("all are online", || (online(&hub.nodes[0].api) == DEVICES as u64).then_some(()));
    // The listener subscribes before anything is said.
    let mut listener = Session::connect(&hub.mqtt, false, "listener", &hub.api.token).expect("it is let in");
    listener.subscribe("news/#", 1).expect("it is granted");
    drop(listener);
    let stop = Arc::new(AtomicBool::new(false));
    let [said, last, heard] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
    let speaking = {
        let (mqtt, token, stop) = (hub.mqtt.clone(), hub.api.token.clone(), stop.clone());
        let (said, heard) = (said.clone(), heard.clone());
        std::thread::spawn(move || publisher(&mqtt, &token, &stop, &said, &heard))
    };
    let listening = {
        let (mqtt, token, last) = (hub.mqtt.clone(), hub.api.token.clone(), last.clone());
        std::thread::spawn(move || subscriber(&mqtt, &token, &last, &heard))
    };
    for round in 0..KILLS {
        let (dies, lives) = (round % 2, (round + 1) % 2);
        let api = hub.nodes[lives].api.clone();
        let acknowledged = swarm.acknowledged();
        let killed_at = Instant::now();
        hub.nodes[dies].kill();
        until_within(BACK_WITHIN, "a device notices", || {
            (swarm.connected() < DEVICES || killed_at.elapsed() > Duration::from_secs(1)).then_some(())
        });
        let left = BACK_WITHIN.saturating_sub(killed_at.elapsed());
        until_within(left, "every device is back", || (swarm.connected() == DEVICES).then_some(()));
        eprintln!("round {round}: all back after {:.1?}", killed_at.elapsed());
        until("all are online", || (online(&api) == DEVICES as u64).then_some(()));
        until("measurements are taken again", || (swarm.acknowledged() > acknowledged + 100).then_some(()));
        hub.nodes[dies].again();
    }
    stop.store(true, Ordering::SeqCst);
    speaking.join().expect("it ends");
    last.store(said.load(Ordering::SeqCst), Ordering::SeqCst);
    all_was_heard(&listening.join().expect("it ends"), said.load(Ordering::SeqCst));
    swarm.rest();
    until("everything said is acknowledged", || swarm.is_all_acknowledged().then_some(()));
    nothing_was_lost(&hub.nodes[1].api, &swarm);
}

/// Each number, and each for the first time in its order; what was not acknowledged in time may come again.
fn all_was_heard(heard: &[u64], said: u64) {
    let mut newest = 0;
    for number in heard {
        assert!(*number <= newest + 1, "{number} came before {}", newest + 1);
        newest = newest.max(*number);
    }
    let missing: Vec<u64> = (1..=said).filter(|number| !heard.contains(number)).take(10).collect();
    assert!(missing.is_empty(), "of {said} numbers these never came: {missing:?}");
    eprintln!("{said} numbers were said, {} heard", heard.len());
}

fn nothing_was_lost(api: &Api, swarm: &Swarm) {
    for device in &swarm.devices {
        let found = api.get(&format!("/devices/{}/telemetry?metric=n&limit=100000", device.id));
        let items = found["items"].as_array().expect("points");
        let stored: Vec<u64> =
            items.iter().filter_map(|item| item["value"].as_f64()).map(|n| n as u64).collect();
        let distinct: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(distinct.len(), stored.len(), "{}: a point is there twice", device.id);
        let lost: Vec<u64> = (1..=device.done().acknowledged).filter(|n| !distinct.contains(n)).collect();
        assert!(lost.is_empty(), "{}: acknowledged and lost: {lost:?}", device.id);
    }
    eprintln!("{} points acknowledged and stored", swarm.acknowledged());
    assert_eq!(online(api), json!(DEVICES), "all are there");
}
