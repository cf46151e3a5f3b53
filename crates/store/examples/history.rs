//! Measures a year of 10 million points on this machine, of one series and of a hundred:
//! `cargo run --release -p motehub-store --example history [FOLDER]`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a program for developers")]

use std::path::PathBuf;
use std::time::Instant;

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When, bucket_width};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Store, StoreUrl};

const START: Time = Time(1_763_690_400_000);
const POINTS: i64 = 10_000_000;
const YEAR_MS: i64 = 365 * 86_400_000;
const BATCH: i64 = 1_000;
const RUNS: usize = 7;

fn id(number: i64) -> DeviceId {
    DeviceId::from_parts(1, u128::try_from(number).unwrap())
}

async fn register(store: &Store, devices: i64) {
    let device = |n| Device {
        id: id(n),
        name: format!("Sensor {n:05}"),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: None,
        tags: Vec::new(),
        capabilities: Default::default(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: START,
        revision: 1,
    };
    let save = (0..devices).map(|n| Save::Device(Box::new(device(n)))).collect();
    store.commit(&Effects { save, ..Effects::none() }, START).await.unwrap();
}

async fn fill(store: &Store, devices: i64) {
    let metric = Metric::parse("temperature").unwrap();
    let per_device = POINTS / devices;
    let step = YEAR_MS / per_device;
    let mut batch = Vec::new();
    let begun = Instant::now();
    for i in 0..per_device {
        for n in 0..devices {
            let time = START + Span(i * step + (i * 7919) % (step / 2).max(1));
            let value = PointValue::Number(((i * 37 + n) % 997) as f64 / 10.0 - 20.0);
            let point = Point { metric: metric.clone(), time: When::At(time), value };
            batch.push(Measured {
                device: id(n),
                arrived: time,
                mark: None,
                again: false,
                points: vec![point],
            });
        }
        if batch.len() as i64 >= BATCH {
            store.append(std::mem::take(&mut batch)).await.unwrap();
        }
        if i % (per_device / 400).max(1) == 0 {
            store.merge(START + Span(i * step)).await.unwrap();
        }
    }
    store.append(batch).await.unwrap();
    store.merge(START + Span(YEAR_MS + 86_400_000)).await.unwrap();
    let took = begun.elapsed();
    println!("{devices} series: stored and merged {:.0} points/s", POINTS as f64 / took.as_secs_f64());
}

async fn ask(store: &Store, devices: i64, span_ms: i64, buckets: usize) {
    let to = START + Span(YEAR_MS);
    let from = to - Span(span_ms);
    let width = bucket_width(from, to, buckets);
    let mut times = Vec::new();
    let mut points = 0;
    for _ in 0..RUNS {
        let begun = Instant::now();
        points = 0;
        for n in 0..devices {
            let history = store.history(id(n), "temperature", from, to, width).await.unwrap();
            points += history.iter().map(|bucket| bucket.summary.count).sum::<u64>();
        }
        times.push(begun.elapsed());
    }
    println!(
        "{devices} series, {} days in {buckets} buckets of at least {} s: {points} points, median {:?}, first {:?}",
        span_ms / 86_400_000,
        width / 1000,
        {
            times[1..].sort();
            times[RUNS / 2]
        },
        times[0]
    );
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for devices in [1, 100] {
        let folder = tempfile::tempdir_in(&folder).unwrap();
        let file = folder.path().join("motehub.db");
        let store = Store::open(&StoreUrl::Sqlite(file.clone())).await.unwrap();
        register(&store, devices).await;
        fill(&store, devices).await;
        drop(store);
        println!("{devices} series: {:.1} MB", std::fs::metadata(&file).unwrap().len() as f64 / 1e6);
        let store = Store::open(&StoreUrl::Sqlite(file.clone())).await.unwrap();
        for (days, buckets) in [(365, 1000), (365, 300), (40, 1000), (7, 1000), (1, 1000)] {
            ask(&store, devices, days * 86_400_000, buckets).await;
        }
    }
}
