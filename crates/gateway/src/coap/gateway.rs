//! The socket, and the way to the hub and back. One task does it all; the hub is never waited for with the socket
//! unread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use motehub_domain::message::Downlink;
use motehub_domain::time::Span;
use motehub_protocol::coap::{Counters, ExchangeId, Limits, Response};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::artifact::{self, Pieces};
use super::core::{Core, Outcome, Wish};
use super::dtls::{SessionId, Sessions};
use super::native::{self, Enter};
use super::riot::SignOf;
use crate::hub::{Client, Connection, ConnectionId, Credentials, Hub, Knock, Refusal, Shown, Transport};

/// Connections are numbered from here on, far from those of the others; behind DTLS from the second on.
const FIRST_CONNECTIONS: [u64; 2] = [7 << 60, 7 << 60 | 1 << 59];
/// The largest datagram that is read; what is longer is cut, and then breaks a rule.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// How many datagrams are read before anything else is done.
const READ_AT_ONCE: usize = 256;
/// What the system holds for us while we do something else.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// How many messages the hub is given at once.
const BATCH_MAX: usize = 1_000;
/// How many downlinks wait for one node; further ones are dropped and said again later.
const QUEUE_MAX: usize = 16;
/// How long what was taken may take to be stored when the program ends.
const DRAIN_MAX: Duration = Duration::from_millis(2_500);
/// Counters are published this often.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Where to listen, and for whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// CoAP over UDP.
    pub udp: SocketAddr,
    /// Whether it is behind DTLS: only devices of the native protocol are served then, by their keys.
    pub is_secure: bool,
    /// The port that RIOT nodes listen on: 5683, unless a test has others.
    pub node_port: u16,
    /// Bounds of the endpoint.
    pub limits: Limits,
    /// A random number of the system.
    pub draw: fn() -> u64,
}

/// A gateway whose socket is bound.
pub struct Gateway {
    socket: UdpSocket,
    address: SocketAddr,
    settings: Settings,
    sessions: Option<Sessions>,
    started: Instant,
    hub: Arc<dyn Hub>,
}

/// Something that the hub did.
enum Done {
    Admitted(SignOf, Box<Result<Client, Refusal>>),
    Entered(Box<Enter>, Box<Result<Client, Refusal>>),
    Key(SessionId, Option<String>),
    Attached(ConnectionId, Vec<Downlink>, mpsc::Receiver<Downlink>),
    Answer(ExchangeId, Response),
    Told(ConnectionId, Option<Downlink>, mpsc::Receiver<Downlink>),
    Taken(Vec<Outcome>),
    Nothing,
}

type Doing = FuturesUnordered<BoxFuture<'static, Done>>;

impl Gateway {
    /// Binds the socket.
    pub fn bind(settings: Settings, hub: Arc<dyn Hub>) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(settings.udp);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if settings.udp.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // The system may give less.
        let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&settings.udp.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        let started = Instant::now();
        let sessions = settings.is_secure.then(|| Sessions::new(started.into_std())).transpose()?;
        Ok(Self { socket, address, settings, sessions, started, hub })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then stores what was taken.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { socket, settings, sessions, started, hub, .. } = self;
        let first = FIRST_CONNECTIONS[usize::from(settings.is_secure)];
        let core = Core::new(settings.limits, sessions, settings.node_port, first, settings.draw);
        let mut running = Running {
            core,
            socket,
            hub,
            pieces: Arc::default(),
            draw: settings.draw,
            doing: FuturesUnordered::new(),
            is_taking: false,
            started,
        };
        tokio::select! {
            () = running.serve() => {}
            () = shutdown.cancelled() => {}
        }
        if timeout(DRAIN_MAX, running.drain()).await.is_err() {
            tracing::warn!("not everything that CoAP nodes said was stored in time");
        }
        publish(&running.core);
    }
}

struct Running {
    core: Core,
    socket: UdpSocket,
    hub: Arc<dyn Hub>,
    pieces: Arc<Pieces>,
    draw: fn() -> u64,
    doing: Doing,
    /// The hub takes a batch at this moment; the next one waits, so that the order holds.
    is_taking: bool,
    started: Instant,
}

