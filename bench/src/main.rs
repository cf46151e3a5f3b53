//! `make bench`: the same loads against the hub and against mosquitto, in turn, and one table of medians.

mod api;
mod broker;
mod coap;
mod flow;
mod history;
mod latency;
mod load;
mod nodes;
mod running;
mod storm;
mod table;
mod wire;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use api::Api;
use broker::{Broker, Kind, Programs};
use latency::PACED_EACH;
use load::{IDLE, PUBLISHERS, STORED_EACH, SUBSCRIBERS};
use table::Round;
use wire::Login;

/// Sessions that one token may have at the hub.
const SESSIONS_PER_TOKEN: usize = 100;
/// Most rounds; the devices then have as many points as the API gives at once.
const RUNS_MAX: u16 = 50;
/// Of so many publishing devices, one is looked up: is everything stored that was acknowledged?
const CHECK_EVERY: usize = 20;
/// How often a page of devices is asked for in each round; the median counts.
const PAGES: usize = 20;
/// Open files that the generator and a broker need each, for 10,000 connections.
const OPEN_FILES_MIN: u64 = 12_000;

/// Compares the hub with mosquitto on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(RUNS_MAX)))]
    runs: u16,
    /// The program of mosquitto; without it the installed one, or what xtask/setup.sh unpacked
    #[arg(long)]
    mosquitto: Option<PathBuf>,
    #[command(flatten)]
    hub: Hub,
    #[command(subcommand)]
    other: Option<Other>,
}

/// Where the hub is.
#[derive(Debug, clap::Args)]
struct Hub {
    /// The program of the hub
    #[arg(long = "hub", default_value = "target/release/motehub")]
    program: PathBuf,
}

/// What is measured without mosquitto.
#[derive(Debug, Subcommand)]
enum Other {
    /// Kills the hub while devices are connected, and has all of them come back at once
    Storm {
        /// How many devices
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=15_000))]
        devices: u16,
        #[command(flatten)]
        hub: Hub,
    },
    /// How long a value takes along a line of 20 steps, on boards and on the hub
    Flow {
        /// The interpreter of the boards; without it that of xtask/setup.sh, or the installed one
        #[arg(long)]
        micropython: Option<PathBuf>,
        #[command(flatten)]
        hub: Hub,
    },
    /// Stored telemetry and messages between nodes: a hub on SQLite, and one of one, two and three nodes on PostgreSQL
    Nodes {
        /// How often everything is measured; the table shows medians
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(RUNS_MAX)))]
        runs: u16,
        #[command(flatten)]
        hub: Hub,
    },
    /// Virtual boards at one CoAP listener, in the clear and over DTLS, beside aiocoap's server
    Coap {
        /// How many boards
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(50..=10_000))]
        devices: u16,
        /// A Python that has aiocoap; without it that of xtask/setup.sh test
        #[arg(long)]
        python: Option<PathBuf>,
        #[command(flatten)]
        hub: Hub,
    },
}

/// Who connects to either broker.
struct Clients {
    /// Registered devices of the native dialect.
    devices: Vec<Login>,
    /// Programs with tokens, the first one for what needs one only.
    programs: Vec<Login>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let alone = |hub: Hub| Programs { hub: hub.program, mosquitto: PathBuf::new() };
    match arguments.other {
        Some(Other::Storm { devices, hub }) => {
            return local.block_on(&runtime, storm::storm(&alone(hub), usize::from(devices)));
        }
        Some(Other::Nodes { runs, hub }) => {
            return local.block_on(&runtime, nodes::nodes(&hub.program, runs));
        }
        Some(Other::Coap { devices, python, hub }) => {
            return coap::coap(&alone(hub), python, usize::from(devices));
        }
        Some(Other::Flow { micropython, hub }) => {
            return local.block_on(&runtime, flow::flow(&alone(hub), micropython));
        }
        None => {}
    }
    let mosquitto =
        arguments.mosquitto.or_else(find_mosquitto).context("no mosquitto: xtask/setup.sh bench")?;
    let programs = Programs { hub: arguments.hub.program, mosquitto };
    local.block_on(&runtime, measure(&programs, arguments.runs))
}

/// As many open files as the system allows, for this program and the brokers that it starts.
fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= OPEN_FILES_MIN),
        "{OPEN_FILES_MIN} open files are needed (ulimit -Hn)"
    );
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

fn find_mosquitto() -> Option<PathBuf> {
    let places = ["/usr/sbin/mosquitto", ".tools/mosquitto/usr/sbin/mosquitto"];
    places.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

async fn measure(programs: &Programs, runs: u16) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("motehub-bench-").tempdir()?;
    let clients = prepare(programs, folder.path()).await?;
    let (mut hub, mut mosquitto) = (Vec::new(), Vec::new());
    for run in 1..=usize::from(runs) {
        eprintln!("bench: run {run} of {runs}");
        hub.push(round(run, Kind::Hub, programs, folder.path(), &clients).await?);
        mosquitto.push(round(run, Kind::Mosquitto, programs, folder.path(), &clients).await?);
    }
    table::print(&hub, &mosquitto);
    let year = year(programs, folder.path(), &clients).await?;
    table::print_hub("batches of 1,000 points, one series: points/s", 0, year.points_per_second);
    table::print_hub("10,000,000 points of a year in 1,000 buckets, ms", 1, year.query_ms);
    Ok(())
}

