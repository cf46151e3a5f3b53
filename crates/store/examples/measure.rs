//! Measures the store on this machine: `cargo run --release -p motehub-store --example measure [FOLDER]`; with
//! `postgres` in place of a folder a PostgreSQL that it starts in the temporary folder.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a program for developers")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use motehub_domain::artifact::{Artifact, ArtifactKind, Digest};
use motehub_domain::deployment::TaskState;
use motehub_domain::device::{Device, Dialect, Presence, Reach, Software};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::script::{Language, Script};
use motehub_domain::selector::Selector;
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_store::{DeviceQuery, Measured, Sort, Store, StoreUrl};

const START: Time = Time(1_763_690_400_000);
const DEVICES: u128 = 10_000;
const METRICS: usize = 5;
const ROWS: usize = 400_000;

fn id(number: u128) -> DeviceId {
    DeviceId::from_parts(1, number)
}

/// Processor time of this process so far, in milliseconds (Linux).
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks * 10.0
}

/// Bytes this process gave to disks so far (Linux).
fn written_mb() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse::<f64>().unwrap() / 1e6
}

async fn register(store: &Store) {
    let script = |n: u128| motehub_domain::id::ScriptId::from_parts(1, n % 10);
    let artifact = |n: u128| Artifact {
        kind: ArtifactKind::Script { script: script(n), version: 1 },
        digest: Digest([1; 32]),
        size_bytes: 10,
    };
    let mut save = Vec::new();
    for n in 0..10 {
        save.push(Save::Script(Box::new(Script {
            id: script(n),
            number: 0,
            name: format!("script {n}"),
            description: String::new(),
            category: String::new(),
            language: Language::Lua,
            requires: Vec::new(),
            latest_version: 1,
            created_at: START,
            updated_at: START,
            revision: 1,
        })));
    }
    for n in 0..DEVICES {
        save.push(Save::Device(Box::new(Device {
            id: id(n),
            name: format!("Sensor {:05}", (n * 7919) % DEVICES),
            description: "measures the room".into(),
            dialect: Dialect::Nodemcu,
            external_id: Some(n.to_string()),
            tags: vec!["all".into(), format!("room{}", n % 100)],
            capabilities: Vec::new(),
            unauthenticated_allowed: false,
            allowed_from: None,
            silence_max: None,
            line: None,
            created_at: START,
            revision: 1,
        })));
        save.push(Save::Software(Box::new(Software {
            active: Some(artifact(n)),
            running: Some(artifact(n)),
            problem: (n % 50 == 0).then(|| "loops".into()),
            revision: 1,
            ..Software::none(id(n))
        })));
        let presence = Presence {
            device: id(n),
            reach: Reach::of(n % 3 > 0),
            gateway: None,
            seen_at: START,
            address: "192.0.2.1".into(),
        };
        save.push(Save::Presence(presence));
        save.push(Save::Credential(id(n), Some(Digest(std::array::from_fn(|i| (n >> (8 * (i % 8))) as u8)))));
    }
    let begun = Instant::now();
    store.commit(&Effects { save, ..Effects::none() }, START).await.unwrap();
    println!("register {DEVICES} devices in one commit: {:?}", begun.elapsed());
}

async fn lists(store: &Store) {
    let selector = |text: &str| Some(Selector::parse(text).unwrap());
    let page = || DeviceQuery { limit: 50, ..DeviceQuery::default() };
    let cases = [
        ("by name", page()),
        ("by name, last page", DeviceQuery { offset: 9_950, ..page() }),
        ("by last seen", DeviceQuery { sort: Sort::LastSeen, descending: true, ..page() }),
        ("by state", DeviceQuery { sort: Sort::State, ..page() }),
        ("text", DeviceQuery { text: Some("sensor 099".into()), ..page() }),
        ("tag and online", DeviceQuery { selector: selector("tag=room7 and online"), ..page() }),
        (
            "not failing, script",
            DeviceQuery { selector: selector("not failing and script=\"script 3\""), ..page() },
        ),
        ("1000 at once", DeviceQuery { limit: 1000, ..page() }),
    ];
    for (name, query) in cases {
        store.devices(query.clone()).await.unwrap();
        let begun = Instant::now();
        let (views, total) = store.devices(query).await.unwrap();
        println!("list {name}: {} of {total}: {:?}", views.len(), begun.elapsed());
    }
    let begun = Instant::now();
    let ids = store.select_ids(&Selector::All, Time(0), 100_000).await.unwrap();
    println!("select_ids: {} in {:?}", ids.len(), begun.elapsed());
    let begun = Instant::now();
    let targets = store.targets(&ids).await.unwrap();
    println!("targets: {} in {:?}", targets.len(), begun.elapsed());
    let begun = Instant::now();
    let scripts = store.scripts(None, 0, 50).await.unwrap();
    println!("scripts: {} in {:?}", scripts.0.len(), begun.elapsed());
    let begun = Instant::now();
    store.overview().await.unwrap();
    println!("overview: {:?}", begun.elapsed());
    assert!(!TaskState::Done.is_open());
}

