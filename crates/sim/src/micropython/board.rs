//! One board: its flash, its process, and why that ended. Whatever firmware lies on the flash is run.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// With this a process says that its board starts again.
const RESTART_CODE: i32 = 75;
/// What ends a process whose watchdog was not fed.
const SIGALRM: i32 = 14;
/// How long a start takes, and how long nothing happens after an end that no chip knows.
const BOOT: Duration = Duration::from_millis(100);
const FALL: Duration = Duration::from_secs(1);
/// The longest line that a board prints is cut to this, in bytes.
const PRINT_BYTES_MAX: usize = 1000;

/// What boards are made of.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) interpreter: PathBuf,
    /// As on a chip with 32 bits: the interpreter makes it twice as large where objects are twice as large.
    pub(crate) heap_bytes: u32,
    pub(crate) quiet: bool,
}

/// What is done to a board from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
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
pub(crate) enum Fact {
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
pub(crate) struct Board {
    pub(crate) name: String,
    /// What its interpreter starts with, and what that is told.
    pub(crate) program: Vec<String>,
    pub(crate) flash: PathBuf,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) facts: mpsc::Sender<Fact>,
}

impl Board {
    /// Runs it: a process after the other, for as long as somebody may give orders.
    pub(crate) async fn run(mut self, world: World) {
        let mut cause = POWER_ON;
        loop {
            self.tell(Fact::Boot { board: self.name.clone(), reason: cause.1 }).await;
            let mut process = match self.start(&world, cause.0) {
                Ok(process) => process,
                Err(error) => {
                    let text = format!("cannot start {}: {error}", world.interpreter.display());
                    self.tell(Fact::Print { board: self.name.clone(), text }).await;
                    return;
                }
            };
            let (output, errors) = (process.stdout.take(), process.stderr.take());
            let printed = tokio::spawn(print(output, self.name.clone(), self.facts.clone(), world.quiet));
            let wrong = tokio::spawn(print(errors, self.name.clone(), self.facts.clone(), world.quiet));
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
                    self.tell(Fact::PowerCut { board: self.name.clone() }).await;
                    cause = POWER_ON;
                    if !self.waits_for_power().await {
                        return;
                    }
                }
            }
            let _ = (printed.await, wrong.await);
        }
    }

    fn start(&self, world: &World, cause: u8) -> std::io::Result<Child> {
        tokio::process::Command::new(&world.interpreter)
            .args(["-X", &format!("heapsize={}w", world.heap_bytes)])
            .args(&self.program)
            .current_dir(&self.flash)
            .env("MOTEHUB_RESET_CAUSE", cause.to_string())
            .env("MOTEHUB_BOARD", &self.name)
            .env("MICROPYPATH", ".frozen")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
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
