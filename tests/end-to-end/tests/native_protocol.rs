//! The pages about the native protocol: their examples run as written, against a real hub.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{Hub, WAIT_MAX, until};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const MARK: &str = "=== example";

/// The text behind each fence of a page, with its language.
fn fences(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, body))) => *body += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found
}

fn native_device(hub: &Hub, external_id: &str) -> (String, String) {
    let device = json!({ "name": external_id, "dialect": "native", "external_id": external_id });
    let made = hub.api.post("/devices", &device);
    let field = |name: &str| made[name].as_str().expect("a text").to_owned();
    (field("id"), field("credential"))
}

/// Whether a line is as written, where `…` stands for anything.
fn is_as_written(line: &str, written: &str) -> bool {
    let mut parts = written.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    for part in parts {
        match rest.rfind(part) {
            Some(at) if part.is_empty() => rest = &rest[at..],
            Some(_) => match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            },
            None => return false,
        }
    }
    rest.is_empty() || written.ends_with('…')
}

#[test]
fn the_examples_of_the_reference_run_as_written() {
    let hub = Hub::start(&["--coaps", "127.0.0.1:0"]);
    let (id, credential) = native_device(&hub, "lamp-1");
    let coaps = format!("coaps://{}", hub.ready["coaps"].as_str().expect("it listens"));
    let (host, port) = {
        let address = hub.mqtt();
        let (host, port) = address.rsplit_once(':').expect("a port");
        (host.to_owned(), port.to_owned())
    };
    let fences = fences("reference/native-protocol.md");
    let mut script = "set -eu\n".to_owned();
    let mut expected = Vec::new();
    for (at, (language, body)) in fences.iter().enumerate() {
        if language == "sh" {
            script += &format!("echo '{MARK}'\n{body}");
            let next = fences.get(at + 1).filter(|(language, _)| language == "text");
            expected.push((body, next.map(|(_, text)| text)));
        }
    }
    assert!(expected.len() >= 12, "the page has {} examples", expected.len());
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Command::new("bash")
        .current_dir(folder.path())
        .env("HUB", &hub.api.base)
        .env("MQTT", format!("-h {host} -p {port}"))
        .env("DEVICE", "lamp-1")
        .env("CREDENTIAL", credential)
        .env("TOKEN", &hub.api.token)
        .env("COAPS", coaps)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash");
    shell.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("bash reads");
    let done = shell.wait_with_output().expect("it ends");
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}\n{errors}");
    let outputs: Vec<&str> = said.split(&format!("{MARK}\n")).skip(1).collect();
    assert_eq!(outputs.len(), expected.len(), "{said}");
    for ((body, expected), output) in expected.into_iter().zip(outputs) {
        let written: Vec<&str> = expected.map(|text| text.lines().collect()).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let fits = written.len() == lines.len();
        let fits = fits && lines.iter().zip(&written).all(|(line, written)| is_as_written(line, written));
        assert!(fits, "example:\n{body}\nwritten:\n{written:#?}\ngot:\n{lines:#?}\n{errors}");
    }
    let device = hub.api.get(&format!("/devices/{id}"));
    assert_eq!(device["report"]["attributes"], json!({ "room": "kitchen", "rssi": -61 }));
    let log = hub.api.get(&format!("/devices/{id}/log"));
    assert_eq!(log["items"][0]["text"], "hello");
    assert_eq!(hub.api.get(&format!("/devices/{id}/tasks"))["items"][0]["state"], "Done");
    let commands = hub.api.get(&format!("/devices/{id}/commands"));
    assert_eq!(commands["items"][0]["state"], "Done", "{commands}");
    let metrics = hub.api.get(&format!("/devices/{id}/metrics"));
    let names: Vec<&Value> =
        metrics["items"].as_array().expect("a list").iter().map(|m| &m["metric"]).collect();
    assert_eq!(names, ["h", "open", "t"]);
}

/// A device on a WebSocket.
struct Socket {
    runtime: Runtime,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    fn open(hub: &Hub, id: &str, credential: &str) -> Result<Self, tungstenite::Error> {
        let runtime = Runtime::new().expect("a runtime");
        let address = format!("ws://{}/devices/{id}/ws", hub.http());
        let mut request = address.into_client_request().expect("an address");
        let bearer = format!("Bearer {credential}").parse().expect("a header");
        request.headers_mut().insert("Authorization", bearer);
        let (stream, _) = runtime.block_on(tokio_tungstenite::connect_async(request))?;
        Ok(Self { runtime, stream })
    }

    fn say(&mut self, frame: Message) {
        self.runtime.block_on(self.stream.send(frame)).expect("it is sent");
    }

    fn say_json(&mut self, frame: &Value) {
        self.say(Message::text(frame.to_string()));
    }

