//! `bench nodes`: what stored telemetry and messages from node to node cost, for a hub on SQLite and for one of one,
//! two and three nodes on PostgreSQL and NATS. Devices are spread over the nodes as a balancer does it. All of it
//! shares the processor of one machine: what more nodes cost is in the processor time of a message, not in the messages
//! of a second.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use servers::{Nats, Postgres};
use tempfile::TempDir;

use crate::api::Api;
use crate::broker::{Broker, add_token, family_cpu_us};
use crate::load::{PLAIN, PLAIN_EACH, PUBLISHERS, STORED_EACH, hear_all, open_all, payload, publish_all};
use crate::table;
use crate::wire::{Connection, Login};

/// What is compared.
const HUBS: [(&str, usize); 4] = [("SQLite", 0), ("PostgreSQL", 1), ("two nodes", 2), ("three nodes", 3)];
/// Connections that do nothing, at the first node.
const IDLE: usize = 3000;
/// Points of a message of many.
const MANY: usize = 100;
/// Messages of many points of each device.
const MANY_EACH: usize = 50;
/// So much earlier than now they are, in milliseconds.
const BEFORE_MS: u128 = 600_000;
/// Devices that are asked for what is stored of them.
const CHECKED_EVERY: usize = 20;

/// What is measured, and with how many digits behind the point it is shown.
const ROWS: [(&str, usize); 11] = [
    ("memory per idle connection (of 3,000), kB", 1),
    ("QoS 1 telemetry, 100 connections: acknowledged/s", 0),
    ("CPU µs per message: hub", 1),
    ("CPU µs per message: PostgreSQL", 1),
    ("CPU µs per message: NATS", 1),
    ("messages of 100 points: points/s", 0),
    ("CPU µs per point: hub and PostgreSQL", 2),
    ("QoS 0, 100 to 1 at the first node: delivered/s", 0),
    ("CPU µs per message: hub", 1),
    ("CPU µs per message: NATS", 1),
    ("memory of a node at the end, MB", 0),
];
type Round = [f64; ROWS.len()];

/// A hub with everything that it runs on.
struct Setup {
    nodes: Vec<Broker>,
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    folders: Vec<TempDir>,
    program: Login,
    devices: Vec<Login>,
}

/// Processor time so far, in microseconds.
struct Used {
    hub: f64,
    postgres: f64,
    nats: f64,
}

impl Setup {
    async fn start(program: &Path, count: usize) -> anyhow::Result<Self> {
        let folder = || tempfile::Builder::new().prefix("motehub-bench-").tempdir();
        // As Debian has it, and not as small as tests have it.
        let settings = ["shared_buffers = 128MB", "max_wal_size = 1GB"];
        let mut setup = Self {
            nodes: Vec::new(),
            postgres: (count > 0).then(|| Postgres::alone_with(&settings)),
            nats: (count > 0).then(Nats::start),
            folders: (0..count.max(1)).map(|_| folder()).collect::<Result<_, _>>()?,
            program: crate::program("bench", "", 0),
            devices: Vec::new(),
        };
        let first = setup.folders[0].path();
        let store = match &setup.postgres {
            Some(postgres) => postgres.new_database(),
            None => format!("sqlite:{}", first.join("data/motehub.db").display()),
        };
        setup.program.password = add_token(program, first, "bench", &["--store", &store])?;
        // The memory that it takes to register devices is not what is measured: all is started anew after that.
        setup.run_nodes(program, &store, 1).await?;
        setup.devices = setup.api().add_devices(IDLE)?;
        setup.nodes.clear();
        setup.run_nodes(program, &store, count.max(1)).await?;
        Ok(setup)
    }

    async fn run_nodes(&mut self, program: &Path, store: &str, count: usize) -> anyhow::Result<()> {
        let bus = self.nats.as_ref().map(Nats::url);
        let first = self.folders[0].path();
        for (index, folder) in self.folders.iter().enumerate().take(count) {
            let name = format!("node-{index}");
            let mut arguments = vec!["--store", store];
            arguments.extend(bus.iter().flat_map(|bus| ["--bus", bus, "--node", &name]));
            if index > 0 {
                let copied =
                    Command::new("cp").arg("-a").arg(first.join("data")).arg(folder.path()).status()?;
                ensure!(copied.success(), "the keys of the first node are not copied");
            }
            self.nodes.push(Broker::node(program, folder.path(), &self.program, &arguments).await?);
        }
        Ok(())
    }

    fn api(&self) -> Api {
        Api::new(self.nodes[0].http, &self.program.password)
    }

