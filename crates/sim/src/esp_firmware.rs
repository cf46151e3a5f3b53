//! Virtual boards with the ESP-FIRMWARE firmware, as it behaves and with its faults, on the real MicroPython
//! interpreter. Each has an address of its own on this machine, so that addresses and ports are as in a network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::micropython::board::World;
use crate::micropython::cli::{Made, address, heap_bytes, run_boards};

/// The firmware, and the modules of a chip.
const FILES: [(&str, &str); 7] = [
    ("boot.py", include_str!("../firmware/esp-firmware/boot.py")),
    ("board.py", include_str!("../firmware/esp-firmware/board.py")),
    ("server.py", include_str!("../firmware/esp-firmware/server.py")),
    ("mqtt_client.py", include_str!("../firmware/esp-firmware/mqtt_client.py")),
    ("log.py", include_str!("../firmware/esp-firmware/log.py")),
    ("dht.py", include_str!("../firmware/esp-firmware/dht.py")),
    ("machine.py", include_str!("../firmware/micropython/machine.py")),
];

const EXAMPLE: &str = "Example: two boards, of which one has a sensor
  motehub sim esp-firmware --mqtt 127.0.0.1:1883 --port 8081 \\
    --board dev1@127.0.1.11=micropython,temperature,humidity --board dev2@127.0.1.12=micropython

A board that cannot reach the broker, or is not let in, ends; it starts again after a second, as a container does.
The quirks are:
  corrupt  what it says of its memory is broken on the way
  deaf     an error in a script's on_input makes it deaf until its keep-alive is over
  loud     errors in tasks of a script are printed, instead of nothing
  old      an older firmware: it announces and measures nothing, and answers /ping with JSON
  slow     it answers 7 seconds after it took a script, as an ESP32 does

Commands, one JSON object per line on standard input; without \"board\" for all boards:
  {\"board\":\"dev1\",\"do\":\"power_cut\"}   power_on, restart (the reset button)

Facts, one JSON object per line on standard output, named by \"fact\": ready, boot, print, power_cut, refused.";

/// Settings of virtual boards with ESP-FIRMWARE.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// The MQTT broker
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: String,
    /// The port that their HTTP servers listen on; below 1024 takes privileges
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    port: u16,
    /// A board: its name, its address, which is one of this machine, and what it says that it can do
    #[arg(long = "board", value_name = "NAME@ADDRESS=WORD,...", required = true)]
    board: Vec<String>,
    /// Where it says what it logs
    #[arg(long, value_name = "HOST:PORT")]
    logstash: Option<String>,
    /// A fault of the firmware that the boards have; repeatable
    #[arg(long = "quirk", value_enum, value_name = "QUIRK")]
    quirk: Vec<Quirk>,
    /// Where flash folders live [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    flash: Option<PathBuf>,
    /// The interpreter
    #[arg(long, value_name = "PATH", default_value = "micropython", env = "MICROPYTHON")]
    micropython: PathBuf,
    /// The heap of a board in bytes, with k for 1,024, as on a chip
    #[arg(long, value_name = "SIZE", default_value = "64k")]
    heap: String,
    /// Leave out what boards print
    #[arg(long)]
    quiet: bool,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// A fault of the firmware.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Quirk {
    Corrupt,
    Deaf,
    Loud,
    Old,
    Slow,
}

impl Quirk {
    fn as_str(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Deaf => "deaf",
            Self::Loud => "loud",
            Self::Old => "old",
            Self::Slow => "slow",
        }
    }
}

/// A board as it is listed.
struct Listed {
    address: IpAddr,
    capabilities: Vec<String>,
}

impl Options {
    fn listed(&self) -> anyhow::Result<BTreeMap<String, Listed>> {
        let mut listed = BTreeMap::new();
        for text in &self.board {
            let (name, rest) =
                text.split_once('@').with_context(|| format!("--board {text}: NAME@ADDRESS"))?;
            let (address, capabilities) = rest.split_once('=').unwrap_or((rest, "micropython"));
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            ensure!(is_name, "--board {text}: a name has letters, digits and -");
            let address: IpAddr =
                address.parse().with_context(|| format!("--board {text}: {address} is no address"))?;
            let capabilities = capabilities.split(',').map(str::to_owned).collect();
            let former = listed.insert(name.to_owned(), Listed { address, capabilities });
            ensure!(former.is_none(), "--board: {name} is given twice");
        }
        Ok(listed)
    }

    /// The settings of a board, as its firmware reads them.
    fn config(&self, board: &Listed) -> anyhow::Result<String> {
        let place = |flag: &str, text: &str| {
            let (host, port) = address(flag, text)?;
            anyhow::Ok(format!("({host:?}, {port})"))
        };
        let broker = place("--mqtt", &self.mqtt)?;
        let logstash = self.logstash.as_deref().map(|text| place("--logstash", text)).transpose()?;
        let logstash = logstash.unwrap_or_else(|| "None".to_owned());
        let quirks: Vec<&str> = self.quirk.iter().map(|quirk| quirk.as_str()).collect();
        let (address, port) = (board.address.to_string(), self.port);
        Ok(format!(
            "BROKER = {broker}\nPORT = {port}\nADDRESS = {address:?}\nLOGSTASH = {logstash}\nQUIRKS = {quirks:?}\n"
        ))
    }
}

fn prepare(flash: &Path, config: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(flash).with_context(|| format!("making the flash folder {}", flash.display()))?;
    for (name, text) in FILES.into_iter().chain([("config.py", config)]) {
        let path = flash.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Runs boards until a signal, or the end of standard input if asked to.
///
/// # Errors
/// When the settings are wrong or the flash cannot be prepared.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (interpreter, heap_bytes) = (options.micropython.clone(), heap_bytes(&options.heap)?);
    let world = World { interpreter, heap_bytes, quiet: options.quiet };
    let mut made = Vec::new();
    for (name, board) in options.listed()? {
        let config = options.config(&board)?;
        let mut program = vec!["boot.py".to_owned(), name.clone(), board.address.to_string()];
        program.extend(board.capabilities);
        made.push(Made { name, program, prepare: Box::new(move |flash| prepare(flash, &config)) });
    }
    run_boards(&world, made, options.flash.as_deref(), options.until_eof)
}
