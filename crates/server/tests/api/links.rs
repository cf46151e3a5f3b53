//! A link that is lost and found: everything that was acknowledged arrives once, with its own time and in its order.

use std::net::SocketAddr;
use std::time::Duration;

use motehub_domain::time::Span;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::cut::{Cable, Wire};
use crate::support::gateway::Gateway;
use crate::support::live::Reader;
use crate::support::mqtt::Publisher;
use crate::support::{Hub, START};

const TELEMETRY: &str = "devices/lamp-1/telemetry";

/// A hub, a device of it, and a gateway at the other end of a cable.
struct World {
    hub: Hub,
    lamp: String,
    credential: String,
    gateway_id: String,
    join: String,
    cable: Cable,
}

impl World {
    async fn new() -> Self {
        let hub = Hub::start().await;
        let made =
            hub.post("/devices", json!({ "name": "lamp-1", "dialect": "native", "external_id": "lamp-1" }));
        let made = made.await;
        let (lamp, credential) = (made.string("id"), made.string("credential"));
        let (gateway_id, join) = hub.gateway("cellar", "").await;
        let cable = Cable::to(hub.http).await;
        Self { hub, lamp, credential, gateway_id, join, cable }
    }

    async fn gateway(&self) -> Gateway {
        Gateway::start_through(&self.hub, &self.join, Some(self.cable.address), None).await
    }

    async fn device(&self, at: SocketAddr) -> Publisher {
        Publisher::connect_at(at, "lamp-1", &self.credential).await.unwrap()
    }

    /// Cuts the cable, and waits until both ends know.
    async fn cut(&self) {
        self.cable.set(Wire::Cut);
        self.hub.gateway_in(&self.gateway_id, "lost").await;
    }

    /// Mends it, and waits until nothing waits any more.
    async fn mended(&self) -> Value {
        self.cable.set(Wire::Whole);
        let path = format!("/gateways/{}", self.gateway_id);
        self.hub
            .until("everything was delivered", || async {
                let gateway = self.hub.get(&path).await.json();
                let said_how_it_is = gateway["link"]["connections"].as_u64() > Some(0);
                Some(gateway).filter(|it| said_how_it_is && it["link"]["spooled"] == 0)
            })
            .await
    }

    async fn points(&self) -> Vec<(i64, i64)> {
        let path = format!("/devices/{}/telemetry?metric=n&limit=100000", self.lamp);
        let found = self.hub.get(&path).await.json();
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{found}")).iter();
        let mut points: Vec<_> =
            items.map(|point| (point["value"].as_i64().unwrap(), point["time"].as_i64().unwrap())).collect();
        points.sort_unstable();
        points
    }

    async fn events(&self) -> Vec<Value> {
        let found = self.hub.get("/activity?kind=device_event&limit=200").await.json();
        let mut events: Vec<Value> = found["items"].as_array().unwrap().clone();
        events.reverse();
        events.into_iter().map(|event| event["after"].clone()).collect()
    }
}

