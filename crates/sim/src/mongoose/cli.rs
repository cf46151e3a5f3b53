//! The command line of virtual lights: settings from flags, commands as JSON lines on standard input, facts as JSON
//! lines on standard output.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::fault::Share;
use super::fleet::{self, Command, FleetConfig, FleetHandle, LightConfig, Sender, spawn};
use crate::stdio;

const EXAMPLE: &str = r#"Example: a light whose token is in lights.txt as the line `ID TOKEN`
  motehub sim mongoose --mdash ws://127.0.0.1:8009/api/v2/rpc --lights lights.txt --local 127.0.0.1:8190

Faults, drawn for each light from the seed: power-cut, lost-commit, wrong-platform, reverts, silent, contradicts
  motehub sim mongoose … --seed 7 --fault power-cut=20 --fault reverts=10

Commands, one JSON object per line on standard input; without "light" for all lights:
  {"light":"ID","do":"power_cut"}   power_on, press (its button)
  {"do":"switch","on":true}         its own switch

Facts, one JSON object per line on standard output, named by "fact": ready, serves, boot, committed, online, offline,
switched, power_cut."#;

/// Settings of virtual lights.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// The hub's mDash listener
    #[arg(long, value_name = "ws://HOST:PORT/api/v2/rpc")]
    mdash: String,
    /// A light (others on this machine can read its token; --lights keeps it private)
    #[arg(long = "light", value_name = "ID:TOKEN")]
    light: Vec<String>,
    /// A file of lights: lines of ID TOKEN, # starts a comment
    #[arg(long, value_name = "FILE")]
    lights: Option<PathBuf>,
    /// How they write: a message as one frame, or each character as one
    #[arg(long, value_name = "HOW", default_value = "whole")]
    sender: Sender,
    /// The version of the firmware that they begin with
    #[arg(long, default_value = "1.0")]
    version: String,
    /// What board they are
    #[arg(long, default_value = "esp8266")]
    platform: String,
    /// They still have to be set up, over their own server
    #[arg(long)]
    new: bool,
    /// Where the first of them serves HTTP; each further one on the next port
    #[arg(long, value_name = "ADDR")]
    local: Option<SocketAddr>,
    /// A fault that so many of a hundred lights have; repeatable
    #[arg(long = "fault", value_name = "FAULT=PERCENT")]
    faults: Vec<Share>,
    /// From which the faults are drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many times as fast as here their clock is
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    speed: u32,
    /// Until a light connects again; twice as long after each failure, up to a minute
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    reconnect_ms: u64,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

impl Options {
    fn config(&self) -> anyhow::Result<FleetConfig> {
        let mut config = FleetConfig::new(self.mdash.clone());
        for text in &self.light {
            let (id, token) = text.split_once(':').context("--light: say ID:TOKEN")?;
            config.lights.push(LightConfig { id: id.to_owned(), token: token.to_owned() });
        }
        if let Some(path) = &self.lights {
            config.lights.extend(read(path)?);
        }
        anyhow::ensure!(
            !config.lights.is_empty(),
            "name at least one light: --light ID:TOKEN or --lights FILE"
        );
        (config.sender, config.is_new, config.local) = (self.sender, self.new, self.local);
        (config.version, config.platform) = (self.version.clone(), self.platform.clone());
        (config.faults, config.seed, config.speed) = (self.faults.clone(), self.seed, self.speed);
        config.reconnect = Duration::from_millis(self.reconnect_ms);
        Ok(config)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<LightConfig>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--lights: reading {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (id, token) =
                line.split_once(' ').with_context(|| format!("--lights: {line:?} is not ID TOKEN"))?;
            Ok(LightConfig { id: id.to_owned(), token: token.trim().to_owned() })
        })
        .collect()
}

/// Runs lights until a signal ends them.
///
/// # Errors
/// When the settings are wrong or a server cannot be bound.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = options.config()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut handle = spawn(&config).await?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut lines = stdio::lines();
        let mut is_open = true;
        loop {
            tokio::select! {
                Some(fact) = handle.facts.recv() => stdio::print(&fleet::line(&fact))?,
                line = lines.recv(), if is_open => match line {
                    Some(line) => obey(&handle, &line).await,
                    None if options.until_eof => break,
                    None => is_open = false,
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        handle.facts.close();
        handle.stop().await;
        Ok(())
    })
}

async fn obey(handle: &FleetHandle, line: &str) {
    match serde_json::from_str::<Command>(line) {
        Ok(command) => drop(handle.commands.send(command).await),
        Err(error) => eprintln!("{line:?} is no command: {error}"),
    }
}