    /// The next frame with something in it.
    fn told(&mut self) -> Message {
        let next = async {
            loop {
                match self.stream.next().await.expect("it is open").expect("a frame") {
                    Message::Ping(_) | Message::Pong(_) => {}
                    frame => return frame,
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(WAIT_MAX, next).await.expect("it is told") })
    }

    fn told_json(&mut self) -> Value {
        let frame = self.told();
        serde_json::from_str(frame.to_text().expect("a text")).expect("JSON")
    }
}

#[test]
fn a_device_speaks_over_a_websocket() {
    let hub = Hub::start(&[]);
    let (id, credential) = native_device(&hub, "lamp-1");
    for (name, secret) in [("lamp-1", "wrong"), ("lamp-2", &*credential)] {
        match Socket::open(&hub, name, secret).err() {
            Some(tungstenite::Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
            other => panic!("{other:?}"),
        }
    }
    let mut lamp = Socket::open(&hub, "lamp-1", &credential).expect("it is let in");
    until("it is online", || (hub.api.get(&format!("/devices/{id}"))["online"] == true).then_some(()));
    lamp.say_json(&json!({ "kind": "announce", "id": 1, "payload": { "protocol": 1, "model": "ws" } }));
    assert_eq!(lamp.told_json(), json!({ "ack": 1 }));
    // Many may be on their way; each is acknowledged by its id.
    for n in 2..40 {
        lamp.say_json(&json!({ "kind": "telemetry", "id": n, "payload": { "n": n } }));
    }
    let mut acknowledged: Vec<i64> =
        (2..40).map(|_| lamp.told_json()["ack"].as_i64().expect("a number")).collect();
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, (2..40).collect::<Vec<_>>());
    let points = hub.api.get(&format!("/devices/{id}/telemetry"));
    assert_eq!(points["items"].as_array().map(Vec::len), Some(38), "what is acknowledged is stored");
    lamp.say_json(&json!({ "kind": "telemetry", "id": 40, "payload": [{ "t": 1 }, { "": 2 }] }));
    let told = lamp.told_json();
    assert!(told["refused"].as_str().is_some_and(|why| why.contains("item 1")), "{told}");
    lamp.say_json(&json!({ "kind": "song", "id": 41, "payload": {} }));
    let told = lamp.told_json();
    assert!(told["error"].as_str().is_some_and(|why| why.contains("no kind of message")), "{told}");
    lamp.say(Message::text("nonsense"));
    assert!(lamp.told_json()["error"].is_string());

    // What it is told, and what it answers.
    let asked = hub.api.post("/commands", &json!({ "name": "relay", "args": [1], "device": id }));
    let told = lamp.told_json();
    assert_eq!((&told["kind"], &told["payload"]["args"]), (&json!("command"), &json!([1])));
    assert_eq!(told["payload"]["id"], asked["id"]);
    lamp.say_json(&json!({ "kind": "reply", "id": 50, "payload": { "id": asked["id"], "ok": true } }));
    assert_eq!(lamp.told_json(), json!({ "ack": 50 }));
    assert_eq!(hub.api.get(&format!("/devices/{id}/commands"))["items"][0]["state"], "Done");
    let deployment = hub.api.deploy(&hub.api.script("blink", "print(1)"), 1, &id);
    let offer = lamp.told_json();
    assert_eq!((&offer["kind"], &offer["payload"]["size"]), (&json!("offer"), &json!(8)));
    for state in ["Fetching", "Applying", "Done"] {
        let payload = json!({ "digest": offer["payload"]["digest"], "state": state });
        lamp.say_json(&json!({ "kind": "task", "id": 60, "payload": payload }));
        assert_eq!(lamp.told_json(), json!({ "ack": 60 }));
    }
    assert_eq!(hub.api.task(&deployment).0, "Done");

    // CBOR as binary frames: {"kind": "log", "id": 7, "payload": "hello"}, answered in kind: {"ack": 7}.
    lamp.say(Message::binary(&b"\xa3\x64kind\x63log\x62id\x07\x67payload\x65hello"[..]));
    assert_eq!(lamp.told().into_data(), b"\xa1\x63ack\x07"[..]);
    assert_eq!(hub.api.get(&format!("/devices/{id}/log"))["items"][0]["text"], "hello");

    // A credential that is revoked ends it.
    hub.api.call("DELETE", &format!("/devices/{id}/credential"), None);
    let is_offline = || (hub.api.get(&format!("/devices/{id}"))["online"] == false).then_some(());
    until("it is offline", is_offline);
    assert!(Socket::open(&hub, "lamp-1", &credential).is_err());
}

#[test]
fn the_client_of_the_guide_takes_a_script() {
    let hub = Hub::start(&[]);
    let (id, credential) = native_device(&hub, "my-board");
    let fences = fences("guide/write-your-own-client.md");
    let (_, client) = fences.iter().find(|(language, _)| language == "python").expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("client.py"), client).expect("it is written");
    let mut running = Command::new("python3")
        .arg("client.py")
        .current_dir(folder.path())
        .env("HUB", &hub.api.base)
        .env("DEVICE", "my-board")
        .env("CREDENTIAL", credential)
        .spawn()
        .expect("python3");
    let online = || (hub.api.get(&format!("/devices/{id}"))["online"] == true).then_some(());
    until("the client asks for what waits for it", online);
    let source = "print('hello')\n".repeat(200);
    let script = hub.api.script("hello", &source);
    let deployment = hub.api.deploy(&script, 1, &id);
    until("the task is Done", || (hub.api.task(&deployment).0 == "Done").then_some(()));
    let kept = std::fs::read_to_string(folder.path().join("script.lua")).expect("the script");
    assert_eq!(kept, source);
    let device = hub.api.get(&format!("/devices/{id}"));
    assert_eq!((&device["report"]["model"], &device["running"]["version"]), (&json!("python"), &json!(1)));
    let asked = hub.api.post("/commands", &json!({ "name": "ping", "device": id }));
    let path = format!("/commands/{}/executions", asked["id"].as_str().expect("an id"));
    let answered = || {
        let execution = hub.api.get(&path)["items"][0].clone();
        (execution["state"] == "Done").then_some(execution)
    };
    assert_eq!(until("the command is Done", answered)["result"], "pong");
    let _ = running.kill();
    let _ = running.wait();
}
