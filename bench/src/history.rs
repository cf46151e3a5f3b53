//! A year of points of one series: how fast they are stored when they come in batches, and how long a chart of
//! all of them takes. The hub alone: mosquitto stores nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tokio::time::timeout;

use crate::api::Api;
use crate::broker::Broker;
use crate::wire::{Connection, Login, PUBACK, publish};

/// Points in all.
const POINTS: i64 = 10_000_000;
/// Points of one message.
const BATCH: i64 = 1_000;
/// Messages that are not acknowledged.
const IN_FLIGHT: usize = 20;
const YEAR_MS: i64 = 365 * 86_400_000;
/// Buckets that are asked for.
const BUCKETS: usize = 1_000;
/// How often they are asked for; the median counts.
const ASKED: usize = 9;
/// Longest time for all points.
const FILL_MAX: Duration = Duration::from_secs(600);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Year {
    /// Points stored and acknowledged in a second.
    pub(crate) points_per_second: f64,
    /// The median time of a query over all of them, in milliseconds.
    pub(crate) query_ms: f64,
}

/// Fills a device with a year and asks for it.
pub(crate) async fn year(broker: &Broker, device: &Login, api: &Api) -> anyhow::Result<Year> {
    #[expect(clippy::disallowed_methods, reason = "the points of a year end today")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let begin = i64::try_from(now.as_millis())? - YEAR_MS;
    let mut connection = Connection::open(broker.mqtt, device).await?;
    let started = Instant::now();
    timeout(FILL_MAX, fill(&mut connection, &device.user, begin)).await.context("filling a year")??;
    let points_per_second = POINTS as f64 / started.elapsed().as_secs_f64();
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let asked = Instant::now();
        let count = api.count_in_buckets(device, "t", (begin, begin + YEAR_MS), BUCKETS)?;
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
        ensure!(count == POINTS, "{POINTS} points were acknowledged, {count} are in the buckets");
    }
    times.sort_by(f64::total_cmp);
    Ok(Year { points_per_second, query_ms: times[ASKED / 2] })
}

async fn fill(connection: &mut Connection, device: &str, begin: i64) -> anyhow::Result<()> {
    let topic = format!("devices/{device}/telemetry");
    let mut under_way = 0;
    let mut id = 0u16;
    for first in (0..POINTS).step_by(usize::try_from(BATCH)?) {
        let point = |i: i64| {
            let time = begin + i * (YEAR_MS / POINTS);
            format!("{{\"ts\":{time},\"t\":{}.{}}}", 15 + (i / 977) % 12, i % 10)
        };
        let points: Vec<String> = (first..first + BATCH).map(point).collect();
        let mut packet = Vec::new();
        id = id % u16::MAX + 1;
        publish(&mut packet, &topic, Some(id), format!("[{}]", points.join(",")).as_bytes());
        connection.send(&packet).await?;
        under_way += 1;
        while under_way >= IN_FLIGHT {
            under_way -= connection.count(PUBACK).await?;
        }
    }
    while under_way > 0 {
        under_way -= connection.count(PUBACK).await?;
    }
    Ok(())
}
