//! A fleet of virtual boards: its settings, the flash it prepares, and the handle that takes commands and
//! gives facts. The processes of its groups are in `supervisor`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::flash::Flash;
use super::order::{BoardSettings, BootReason, Command, Fact, GroupConfig};
use super::sensor::Setting;
use super::supervisor::Group;

/// The firmware that boards get unless told otherwise.
const IOT_EXECUTOR: &str = include_str!("../../firmware/iot-executor/init.lua");
/// Motehub's own agent, as it is copied to real boards.
const AGENT: [(&str, &str); 21] = [
    ("init.lua", include_str!("../../../../agents/nodemcu/init.lua")),
    ("mh_agent.lua", include_str!("../../../../agents/nodemcu/mh_agent.lua")),
    ("mh_apply.lua", include_str!("../../../../agents/nodemcu/mh_apply.lua")),
    ("mh_builtin.lua", include_str!("../../../../agents/nodemcu/mh_builtin.lua")),
    ("mh_clean.lua", include_str!("../../../../agents/nodemcu/mh_clean.lua")),
    ("mh_command.lua", include_str!("../../../../agents/nodemcu/mh_command.lua")),
    ("mh_config.lua", include_str!("../../../../agents/nodemcu/mh_config.lua")),
    ("mh_credential.lua", include_str!("../../../../agents/nodemcu/mh_credential.lua")),
    ("mh_decide.lua", include_str!("../../../../agents/nodemcu/mh_decide.lua")),
    ("mh_fetch.lua", include_str!("../../../../agents/nodemcu/mh_fetch.lua")),
    ("mh_flow.lua", include_str!("../../../../agents/nodemcu/mh_flow.lua")),
    ("mh_guard.lua", include_str!("../../../../agents/nodemcu/mh_guard.lua")),
    ("mh_hello.lua", include_str!("../../../../agents/nodemcu/mh_hello.lua")),
    ("mh_login.lua", include_str!("../../../../agents/nodemcu/mh_login.lua")),
    ("mh_offer.lua", include_str!("../../../../agents/nodemcu/mh_offer.lua")),
    ("mh_report.lua", include_str!("../../../../agents/nodemcu/mh_report.lua")),
    ("mh_script.lua", include_str!("../../../../agents/nodemcu/mh_script.lua")),
    ("mh_slots.lua", include_str!("../../../../agents/nodemcu/mh_slots.lua")),
    ("mh_start.lua", include_str!("../../../../agents/nodemcu/mh_start.lua")),
    ("mh_trial.lua", include_str!("../../../../agents/nodemcu/mh_trial.lua")),
    ("mh_wifi.lua", include_str!("../../../../agents/nodemcu/mh_wifi.lua")),
];
/// Facts that wait for a reader.
const FACTS_MAX: usize = 16 * 1024;
const COMMANDS_MAX: usize = 64;
/// Longest credential; more would not fit into what the firmware reads of its settings.
const CREDENTIAL_MAX_BYTES: usize = 200;

/// One board.
#[derive(Clone, Debug)]
pub struct BoardConfig {
    /// `node.chipid()`.
    pub chip_id: u32,
    /// The secret of the path `/d/<credential>` and the MQTT password; without one the board is not
    /// authenticated.
    pub credential: Option<String>,
    /// The id with the hub of a board that runs Motehub's agent; the others run [`FleetConfig::firmware`].
    pub device: Option<String>,
}

