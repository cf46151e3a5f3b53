//! MQTT nodes of the Pyaiot family, on a listener of their own: they have no credential, and what they may do there is
//! to say what their own resources are and to hear what is said to themselves. They are no sessions of the broker, and
//! nothing of what they say is passed on to its subscribers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Pace;
use super::caller::{Caller, Message, Verdict};
use super::guest::{House, Over};
use crate::hub::{Hub, Transport};
use crate::mqtt::packets::{Broken, Packet, Packets};

/// Most connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 0x51 << 56;
/// How long a client may take to say CONNECT.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to take what is written to it.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long connections may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Most bytes read at once.
const READ_BYTES: usize = 4 * 1024;
/// How many messages of QoS 2 may be unreleased.
const UNRELEASED_MAX: usize = 16;

/// Serves a listener until `shutdown`.
pub async fn serve(listener: TcpListener, hub: Arc<dyn Hub>, pace: Pace, shutdown: CancellationToken) {
    let house = House::new(hub, pace, Transport::MqttNode, FIRST_CONNECTION, shutdown.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let house = house.clone();
                tasks.spawn(async move {
                    one_connection(house, stream, peer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    let _ = timeout(DRAIN_MAX, tasks.wait()).await;
}

/// How a connection ends.
enum End {
    /// The client is gone, or went.
    Gone,
    /// It is told this.
    Told(Vec<u8>),
}

impl From<Broken> for End {
    fn from(Broken(bytes): Broken) -> Self {
        metrics::counter!("motehub_nodes_refused_total", "reason" => "malformed").increment(1);
        Self::Told(bytes)
    }
}

struct Connection {
    stream: TcpStream,
    packets: Packets,
    caller: Caller,
    silence_max: Duration,
    heard_at: Instant,
    unreleased: Vec<u16>,
}

async fn one_connection(house: Arc<House>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream,
        packets: Packets::new(),
        caller: Caller::new(house.clone(), peer),
        silence_max: CONNECT_MAX,
        heard_at: Instant::now(),
        unreleased: Vec::new(),
    };
    let end = connection.talk(&house).await;
    if let Err(End::Told(bytes)) = end {
        let _ = connection.write(&bytes).await;
    }
    let _ = timeout(WRITE_MAX, connection.stream.shutdown()).await;
    connection.caller.leave().await;
}

impl Connection {
    async fn talk(&mut self, house: &House) -> Result<(), End> {
        let mut buffer = [0; READ_BYTES];
        loop {
            // A node that says `node/check` says it every 30 seconds, whatever it agreed on.
            let silence_max = match self.caller.has_checked() {
                true => self.silence_max.min(house.pace.silence_max),
                false => self.silence_max,
            };
            let silent_at = self.heard_at + silence_max;
            tokio::select! {
                read = self.stream.read(&mut buffer) => {
                    let length = read.ok().filter(|length| *length > 0).ok_or(End::Gone)?;
                    self.heard_at = Instant::now();
                    self.packets.push(&buffer[..length]);
                    while let Some(packet) = self.packets.next()? {
                        self.packet(packet, house).await?;
                    }
                }
                met = self.caller.waits() => {
                    let met = self.told(met)?;
                    let messages = self.caller.meets(met).await;
                    let messages = self.told(messages)?;
                    self.say(messages).await?;
                }
                () = tokio::time::sleep_until(silent_at) => return Err(End::Gone),
            }
        }
    }

    fn told<T>(&self, outcome: Result<T, Over>) -> Result<T, End> {
        outcome.map_err(|over| End::Told(self.packets.farewell(over.why)))
    }

    async fn packet(&mut self, packet: Packet, house: &House) -> Result<(), End> {
        let answer = match packet {
            Packet::Connect { keep_alive_s } => {
                // Section 3.1.2.10: one and a half times the keep alive; one that does not say any is bounded, too.
                self.silence_max = match keep_alive_s {
                    0 => house.pace.silence_max,
                    seconds => Duration::from_secs(u64::from(seconds) * 3 / 2),
                };
                self.packets.welcome()
            }
            Packet::Publish { topic, payload, qos, packet_id } => {
                return self.published(&topic, &payload, qos, packet_id).await;
            }
            Packet::Release(packet_id) => {
                self.unreleased.retain(|known| *known != packet_id);
                self.packets.completed(packet_id)
            }
            Packet::Subscribe { packet_id, filters } => {
                let granted = filters.iter().map(|(filter, qos)| {
                    let qos = (*qos).min(1);
                    self.caller.subscribes(filter, qos).ok().map(|()| qos)
                });
                let granted: Vec<Option<u8>> = granted.collect();
                self.packets.subscribed(packet_id, &granted)
            }
            Packet::Unsubscribe { packet_id, filters } => {
                filters.iter().for_each(|filter| self.caller.unsubscribes(filter));
                self.packets.unsubscribed(packet_id, filters.len())
            }
            Packet::Ping => self.packets.pong(),
            Packet::Acknowledged => return Ok(()),
            Packet::Disconnect => return Err(End::Gone),
        };
        self.write(&answer).await
    }

    async fn published(&mut self, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Result<(), End> {
        if qos == 2 && self.unreleased.contains(&packet_id) {
            let answer = self.packets.acknowledged(qos, packet_id, None);
            return self.write(&answer).await;
        }
        let outcome = self.caller.publishes(topic, payload).await;
        let (verdict, messages) = self.told(outcome)?;
        let why = match &verdict {
            Verdict::Taken => None,
            Verdict::Stranger => {
                Some("the node is not let in: an engineer accepts it in the inbox of the hub")
            }
            // Without an acknowledgement, it is sent again.
            Verdict::Lost => return Err(End::Told(self.packets.farewell("it cannot be stored at present"))),
            Verdict::Never(why) => Some(why.as_str()),
        };
        if qos > 0 {
            let is_taken = why.is_none();
            let answer = self.packets.acknowledged(qos, packet_id, why);
            self.write(&answer).await?;
            if qos == 2 && is_taken {
                if self.unreleased.len() >= UNRELEASED_MAX {
                    return Err(End::Told(self.packets.farewell("too many messages without PUBREL")));
                }
                self.unreleased.push(packet_id);
            }
        }
        self.say(messages).await
    }

    async fn say(&mut self, messages: Vec<Message>) -> Result<(), End> {
        for Message { topic, payload, qos } in messages {
            let bytes = self.packets.publish(&topic, &payload, qos);
            self.write(&bytes).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        match timeout(WRITE_MAX, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
