//! Gateways on other hosts, as processes of their own that reach the hub over TLS and believe its own authority only:
//! cuts of the link, and kills of either side at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use end_to_end::{Cable, Fleet, Gateway, Hub, Publisher, join_file, until};
use serde_json::{Value, json};

/// The time of the first message; message n is ten milliseconds later: a hundred in a second.
const FIRST_MS: i64 = 1_700_000_000_000;
const MESSAGES: usize = 12_000;
/// How many messages are in flight.
const IN_FLIGHT: usize = 40;

/// A gateway that reaches its hub over a cable.
struct World {
    hub: Hub,
    cable: Cable,
    gateway: Gateway,
    id: String,
}

impl World {
    fn start(kind: &str, selector: &str) -> Self {
        let hub = Hub::start(&["--https", "127.0.0.1:0"]);
        let https = hub.ready["https"].as_str().expect("it listens by TLS").to_owned();
        let cable = Cable::to(&https);
        let way = format!("https://{}", cable.address);
        let made = hub.api.post("/gateways", &json!({ "name": "cellar", "selector": selector, "hub": way }));
        let id = made["gateway"]["id"].as_str().expect("an id").to_owned();
        let join = made["join_file"].as_str().expect("a file");
        assert!(join.contains("BEGIN CERTIFICATE"), "the authority is pinned: {join}");
        let key = join_file(&hub.data().join(".."), join);
        let gateway = Gateway::start(kind, &key, &[], &[]);
        let world = Self { hub, cable, gateway, id };
        world.is("linked");
        world
    }

    fn shown(&self) -> Value {
        self.hub.api.get(&format!("/gateways/{}", self.id))
    }

    fn is(&self, state: &str) {
        until(&format!("the gateway is {state}"), || (self.shown()["state"] == state).then_some(()));
    }

    fn spooled(&self) -> Option<u64> {
        self.shown()["link"]["spooled"].as_u64()
    }
}

fn payload(n: usize) -> String {
    json!({ "ts": FIRST_MS + 10 * i64::try_from(n).expect("small"), "n": n }).to_string()
}

/// Publishes everything that is not acknowledged yet, over as many connections as it takes.
fn publish_all(address: &str, id: &str, credential: &str, acknowledged: &AtomicUsize) {
    let topic = format!("devices/{id}/telemetry");
    let mut open: BTreeSet<usize> = (0..MESSAGES).collect();
    while !open.is_empty() {
        let mut connection =
            until("the gateway lets in", || Publisher::connect(address, id, id, credential).ok());
        let _ = publish_some(&mut connection, &topic, &mut open, acknowledged);
    }
}

