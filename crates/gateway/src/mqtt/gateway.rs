//! The listeners, and the handle by which the rest of the program reaches the live connections.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::topic::{TopicRights, check_topic_name};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::cluster::carry;
use super::connection::{Shared, serve};
use super::keeper::keep;
use super::{Broker, Counters, Limits, Listener, Message, Out, SessionView, Totals, Wanted, tls, websocket};
use crate::balancer::Balancers;
use crate::hub::{Client, ConnectionId, Hub};

/// Connections that may wait to be accepted: a whole fleet comes back at once after a power cut.
const BACKLOG: u32 = 4_096;
/// How long the handshakes of TLS and WebSocket may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After this much silence the operating system looks whether the other side is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// How long connections may take to finish what they have begun when the program ends.
const DRAIN_MAX: Duration = Duration::from_millis(2_500);
/// How long the last batch may take to get to the disk when the program ends.
const KEEP_MAX: Duration = Duration::from_millis(800);
/// Timers are looked at at least and at most this often.
const TICK_MAX: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(20);

/// Where to listen and how much to allow.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// MQTT over TCP.
    pub tcp: Option<SocketAddr>,
    /// MQTT over TLS.
    pub tls: Option<(SocketAddr, Arc<ServerConfig>)>,
    /// MQTT over WebSocket.
    pub ws: Option<SocketAddr>,
    /// MQTT over WebSocket over TLS.
    pub wss: Option<(SocketAddr, Arc<ServerConfig>)>,
    /// From where balancers connect to all of these.
    pub balancers: Balancers,
    /// How much is allowed.
    pub limits: Limits,
    /// Connections are numbered from here on. Choose it larger than what was used before.
    pub first_connection: u64,
    /// What the time is, in milliseconds since 1970: what is kept tells when it expires.
    pub now_ms: u64,
}

/// Where a gateway listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Addresses {
    /// MQTT over TCP.
    pub tcp: Option<SocketAddr>,
    /// MQTT over TLS.
    pub tls: Option<SocketAddr>,
    /// MQTT over WebSocket.
    pub ws: Option<SocketAddr>,
    /// MQTT over WebSocket over TLS.
    pub wss: Option<SocketAddr>,
}

/// What lies between TCP and MQTT.
#[derive(Clone)]
struct Layers {
    balancers: Balancers,
    tls: Option<TlsAcceptor>,
    is_websocket: bool,
    message_bytes_max: usize,
}

impl Layers {
    fn listener(&self) -> Listener {
        match (self.tls.is_some(), self.is_websocket) {
            (false, false) => Listener::Tcp,
            (true, false) => Listener::Tls,
            (false, true) => Listener::WebSocket,
            (true, true) => Listener::WebSocketTls,
        }
    }
}

/// An MQTT gateway whose listeners are bound.
pub struct Gateway {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Layers)>,
    addresses: Addresses,
    next_connection: Arc<AtomicU64>,
}

