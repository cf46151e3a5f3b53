//! Motehub's own agent: its files as they are copied to a board, against a tiny hub.

mod faults;
mod flow;
mod story;

use std::path::Path;

use motehub_sim::nodemcu::{Fact, FleetConfig, Order};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::hub::{CHIP, DEADLINE, Fault, Hub, Watched};

const DEVICE: &str = "01HUB";
/// Boards live so many times as fast as the test.
const SPEED: u32 = 20;
/// The watchdog of boards whose script spins, in milliseconds: shorter than usual, since it is waited for.
const SPIN_MAX_MS: u64 = 1000;

/// A board with the agent, its hub and its flash.
struct Rig {
    hub: Hub,
    boards: Watched,
    flash: TempDir,
    /// Facts that were looked at.
    passed: usize,
}

impl Rig {
    /// A board that has announced itself; with a script, that one is its last good one and runs.
    async fn start(good: Option<&str>) -> Self {
        Self::with(good, |_| {}).await
    }

    async fn with(good: Option<&str>, change: impl FnOnce(&mut FleetConfig)) -> Self {
        let hub = Hub::start().await;
        let flash = tempfile::tempdir().unwrap();
        let mut config = hub.config();
        config.boards[0].device = Some(DEVICE.into());
        config.flash = Some(flash.path().to_owned());
        config.speed = SPEED;
        if let Some(script) = good {
            install(flash.path(), CHIP, script);
        }
        change(&mut config);
        let boards = Watched::start(&config);
        let mut rig = Self { hub, boards, flash, passed: 0 };
        rig.message("/announce", "motehub-agent").await;
        rig
    }

    /// Waits for a message of the board since the last [`Rig::forget`].
    async fn message(&mut self, topic: &str, part: &str) -> String {
        let facts = async {
            // What the board does meanwhile explains why nothing came.
            while let Some(fact) = self.boards.fleet.next_fact().await {
                self.boards.seen.push(fact);
            }
        };
        let either = async {
            tokio::select! {
                message = self.hub.message(topic, part) => Some(message),
                () = facts => None,
            }
        };
        if let Ok(Some(message)) = timeout(DEADLINE, either).await {
            return message;
        }
        panic!(
            "no {part} on {topic}; {:#?}\n{:#?}",
            self.boards.seen,
            self.hub.state.lock().unwrap().published
        );
    }

    /// Forgets what the board has said.
    fn forget(&self) {
        self.hub.state.lock().unwrap().published.clear();
    }

    fn say(&self, kind: &str, payload: &str) {
        self.hub.publish(DEVICE, &format!("devices/{DEVICE}/{kind}"), payload);
    }

    /// Puts a script on the hub and offers it.
    fn offer(&self, script: &str, fault: Fault) {
        let mut state = self.hub.state.lock().unwrap();
        (state.artifact, state.fault) = (script.as_bytes().to_vec(), fault);
        drop(state);
        self.say("offer", &offer_of(DEVICE, script));
    }

    async fn restart(&mut self) {
        self.boards.order(Order::Restart).await;
    }

    /// Waits for a line on the console, after those that were waited for before.
    async fn printed(&mut self, line: &str) {
        self.console(line, |text| text == line).await;
    }

    /// Waits for a line on the console that contains a text.
    async fn said(&mut self, part: &str) {
        self.console(part, |text| text.contains(part)).await;
    }

    async fn console(&mut self, what: &str, fits: impl Fn(&str) -> bool) {
        loop {
            while let Some(fact) = self.boards.seen.get(self.passed) {
                self.passed += 1;
                if matches!(fact, Fact::Print { text, .. } if fits(text)) {
                    return;
                }
            }
            self.boards.wait(what, |_| true).await;
        }
    }
}

fn digest(script: &str) -> String {
    let hex: String = Sha256::digest(script).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn offer_of(device: &str, script: &str) -> String {
    let (digest, size) = (digest(script), script.len());
    let path = format!("/devices/{device}/artifacts/{digest}");
    format!(r#"{{"digest":"{digest}","size":{size},"path":"{path}","health_window":5}}"#)
}

/// Writes a last good script to a flash.
fn install(flash: &Path, board: &str, script: &str) {
    let folder = flash.join(board);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("mh_slot1.lua"), script).unwrap();
    let state = format!(r#"{{"number":1,"good":{{"slot":1,"digest":"{}"}}}}"#, digest(script));
    std::fs::write(folder.join("mh_state1.json"), state).unwrap();
}
