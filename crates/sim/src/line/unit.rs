//! One unit: it listens or dials, serves one connection at a time, and can be gone and come back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::{lamp, sensor};

/// Orders that wait for a unit.
const ORDERS_MAX: usize = 64;
/// How many that dial wait until the unit has time for them.
const BACKLOG: u32 = 8;
/// How soon a unit that dials in tries again.
const DIAL_AGAIN: Duration = Duration::from_millis(500);

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It says readings.
    Sensor,
    /// It is told colours.
    Lamp,
}

/// How a unit is made.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    /// Between two readings.
    pub(super) interval: Duration,
    /// It says numbers of readings.
    pub(super) counting: bool,
    /// Where it dials in.
    pub(super) dial: Option<SocketAddr>,
    /// It begins with its name.
    pub(super) greet: bool,
}

/// What a unit is to do.
pub(super) enum Order {
    PowerOff,
    /// Elsewhere, if it is said.
    PowerOn(Option<SocketAddr>),
    Vanish,
    Say(Vec<u8>),
    Slow,
    Deaf,
    Well,
}

/// How a unit feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// It says a byte at a time.
    Slow,
    /// It neither reads nor says anything.
    Deaf,
}

/// A unit, with what it counts.
pub(super) struct Unit {
    pub(super) config: Config,
    orders: mpsc::Sender<Order>,
    facts: mpsc::Sender<Value>,
    address: Mutex<SocketAddr>,
    pub(super) mood: watch::Sender<Mood>,
    pub(super) sent: AtomicU64,
    pub(super) told: AtomicU64,
    connections: AtomicU64,
    pub(super) colour: Mutex<Option<(u8, u8, u8)>>,
    /// Connections that stand without a word.
    forgotten: Mutex<Vec<TcpStream>>,
}

/// How a connection went.
pub(super) enum Ended {
    /// The other end went.
    Closed,
    /// The unit was told something that is not for a connection.
    By(Order, TcpStream),
}

impl Unit {
    pub(super) async fn new(
        config: Config,
        facts: mpsc::Sender<Value>,
    ) -> anyhow::Result<(Arc<Self>, Option<TcpListener>, mpsc::Receiver<Order>)> {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let listener = match config.dial {
            None => Some(listen(config.address)?),
            Some(_) => None,
        };
        let address = match &listener {
            Some(listener) => listener.local_addr()?,
            None => config.address,
        };
        let unit = Self {
            config,
            orders: sender,
            facts,
            address: Mutex::new(address),
            mood: watch::Sender::new(Mood::Well),
            sent: AtomicU64::new(0),
            told: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            colour: Mutex::default(),
            forgotten: Mutex::default(),
        };
        Ok((Arc::new(unit), listener, orders))
    }

    pub(super) fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, order: Order) {
        match order {
            Order::Slow => drop(self.mood.send_replace(Mood::Slow)),
            Order::Deaf => drop(self.mood.send_replace(Mood::Deaf)),
            Order::Well => drop(self.mood.send_replace(Mood::Well)),
            order => drop(self.orders.try_send(order)),
        }
    }

    /// Something happened.
    pub(super) fn say(&self, fact: &str, more: &Value) {
        let mut all = json!({ "fact": fact, "unit": self.config.name, "at_ms": now_ms() });
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        let _ = self.facts.try_send(all);
    }

    pub(super) fn count(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let colour = *self.colour.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "unit": self.config.name, "address": self.address().to_string(), "sent": count(&self.sent),
            "told": count(&self.told), "connections": count(&self.connections),
            "colour": colour.map(|(r, g, b)| format!("#{r:02x}{g:02x}{b:02x}")),
        })
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let about = || format!("{address} cannot be listened on");
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.with_context(about)?;
    socket.set_reuseaddr(true).and_then(|()| socket.bind(address)).with_context(about)?;
    socket.listen(BACKLOG).with_context(about)
}

/// A unit lives until the process ends.
pub(super) async fn run(
    unit: Arc<Unit>,
    mut listener: Option<TcpListener>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut is_on = true;
    loop {
        if is_on && unit.config.dial.is_none() && listener.is_none() {
            match listen(unit.address()) {
                Ok(bound) => {
                    let address = bound.local_addr().unwrap_or(unit.address());
                    *unit.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
                    unit.say("moved", &json!({ "to": address.to_string() }));
                    listener = Some(bound);
                }
                Err(error) => {
                    eprintln!("{error:#}");
                    is_on = false;
                }
            }
        }
        let order = tokio::select! {
            order = orders.recv() => order,
            stream = next_connection(&unit, listener.as_ref()), if is_on => {
                match serve(&unit, stream, &mut orders).await {
                    Ended::Closed => continue,
                    Ended::By(order, stream) => {
                        if matches!(order, Order::Vanish) {
                            unit.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                        }
                        Some(order)
                    }
                }
            }
        };
        match order {
            None => return,
            Some(Order::PowerOff | Order::Vanish) => {
                (is_on, listener) = (false, None);
                unit.say("gone", &json!({}));
            }
            Some(Order::PowerOn(to)) => {
                (is_on, listener) = (true, None);
                if let Some(to) = to {
                    *unit.address.lock().unwrap_or_else(PoisonError::into_inner) = to;
                }
            }
            Some(Order::Say(_) | Order::Slow | Order::Deaf | Order::Well) => {}
        }
    }
}

async fn next_connection(unit: &Unit, listener: Option<&TcpListener>) -> TcpStream {
    loop {
        let stream = match (listener, unit.config.dial) {
            (Some(listener), _) => listener.accept().await.map(|(stream, _)| stream),
            (None, Some(hub)) => dial(unit.address(), hub).await,
            (None, None) => std::future::pending().await,
        };
        match stream {
            Ok(stream) => return stream,
            Err(_) => sleep(DIAL_AGAIN).await,
        }
    }
}

async fn dial(from: SocketAddr, hub: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if hub.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from.ip(), 0))?;
    socket.connect(hub).await
}

async fn serve(unit: &Unit, mut stream: TcpStream, orders: &mut mpsc::Receiver<Order>) -> Ended {
    unit.connections.fetch_add(1, Ordering::SeqCst);
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    unit.say("connected", &json!({ "peer": peer }));
    if unit.config.greet {
        let _ = stream.write_all(format!("{}\n", unit.config.name).as_bytes()).await;
    }
    let ended = match unit.config.kind {
        Kind::Sensor => sensor::serve(unit, stream, orders).await,
        Kind::Lamp => lamp::serve(unit, stream, orders).await,
    };
    unit.say("closed", &json!({}));
    if unit.config.dial.is_some() && matches!(ended, Ended::Closed) {
        sleep(DIAL_AGAIN).await;
    }
    ended
}

#[expect(clippy::disallowed_methods, reason = "when something happened is for whoever compares")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