impl Gateway {
    /// Binds the listeners and recalls what was kept. Fails if an address is taken or not ours, or if what was kept
    /// cannot be read: sessions must not be taken for lost.
    pub async fn bind(settings: Settings, hub: Arc<dyn Hub>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        // A message may hold a packet and the WebSocket client's own idea of a batch.
        let message_bytes_max = settings.limits.packet_bytes_max + 64 * 1024;
        let mut listen = |address: Option<SocketAddr>, tls: Option<&Arc<ServerConfig>>, is_websocket| {
            let Some(address) = address else { return Ok(None) };
            let listener = listen(address)?;
            let bound = listener.local_addr()?;
            let tls = tls.map(|config| TlsAcceptor::from(config.clone()));
            let balancers = settings.balancers.clone();
            listeners.push((listener, Layers { balancers, tls, is_websocket, message_bytes_max }));
            io::Result::Ok(Some(bound))
        };
        let (tls, wss) = (settings.tls.as_ref(), settings.wss.as_ref());
        let addresses = Addresses {
            tcp: listen(settings.tcp, None, false)?,
            tls: listen(tls.map(|t| t.0), tls.map(|t| &t.1), false)?,
            ws: listen(settings.ws, None, true)?,
            wss: listen(wss.map(|t| t.0), wss.map(|t| &t.1), true)?,
        };
        let broker = recalled(Broker::new(settings.limits), settings.now_ms, hub.as_ref()).await?;
        let shared = Arc::new(Shared::new(broker, hub, settings.now_ms));
        let next_connection = Arc::new(AtomicU64::new(settings.first_connection));
        Ok(Self { shared, listeners, addresses, next_connection })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// For the rest of the program.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Serves until `shutdown`; then accepts nothing more, acknowledges what is stored, says good-bye, and ends
    /// within three seconds.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { shared, listeners, next_connection, .. } = self;
        let is_over = CancellationToken::new();
        let keeper = tokio::spawn(keep(shared.clone(), is_over.clone()));
        let follower = tokio::spawn(carry::follow(shared.clone()));
        for (listener, layers) in listeners {
            let (shared, shutdown, next) = (shared.clone(), shutdown.clone(), next_connection.clone());
            let tasks = shared.tasks.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = accept(&listener, &layers, &shared, &next) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
        tokio::select! {
            () = keep_time(&shared) => {}
            () = shutdown.cancelled() => {}
        }
        shared.stop.cancel();
        shared.tasks.close();
        if timeout(DRAIN_MAX, shared.tasks.wait()).await.is_err() {
            shared.kill.cancel();
            let _ = timeout(TICK_MAX / 4, shared.tasks.wait()).await;
        }
        follower.abort();
        is_over.cancel();
        let stopping = keeper.abort_handle();
        if timeout(KEEP_MAX, keeper).await.is_err() {
            stopping.abort();
        }
        shared.look(|broker, _| super::counters::publish(broker));
    }
}

/// A broker that knows what was kept.
async fn recalled(mut broker: Broker, now: u64, hub: &dyn Hub) -> io::Result<Broker> {
    if let Some(nodes) = hub.nodes() {
        let serials = nodes.serials().await.map_err(io::Error::other)?;
        broker.join(nodes.name(), now, serials);
        // What others have is known before the first client publishes, and who waits for whom.
        let alive: Vec<Box<str>> = nodes.alive().into_iter().map(Into::into).collect();
        broker.set_others(now, &alive, &mut Out::default());
        broker.begin_reading();
        broker.read_elsewhere(nodes.elsewhere().await.map_err(io::Error::other)?);
    }
    let recalled = hub.recall().await.map_err(io::Error::other)?;
    let principals: Vec<Principal> = recalled.sessions.iter().map(|s| s.session.principal).collect();
    let clients = hub.who(principals.clone()).await.map_err(io::Error::other)?;
    let known: HashMap<Principal, Client> =
        principals.into_iter().zip(clients).filter_map(|(who, client)| Some((who, client?))).collect();
    broker.recall(now, recalled, |who| known.get(who).cloned());
    Ok(broker)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener, layers: &Layers, shared: &Arc<Shared>, next_connection: &AtomicU64) {
    loop {
        match listener.accept().await {
            Ok((mut stream, peer)) => {
                let id = ConnectionId(next_connection.fetch_add(1, Ordering::Relaxed));
                if !layers.balancers.has(peer) {
                    open(stream, peer, id, layers, shared);
                    continue;
                }
                let (layers, shared) = (layers.clone(), shared.clone());
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    if let Ok(client) = layers.balancers.client_of(&mut stream, peer).await {
                        open(stream, client, id, &layers, &shared);
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: without a pause the loop would spin until some are free.
                tracing::warn!(%error, "an MQTT connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn open(stream: TcpStream, peer: SocketAddr, id: ConnectionId, layers: &Layers, shared: &Arc<Shared>) {
    let listener = layers.listener();
    let opened = shared.call(None, |broker, now, _| {
        broker.opened(now, id, peer).inspect(|slot| broker.came_through(*slot, listener))
    });
    if let Some(slot) = opened.0 {
        let _ = stream.set_nodelay(true);
        let probes = socket2::TcpKeepalive::new().with_time(PROBE_AFTER);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&probes);
        start(stream, layers, shared.clone(), slot);
    }
}

fn start(stream: TcpStream, layers: &Layers, shared: Arc<Shared>, slot: super::Slot) {
    let bytes_max = layers.message_bytes_max;
    let tasks = shared.tasks.clone();
    match (layers.tls.clone(), layers.is_websocket) {
        (None, false) => drop(tasks.spawn(serve(shared, slot, std::future::ready(Ok(stream))))),
        (Some(tls), false) => {
            let transport = tls::accept(tls, stream, shared.clone(), slot);
            drop(tasks.spawn(serve(shared, slot, in_time(transport))));
        }
        (None, true) => {
            let transport =
                async move { websocket::accept(stream, bytes_max).await.map_err(io::Error::other) };
            drop(tasks.spawn(serve(shared, slot, in_time(transport))));
        }
        (Some(tls), true) => {
            let secured = tls::accept(tls, stream, shared.clone(), slot);
            let transport =
                async move { websocket::accept(secured.await?, bytes_max).await.map_err(io::Error::other) };
            drop(tasks.spawn(serve(shared, slot, in_time(transport))));
        }
    }
}

/// The handshake is in a box, so that a connection does not keep the room it took.
fn in_time<S>(
    transport: impl Future<Output = io::Result<S>> + Send + 'static,
) -> Pin<Box<dyn Future<Output = io::Result<S>> + Send>> {
    Box::pin(async {
        match timeout(HANDSHAKE_MAX, transport).await {
            Ok(stream) => stream,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

/// Calls the broker when something is due, and publishes what it counted. Never ends.
async fn keep_time(shared: &Arc<Shared>) {
    let mut published_at = Instant::now();
    loop {
        let due_in = shared.look(|broker, now| broker.deadline().map(|at| at.saturating_sub(now)));
        let wait = due_in.map_or(TICK_MAX, |ms| Duration::from_millis(ms).clamp(TICK_MIN, TICK_MAX));
        tokio::time::sleep(wait).await;
        shared.call_aside(|broker, now, out| broker.tick(now, out));
        if published_at.elapsed() >= TICK_MAX {
            published_at = Instant::now();
            shared.look(|broker, _| super::counters::publish(broker));
        }
    }
}

/// Reaches the live connections.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Ends the connections of a device, because it was disabled, deleted or has a new credential.
    pub fn disconnect_device(&self, device: DeviceId) {
        self.shared.call_aside(|broker, now, out| broker.disconnect_device(now, device, out));
    }

    /// Changes what a device may do, at once, also for what waits for it.
    pub fn set_rights(&self, device: DeviceId, rights: &TopicRights) {
        self.shared.call_aside(|broker, _, _| broker.set_rights(device, rights));
    }

    /// Publishes in the name of the server. False if the topic is not valid.
    pub fn publish(&self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> bool {
        let is_valid = check_topic_name(topic).is_ok() && qos <= 2;
        if is_valid {
            let message = Message::plain(topic, payload, qos, retain);
            self.shared.call_aside(|broker, now, out| broker.publish_from_server(now, &message, out));
        }
        is_valid
    }

    /// Ends the connections and sessions of somebody who is gone: a device that was deleted, a revoked token.
    pub fn forget_principal(&self, principal: &Principal) {
        self.shared.call_aside(|broker, now, out| broker.forget_principal(now, principal, out));
    }

    /// What somebody may do has changed. Whether they have a session, connected or away, that has to be told.
    pub fn changed(&self, who: Principal) -> bool {
        self.shared.call_aside(|broker, _, _| broker.changed(who))
    }

    /// Ends the connection of a session. False if it has none.
    pub fn disconnect_session(&self, serial: u64) -> bool {
        self.shared.call_aside(|broker, now, out| broker.disconnect_session(now, serial, out))
    }

    /// Ends a session and everything that waits for it. False if there is none.
    pub fn remove_session(&self, serial: u64) -> bool {
        self.shared.call_aside(|broker, now, out| broker.remove_session(now, serial, out))
    }

    /// The sessions that are wanted, connected and away, and how many there are in all.
    pub fn sessions(&self, wanted: &Wanted) -> (Vec<SessionView>, usize) {
        self.shared.look(|broker, _| broker.sessions(wanted))
    }

    /// One session.
    pub fn session(&self, serial: u64) -> Option<SessionView> {
        self.shared.look(|broker, _| broker.session_view(serial))
    }

    /// What the broker holds.
    pub fn totals(&self) -> Totals {
        self.shared.look(|broker, _| broker.totals())
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.shared.look(|broker, _| broker.counters().clone())
    }
}
