//! The power of a whole site comes back: a thousand devices connect to a hub that was killed, all at once, and the
//! dashboard answers meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{Api, Hub, Publisher, until};
use serde_json::{Value, json};

const DEVICES: usize = 1000;
/// Threads that connect; each has its share of the devices.
const THREADS: usize = 50;
/// How long a page may usually take while everybody connects; a person would have given up.
const PAGE_MAX: Duration = Duration::from_secs(5);

fn online(api: &Api) -> usize {
    let overview = api.get("/overview");
    usize::try_from(overview["devices"]["online"].as_u64().expect("a number")).expect("small")
}

/// Connects every device, again and again until it is let in; gives the open connections.
fn connect_all(address: &str, devices: &Arc<Vec<(String, String)>>) -> Vec<Publisher> {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (address, devices) = (address.to_owned(), devices.clone());
            std::thread::spawn(move || {
                let mine = devices.iter().skip(thread).step_by(THREADS);
                let connect = |(id, credential): &(String, String)| {
                    until("a device is let in", || Publisher::connect(&address, id, id, credential).ok())
                };
                mine.map(connect).collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("a thread ends")).collect()
}

#[test]
fn a_thousand_devices_are_online_again_after_a_power_cut_and_the_dashboard_answers_meanwhile() {
    let mut hub = Hub::start(&[]);
    let new = |n: usize| {
        let made = hub.api.post("/devices", &json!({ "name": format!("d{n}"), "dialect": "native" }));
        let text = |key: &str| made[key].as_str().expect("a text").to_owned();
        (text("id"), text("credential"))
    };
    let devices: Arc<Vec<_>> = Arc::new((0..DEVICES).map(new).collect());
    let mut before = connect_all(&hub.mqtt(), &devices);
    until("all are online", || (online(&hub.api) == DEVICES).then_some(()));

    hub.kill();
    let address = hub.mqtt();
    let storm = {
        let devices = devices.clone();
        std::thread::spawn(move || connect_all(&address, &devices))
    };
    let start = Instant::now();
    hub.again();
    let is_over = Arc::new(AtomicBool::new(false));
    let visitor = {
        let (api, is_over) = (hub.api.clone(), is_over.clone());
        std::thread::spawn(move || {
            let mut pages = Vec::new();
            while !is_over.load(Ordering::SeqCst) || pages.is_empty() {
                let asked = Instant::now();
                let list: Value = api.get("/devices?limit=50");
                assert_eq!(list["total"], DEVICES, "the list is whole while they connect");
                pages.push(asked.elapsed());
            }
            pages.sort_unstable();
            pages
        })
    };
    let mut after = storm.join().expect("all are let in");
    until("all are online again", || (online(&hub.api) == DEVICES).then_some(()));
    let took = start.elapsed();
    is_over.store(true, Ordering::SeqCst);
    let pages: Vec<Duration> = visitor.join().expect("every page is answered");
    let (count, usual, slowest) = (pages.len(), pages[pages.len() / 2], pages[pages.len() - 1]);
    println!("{DEVICES} devices online again {took:?} after the start");
    println!("{count} pages meanwhile, usually in {usual:?}, the slowest in {slowest:?}");
    assert!(usual < PAGE_MAX, "a page took {usual:?}");

    // These are the connections that work, and those from before are gone.
    let (id, _) = &devices[0];
    let topic = format!("devices/{id}/telemetry");
    let mine = &mut after[0];
    mine.publish(&topic, 1, r#"{"t":1}"#).expect("it is sent");
    assert_eq!(mine.acknowledged().expect("it is acknowledged"), 1);
    assert!(before[0].publish(&topic, 1, "1").and_then(|()| before[0].acknowledged()).is_err());
}
