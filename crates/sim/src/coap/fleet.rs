//! Many boards in one process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::board::{Board, Manner};
use super::line;
use crate::riot::Numbers;

/// Facts that wait to be read; further ones are dropped, so that nobody waits for a reader.
const FACTS_MAX: usize = 4_096;
/// Commands that wait.
const COMMANDS_MAX: usize = 64;

/// A board as the hub knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its key for DTLS; without one it speaks in the clear.
    pub key: Option<String>,
}

/// How a fleet is.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Where the hub listens.
    pub hub: SocketAddr,
    /// The boards.
    pub boards: Vec<Known>,
    /// From where they speak, each from a port of its own.
    pub from: std::net::IpAddr,
    /// Of a hundred datagrams so many are lost.
    pub loss: u64,
    /// How long each takes at most.
    pub delay: Duration,
    /// How often each measures.
    pub measure_every: Duration,
    /// How many times as fast as in the field an update is tried out.
    pub speed: u64,
    /// From which losses and values are drawn.
    pub seed: u64,
}

/// What really happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// All of them run.
    Ready {
        /// How many.
        boards: usize,
    },
    /// A board started.
    Booted {
        /// Which.
        id: String,
    },
    /// It has a line to the hub.
    Connected {
        /// Which.
        id: String,
    },
    /// It did a command.
    Command {
        /// Which.
        id: String,
        /// What.
        name: Value,
    },
    /// It fetched what it was offered, tried it out, and keeps it.
    Updated {
        /// Which.
        id: String,
        /// Of what.
        digest: String,
    },
    /// The hub refused something that it said.
    Refused {
        /// Which.
        id: String,
        /// How.
        code: String,
        /// In words.
        why: String,
    },
}

/// Something to do with one board, or with all.
#[derive(Debug, Clone, Deserialize)]
pub struct Command {
    /// Which; all if it is left out.
    pub board: Option<String>,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What can be done with a board.
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
    /// Ends all boards.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.facts.close();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts a fleet.
///
/// # Errors
/// If a board has no socket, or the cryptography does not work here.
pub async fn spawn(config: FleetConfig) -> anyhow::Result<FleetHandle> {
    let FleetConfig { hub, boards, from, loss, delay, measure_every, speed, seed } = config;
    let count = boards.len();
    let (facts, told) = mpsc::channel(FACTS_MAX.max(2 * count + 1));
    let (commands, wanted) = mpsc::channel(COMMANDS_MAX);
    let (stop, stopped) = watch::channel(false);
    let manner = Manner { hub, loss, delay, measure_every, speed, facts: facts.clone() };
    let mut numbers = Numbers::new(seed);
    let mut tasks = JoinSet::new();
    let mut deeds = Vec::new();
    for known in boards {
        let socket =
            UdpSocket::bind((from, 0)).await.with_context(|| format!("a socket for {}", known.id))?;
        let proof = known.key.as_ref().map(|key| line::proof(&known.id, key)).transpose()?;
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        deeds.push((known.id.clone(), sender));
        let board = Board::new(known, proof, socket, numbers.draw(), manner.clone());
        tasks.spawn(board.live(receiver, stopped.clone()));
    }
    let _ = facts.send(Fact::Ready { boards: count }).await;
    tasks.spawn(pass_on(wanted, deeds, stopped));
    Ok(FleetHandle { facts: told, commands, stop, tasks })
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
        let meant = |id: &String| command.board.as_ref().is_none_or(|board| board == id);
        for (_, deed) in deeds.iter().filter(|(id, _)| meant(id)) {
            let _ = deed.try_send(command.deed);
        }
    }
    // Nobody commands any more; the boards go on until they are stopped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
