//! A gateway elsewhere: the real one with its MQTT broker, linked to a hub of a test over a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use motehub_domain::kept::{Batch, Recalled};
use motehub_gateway::hub::{Answer as Coming, UplinkError};
use motehub_gateway::link::proof::PrivateKey;
use motehub_gateway::link::{Address, Notes, RemoteHub, Route, Settings};
use motehub_gateway::mqtt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Hub;

/// A gateway that runs until it is dropped.
pub(crate) struct Gateway {
    pub(crate) mqtt: SocketAddr,
    pub(crate) hub: RemoteHub,
    shutdown: CancellationToken,
}

/// What a broker without kept sessions keeps.
struct Nothing;

impl Notes for Nothing {
    fn keep<'a>(&'a self, _: &'a Batch) -> Coming<'a, Result<(), UplinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn recall(&self) -> Coming<'_, Result<Recalled, UplinkError>> {
        Box::pin(std::future::ready(Ok(Recalled::default())))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Gateway {
    /// Starts one with a join file.
    pub(crate) async fn start(hub: &Hub, join_file: &str) -> Self {
        let value = |name: &str| {
            let line = join_file.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            let text = line.unwrap_or_else(|| panic!("no {name} in {join_file}"));
            text.trim_matches('"').to_owned()
        };
        let clock = hub.clock.clone();
        let settings = Settings {
            route: Route { address: Address::parse(&value("hub")).unwrap(), tls: None },
            hub: value("hub_name"),
            gateway: value("gateway").parse().unwrap(),
            key: PrivateKey::read(&STANDARD.decode(value("private_key")).unwrap()).unwrap(),
            serves: "mqtt".to_owned(),
            version: "test".to_owned(),
            clock: Arc::new(move || clock.now()),
            notes: Box::new(Nothing),
        };
        let (remote, mut ends) = RemoteHub::new(settings);
        let mut orders = ends.take_orders();
        let shutdown = CancellationToken::new();
        tokio::spawn(remote.clone().run(ends, shutdown.clone()));
        let listen = mqtt::Settings { tcp: Some(([127, 0, 0, 1], 0).into()), ..mqtt::Settings::default() };
        let listen = mqtt::Settings { now_ms: hub.clock.now().0.unsigned_abs(), ..listen };
        let broker = mqtt::Gateway::bind(listen, Arc::new(remote.clone())).await.unwrap();
        let (mqtt, handle) = (broker.addresses().tcp.unwrap(), broker.handle());
        tokio::spawn(broker.run(shutdown.clone()));
        tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                order.obey(&handle);
            }
        });
        Self { mqtt, hub: remote, shutdown }
    }

    /// Waits for its link.
    pub(crate) async fn linked(self) -> Self {
        tokio::time::timeout(super::wait::WAIT_MAX, self.hub.is_linked()).await.expect("it is linked");
        self
    }
}

impl Hub {
    /// Registers a gateway. Returns its id and its join file.
    pub(crate) async fn gateway(&self, name: &str, selector: &str) -> (String, String) {
        let new = json!({ "name": name, "selector": selector, "hub": format!("http://{}", self.http) });
        let made = self.post("/gateways", new).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["gateway"]["id"].as_str().unwrap().to_owned();
        (id, made.string("join_file"))
    }

    /// Waits until a gateway is in a state, and returns it.
    pub(crate) async fn gateway_in(&self, id: &str, state: &str) -> Value {
        let path = format!("/gateways/{id}");
        self.until(&format!("the gateway is {state}"), || async {
            Some(self.get(&path).await.json()).filter(|it| it["state"] == state)
        })
        .await
    }

    /// Waits until a device is in a state of reach, and returns it.
    pub(crate) async fn device_is(&self, id: &str, reach: &str) -> Value {
        let path = format!("/devices/{id}");
        self.until(&format!("the device is {reach}"), || async {
            Some(self.get(&path).await.json()).filter(|it| it["reach"] == reach)
        })
        .await
    }
}
