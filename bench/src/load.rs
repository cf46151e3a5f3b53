//! The loads. Each has a fixed number of messages and a bound on what is under way, so that neither broker has a
//! reason to drop anything; what does not arrive in time is an error.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::broker::Broker;
use crate::wire::{Connection, Login, PUBACK, PUBLISH_0, publish};

/// Connections that publish in both fan-in loads.
pub(crate) const PUBLISHERS: usize = 100;
/// Subscribers of the fan-out.
pub(crate) const SUBSCRIBERS: usize = 500;
/// Connections that do nothing.
pub(crate) const IDLE: usize = 10_000;
/// QoS 1 messages of each publisher.
pub(crate) const STORED_EACH: usize = 2_000;
/// QoS 1 messages of a publisher that are not acknowledged.
const IN_FLIGHT: usize = 20;
/// QoS 0 messages of each publisher.
pub(crate) const PLAIN_EACH: usize = 4_000;
/// What hears all of them.
pub(crate) const PLAIN: &str = "devices/+/bench";
/// QoS 0 messages that are written at once.
const BURST: usize = 10;
/// Messages of the fan-out.
const FAN_OUT_MESSAGES: usize = 800;
/// Messages of the fan-out that are under way.
const FAN_OUT_AHEAD: usize = 10;
/// Bytes of a payload.
pub(crate) const PAYLOAD_BYTES: usize = 64;
/// Connections that are made at the same time.
const CONNECTING: usize = 50;
/// Longest time of one load.
const LOAD_MAX: Duration = Duration::from_secs(60);
/// Time for a broker to come to rest before its memory is read.
const REST: Duration = Duration::from_millis(500);

/// What a load cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Messages, or deliveries, in a second.
    pub(crate) per_second: f64,
    /// Processor time of the broker for each, in microseconds.
    pub(crate) cpu_us: f64,
}

/// A device publishes under `devices/<its user name>/`.
pub(crate) fn topic(login: &Login, last: &str) -> String {
    format!("devices/{}/{last}", login.user)
}

/// A JSON number of 64 bytes that differs from message to message.
pub(crate) fn payload(n: usize) -> Vec<u8> {
    let mut text = format!("{}.{:03}", 20 + n / 1000, n % 1000).into_bytes();
    text.resize(PAYLOAD_BYTES, b'0');
    text
}

/// QoS 1 telemetry of 100 devices: the time until all is acknowledged.
pub(crate) async fn acknowledged(broker: &Broker, devices: &[Login]) -> anyhow::Result<Cost> {
    let connections = open_all(broker.mqtt, &devices[..PUBLISHERS]).await?;
    let start = Start::now(broker)?;
    publish_all(connections, devices, STORED_EACH, payload).await?;
    start.cost(broker, PUBLISHERS * STORED_EACH)
}

/// Each device publishes so many messages of QoS 1, and all are acknowledged.
pub(crate) async fn publish_all(
    connections: Vec<Connection>,
    devices: &[Login],
    each: usize,
    payload: fn(usize) -> Vec<u8>,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for (connection, device) in connections.into_iter().zip(devices) {
        tasks.spawn_local(publish_acknowledged(connection, topic(device, "telemetry"), each, payload));
    }
    all(tasks).await.context("QoS 1 fan-in")?;
    Ok(())
}

async fn publish_acknowledged(
    mut connection: Connection,
    topic: String,
    each: usize,
    payload: fn(usize) -> Vec<u8>,
) -> anyhow::Result<()> {
    let (mut sent, mut acknowledged) = (0, 0);
    let mut packets = Vec::new();
    while acknowledged < each {
        packets.clear();
        while sent < each && sent - acknowledged < IN_FLIGHT {
            sent += 1;
            publish(&mut packets, &topic, u16::try_from(sent).ok(), &payload(sent));
        }
        if !packets.is_empty() {
            connection.send(&packets).await?;
        }
        acknowledged += connection.count(PUBACK).await?;
    }
    Ok(())
}

/// QoS 0 messages of 100 devices to one subscriber: the time until all are there.
pub(crate) async fn plain(broker: &Broker, devices: &[Login], program: &Login) -> anyhow::Result<Cost> {
    let mut subscriber = Connection::open(broker.mqtt, program).await?;
    subscriber.subscribe(PLAIN).await?;
    let connections = open_all(broker.mqtt, &devices[..PUBLISHERS]).await?;
    let start = Start::now(broker)?;
    hear_all(subscriber, connections, devices).await?;
    start.cost(broker, PUBLISHERS * PLAIN_EACH)
}

