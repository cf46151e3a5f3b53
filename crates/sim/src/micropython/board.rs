//! One board: its flash, its process, and why that ended.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// What lies on every board: the compiled agent, as it is on real ones, and the modules of a chip.
const FILES: [(&str, &[u8]); 19] = [
    ("main.py", include_bytes!("../../../../agents/micropython/main.py")),
    ("motehub.mpy", include_bytes!("../../../../agents/micropython/compiled/motehub.mpy")),
    ("mh/__init__.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/__init__.mpy")),
    ("mh/agent.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/agent.mpy")),
    ("mh/command.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/command.mpy")),
    ("mh/config.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/config.mpy")),
    ("mh/credential.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/credential.mpy")),
    ("mh/decide.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/decide.mpy")),
    ("mh/esp_firmware.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/esp_firmware.mpy")),
    ("mh/fetch.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/fetch.mpy")),
    ("mh/hello.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/hello.mpy")),
    ("mh/mqtt.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/mqtt.mpy")),
    ("mh/offer.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/offer.mpy")),
    ("mh/report.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/report.mpy")),
    ("mh/slots.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/slots.mpy")),
    ("mh/trial.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/trial.mpy")),
    ("mh/wifi.mpy", include_bytes!("../../../../agents/micropython/compiled/mh/wifi.mpy")),
    ("machine.py", include_bytes!("../../firmware/micropython/machine.py")),
    ("dht.py", include_bytes!("../../firmware/micropython/dht.py")),
];
/// With this a process says that its board starts again.
const RESTART_CODE: i32 = 75;
/// What ends a process whose watchdog was not fed.
const SIGALRM: i32 = 14;
/// How long a start takes, and how long nothing happens after an end that no chip knows.
const BOOT: Duration = Duration::from_millis(100);
const FALL: Duration = Duration::from_secs(1);
/// The longest line that a board prints is cut to this, in bytes.
const PRINT_BYTES_MAX: usize = 1000;

/// Where boards find their hub, and what they are made of.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) interpreter: PathBuf,
    pub(super) http: (String, u16),
    pub(super) mqtt: u16,
    /// As on a chip with 32 bits: the interpreter makes it twice as large where objects are twice as large.
    pub(super) heap_bytes: u32,
    pub(super) quiet: bool,
}

/// What is done to a board from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The power goes; flash keeps what was written.
    PowerCut,
    /// It comes back.
    PowerOn,
    /// The reset button.
    Restart,
}

/// What happened to a board.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(super) enum Fact {
    /// All boards have power.
    Ready { boards: usize },
    /// It starts.
    Boot { board: String, reason: &'static str },
    /// It printed a line.
    Print { board: String, text: String },
    /// Its power is off.
    PowerCut { board: String },
    /// A line of standard input that is no command.
    Refused { line: String, reason: String },
}

/// Why a board starts: the number that `machine.reset_cause()` gives, and a word.
type Cause = (u8, &'static str);
const POWER_ON: Cause = (1, "power_on");
const BUTTON: Cause = (2, "reset");
const WATCHDOG: Cause = (3, "watchdog");
const RESTARTED: Cause = (5, "restart");

/// A board that runs until its orders end.
pub(super) struct Board {
    pub(super) device: String,
    pub(super) credential: String,
    pub(super) flash: PathBuf,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) facts: mpsc::Sender<Fact>,
}

impl Board {
    /// Puts the agent and its settings on the flash. Other files are left as they are.
    pub(super) fn prepare(&self, world: &World) -> anyhow::Result<()> {
        let is_name = !self.device.is_empty() && !self.device.contains(['/', '+', '#', '.']);
        ensure!(is_name, "`{}` is no id of a device", self.device);
        std::fs::create_dir_all(self.flash.join("mh"))
            .with_context(|| format!("making the flash folder {}", self.flash.display()))?;
        let config = json!({
            "hub": { "host": world.http.0, "http": world.http.1, "mqtt": world.mqtt },
            "device": self.device,
            "credential": self.credential,
            "attributes": { "board": "virtual" },
        });
        let config = format!("{config:#}\n");
        for (name, bytes) in FILES.iter().copied().chain([("config.json", config.as_bytes())]) {
            let path = self.flash.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Runs it: a process after the other, for as long as somebody may give orders.
    pub(super) async fn run(mut self, world: World) {
        let mut cause = POWER_ON;
        loop {
            self.tell(Fact::Boot { board: self.device.clone(), reason: cause.1 }).await;
            let mut process = match start(&world, &self.flash, &self.device, cause.0) {
                Ok(process) => process,
                Err(error) => {
                    let text = format!("cannot start {}: {error}", world.interpreter.display());
                    self.tell(Fact::Print { board: self.device.clone(), text }).await;
                    return;
                }
            };
            let (output, errors) = (process.stdout.take(), process.stderr.take());
            let printed = tokio::spawn(print(output, self.device.clone(), self.facts.clone(), world.quiet));
            let wrong = tokio::spawn(print(errors, self.device.clone(), self.facts.clone(), world.quiet));
            let order = tokio::select! {
                ended = process.wait() => {
                    cause = why(ended.ok());
                    sleep(if cause == POWER_ON { FALL } else { BOOT }).await;
                    None
                }
                order = self.orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            };
            if let Some(order) = order {
                let _ = process.kill().await;
                cause = BUTTON;
                if order == Order::PowerCut {
                    self.tell(Fact::PowerCut { board: self.device.clone() }).await;
                    cause = POWER_ON;
                    if !self.waits_for_power().await {
                        return;
                    }
                }
            }
            let _ = (printed.await, wrong.await);
        }
    }

    async fn waits_for_power(&mut self) -> bool {
        loop {
            match self.orders.recv().await {
                Some(Order::PowerOn) => return true,
                Some(Order::PowerCut | Order::Restart) => {}
                None => return false,
            }
        }
    }

    async fn tell(&self, fact: Fact) {
        let _ = self.facts.send(fact).await;
    }
}

fn start(world: &World, flash: &Path, device: &str, cause: u8) -> std::io::Result<Child> {
    tokio::process::Command::new(&world.interpreter)
        .args(["-X", &format!("heapsize={}w", world.heap_bytes), "main.py"])
        .current_dir(flash)
        .env("MOTEHUB_RESET_CAUSE", cause.to_string())
        .env("MOTEHUB_BOARD", device)
        .env("MICROPYPATH", ".frozen")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Why a board starts again whose process ended so.
fn why(ended: Option<ExitStatus>) -> Cause {
    match ended {
        Some(status) if status.code() == Some(RESTART_CODE) => RESTARTED,
        Some(status) if status.signal() == Some(SIGALRM) => WATCHDOG,
        _ => POWER_ON,
    }
}

/// Gives the lines of a stream as facts until it ends.
async fn print(
    stream: Option<impl AsyncRead + Unpin>,
    board: String,
    facts: mpsc::Sender<Fact>,
    is_quiet: bool,
) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        line.truncate(PRINT_BYTES_MAX);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !is_quiet && facts.send(Fact::Print { board: board.clone(), text }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_agent_is_on_a_board() {
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agents/micropython");
        let listed = |folder: &str| {
            let files = std::fs::read_dir(agent.join(folder)).expect("a folder");
            let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
            names
                .filter_map(|name| name.strip_suffix(".py").map(|name| format!("{folder}{name}.")))
                .collect::<Vec<_>>()
        };
        for name in listed("").into_iter().chain(listed("mh/")) {
            assert!(
                FILES.iter().any(|(known, _)| known.starts_with(&name)),
                "{name} is not copied to virtual boards"
            );
        }
    }
}
