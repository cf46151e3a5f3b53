//! Gateways in processes of their own, as far as they are linked: what the hub wants of them, and how they are.

mod answers;
mod door;
pub(crate) mod join;
mod numbered;
pub(crate) mod seen;
mod session;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::gateway;
use motehub_domain::id::{DeviceId, GatewayId, TokenId};
use motehub_domain::time::Time;
use motehub_gateway::hub::ConnectionId;
use motehub_gateway::link::{Down, Order, Status};
use motehub_store::{Store, StoreError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::words::Word;
use crate::random;

pub(crate) use door::routes;

/// Connections of devices behind gateways are numbered from here on, far from those of MQTT and HTTP.
const FIRST_CONNECTION: u64 = 1 << 61;
/// How much may wait to be said to a gateway. One that does not follow is cut: what it missed is said when it is back.
const WAITING_MAX: usize = 10_000;
/// Why a link ends when the next one is made.
const ANOTHER: &str = "the gateway made another link: does its key run twice?";
/// How many may shake hands at once.
const SHAKING_MAX: usize = 32;

/// The hub's name for machines: made once.
pub(crate) async fn hub_name(store: &Store) -> Result<String, StoreError> {
    const NOTE: &str = "hub";
    let name = store.note_once(NOTE, random::secret().as_bytes()).await?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Up to which number each lane of a spool is taken. Held while something of the lane is.
type Lanes = Arc<[tokio::sync::Mutex<Option<u64>>; 2]>;

/// The links of gateways.
pub(crate) struct Gateways {
    links: Mutex<HashMap<GatewayId, Arc<Link>>>,
    next_connection: AtomicU64,
    shaking: Arc<Semaphore>,
    /// How links to other nodes are.
    elsewhere: seen::Elsewhere,
    /// How far the lanes of each gateway's spool are taken, once that was looked up.
    lanes: Mutex<HashMap<GatewayId, (u64, Lanes)>>,
    /// Programs that showed their token through a gateway since the hub started.
    tokens: Mutex<HashSet<(GatewayId, TokenId)>>,
    /// The hub's name for machines, which join files have.
    pub(crate) hub: String,
}

/// A link of a gateway while it lives.
pub(crate) struct Link {
    /// Which gateway.
    pub(crate) gateway: GatewayId,
    /// From where it came.
    pub(crate) address: IpAddr,
    /// Since when.
    pub(crate) since: Time,
    /// What kinds of devices it serves.
    pub(crate) serves: String,
    /// The version of its program.
    pub(crate) program: String,
    says: mpsc::Sender<Down>,
    cut: CancellationToken,
    /// Why it was cut.
    why: Mutex<Option<String>>,
    heard: Mutex<Heard>,
    /// Devices that it may speak for, as far as that was looked up.
    allowed: Mutex<HashSet<DeviceId>>,
}

/// What a gateway last said of itself.
#[derive(Default)]
struct Heard {
    status: Status,
    at: Option<Time>,
    per_minute: u64,
}

impl Heard {
    fn hear(&mut self, status: Status, now: Time) {
        let passed = self.at.map(|at| u64::try_from((now - at).0).unwrap_or(0));
        if let Some(ms @ 1..) = passed {
            let more = status.messages.saturating_sub(self.status.messages);
            self.per_minute = more.saturating_mul(60_000) / ms;
        }
        (self.status, self.at) = (status, Some(now));
    }
}

impl Link {
    /// Says something; a gateway that does not follow is cut.
    pub(crate) fn say(&self, down: Down) {
        if self.says.try_send(down).is_err() {
            self.cut("it does not follow what the hub says");
        }
    }

    /// Ends it; the gateway is told why.
    pub(crate) fn cut(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.cut.cancel();
    }

    /// How the gateway is, and how many messages its devices say within a minute.
    pub(crate) fn status(&self) -> (Status, u64) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        (heard.status, heard.per_minute)
    }

    /// The gateway says how it is.
    fn hear(&self, status: Status, now: Time) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).hear(status, now);
    }

    fn allowed(&self) -> MutexGuard<'_, HashSet<DeviceId>> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateways {
    /// No links yet, of the hub with this name.
    pub(crate) fn new(hub: String) -> Self {
        Self {
            links: Mutex::default(),
            next_connection: AtomicU64::new(FIRST_CONNECTION),
            shaking: Arc::new(Semaphore::new(SHAKING_MAX)),
            elsewhere: seen::Elsewhere::default(),
            lanes: Mutex::default(),
            tokens: Mutex::default(),
            hub,
        }
    }

    /// The link of a gateway, if it has one.
    pub(crate) fn link(&self, gateway: GatewayId) -> Option<Arc<Link>> {
        self.links().get(&gateway).cloned()
    }

    /// Whether any gateway is linked.
    pub(crate) fn are_linked(&self) -> bool {
        !self.links().is_empty()
    }

    /// Ends the link of a gateway, if it has one.
    pub(crate) fn cut(&self, gateway: GatewayId, why: &str) {
        if let Some(link) = self.link(gateway) {
            link.cut(why);
        }
    }

    /// What devices may be spoken for is looked up anew: they changed, or the gateway did.
    pub(crate) fn look_again(&self, devices: &[DeviceId]) {
        for link in self.links().values() {
            let mut allowed = link.allowed();
            allowed.retain(|device| !devices.contains(device));
        }
    }

    /// How far the lanes of a spool are taken.
    fn lanes(&self, gateway: GatewayId, spool: u64) -> Lanes {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lanes.entry(gateway).or_insert_with(|| (spool, Lanes::default()));
        if known.0 != spool {
            *known = (spool, Lanes::default());
        }
        known.1.clone()
    }

    /// A program showed its token through a gateway.
    fn token_shown(&self, gateway: GatewayId, token: TokenId) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert((gateway, token));
    }

    fn has_shown_token(&self, gateway: GatewayId, token: TokenId) -> bool {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).contains(&(gateway, token))
    }

    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// The link of a gateway takes the place of the one before.
    fn enter(&self, link: &Arc<Link>) {
        if let Some(before) = self.links().insert(link.gateway, link.clone()) {
            before.cut(ANOTHER);
        }
    }

    fn leave(&self, link: &Arc<Link>) {
        let mut links = self.links();
        if links.get(&link.gateway).is_some_and(|it| Arc::ptr_eq(it, link)) {
            links.remove(&link.gateway);
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<GatewayId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Wants something of every MQTT broker, those of all nodes and those behind links.
    pub(crate) fn order(&self, order: &Order) {
        self.order_here(order);
        self.say_to_all(&Word::Order(order.clone()));
    }

    /// Another node wants it. What it publishes comes to the broker here by itself.
    pub(crate) fn order_of_another(&self, order: &Order) {
        match order {
            Order::Publish { .. } => self.order_links(order),
            Order::Disconnect(_) | Order::Rights(..) | Order::Forget(_) | Order::Units(_) => {
                self.order_here(order);
            }
        }
    }

    /// The same of the own one and of those behind links to this node.
    pub(crate) fn order_here(&self, order: &Order) {
        if let Some(mqtt) = self.mqtt.get() {
            order.obey(mqtt);
        }
        self.order_links(order);
    }

    fn order_links(&self, order: &Order) {
        for link in self.gateways.links().values() {
            link.say(Down::Order(order.clone()));
        }
    }

    /// The link of a gateway takes the place of the one before, at whatever node that was made.
    fn enter_gateway(&self, link: &Arc<Link>) {
        self.gateways.enter(link);
        self.say_to_all(&Word::CutGateway(link.gateway, ANOTHER.to_owned()));
        self.say_link(link);
    }

    /// Ends the link of a gateway, at whatever node.
    pub(crate) fn cut_gateway(&self, gateway: GatewayId, why: &str) {
        self.gateways.cut(gateway, why);
        self.say_to_all(&Word::CutGateway(gateway, why.to_owned()));
    }

    /// Publishes something about a device, as far as anybody has subscribed to it: here, and where it is connected.
    pub(crate) fn publish_about(&self, device: DeviceId, topic: &str, payload: impl Fn() -> Vec<u8>) {
        if let Some(mqtt) = self.mqtt.get()
            && mqtt.is_heard(topic)
        {
            mqtt.publish(topic, &payload(), 1, false);
        }
        if !self.connections.links_of(device).is_empty() || self.elsewhere(device).is_some() {
            let (topic, payload) = (topic.to_owned(), payload().into());
            self.order_about(device, &Order::Publish { topic, payload, qos: 1, retain: false });
        }
    }

    /// The link of a gateway was made.
    async fn gateway_linked(&self, link: &Link) {
        let address = link.address.to_string();
        let stated = self.attempt(|| async {
            let found = self.store.gateway(link.gateway).await?;
            let effects = found.map(|view| gateway::linked(&view.gateway, &address, self.now()));
            Ok(((), effects.unwrap_or_default()))
        });
        if let Err(error) = stated.await {
            tracing::warn!(%error, gateway = %link.gateway, "that a gateway came could not be recorded");
        }
    }

    /// The link of a gateway is over: nobody knows how its devices are.
    async fn gateway_lost(&self, link: &Arc<Link>, why: &str) {
        self.say_to_all(&Word::Linked(link.gateway, None));
        self.connections.link_lost(link);
        let address = link.address.to_string();
        let stated = self.attempt(|| async {
            let found = self.store.gateway(link.gateway).await?;
            let effects = found.map(|view| gateway::lost(&view.gateway, &address, why, self.now()));
            Ok(((), effects.unwrap_or_default()))
        });
        if let Err(error) = stated.await {
            tracing::warn!(%error, gateway = %link.gateway, "that a gateway went could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_said_within_a_minute_comes_from_the_last_two_times() {
        let mut heard = Heard::default();
        let said = |messages| Status { messages, ..Status::default() };
        let mut rate = |messages, at| {
            heard.hear(said(messages), Time(at));
            heard.per_minute
        };
        assert_eq!(rate(1_000, 0), 0, "nothing is known of the time before");
        assert_eq!(rate(1_500, 5_000), 6_000);
        assert_eq!(rate(1_500, 5_000), 6_000, "no time has passed");
        assert_eq!(rate(1_500, 10_000), 0);
        assert_eq!(rate(3, 15_000), 0, "the gateway began anew");
    }
}
