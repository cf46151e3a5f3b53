//! The two brokers as processes of their own: how they are started, and what the kernel says they cost.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::wire::{Connection, Login};

/// Longest time until a broker is ready.
const READY_MAX: Duration = Duration::from_secs(20);
/// How often it is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// The kernel counts processor time in hundredths of a second, on every Linux of today.
const TICK_US: f64 = 10_000.0;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The hub under test.
    Hub,
    /// The one it is compared with.
    Mosquitto,
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The hub.
    pub(crate) hub: PathBuf,
    /// Debian's mosquitto, installed or unpacked.
    pub(crate) mosquitto: PathBuf,
}

/// A running broker. Dropping it kills it.
pub(crate) struct Broker {
    child: Child,
    /// Where MQTT listens.
    pub(crate) mqtt: SocketAddr,
    /// Where the API of the hub listens.
    pub(crate) http: SocketAddr,
    /// From its start to its first CONNACK.
    pub(crate) ready_after: Duration,
}

impl Broker {
    /// Starts a broker that keeps its files in a folder, and waits until it lets somebody in.
    pub(crate) async fn start(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        login: &Login,
    ) -> anyhow::Result<Self> {
        Self::start_at(kind, programs, folder, login, (free_address()?, free_address()?)).await
    }

    /// The same at known addresses, for MQTT and for the API.
    pub(crate) async fn start_at(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        login: &Login,
        (mqtt, http): (SocketAddr, SocketAddr),
    ) -> anyhow::Result<Self> {
        let command = match kind {
            Kind::Hub => hub(&programs.hub, folder, mqtt, http),
            Kind::Mosquitto => mosquitto(&programs.mosquitto, folder, mqtt)?,
        };
        Self::run(kind, command, folder, login, (mqtt, http)).await
    }

    /// A hub with more arguments, such as a node of several.
    pub(crate) async fn node(
        program: &Path,
        folder: &Path,
        login: &Login,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let (mqtt, http) = (free_address()?, free_address()?);
        let mut command = hub(program, folder, mqtt, http);
        command.args(arguments);
        Self::run(Kind::Hub, command, folder, login, (mqtt, http)).await
    }

    async fn run(
        kind: Kind,
        mut command: Command,
        folder: &Path,
        login: &Login,
        (mqtt, http): (SocketAddr, SocketAddr),
    ) -> anyhow::Result<Self> {
        let log = fs::File::create(folder.join(format!("{kind:?}.log")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let mut broker = Self { child, mqtt, http, ready_after: Duration::ZERO };
        while let Err(error) = Connection::open(mqtt, login).await {
            if let Some(status) = broker.child.try_wait()? {
                bail!("{kind:?} ended with {status}: {}", log_of(kind, folder));
            }
            ensure!(
                start.elapsed() < READY_MAX,
                "{kind:?} is not ready: {error:#}; {}",
                log_of(kind, folder)
            );
            tokio::time::sleep(ASK_EVERY).await;
        }
        broker.ready_after = start.elapsed();
        Ok(broker)
    }

    /// Processor time of all its threads, in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<f64> {
        cpu_us(self.child.id())
    }

    /// Memory that it holds (VmRSS), in kB.
    pub(crate) fn memory_kb(&self) -> anyhow::Result<f64> {
        memory_kb(self.child.id())
    }
}

/// Processor time of all threads of a process, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<f64> {
    Ok(Stat::of(pid)?.own_us)
}

/// Processor time of a process and of those that it started, also of those that have ended, in microseconds.
pub(crate) fn family_cpu_us(pid: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is counted at its parent.
        let Ok(stat) = Stat::of(other) else { continue };
        if other == pid {
            sum += stat.own_us + stat.ended_us;
        } else if stat.parent == pid {
            sum += stat.own_us;
        }
    }
    Ok(sum)
}

/// What `/proc/PID/stat` says.
struct Stat {
    parent: u32,
    /// Processor time of its threads.
    own_us: f64,
    /// Processor time of children that it waited for.
    ended_us: f64,
}

impl Stat {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, numbers) = stat.rsplit_once(')').context("/proc/PID/stat has a name in brackets")?;
        // Behind the name, field 3 is the first: ppid is field 4, then utime 14, stime, cutime, cstime (proc(5)).
        let fields: Vec<&str> = numbers.split_whitespace().collect();
        let ticks = |first: usize| {
            let two = fields.get(first..first + 2).context("/proc/PID/stat is too short")?;
            anyhow::Ok(two.iter().map(|field| field.parse::<f64>()).sum::<Result<f64, _>>()? * TICK_US)
        };
        let parent = fields.get(1).context("/proc/PID/stat is too short")?.parse()?;
        Ok(Self { parent, own_us: ticks(11)?, ended_us: ticks(13)? })
    }
}

/// Memory that a process holds (VmRSS), in kB.
pub(crate) fn memory_kb(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a token with which a program may do everything.
pub(crate) fn add_token(
    program: &Path,
    folder: &Path,
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(["token", "add", name, "--role", "admin", "--data"]).arg(folder.join("data"));
    let made = command.args(arguments).output().with_context(|| format!("starting {}", program.display()))?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

fn hub(program: &Path, folder: &Path, mqtt: SocketAddr, http: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").arg("--data").arg(folder.join("data"));
    command.args(["--mqtt", &mqtt.to_string(), "--http", &http.to_string()]);
    command
}

fn mosquitto(program: &Path, folder: &Path, mqtt: SocketAddr) -> anyhow::Result<Command> {
    let settings = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 100000\n\
         max_inflight_messages 1000\nset_tcp_nodelay true\nlog_type error\nlog_type warning\nuser root\n",
        mqtt.port()
    );
    let file = folder.join("mosquitto.conf");
    fs::write(&file, settings)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    // Unpacked and not installed: its libraries are beside it, at ../lib/ARCHITECTURE.
    if let Some(usr) = program.ancestors().nth(2).filter(|usr| *usr != Path::new("/usr")) {
        let folders = fs::read_dir(usr.join("lib"))?.filter_map(|entry| Some(entry.ok()?.path()));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
    }
    Ok(command)
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn log_of(kind: Kind, folder: &Path) -> String {
    fs::read_to_string(folder.join(format!("{kind:?}.log"))).unwrap_or_default()
}
