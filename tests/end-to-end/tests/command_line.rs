//! The command line: what is printed where, and how the hub begins and ends.

use std::process::Command;
use std::time::{Duration, Instant};

use end_to_end::{Api, Hub, add_token, binary, until};

fn motehub(arguments: &[&str]) -> (bool, String, String) {
    let done = Command::new(binary()).args(arguments).output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn sigterm_drains_and_ends_well_within_five_seconds() {
    let mut hub = Hub::start(&[]);
    hub.api.get("/overview");
    let start = Instant::now();
    let status = hub.terminate();
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_token_is_printed_alone_and_works_while_a_hub_runs() {
    let hub = Hub::start(&[]);
    let token = add_token(&hub.data(), "second", "viewer");
    assert!(!token.contains(char::is_whitespace), "{token:?}");
    let viewer = Api { token, ..hub.api.clone() };
    assert_eq!(viewer.get("/me")["role"], "viewer");
    let (done, printed, said) =
        motehub(&["token", "add", "second", "--role", "viewer", "--data", &hub.data().display().to_string()]);
    assert!(!done && printed.is_empty() && said.contains("second"), "{printed} {said}");
}

#[test]
fn a_user_gets_a_one_time_password_and_must_change_it() {
    let hub = Hub::start(&[]);
    let data = hub.data().display().to_string();
    let (done, password, said) = motehub(&["user", "add", "Ada", "--role", "engineer", "--data", &data]);
    assert!(done, "{said}");
    let nobody = Api { token: String::new(), ..hub.api.clone() };
    let login = serde_json::json!({ "name": "ada", "password": password.trim() });
    let (status, me) = nobody.call("POST", "/login", Some(&login));
    assert_eq!((status, &me["must_change_password"]), (200, &serde_json::json!(true)), "{me}");
}

#[test]
fn a_wrong_setting_is_an_error_that_names_it() {
    let cases: [(&[&str], &str); 6] = [
        (&["serve"], "--data DIR"),
        (&["serve", "--data", "/proc/nowhere"], "/proc/nowhere"),
        (&["serve", "--data", "/tmp/x", "--http", "nonsense"], "http"),
        (&["serve", "--data", "/tmp/x", "--mqtt-anonymous", "a/#/b"], "mqtt-anonymous"),
        (&["serve", "--data", "/tmp/x", "--config", "/does/not/exist"], "/does/not/exist"),
        (&["user", "add", "Bo", "--role", "king", "--data", "/tmp/x"], "admin"),
    ];
    for (arguments, expected) in cases {
        let (done, printed, said) = motehub(arguments);
        assert!(!done && printed.is_empty() && said.contains(expected), "{arguments:?}: {printed} {said}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let hub = Hub::start(&[]);
    let folder = hub.data().join("../other").display().to_string();
    let (done, _, said) =
        motehub(&["serve", "--data", &folder, "--http", &hub.http(), "--mqtt", "127.0.0.1:0"]);
    assert!(!done && said.contains(&hub.http()), "{said}");
}

#[test]
fn a_second_hub_on_the_same_folder_is_refused() {
    let hub = Hub::start(&[]);
    let data = hub.data().display().to_string();
    let (done, _, said) =
        motehub(&["serve", "--data", &data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
    assert!(!done && said.contains("another hub runs on"), "{said}");
}

#[test]
fn a_hub_opens_as_many_files_as_it_may_and_says_when_that_is_too_few() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Hub::start_on(folder.into(), &["prlimit", "--nofile=300:700"], &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hub.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().filter(|word| *word == "700").count(), 2, "soft and hard: {line}");
    let said = || hub.log.lock().expect("the log").contains("LimitNOFILE").then_some(());
    until("it says that its limits need more", said);
}

#[test]
fn every_command_explains_itself() {
    for command in [&["--help"][..], &["serve", "--help"], &["demo", "--help"], &["sim", "nodemcu", "--help"]]
    {
        let (done, printed, _) = motehub(command);
        assert!(done && printed.contains("Usage:"), "{command:?}");
    }
}
