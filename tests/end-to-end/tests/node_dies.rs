//! Two nodes behind a balancer, two thousand devices, messages between programs, and rollouts: a node is killed, ten
//! times, and nobody misses anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Api, Nodes, Session, Swarm, until, until_within, waited};
use serde_json::json;

const DEVICES: usize = 2_000;
const KILLS: usize = 10;
/// Devices that are given a script in each round.
const PER_ROUND: usize = DEVICES / KILLS;
/// Within this a device has to be back.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// So many numbers may be said that are not heard: fewer than may wait for a session.
const WAITING_MAX: u64 = 500;
/// How often each device measures.
const EVERY: Duration = Duration::from_secs(10);
/// Within this a rollout has to be done: what a device had not said to the end is offered again after a while.
const ROLLED_OUT_WITHIN: Duration = Duration::from_secs(120);
/// Threads that ask the API.
const THREADS: usize = 8;

/// Does something for each of many things, on some threads.
fn each<T: Sync, R: Send>(things: &[T], act: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let act = &act;
    std::thread::scope(|scope| {
        let share = |thread: usize| {
            scope.spawn(move || {
                let mine = things.iter().enumerate().skip(thread).step_by(THREADS);
                mine.map(|(at, thing)| (at, act(at, thing))).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(share).collect();
        let mut done: Vec<(usize, R)> =
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread ends")).collect();
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, result)| result).collect()
    })
}

fn register(api: &Api) -> Vec<(String, String)> {
    let numbers: Vec<usize> = (0..DEVICES).collect();
    each(&numbers, |_, n| {
        let device =
            json!({ "name": format!("d{n}"), "dialect": "native", "tags": [format!("round-{}", n % KILLS)] });
        let made = api.post("/devices", &device);
        let text = |key: &str| made[key].as_str().expect("a text").to_owned();
        (text("id"), text("credential"))
    })
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
        if last > 0 && newest.load(Ordering::SeqCst) >= last {
            return heard;
        }
    }
}

fn online(api: &Api) -> u64 {
    api.get("/overview")["devices"]["online"].as_u64().expect("a number")
}

/// How many clients are connected to each node, by MQTT.
fn connections(api: &Api) -> Vec<u64> {
    let found = api.get("/nodes");
    let items = found["items"].as_array().expect("nodes");
    items.iter().filter_map(|node| node["figures"]["connections"].as_u64()).collect()
}

/// The states of the tasks of a deployment.
fn states(api: &Api, deployment: &str) -> Vec<String> {
    let found = api.get(&format!("/deployments/{deployment}"));
    let tasks = found["tasks"].as_array().expect("tasks");
    tasks.iter().map(|task| task["state"].as_str().unwrap_or_default().to_owned()).collect()
}

/// How many tasks are in which state.
fn tally(states: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for state in states {
        *counts.entry(state.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn a_node_that_is_killed_takes_nothing_along_ten_times() {
    let mut hub = Nodes::start(2);
    let devices = register(&hub.nodes[0].api);
    let swarm = Swarm::start(&hub.http, &hub.mqtt, devices, EVERY);
    until_within(Duration::from_secs(120), "all are connected", || {
        (swarm.connected() == DEVICES).then_some(())
    });
    until("all are online", || (online(&hub.nodes[0].api) == DEVICES as u64).then_some(()));
    let of_each = until("they are spread over both", || {
        let of_each = connections(&hub.nodes[0].api);
        (of_each.len() == 2 && of_each.iter().all(|count| *count > DEVICES as u64 / 4)).then_some(of_each)
    });
    eprintln!("connected to each node: {of_each:?}");

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

    let script = hub.nodes[0].api.script("blink", "print(1)");
    let mut deployments = Vec::new();
    for round in 0..KILLS {
        let (dies, lives) = (round % 2, (round + 1) % 2);
        let order =
            json!({ "script": script, "selector": format!("tag=round-{round}"), "health_window_seconds": 5 });
        let made = hub.nodes[lives].api.post("/deployments", &order);
        let deployment = made["id"].as_str().expect("an id").to_owned();
        let api = hub.nodes[lives].api.clone();
        until("the rollout has begun", || {
            states(&api, &deployment).iter().any(|s| s == "Applying").then_some(())
        });
        let acknowledged = swarm.acknowledged();
        let killed_at = Instant::now();
        hub.nodes[dies].kill();
        // Who was connected to the other node need not notice.
        until_within(BACK_WITHIN, "a device notices", || {
            (swarm.connected() < DEVICES || killed_at.elapsed() > Duration::from_secs(1)).then_some(())
        });
        let left = BACK_WITHIN.saturating_sub(killed_at.elapsed());
        until_within(left, "every device is back", || (swarm.connected() == DEVICES).then_some(()));
        let back = killed_at.elapsed();
        until("all are online", || (online(&api) == DEVICES as u64).then_some(()));
        until("measurements are taken again", || (swarm.acknowledged() > acknowledged + 100).then_some(()));
        eprintln!("round {round}: all back after {back:.1?}");
        hub.nodes[dies].again();
        let is_done = || states(&api, &deployment).iter().all(|state| state == "Done");
        assert!(waited(ROLLED_OUT_WITHIN, is_done), "round {round}: {:?}", tally(&states(&api, &deployment)));
        deployments.push(deployment);
    }
    stop.store(true, Ordering::SeqCst);
    speaking.join().expect("it ends");
    last.store(said.load(Ordering::SeqCst), Ordering::SeqCst);
    let heard = listening.join().expect("it ends");
    all_was_heard(&heard, said.load(Ordering::SeqCst));

    swarm.rest();
    until("everything said is acknowledged", || swarm.is_all_acknowledged().then_some(()));
    nothing_was_lost_or_done_twice(&hub, &swarm, &deployments);
}

/// Each number, and each for the first time in its order; what was not acknowledged in time may come again.
fn all_was_heard(heard: &[u64], said: u64) {
    let mut newest = 0;
    for number in heard {
        assert!(*number <= newest + 1, "{number} came before {}", newest + 1);
        newest = newest.max(*number);
    }
    let distinct: BTreeSet<u64> = heard.iter().copied().collect();
    let missing: Vec<u64> = (1..=said).filter(|number| !distinct.contains(number)).take(10).collect();
    assert!(missing.is_empty(), "of {said} numbers these never came: {missing:?}");
    eprintln!("{said} numbers were said, {} heard", heard.len());
}

fn nothing_was_lost_or_done_twice(hub: &Nodes, swarm: &Swarm, deployments: &[String]) {
    let api = &hub.nodes[1].api;
    let lost = each(&swarm.devices, |_, device| device.missing(api));
    assert_eq!(lost.iter().sum::<usize>(), 0, "points that were acknowledged are missing");
    for deployment in deployments {
        assert_eq!(states(api, deployment).len(), PER_ROUND, "a task for each device");
    }
    let connects: u64 = swarm.devices.iter().map(|device| device.done().connects).sum();
    eprintln!("{} points acknowledged and stored, {connects} connections", swarm.acknowledged());
}