/// Registers the devices at the hub and makes tokens; mosquitto takes the same names.
async fn prepare(programs: &Programs, folder: &Path) -> anyhow::Result<Clients> {
    let count = SUBSCRIBERS + 1;
    let mut logins = Vec::with_capacity(count);
    for number in 0..count.div_ceil(SESSIONS_PER_TOKEN) {
        let name = format!("bench-{number}");
        let password = broker::add_token(&programs.hub, folder, &name, &[])?;
        logins.extend((0..SESSIONS_PER_TOKEN).map(|n| program(&name, &password, n)));
    }
    let hub = Broker::start(Kind::Hub, programs, folder, &logins[0]).await?;
    eprintln!("bench: registering {IDLE} devices");
    let api = Api::new(hub.http, &logins[0].password);
    let devices = api.add_devices(IDLE).context("registering devices")?;
    Ok(Clients { devices, programs: logins })
}

/// One of the programs that have the same token.
fn program(name: &str, token: &str, n: usize) -> Login {
    let client = format!("{name}-{n}");
    Login { client, user: name.to_owned(), password: token.to_owned(), from: Ipv4Addr::LOCALHOST }
}

/// Starts a broker twice: for its memory, and for the loads.
async fn round(
    run: usize,
    kind: Kind,
    programs: &Programs,
    folder: &Path,
    clients: &Clients,
) -> anyhow::Result<Round> {
    let Clients { devices, programs: logins } = clients;
    let (first, others) = logins.split_first().context("there are programs")?;
    ensure!(others.len() >= SUBSCRIBERS, "too few programs");
    let broker = Broker::start(kind, programs, folder, first).await?;
    let ready_ms = broker.ready_after.as_secs_f64() * 1000.0;
    let (idle_kb, each_kb, connections) = load::memory(&broker, devices).await?;
    let (page_ms, selected_ms) = match kind {
        Kind::Hub => pages(&Api::new(broker.http, &first.password))?,
        Kind::Mosquitto => (f64::NAN, f64::NAN),
    };
    drop(connections);
    drop(broker);
    let broker = Broker::start(kind, programs, folder, first).await?;
    let acknowledged = load::acknowledged(&broker, devices).await?;
    let paced = &devices[PUBLISHERS..];
    let stored = latency::acknowledged(&broker, paced).await?;
    if kind == Kind::Hub {
        let api = Api::new(broker.http, &first.password);
        for n in (0..PUBLISHERS).step_by(CHECK_EVERY) {
            api.check_stored(&devices[n], run * STORED_EACH)?;
            api.check_stored(&paced[n], run * PACED_EACH)?;
        }
    }
    let plain = load::plain(&broker, devices, first).await?;
    let routed = latency::plain(&broker, paced, first).await?;
    let fan_out = load::fan_out(&broker, others, first).await?;
    Ok([
        acknowledged.per_second,
        acknowledged.cpu_us,
        plain.per_second,
        plain.cpu_us,
        fan_out.per_second,
        fan_out.cpu_us,
        stored.p50_ms,
        stored.p99_ms,
        routed.p50_ms,
        routed.p99_ms,
        ready_ms,
        idle_kb / 1024.0,
        each_kb,
        page_ms,
        selected_ms,
    ])
}

/// How long a page of devices takes in milliseconds: of all, and of a tenth of them by a selector.
fn pages(api: &Api) -> anyhow::Result<(f64, f64)> {
    let ms = |query: &str, total| {
        let times = (0..PAGES).map(|_| api.device_page(query, total));
        let times = times.collect::<anyhow::Result<Vec<Duration>>>()?;
        anyhow::Ok(table::median(times.iter().map(|took| took.as_secs_f64() * 1000.0).collect()))
    };
    api.wait_online(IDLE)?;
    Ok((ms("", IDLE)?, ms("selector=tag%3Dkitchen%20and%20online", IDLE / 10)?))
}

/// The hub alone: a year of ten million points of one device.
async fn year(programs: &Programs, folder: &Path, clients: &Clients) -> anyhow::Result<history::Year> {
    eprintln!("bench: a year of points");
    let first = clients.programs.first().context("there are programs")?;
    let broker = Broker::start(Kind::Hub, programs, folder, first).await?;
    let device = clients.devices.last().context("there are devices")?;
    history::year(&broker, device, &Api::new(broker.http, &first.password)).await
}
