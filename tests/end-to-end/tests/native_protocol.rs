//! The pages about the native protocol: their examples run as written, against a real hub.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{Hub, until};
use serde_json::{Value, json};

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
    let hub = Hub::start(&[]);
    let (id, credential) = native_device(&hub, "lamp-1");
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