/// How to run a fleet.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The boards; chip ids must differ.
    pub boards: Vec<BoardConfig>,
    /// `HOST:PORT[/prefix]` of the web server.
    pub http: String,
    /// `HOST:PORT` of the MQTT broker.
    pub mqtt: String,
    /// Holds a folder per board; without it the flash is temporary. Existing files are left as they are.
    pub flash: Option<PathBuf>,
    /// The text of `init.lua` of boards without the agent.
    pub firmware: String,
    /// Room for files on a board, in bytes.
    pub flash_bytes: u64,
    /// Lua memory of a board above its empty state.
    pub memory_bytes: usize,
    /// From the end of a Lua state to the next boot.
    pub boot_delay_ms: u64,
    /// From asking for Wi-Fi to having an address.
    pub wifi_join_ms: u64,
    /// How many times as fast as the host's clock the clock and the timers of boards are, from 1.
    pub speed: u32,
    /// How long Lua may run without returning before the board is reset.
    pub watchdog_ms: u64,
    /// Longest HTTP response that the firmware takes, headers included.
    pub http_response_max_bytes: usize,
    /// `channel=wave` texts, as `--sensor` takes them.
    pub sensors: Vec<String>,
    /// Boards per process.
    pub group_size: usize,
    /// A group that has not beaten for so long is killed.
    pub beat_max_ms: u64,
    /// Leave out prints.
    pub quiet: bool,
    /// Program and arguments of a group's process; empty is this program with `sim nodemcu-group`.
    pub group_command: Vec<OsString>,
}

impl FleetConfig {
    /// The usual settings, without boards.
    pub fn new(http: impl Into<String>, mqtt: impl Into<String>) -> Self {
        Self {
            boards: Vec::new(),
            http: http.into(),
            mqtt: mqtt.into(),
            flash: None,
            firmware: IOT_EXECUTOR.to_owned(),
            flash_bytes: 2 * 1024 * 1024,
            memory_bytes: 80 * 1024,
            boot_delay_ms: 300,
            wifi_join_ms: 500,
            speed: 1,
            watchdog_ms: 3000,
            http_response_max_bytes: 8192,
            sensors: Vec::new(),
            group_size: 50,
            beat_max_ms: 5000,
            quiet: false,
            group_command: Vec::new(),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.boards.is_empty(), "a fleet needs at least one board");
        ensure!(self.speed > 0, "the clock of a board has to move: its speed is at least 1");
        ensure!(self.group_size > 0, "a group needs at least one board");
        let mut seen = std::collections::BTreeSet::new();
        for board in &self.boards {
            ensure!(seen.insert(board.chip_id), "chip id {} is given twice", board.chip_id);
            let credential = board.credential.as_deref().unwrap_or("-");
            let is_usable = !credential.is_empty()
                && credential.len() <= CREDENTIAL_MAX_BYTES
                && credential.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
            ensure!(is_usable, "the credential of board {} has characters a path cannot hold", board.chip_id);
            ensure!(
                board.device.is_none() || board.credential.is_some(),
                "board {} runs the agent, which needs a credential",
                board.chip_id
            );
        }
        for sensor in &self.sensors {
            sensor.parse::<Setting>().map_err(|reason| anyhow::anyhow!("sensor `{sensor}`: {reason}"))?;
        }
        let port = self.mqtt.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        ensure!(port.is_some(), "`{}` is not HOST:PORT of an MQTT broker", self.mqtt);
        Ok(())
    }

