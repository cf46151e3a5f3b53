//! Devices of one's own over CoAP with DTLS, as libcoap speaks it (Debian's `coap-client`, with OpenSSL and with GnuTLS),
//! over a network that loses a tenth of everything: found out about, heard, told, updated; and what strangers get.

#[expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#[path = "../../../crates/protocol/tests/clients/lossy.rs"]
mod lossy;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use end_to_end::{Fleet, Hub, until, until_within};
use lossy::Lossy;
use serde_json::{Value, json};

const PROGRAMS: [&str; 2] = ["coap-client-openssl", "coap-client-gnutls"];
/// Larger than what one answer holds by far.
const SOURCE_BYTES: usize = 64 * 1024;

struct Device<'a> {
    hub: &'a Hub,
    id: String,
    identity: String,
    key: String,
    at: SocketAddr,
}

fn address(hub: &Hub, listener: &str) -> SocketAddr {
    hub.ready[listener].as_str().expect("it is in the ready line").parse().expect("an address")
}

fn device<'a>(hub: &'a Hub, name: &str, at: SocketAddr) -> Device<'a> {
    let wanted = json!({ "name": name, "dialect": "native", "external_id": name });
    let id = hub.api.post("/devices", &wanted)["id"].as_str().expect("an id").to_owned();
    let key = hub.api.get(&format!("/devices/{id}/coap-key"));
    assert_eq!(key["identity"], id.as_str());
    let key = key["key"].as_str().expect("a key").to_owned();
    Device { hub, id, identity: name.to_owned(), key, at }
}

impl Device<'_> {
    fn command(&self, program: &str, words: &[&str], path: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-B", "60", "-v", "4", "-u", &self.identity, "-k", &self.key]).args(words);
        command.arg(format!("coaps://{}/devices/{}/{path}", self.at, self.identity));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a program of libcoap. Returns what it wrote.
    fn run(&self, program: &str, words: &[&str], path: &str) -> String {
        let done = self.command(program, words, path).output();
        let done = done.unwrap_or_else(|error| panic!("{program}: {error}; run xtask/setup.sh test"));
        text(&done)
    }

    fn post(&self, program: &str, kind: &str, payload: &Value) -> String {
        self.run(program, &["-m", "post", "-t", "50", "-e", &payload.to_string()], kind)
    }

    fn get(&self, program: &str, kind: &str) -> Value {
        let said = self.run(program, &["-m", "get"], kind);
        serde_json::from_str(said.trim()).unwrap_or(Value::String(said))
    }

    fn api(&self, path: &str) -> Value {
        self.hub.api.get(&format!("/devices/{}{path}", self.id))
    }
}