fn publish_some(
    connection: &mut Publisher,
    topic: &str,
    open: &mut BTreeSet<usize>,
    acknowledged: &AtomicUsize,
) -> std::io::Result<()> {
    let mut waiting: BTreeMap<u16, usize> = BTreeMap::new();
    let mut next = open.clone().into_iter().peekable();
    while next.peek().is_some() || !waiting.is_empty() {
        while waiting.len() < IN_FLIGHT
            && let Some(n) = next.next()
        {
            let id = u16::try_from(n + 1).expect("it fits");
            connection.publish(topic, id, &payload(n))?;
            waiting.insert(id, n);
        }
        let n = waiting.remove(&connection.acknowledged()?).expect("an id that is in flight");
        open.remove(&n);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

#[test]
fn cuts_and_kills_of_either_side_lose_nothing_acknowledged_and_double_nothing() {
    let mut world = World::start("mqtt", "");
    let (id, credential) = world.hub.api.native("lamp", "cellar");
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let (address, device, count) = (world.gateway.address.clone(), id.clone(), acknowledged.clone());
    let publisher = std::thread::spawn(move || publish_all(&address, &device, &credential, &count));
    let reached = |part: usize| {
        let wanted = MESSAGES * part / 10;
        until("messages are acknowledged", || (acknowledged.load(Ordering::SeqCst) >= wanted).then_some(()));
    };
    let unreachable = |world: &World| {
        until("the device is unreachable", || {
            (world.hub.api.get(&format!("/devices/{id}"))["reach"] == "unreachable").then_some(())
        });
    };
    reached(1);
    world.gateway.again();
    reached(2);
    world.hub.again();
    reached(3);
    world.cable.cut();
    world.is("lost");
    unreachable(&world);
    reached(5);
    world.gateway.again();
    reached(6);
    world.hub.again();
    unreachable(&world);
    reached(7);
    world.cable.mend();
    reached(8);
    world.gateway.again();
    world.hub.again();
    reached(9);
    world.cable.cut();
    publisher.join().expect("everything is acknowledged");
    world.cable.mend();
    until("nothing waits", || {
        (world.spooled() == Some(0) && world.shown()["link"]["messages"].is_u64()).then_some(())
    });
    let points = until("everything arrived", || {
        let found = world.hub.api.get(&format!("/devices/{id}/telemetry?metric=n&limit=100000"));
        let items = found["items"].as_array().expect("items").clone();
        (items.len() >= MESSAGES).then_some(items)
    });
    let found: Vec<usize> = points
        .iter()
        .map(|it| usize::try_from(it["value"].as_u64().expect("a number")).expect("small"))
        .collect();
    assert_eq!(found, (0..MESSAGES).collect::<Vec<_>>(), "each once, in the order of their times");
    let last = points.last().expect("there are some");
    assert_eq!(last["time"], FIRST_MS + 10 * (MESSAGES as i64 - 1), "it has the time that it was given");
    assert_eq!(world.shown()["link"]["dropped"], 0);
}

#[test]
fn every_kind_of_gateway_finds_its_hub() {
    for kind in ["mqtt", "coap"] {
        assert_eq!(World::start(kind, "").shown()["link"]["serves"], kind);
    }
}

#[test]
fn a_revoked_gateway_is_cut_at_once_and_told_why() {
    let world = World::start("mqtt", "");
    let (status, _) = world.hub.api.call("DELETE", &format!("/gateways/{}/key", world.id), None);
    assert_eq!(status, 204);
    world.is("revoked");
    until("it says why", || world.gateway.log().contains("its key was revoked").then_some(()));
    until("it is not let in again", || world.gateway.log().contains("make a new join file").then_some(()));
}

#[test]
fn riot_nodes_behind_a_gateway_are_found_told_and_unreachable_when_it_is() {
    let world = World::start("coap", "dialect=riot");
    let network = ["--nodes", "1", "--firmware", "leds", "--alive-ms", "500"];
    let mut fleet = Fleet::riot_at(&world.hub, &world.gateway.address, &network);
    fleet.await_fact("node", |_| true);
    let api = &world.hub.api;
    let knock = until("the node is in the inbox", || {
        Some(api.get("/inbox")["items"][0].clone()).filter(|knock| knock["dialect"] == "riot")
    });
    let path = format!("/inbox/{}/accept", knock["id"].as_str().expect("an id"));
    let accepted = api.post(&path, &json!({ "name": "lamp", "without_credential": true }));
    let id = accepted["id"].as_str().expect("an id").to_owned();
    let reach = |wanted: &str| {
        until(&format!("the node is {wanted}"), || {
            (api.get(&format!("/devices/{id}"))["reach"] == wanted).then_some(())
        });
    };
    reach("online");
    assert_eq!(api.get(&format!("/devices/{id}"))["gateway"], world.id.as_str());
    let desired = json!({ "state": { "desired": { "led": 1 } } });
    let (status, answer) = api.call("PATCH", &format!("/devices/{id}/shadow"), Some(&desired));
    assert_eq!(status, 200, "{answer}");
    fleet.await_fact("set", |fact| fact["value"] == "1");
    world.cable.cut();
    reach("unreachable");
    // What is wanted meanwhile waits at the hub.
    let desired = json!({ "state": { "desired": { "led": 0 } } });
    api.call("PATCH", &format!("/devices/{id}/shadow"), Some(&desired));
    world.cable.mend();
    fleet.await_fact("set", |fact| fact["value"] == "0");
    reach("online");
}

#[test]
fn a_gateway_goes_round_the_addresses_of_its_hub() {
    let hub = Hub::start(&["--https", "127.0.0.1:0"]);
    let https = hub.ready["https"].as_str().expect("it listens by TLS").to_owned();
    let (one, other) = (Cable::to(&https), Cable::to(&https));
    // The first ends every connection.
    let gone = Cable::to(&https);
    gone.cut();
    let ways = [&gone, &one, &other].map(|cable| format!("https://{}", cable.address)).join(", ");
    let made = hub.api.post("/gateways", &json!({ "name": "attic", "hub": ways }));
    let key = join_file(&hub.data().join(".."), made["join_file"].as_str().expect("a file"));
    let gateway = Gateway::start("mqtt", &key, &[], &[]);
    let id = made["gateway"]["id"].as_str().expect("an id").to_owned();
    let links = || hub.api.get(&format!("/gateways/{id}"))["link"]["links"].as_u64();
    until("it is linked by the second", || (links() == Some(1)).then_some(()));
    let (device, credential) = hub.api.native("lamp", "attic");
    let mut lamp = Publisher::connect(&gateway.address, &device, &device, &credential).expect("it is let in");
    let stored = |count: usize| {
        let path = format!("/devices/{device}/telemetry?from=0&to=9999999999999&metric=n");
        until("the points are stored", || {
            let points = hub.api.get(&path);
            (points["items"].as_array().map(Vec::len) == Some(count)).then_some(())
        });
    };
    lamp.publish(&format!("devices/{device}/telemetry"), 1, &payload(1)).expect("it is sent");
    lamp.acknowledged().expect("it is acknowledged");
    stored(1);
    one.cut();
    until("it is linked by the third", || (links() == Some(2)).then_some(()));
    lamp.publish(&format!("devices/{device}/telemetry"), 2, &payload(2)).expect("it is sent");
    lamp.acknowledged().expect("it is acknowledged");
    stored(2);
    one.mend();
    other.cut();
    until("it is linked by the second again", || (links() == Some(3)).then_some(()));
}
