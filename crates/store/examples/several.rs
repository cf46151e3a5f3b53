//! Measures appending by one, two and three stores at once, on SQLite and on a PostgreSQL of its own, and the bytes of
//! a point in each layout: `cargo run --release -p motehub-store --example several`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a program for developers")]

use std::time::Instant;

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Store, StoreUrl};
use servers::Postgres;

const START: Time = Time(1_763_690_400_000);
const DEVICES: usize = 3_000;
const METRICS: usize = 5;
/// Rows that are appended in each run, in batches of so many.
const ROWS: usize = 300_000;
const BATCH: usize = 1_000;
/// Batches that each store has on their way at once.
const IN_FLIGHT: usize = 4;
/// The table that comes to mind first, from what is hot.
const PLAIN: &str = "create table plain (device text collate \"C\", metric text collate \"C\", time bigint,
    arrived bigint, number double precision, primary key (device, metric, time));
    insert into plain select s.device, s.metric, p.time, p.arrived, p.number from points p join series s
    on s.id = p.series on conflict do nothing";

fn id(number: usize) -> DeviceId {
    DeviceId::from_parts(1, number as u128)
}

/// Processor time in milliseconds of a process and, if wanted, of its children that are there or ended (Linux).
fn cpu_ms(process: &str, with_children: bool) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0.0 };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks =
        |range: std::ops::Range<usize>| fields[range].iter().map(|n| n.parse::<f64>().unwrap()).sum::<f64>();
    let mut all = ticks(if with_children { 11..15 } else { 11..13 }) * 10.0;
    if with_children {
        let lists = format!("/proc/{process}/task/{process}/children");
        let children = std::fs::read_to_string(lists).unwrap_or_default();
        all += children.split_whitespace().map(|child| cpu_ms(child, false)).sum::<f64>();
    }
    all
}

async fn register(store: &Store) {
    let device = |n: usize| Device {
        id: id(n),
        name: format!("Sensor {n:05}"),
        description: String::new(),
        dialect: Dialect::Native,
        external_id: None,
        tags: Vec::new(),
        capabilities: Vec::new(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: None,
        created_at: START,
        revision: 1,
    };
    let save = (0..DEVICES).map(|n| Save::Device(Box::new(device(n)))).collect();
    store.commit(&Effects { save, ..Effects::none() }, START).await.unwrap();
}

/// A batch of one of several stores, each with devices of its own: one moment of some of them, all metrics.
fn batch(number: usize, run: usize, (store, stores): (usize, usize)) -> Vec<Measured> {
    let (devices, own) = (BATCH / METRICS, DEVICES / stores);
    let message = |i: usize| {
        let device = store * own + (number * devices + i) % own;
        let metrics = (0..METRICS).map(|metric| Point {
            metric: Metric::parse(&format!("metric{metric}")).unwrap(),
            time: When::ARRIVAL,
            value: PointValue::Number(((device * 7 + metric + number) % 97) as f64 / 10.0),
        });
        let round = (run * 1000 + (number * devices + i) / own) as i64;
        let arrived = START + Span(round * 1_000);
        Measured {
            device: id(device),
            arrived,
            mark: Some(number as u64),
            again: false,
            points: metrics.collect(),
        }
    };
    (0..devices).map(message).collect()
}

/// Each store appends its share of the batches.
async fn append(stores: &[Store], run: usize, server: Option<u32>) {
    let server = server.map(|pid| pid.to_string());
    let server_cpu = || server.as_deref().map_or(0.0, |pid| cpu_ms(pid, true));
    let mut tasks = Vec::new();
    let writers = stores.len() * IN_FLIGHT;
    let mut shares: Vec<Vec<Vec<Measured>>> = vec![Vec::new(); writers];
    for number in 0..ROWS / BATCH {
        let (writer, share) = (number % writers, (number % stores.len(), stores.len()));
        shares[writer].push(batch(number / stores.len(), run, share));
    }
    let (begun, own, theirs) = (Instant::now(), cpu_ms("self", false), server_cpu());
    for (writer, share) in shares.into_iter().enumerate() {
        let store = stores[writer % stores.len()].clone();
        tasks.push(tokio::spawn(async move {
            for batch in share {
                store.append(batch).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let rows = ROWS as f64;
    println!(
        "  {} at once: {:.0} rows/s, {:.1} us of processor per row here, {:.1} us in PostgreSQL",
        stores.len(),
        rows / begun.elapsed().as_secs_f64(),
        (cpu_ms("self", false) - own) * 1000.0 / rows,
        (server_cpu() - theirs) * 1000.0 / rows,
    );
}

async fn merge(store: &Store) {
    let begun = Instant::now();
    let merged = store.merge(START + Span::days(30)).await.unwrap();
    println!("  merge: {:.0} points/s, {merged:?}", merged.points as f64 / begun.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() {
    println!("SQLite");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(folder.path().join("motehub.db"))).await.unwrap();
    register(&store).await;
    for run in 0..2 {
        append(std::slice::from_ref(&store), run, None).await;
    }
    merge(&store).await;
    drop(store);

    println!("PostgreSQL");
    let postgres = Postgres::alone_with(&["shared_buffers = 512MB", "max_wal_size = 4GB"]);
    let database = postgres.new_database();
    let url = StoreUrl::parse(&database).unwrap();
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Store::open(&url).await.unwrap());
    }
    register(&stores[0]).await;
    // Devices and series are met before anything is measured.
    append(&stores, 0, Some(postgres.pid())).await;
    for (run, count) in [(1, 1), (2, 2), (3, 3)] {
        append(&stores[..count], run, Some(postgres.pid())).await;
    }
    let size = |tables: &str| -> f64 {
        let wanted =
            format!("select coalesce(sum(pg_total_relation_size(oid)), 0) from pg_class where {tables}");
        postgres.psql(&database, &wanted).parse().unwrap()
    };
    let rows: f64 = postgres.psql(&database, "select count(*) from points").parse().unwrap();
    println!("  hot: {:.0} bytes a point", size("relkind = 'r' and relname like 'points_%'") / rows);
    let begun = Instant::now();
    postgres.psql(&database, PLAIN);
    println!(
        "  plain table: {:.0} bytes a point, {:.0} rows/s by one statement in the server",
        size("relname = 'plain'") / rows,
        rows / begun.elapsed().as_secs_f64()
    );
    merge(&stores[0]).await;
    println!(
        "  merged: {:.1} bytes a point, roll-ups included",
        size("relname in ('chunks', 'rollups')") / rows
    );
}