    /// Fills the flash of a board, except for files that are there already.
    fn prepare(&self, flash: &Path, board: &BoardConfig) -> anyhow::Result<()> {
        let folder = flash.join(board.chip_id.to_string());
        Flash::open(&folder, self.flash_bytes)
            .with_context(|| format!("making the flash folder {}", folder.display()))?;
        let files = match &board.device {
            None => vec![("init.lua", self.firmware.clone()), ("config.txt", self.config_text(board))],
            Some(device) => {
                let agent = AGENT.iter().map(|(name, text)| (*name, (*text).to_owned()));
                agent.chain([("config.json", self.agent_settings(device, board))]).collect()
            }
        };
        for (name, content) in files {
            let path = folder.join(name);
            // The agent's own files are those of this program: it was flashed, as it were.
            if !path.exists() || board.device.is_some() && name.ends_with(".lua") {
                std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The settings file of the agent.
    fn agent_settings(&self, device: &str, board: &BoardConfig) -> String {
        let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let (host, _) = self.mqtt.rsplit_once(':').unwrap_or((&self.mqtt, ""));
        let settings = serde_json::json!({
            "wifi": { "ssid": "virtual", "password": "virtual" },
            "hub": { "host": host, "mqtt": port(&self.mqtt), "http": port(&self.http).unwrap_or(80) },
            "device": device,
            "credential": board.credential,
            "attributes": { "board": "virtual" },
        });
        format!("{settings:#}\n")
    }

    /// The settings file of the firmware, see [`IOT_EXECUTOR`].
    fn config_text(&self, board: &BoardConfig) -> String {
        let domain = self.http.strip_prefix("http://").unwrap_or(&self.http).trim_end_matches('/');
        let (host, port) = self.mqtt.rsplit_once(':').unwrap_or((&self.mqtt, "1883"));
        let mut text =
            format!("update=0\nboot=\nssid=virtual\npwd=virtual\nmqttport={port}\nmqttbroker={host}\n");
        match &board.credential {
            None => text += &format!("domain={domain}\n"),
            Some(credential) => {
                let chip_id = board.chip_id;
                text +=
                    &format!("domain={domain}/d/{credential}\nmqttuser={chip_id}\nmqttpass={credential}\n");
            }
        }
        text + "err=No error\n"
    }

    fn group(&self, flash: &Path, boards: &[BoardConfig]) -> GroupConfig {
        GroupConfig {
            boards: boards.iter().map(|board| (board.chip_id, true)).collect(),
            flash: flash.to_owned(),
            reason: BootReason::PowerOn,
            board: BoardSettings {
                memory_bytes: self.memory_bytes,
                boot_delay_ms: self.boot_delay_ms,
                http_response_max_bytes: self.http_response_max_bytes,
                watchdog_ms: self.watchdog_ms,
                wifi_join_ms: self.wifi_join_ms,
                flash_bytes: self.flash_bytes,
                speed: self.speed,
                sensors: self.sensors.clone(),
                quiet: self.quiet,
            },
        }
    }
}

/// A running fleet. Dropping it kills the boards; [`FleetHandle::stop`] waits for their end.
pub struct FleetHandle {
    facts: mpsc::Receiver<Fact>,
    groups: Vec<mpsc::Sender<Command>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Removed with the handle.
    _temporary_flash: Option<tempfile::TempDir>,
}

/// Starts a fleet. Must be called in a tokio runtime with IO and time.
///
/// # Errors
/// When the settings contradict each other or the flash cannot be prepared.
pub fn spawn(config: &FleetConfig) -> anyhow::Result<FleetHandle> {
    config.check()?;
    let (flash, temporary) = match &config.flash {
        Some(flash) => (std::path::absolute(flash)?, None),
        None => {
            let folder = tempfile::Builder::new().prefix("motehub-flash-").tempdir()?;
            (folder.path().to_owned(), Some(folder))
        }
    };
    for board in &config.boards {
        config.prepare(&flash, board)?;
    }
    let command = match config.group_command.is_empty() {
        false => config.group_command.clone(),
        true => vec![std::env::current_exe()?.into_os_string(), "sim".into(), "nodemcu-group".into()],
    };
    let (reports, facts) = mpsc::channel(FACTS_MAX);
    let (stop, stopped) = watch::channel(false);
    let chunks: Vec<&[BoardConfig]> = config.boards.chunks(config.group_size).collect();
    let starting = Arc::new(AtomicUsize::new(chunks.len()));
    let (mut groups, mut tasks) = (Vec::new(), JoinSet::new());
    for boards in chunks {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        groups.push(sender);
        let group = Group {
            command: command.clone(),
            config: config.group(&flash, boards),
            commands,
            reports: reports.clone(),
            starting: starting.clone(),
            fleet_size: config.boards.len(),
            beat_max: Duration::from_millis(config.beat_max_ms),
            lost: 0,
        };
        tasks.spawn(group.supervise(stopped.clone()));
    }
    Ok(FleetHandle { facts, groups, stop, tasks, _temporary_flash: temporary })
}

impl FleetHandle {
    /// The next fact; `None` when the fleet has ended. Facts that nobody reads are counted and dropped.
    pub async fn next_fact(&mut self) -> Option<Fact> {
        self.facts.recv().await
    }

    /// Tells a board, or all, what to do.
    pub async fn command(&self, command: Command) {
        for group in &self.groups {
            // A group ends only with the fleet.
            let _ = group.send(command.clone()).await;
        }
    }

    /// Ends all boards and waits for it.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
