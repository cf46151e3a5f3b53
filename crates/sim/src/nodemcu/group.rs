//! The child process of one group of boards. Its settings come as the first line on standard input, orders as
//! further lines; it ends when standard input ends, so it cannot outlive its parent. Facts go to standard
//! output, and a beat twice a second as long as Lua is not stuck: without beats the parent kills the group.

use std::io::{BufRead, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::board::{self, Board};
use super::console::Console;
use super::flash::Flash;
use super::link::Link;
use super::machine::TurnClock;
use super::order::{Command, Fact, GroupConfig, Order};
use super::sensor::{Sensors, Setting};

/// Line starts on the standard output of a group; other lines are not meant for the parent.
pub(crate) const BEAT: &str = "beat";
pub(crate) const FACT: &str = "fact ";
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How much longer than the watchdog allows Lua may run before the beats stop.
const STUCK_GRACE: Duration = Duration::from_millis(500);
const FACTS_MAX: usize = 4096;
const ORDERS_MAX: usize = 64;
/// Bytes of the reading end of one line.
const STDIN_LINES_MAX: usize = 256;

/// Runs the boards of one group until standard input ends. Called in the child process only.
///
/// # Errors
/// When the settings cannot be read or a flash folder cannot be made.
pub fn run_group() -> anyhow::Result<()> {
    // A panic would leave one board dead in silence; the end of the process is seen and mended.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
    let mut first = String::new();
    std::io::stdin().lock().read_line(&mut first).context("reading the settings of the group")?;
    let config: GroupConfig =
        serde_json::from_str(&first).context("understanding the settings of the group")?;
    let clock = Arc::new(TurnClock::new());
    let (facts, reported) = sync_channel(FACTS_MAX);
    let stuck_after = Duration::from_millis(config.board.watchdog_ms) + STUCK_GRACE;
    let watched = clock.clone();
    std::thread::spawn(move || write_facts(&reported, &watched, stuck_after));
    let commands = read_commands();
    let console = Console::new(facts, config.board.quiet);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let boards = LocalSet::new();
    runtime.block_on(boards.run_until(run_boards(config, console, clock, commands)))
}

/// Reads commands on a thread of its own, because the boards' thread may be stuck in Lua when the end comes.
fn read_commands() -> mpsc::Receiver<Command> {
    let (sender, receiver) = mpsc::channel(STDIN_LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Ok(command) = serde_json::from_str(&line) {
                // The receiver lives as long as the process.
                let _ = sender.blocking_send(command);
            }
        }
        std::process::exit(0);
    });
    receiver
}

/// Writes facts and beats. When the parent is gone, so is the group.
fn write_facts(facts: &Receiver<Fact>, clock: &TurnClock, stuck_after: Duration) {
    let mut output = std::io::stdout();
    let mut beat_at = std::time::Instant::now();
    loop {
        let line = match facts.recv_timeout(beat_at.saturating_duration_since(std::time::Instant::now())) {
            Ok(fact) => {
                serde_json::to_string(&fact).map(|json| format!("{FACT}{json}\n")).unwrap_or_default()
            }
            Err(RecvTimeoutError::Timeout) => String::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut wrote = output.write_all(line.as_bytes());
        if std::time::Instant::now() >= beat_at {
            beat_at = std::time::Instant::now() + BEAT_EVERY;
            if clock.running() < stuck_after {
                wrote = wrote.and_then(|()| writeln!(output, "{BEAT}"));
            }
        }
        if wrote.and_then(|()| output.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

async fn run_boards(
    config: GroupConfig,
    console: Console,
    clock: Arc<TurnClock>,
    mut commands: mpsc::Receiver<Command>,
) -> anyhow::Result<()> {
    let mut boards = Vec::new();
    let (group, reason) = (config.boards.clone(), config.reason);
    for (chip_id, has_power) in group {
        let board = make_board(&config, chip_id, &console, &clock)?;
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        boards.push((board.name.clone(), sender));
        tokio::task::spawn_local(board::live(board, orders, has_power.then_some(reason)));
    }
    while let Some(command) = commands.recv().await {
        for (name, orders) in &boards {
            if command.board.as_ref().is_none_or(|wanted| wanted == name) {
                give(orders, command.order).await;
            }
        }
    }
    Ok(())
}

async fn give(orders: &mpsc::Sender<Order>, order: Order) {
    // A board ends only with the process.
    let _ = orders.send(order).await;
}

/// A board as its settings describe it.
pub(crate) fn make_board(
    config: &GroupConfig,
    chip_id: u32,
    console: &Console,
    clock: &Arc<TurnClock>,
) -> anyhow::Result<Rc<Board>> {
    let name = chip_id.to_string();
    let folder = config.flash.join(&name);
    let flash = Flash::open(&folder, config.board.flash_bytes)
        .with_context(|| format!("preparing the flash folder {}", folder.display()))?;
    let settings: Result<Vec<Setting>, String> =
        config.board.sensors.iter().map(|text| text.parse()).collect();
    let sensors = Sensors::new(chip_id, &settings.map_err(anyhow::Error::msg)?);
    Ok(Rc::new(Board {
        chip_id,
        name,
        settings: Rc::new(config.board.clone()),
        flash,
        link: Rc::new(Link::new()),
        sensors: sensors.into(),
        console: console.clone(),
        turn_clock: clock.clone(),
        rtc_offset: None.into(),
        station: None.into(),
    }))
}
