//! Several nodes on one PostgreSQL and one NATS: one holder for each work, taken over when a node goes, and what does not
//! fit together is refused at the start.

use motehub_domain::time::Time;
use motehub_server::{BusUrl, Clock, NodeName, Settings};
use motehub_store::{Node as StoredNode, Store, StoreUrl};
use serde_json::{Value, json};
use servers::{Nats, Postgres};

use crate::support::mqtt::Publisher;
use crate::support::{Caller, Hub};

const ALL: usize = 7;

/// A database and a bus for the nodes of one hub.
struct Place {
    store: String,
    nats: Nats,
    secrets: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("access-keys.secret"), [7_u8; 32]).unwrap();
        Self { store: Postgres::database(), nats: Nats::start(), secrets }
    }

    async fn store(&self) -> Store {
        Store::open(&self.store.parse::<StoreUrl>().unwrap()).await.unwrap()
    }

    /// Settings of a node, with the secrets that all nodes have.
    fn settings(&self, name: &str) -> (tempfile::TempDir, Settings) {
        let data = tempfile::tempdir().unwrap();
        let file = "access-keys.secret";
        std::fs::copy(self.secrets.path().join(file), data.path().join(file)).unwrap();
        let mut settings = Hub::settings(data.path());
        settings.store = self.store.parse().unwrap();
        settings.bus = Some(BusUrl::parse(&self.nats.url()).unwrap());
        settings.node = NodeName::parse(name).unwrap();
        (data, settings)
    }

    async fn node(&self, name: &str, ada: Option<&Caller>) -> Hub {
        let (data, settings) = self.settings(name);
        Hub::one_of(data, settings, ada).await.unwrap_or_else(|why| panic!("{name}: {why}"))
    }

    /// Two nodes; the first does everything.
    async fn pair(&self) -> (Hub, Hub) {
        let one = self.node("one", None).await;
        has_all(&one, "one").await;
        let two = self.node("two", Some(&one.ada)).await;
        sees(&two, 2).await;
        (one, two)
    }

    /// Why a node does not start.
    async fn refuses(&self, name: &str, change: impl FnOnce(&mut Settings)) -> String {
        let (data, mut settings) = self.settings(name);
        change(&mut settings);
        Hub::one_of(data, settings, Some(&Caller::default())).await.err().unwrap_or_default()
    }
}

/// The work of each node that lives.
async fn work(hub: &Hub) -> Vec<(String, usize)> {
    let list = hub.get("/nodes").await.json();
    let alive = list["items"].as_array().unwrap().iter().filter(|node| node["alive"] == true);
    let of =
        |node: &Value| (node["name"].as_str().unwrap().to_owned(), node["work"].as_array().unwrap().len());
    alive.map(of).collect()
}

async fn has_all(hub: &Hub, name: &str) {
    let expected = vec![(name.to_owned(), ALL)];
    hub.until("it does everything", || async {
        let mut found = work(hub).await;
        found.retain(|(_, works)| *works > 0);
        (found == expected).then_some(())
    })
    .await;
}

async fn sees(hub: &Hub, nodes: usize) {
    hub.until("all are seen", || async { (work(hub).await.len() == nodes).then_some(()) }).await;
}

