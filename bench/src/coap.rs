//! `bench coap`: thousands of virtual boards at one CoAP listener, in the clear and behind DTLS, beside a server of
//! aiocoap that does nothing with what it gets. The boards are those of `motehub sim coap`, the same for all three.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::broker::{self, Programs};
use crate::running::{Running, unread};

/// How often each board measures.
const MEASURE_EVERY_MS: usize = 10_000;
/// How long all may take to be there.
const THERE_MAX: Duration = Duration::from_secs(180);
/// How long it is measured, once they are.
const SPAN: Duration = Duration::from_secs(30);
/// A board that was silent for so long counts as gone.
const SILENCE_S: u64 = 30;
/// How long it may take until those that were switched off are missed: their silence, and some time to look.
const MISSED_MAX: Duration = Duration::from_secs(SILENCE_S + 30);
/// Of so many boards one is switched off.
const OFF_EVERY: usize = 50;

/// What was measured of one server.
struct Measured {
    requests_per_second: f64,
    cpu_us: f64,
    memory_mb: f64,
    each_kb: f64,
    /// From switching boards off to all of them, and no others, being shown as offline.
    missed_s: Option<f64>,
}

/// Where the boards are heard, and how it is told how many requests were taken.
struct Target<'a> {
    pid: u32,
    address: SocketAddr,
    keys: Option<&'a [String]>,
    api: Option<&'a Api>,
    taken: Box<dyn Fn() -> anyhow::Result<f64> + 'a>,
}

/// Measures it once and prints a table.
pub(crate) fn coap(programs: &Programs, python: Option<PathBuf>, count: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("motehub-bench-").tempdir()?;
    let token = broker::add_token(&programs.hub, folder.path(), "coap", &[])?;
    let (hub, ready) = hub(programs, folder.path())?;
    let address = |name: &str| ready[name].as_str().context("no address")?.parse().context("an address");
    let api = Api::new(address("http")?, &token);
    eprintln!("bench: registering {count} devices");
    let ids: Vec<String> = api.add_devices(count)?.into_iter().map(|device| device.user).collect();
    let open = json!({
        "unauthenticated_allowed": true, "allowed_from": "127.0.0.1", "silence_max_seconds": SILENCE_S,
    });
    let mut keys = Vec::with_capacity(count);
    for id in &ids {
        api.edit_device(id, &open)?;
        keys.push(api.coap_key(id)?);
    }
    let mut columns = Vec::new();
    for (name, listener, keys) in [("hub", "coap", None), ("hub, DTLS", "coaps", Some(&keys[..]))] {
        eprintln!("bench: {name}");
        let taken = || api.metric(&format!("motehub_coap_uplinks_total{{listener=\"{listener}\"}}"));
        let (pid, address) = (hub.child.id(), address(listener)?);
        let target = Target { pid, address, keys, api: Some(&api), taken: Box::new(taken) };
        columns.push((name, measured(programs, folder.path(), &ids, &target)?));
        api.wait_online(0).context("all boards are gone")?;
    }
    drop(hub);
    let python =
        python.or_else(|| Some(PathBuf::from(".tools/venv/bin/python")).filter(|path| path.exists()));
    match python {
        Some(python) => {
            eprintln!("bench: aiocoap");
            columns.push(("aiocoap", aiocoap(programs, folder.path(), &python, &ids)?));
        }
        None => eprintln!("bench: without aiocoap: there is no .tools/venv (xtask/setup.sh test)"),
    }
    print(count, &columns);
    Ok(())
}

