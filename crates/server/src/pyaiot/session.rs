//! One gateway: what its nodes say comes in, in the order in which it is said; what is desired of them goes out, one
//! thing at a time. Frames that wait are taken together, so that a gateway with many nodes is as fast as the disk.

mod batch;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, close_code};
use futures_util::{FutureExt, StreamExt};
use motehub_domain::device;
use motehub_domain::id::DeviceId;
use motehub_domain::knock::Via;
use motehub_domain::pyaiot::Key;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::{Arrival, Connection, ConnectionId, Hub, Transport, UplinkError};
use motehub_protocol::pyaiot::{self, FromGateway};
use motehub_protocol::riot::{self, Heard};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Link;
use super::gateway::Generation;
use super::nodes::{Nodes, QUEUE_MAX, Said, device_for};
use super::orders::{Orders, Step};
use crate::app::App;
use batch::Batch;

/// How many frames are taken together.
const BATCH_MAX: usize = 256;
/// Of how many metrics it is remembered that their units were told.
const UNITS_MAX: usize = 1_000;
/// A gateway that says every 30 seconds that it is alive is gone after this.
const SILENCE_MAX: Span = Span::seconds(90);
/// A gateway is pinged so often: then the end of a line that is cut is noticed.
const PING_EVERY: Span = Span::seconds(30);
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// When something could not be stored, the gateway is asked for all it knows after this.
const ASK_AGAIN_AFTER: Span = Span::seconds(10);
/// How long it is waited for further devices that are registered.
const GATHER: Span = Span::seconds(1);
/// How the hub calls itself when it asks for all that a gateway knows.
const SYNC: &str = "motehub";
/// The resources by which gateways of MQTT and WebSocket nodes tell what a node calls itself; they make up a uid.
const OWN_NAMES: [&str; 2] = ["id", "node"];
/// A made-up uid is a UUID.
const UUID_CHARS: usize = 36;

/// How a session ended.
pub(super) struct End {
    /// What the gateway is told, if it is told.
    pub(super) code: Option<u16>,
    /// In a few words.
    pub(super) why: String,
}

impl End {
    fn because(why: &str) -> Self {
        Self { code: None, why: why.to_owned() }
    }
    fn told(code: u16, why: &str) -> Self {
        Self { code: Some(code), why: why.to_owned() }
    }
}

/// One gateway that proved itself.
pub(super) struct Session {
    app: App,
    key: Key,
    link: Arc<Link>,
    generation: Generation,
    nodes: Nodes,
    orders: Orders,
    /// The metrics whose units were told already.
    units: HashSet<String>,
    heard_at: Time,
    pinged_at: Time,
    /// When it is to be asked for all it knows.
    ask_at: Option<Time>,
}

impl Session {
    pub(super) fn new(app: App, key: Key, link: Arc<Link>, generation: Generation) -> Self {
        let now = app.now();
        let (nodes, orders, units) = (Nodes::default(), Orders::default(), HashSet::new());
        let (heard_at, pinged_at, ask_at) = (now, now, Some(now));
        Self { app, key, link, generation, nodes, orders, units, heard_at, pinged_at, ask_at }
    }