impl Running {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn serve(&mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut publish_at = Instant::now();
        loop {
            self.hand_on().await;
            let due = self.core.next_moment().map(|at| self.started + Duration::from_millis(at));
            let wake = due.unwrap_or(publish_at).min(publish_at);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => self.read(received, &mut buffer),
                Some(done) = self.doing.next(), if !self.doing.is_empty() => self.done(done),
                () = tokio::time::sleep_until(wake) => {
                    let now = self.now_ms();
                    self.core.tick(now);
                    if Instant::now() >= publish_at {
                        publish(&self.core);
                        publish_at = Instant::now() + PUBLISH_EVERY;
                    }
                }
            }
        }
    }

    fn read(&mut self, first: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let mut received = first;
        let now = self.now_ms();
        for _ in 0..READ_AT_ONCE {
            match received {
                Ok((length, from)) => self.core.datagram(from, &buffer[..length], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // That a peer is not there any more comes as an error of the next call; its messages time out.
                Err(error) => tracing::debug!(%error, "a CoAP datagram could not be received"),
            }
            received = self.socket.try_recv_from(buffer);
        }
    }

    /// Datagrams to the socket, wishes and messages to the hub.
    async fn hand_on(&mut self) {
        while let Some((to, bytes)) = self.core.poll_transmit(self.now_ms()) {
            if let Err(error) = self.socket.send_to(&bytes, to).await {
                tracing::debug!(%to, %error, "a CoAP datagram could not be sent");
            }
        }
        while let Some(wish) = self.core.out.wishes.pop_front() {
            self.wish(wish);
        }
        if !self.is_taking && !self.core.out.uplinks.is_empty() {
            let most = self.core.out.uplinks.len().min(BATCH_MAX);
            let (batch, then): (Vec<_>, Vec<_>) =
                self.core.out.uplinks.drain(..most).map(|said| (said.arrival, said.then)).unzip();
            let hub = self.hub.clone();
            self.is_taking = true;
            self.doing.push(Box::pin(async move {
                let outcomes = hub.uplink(batch).await;
                Done::Taken(then.into_iter().zip(outcomes).collect())
            }));
        }
    }

    fn wish(&mut self, wish: Wish) {
        let hub = self.hub.clone();
        let doing: BoxFuture<'static, Done> = match wish {
            Wish::Admit(sign) => Box::pin(async move {
                let credentials = Credentials::Riot { uid: sign.uid.clone() };
                let knock = Knock { address: sign.from, transport: Transport::Coap, credentials };
                let answer = hub.authenticate(knock).await;
                Done::Admitted(sign, Box::new(answer))
            }),
            Wish::Enter(mut enter) => Box::pin(async move {
                let (address, credentials) = (enter.place, enter.credentials.clone());
                let knock = Knock { address, transport: Transport::Coap, credentials };
                let (shown, answer) = Shown::ask(&*hub, knock).await;
                enter.shown = Some(shown);
                Done::Entered(enter, Box::new(answer))
            }),
            Wish::Key(session, identity) => {
                let number = (self.draw)();
                Box::pin(async move { Done::Key(session, key(&*hub, identity, number).await) })
            }
            Wish::Attach { connection: id, device, address, silence_max_ms, shown } => {
                let silence_max = i64::try_from(silence_max_ms).ok().map(Span);
                let connection = Connection { id, device, address, transport: Transport::Coap, silence_max };
                Box::pin(attach(hub, connection, shown))
            }
            Wish::Detach(connection) => Box::pin(async move {
                hub.detach(connection).await;
                Done::Nothing
            }),
            Wish::Listen(device) => Box::pin(async move {
                hub.listens(device).await;
                Done::Nothing
            }),
            Wish::Refuse(device, why) => Box::pin(async move {
                hub.refused(device, why).await;
                Done::Nothing
            }),
            Wish::Shadow(exchange, device, request, encoding) => Box::pin(async move {
                let found = hub.shadow(device, request.clone()).await;
                Done::Answer(exchange, native::document(device, request, found, encoding))
            }),
            Wish::Part(exchange, device, digest, block) => {
                let part = artifact::part(hub, self.pieces.clone(), device, digest, block);
                Box::pin(async move { Done::Answer(exchange, part.await) })
            }
        };
        self.doing.push(doing);
    }

    fn done(&mut self, done: Done) {
        let now = self.now_ms();
        match done {
            Done::Admitted(sign, answer) => self.core.admitted(sign, *answer, now),
            Done::Entered(enter, answer) => self.core.entered(*enter, *answer, now),
            Done::Key(session, key) => self.core.key(session, key, now),
            Done::Answer(exchange, response) => self.core.answer(exchange, response, now),
            Done::Attached(connection, waiting, downlinks) => {
                self.doing.push(Box::pin(next(connection, downlinks)));
                for downlink in waiting {
                    self.core.downlink(connection, Some(downlink), now);
                }
                self.core.attached(connection, now);
            }
            Done::Told(connection, downlink, downlinks) => {
                if downlink.is_some() {
                    self.doing.push(Box::pin(next(connection, downlinks)));
                }
                self.core.downlink(connection, downlink, now);
            }
            Done::Taken(outcomes) => {
                self.is_taking = false;
                self.core.taken(outcomes.into_iter(), now);
            }
            Done::Nothing => {}
        }
    }

    /// What was taken is stored and answered; nodes are away.
    async fn drain(&mut self) {
        while self.is_taking || !self.core.out.uplinks.is_empty() {
            self.hand_on().await;
            if let Some(done) = self.doing.next().await {
                self.done(done);
            }
        }
        self.hand_on().await;
    }
}

