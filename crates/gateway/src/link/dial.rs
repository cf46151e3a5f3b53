//! Finds the hub, proves who we are, keeps the link alive, and finds the hub again when it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use motehub_domain::time::Time;
use motehub_protocol::link::{self, FRAME_BYTES_MAX, VERSION};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::remote::Ends;
use super::{Address, Down, Lane, PATH, RemoteHub, Status, Up};
use crate::hub::Hub;

/// How often the gateway says that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// After so much silence either side takes the link for lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long a link may take to be made.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// The pauses between attempts: each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How many arrivals that need no acknowledgement are said at once.
const OFFERED_BATCH_MAX: usize = 500;

/// The way to a hub.
#[derive(Clone)]
pub struct Route {
    /// Where it is.
    pub address: Address,
    /// How TLS is spoken, and for which name the certificate has to be; only for an address with TLS.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}
type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why there is no link, in a sentence.
struct Broken(String);

impl From<tungstenite::Error> for Broken {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(answer) => {
                let body = answer.body().as_deref().map(String::from_utf8_lossy);
                Self(format!("the hub answers {}: {}", answer.status(), body.unwrap_or_default().trim()))
            }
            error => Self(error.to_string()),
        }
    }
}

impl RemoteHub {
    /// Keeps the link until `shutdown`.
    pub async fn run(self, mut ends: Ends, shutdown: CancellationToken) {
        drop(ends.take_orders());
        tokio::select! {
            () = self.keep_linked() => {}
            () = self.say_offered(&mut ends.offered) => {}
            () = self.say_in_order(&mut ends.sayings) => {}
            () = self.deliver(Lane::Said) => {}
            () = self.deliver(Lane::Measured) => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Goes round the nodes of the hub: to the next at once, and after a round without any with a pause.
    async fn keep_linked(&self) {
        let routes = &self.shared.settings.routes;
        let mut pause = PAUSES.0;
        let mut told = String::new();
        let mut tried = 0;
        for route in routes.iter().cycle() {
            let began = Instant::now();
            let Broken(why) = match timeout(open_max(routes.len()), self.open(route)).await {
                Ok(Ok(socket)) => {
                    tracing::info!(hub = route.address.host, "the link to the hub stands");
                    told.clear();
                    let broken = self.serve(socket).await;
                    (pause, tried) = (PAUSES.0, 0);
                    broken
                }
                Ok(Err(broken)) => broken,
                Err(_) => Broken(format!("{}: the hub does not answer", route.address.host)),
            };
            tried += 1;
            // Once for each reason: a hub that is away for a night fills no disk with it.
            if why != told {
                tracing::warn!(why, "there is no link to the hub; trying again");
                told = why;
            }
            if tried < routes.len() {
                continue;
            }
            tried = 0;
            let rest = pause.saturating_sub(began.elapsed() / 2) + pause / 4;
            tokio::time::sleep(rest).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Connects and shakes hands.
    async fn open(&self, route: &Route) -> Result<Socket, Broken> {
        let settings = &self.shared.settings;
        let Route { address, tls } = route;
        let Address { host, port, prefix, .. } = address;
        let about = |error: std::io::Error| Broken(format!("{host}:{port}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(about)?;
        let _ = stream.set_nodelay(true);
        let (stream, scheme): (Box<dyn Stream>, _) = match tls {
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                (Box::new(connector.connect(name.clone(), stream).await.map_err(about)?), "wss")
            }
            None if address.is_secure => return Err(Broken("no authority for TLS is known".to_owned())),
            None => (Box::new(stream), "ws"),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let address = format!("{scheme}://{host}:{port}{prefix}{PATH}?version={VERSION}");
        let request = address.into_client_request()?;
        let bounds = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let (mut socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(bounds)).await?;
        let Down::Challenge { hub, nonce } = next(&mut socket).await? else {
            return Err(Broken("the hub does not begin with a challenge".to_owned()));
        };
        if hub != settings.hub {
            return Err(Broken(format!("{host}:{port} is another hub than the one of the join file")));
        }
        let signature = settings.key.sign(&hub, settings.gateway, &nonce).into();
        let (serves, program) = (settings.serves.clone(), settings.version.clone());
        let proof =
            Up::Proof { gateway: settings.gateway, signature, spool: self.spool().id(), serves, program };
        socket.send(Message::Binary(link::encode(&proof))).await?;
        match next(&mut socket).await? {
            Down::Welcome { now } => {
                self.compare_clocks(now);
                Ok(socket)
            }
            Down::Refused { why } => Err(Broken(why)),
            _ => Err(Broken("the hub answers neither yes nor no".to_owned())),
        }
    }

    fn compare_clocks(&self, theirs: Time) {
        let ahead = (self.shared.settings.clock)() - theirs;
        if ahead.0.abs() > SILENCE_MAX.as_millis() as i64 {
            tracing::warn!(ahead_ms = ahead.0, "the clock of this machine is not that of the hub: set it");
        }
    }

    /// Serves a link until it is lost.
    async fn serve(&self, socket: Socket) -> Broken {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let live = Arc::new(Live::new(frames.clone()));
        self.shared.links.fetch_add(1, Ordering::Relaxed);
        self.shared.live.send_replace(Some(live.clone()));
        let (sink, stream) = socket.split();
        let broken = tokio::select! {
            Err(broken) = write(sink, outgoing) => broken,
            broken = self.read(stream, &live, &frames) => broken,
            Err(_) = self.settle_for_ever() => Broken("the link was lost at its beginning".to_owned()),
        };
        self.shared.live.send_replace(None);
        live.is_over();
        broken
    }

    async fn settle_for_ever(&self) -> Result<(), super::live::Lost> {
        self.settle().await?;
        std::future::pending().await
    }

    /// Takes what the hub says, and says now and then that we are alive.
    async fn read(
        &self,
        mut stream: SplitStream<Socket>,
        live: &Live,
        frames: &mpsc::UnboundedSender<Bytes>,
    ) -> Broken {
        let mut beats = tokio::time::interval(BEAT_EVERY);
        let mut beaten_at = Instant::now();
        let mut heard_at = Instant::now();
        loop {
            let frame = tokio::select! {
                frame = frame_of(&mut stream) => frame,
                _ = beats.tick() => {
                    if heard_at.elapsed() > SILENCE_MAX {
                        return Broken("the hub is silent".to_owned());
                    }
                    beaten_at = Instant::now();
                    let _ = frames.send(link::encode(&Up::Beat(self.status())));
                    continue;
                }
            };
            heard_at = Instant::now();
            match frame {
                Ok(Down::Answer { id, answer }) => live.answered(id, answer),
                Ok(Down::Downlink { connection, downlink }) => self.said(connection, downlink),
                Ok(Down::Ended { connection }) => self.ended(connection),
                Ok(Down::Order(order)) => {
                    if !self.obey(order).await {
                        return Broken("the broker does not follow".to_owned());
                    }
                }
                Ok(Down::Beat) => {
                    let ms = u64::try_from(beaten_at.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.shared.round_trip_ms.store(ms, Ordering::Relaxed);
                }
                Ok(Down::Refused { why }) => return Broken(why),
                Ok(Down::Challenge { .. } | Down::Welcome { .. }) => {
                    return Broken("the hub begins again".to_owned());
                }
                Err(broken) => return broken,
            }
        }
    }

    fn status(&self) -> Status {
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counts = self.spool().counts();
        Status {
            round_trip_ms: number(&self.shared.round_trip_ms),
            links: number(&self.shared.links),
            messages: number(&self.shared.messages),
            devices: self.devices() as u64,
            spooled: counts.rows.iter().sum(),
            spooled_bytes: counts.bytes,
            dropped: counts.dropped,
            refused: number(&self.shared.refused),
        }
    }

    /// Says what was offered, as far as that is possible. Never ends.
    async fn say_offered(&self, offered: &mut mpsc::Receiver<crate::hub::Arrival>) {
        let mut batch = Vec::new();
        while offered.recv_many(&mut batch, OFFERED_BATCH_MAX).await > 0 {
            let outcomes = self.uplink(std::mem::take(&mut batch)).await;
            let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            metrics::counter!("motehub_uplinks_dropped_total", "reason" => "not_stored")
                .increment(lost as u64);
        }
    }
}

/// How long a link to one of so many nodes may take to be made: one that is gone holds up the way to the others less.
fn open_max(nodes: usize) -> Duration {
    if nodes > 1 { OPEN_MAX / 4 } else { OPEN_MAX }
}

/// Writes frames, all that wait at once.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
) -> Result<(), Broken> {
    while let Some(frame) = frames.recv().await {
        sink.feed(Message::Binary(frame)).await?;
        while let Ok(frame) = frames.try_recv() {
            sink.feed(Message::Binary(frame)).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

async fn next(socket: &mut Socket) -> Result<Down, Broken> {
    frame_of(socket).await
}

async fn frame_of<S>(stream: &mut S) -> Result<Down, Broken>
where
    S: futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                return link::decode(&bytes).map_err(|error| Broken(error.to_string()));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => return Err(Broken("the hub ended the link".to_owned())),
            Some(Err(error)) => return Err(error.into()),
        }
    }
}