fn text(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// How long an update may take on a busy machine: it has a health window of half a minute.
const UPDATED_MAX: Duration = Duration::from_secs(180);
/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_device_is_found_out_about_heard_and_told_over_dtls() {
    let hub = Hub::start(&["--coaps", "127.0.0.1:0"]);
    let lossy = Lossy::start(address(&hub, "coaps"));
    for (number, program) in PROGRAMS.into_iter().enumerate() {
        let lamp = device(&hub, &format!("lamp-{number}"), lossy.address);
        let list = Command::new(program)
            .args(["-B", "60", "-u", &lamp.identity, "-k", &lamp.key, "-m", "get"])
            .arg(format!("coaps://{}/.well-known/core", lamp.at))
            .output();
        let list = text(&list.expect("it runs"));
        assert!(list.contains(&format!("</devices/{}/command>", lamp.id)), "{program}: {list}");

        assert_eq!(lamp.post(program, "telemetry", &json!({ "t": 21.5 })).trim(), "");
        let metrics = lamp.api("/metrics");
        assert_eq!(metrics["items"][0]["metric"], "t", "stored when it was answered: {metrics}");
        let announcement = json!({ "protocol": 1, "model": "board", "capabilities": ["relay"] });
        lamp.post(program, "announce", &announcement);
        assert_eq!(lamp.api("")["report"]["model"], "board");
        let refused = lamp.post(program, "announce", &json!({ "model": "board" }));
        assert!(refused.contains("protocol: say which"), "{program}: {refused}");

        let command = json!({ "name": "relay", "args": { "on": true }, "device": lamp.id });
        hub.api.post("/commands", &command);
        let order = lamp.get(program, "command");
        assert_eq!((&order["name"], &order["args"]), (&json!("relay"), &json!({ "on": true })), "{order}");
        lamp.post(program, "reply", &json!({ "id": order["id"], "ok": true, "result": 1 }));
        assert_eq!(lamp.api("/commands")["items"][0]["state"], "Done");
        assert_eq!(lamp.get(program, "command"), "", "it is answered");

        let desired = json!({ "state": { "desired": { "on": true } } });
        hub.api.call("PATCH", &format!("/devices/{}/shadow", lamp.id), Some(&desired));
        assert_eq!(lamp.get(program, "delta")["state"], json!({ "on": true }));
        lamp.post(program, "shadow", &json!({ "state": { "reported": { "on": true } } }));
        let shadow = lamp.get(program, "shadow");
        assert_eq!(shadow["state"]["reported"], json!({ "on": true }), "{shadow}");
    }
}

#[test]
fn a_device_observes_what_waits_for_it() {
    let hub = Hub::start(&["--coaps", "127.0.0.1:0"]);
    let lossy = Lossy::start(address(&hub, "coaps"));
    let lamp = device(&hub, "lamp", lossy.address);
    let seen = tempfile::NamedTempFile::new().expect("a file");
    let mut observing = lamp.command(PROGRAMS[0], &["-s", "300", "-m", "get"], "command");
    let _observing = Ended(observing.stdout(seen.reopen().expect("a file")).spawn().expect("it runs"));
    until("it is online", || (lamp.api("")["online"] == true).then_some(()));
    hub.api.post("/commands", &json!({ "name": "relay", "args": 7, "device": lamp.id }));
    until("it is told", || {
        let seen = std::fs::read_to_string(seen.path()).expect("a text");
        seen.contains("\"name\":\"relay\"").then_some(())
    });
}

#[test]
fn a_device_is_updated_over_dtls() {
    let hub = Hub::start(&["--coaps", "127.0.0.1:0"]);
    let lossy = Lossy::start(address(&hub, "coaps"));
    let lamp = device(&hub, "lamp", lossy.address);
    let program = PROGRAMS[0];
    let source = "-- a long line of a comment, again and again\n".repeat(2_000);
    let source = &source[..SOURCE_BYTES];
    let script = json!({ "name": "blink", "language": "lua", "source": source });
    let script = hub.api.post("/scripts", &script);
    hub.api.post("/deployments", &json!({ "script": script["id"], "devices": [lamp.id] }));
    let offer = lamp.get(program, "offer");
    assert_eq!(offer["size"], SOURCE_BYTES, "{offer}");
    let folder = tempfile::tempdir().expect("a folder");
    let got = folder.path().join("got");
    let digest = offer["digest"].as_str().expect("a digest");
    let to = got.to_str().expect("a path");
    lamp.run(program, &["-m", "get", "-o", to], &format!("artifacts/{digest}"));
    assert!(std::fs::read(&got).expect("it was written") == source.as_bytes(), "64 kB came in blocks");
    for state in ["Fetching", "Applying", "Done"] {
        lamp.post(program, "task", &json!({ "digest": digest, "state": state }));
    }
    assert_eq!(lamp.api("/tasks")["items"][0]["state"], "Done");
    assert_eq!(lamp.get(program, "offer"), "", "nothing waits any more");
    let foreign = format!("artifacts/sha256:{}", "0".repeat(64));
    assert!(lamp.run(program, &["-m", "get"], &foreign).contains("4.04"), "what is not meant for it");

    // A large message goes in blocks too.
    let batch: Vec<Value> =
        (0..1_000).map(|n| json!({ "values": { "n": n }, "ts": 1_700_000_000 + n })).collect();
    let file = folder.path().join("batch");
    std::fs::write(&file, Value::from(batch).to_string()).expect("it is written");
    let from = file.to_str().expect("a path");
    let said = lamp.run(program, &["-m", "post", "-b", "1024", "-t", "50", "-f", from], "telemetry");
    assert_eq!(said.trim(), "");
}

#[test]
fn strangers_are_not_let_in() {
    let hub = Hub::start(&["--coaps", "127.0.0.1:0", "--coap", "127.0.0.1:0"]);
    let lamp = device(&hub, "lamp", address(&hub, "coaps"));
    let other = device(&hub, "other", lamp.at);
    let say = |identity: &str, key: &str, path: &str| {
        let done = Command::new(PROGRAMS[0])
            .args([
                "-B",
                "5",
                "-v",
                "4",
                "-u",
                identity,
                "-k",
                key,
                "-m",
                "post",
                "-t",
                "50",
                "-e",
                "{\"t\":1}",
            ])
            .arg(format!("coaps://{}{path}", lamp.at))
            .output();
        text(&done.expect("it runs"))
    };
    // A wrong key, an unknown identity, and the id of another device.
    say("lamp", "a-key-that-nobody-was-ever-given", "/devices/lamp/telemetry");
    say("nobody", &lamp.key, "/devices/lamp/telemetry");
    assert!(say("other", &other.key, "/devices/lamp/telemetry").contains("4.03"));
    // Without encryption it is not let in either, until its address is allowed.
    let plain = |path: &str| {
        let done = Command::new("coap-client-notls")
            .args(["-B", "5", "-v", "4", "-m", "post", "-t", "50", "-e", "{\"t\":1}"])
            .arg(format!("coap://{}{path}", address(&hub, "coap")))
            .output();
        text(&done.expect("it runs"))
    };
    assert!(plain("/devices/lamp/telemetry").contains("4.01"));
    assert_eq!(lamp.api("/metrics")["items"], json!([]));
    let allowed = json!({ "unauthenticated_allowed": true, "allowed_from": "127.0.0.1" });
    let edited = hub.api.call("PATCH", &format!("/devices/{}", lamp.id), Some(&allowed));
    assert_eq!(edited.0, 200, "{}", edited.1);
    plain("/devices/lamp/telemetry");
    assert_eq!(lamp.api("/metrics")["items"][0]["metric"], "t");
    assert!(plain("/devices/other/telemetry").contains("4.01"), "only the device that was switched on");
    assert_eq!(other.api("/metrics")["items"], json!([]));
    // A key that was taken back is good for nothing.
    say("lamp", &lamp.key, "/devices/lamp/telemetry");
    let revoked = hub.api.call("DELETE", &format!("/devices/{}/credential", other.id), None);
    assert_eq!(revoked.0, 204);
    say("other", &other.key, "/devices/other/telemetry");
    assert_eq!(other.api("/metrics")["items"], json!([]));
    assert!(
        Path::new("/usr/bin/coap-client-gnutls").exists(),
        "both programs are there: xtask/setup.sh test"
    );
}

#[test]
fn virtual_boards_are_told_updated_and_missed_and_come_back_to_a_hub_that_was_started_anew() {
    const BOARDS: usize = 8;
    const COME_BACK_MAX: Duration = Duration::from_secs(240);
    let mut hub = Hub::start(&["--coaps", "127.0.0.1:0"]);
    let coaps = address(&hub, "coaps");
    let boards: Vec<(String, String)> = (0..BOARDS)
        .map(|number| {
            let board = device(&hub, &format!("board-{number}"), coaps);
            (board.id, board.key)
        })
        .collect();
    let ids: Vec<&str> = boards.iter().map(|(id, _)| id.as_str()).collect();
    for id in &ids {
        let edit = json!({ "silence_max_seconds": 20 });
        assert_eq!(hub.api.call("PATCH", &format!("/devices/{id}"), Some(&edit)).0, 200);
    }
    let network = ["--loss", "5", "--delay-ms", "20", "--measure-ms", "2000", "--speed", "30"];
    let mut fleet = Fleet::coap(&hub, coaps, &boards, &network);
    let online = |hub: &Hub, count: usize| {
        until(&format!("{count} are online"), || {
            let (_, list) = hub.api.call("GET", "/devices?selector=online", None);
            (list["total"] == count).then_some(())
        });
    };
    online(&hub, BOARDS);
    let command = json!({ "name": "relay", "args": { "on": true }, "devices": ids });
    hub.api.post("/commands", &command);
    for id in &ids {
        until("a command is done", || {
            let list = hub.api.get(&format!("/devices/{id}/commands"));
            (list["items"][0]["state"] == "Done").then_some(())
        });
    }
    let source = "-- a line of a comment\n".repeat(1_000);
    let script = hub.api.post("/scripts", &json!({ "name": "blink", "language": "lua", "source": source }));
    hub.api.post("/deployments", &json!({ "script": script["id"], "devices": ids }));
    for id in &ids {
        until_within(UPDATED_MAX, "a board is updated", || {
            let list = hub.api.get(&format!("/devices/{id}/tasks"));
            (list["items"][0]["state"] == "Done").then_some(())
        });
    }
    // One is switched off: it alone is missed. It is switched on, and is there again.
    fleet.order(&json!({ "board": ids[0], "do": "power_off" }));
    online(&hub, BOARDS - 1);
    fleet.order(&json!({ "board": ids[0], "do": "reboot" }));
    online(&hub, BOARDS);
    // After a new start of the hub they find out by themselves that their sessions are gone.
    hub.again_with(&["--coaps", &coaps.to_string()]);
    until_within(COME_BACK_MAX, "all are back", || {
        let (_, list) = hub.api.call("GET", "/devices?selector=online", None);
        (list["total"] == BOARDS).then_some(())
    });
}
