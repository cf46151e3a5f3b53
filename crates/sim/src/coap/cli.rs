//! The command line of virtual CoAP boards: settings from flags, a list of boards from a file, commands as JSON lines
//! on standard input, facts as JSON lines on standard output.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::{Command, FleetConfig, Known, spawn};
use crate::stdio;

const EXAMPLE: &str = r#"Example: one board, with the key that `motehub ctl device coap-key lamp` prints
  echo "lamp KEY" > boards
  motehub sim coap --hub 127.0.0.1:5684 --boards boards

Commands, one JSON object per line on standard input; without "board" for all boards:
  {"board":"lamp","do":"reboot"}   power_off

Facts, one JSON object per line on standard output, named by "fact": ready, booted, connected, command, updated,
refused."#;

/// Settings of virtual CoAP boards.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Where the hub listens for CoAP: over DTLS (--coaps) for boards with a key
    #[arg(long, value_name = "ADDR")]
    hub: SocketAddr,
    /// A file with a board on each line: its id, and its key if it speaks over DTLS
    #[arg(long, value_name = "FILE")]
    boards: PathBuf,
    /// The address that they speak from, each from a port of its own
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    from: IpAddr,
    /// Of a hundred datagrams so many are lost
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    loss: u64,
    /// How long a datagram takes at most
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// How often each measures
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    measure_ms: u64,
    /// How many times as fast as in the field an update is tried out
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    speed: u64,
    /// From which losses and values are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

impl Options {
    fn config(&self) -> anyhow::Result<FleetConfig> {
        let text = std::fs::read_to_string(&self.boards)
            .with_context(|| format!("reading {}", self.boards.display()))?;
        Ok(FleetConfig {
            hub: self.hub,
            boards: text
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(known)
                .collect::<Result<_, _>>()?,
            from: self.from,
            loss: self.loss,
            delay: Duration::from_millis(self.delay_ms),
            measure_every: Duration::from_millis(self.measure_ms.max(1)),
            speed: self.speed,
            seed: self.seed,
        })
    }
}

fn known(line: &str) -> anyhow::Result<Known> {
    let words: Vec<&str> = line.split_whitespace().collect();
    ensure!(matches!(words.len(), 1 | 2), "{line:?}: a line has an id, and a key if there is one");
    Ok(Known { id: words[0].to_owned(), key: words.get(1).map(|key| (*key).to_owned()) })
}

/// Runs boards until a signal ends them.
///
/// # Errors
/// When the list of boards cannot be read, or a board has no socket.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut handle = spawn(options.config()?).await?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut lines = stdio::lines();
        let mut is_open = true;
        loop {
            tokio::select! {
                Some(fact) = handle.facts.recv() => stdio::print(&serde_json::to_string(&fact)?)?,
                line = lines.recv(), if is_open => match line {
                    Some(line) => match serde_json::from_str::<Command>(&line) {
                        Ok(command) => drop(handle.commands.send(command).await),
                        Err(error) => eprintln!("{line:?} is no command: {error}"),
                    },
                    None if options.until_eof => break,
                    None => is_open = false,
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        handle.stop().await;
        Ok(())
    })
}
