//! The command line of virtual boards: settings from flags, commands as JSON lines on standard input, facts
//! as JSON lines on standard output.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::{BoardConfig, FleetConfig, FleetHandle, spawn};
use super::order::{Command, Fact};
use crate::stdio;

/// Chip id of the first board when none is named.
const FIRST_CHIP_ID: u32 = 10_801_015;

const EXAMPLE: &str = r#"Example: a board whose credential is in boards.txt as the line `10801015 SECRET`
  motehub sim nodemcu --http 127.0.0.1:8080 --mqtt 127.0.0.1:1883 --boards boards.txt --flash flash/

Each board's flash is the folder DIR/CHIP_ID. An init.lua, config.txt or config.json in it is left as it is,
so that you can put your own there; boards with --agent get the agent's Lua files anew.

Commands, one JSON object per line on standard input; without "board" for all boards:
  {"board":"10801015","do":"power_cut"}   power_on, restart (the reset button), wifi_off, wifi_on
  {"do":"power_cut_at_byte","bytes":120}  in the next download of a .lua file, after so many body bytes
  {"do":"power_cut_at_write","bytes":120}  in the next change of the flash, after so many bytes of it
  {"do":"slow_link","bytes_per_second":200}  0 is full speed again

Facts, one JSON object per line on standard output, named by "fact": ready, boot, print, panic, http,
mqtt_connected, mqtt_disconnected, compiled, power_cut, group_reset, refused, lost."#;

/// Settings of virtual NodeMCU boards.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// The web server that boards poll, with a path prefix if it has one
    #[arg(long, value_name = "HOST:PORT[/PREFIX]")]
    http: String,
    /// The MQTT broker
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: String,
    /// Boards without a credential, with consecutive chip ids [default: 1 if no board is named]
    #[arg(long)]
    count: Option<u32>,
    /// Chip id of the first of --count boards
    #[arg(long, value_name = "FIRST", default_value_t = FIRST_CHIP_ID)]
    chip_id: u32,
    /// A board with a credential (others on this machine can read it; --boards keeps it private)
    #[arg(long = "board", value_name = "CHIP_ID:CREDENTIAL")]
    board: Vec<String>,
    /// A file of boards: lines of CHIP_ID, CHIP_ID CREDENTIAL or (with the agent) CHIP_ID CREDENTIAL DEVICE_ID,
    /// # starts a comment
    #[arg(long, value_name = "FILE")]
    boards: Option<PathBuf>,
    /// A board that runs Motehub's agent, with the id that the hub gave the device
    #[arg(long = "agent", value_name = "CHIP_ID:DEVICE_ID:CREDENTIAL")]
    agent: Vec<String>,
    /// Where flash folders live [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    flash: Option<PathBuf>,
    /// What init.lua is on boards without the agent: `iot-executor`, or a file
    #[arg(long, value_name = "iot-executor|PATH", default_value = "iot-executor")]
    firmware: String,
    /// Lua memory above the empty state
    #[arg(long, value_name = "BYTES", default_value_t = 80 * 1024)]
    memory: usize,
    /// Room for files on a board
    #[arg(long, value_name = "BYTES", default_value_t = 2 * 1024 * 1024)]
    flash_size: u64,
    /// Time that a restart takes
    #[arg(long, value_name = "MS", default_value_t = 300)]
    boot_delay_ms: u64,
    /// Time that Wi-Fi takes to connect
    #[arg(long, value_name = "MS", default_value_t = 500)]
    wifi_join_ms: u64,
    /// How many times as fast as here the clock and the timers of boards are
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    speed: u32,
    /// Lua that does not return for longer resets its board
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    watchdog_ms: u64,
    /// A longer HTTP response, headers included, is an error to the firmware
    #[arg(long, value_name = "BYTES", default_value_t = 8192)]
    http_response_max: usize,
    /// What a pin feels: adc, gpio, gpio0…gpio12, temperature or humidity as sine:MIN:MAX:SECONDS,
    /// walk:MIN:MAX:STEP or const:VALUE
    #[arg(long, value_name = "CHANNEL=WAVE")]
    sensor: Vec<String>,
    /// Boards per process
    #[arg(long, default_value_t = 50)]
    group_size: usize,
    /// Leave out what boards print
    #[arg(long)]
    quiet: bool,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

impl Options {
    fn config(self) -> anyhow::Result<FleetConfig> {
        let mut config = FleetConfig::new(self.http, self.mqtt);
        for text in &self.board {
            config.boards.push(parse_board(text)?);
        }
        for text in &self.agent {
            config.boards.push(parse_agent(text)?);
        }
        if let Some(path) = &self.boards {
            config.boards.extend(read_boards(path)?);
        }
        let count = self.count.unwrap_or(u32::from(config.boards.is_empty()));
        let last = self.chip_id.checked_add(count).context("chip ids above 4294967295")?;
        config.boards.extend((self.chip_id..last).map(|chip_id| BoardConfig {
            chip_id,
            credential: None,
            device: None,
        }));
        if self.firmware != "iot-executor" {
            config.firmware = std::fs::read_to_string(&self.firmware)
                .with_context(|| format!("reading the firmware {}", self.firmware))?;
        }
        config.flash = self.flash;
        config.flash_bytes = self.flash_size;
        config.memory_bytes = self.memory;
        config.boot_delay_ms = self.boot_delay_ms;
        config.wifi_join_ms = self.wifi_join_ms;
        config.speed = self.speed;
        config.watchdog_ms = self.watchdog_ms;
        config.http_response_max_bytes = self.http_response_max;
        config.sensors = self.sensor;
        config.group_size = self.group_size;
        config.quiet = self.quiet;
        Ok(config)
    }
}

