//! The example of several nodes in `deploy/scale-out`: the programs that it is for take each file as it is, and what it
//! speaks of exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::binary;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    let path = root().join("deploy/scale-out").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a program says that must like what it is shown.
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; xtask/setup.sh test"));
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn haproxy_and_nats_and_systemd_take_their_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = |name: &str| folder.path().join(name);
    fs::write(here("haproxy.cfg"), read("haproxy.cfg")).expect("it is written");
    must(Command::new("haproxy").args(["-c", "-f"]).arg(here("haproxy.cfg")));

    let certified = rcgen::generate_simple_self_signed(["bus".to_owned()]).expect("a certificate");
    fs::write(here("nats.pem"), certified.cert.pem()).expect("it is written");
    fs::write(here("nats.key"), certified.signing_key.serialize_pem()).expect("it is written");
    let at = folder.path().display().to_string();
    let settings =
        read("nats.conf").replace("/run/credentials/nats.service", &at).replace("/etc/motehub", &at);
    fs::write(here("nats.conf"), settings).expect("it is written");
    let nats =
        std::env::var_os("NATS_SERVER").map_or(root().join(".tools/venv/bin/nats-server"), PathBuf::from);
    let said = must(
        Command::new(&nats).arg("-t").arg("-c").arg(here("nats.conf")).env("MOTEHUB_BUS_PASSWORD", "secret"),
    );
    assert!(said.contains("is valid"), "{said}");

    let unit = read("nats.service").replace("/usr/local/bin/nats-server", &nats.display().to_string());
    fs::write(here("nats.service"), unit).expect("it is written");
    let said = must(Command::new("systemd-analyze").arg("verify").arg(here("nats.service")));
    assert!(!said.contains("nats.service:"), "{said}");
}

#[test]
fn each_setting_of_a_node_is_one_that_the_program_has() {
    let help = must(Command::new(binary()).args(["serve", "--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |name: &str| {
        assert!(help.contains(&format!("[env: {name}")), "{name} is no setting:\n{help}");
    };
    let (settings, compose) = (read("motehub.env"), read("compose.yaml"));
    let of_env = settings.lines().filter(|line| line.starts_with("MOTEHUB_"));
    let mut names: BTreeSet<&str> =
        of_env.filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let of_compose =
        compose.lines().map(str::trim).filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
    names.extend(of_compose.filter(|name| name.starts_with("MOTEHUB_")));
    assert!(names.contains("MOTEHUB_STORE") && names.contains("MOTEHUB_BUS") && names.len() > 6, "{names:?}");
    names.into_iter().for_each(has);
}

#[test]
fn the_dashboard_for_grafana_shows_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).expect("JSON");
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            shown.extend(words.filter(|word| word.starts_with("motehub_")).map(str::to_owned));
        }
    }
    assert!(shown.len() > 10, "{shown:?}");
    let source = sources(&root().join("crates"));
    for metric in &shown {
        assert!(source.contains(metric), "{metric} is counted nowhere");
    }
}

/// All Rust of a folder as one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("tests") {
            text += &sources(&path);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text += &fs::read_to_string(&path).expect("a file");
        }
    }
    text
}