fn numbers(of: impl Iterator<Item = i64>) -> Vec<String> {
    of.map(|n| json!({ "n": n }).to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ten_minutes_without_a_link_every_point_is_there_once_with_its_time() {
    const SECONDS: i64 = 600;
    const PER_SECOND: i64 = 100;
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    device.publish(TELEMETRY, br#"{"n":-1}"#).await.unwrap();
    world.cut().await;
    assert_eq!(world.hub.device_is(&world.lamp, "unreachable").await["online"], false);
    for second in 0..SECONDS {
        world.hub.clock.advance(Span::seconds(1));
        let from = second * PER_SECOND;
        device.publish_all(TELEMETRY, &numbers(from..from + PER_SECOND)).await.unwrap();
    }
    assert_eq!(world.points().await.len(), 1, "the hub has heard nothing meanwhile");
    let gateway_now = world.mended().await;
    assert_eq!((&gateway_now["link"]["dropped"], &gateway_now["link"]["refused"]), (&json!(0), &json!(0)));
    world.hub.device_is(&world.lamp, "online").await;
    device.publish(TELEMETRY, format!("{{\"n\":{}}}", SECONDS * PER_SECOND).as_bytes()).await.unwrap();
    let mut expected = vec![(-1, START.0)];
    expected.extend((0..SECONDS * PER_SECOND).map(|n| (n, START.0 + 1000 * (n / PER_SECOND + 1))));
    expected.push((SECONDS * PER_SECOND, START.0 + 1000 * SECONDS));
    assert!(world.points().await == expected, "each of {} points once, at its time", expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_again_without_a_link_has_lost_nothing() {
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    world.cut().await;
    device.publish_all(TELEMETRY, &numbers(0..50)).await.unwrap();
    device.publish("devices/lamp-1/event", br#"{"name":"first"}"#).await.unwrap();
    let disk = gateway.end().await;
    world.hub.clock.advance(Span::minutes(1));
    let (hub, at) = (&world.hub, Some(world.cable.address));
    let gateway = Gateway::start_through(hub, &world.join, at, Some(disk)).await;
    // The hub cannot be asked, but it let this one in before.
    let mut device = world.device(gateway.mqtt).await;
    let stranger = Publisher::connect_at(gateway.mqtt, "lamp-1", "a wrong credential").await;
    assert!(stranger.is_err(), "it was never let in");
    device.publish_all(TELEMETRY, &numbers(50..100)).await.unwrap();
    device.publish("devices/lamp-1/event", br#"{"name":"second"}"#).await.unwrap();
    world.mended().await;
    let expected: Vec<(i64, i64)> =
        (0..100).map(|n| (n, if n < 50 { START.0 } else { START.0 + 60_000 })).collect();
    assert_eq!(world.points().await, expected);
    let events = world.events().await;
    let names: Vec<&Value> = events.iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(events[0]["time"], START.0, "it says when it happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_without_an_answer_is_stored_once() {
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    for round in 0..5 {
        world.cable.set(Wire::Deaf);
        // The hub takes it, and the gateway does not learn so: it waits until the link is over.
        let event = format!(r#"{{"name":"round-{round}"}}"#);
        let value = format!(r#"{{"n":{round}}}"#);
        let said = async {
            device.publish(TELEMETRY, value.as_bytes()).await.unwrap();
            device.publish("devices/lamp-1/event", event.as_bytes()).await.unwrap();
        };
        let cut = async {
            let taken = || async { Some(world.points().await).filter(|it| it.len() == round + 1) };
            world.hub.until("the hub took it", taken).await;
            world.cut().await;
        };
        tokio::join!(said, cut);
        world.hub.clock.advance(Span::seconds(30));
        world.mended().await;
        world.hub.gateway_in(&world.gateway_id, "linked").await;
    }
    let names: Vec<String> =
        world.events().await.iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, (0..5).map(|round| format!("round-{round}")).collect::<Vec<_>>());
    let values: Vec<i64> = world.points().await.into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_of_a_long_cut_arrive_in_their_order() {
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    world.cut().await;
    for n in 0..150 {
        device.publish("devices/lamp-1/event", format!(r#"{{"name":"e{n}"}}"#).as_bytes()).await.unwrap();
        world.hub.clock.advance(Span::seconds(2));
    }
    world.mended().await;
    let found: Vec<(String, i64)> = (world.events().await.iter())
        .map(|event| (event["name"].as_str().unwrap().to_owned(), event["time"].as_i64().unwrap_or_default()))
        .collect();
    let expected: Vec<_> = (0..150).map(|n| (format!("e{n}"), START.0 + 2000 * n)).collect();
    assert_eq!(found.len(), expected.len(), "no more than a device may say within a minute came at once");
    assert_eq!(found[..147], expected[..147], "what is late says when it happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_value_comes_before_what_led_to_it() {
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    world.cut().await;
    for n in 0..200 {
        world.hub.clock.advance(Span::seconds(1));
        device.publish(TELEMETRY, format!(r#"{{"n":{n}}}"#).as_bytes()).await.unwrap();
    }
    let mut reader = Reader::open(&world.hub, &world.hub.ada, "", None).await.unwrap();
    reader.say(&json!({ "watch": [world.lamp] }).to_string()).await;
    // An answered frame behind it: it is in force then.
    reader.say("?").await;
    while reader.next().await.expect("the connection is open")["error"].is_null() {}
    world.cable.set(Wire::Whole);
    let first = loop {
        let frame = reader.next().await.expect("the connection is open");
        if let Some(points) = frame["telemetry"][&world.lamp].as_array() {
            break points[0].clone();
        }
    };
    assert_eq!((&first[0], &first[2]), (&json!("n"), &json!(199)), "{first}");
    world.mended().await;
    assert_eq!(world.points().await.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_while_the_link_was_cut_holds_when_it_is_back() {
    let world = World::new().await;
    let gateway = world.gateway().await.linked().await;
    let mut device = world.device(gateway.mqtt).await;
    world.cut().await;
    // The device is given another credential, which it does not know.
    let path = format!("/devices/{}/credential", world.lamp);
    assert!(world.hub.post(&path, json!({})).await.status < 300);
    device.publish(TELEMETRY, br#"{"n":1}"#).await.unwrap();
    world.cable.set(Wire::Whole);
    let over = async { while device.publish(TELEMETRY, br#"{"n":2}"#).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), over).await.expect("its connection is over");
    let again = Publisher::connect_at(gateway.mqtt, "lamp-1", &world.credential).await;
    assert!(again.is_err(), "its old credential is good no more");
    world.cut().await;
    let again = Publisher::connect_at(gateway.mqtt, "lamp-1", &world.credential).await;
    assert!(again.is_err(), "and is not when the hub cannot be asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_overheard_lets_nobody_in() {
    let world = World::new().await;
    let _gateway = world.gateway().await.linked().await;
    let overheard = world.cable.heard();
    let again = async {
        let mut stream = TcpStream::connect(world.hub.http).await.unwrap();
        stream.write_all(&overheard).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), again).await.expect("the hub ends it");
    assert!(answer.contains("the hub does not know this gateway, or its key was revoked"), "{answer}");
    assert_eq!(world.hub.get(&format!("/gateways/{}", world.gateway_id)).await.json()["state"], "linked");
}
