//! Programs of other people against the real hub: Eclipse paho and the mosquitto clients, for MQTT 3.1.1 and 5.0,
//! plain, with TLS and with WebSocket; the device SDKs of AWS IoT with a certificate of the hub, and one that is revoked;
//! boto3 with an access key.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use end_to_end::{Hub, until};
use serde_json::{Value, json};

/// A hub with all MQTT listeners, a device, and the arguments that the client scripts share.
fn with_device(run: impl FnOnce(&Hub, Vec<String>, &str)) {
    let hub = Hub::start(&["--mqtt-tls", "127.0.0.1:0", "--mqtt-ws", "127.0.0.1:0"]);
    let made = hub
        .api
        .post("/devices", &json!({ "name": "interop", "dialect": "native", "external_id": "bench-1" }));
    let credential = made["credential"].as_str().expect("a credential").to_owned();
    let port = |key: &str| {
        let address = hub.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", hub.ready));
        address.rsplit_once(':').expect("a port").1.to_owned()
    };
    let authority = hub.data().join("tls/ca.pem").display().to_string();
    let pairs = [
        ("--host", "127.0.0.1".to_owned()),
        ("--tcp", port("mqtt")),
        ("--tls", port("mqtt_tls")),
        ("--ws", port("mqtt_ws")),
        ("--ca", authority),
        ("--device-user", "bench-1".to_owned()),
        ("--device-password", credential),
        ("--topic", "devices/bench-1/interop".to_owned()),
    ];
    let arguments = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    run(&hub, arguments, made["id"].as_str().expect("an id"));
}

fn command(script: &str, arguments: &[String]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python: PathBuf =
        std::env::var_os("PYTHON").map_or_else(|| root.join(".tools/venv/bin/python"), Into::into);
    let mut command = Command::new(python);
    command.arg(root.join("tests/interop").join(script)).args(arguments);
    command
}

/// A script that goes on until its standard input ends, and the line that it says first.
fn begun(script: &str, arguments: &[String]) -> (Child, String) {
    let mut command = command(script, arguments);
    let begun = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = begun.unwrap_or_else(|e| panic!("{command:?}: {e}; run xtask/setup.sh test"));
    let mut said = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    assert!(said.contains("awsiot") || said.contains("AWSIoT"), "{script}: {said}");
    (child, said.trim().to_owned())
}

fn python(script: &str, arguments: &[String]) {
    let mut command = command(script, arguments);
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run xtask/setup.sh test"));
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn eclipse_paho_works() {
    with_device(|hub, mut arguments, device| {
        arguments.extend(["--wrong-password", "nonsense"].map(str::to_owned));
        arguments.extend(["--telemetry-topic", "devices/bench-1/telemetry"].map(str::to_owned));
        python("paho_client.py", &arguments);
        let metrics = hub.api.get(&format!("/devices/{device}/metrics"));
        assert_ne!(metrics["items"], json!([]), "what paho published as telemetry is stored");
    });
}

#[test]
fn mosquitto_pub_and_sub_work() {
    with_device(|_, arguments, _| python("mosquitto_clients.py", &arguments));
}

/// A device with a client certificate.
struct Certified {
    /// The arguments that tell a script of it and its hub.
    arguments: Vec<String>,
    fingerprint: String,
    credential: String,
}

fn with_certificate(run: impl FnOnce(&Hub, Certified)) {
    let hub = Hub::start(&["--mqtt-tls", "127.0.0.1:0"]);
    let lamp = json!({ "name": "lamp", "dialect": "native", "external_id": "lamp-1" });
    let lamp = hub.api.post("/devices", &lamp);
    let text = |made: &Value, key: &str| made[key].as_str().expect("a text").to_owned();
    let device = text(&lamp, "id");
    let made = hub.api.post(&format!("/devices/{device}/certificate"), &json!({}));
    let file = |name: &str, field: &str| {
        let path = hub.data().join(name);
        std::fs::write(&path, made[field].as_str().expect("PEM")).expect("because the folder is ours");
        path.display().to_string()
    };
    let http = hub.ready["http"].as_str().expect("an address").to_owned();
    let tls = hub.ready["mqtt_tls"].as_str().and_then(|address| address.rsplit_once(':')).expect("a port");
    let pairs = [
        ("--host", "127.0.0.1".to_owned()),
        ("--tls", tls.1.to_owned()),
        ("--ca", file("authority.pem", "authority")),
        ("--thing", "lamp-1".to_owned()),
        ("--certificate", file("lamp.pem", "certificate")),
        ("--key", file("lamp.key", "private_key")),
        ("--http", http),
        ("--token", hub.api.token.clone()),
        ("--device", device),
    ];
    let arguments = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    let (fingerprint, credential) = (text(&made, "fingerprint"), text(&lamp, "credential"));
    run(&hub, Certified { arguments, fingerprint, credential });
}

#[test]
fn the_device_sdks_of_aws_work() {
    with_certificate(|_, lamp| python("aws_shadow.py", &lamp.arguments));
}

#[test]
fn the_device_sdks_of_aws_run_jobs() {
    with_certificate(|hub, Certified { arguments, credential, .. }| {
        let image: Vec<u8> = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
        let label = [("name", "light"), ("version", "1.3"), ("platform", "stm32")];
        let firmware = hub.api.firmware(&image, &label);
        for sdk in ["First", "FirstWith5", "Second", "SecondWith5", "Older"] {
            let more =
                ["--credential", &credential, "--firmware", &firmware, "--sdk", sdk].map(str::to_owned);
            let arguments = [arguments.clone(), more.to_vec()].concat();
            let (mut running, said) = begun("aws_jobs.py", &arguments);
            let job = said.rsplit(' ').next().expect("a word").to_owned();
            until("the job is done when its device has stayed with the new version", || {
                let (state, reason) = hub.api.task(&job);
                assert!(["Confirming", "Done"].contains(&state.as_str()), "{sdk}: {state} {reason}");
                (state == "Done").then_some(())
            });
            drop(running.stdin.take());
            assert!(running.wait().expect("an end").success(), "{sdk} does not end well");
            eprintln!("{said}");
        }
    });
}

#[test]
fn a_revoked_certificate_ends_the_connection_and_is_refused() {
    with_certificate(|_, Certified { mut arguments, fingerprint, .. }| {
        arguments.extend(["--fingerprint".to_owned(), fingerprint]);
        python("revoked_certificate.py", &arguments);
    });
}

#[test]
fn boto3_works() {
    let hub = Hub::start(&["--aws", "127.0.0.1:0"]);
    hub.api.post("/devices", &json!({ "name": "lamp", "dialect": "native", "external_id": "lamp-1" }));
    let address = |key: &str| hub.ready[key].as_str().expect("an address").to_owned();
    let pairs = [
        ("--endpoint", format!("https://{}", address("aws"))),
        ("--ca", hub.data().join("tls/ca.pem").display().to_string()),
        ("--thing", "lamp-1".to_owned()),
        ("--http", address("http")),
        ("--token", hub.api.token.clone()),
    ];
    let arguments: Vec<String> =
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    python("boto3_shadow.py", &arguments);
}