fn parse_board(text: &str) -> anyhow::Result<BoardConfig> {
    let (chip_id, credential) = match text.split_once(':') {
        None => (text, None),
        Some((chip_id, credential)) => (chip_id, Some(credential.trim().to_owned())),
    };
    Ok(BoardConfig { chip_id: parse_chip_id(chip_id)?, credential, device: None })
}

fn parse_agent(text: &str) -> anyhow::Result<BoardConfig> {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    let (chip_id, device, credential) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    anyhow::ensure!(credential.is_some(), "`--agent` takes CHIP_ID:DEVICE_ID:CREDENTIAL");
    Ok(BoardConfig { chip_id: parse_chip_id(&chip_id)?, credential, device })
}

fn parse_chip_id(text: &str) -> anyhow::Result<u32> {
    text.trim().parse().with_context(|| format!("`{text}` is not a chip id"))
}

/// A line of the file of boards.
fn parse_line(line: &str) -> anyhow::Result<BoardConfig> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let chip_id = parse_chip_id(&words.next().unwrap_or_default())?;
    Ok(BoardConfig { chip_id, credential: words.next(), device: words.next() })
}

fn read_boards(path: &Path) -> anyhow::Result<Vec<BoardConfig>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading the boards of {}", path.display()))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(parse_line).collect()
}

/// Runs a fleet until a signal, or the end of standard input if asked to.
///
/// # Errors
/// When the settings are wrong or the flash cannot be prepared.
pub fn run(options: Options) -> anyhow::Result<()> {
    let until_eof = options.until_eof;
    let config = options.config()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut fleet = spawn(&config)?;
        serve(&mut fleet, until_eof).await?;
        fleet.stop().await;
        Ok(())
    })
}

async fn serve(fleet: &mut FleetHandle, until_eof: bool) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut lines = stdio::lines();
    let mut is_open = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            line = lines.recv(), if is_open => match line {
                Some(line) => obey(fleet, line).await?,
                None if until_eof => return Ok(()),
                None => is_open = false,
            },
            fact = fleet.next_fact() => match fact {
                Some(fact) => write(&fact)?,
                None => return Ok(()),
            },
        }
    }
}

async fn obey(fleet: &FleetHandle, line: String) -> anyhow::Result<()> {
    match serde_json::from_str::<Command>(&line) {
        Ok(command) => fleet.command(command).await,
        Err(error) => write(&Fact::Refused { line, reason: error.to_string() })?,
    }
    Ok(())
}

fn write(fact: &Fact) -> anyhow::Result<()> {
    stdio::print(&serde_json::to_string(fact)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn boards(flags: &[&str]) -> Result<Vec<(u32, Option<String>)>, String> {
        let line = ["sim", "--http", "h:1", "--mqtt", "h:2"].iter().chain(flags);
        let options = Line::try_parse_from(line).map_err(|error| error.to_string())?.options;
        let config = options.config().map_err(|error| format!("{error:#}"))?;
        Ok(config.boards.into_iter().map(|board| (board.chip_id, board.credential)).collect())
    }

    #[test]
    fn boards_come_from_flags_and_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# kitchen\n1 one\n\n 2  two # fan\n3\n").unwrap();
        let path = file.path().to_str().unwrap();
        let named = |chip_id, credential: &str| (chip_id, Some(credential.to_owned()));
        let cases: [(&[&str], Vec<_>); 4] = [
            (&[], vec![(FIRST_CHIP_ID, None)]),
            (&["--count", "2", "--chip-id", "5"], vec![(5, None), (6, None)]),
            (&["--board", "7:a:b", "--count", "1", "--chip-id", "9"], vec![named(7, "a:b"), (9, None)]),
            (&["--boards", path], vec![named(1, "one"), named(2, "two"), (3, None)]),
        ];
        for (flags, expected) in cases {
            assert_eq!(boards(flags), Ok(expected), "{flags:?}");
        }
    }

    #[test]
    fn wrong_flags_are_named() {
        let cases: [(&[&str], &str); 4] = [
            (&["--board", "x:y"], "`x` is not a chip id"),
            (&["--boards", "/no/such/file"], "/no/such/file"),
            (&["--firmware", "/no/such/init.lua"], "/no/such/init.lua"),
            (&["--count", "2", "--chip-id", "4294967295"], "chip ids above"),
        ];
        for (flags, reason) in cases {
            let error = boards(flags).unwrap_err();
            assert!(error.contains(reason), "{flags:?}: {error}");
        }
    }
}
