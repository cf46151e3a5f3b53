//! The parent's side of the groups of a fleet: starts the process of a group, forwards commands and facts,
//! kills a group that does not beat any more and starts it again.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::group::{BEAT, FACT};
use super::order::{BootReason, Command, Fact, GroupConfig, Order};

/// A group that cannot be started or dies at once is tried again this often.
const GROUP_RESTART_AFTER: Duration = Duration::from_millis(500);
/// How long a group may take to end by itself.
const STOP_MAX: Duration = Duration::from_secs(2);

/// The parent's side of one group.
pub(crate) struct Group {
    pub(crate) command: Vec<OsString>,
    pub(crate) config: GroupConfig,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) reports: mpsc::Sender<Fact>,
    /// Groups of the fleet that have not beaten yet.
    pub(crate) starting: Arc<AtomicUsize>,
    pub(crate) fleet_size: usize,
    pub(crate) beat_max: Duration,
    pub(crate) lost: u64,
}

impl Group {
    /// Keeps the group running until the fleet stops.
    pub(crate) async fn supervise(mut self, mut stopped: watch::Receiver<bool>) {
        let mut has_started = false;
        loop {
            let mut run = match Run::start(&self.command, &self.config).await {
                Ok(run) => run,
                Err(error) => {
                    self.report_reset(format!("cannot start: {error:#}"));
                    tokio::select! {
                        () = until_stopped(&mut stopped) => return,
                        () = sleep(GROUP_RESTART_AFTER) => continue,
                    }
                }
            };
            let reason = tokio::select! {
                () = until_stopped(&mut stopped) => {
                    run.stop().await;
                    return;
                }
                reason = self.attend(&mut run, &mut has_started) => reason,
            };
            let _ = run.child.kill().await;
            self.report_reset(reason.to_owned());
            self.config.reason = BootReason::GroupReset;
            tokio::select! {
                () = until_stopped(&mut stopped) => return,
                () = sleep(GROUP_RESTART_AFTER) => {}
            }
        }
    }

    fn report_reset(&mut self, reason: String) {
        let boards = self.config.boards.iter().map(|(chip_id, _)| chip_id.to_string()).collect();
        self.report(Fact::GroupReset { boards, reason });
    }

    /// Serves a running group until it has to be started again; says why.
    async fn attend(&mut self, run: &mut Run, has_started: &mut bool) -> &'static str {
        let mut silent_at = Instant::now() + self.beat_max;
        loop {
            tokio::select! {
                line = run.output.next_line() => {
                    let Ok(Some(line)) = line else { return "the process ended" };
                    if line == BEAT {
                        silent_at = Instant::now() + self.beat_max;
                        self.note_start(has_started);
                    } else if let Some(Ok(fact)) = line.strip_prefix(FACT).map(serde_json::from_str) {
                        self.note(fact);
                    }
                }
                () = sleep_until(silent_at) => return "the process did not answer any more",
                command = self.commands.recv() => {
                    let Some(command) = command else { return "nobody commands it" };
                    self.note_power(&command);
                    let line = serde_json::to_string(&command).unwrap_or_default() + "\n";
                    match timeout(self.beat_max, run.input.write_all(line.as_bytes())).await {
                        Ok(Ok(())) => {}
                        _ => return "the process takes no commands",
                    }
                }
            }
        }
    }

    fn note_start(&mut self, has_started: &mut bool) {
        if !*has_started {
            *has_started = true;
            if self.starting.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.report(Fact::Ready { boards: self.fleet_size });
            }
        }
    }

    /// Remembers which boards have power, for the case that the group has to be started again.
    fn note_power(&mut self, command: &Command) {
        let has_power = match command.order {
            Order::PowerCut => false,
            Order::PowerOn => true,
            _ => return,
        };
        for (chip_id, power) in &mut self.config.boards {
            if command.board.as_ref().is_none_or(|board| *board == chip_id.to_string()) {
                *power = has_power;
            }
        }
    }

    fn note(&mut self, fact: Fact) {
        if let Fact::PowerCut { board } = &fact {
            self.note_power(&Command { board: Some(board.clone()), order: Order::PowerCut });
        }
        self.report(fact);
    }

    fn report(&mut self, fact: Fact) {
        if self.lost > 0 && self.reports.try_send(Fact::Lost { facts: self.lost }).is_ok() {
            self.lost = 0;
        }
        if self.reports.try_send(fact).is_err() {
            self.lost += 1;
        }
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // A fleet that was dropped has stopped too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A running process of a group.
struct Run {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Run {
    async fn start(command: &[OsString], config: &GroupConfig) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("the group command is empty")?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut input = child.stdin.take().context("a piped standard input")?;
        let output = BufReader::new(child.stdout.take().context("a piped standard output")?).lines();
        input.write_all((serde_json::to_string(config)? + "\n").as_bytes()).await?;
        Ok(Self { child, input, output })
    }

    /// The end of its standard input ends a group; the rest is impatience.
    async fn stop(mut self) {
        drop(self.input);
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
