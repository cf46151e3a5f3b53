//! The command line of virtual MicroPython boards: settings from flags, commands as JSON lines on standard input, facts
//! as JSON lines on standard output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::agent::{Home, prepare};
use super::board::{Board, Fact, Order, World};
use crate::stdio;

/// Facts that wait for a reader; then boards wait with what they print.
const FACTS_MAX: usize = 1024;
const ORDERS_MAX: usize = 16;

const EXAMPLE: &str = r#"Example: a device of the dialect micropython, with the id lamp-1 and its credential
  motehub sim micropython --http 127.0.0.1:8080 --mqtt 127.0.0.1:1883 --board lamp-1:SECRET

The agent of agents/micropython lies on every board, with the modules machine and dht of a chip. Scripts see a heap of
--heap; the interpreter is that of Debian (apt install micropython, from Debian 13 on) or any other for Linux.

Commands, one JSON object per line on standard input; without "board" for all boards:
  {"board":"lamp-1","do":"power_cut"}   power_on, restart (the reset button)

Facts, one JSON object per line on standard output, named by "fact": ready, boot, print, power_cut, refused."#;

/// Settings of virtual MicroPython boards.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// The hub's web server, from which boards fetch scripts
    #[arg(long, value_name = "HOST:PORT")]
    http: String,
    /// The hub's MQTT broker; on the same host
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: String,
    /// The certificate of the hub's authority, in PEM: boards speak TLS, so --http and --mqtt are those listeners
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A board (others on this machine can read its credential; --boards keeps it private)
    #[arg(long = "board", value_name = "DEVICE:CREDENTIAL")]
    board: Vec<String>,
    /// A file of boards: lines of DEVICE CREDENTIAL; # starts a comment
    #[arg(long, value_name = "FILE")]
    boards: Option<PathBuf>,
    /// Where flash folders live [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    flash: Option<PathBuf>,
    /// The interpreter
    #[arg(long, value_name = "PATH", default_value = "micropython", env = "MICROPYTHON")]
    micropython: PathBuf,
    /// The heap of a board as on a chip with 32 bits, in bytes, with k for 1,024; where objects are twice as large, as
    /// on this computer, so is the heap
    #[arg(long, value_name = "SIZE", default_value = "64k")]
    heap: String,
    /// Leave out what boards print
    #[arg(long)]
    quiet: bool,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// A line of standard input.
#[derive(Deserialize)]
struct Command {
    board: Option<String>,
    #[serde(rename = "do")]
    order: Order,
}

impl Options {
    fn home(&self) -> anyhow::Result<Home> {
        let (host, http) = address("--http", &self.http)?;
        let (broker, mqtt) = address("--mqtt", &self.mqtt)?;
        ensure!(host == broker, "--http and --mqtt are at different hosts: the agent knows one");
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        Ok(Home { http: (host, http), mqtt, ca: self.ca.as_ref().map(read).transpose()? })
    }

    fn world(&self) -> anyhow::Result<World> {
        let interpreter = self.micropython.clone();
        Ok(World { interpreter, heap_bytes: heap_bytes(&self.heap)?, quiet: self.quiet })
    }

    /// Device and credential of every board.
    fn listed(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut listed = BTreeMap::new();
        let mut add = |device: &str, credential: &str| {
            ensure!(
                listed.insert(device.to_owned(), credential.to_owned()).is_none(),
                "{device} is given twice"
            );
            Ok(())
        };
        for text in &self.board {
            let (device, credential) = text.split_once(':').context("--board takes DEVICE:CREDENTIAL")?;
            add(device, credential)?;
        }
        if let Some(path) = &self.boards {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            for line in lines.filter(|line| !line.is_empty()) {
                let (device, credential) = line
                    .split_once(char::is_whitespace)
                    .with_context(|| format!("`{line}`: DEVICE CREDENTIAL"))?;
                add(device, credential.trim())?;
            }
        }
        ensure!(
            !listed.is_empty(),
            "no board: name one with --board DEVICE:CREDENTIAL, or many with --boards FILE"
        );
        Ok(listed)
    }
}

