//! `motehub ctl` with hubs elsewhere: a kept login, https, and what happens told as it happens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use end_to_end::{Front, Hub, Publisher, binary, until};
use serde_json::{Value, json};

/// The program with a home of its own, where no hub or token is named.
fn motehub(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("XDG_CONFIG_HOME", home).stdin(Stdio::null());
    for name in ["MOTEHUB_HUB", "MOTEHUB_TOKEN", "MOTEHUB_CA"] {
        command.env_remove(name);
    }
    command
}

/// What a command of `ctl` says, with its exit code.
fn ctl(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(&motehub(home, &[&["ctl"], arguments].concat()).output().expect("the program runs"))
}

fn said(done: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr))
}

/// Keeps the token of a hub, given on the standard input.
fn login(home: &Path, hub: &Hub, more: &[&str]) -> (i32, String, String) {
    fs::create_dir_all(home).expect("it is made");
    let file = home.join("token");
    fs::write(&file, format!("{}\n", hub.api.token)).expect("it is written");
    let input = fs::File::open(&file).expect("it is there");
    said(&motehub(home, &[&["ctl", "login"], more].concat()).stdin(input).output().expect("the program runs"))
}

/// A command that goes on until it is dropped.
struct Tail {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Tail {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut command = motehub(home, &[&["ctl"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    /// The next line that fits.
    fn await_line(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let mut text = String::new();
        loop {
            text.clear();
            assert_ne!(self.lines.read_line(&mut text).expect("a line"), 0, "it ended");
            let line: Value = serde_json::from_str(&text).expect("JSON");
            if fits(&line) {
                return line;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder")
}

#[test]
fn a_login_is_kept_for_its_hub_alone_and_forgotten() {
    let (hub, place) = (Hub::start(&[]), place());
    let home = place.path();
    assert_eq!(ctl(home, &["doctor"]).0, 2, "nothing is known yet");
    let (code, printed, said) = login(home, &hub, &["--hub", &hub.api.base]);
    assert!(code == 0 && printed.contains("role admin"), "{printed} {said}");
    let kept = home.join("motehub/ctl.toml");
    assert_eq!(fs::metadata(&kept).expect("a file").permissions().mode() & 0o777, 0o600);
    let (code, printed, said) = ctl(home, &["device", "list"]);
    assert_eq!(code, 0, "{printed} {said}");
    // A token is not shown to another hub.
    let (code, _, said) = ctl(home, &["doctor", "--hub", "http://127.0.0.1:1"]);
    assert!(code == 2 && said.contains("no token for http://127.0.0.1:1"), "{said}");
    fs::write(&kept, "hub = 7").expect("it is written");
    let (code, _, said) = ctl(home, &["doctor"]);
    assert!(code == 1 && said.contains("ctl login") && said.contains("ctl.toml"), "{said}");
    assert_eq!(ctl(home, &["logout"]).0, 0);
    assert!(!kept.exists());
    assert_eq!(ctl(home, &["logout"]).0, 0);
    let wrong = home.join("wrong");
    fs::write(&wrong, "mht_wrong").expect("it is written");
    let arguments = ["login", "--hub", &hub.api.base, "--token-file", &wrong.display().to_string()];
    assert_eq!(ctl(home, &arguments).0, 1);
    assert!(!kept.exists(), "what does not work is not kept");
}

#[test]
fn the_doctor_looks_at_clock_disk_listeners_and_backups() {
    let (hub, place) = (Hub::start(&["--mqtt-tls", "127.0.0.1:0", "--mqtt-anonymous", "open/#"]), place());
    let home = place.path();
    assert_eq!(login(home, &hub, &["--hub", &hub.api.base]).0, 0);
    let (code, printed, said) = ctl(home, &["doctor"]);
    assert_eq!(code, 0, "{printed} {said}");
    let expected = [
        "ok    clock",
        "MB are free",
        "ok    mqtt ",
        "ok    mqtt tls",
        "4096-01-01",
        "none was ever",
        "open/#",
    ];
    for part in expected {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert_eq!(ctl(home, &["backup", &place.path().join("b").display().to_string()]).0, 0);
    let (_, printed, _) = ctl(home, &["doctor", "--json"]);
    let found: Value = serde_json::from_str(&printed).expect("JSON");
    assert!(found["system"]["last_backup_at"].is_string(), "{found}");
    let marks = found["findings"].as_array().expect("findings").iter();
    assert!(marks.into_iter().any(|it| it["what"] == "backup" && it["mark"] == "ok"), "{found}");
}

#[test]
fn https_proves_the_hub_and_says_what_is_wrong_with_a_certificate() {
    let (hub, place) = (Hub::start(&[]), place());
    let authority = place.path().join("ca.pem");
    let ca = authority.display().to_string();
    let home = place.path().join("home");
    let front = Front::start(&hub.http(), "localhost", false, &authority);
    let address = format!("https://localhost:{}", front.address.port());
    let refused = |arguments: &[&str], part: &str| {
        let (code, printed, said) = login(&home, &hub, arguments);
        assert!(code == 1 && said.contains(part), "{arguments:?}: {printed} {said}");
    };
    refused(&["--hub", &address], "--ca FILE");
    refused(&["--hub", &format!("https://{}", front.address), "--ca", &ca], "other names");
    refused(&["--hub", &format!("https://{}", hub.http()), "--ca", &ca], "http://");
    refused(&["--hub", &address, "--ca", "/does/not/exist"], "/does/not/exist");
    assert_eq!(login(&home, &hub, &["--hub", &address, "--ca", &ca]).0, 0);
    assert!(ctl(&home, &["device", "list"]).1.contains("NAME"), "hub, token and authority are kept");
    // The live connection goes the same way.
    let mut tail = Tail::start(&home, &["activity", "tail", "--json"]);
    tail.await_line(|line| line["kind"] == "token_created");
    hub.api.script("climate", "x = 1\n");
    tail.await_line(|line| line["kind"] == "script_created");

    let late = Front::start(&hub.http(), "localhost", true, &authority);
    refused(&["--hub", &format!("https://localhost:{}", late.address.port()), "--ca", &ca], "has ended");
}

#[test]
fn a_tail_goes_on_behind_what_it_showed_when_the_hub_was_away() {
    let (mut hub, place) = (Hub::start(&[]), place());
    let home = place.path();
    assert_eq!(login(home, &hub, &["--hub", &hub.api.base]).0, 0);
    let make = |hub: &Hub, n: usize| assert_eq!(hub.api.call("POST", "/scripts", Some(&script(n))).0, 201);
    make(&hub, 0);
    let mut tail = Tail::start(home, &["activity", "tail", "--kind", "script_created", "--json"]);
    let mut seen = Vec::new();
    let mut see = || {
        let line = tail.await_line(|line| line["kind"] == "script_created");
        seen.push((line["seq"].as_i64().expect("a number"), line["subject_name"].clone()));
    };
    // The first is one of the last changes; the second was made after those were read, so it comes live.
    see();
    make(&hub, 1);
    see();
    hub.kill();
    hub.again();
    for n in 2..5 {
        make(&hub, n);
        see();
    }
    let names: Vec<String> =
        seen.iter().map(|(_, name)| name.as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"], "each once, in order");
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");
}

fn script(n: usize) -> Value {
    json!({ "name": format!("s{n}"), "language": "lua", "source": "x = 1\n" })
}

#[test]
fn telemetry_is_told_as_it_arrives() {
    let (hub, place) = (Hub::start(&[]), place());
    let home = place.path();
    assert_eq!(login(home, &hub, &["--hub", &hub.api.base]).0, 0);
    let made = hub.api.post("/devices", &json!({ "name": "Lamp", "dialect": "native" }));
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    let (id, credential) = (text("id"), text("credential"));
    let mut tail = Tail::start(home, &["telemetry", "tail", "Lamp", "--metric", "t", "--json"]);
    // Until it listens, points pass by.
    let (told, shown) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let line = tail.await_line(|line| line["metric"] == "t");
        told.send(line).expect("somebody waits");
    });
    let mut connection = Publisher::connect(&hub.mqtt(), &id, &id, &credential).expect("it is let in");
    let topic = format!("devices/{id}/telemetry");
    let line = until("a point is shown", || {
        connection.publish(&topic, 1, r#"{"t":21.5,"other":1}"#).expect("it is sent");
        connection.acknowledged().expect("it is acknowledged");
        shown.try_recv().ok()
    });
    assert_eq!((&line["device"], &line["value"]), (&json!(id), &json!(21.5)));
    reader.join().expect("it ends");
}

#[test]
fn a_reader_that_has_enough_ends_a_tail_without_a_complaint() {
    let (hub, place) = (Hub::start(&[]), place());
    let home = place.path();
    assert_eq!(login(home, &hub, &["--hub", &hub.api.base]).0, 0);
    let mut tail = Tail::start(home, &["activity", "tail", "--json"]);
    tail.await_line(|_| true);
    let Tail { child, lines } = &mut tail;
    // Its reader goes away; the next change has nobody to be told to.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    *lines = BufReader::new(std::process::ChildStdout::from(std::os::fd::OwnedFd::from(reader)));
    let status = until("it ends", || {
        hub.api.call("POST", "/scripts/check", Some(&json!({ "language": "lua", "source": "" })));
        hub.api.call(
            "POST",
            "/tokens",
            Some(&json!({ "name": format!("{:?}", std::time::Instant::now()), "role": "viewer" })),
        );
        child.try_wait().expect("it can be asked")
    });
    assert!(status.success(), "{status}");
}

#[test]
fn shells_get_their_completions() {
    let place = place();
    for shell in ["bash", "zsh", "fish"] {
        let (code, printed, said) =
            said(&motehub(place.path(), &["completions", shell]).output().expect("it runs"));
        assert!(code == 0 && printed.contains("deployment") && printed.contains("--selector"), "{said}");
    }
}
