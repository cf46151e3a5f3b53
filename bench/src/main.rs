//! `make bench`: the same loads against the hub and against mosquitto, in turn, and one table of medians.

mod api;
mod broker;
mod history;
mod load;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;

use api::Api;
use broker::{Broker, Kind, Programs};
use load::{IDLE, PUBLISHERS, STORED_EACH, SUBSCRIBERS};
use wire::Login;

/// Sessions that one token may have at the hub.
const SESSIONS_PER_TOKEN: usize = 100;
/// Most rounds; the devices then have as many points as the API gives at once.
const RUNS_MAX: u16 = 50;
/// Of so many publishing devices, one is looked up: is everything stored that was acknowledged?
const CHECK_EVERY: usize = 20;

/// Compares the hub with mosquitto on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(RUNS_MAX)))]
    runs: u16,
    /// The program of the hub
    #[arg(long, default_value = "target/release/motehub")]
    hub: PathBuf,
    /// The program of mosquitto; without it the installed one, or what xtask/setup.sh unpacked
    #[arg(long)]
    mosquitto: Option<PathBuf>,
}

/// What one round says about one broker, in the order of `ROWS`.
type Round = [f64; ROWS.len()];

/// What is measured, and with how many digits behind the point it is shown.
const ROWS: [(&str, usize); 9] = [
    ("QoS 1 fan-in, 100 connections: acknowledged/s", 0),
    ("QoS 1 fan-in: CPU µs per message", 1),
    ("QoS 0 fan-in, 100 to 1: delivered/s", 0),
    ("QoS 0 fan-in: CPU µs per message", 1),
    ("fan-out, 1 to 500: delivered/s", 0),
    ("fan-out: CPU µs per delivery", 2),
    ("start to first CONNACK, ms", 0),
    ("memory idle, MB", 1),
    ("memory per idle connection (of 2,000), kB", 1),
];

/// Who connects to either broker.
struct Clients {
    /// Registered devices of the native dialect.
    devices: Vec<Login>,
    /// Programs with tokens, the first one for what needs one only.
    programs: Vec<Login>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let programs = Programs {
        mosquitto: arguments
            .mosquitto
            .or_else(find_mosquitto)
            .context("no mosquitto: xtask/setup.sh bench")?,
        hub: arguments.hub,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, measure(&programs, arguments.runs))
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
    print(&hub, &mosquitto);
    print_year(year(programs, folder.path(), &clients).await?);
    Ok(())
}

/// Registers the devices at the hub and makes tokens; mosquitto takes the same names.
async fn prepare(programs: &Programs, folder: &Path) -> anyhow::Result<Clients> {
    let count = SUBSCRIBERS + 1;
    let mut logins = Vec::with_capacity(count);
    for number in 0..count.div_ceil(SESSIONS_PER_TOKEN) {
        let name = format!("bench-{number}");
        let password = broker::add_token(programs, folder, &name)?;
        let login =
            |n| Login { client: format!("{name}-{n}"), user: name.clone(), password: password.clone() };
        logins.extend((0..SESSIONS_PER_TOKEN).map(login));
    }
    let hub = Broker::start(Kind::Hub, programs, folder, &logins[0]).await?;
    eprintln!("bench: registering {IDLE} devices");
    let api = Api::new(hub.http, &logins[0].password);
    let devices = (0..IDLE.max(PUBLISHERS)).map(|n| api.add_device(&format!("bench {n}")));
    let devices = devices.collect::<anyhow::Result<Vec<_>>>().context("registering devices")?;
    Ok(Clients { devices, programs: logins })
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
    let (idle_kb, each_kb) = load::memory(&broker, devices).await?;
    drop(broker);
    let broker = Broker::start(kind, programs, folder, first).await?;
    let acknowledged = load::acknowledged(&broker, devices).await?;
    if kind == Kind::Hub {
        let api = Api::new(broker.http, &first.password);
        let mut some = devices[..PUBLISHERS].iter().step_by(CHECK_EVERY);
        some.try_for_each(|device| api.check_stored(device, run * STORED_EACH))?;
    }
    let plain = load::plain(&broker, devices, first).await?;
    let fan_out = load::fan_out(&broker, others, first).await?;
    Ok([
        acknowledged.per_second,
        acknowledged.cpu_us,
        plain.per_second,
        plain.cpu_us,
        fan_out.per_second,
        fan_out.cpu_us,
        ready_ms,
        idle_kb / 1024.0,
        each_kb,
    ])
}

/// The hub alone: a year of ten million points of one device.
async fn year(programs: &Programs, folder: &Path, clients: &Clients) -> anyhow::Result<history::Year> {
    eprintln!("bench: a year of points");
    let first = clients.programs.first().context("there are programs")?;
    let broker = Broker::start(Kind::Hub, programs, folder, first).await?;
    let device = clients.devices.last().context("there are devices")?;
    history::year(&broker, device, &Api::new(broker.http, &first.password)).await
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print_year(year: history::Year) {
    println!("\nThe hub alone, 10 million points of one series:\n\n| | |\n|---|--:|");
    println!("| stored in batches of 1,000: points/s | {:.0} |", year.points_per_second);
    println!("| a year in 1,000 buckets, ms | {:.1} |", year.query_ms);
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(hub: &[Round], mosquitto: &[Round]) {
    println!("| Medians of {} runs | hub | mosquitto | hub ÷ mosquitto |\n|---|--:|--:|--:|", hub.len());
    for (row, (name, digits)) in ROWS.iter().enumerate() {
        let median = |rounds: &[Round]| median(rounds.iter().map(|round| round[row]).collect());
        let (ours, theirs) = (median(hub), median(mosquitto));
        println!("| {name} | {ours:.digits$} | {theirs:.digits$} | {:.2} |", ours / theirs);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(below, above)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_is_in_the_middle() {
        assert!((super::median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((super::median(vec![4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
    }
}