/// Reads the size of a heap, such as 64k.
pub(crate) fn heap_bytes(heap: &str) -> anyhow::Result<u32> {
    let (digits, unit) = match heap.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1024),
        None => (heap, 1),
    };
    let bytes = digits.parse::<u32>().ok().and_then(|size| size.checked_mul(unit));
    bytes.filter(|size| *size > 0).with_context(|| format!("--heap: `{heap}` is no size, as 64k is"))
}

/// Takes a host and a port apart.
pub(crate) fn address(flag: &str, text: &str) -> anyhow::Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => bail!("{flag}: `{text}` is not HOST:PORT"),
    }
}

/// Runs boards until a signal, or the end of standard input if asked to.
///
/// # Errors
/// When the settings are wrong or the flash cannot be prepared.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (world, home) = (options.world()?, options.home()?);
    let mut boards = Vec::new();
    for (device, credential) in options.listed()? {
        let home = home.clone();
        let made = Made {
            name: device.clone(),
            program: vec!["main.py".to_owned()],
            prepare: Box::new(move |flash| prepare(flash, &home, &device, &credential)),
        };
        boards.push(made);
    }
    run_boards(&world, boards, options.flash.as_deref(), options.until_eof)
}

/// Writes what lies on a board into a folder.
type Prepare = Box<dyn FnOnce(&Path) -> anyhow::Result<()>>;

/// A board that is to be made.
pub(crate) struct Made {
    pub(crate) name: String,
    /// What its interpreter starts with, and what that is told.
    pub(crate) program: Vec<String>,
    /// Puts its firmware on its flash, which is this folder.
    pub(crate) prepare: Prepare,
}

/// Makes boards, and runs them until a signal, or the end of standard input if asked to.
pub(crate) fn run_boards(
    world: &World,
    made: Vec<Made>,
    flash: Option<&Path>,
    until_eof: bool,
) -> anyhow::Result<()> {
    let temporary = match flash {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("motehub-flash-").tempdir()?),
    };
    let flash = match (flash, &temporary) {
        (Some(folder), _) => std::path::absolute(folder)?,
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => bail!("no place for the flash"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (facts, told) = mpsc::channel(FACTS_MAX);
        let (mut boards, mut orders) = (JoinSet::new(), BTreeMap::new());
        for Made { name, program, prepare } in made {
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            let flash = flash.join(&name);
            prepare(&flash)?;
            let board = Board { name: name.clone(), program, flash, orders: receiver, facts: facts.clone() };
            boards.spawn(board.run(world.clone()));
            orders.insert(name, sender);
        }
        facts.send(Fact::Ready { boards: orders.len() }).await?;
        serve(told, &orders, &facts, until_eof).await
    })
}

async fn serve(
    mut told: mpsc::Receiver<Fact>,
    orders: &BTreeMap<String, mpsc::Sender<Order>>,
    facts: &mpsc::Sender<Fact>,
    until_eof: bool,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut lines = stdio::lines();
    let mut is_open = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            line = lines.recv(), if is_open => match line {
                Some(line) => obey(&line, orders, facts),
                None if until_eof => return Ok(()),
                None => is_open = false,
            },
            fact = told.recv() => match fact {
                Some(fact) => stdio::print(&serde_json::to_string(&fact)?)?,
                None => return Ok(()),
            },
        }
    }
}

/// A board that has too many orders waiting is told no more.
fn obey(line: &str, orders: &BTreeMap<String, mpsc::Sender<Order>>, facts: &mpsc::Sender<Fact>) {
    let refuse = |reason: String| {
        let _ = facts.try_send(Fact::Refused { line: line.to_owned(), reason });
    };
    match serde_json::from_str::<Command>(line) {
        Ok(Command { board: None, order }) => {
            orders.values().for_each(|board| {
                let _ = board.try_send(order);
            });
        }
        Ok(Command { board: Some(board), order }) => match orders.get(&board) {
            Some(sender) => {
                let _ = sender.try_send(order);
            }
            None => refuse(format!("there is no board {board}")),
        },
        Err(error) => refuse(error.to_string()),
    }
}