/// Whether balancers may send clients there, and what it says.
async fn ready(hub: &Hub) -> (u16, Value) {
    let answer = hub.exchange(b"GET /readyz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_hub_alone_is_one_node_and_ready() {
    let hub = Hub::start().await;
    let list = hub.get("/nodes").await.json();
    assert_eq!(
        (&list["alone"], &list["shared_store"], &list["bus_here"]),
        (&json!(true), &json!(servers::is_postgres()), &json!(null))
    );
    let node = &list["items"][0];
    assert_eq!((&node["name"], &node["alive"], &node["this"]), (&json!("hub"), &json!(true), &json!(true)));
    assert_eq!(node["work"].as_array().unwrap().len(), ALL);
    assert_eq!(ready(&hub).await, (200, json!({ "ready": true, "node": "hub", "why": [] })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_node_that_goes_is_taken_over() {
    let place = Place::new();
    let one = place.node("one", None).await;
    has_all(&one, "one").await;
    let two = place.node("two", Some(&one.ada)).await;
    sees(&two, 2).await;
    has_all(&one, "one").await;
    // In good order: at once.
    one.end().await;
    has_all(&two, "two").await;
    // As a machine that dies: when its leases end.
    let three = place.node("three", Some(&two.ada)).await;
    sees(&three, 2).await;
    two.kill();
    has_all(&three, "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_together_is_refused_at_the_start() {
    let place = Place::new();
    let one = place.node("one", None).await;
    let same = place.refuses("one", |_| {}).await;
    assert!(same.contains("another node is called one"), "{same}");
    let no_bus = place.refuses("two", |settings| settings.bus = None).await;
    assert!(no_bus.contains("several nodes need --bus"), "{no_bus}");
    let on_a_file = place.refuses("two", |settings| settings.store = StoreUrl::Memory).await;
    assert!(on_a_file.contains("one PostgreSQL database"), "{on_a_file}");
    let clock =
        place.refuses("two", |settings| settings.clock = Clock::manual(Time(1_800_000_000_000))).await;
    assert!(clock.contains("apart") && clock.contains("NTP"), "{clock}");
    let secret = place
        .refuses("two", |settings| {
            std::fs::write(settings.data.join("access-keys.secret"), [8_u8; 32]).unwrap();
        })
        .await;
    assert!(secret.contains("access-keys.secret") && secret.contains("copy it"), "{secret}");
    let store = place.store().await;
    let now = Clock::System.now();
    let older = StoredNode {
        name: "old".to_owned(),
        instance: "x".to_owned(),
        version: "0.0.9".to_owned(),
        started_at: now,
        seen_at: now + motehub_domain::time::Span::minutes(1),
        address: String::new(),
        figures: json!({ "is_alone": false }),
    };
    assert!(store.beat(&older, now).await.unwrap());
    let version = place.refuses("two", |_| {}).await;
    assert!(version.contains("old runs Motehub 0.0.9"), "{version}");
    one.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_ready_while_the_bus_is_away() {
    let place = Place::new();
    let hub = place.node("one", None).await;
    assert_eq!(ready(&hub).await, (200, json!({ "ready": true, "node": "one", "why": [] })));
    place.nats.kill();
    hub.until("it says that the bus is away", || async {
        let (status, body) = ready(&hub).await;
        (status == 503 && body["why"][0]["code"] == "bus_away").then_some(())
    })
    .await;
    let list = hub.get("/nodes").await.json();
    assert_eq!((&list["bus_here"], &list["troubles"][0]["code"]), (&json!(false), &json!("bus_away")));
    place.nats.start_again();
    hub.until("it is ready again", || async { (ready(&hub).await.0 == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_time_code_of_any_node_serves_at_every_node() {
    let place = Place::new();
    let nobody = Caller::default();
    let one = place.node("one", Some(&nobody)).await;
    let mut two = place.node("two", Some(&nobody)).await;
    two.set_up(&one.setup_code).await;
    assert_eq!(two.get("/nodes").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hear_what_devices_say_at_any_node_also_after_the_teller_died() {
    let place = Place::new();
    let (one, two) = place.pair().await;
    sees(&one, 2).await;
    let secret = registered(&one, "stove").await;
    let rule = json!({ "name": "hot", "enabled": true, "when": { "metric": "t" }, "condition": "value > 30",
        "actions": [{ "alarm": { "severity": "critical", "message": "hot" } }] });
    let made = one.post("/rules", rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.string("id");
    let mut link = Publisher::connect(&two, "stove", &secret).await.unwrap();
    let mut says = async |t: i64| {
        link.publish("devices/stove/telemetry", json!({ "t": t }).to_string().as_bytes()).await.unwrap();
    };
    says(20).await;
    says(31).await;
    fired(&one, &id, 1).await;
    says(20).await;
    says(32).await;
    fired(&two, &id, 2).await;
    // What is said while nobody tells rules is told by the next one, from the store.
    one.kill();
    says(20).await;
    says(33).await;
    fired(&two, &id, 3).await;
    says(20).await;
    says(34).await;
    fired(&two, &id, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_tells_rules_nothing_again() {
    let place = Place::new();
    let (one, two) = place.pair().await;
    let secret = registered(&one, "door").await;
    let rule = json!({ "name": "bell", "enabled": true, "when": { "event": "bell" },
        "actions": [{ "alarm": { "severity": "info", "message": "somebody is there" } }] });
    let id = one.post("/rules", rule).await.string("id");
    let mut link = Publisher::connect(&two, "door", &secret).await.unwrap();
    let mut rings = async |n: i64| {
        let event = json!({ "name": "bell", "data": n }).to_string();
        link.publish("devices/door/event", event.as_bytes()).await.unwrap();
    };
    rings(1).await;
    fired(&one, &id, 1).await;
    one.end().await;
    has_all(&two, "two").await;
    rings(2).await;
    let told = two.until("the second", || async {
        let list = two.get(&format!("/rules/{id}/firings?limit=100")).await.json();
        let data = |firing: &Value| firing["trace"]["came"]["data"].clone();
        let told: Vec<Value> = list["items"].as_array().unwrap().iter().map(data).collect();
        told.contains(&json!(2)).then_some(told)
    });
    assert_eq!(told.await, [2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_goes_on_when_rules_are_taken_over() {
    let place = Place::new();
    let (one, two) = place.pair().await;
    let secret = registered(&one, "door").await;
    let actions = json!([{ "publish": { "topic": "told", "payload": 1 } }]);
    let rule =
        |name: &str, when: Value| json!({ "name": name, "enabled": true, "when": when, "actions": actions });
    let bell = one.post("/rules", rule("bell", json!({ "event": "bell" }))).await.string("id");
    let when = json!({ "absence": { "metric": "t", "for_s": 6 } });
    let silent = one.post("/rules", rule("silent", when)).await;
    let id = silent.string("id");
    let mut link = Publisher::connect(&two, "door", &secret).await.unwrap();
    link.publish("devices/door/telemetry", json!({ "t": 20 }).to_string().as_bytes()).await.unwrap();
    // Rules were told more than that when they are taken over.
    link.publish("devices/door/event", json!({ "name": "bell" }).to_string().as_bytes()).await.unwrap();
    fired(&one, &bell, 1).await;
    one.end().await;
    fired(&two, &id, 1).await;
    let told = two.get(&format!("/rules/{id}/firings")).await.json()["items"][0]["at"].clone();
    let from = json!({ "from": silent.json()["enabled_at"] });
    let replayed = two.post(&format!("/rules/{id}/replay"), from).await.json();
    assert_eq!(told, replayed["firings"][0]["at"], "{replayed}");
}

async fn fired(hub: &Hub, rule: &str, times: usize) {
    hub.until(&format!("{times} firings"), || async {
        let list = hub.get(&format!("/rules/{rule}/firings?limit=100")).await.json();
        let found = list["items"].as_array().unwrap().len();
        assert!(found <= times, "too many: {list}");
        (found == times).then_some(())
    })
    .await;
}

/// Registers a board. Returns its credential.
async fn registered(hub: &Hub, name: &str) -> String {
    let board = json!({ "name": name, "dialect": "native", "external_id": name });
    hub.post("/devices", board).await.string("credential")
}
