//! Virtual boards as a process of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hub::{Hub, binary};
use crate::wait::WAIT_MAX;

/// A running fleet; dropping it ends it.
pub struct Fleet {
    child: Child,
    orders: ChildStdin,
    facts: Receiver<Value>,
    /// Holds a folder per board.
    pub flash: PathBuf,
}

impl Fleet {
    /// Boards of a hub, each with its credential.
    pub fn start(hub: &Hub, boards: &[(u32, &str)]) -> Self {
        let flash = hub.data().join("../flash");
        let mut command = Command::new(binary());
        command.args(["sim", "nodemcu", "--http", &hub.http(), "--mqtt", &hub.mqtt(), "--flash"]).arg(&flash);
        for (chip_id, credential) in boards {
            command.args(["--board", &format!("{chip_id}:{credential}")]);
        }
        Self::run(command, flash)
    }

    /// Boards with the agent (chip id, device id, credential) that fetch scripts from `http`, with more arguments.
    pub fn agents(hub: &Hub, http: &str, boards: &[(u32, String, String)], arguments: &[&str]) -> Self {
        let folder = hub.data().join("..");
        let (flash, list) = (folder.join("flash"), folder.join("boards.txt"));
        let lines =
            boards.iter().map(|(chip_id, device, credential)| format!("{chip_id} {credential} {device}\n"));
        std::fs::write(&list, lines.collect::<String>()).expect("the list of boards is written");
        let mut command = Command::new(binary());
        command.args(["sim", "nodemcu", "--http", http, "--mqtt", &hub.mqtt(), "--flash"]).arg(&flash);
        command.arg("--boards").arg(&list).args(arguments);
        Self::run(command, flash)
    }

    /// WebSocket nodes, with more arguments.
    pub fn websocket(hub: &Hub, arguments: &[&str]) -> Self {
        let address = hub.ready["nodes_ws"].as_str().expect("the listener is in the ready line");
        let mut command = Command::new(binary());
        command.args(["sim", "ws", "--hub", &format!("ws://{address}")]).args(arguments);
        Self::run(command, hub.data())
    }

    /// MicroPython boards with the agent (device id, credential), with more arguments.
    pub fn micropython(hub: &Hub, boards: &[(String, String)], arguments: &[&str]) -> Self {
        Self::micropython_at([&hub.http(), &hub.mqtt()], &hub.data().join("../flash"), &[], boards, arguments)
    }

    /// The same, with a flash of so many bytes for all boards together, which is full when it is full.
    pub fn micropython_on(hub: &Hub, bytes: usize, boards: &[(String, String)], arguments: &[&str]) -> Self {
        let flash = hub.data().join("../flash");
        std::fs::create_dir_all(&flash).expect("a folder");
        let mount = format!("mount -t tmpfs -o size={bytes} flash '{}' && exec \"$@\"", flash.display());
        let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
        Self::micropython_at([&hub.http(), &hub.mqtt()], &flash, &wrapper, boards, arguments)
    }

    /// Boards for which the hub's HTTP and MQTT are at these addresses; `wrapper` is a program that runs them.
    pub fn micropython_at(
        [http, mqtt]: [&str; 2],
        flash: &Path,
        wrapper: &[&str],
        boards: &[(String, String)],
        arguments: &[&str],
    ) -> Self {
        let program = binary().display().to_string();
        let words = [wrapper, &[program.as_str()]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["sim", "micropython", "--http", http, "--mqtt", mqtt, "--flash"]);
        command.arg(flash).args(arguments);
        with_interpreter(&mut command);
        for (device, credential) in boards {
            command.args(["--board", &format!("{device}:{credential}")]);
        }
        Self::run(command, flash.to_owned())
    }

    /// Boards with ESP-FIRMWARE (name, address, what they can do), with more arguments.
    pub fn esp_firmware(hub: &Hub, boards: &[(&str, String, &str)], arguments: &[&str]) -> Self {
        Self::esp_firmware_at(&hub.mqtt(), hub.data().join("../flash"), boards, arguments)
    }