    /// Talks until either side ends it.
    pub(super) async fn run(&mut self, socket: &mut WebSocket, shutdown: &CancellationToken) -> End {
        loop {
            let (app, link, deadline) = (self.app.clone(), self.link.clone(), self.next_deadline());
            let outcome = tokio::select! {
                message = socket.recv() => self.take(message, socket).await,
                Some(said) = self.nodes.downlinks.next(), if !self.nodes.downlinks.is_empty() => {
                    self.tell(said, socket).await
                }
                () = link.registered.notified() => {
                    // One of those that are no devices yet, perhaps. Many may be registered at once.
                    if self.nodes.counts().1 > 0 {
                        self.ask_at.get_or_insert(self.app.now() + GATHER);
                    }
                    Ok(())
                }
                () = app.clock.sleep_until(deadline) => self.elapsed(socket).await,
                () = link.revoked.cancelled() => Err(End::told(close_code::POLICY, "the key was revoked")),
                () = shutdown.cancelled() => Err(End::told(close_code::AWAY, "the hub stops")),
            };
            self.show();
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// What the list of keys says of this gateway.
    fn show(&self) {
        let (devices, strangers) = self.nodes.counts();
        self.link.devices.store(devices, Ordering::Relaxed);
        self.link.strangers.store(strangers, Ordering::Relaxed);
        self.link.listens.store(self.orders.is_heard(), Ordering::Relaxed);
    }

    /// The gateway is gone, and so are its nodes.
    pub(super) async fn forget_all(&mut self) {
        for node in self.nodes.take_all() {
            if let Some((device, connection)) = node.device {
                self.app.pyaiot.give_up(device, connection);
                self.app.detach(connection).await;
            }
        }
    }

    fn next_deadline(&self) -> Time {
        let silence = (self.generation == Generation::Present).then_some(self.heard_at + SILENCE_MAX);
        let due = [Some(self.pinged_at + PING_EVERY), silence, self.ask_at, self.orders.deadline()];
        due.into_iter().flatten().min().unwrap_or(self.pinged_at + PING_EVERY)
    }

    async fn elapsed(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let now = self.app.now();
        if self.generation == Generation::Present && now >= self.heard_at + SILENCE_MAX {
            return Err(End::told(close_code::POLICY, "nothing was heard for 90 seconds"));
        }
        if now >= self.pinged_at + PING_EVERY {
            self.pinged_at = now;
            send(socket, Message::Ping(bytes::Bytes::new())).await?;
        }
        if self.ask_at.take_if(|at| *at <= now).is_some() {
            send(socket, Message::Text(pyaiot::ask_all(SYNC).into())).await?;
        }
        let step = self.orders.elapsed(now);
        self.perform(step, socket).await
    }

    /// Takes a frame and those that have come behind it.
    async fn take(
        &mut self,
        first: Option<Result<Message, axum::Error>>,
        socket: &mut WebSocket,
    ) -> Result<(), End> {
        let mut batch = Batch::default();
        let mut next = Some(first);
        let mut taken = 0;
        let mut outcome = Ok(());
        while let Some(message) = next.take() {
            self.heard_at = self.app.now();
            outcome = match message {
                Some(Ok(Message::Text(text))) => self.frame(text.as_bytes(), &mut batch).await,
                Some(Ok(Message::Binary(bytes))) => self.frame(&bytes, &mut batch).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                Some(Ok(Message::Close(_))) | None => Err(End::because("the gateway closed the connection")),
                Some(Err(_)) => Err(End::because("the connection was lost")),
            };
            taken += 1;
            if outcome.is_ok() && taken < BATCH_MAX {
                next = socket.recv().now_or_never();
            }
        }
        // What was said before a bad frame, or before the end, counts.
        batch.close_all();
        // Whoever sees what was said sees who said it.
        self.show();
        self.store(batch.arrivals).await;
        for frame in batch.frames {
            send(socket, Message::Text(frame.into())).await?;
        }
        outcome
    }

    async fn store(&mut self, arrivals: Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        let outcomes = self.app.uplink(arrivals).await;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(UplinkError::Unavailable(_)))) {
            self.ask_at = Some(self.app.now() + ASK_AGAIN_AFTER);
        }
    }

    async fn frame(&mut self, frame: &[u8], batch: &mut Batch) -> Result<(), End> {
        let said = pyaiot::from_gateway(frame).map_err(|error| {
            counted("malformed");
            End::told(close_code::UNSUPPORTED, &error.0)
        })?;
        let now = self.app.now();
        match said {
            FromGateway::Alive => {}
            FromGateway::New { uid, to } => {
                self.answered(to.as_deref(), now, batch);
                self.announced(&uid).await;
            }
            FromGateway::Update { uid, endpoint, data, to } => {
                self.answered(to.as_deref(), now, batch);
                self.update(&uid, &endpoint, &pyaiot::data_text(&data), batch).await;
            }
            FromGateway::Out { uid } => {
                let Some(node) = self.nodes.remove(&uid) else { return Ok(()) };
                let step = self.orders.gone(&uid);
                if let Some((device, connection)) = node.device {
                    batch.close(device);
                    step.replies.into_iter().for_each(|(_, reply)| batch.push(device, reply));
                    self.app.pyaiot.give_up(device, connection);
                    self.app.detach(connection).await;
                }
            }
            FromGateway::Reset { uid } => {
                let Some((device, _)) = self.owned(&uid) else { return Ok(()) };
                batch.close(device);
                riot::restarted().into_iter().for_each(|uplink| batch.push(device, uplink));
            }
        }
        Ok(())
    }

    fn answered(&mut self, to: Option<&str>, now: Time, batch: &mut Batch) {
        if let Some(to) = to {
            let step = self.orders.answered(to, now);
            self.keep(step, batch);
        }
    }

    /// What the orders come to, for later: nothing but frames and replies of nodes that are devices.
    fn keep(&mut self, step: Step, batch: &mut Batch) {
        batch.frames.extend(step.frames);
        for (uid, reply) in step.replies {
            if let Some((device, _)) = self.nodes.get(&uid).and_then(|node| node.device) {
                batch.push(device, reply);
            }
        }
    }

    /// The device that a node is, if this gateway speaks for it. Also forgets what the node said last.
    fn owned(&mut self, uid: &str) -> Option<(DeviceId, ConnectionId)> {
        let node = self.nodes.get(uid)?;
        node.forget();
        node.device
    }