async fn next(connection: ConnectionId, mut downlinks: mpsc::Receiver<Downlink>) -> Done {
    let downlink = downlinks.recv().await;
    Done::Told(connection, downlink, downlinks)
}

/// A device is there. What waits for it is known when this is done.
async fn attach(hub: Arc<dyn Hub>, connection: Connection, shown: Option<Shown>) -> Done {
    let (sender, mut downlinks) = mpsc::channel(QUEUE_MAX);
    let (id, device) = (connection.id, connection.device);
    match shown {
        Some(shown) => shown.attach(&*hub, connection, sender).await,
        None => hub.attach(connection, sender).await,
    }
    hub.listens(device).await;
    let waiting = std::iter::from_fn(|| downlinks.try_recv().ok()).collect();
    Done::Attached(id, waiting, downlinks)
}

/// The key of who says to be a device. While a new one is on its way to it there are several, and which of them it has
/// is not said: any is tried, and the device tries again.
async fn key(hub: &dyn Hub, identity: String, number: u64) -> Option<String> {
    let mut keys = match hub.keys(identity).await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::warn!(%error, "the key of a device could not be looked up");
            return None;
        }
    };
    let count = keys.len();
    (count > 0).then(|| keys.swap_remove(usize::try_from(number).unwrap_or(0) % count))
}

fn publish(core: &Core) {
    let Counters {
        received,
        sent,
        malformed,
        repeated,
        sent_again,
        refused_busy,
        refused_large,
        unproven,
        refused_observers,
        forgotten,
    } = core.endpoint.counters().clone();
    let listener = if core.sessions.is_some() { "coaps" } else { "coap" };
    for (direction, count) in [("in", received), ("out", sent)] {
        metrics::counter!("motehub_coap_datagrams_total", "listener" => listener, "direction" => direction)
            .absolute(count);
    }
    for (direction, count) in [("in", repeated), ("out", sent_again)] {
        metrics::counter!("motehub_coap_repeated_total", "listener" => listener, "direction" => direction)
            .absolute(count);
    }
    let own = &core.out.counters;
    let refused = [
        ("malformed", malformed),
        ("busy", refused_busy),
        ("large", refused_large),
        ("unproven", unproven),
        ("observers", refused_observers),
        ("forgotten", forgotten),
        ("meaning", own.refused),
        ("ambiguous", own.ambiguous),
        ("dropped", own.dropped),
    ];
    for (reason, count) in refused {
        metrics::counter!("motehub_coap_refused_total", "listener" => listener, "reason" => reason)
            .absolute(count);
    }
    metrics::counter!("motehub_coap_uplinks_total", "listener" => listener).absolute(own.taken);
    if let Some(sessions) = &core.sessions {
        let counted = &sessions.counters;
        let ends = [
            ("established", counted.established),
            ("failed", counted.failed),
            ("forgotten", counted.forgotten),
            ("stray", counted.stray),
        ];
        for (end, count) in ends {
            metrics::counter!("motehub_dtls_total", "end" => end).absolute(count);
        }
        metrics::gauge!("motehub_dtls_sessions").set(sessions.established() as f64);
    }
    metrics::gauge!("motehub_coap_nodes", "listener" => listener).set(core.nodes() as f64);
}
