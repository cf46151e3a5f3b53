//! MQTT-SN 1.2 over UDP for nodes of the Pyaiot family: one socket, and a task for each client that is connected.
//! Wills, QoS 2 and messages without a connection (QoS -1) are refused: no such node has them.

mod client;
mod outbox;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_protocol::mqtt_sn::{self, Message};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Pace;
use super::guest::House;
use crate::hub::{Hub, Transport};
use client::Client;

/// Most clients at once; further ones are not answered.
const CLIENTS_MAX: usize = 20_000;
/// Most clients at one IP address.
const CLIENTS_PER_ADDRESS_MAX: usize = 5_000;
/// How many datagrams of one client wait; further ones are dropped, and sent again.
const WAITING_MAX: usize = 16;
/// What the system holds for us while we do something else.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// The number of this gateway.
const GATEWAY: u8 = 1;
/// Connections of this file are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 0x52 << 56;
/// How long clients may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// A gateway whose socket is bound.
pub struct Gateway {
    socket: UdpSocket,
    address: SocketAddr,
    hub: Arc<dyn Hub>,
    pace: Pace,
}

/// Those that are connected.
#[derive(Default)]
struct Clients {
    /// Each with the number of its task: another one may have its address since.
    inboxes: HashMap<SocketAddr, (u64, mpsc::Sender<Message>)>,
    per_address: HashMap<std::net::IpAddr, usize>,
    tasks: JoinSet<(SocketAddr, u64)>,
    next: u64,
}

impl Gateway {
    /// Binds the socket.
    pub fn bind(address: SocketAddr, hub: Arc<dyn Hub>, pace: Pace) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // The system may give less.
        let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, hub, pace })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { socket, hub, pace, .. } = self;
        let house = House::new(hub, pace, Transport::MqttNode, FIRST_CONNECTION, shutdown.clone());
        let socket = Arc::new(socket);
        let mut clients = Clients::default();
        let mut buffer = vec![0; mqtt_sn::BYTES_MAX];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => take(&mut clients, &socket, &house, from, &buffer[..length]).await,
                    // That a peer is not there any more comes as an error of the next call.
                    Err(error) => tracing::debug!(%error, "an MQTT-SN datagram could not be received"),
                },
                Some(ended) = clients.tasks.join_next(), if !clients.tasks.is_empty() => {
                    if let Ok((from, number)) = ended
                        && clients.inboxes.get(&from).is_some_and(|(newest, _)| *newest == number)
                    {
                        clients.forget(from);
                    }
                }
                () = shutdown.cancelled() => break,
            }
        }
        let drained = timeout(DRAIN_MAX, async { while clients.tasks.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!("not everything that MQTT-SN nodes said was stored in time");
        }
    }
}

impl Clients {
    fn forget(&mut self, from: SocketAddr) {
        self.inboxes.remove(&from);
        let address = from.ip().to_canonical();
        match self.per_address.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.per_address.remove(&address)),
        }
    }
}

async fn take(
    clients: &mut Clients,
    socket: &Arc<UdpSocket>,
    house: &Arc<House>,
    from: SocketAddr,
    bytes: &[u8],
) {
    let message = match mqtt_sn::decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!(%from, %error, "a datagram is no MQTT-SN");
            return counted("malformed");
        }
    };
    let answer = match (message, clients.inboxes.get(&from)) {
        (Message::SearchGw, _) => Message::GwInfo { gateway: GATEWAY },
        (message, Some((_, inbox))) if !inbox.is_closed() => {
            if inbox.try_send(message).is_err() {
                counted("busy");
            }
            return;
        }
        (connect @ Message::Connect { .. }, _) => return begin(clients, socket, house, from, connect),
        // Without a connection there is nothing to say, and a DISCONNECT is not answered by another.
        (Message::Publish { qos: -1, .. } | Message::Disconnect { .. }, _) => return counted("unconnected"),
        (_, _) => {
            counted("unconnected");
            Message::Disconnect { duration_s: None }
        }
    };
    if let Ok(bytes) = mqtt_sn::encode(&answer) {
        let _ = socket.send_to(&bytes, from).await;
    }
}

fn begin(
    clients: &mut Clients,
    socket: &Arc<UdpSocket>,
    house: &Arc<House>,
    from: SocketAddr,
    connect: Message,
) {
    // One that has just ended may not be forgotten yet.
    if clients.inboxes.contains_key(&from) {
        clients.forget(from);
    }
    let address = from.ip().to_canonical();
    let here = clients.per_address.get(&address).copied().unwrap_or(0);
    if clients.inboxes.len() >= CLIENTS_MAX || here >= CLIENTS_PER_ADDRESS_MAX {
        return counted("too_many");
    }
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    let _ = sender.try_send(connect);
    clients.per_address.insert(address, here + 1);
    clients.next += 1;
    let number = clients.next;
    clients.inboxes.insert(from, (number, sender));
    let client = Client::new(house.clone(), socket.clone(), from);
    clients.tasks.spawn(async move {
        client.run(inbox).await;
        (from, number)
    });
}

fn counted(reason: &'static str) {
    metrics::counter!("motehub_nodes_refused_total", "reason" => reason).increment(1);
}
