//! Programs of other people against the real hub: Eclipse paho and the mosquitto clients, for MQTT 3.1.1 and 5.0,
//! plain, with TLS and with WebSocket; the device SDKs of AWS IoT with a certificate of the hub, and one that is revoked.

use std::path::Path;
use std::process::Command;

use end_to_end::Hub;
use serde_json::json;

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

fn python(script: &str, arguments: &[String]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = std::env::var_os("PYTHON").map_or_else(|| root.join(".tools/venv/bin/python"), Into::into);
    let done = Command::new(&python).arg(root.join("tests/interop").join(script)).args(arguments).output();
    let done = done.unwrap_or_else(|e| panic!("{}: {e}; run xtask/setup.sh test", python.display()));
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

/// A hub with a device that has a client certificate, the arguments that tell a script of them, and the certificate's
/// fingerprint.
fn with_certificate(run: impl FnOnce(Vec<String>, String)) {
    let hub = Hub::start(&["--mqtt-tls", "127.0.0.1:0"]);
    let lamp = json!({ "name": "lamp", "dialect": "native", "external_id": "lamp-1" });
    let device = hub.api.post("/devices", &lamp)["id"].as_str().expect("an id").to_owned();
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
    let arguments: Vec<String> =
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    run(arguments, made["fingerprint"].as_str().expect("a fingerprint").to_owned());
}

#[test]
fn the_device_sdks_of_aws_work() {
    with_certificate(|arguments, _| python("aws_shadow.py", &arguments));
}

#[test]
fn a_revoked_certificate_ends_the_connection_and_is_refused() {
    with_certificate(|mut arguments, fingerprint| {
        arguments.extend(["--fingerprint".to_owned(), fingerprint]);
        python("revoked_certificate.py", &arguments);
    });
}
