//! A fleet of nodes: its settings, and the handle that takes commands and gives facts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::firmware::Firmware;
use super::node::{Manner, Node, Numbers};

/// Facts that wait for a reader; further ones make the nodes wait.
const FACTS_MAX: usize = 16 * 1024;
const COMMANDS_MAX: usize = 64;
/// Hexadecimal digits of a uid: the firmware cuts the last of 16 off.
const UID_DIGITS: usize = 15;

/// How to run a fleet.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Where the hub listens for CoAP.
    pub hub: SocketAddr,
    /// How many nodes.
    pub nodes: usize,
    /// What they run, in turns.
    pub firmware: Vec<Firmware>,
    /// The address of the first; each further one is at the next.
    pub first: Ipv4Addr,
    /// The port that they listen on.
    pub port: u16,
    /// How many are at one address, with ports that follow each other.
    pub per_address: usize,
    /// Of a hundred datagrams so many are lost.
    pub loss: u64,
    /// How long each takes at most.
    pub delay: Duration,
    /// How often they say that they are alive.
    pub alive_every: Duration,
    /// How many times as fast as in the field they post.
    pub speed: u64,
    /// Where the picture of a camera is.
    pub webcam: String,
    /// From which their uids and the losses are drawn.
    pub seed: u64,
}

impl FleetConfig {
    /// One node with an LED, as in the field.
    pub fn new(hub: SocketAddr) -> Self {
        Self {
            hub,
            nodes: 1,
            firmware: vec![Firmware::Leds],
            first: Ipv4Addr::new(127, 64, 0, 1),
            port: 5683,
            per_address: 1,
            loss: 0,
            delay: Duration::ZERO,
            alive_every: Duration::from_secs(30),
            speed: 1,
            webcam: "http://127.0.0.1:8090/picture.jpg".to_owned(),
            seed: 1,
        }
    }
}

/// What really happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// A node listens there.
    Node {
        /// Its uid.
        uid: String,
        /// Where it listens.
        address: SocketAddr,
        /// What it calls itself.
        name: &'static str,
    },
    /// All of them run.
    Ready,
    /// A node started.
    Booted {
        /// Which.
        uid: String,
    },
    /// A resource of a node was written.
    Set {
        /// Which.
        uid: String,
        /// Such as `led`.
        resource: String,
        /// To what.
        value: String,
    },
}

/// Something to do with one node, or with all.
#[derive(Debug, Clone, Deserialize)]
pub struct Command {
    /// Which; all if it is left out.
    pub node: Option<String>,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What can be done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Deed {
    /// It starts again.
    Reboot,
    /// It says and hears nothing any more, until it is rebooted.
    PowerOff,
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
    /// Ends all nodes.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.facts.close();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts a fleet.
///
/// # Errors
/// If a node cannot listen at its address.
pub async fn spawn(config: &FleetConfig) -> anyhow::Result<FleetHandle> {
    ensure!(
        !config.firmware.is_empty() && config.per_address > 0,
        "a node runs some firmware, at some address"
    );
    let (facts, told) = mpsc::channel(FACTS_MAX.max(2 * config.nodes + 1));
    let (commands, wanted) = mpsc::channel(COMMANDS_MAX);
    let (stop, stopped) = watch::channel(false);
    let manner = Manner {
        hub: config.hub,
        loss: config.loss,
        delay: config.delay,
        alive_every: config.alive_every,
        speed: config.speed,
        webcam: config.webcam.clone(),
        facts: facts.clone(),
    };
    let mut numbers = Numbers::new(config.seed);
    let mut tasks = JoinSet::new();
    let mut deeds = Vec::new();
    for (number, firmware) in (0..config.nodes).zip(config.firmware.iter().cycle()) {
        let uid = format!("{:016X}", numbers.draw())[..UID_DIGITS].to_owned();
        let socket = listen(config, number).await?;
        let address = socket.local_addr()?;
        let _ = facts.send(Fact::Node { uid: uid.clone(), address, name: firmware.name() }).await;
        let is_shared = config.per_address > 1;
        let node = Node::new(uid.clone(), *firmware, socket, is_shared, numbers.draw(), manner.clone());
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        deeds.push((uid, sender));
        tasks.spawn(node.live(receiver, stopped.clone()));
    }
    let _ = facts.send(Fact::Ready).await;
    tasks.spawn(pass_on(wanted, deeds, stopped));
    Ok(FleetHandle { facts: told, commands, stop, tasks })
}

async fn listen(config: &FleetConfig, number: usize) -> anyhow::Result<UdpSocket> {
    let place = u32::try_from(number / config.per_address).context("too many nodes")?;
    let at = u16::try_from(number % config.per_address).context("too many nodes at one address")?;
    let address = Ipv4Addr::from_bits(config.first.to_bits().wrapping_add(place));
    let port = config.port.checked_add(at).context("too many nodes at one address")?;
    UdpSocket::bind((address, port)).await.with_context(|| format!("a node at {address}:{port}"))
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
        let Some(command) = command else { break };
        let meant = |uid: &String| command.node.as_ref().is_none_or(|node| node == uid);
        for (_, deed) in deeds.iter().filter(|(uid, _)| meant(uid)) {
            let _ = deed.try_send(command.deed);
        }
    }
    // Nobody commands any more; the nodes go on until they are stopped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
