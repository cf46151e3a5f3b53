//! A fleet of lights: its settings, and the handle that takes commands and gives facts.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::config::Config;
use super::fault::{Share, fate};
use super::life::{self, Life};
use super::light::{Light, Manner};
use super::local;
use super::zip::Manifest;

/// Facts that wait for a reader; further ones make the lights wait.
const FACTS_MAX: usize = 16 * 1024;
const COMMANDS_MAX: usize = 64;

/// How a light writes its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sender {
    /// A message is a frame, as Mongoose OS does it.
    Whole,
    /// Each character is a frame, as a simulator of 2019 does it; it answers a delta with what it applied.
    Characters,
}

/// One light.
#[derive(Debug, Clone)]
pub struct LightConfig {
    /// `device.id`.
    pub id: String,
    /// `dash.token`.
    pub token: String,
}

/// How to run a fleet.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// `dash.server`: `ws://HOST:PORT/api/v2/rpc`.
    pub server: String,
    /// The lights; ids must differ.
    pub lights: Vec<LightConfig>,
    /// How they write.
    pub sender: Sender,
    /// The version of the firmware that they begin with.
    pub version: String,
    /// What board they are.
    pub platform: String,
    /// Whether they still have to be set up by a customer, over their own server.
    pub is_new: bool,
    /// Where the first of them serves HTTP; each further one on the next port, or all on any if it is 0.
    pub local: Option<SocketAddr>,
    /// What goes wrong, drawn from the seed.
    pub faults: Vec<Share>,
    /// For the faults.
    pub seed: u64,
    /// How many times as fast as here their clock is.
    pub speed: u32,
    /// How long a light waits before it connects again; twice as long after each failure.
    pub reconnect: Duration,
}

impl FleetConfig {
    /// The usual settings, without lights.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            lights: Vec::new(),
            sender: Sender::Whole,
            version: "1.0".to_owned(),
            platform: "esp8266".to_owned(),
            is_new: false,
            local: None,
            faults: Vec::new(),
            seed: 0,
            speed: 1,
            reconnect: Duration::from_secs(5),
        }
    }
}

/// What really happened to a light.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// All of them run.
    Ready,
    /// It serves HTTP there.
    Serves {
        /// Which light.
        light: String,
        /// Where.
        address: SocketAddr,
    },
    /// It started, and runs this.
    Boot {
        /// Which light.
        light: String,
        /// Of its firmware.
        version: String,
        /// Where that is.
        slot: usize,
        /// Whether it stays.
        committed: bool,
        /// What is wrong with this light, if something is.
        fault: Option<&'static str>,
    },
    /// Its firmware stays from now on.
    Committed {
        /// Which light.
        light: String,
        /// Of its firmware.
        version: String,
    },
    /// It connected.
    Online {
        /// Which light.
        light: String,
    },
    /// It is not connected any more.
    Offline {
        /// Which light.
        light: String,
    },
    /// It was switched.
    Switched {
        /// Which light.
        light: String,
        /// To what.
        on: bool,
    },
    /// The power failed, or is gone for good.
    PowerCut {
        /// Which light.
        light: String,
        /// Whether it comes back by itself.
        comes_back: bool,
    },
}

/// Something to do with one light, or with all.
#[derive(Debug, Clone, Deserialize)]
pub struct Command {
    /// Which; all if it is left out.
    light: Option<String>,
    /// What.
    #[serde(flatten)]
    deed: Deed,
}

/// What can be done with a light.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Deed {
    /// Pull the plug.
    PowerCut,
    /// Put it back.
    PowerOn,
    /// Use its own switch.
    Switch {
        /// To what.
        on: bool,
    },
    /// Press its button.
    Press,
}

/// A fleet that runs.
pub struct FleetHandle {
    /// What happens.
    pub facts: mpsc::Receiver<Fact>,
    /// What shall happen.
    pub commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl FleetHandle {
    /// Ends all lights.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts a fleet.
///
/// # Errors
/// If a light has no id or token, or its server cannot be bound.
pub async fn spawn(config: &FleetConfig) -> anyhow::Result<FleetHandle> {
    ensure!(
        config.server.starts_with("ws://"),
        "{:?} is no address such as ws://HOST:PORT/api/v2/rpc",
        config.server
    );
    let (facts, told) = mpsc::channel(FACTS_MAX);
    let (commands, wanted) = mpsc::channel(COMMANDS_MAX);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut deeds = Vec::new();
    for (number, light) in config.lights.iter().enumerate() {
        ensure!(!light.id.is_empty() && !light.token.is_empty(), "a light has an id and a token");
        let (life, deed) = one(config, number, light, facts.clone());
        if let Some(first) = config.local {
            let listener = bind(first, number).await?;
            let address = listener.local_addr()?;
            let _ = facts.send(Fact::Serves { light: light.id.clone(), address }).await;
            tasks.spawn(local::serve(listener, life.clone(), stopped.clone()));
        }
        deeds.push((light.id.clone(), deed.0));
        tasks.spawn(life::live(life, deed.1, stopped.clone()));
    }
    let _ = facts.send(Fact::Ready).await;
    tasks.spawn(pass_on(wanted, deeds, stopped));
    Ok(FleetHandle { facts: told, commands, stop, tasks })
}

type Deeds = (mpsc::Sender<Deed>, mpsc::Receiver<Deed>);

fn one(config: &FleetConfig, number: usize, light: &LightConfig, facts: mpsc::Sender<Fact>) -> (Life, Deeds) {
    let LightConfig { id, token } = light;
    let settings = match config.is_new {
        true => Config::factory(id, token, &config.server),
        false => Config::set_up(id, token, &config.server),
    };
    let firmware = Manifest {
        name: "smartlight".to_owned(),
        version: config.version.clone(),
        platform: config.platform.clone(),
        build_id: format!("factory-{}", config.version),
    };
    let manner = match config.sender {
        Sender::Whole => Manner::Reports,
        Sender::Characters => Manner::Answers,
    };
    let fate = fate(config.seed, number, &config.faults);
    let light = Light::new(settings, firmware, manner, fate);
    let pace = life::Pace { speed: config.speed.max(1), reconnect: config.reconnect };
    let life = Life::new(id.clone(), light, config.sender, pace, fate.fault, facts);
    (life, mpsc::channel(COMMANDS_MAX))
}

async fn bind(first: SocketAddr, number: usize) -> anyhow::Result<TcpListener> {
    let offset = u16::try_from(number).context("too many lights for their servers")?;
    let port =
        if first.port() == 0 { 0 } else { first.port().checked_add(offset).context("ports above 65535")? };
    let address = SocketAddr::new(first.ip(), port);
    TcpListener::bind(address).await.with_context(|| format!("--local {address}"))
}

async fn pass_on(
    mut wanted: mpsc::Receiver<Command>,
    deeds: Vec<(String, mpsc::Sender<Deed>)>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let command = tokio::select! {
            command = wanted.recv() => command,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let Some(command) = command else { return };
        let meant = |id: &String| command.light.as_ref().is_none_or(|light| light == id);
        for (_, deed) in deeds.iter().filter(|(id, _)| meant(id)) {
            let _ = deed.try_send(command.deed.clone());
        }
    }
}

/// A fact as a line.
pub(super) fn line(fact: &Fact) -> String {
    json!(fact).to_string()
}