fn hub(programs: &Programs, folder: &Path) -> anyhow::Result<(Running, Value)> {
    let mut command = Command::new(&programs.hub);
    command.arg("serve").arg("--data").arg(folder.join("data"));
    for listener in ["--http", "--mqtt", "--coap", "--coaps"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let mut hub = Running::start(command)?;
    let ready = serde_json::from_str(&hub.line()?)?;
    Ok((hub, ready))
}

/// A server that takes everything and keeps nothing. It says each second how much it took.
fn aiocoap(programs: &Programs, folder: &Path, python: &Path, ids: &[String]) -> anyhow::Result<Measured> {
    let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Command::new(python);
    command.args(["tests/interop/aiocoap_peer.py", "sink", &address.port().to_string()]);
    let mut server = Running::start(command)?;
    ensure!(server.line()? == "ready", "aiocoap is not ready");
    let pid = server.child.id();
    let taken = std::sync::Arc::new(std::sync::Mutex::new(0.0));
    let told = taken.clone();
    let lines = unread(&mut server)?;
    let reader = thread::spawn(move || {
        for number in lines.map_while(Result::ok).filter_map(|line| line.parse().ok()) {
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = number;
        }
    });
    let now = || Ok(*taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let target = Target { pid, address, keys: None, api: None, taken: Box::new(now) };
    let measured = measured(programs, folder, ids, &target);
    drop(server);
    let _ = reader.join();
    measured
}

fn measured(
    programs: &Programs,
    folder: &Path,
    ids: &[String],
    target: &Target<'_>,
) -> anyhow::Result<Measured> {
    let idle_kb = broker::memory_kb(target.pid)?;
    let mut list = String::new();
    for (number, id) in ids.iter().enumerate() {
        let key = target.keys.map(|keys| keys[number].as_str()).unwrap_or_default();
        writeln!(list, "{id} {key}")?;
    }
    let file = folder.join("boards");
    std::fs::write(&file, list)?;
    let mut command = Command::new(&programs.hub);
    command.args(["sim", "coap", "--hub", &target.address.to_string(), "--from", "127.0.0.1", "--boards"]);
    command.arg(&file).args(["--measure-ms", &MEASURE_EVERY_MS.to_string(), "--until-eof"]);
    let mut boards = Running::start(command)?;
    // Nobody reads what the boards say; it must not fill up.
    let lines = unread(&mut boards)?;
    let reader = thread::spawn(move || lines.map_while(Result::ok).count());
    match target.api {
        Some(api) => api.wait_online_within(ids.len(), THERE_MAX)?,
        // Each has said what it is and measured twice.
        None => thread::sleep(Duration::from_millis(2 * MEASURE_EVERY_MS as u64)),
    }
    // They measure at all times alike by now.
    thread::sleep(Duration::from_millis(MEASURE_EVERY_MS as u64));
    let (start, cpu, taken) = (Instant::now(), broker::cpu_us(target.pid)?, (target.taken)()?);
    thread::sleep(SPAN);
    let (took, cpu) = (start.elapsed().as_secs_f64(), broker::cpu_us(target.pid)? - cpu);
    let requests = (target.taken)()? - taken;
    let memory_kb = broker::memory_kb(target.pid)?;
    if let Some(api) = target.api {
        api.device_page("selector=online", ids.len()).context("a board counts as gone that is there")?;
    }
    let missed_s = target.api.map(|api| missed(api, ids, &mut boards)).transpose()?;
    drop(boards);
    let _ = reader.join();
    Ok(Measured {
        requests_per_second: requests / took,
        cpu_us: cpu / took,
        memory_mb: memory_kb / 1024.0,
        each_kb: (memory_kb - idle_kb) / ids.len() as f64,
        missed_s,
    })
}

/// Switches some boards off, and waits until these are missed and no others.
fn missed(api: &Api, ids: &[String], boards: &mut Running) -> anyhow::Result<f64> {
    let off: Vec<&String> = ids.iter().step_by(OFF_EVERY).collect();
    let input = boards.child.stdin.as_mut().context("it is piped")?;
    for id in &off {
        writeln!(input, "{}", json!({ "board": id, "do": "power_off" }))?;
    }
    input.flush()?;
    let start = Instant::now();
    api.wait_online_within(ids.len() - off.len(), MISSED_MAX)?;
    Ok(start.elapsed().as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(count: usize, columns: &[(&str, Measured)]) {
    let row = |name: &str, value: &dyn Fn(&Measured) -> String| {
        let cells: Vec<String> = columns.iter().map(|(_, measured)| value(measured)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    println!("| {count} boards | {} |\n|---|{}", names.join(" | "), "--:|".repeat(columns.len()));
    row("messages/s", &|it| format!("{:.0}", it.requests_per_second));
    row("CPU, % of one core", &|it| format!("{:.1}", it.cpu_us / 10_000.0));
    row("CPU µs per message", &|it| format!("{:.0}", it.cpu_us / it.requests_per_second));
    row("memory, MB", &|it| format!("{:.1}", it.memory_mb));
    row("memory per board, kB", &|it| format!("{:.1}", it.each_kb));
    let name = format!("of {} switched off, missed after s", count.div_ceil(OFF_EVERY));
    row(&name, &|it| it.missed_s.map_or("–".to_owned(), |seconds| format!("{seconds:.0}")));
}
