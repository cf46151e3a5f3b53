//! A gateway elsewhere: the real one with its MQTT broker, linked to a hub of a test over a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::kept::{Batch, Recalled};
use motehub_domain::time::Time;
use motehub_gateway::hub::{Answer as Coming, UplinkError};
use motehub_gateway::link::proof::PrivateKey;
use motehub_gateway::link::{Address, Full, Notes, RemoteHub, Route, Settings, Spool, SpoolSettings};
use motehub_gateway::mqtt;
use motehub_store::{Store, StoreError, StoreUrl};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Hub;

/// A gateway that runs until it is dropped.
pub(crate) struct Gateway {
    pub(crate) mqtt: SocketAddr,
    pub(crate) hub: RemoteHub,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// Holds the broker, which holds the hub, which may order.
    orders: JoinHandle<()>,
    disk: Arc<Disk>,
}

/// The disk of a gateway, which outlives it: a folder for its spool, and the database in memory.
pub(crate) struct Disk {
    folder: TempDir,
    store: Store,
}

/// The database of the broker.
struct OwnDisk(Store);

impl Notes for OwnDisk {
    fn keep<'a>(&'a self, batch: &'a Batch) -> Coming<'a, Result<(), UplinkError>> {
        Box::pin(async move { self.0.keep(batch).await.map_err(|error| unavailable(&error)) })
    }
    fn recall(&self) -> Coming<'_, Result<Recalled, UplinkError>> {
        Box::pin(async move { self.0.recall().await.map_err(|error| unavailable(&error)) })
    }
    fn note<'a>(&'a self, name: &'a str) -> Coming<'a, Result<Option<Vec<u8>>, UplinkError>> {
        Box::pin(async move { self.0.note(name).await.map_err(|error| unavailable(&error)) })
    }
    fn set_note<'a>(&'a self, name: &'a str, body: Option<Vec<u8>>) -> Coming<'a, Result<(), UplinkError>> {
        let effects = Effects { save: vec![Save::Note(name.to_owned(), body)], ..Effects::none() };
        Box::pin(async move {
            self.0.commit(&effects, Time(0)).await.map(drop).map_err(|error| unavailable(&error))
        })
    }
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.orders.abort();
    }
}

impl Gateway {
    /// Starts one with a join file.
    pub(crate) async fn start(hub: &Hub, join_file: &str) -> Self {
        Self::start_through(hub, join_file, None, None).await
    }

    /// Starts one that reaches the hub through a proxy, on a disk that was used before.
    pub(crate) async fn start_through(
        hub: &Hub,
        join_file: &str,
        proxy: Option<SocketAddr>,
        disk: Option<Arc<Disk>>,
    ) -> Self {
        let disk = match disk {
            Some(disk) => disk,
            None => Arc::new(Disk {
                folder: tempfile::Builder::new().prefix("motehub-gateway-").tempdir().unwrap(),
                store: Store::open(&StoreUrl::Memory).await.unwrap(),
            }),
        };
        let value = |name: &str| {
            let line = join_file.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            let text = line.unwrap_or_else(|| panic!("no {name} in {join_file}"));
            text.trim_matches('"').to_owned()
        };
        let clock = hub.clock.clone();
        let clock: motehub_gateway::link::Clock = Arc::new(move || clock.now());
        let way = proxy.map_or(value("hub"), |proxy| format!("http://{proxy}"));
        let (hub_name, spool_clock) = (value("hub_name"), clock.clone());
        let open = || async {
            let settings = SpoolSettings {
                folder: disk.folder.path().to_owned(),
                bytes_max: 64 * 1024 * 1024,
                age_max: None,
                full: Full::DropOldest,
            };
            Spool::open(settings, &hub_name, spool_clock.clone()).ok()
        };
        let spool = super::wait::until("the spool is opened: the gateway before has ended", open).await;
        let settings = Settings {
            routes: vec![Route { address: Address::parse(&way).unwrap(), tls: None }],
            hub: value("hub_name"),
            gateway: value("gateway").parse().unwrap(),
            key: PrivateKey::read(&STANDARD.decode(value("private_key")).unwrap()).unwrap(),
            serves: "mqtt".to_owned(),
            version: "test".to_owned(),
            spool,
            clock,
            notes: Box::new(OwnDisk(disk.store.clone())),
        };
        let (remote, mut ends) = RemoteHub::new(settings);
        let mut orders = ends.take_orders();
        let shutdown = CancellationToken::new();
        let link = tokio::spawn(remote.clone().run(ends, shutdown.clone()));
        let listen = mqtt::Settings { tcp: Some(([127, 0, 0, 1], 0).into()), ..mqtt::Settings::default() };
        let now_ms = hub.clock.now().0.unsigned_abs();
        let listen = mqtt::Settings { now_ms, first_connection: now_ms << 10, ..listen };
        let broker = mqtt::Gateway::bind(listen, Arc::new(remote.clone())).await.unwrap();
        let (mqtt, handle) = (broker.addresses().tcp.unwrap(), broker.handle());
        let broker = tokio::spawn(broker.run(shutdown.clone()));
        let orders = tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                order.obey(&handle);
            }
        });
        Self { mqtt, hub: remote, shutdown, tasks: vec![link, broker], orders, disk }
    }

    /// Ends it. Gives its disk.
    pub(crate) async fn end(mut self) -> Arc<Disk> {
        self.shutdown.cancel();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        self.disk.clone()
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