/// Selectors over what every device measured last.
async fn measured_last(store: &Store) {
    let point = |n: u128| Measured {
        device: id(n),
        arrived: START,
        mark: None,
        again: false,
        points: vec![Point {
            metric: Metric::parse("free_ram").unwrap(),
            time: When::ARRIVAL,
            value: PointValue::Number((n % 40) as f64 * 1000.0),
        }],
    };
    for first in (0..DEVICES).step_by(1000) {
        store.append((first..first + 1000).map(point).collect()).await.unwrap();
    }
    for text in
        ["free_ram < 20000 and not online", "telemetry.free_ram >= 0", "not free_ram exists", "seen > 10m"]
    {
        let selector = Some(Selector::parse(text).unwrap());
        let query = DeviceQuery { selector, now: START, limit: 50, ..DeviceQuery::default() };
        store.devices(query.clone()).await.unwrap();
        let begun = Instant::now();
        let (views, total) = store.devices(query).await.unwrap();
        println!("list {text}: {} of {total}: {:?}", views.len(), begun.elapsed());
    }
}

/// One batch: the same minute of many devices.
fn batch(first: usize, rows: usize) -> Vec<Measured> {
    let metrics: Vec<Metric> = (0..METRICS).map(|m| Metric::parse(&format!("metric{m}")).unwrap()).collect();
    let messages = (first..first + rows).step_by(METRICS).map(|row| {
        let device = (row / METRICS) % 1000;
        let minute = (row / METRICS / 1000) as i64;
        let time = START + Span(minute * 60_000);
        let value = |m: usize| PointValue::Number(((row + m) % 97) as f64 / 10.0);
        let points =
            (0..METRICS).map(|m| Point { metric: metrics[m].clone(), time: When::ARRIVAL, value: value(m) });
        Measured {
            device: id(device as u128),
            arrived: time,
            mark: Some(row as u64),
            again: false,
            points: points.collect(),
        }
    });
    messages.collect()
}

async fn appends(store: &Store, rows: usize, first: usize) -> usize {
    let batches: Vec<_> = (0..ROWS / rows).map(|i| batch(first + i * rows, rows)).collect();
    let (begun, cpu, disk) = (Instant::now(), cpu_ms(), written_mb());
    for batch in batches {
        store.append(batch).await.unwrap();
    }
    let (took, cpu) = (begun.elapsed(), cpu_ms() - cpu);
    println!(
        "append {rows} at once: {:.0} rows/s, {:.2} us of processor per row, {:.0} bytes to disk per row",
        ROWS as f64 / took.as_secs_f64(),
        cpu * 1000.0 / ROWS as f64,
        (written_mb() - disk) * 1e6 / ROWS as f64
    );
    first + ROWS
}

#[tokio::main]
async fn main() {
    let place = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let server = (place == Path::new("postgres")).then(servers::Postgres::alone);
    let folder = tempfile::tempdir_in(if server.is_some() { std::env::temp_dir() } else { place }).unwrap();
    let file = folder.path().join("motehub.db");
    let url = match &server {
        Some(server) => StoreUrl::parse(&server.new_database()).unwrap(),
        None => StoreUrl::Sqlite(file.clone()),
    };
    let store = Store::open(&url).await.unwrap();
    register(&store).await;
    lists(&store).await;
    measured_last(&store).await;
    let mut first = 0;
    for rows in [200, 1000] {
        first = appends(&store, rows, first).await;
        let (begun, cpu, disk) = (Instant::now(), cpu_ms(), written_mb());
        let merged = store.merge(START + Span::days(30)).await.unwrap();
        println!(
            "merge: {merged:?} in {:?}, {:.0} ms of processor, {:.1} MB to disk",
            begun.elapsed(),
            cpu_ms() - cpu,
            written_mb() - disk
        );
    }
    appends(&store, 1000, first).await;
    drop(store);
    if server.is_none() {
        println!("file: {:.1} MB", std::fs::metadata(&file).unwrap().len() as f64 / 1e6);
    }
    let begun = Instant::now();
    let store = Store::open(&url).await.unwrap();
    println!("open with {ROWS} hot rows: {:?}", begun.elapsed());
    let begun = Instant::now();
    let (samples, _) =
        store.telemetry(id(7), Some("metric1"), START, START + Span::days(30), 1000).await.unwrap();
    println!("telemetry of one metric: {} points in {:?}", samples.len(), begun.elapsed());
    let begun = Instant::now();
    let latest = store.latest(id(8)).await.unwrap();
    println!("latest: {} metrics in {:?}", latest.len(), begun.elapsed());
}
