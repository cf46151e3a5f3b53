//! How long one message takes while 5,000 come in every second, whatever the broker does: each connection keeps its
//! own times and does not wait for answers.

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, interval_at};

use crate::broker::Broker;
use crate::load::{PAYLOAD_BYTES, PUBLISHERS, all, open_all, payload, topic};
use crate::wire::{Connection, Login, PUBACK, PUBLISH_0, publish};

/// A publisher's time from message to message; 100 publishers make 5,000 messages a second.
const EVERY: Duration = Duration::from_millis(20);
/// The publishers begin one after the other, evenly.
const APART: Duration = Duration::from_micros(200);
/// Messages of each publisher.
pub(crate) const PACED_EACH: usize = 150;
/// Digits of the nanoseconds that a message of QoS 0 carries, behind a leading 1.
const TIME_DIGITS: usize = 18;

/// How long messages took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    /// Half of them took no longer.
    pub(crate) p50_ms: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: f64,
}

/// QoS 1 telemetry: from a message to its PUBACK.
pub(crate) async fn acknowledged(broker: &Broker, devices: &[Login]) -> anyhow::Result<Latency> {
    let connections = open_all(broker.mqtt, &devices[..PUBLISHERS]).await?;
    let mut tasks = JoinSet::new();
    let mut begin = Instant::now();
    for (connection, device) in connections.into_iter().zip(devices) {
        begin += APART;
        tasks.spawn_local(publish_acknowledged(connection, topic(device, "telemetry"), begin));
    }
    let took = all(tasks).await.context("QoS 1 at an even pace")?;
    Ok(latency(took.concat()))
}

async fn publish_acknowledged(
    mut connection: Connection,
    topic: String,
    begin: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut ticks = interval_at(begin, EVERY);
    let (mut sent, mut took) = (Vec::with_capacity(PACED_EACH), Vec::with_capacity(PACED_EACH));
    let mut packet = Vec::new();
    while took.len() < PACED_EACH {
        tokio::select! {
            _ = ticks.tick(), if sent.len() < PACED_EACH => {
                packet.clear();
                publish(&mut packet, &topic, u16::try_from(sent.len() + 1).ok(), &payload(sent.len()));
                sent.push(Instant::now());
                connection.send(&packet).await?;
            }
            read = connection.each(PUBACK, |puback| took.extend(since(&sent, puback))) => read?,
        }
    }
    Ok(took)
}

/// How long ago that was sent which this PUBACK acknowledges.
fn since(sent: &[Instant], puback: &[u8]) -> Option<Duration> {
    let id = u16::from_be_bytes([*puback.get(2)?, *puback.get(3)?]);
    Some(sent.get(usize::from(id.checked_sub(1)?))?.elapsed())
}

/// QoS 0 from 100 publishers to one subscriber: from the one program to the other.
pub(crate) async fn plain(broker: &Broker, devices: &[Login], program: &Login) -> anyhow::Result<Latency> {
    let mut subscriber = Connection::open(broker.mqtt, program).await?;
    subscriber.subscribe("devices/+/bench").await?;
    let connections = open_all(broker.mqtt, &devices[..PUBLISHERS]).await?;
    let mut tasks = JoinSet::new();
    let zero = Instant::now();
    let mut begin = zero;
    for (connection, device) in connections.into_iter().zip(devices) {
        begin += APART;
        tasks.spawn_local(publish_plain(connection, topic(device, "bench"), begin, zero));
    }
    tasks.spawn_local(receive(subscriber, zero));
    let took = all(tasks).await.context("QoS 0 at an even pace")?;
    Ok(latency(took.concat()))
}

async fn publish_plain(
    mut connection: Connection,
    topic: String,
    begin: Instant,
    zero: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut ticks = interval_at(begin, EVERY);
    let mut packet = Vec::new();
    for _ in 0..PACED_EACH {
        ticks.tick().await;
        packet.clear();
        let mut text = format!("1{:0TIME_DIGITS$}.", zero.elapsed().as_nanos()).into_bytes();
        text.resize(PAYLOAD_BYTES, b'0');
        publish(&mut packet, &topic, None, &text);
        connection.send(&packet).await?;
    }
    Ok(Vec::new())
}

async fn receive(mut connection: Connection, zero: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(PUBLISHERS * PACED_EACH);
    while took.len() < PUBLISHERS * PACED_EACH {
        connection
            .each(PUBLISH_0, |packet| took.extend(sent_at(packet).map(|at| zero.elapsed() - at)))
            .await?;
    }
    Ok(took)
}

/// When a message was sent, by its payload, which is the end of the packet.
fn sent_at(packet: &[u8]) -> Option<Duration> {
    let payload = packet.get(packet.len().checked_sub(PAYLOAD_BYTES)?..)?;
    let digits = std::str::from_utf8(payload.get(1..=TIME_DIGITS)?).ok()?;
    Some(Duration::from_nanos(digits.parse().ok()?))
}

fn latency(mut took: Vec<Duration>) -> Latency {
    took.sort();
    let ms = |percent: usize| {
        let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
        took.get(place).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    };
    Latency { p50_ms: ms(50), p99_ms: ms(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let found = latency((1..=200).rev().map(Duration::from_millis).collect());
        assert!((found.p50_ms - 100.0).abs() < 1e-9 && (found.p99_ms - 198.0).abs() < 1e-9);
        let one = latency(vec![Duration::from_millis(7)]);
        assert!((one.p50_ms - 7.0).abs() < 1e-9 && (one.p99_ms - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_message_carries_when_it_was_sent() {
        let mut packet = Vec::new();
        let mut text = format!("1{:0TIME_DIGITS$}.", 1_234_567).into_bytes();
        text.resize(PAYLOAD_BYTES, b'0');
        publish(&mut packet, "devices/x/bench", None, &text);
        assert_eq!(sent_at(&packet), Some(Duration::from_nanos(1_234_567)));
    }
}