    /// The same for which the hub's MQTT is at this address.
    pub fn esp_firmware_at(
        mqtt: &str,
        flash: PathBuf,
        boards: &[(&str, String, &str)],
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new(binary());
        command.args(["sim", "esp-firmware", "--mqtt", mqtt, "--flash"]).arg(&flash).args(arguments);
        with_interpreter(&mut command);
        for (name, address, capabilities) in boards {
            command.args(["--board", &format!("{name}@{address}={capabilities}")]);
        }
        Self::run(command, flash)
    }

    /// Units, with arguments that say which.
    pub fn line(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["sim", "line"]).args(arguments);
        Self::run(command, PathBuf::new())
    }

    /// RIOT nodes, at addresses that no other test has, with more arguments.
    pub fn riot(hub: &Hub, arguments: &[&str]) -> Self {
        let coap = hub.ready["coap"].as_str().expect("the listener is in the ready line");
        Self::riot_at(hub, coap, arguments)
    }

    /// RIOT nodes for which the hub is at this address, such as that of a gateway.
    pub fn riot_at(hub: &Hub, coap: &str, arguments: &[&str]) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let mut command = Command::new(binary());
        command
            .args(["sim", "riot", "--hub", coap, "--first", &format!("127.{}.{low}.1", high | 64)])
            .args(arguments);
        Self::run(command, hub.data())
    }

    /// Boards that speak the native protocol over CoAP to an address, each with its id and key, with more arguments.
    pub fn coap(hub: &Hub, at: SocketAddr, boards: &[(String, String)], arguments: &[&str]) -> Self {
        let list = hub.data().join("boards");
        let lines = boards.iter().map(|(id, key)| format!("{id} {key}\n"));
        std::fs::write(&list, lines.collect::<String>()).expect("the list of boards is written");
        let mut command = Command::new(binary());
        command.args(["sim", "coap", "--hub", &at.to_string(), "--boards"]).arg(list).args(arguments);
        Self::run(command, hub.data())
    }

    fn run(mut command: Command, flash: PathBuf) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the fleet starts");
        let (sender, facts) = channel();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(fact) = serde_json::from_str(&line)
                    && sender.send(fact).is_err()
                {
                    return;
                }
            }
        });
        let orders = child.stdin.take().expect("it is piped");
        Self { child, orders, facts, flash }
    }

    /// What a unit counted: what it said, and what it was told.
    pub fn count(&mut self, unit: &str) -> Value {
        self.order(&serde_json::json!({ "unit": unit, "do": "count" }));
        self.await_fact("count", |fact| fact["unit"] == unit)
    }

    /// Tells a board what to do, as a line of JSON.
    pub fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").expect("the fleet listens");
    }

    /// The next fact, if there is one within a span.
    pub fn next_fact(&mut self, span: Duration) -> Option<Value> {
        self.facts.recv_timeout(span).ok()
    }

    /// Waits for the next fact of a kind that fits; earlier ones are passed over.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn await_fact(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT_MAX;
        let mut passed = Vec::new();
        loop {
            match self.facts.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(fact) if fact["fact"] == kind && fits(&fact) => return fact,
                Ok(fact) => passed.push(fact.to_string()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no fact {kind}; there were:\n{}", passed.join("\n"))
                }
            }
        }
    }

    /// Waits until a board prints a line that contains a text.
    pub fn await_print(&mut self, part: &str) {
        self.await_fact("print", |fact| fact["text"].as_str().is_some_and(|text| text.contains(part)));
    }
}

/// Says which MicroPython boards run on, unless somebody said so already.
fn with_interpreter(command: &mut Command) {
    if std::env::var_os("MICROPYTHON").is_none() {
        let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/micropython/micropython");
        let is_there = std::path::Path::new(unpacked).exists();
        command.env("MICROPYTHON", if is_there { unpacked } else { "micropython" });
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the boards did last may explain why a test failed.
            for fact in self.facts.try_iter().collect::<Vec<_>>().iter().rev().take(60).rev() {
                eprintln!("{fact}");
            }
        }
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