    async fn announced(&mut self, uid: &str) {
        if !device::is_external_id(uid) {
            return counted("bad_uid");
        }
        let Some(node) = self.nodes.announced(uid) else { return counted("too_many_nodes") };
        node.forget();
        if node.device.is_none() {
            self.identify(uid, uid).await;
        }
    }

    /// Looks up which device a node is by a name. Unknown ones knock, unless the name is made up.
    async fn identify(&mut self, uid: &str, name: &str) {
        let device = match device_for(&self.app, &self.key, name).await {
            Ok(Some(device)) => device,
            Ok(None) => {
                let is_made_up = name.len() == UUID_CHARS && name.matches('-').count() == 4;
                if !is_made_up {
                    self.app.node_knocked(name, Via::Pyaiot, self.link.address);
                }
                return counted("unknown_node");
            }
            Err(error) => {
                tracing::warn!(%error, "a node could not be looked up");
                self.ask_at = Some(self.app.now() + ASK_AGAIN_AFTER);
                return;
            }
        };
        let id = ConnectionId(self.app.pyaiot.next.fetch_add(1, Ordering::Relaxed));
        if let Some(former) = self.app.pyaiot.take_over(device, id) {
            self.app.detach(former).await;
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (address, transport) = (self.link.address, Transport::WebSocket);
        // A gateway says by itself that a node is gone; its own silence ends all.
        let connection = Connection { id, device, address, transport, silence_max: Some(SILENCE_MAX) };
        self.app.attach(connection, sender).await;
        self.nodes.listen(uid, id, queue);
        if let Some(node) = self.nodes.get(uid) {
            node.device = Some((device, id));
        }
        self.app.listens(device).await;
    }

    async fn update(&mut self, uid: &str, endpoint: &str, text: &str, batch: &mut Batch) {
        let Some(node) = self.nodes.get(uid) else { return counted("not_announced") };
        let Some(resource) = pyaiot::resource(endpoint) else { return counted("bad_resource") };
        if node.device.is_none() && OWN_NAMES.contains(&resource) && device::is_external_id(text) {
            self.identify(uid, text).await;
        }
        let Some(node) = self.nodes.get(uid) else { return };
        let Some((device, _)) = node.device else { return counted("unknown_node") };
        let mut heard = Heard::default();
        if let Err(error) = heard.add(resource, text) {
            return self.app.refused(device, format!("{resource}: {error}")).await;
        }
        let is_news = node.is_news(resource, text);
        let (desired, step) = self.orders.heard(uid, resource, text, self.app.now());
        let all = batch.heard.entry(device).or_default();
        all.points.append(&mut heard.points);
        for (metric, unit) in heard.units {
            if self.units.len() < UNITS_MAX && self.units.insert(metric.as_str().to_owned()) {
                all.units.push((metric, unit));
            }
        }
        match desired {
            // In the form in which it was desired: a node knows texts only.
            Some(desired) => drop(all.reported.insert(resource.to_owned(), desired)),
            None if is_news => all.reported.append(&mut heard.reported),
            None => {}
        }
        batch.close_if_large(device);
        self.keep(step, batch);
    }

    /// Something is said to a node.
    async fn tell(&mut self, (uid, connection, downlink): Said, socket: &mut WebSocket) -> Result<(), End> {
        let Some(node) = self.nodes.get(&uid) else { return Ok(()) };
        if node.device.is_none_or(|(_, id)| id != connection) {
            return Ok(());
        }
        let Some(downlink) = downlink else {
            // Another gateway speaks for it now, or it is no device any more.
            if let Some((device, connection)) = node.device.take() {
                self.app.pyaiot.give_up(device, connection);
            }
            let step = self.orders.gone(&uid);
            return self.perform(step, socket).await;
        };
        for write in riot::writes(&downlink) {
            let step = self.orders.add(&uid, write, self.app.now());
            self.perform(step, socket).await?;
        }
        Ok(())
    }

    /// Sends and stores what the orders come to.
    async fn perform(&mut self, step: Step, socket: &mut WebSocket) -> Result<(), End> {
        for (uid, why) in &step.refused {
            if let Some((device, _)) = self.nodes.get(uid).and_then(|node| node.device) {
                self.app.refused(device, why.clone()).await;
            }
        }
        let mut batch = Batch::default();
        self.keep(step, &mut batch);
        for frame in batch.frames {
            send(socket, Message::Text(frame.into())).await?;
        }
        self.store(batch.arrivals).await;
        Ok(())
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), End> {
    match timeout(WRITE_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::because("the connection was lost")),
        Err(_) => Err(End::because("the gateway does not read")),
    }
}

fn counted(reason: &'static str) {
    metrics::counter!("motehub_pyaiot_ignored_total", "reason" => reason).increment(1);
}
