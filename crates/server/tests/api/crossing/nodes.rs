//! Two nodes of a hub, and the bus between them.

use motehub_server::{BusUrl, NodeName};
use serde_json::{Value, json};
use servers::{Nats, Postgres};

use crate::support::Hub;
use crate::support::mqtt::Publisher;

/// Nodes `a` and `b`.
pub(crate) struct Nodes {
    pub(crate) a: Hub,
    pub(crate) b: Hub,
    pub(crate) nats: Nats,
}

impl Nodes {
    pub(crate) async fn start() -> Self {
        let (store, nats) = (Postgres::database(), Nats::start());
        let a = node("a", &store, &nats, None).await;
        let b = node("b", &store, &nats, Some(&a)).await;
        Self { a, b, nats }
    }

    /// Registers a native device. Gives its id and its credential.
    pub(crate) async fn lamp(&self, name: &str) -> (String, String) {
        let new = json!({ "name": name, "dialect": "native", "external_id": name });
        let made = self.a.post("/devices", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        (made.string("id"), made.string("credential"))
    }
}

/// A node, with the secrets and the administrator of the first one.
async fn node(name: &str, store: &str, nats: &Nats, first: Option<&Hub>) -> Hub {
    let data = tempfile::tempdir().unwrap();
    if let Some(first) = first {
        let secret = "access-keys.secret";
        std::fs::copy(first.folder().join(secret), data.path().join(secret)).unwrap();
    }
    let mut settings = Hub::settings(data.path());
    settings.store = store.parse().unwrap();
    settings.bus = Some(BusUrl::parse(&nats.url()).unwrap());
    settings.node = NodeName::parse(name).unwrap();
    let started = Hub::one_of(data, settings, first.map(|first| &first.ada)).await;
    started.unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// A lamp that listens.
pub(crate) async fn listening(hub: &Hub, name: &str, credential: &str) -> Publisher {
    let mut lamp = Publisher::connect(hub, name, credential).await.unwrap();
    lamp.subscribe(&format!("devices/{name}/#")).await.unwrap();
    lamp
}

/// The next message to a lamp on a topic that ends so.
pub(crate) async fn told(lamp: &mut Publisher, end: &str) -> Value {
    loop {
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), lamp.next_message()).await;
        let (topic, payload) = next.unwrap_or_else(|_| panic!("waited in vain for {end}")).unwrap();
        if topic.ends_with(end) {
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

/// Waits until a node shows a device so.
pub(crate) async fn await_reach(hub: &Hub, device: &str, reach: &str) {
    let path = format!("/devices/{device}");
    hub.until(reach, || async { (hub.get(&path).await.json()["reach"] == reach).then_some(()) }).await;
}

/// That a device came or went, as the activity has it, oldest first.
pub(crate) async fn comings(hub: &Hub, device: &str) -> Vec<String> {
    let listed = hub.get(&format!("/activity?device={device}&limit=1000")).await.json();
    let kinds = listed["items"].as_array().unwrap().iter().rev();
    let kinds = kinds.map(|change| change["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind == "device_online" || kind == "device_offline").collect()
}