    /// Connections of all devices that publish, in turn at each node.
    async fn connect(&self) -> anyhow::Result<Vec<Connection>> {
        let devices = &self.devices[..PUBLISHERS];
        let mut connections: Vec<Option<Connection>> = devices.iter().map(|_| None).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let here = devices.iter().skip(index).step_by(self.nodes.len()).cloned();
            let opened = open_all(node.mqtt, &here.collect::<Vec<_>>()).await?;
            for (place, connection) in
                connections.iter_mut().skip(index).step_by(self.nodes.len()).zip(opened)
            {
                *place = Some(connection);
            }
        }
        connections.into_iter().map(|it| it.context("each is connected")).collect()
    }

    fn used(&self) -> anyhow::Result<Used> {
        Ok(Used {
            hub: self.nodes.iter().map(Broker::cpu_us).sum::<anyhow::Result<f64>>()?,
            postgres: self.postgres.as_ref().map_or(Ok(f64::NAN), |it| family_cpu_us(it.pid()))?,
            nats: self.nats.as_ref().map_or(Ok(f64::NAN), |it| family_cpu_us(it.pid()))?,
        })
    }

    async fn measure(&self) -> anyhow::Result<Round> {
        let empty = self.nodes[0].memory_kb()?;
        let idle = open_all(self.nodes[0].mqtt, &self.devices).await?;
        let idle_kb = (self.nodes[0].memory_kb()? - empty) / IDLE as f64;
        drop(idle);
        let single = (PUBLISHERS * STORED_EACH) as f64;
        let (connections, before, begun) = (self.connect().await?, self.used()?, Instant::now());
        publish_all(connections, &self.devices, STORED_EACH, payload).await?;
        let (single_s, after) = (begun.elapsed().as_secs_f64(), self.used()?);
        let points = (PUBLISHERS * MANY_EACH * MANY) as f64;
        let (connections, began, begun) = (self.connect().await?, self.used()?, Instant::now());
        publish_all(connections, &self.devices, MANY_EACH, many).await?;
        let (many_s, ended) = (begun.elapsed().as_secs_f64(), self.used()?);
        for device in self.devices[..PUBLISHERS].iter().step_by(CHECKED_EVERY) {
            self.api().check_stored(device, STORED_EACH + MANY_EACH * MANY)?;
        }
        let store = |used: &Used| used.hub + if used.postgres.is_nan() { 0.0 } else { used.postgres };

        let heard = (PUBLISHERS * PLAIN_EACH) as f64;
        let mut subscriber = Connection::open(self.nodes[0].mqtt, &self.program).await?;
        subscriber.subscribe(PLAIN).await?;
        let (connections, first, begun) = (self.connect().await?, self.used()?, Instant::now());
        hear_all(subscriber, connections, &self.devices).await?;
        let (heard_s, last) = (begun.elapsed().as_secs_f64(), self.used()?);
        let memory = self.nodes.iter().map(Broker::memory_kb).sum::<anyhow::Result<f64>>()?;
        Ok([
            idle_kb,
            single / single_s,
            (after.hub - before.hub) / single,
            (after.postgres - before.postgres) / single,
            (after.nats - before.nats) / single,
            points / many_s,
            (store(&ended) - store(&began)) / points,
            heard / heard_s,
            (last.hub - first.hub) / heard,
            (last.nats - first.nats) / heard,
            memory / 1024.0 / self.nodes.len() as f64,
        ])
    }
}

/// A message of a hundred points, from before the points of the other messages and a millisecond apart.
fn many(n: usize) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "the points are of now")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = now.map_or(0, |now| now.as_millis()).saturating_sub(BEFORE_MS) + (n * MANY) as u128;
    let point = |i: usize| format!("{{\"ts\":{},\"value\":{}.{}}}", first + i as u128, n % 90, i % 10);
    format!("[{}]", (0..MANY).map(point).collect::<Vec<_>>().join(",")).into_bytes()
}

/// Measures all hubs in turn, so often, and prints a table of medians.
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
pub(crate) async fn nodes(program: &Path, runs: u16) -> anyhow::Result<()> {
    let mut rounds: [Vec<Round>; HUBS.len()] = Default::default();
    for run in 1..=runs {
        for ((name, count), rounds) in HUBS.iter().zip(&mut rounds) {
            eprintln!("bench: run {run} of {runs}: {name}");
            let setup = Setup::start(program, *count).await?;
            rounds.push(setup.measure().await.with_context(|| (*name).to_owned())?);
        }
    }
    let names: Vec<&str> = HUBS.iter().map(|(name, _)| *name).collect();
    println!("| Medians of {runs} runs | {} |\n|---|{}", names.join(" | "), "--:|".repeat(HUBS.len()));
    for (row, (name, digits)) in ROWS.iter().enumerate() {
        let shown = rounds.iter().map(|rounds| {
            let median = table::median(rounds.iter().map(|round| round[row]).collect());
            if median.is_nan() { "–".to_owned() } else { format!("{median:.digits$}") }
        });
        println!("| {name} | {} |", shown.collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}