/// Each device publishes its messages of QoS 0, and one hears all of them.
pub(crate) async fn hear_all(
    subscriber: Connection,
    connections: Vec<Connection>,
    devices: &[Login],
) -> anyhow::Result<()> {
    let ahead = Rc::new(Semaphore::new(PUBLISHERS * BURST));
    let mut tasks = JoinSet::new();
    for (connection, device) in connections.into_iter().zip(devices) {
        tasks.spawn_local(publish_plain(connection, topic(device, "bench"), ahead.clone()));
    }
    tasks.spawn_local(receive(subscriber, PUBLISHERS * PLAIN_EACH, ahead));
    all(tasks).await.context("QoS 0 fan-in")?;
    Ok(())
}

async fn publish_plain(
    mut connection: Connection,
    topic: String,
    ahead: Rc<Semaphore>,
) -> anyhow::Result<()> {
    let mut packets = Vec::new();
    for burst in 0..PLAIN_EACH / BURST {
        packets.clear();
        for n in 0..BURST {
            publish(&mut packets, &topic, None, &payload(burst * BURST + n));
        }
        ahead.acquire_many(u32::try_from(BURST)?).await?.forget();
        connection.send(&packets).await?;
    }
    Ok(())
}

async fn receive(mut connection: Connection, count: usize, ahead: Rc<Semaphore>) -> anyhow::Result<()> {
    let mut received = 0;
    while received < count {
        let more = connection.count(PUBLISH_0).await.with_context(|| format!("{received} of {count}"))?;
        received += more;
        ahead.add_permits(more);
    }
    Ok(())
}

/// QoS 0 messages of one publisher to 500 subscribers: the time until all are everywhere.
pub(crate) async fn fan_out(broker: &Broker, programs: &[Login], publisher: &Login) -> anyhow::Result<Cost> {
    let mut publisher = Connection::open(broker.mqtt, publisher).await?;
    let ahead = Rc::new(Semaphore::new(FAN_OUT_AHEAD * SUBSCRIBERS));
    let mut subscribers = open_all(broker.mqtt, &programs[..SUBSCRIBERS]).await?;
    for subscriber in &mut subscribers {
        subscriber.subscribe("bench/everybody").await?;
    }
    let mut tasks = JoinSet::new();
    let start = Start::now(broker)?;
    for subscriber in subscribers {
        tasks.spawn_local(receive(subscriber, FAN_OUT_MESSAGES, ahead.clone()));
    }
    tasks.spawn_local(async move {
        let mut packet = Vec::new();
        for n in 0..FAN_OUT_MESSAGES {
            packet.clear();
            publish(&mut packet, "bench/everybody", None, &payload(n));
            ahead.acquire_many(u32::try_from(SUBSCRIBERS)?).await?.forget();
            publisher.send(&packet).await?;
        }
        Ok(())
    });
    all(tasks).await.context("fan-out")?;
    start.cost(broker, FAN_OUT_MESSAGES * SUBSCRIBERS)
}

/// Memory of a broker that was just started, what each idle connection adds, in kB, and the connections.
pub(crate) async fn memory(
    broker: &Broker,
    devices: &[Login],
) -> anyhow::Result<(f64, f64, Vec<Connection>)> {
    tokio::time::sleep(REST).await;
    let before = broker.memory_kb()?;
    let connections = open_all(broker.mqtt, &devices[..IDLE]).await?;
    tokio::time::sleep(REST).await;
    let each = (broker.memory_kb()? - before) / IDLE as f64;
    Ok((before, each, connections))
}

/// Connects all, some at a time.
pub(crate) async fn open_all(address: SocketAddr, logins: &[Login]) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(logins.len());
    for some in logins.chunks(CONNECTING) {
        let mut tasks = JoinSet::new();
        for (index, login) in some.iter().cloned().enumerate() {
            tasks.spawn_local(async move { Ok((index, Connection::open(address, &login).await?)) });
        }
        let mut opened = all(tasks).await.context("connecting")?;
        opened.sort_by_key(|(index, _)| *index);
        connections.extend(opened.into_iter().map(|(_, connection)| connection));
    }
    Ok(connections)
}

/// Waits until all have ended; the first error is the answer.
pub(crate) async fn all<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    let ended = async {
        while let Some(task) = tasks.join_next().await {
            done.push(task??);
        }
        anyhow::Ok(())
    };
    timeout(LOAD_MAX, ended).await.context("not done in time")??;
    Ok(done)
}

/// When a load began.
struct Start {
    at: Instant,
    cpu_us: f64,
}

impl Start {
    fn now(broker: &Broker) -> anyhow::Result<Self> {
        Ok(Self { cpu_us: broker.cpu_us()?, at: Instant::now() })
    }

    fn cost(&self, broker: &Broker, messages: usize) -> anyhow::Result<Cost> {
        let seconds = self.at.elapsed().as_secs_f64();
        let cpu_us = broker.cpu_us()? - self.cpu_us;
        Ok(Cost { per_second: messages as f64 / seconds, cpu_us: cpu_us / messages as f64 })
    }
}
