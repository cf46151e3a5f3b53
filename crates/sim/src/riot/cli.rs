//! The command line of virtual RIOT nodes: settings from flags, commands as JSON lines on standard input, facts as JSON
//! lines on standard output.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::firmware::Firmware;
use super::fleet::{Command, FleetConfig, spawn};
use crate::stdio;

const EXAMPLE: &str = r#"Example: ten nodes with weather stations and lamps, at 127.64.0.1 and the addresses that follow
  motehub sim riot --hub 127.0.0.1:5683 --nodes 10 --firmware bmx280 --firmware leds

Commands, one JSON object per line on standard input; without "node" for all nodes:
  {"node":"UID","do":"reboot"}   power_off

Facts, one JSON object per line on standard output, named by "fact": node, ready, booted, set."#;

/// Settings of virtual RIOT nodes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Where the hub listens for CoAP
    #[arg(long, value_name = "ADDR")]
    hub: SocketAddr,
    /// How many nodes
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// What they run, in turns; repeatable [default: leds]
    #[arg(long = "firmware", value_name = "FIRMWARE")]
    firmware: Vec<Firmware>,
    /// The address of the first node; each further one is at the next
    #[arg(long, value_name = "ADDRESS", default_value = "127.64.0.1")]
    first: Ipv4Addr,
    /// The port that they listen on; the hub asks nodes of this kind at 5683
    #[arg(long, default_value_t = 5683)]
    port: u16,
    /// How many are at one address, as behind a router; they speak from the port that they listen on
    #[arg(long, default_value_t = 1)]
    per_address: usize,
    /// Of a hundred datagrams so many are lost
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    loss: u64,
    /// How long a datagram takes at most
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// How often they say that they are alive
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    alive_ms: u64,
    /// How many times as fast as in the field they post what they measure
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    speed: u64,
    /// Where nodes with a camera say that its picture is
    #[arg(long, value_name = "URL")]
    webcam: Option<String>,
    /// From which their uids and the losses are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

impl Options {
    fn config(&self) -> FleetConfig {
        let firmware = if self.firmware.is_empty() { vec![Firmware::Leds] } else { self.firmware.clone() };
        let plain = FleetConfig::new(self.hub);
        FleetConfig {
            nodes: self.nodes,
            firmware,
            first: self.first,
            port: self.port,
            per_address: self.per_address,
            loss: self.loss,
            delay: Duration::from_millis(self.delay_ms),
            alive_every: Duration::from_millis(self.alive_ms.max(1)),
            speed: self.speed,
            webcam: self.webcam.clone().unwrap_or_else(|| plain.webcam.clone()),
            seed: self.seed,
            ..plain
        }
    }
}

/// Runs nodes until a signal ends them.
///
/// # Errors
/// When a node cannot listen at its address.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut handle = spawn(&options.config()).await?;
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
