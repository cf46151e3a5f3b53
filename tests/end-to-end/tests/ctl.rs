//! `motehub ctl`: a hub worked with from a shell, and what it says when something is wrong.

use std::fs;
use std::process::Command;

use end_to_end::{Api, Fleet, Hub, Publisher, Session, add_token, binary, until};
use serde_json::{Value, json};

fn run(hub: &str, token: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.arg("ctl").args(arguments).env("MOTEHUB_HUB", hub).env("MOTEHUB_TOKEN", token);
    // What the person at this machine keeps is not theirs.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    let done = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr))
}

fn ctl(hub: &Hub, arguments: &[&str]) -> (i32, String, String) {
    run(&hub.api.base, &hub.api.token, arguments)
}

fn done(hub: &Hub, arguments: &[&str]) -> String {
    let (code, printed, said) = ctl(hub, arguments);
    assert_eq!(code, 0, "{arguments:?}: {printed} {said}");
    printed
}

#[test]
fn a_device_is_added_found_by_its_names_and_deleted() {
    let hub = Hub::start(&[]);
    let add = ["device", "add", "Lamp", "--dialect", "nodemcu", "--external-id", "77", "--tag", "porch"];
    assert!(done(&hub, &add).contains("credential"));
    assert!(done(&hub, &["device", "list", "--selector", "tag=porch"]).contains("Lamp"));
    assert!(!done(&hub, &["device", "list", "--search", "nothing"]).contains("Lamp"));
    let shown: Value = serde_json::from_str(&done(&hub, &["device", "show", "77", "--json"])).unwrap();
    assert_eq!(shown["name"], "Lamp");
    let add = ["device", "add", "Lamp", "--dialect", "nodemcu", "--external-id", "78"];
    done(&hub, &add);
    let (code, _, said) = ctl(&hub, &["device", "show", "Lamp"]);
    assert!(code == 1 && said.contains(shown["id"].as_str().unwrap()), "{said}");
    done(&hub, &["device", "delete", "77"]);
    assert_eq!(ctl(&hub, &["device", "show", "77"]).0, 1);
    assert!(done(&hub, &["activity", "list"]).contains("Lamp"));
}

#[test]
fn many_devices_are_grouped_tagged_and_deleted_after_a_look() {
    let hub = Hub::start(&[]);
    for id in ["71", "72", "73"] {
        let name = format!("Lamp {id}");
        done(&hub, &["device", "add", &name, "--dialect", "nodemcu", "--external-id", id, "--tag", "porch"]);
    }
    assert_eq!(done(&hub, &["group", "add", "outside", "tag=porch"]), "outside: 3 members now\n");
    assert_eq!(
        done(&hub, &["group", "set", "Outside", "name in (\"Lamp 71\", \"Lamp 72\")"]),
        "outside: 2 members now\n"
    );
    assert!(!done(&hub, &["group", "members", "outside"]).contains("Lamp 73"));
    let tag = ["device", "tag", "wet", "--selector", "group=outside"];
    let (code, _, said) = ctl(&hub, &tag);
    assert!(
        code == 2 && said.contains("tag 2 devices: Lamp 71, Lamp 72") && said.contains("--yes"),
        "{said}"
    );
    assert_eq!(done(&hub, &[&tag[..], &["--yes"]].concat()), "2 of 2 devices changed\n");
    done(&hub, &["device", "untag", "wet", "--selector", "name ~ 71", "--yes"]);
    assert_eq!(done(&hub, &["device", "list", "--selector", "tag=wet"]).lines().count(), 2);
    let (code, _, said) = ctl(&hub, &["device", "delete", "--selector", "tag <", "--yes"]);
    assert!(code == 1 && said.contains("position 5"), "{said}");
    done(&hub, &["device", "delete", "--selector", "tag=wet", "--yes"]);
    assert_eq!(done(&hub, &["device", "list"]).lines().count(), 3);
    done(&hub, &["group", "delete", "outside"]);
    assert!(!done(&hub, &["group", "list"]).contains("outside"));
}

#[test]
fn a_script_is_pushed_as_versions_and_an_error_names_its_line() {
    let hub = Hub::start(&[]);
    let file = hub.data().join("../climate.lua");
    let path = file.display().to_string();
    fs::write(&file, "x = 1\ny = = 2\n").unwrap();
    let (code, _, said) = ctl(&hub, &["script", "push", &path]);
    assert!(code == 1 && said.contains(&format!("{path}:2: ")), "{said}");
    for (source, version) in [("x = 1\n", "climate version 1"), ("x = 2\n", "climate version 2")] {
        fs::write(&file, source).unwrap();
        assert!(done(&hub, &["script", "push", &path, "--comment", "c"]).contains(version));
    }
    assert_eq!(done(&hub, &["script", "show", "climate"]), "x = 2\n");
    assert_eq!(done(&hub, &["script", "show", "climate", "--version", "1"]), "x = 1\n");
    assert!(done(&hub, &["script", "list"]).contains("climate"));
}

#[test]
fn a_firmware_is_pushed_looked_at_taken_out_deployed_and_deleted() {
    let hub = Hub::start(&[]);
    let file = |name: &str| hub.data().join("..").join(name).display().to_string();
    let image: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(file("light.bin"), &image).unwrap();
    let push = ["firmware", "push", &file("light.bin"), "--name", "light", "--version", "1.3"];
    let (code, _, said) = ctl(&hub, &push);
    assert!(code == 1 && said.contains("platform: say it"), "{said}");
    let whole = [&push[..], &["--platform", "stm32", "--build-id", "b7", "--notes", "for the shop"]].concat();
    assert!(done(&hub, &whole).contains("600000"));
    let (code, _, said) = ctl(&hub, &whole);
    assert!(code == 1 && said.contains("is there already"), "{said}");
    let (code, _, said) = ctl(&hub, &["firmware", "push", &file("nothing")]);
    assert!(code == 1 && said.contains("reading"), "{said}");
    assert!(done(&hub, &["firmware", "list"]).contains("stm32"));
    let list: Value = serde_json::from_str(&done(&hub, &["firmware", "list", "--json"])).unwrap();
    let id = list["items"][0]["id"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&done(&hub, &["firmware", "show", id, "--json"])).unwrap();
    assert_eq!((&shown["build_id"], &shown["notes"]), (&json!("b7"), &json!("for the shop")));
    done(&hub, &["firmware", "download", id, &file("copy.bin")]);
    assert!(fs::read(file("copy.bin")).unwrap() == image, "what comes out is what went in");
    let (code, _, said) = ctl(&hub, &["firmware", "download", id, &file("copy.bin")]);
    assert!(code == 1 && said.contains("exists"), "{said}");
    let unknown = "01kabcdefghjkmnpqrstvwxyz0";
    assert_eq!(ctl(&hub, &["firmware", "download", unknown, &file("none.bin")]).0, 1);
    assert!(!fs::exists(file("none.bin")).unwrap(), "nothing is left of it");
    for number in ["1", "2"] {
        done(&hub, &["device", "add", &format!("Lamp {number}"), "--dialect", "native", "--tag", "hall"]);
    }
    done(&hub, &["deployment", "start", "--firmware", id, "--selector", "tag=hall"]);
    let deployments: Value = serde_json::from_str(&done(&hub, &["deployment", "list", "--json"])).unwrap();
    let begun = &deployments["items"][0];
    assert_eq!((&begun["title"], &begun["total"]), (&json!("light 1.3"), &json!(2)));
    let (code, _, said) = ctl(&hub, &["firmware", "delete", id]);
    assert!(code == 1 && said.contains("2 devices run it"), "{said}");
    done(&hub, &["deployment", "cancel", begun["id"].as_str().unwrap()]);
    assert_eq!(done(&hub, &["firmware", "delete", id]), "deleted\n");
    let (code, _, said) = ctl(&hub, &["firmware", "show", id]);
    assert!(code == 1 && said.contains("there is no firmware"), "{said}");
}

#[test]
fn a_deployment_is_started_by_names_shown_and_cancelled() {
    let hub = Hub::start(&[]);
    hub.api.board("Cellar", 901);
    hub.api.script("idle", "x = 1\n");
    let start = ["deployment", "start", "idle", "--device", "Cellar", "--json"];
    let begun: Value = serde_json::from_str(&done(&hub, &start)).unwrap();
    let id = begun["id"].as_str().unwrap();
    assert!(done(&hub, &["deployment", "list"]).contains(id));
    assert!(done(&hub, &["deployment", "show", id]).contains("Cellar"));
    done(&hub, &["deployment", "cancel", id]);
    assert!(done(&hub, &["deployment", "show", id]).contains("Cancelled"));
    assert!(done(&hub, &["telemetry", "show", "901", "--limit", "5"]).contains("METRIC"));
}

#[test]
fn waiting_ends_with_what_the_board_did() {
    let hub = Hub::start(&[]);
    let (_, credential) = hub.api.board("Good", 902);
    let _fleet = Fleet::start(&hub, &[(902, &credential)]);
    hub.api.script("crash", "error('no such sensor')\n");
    let start = ["deployment", "start", "crash", "--device", "Good", "--wait", "--wait-max", "60"];
    let (code, printed, said) = ctl(&hub, &start);
    assert!(code == 1 && printed.contains("crash v1: Failed"), "{printed} {said}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let hub = Hub::start(&[]);
    assert!(done(&hub, &["doctor"]).contains("role admin"));
    let (code, _, said) = run(&hub.api.base, "wrong", &["doctor"]);
    assert!(code == 1 && said.contains("motehub token add"), "{said}");
    let (code, _, said) = run(&hub.api.base, "", &["doctor"]);
    assert!(code == 2 && said.contains("MOTEHUB_TOKEN"), "{said}");
    let (code, _, said) = run("http://127.0.0.1:1", "x", &["doctor"]);
    assert!(code == 1 && said.contains("--hub"), "{said}");
    assert_eq!(ctl(&hub, &["deployment", "start", "x"]).0, 2);
    let viewer = add_token(&hub.data(), "looker", "viewer");
    let (code, _, said) = run(&hub.api.base, &viewer, &["device", "add", "A", "--dialect", "nodemcu"]);
    assert!(code == 1 && said.contains("higher role"), "{said}");
}

#[test]
fn what_a_device_says_is_read_and_a_version_that_crashed_is_let_in_again() {
    let hub = Hub::start(&[]);
    let (id, credential) = hub.api.native("Lamp", "porch");
    let device = Api { token: credential, ..hub.api.clone() };
    let say = |kind: &str, message: Value| {
        let path = format!("/devices/{id}/{kind}");
        let (status, answer) = device.call_raw("POST", &path, Some(&message.to_string()));
        assert_eq!(status, 204, "{answer}");
    };
    say("log", json!([{ "level": "warn", "text": "low battery" }, "hello"]));
    let log = done(&hub, &["device", "log", "Lamp"]);
    let lines: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
    assert_eq!(lines, ["warn   low battery", "info   hello"]);
    assert_eq!(done(&hub, &["device", "log", "Lamp", "--last", "1"]).lines().count(), 1);
    let shown: Value = serde_json::from_str(&done(&hub, &["device", "log", "Lamp", "--json"])).unwrap();
    assert_eq!(shown["items"][1]["text"], "low battery");

    hub.api.deploy(&hub.api.script("blink", "x = 1"), 1, &id);
    let (_, waiting) = device.call_raw("GET", &format!("/devices/{id}/downlinks?wait=0"), None);
    let digest = &waiting["items"][0]["digest"];
    say(
        "task",
        json!({ "digest": digest, "state": "Failed", "reason": "boom", "safe_mode": true, "crashes": 3 }),
    );
    assert!(done(&hub, &["device", "show", "Lamp"]).contains("quarantined  blink v1: boom"));
    assert_eq!(done(&hub, &["device", "lift", "Lamp"]), "Lamp may have blink v1 again\n");
    assert_eq!(ctl(&hub, &["device", "lift", "Lamp"]).0, 1, "there is none any more");
}

#[test]
fn capabilities_are_described_assigned_and_required() {
    let hub = Hub::start(&[]);
    hub.api.native("Lamp", "porch");
    hub.api.script("water", "x = 1");
    done(&hub, &["capability", "describe", "relay", "switches up to 10 A"]);
    let assign = ["capability", "assign", "relay", "--selector", "tag=porch", "--yes"];
    assert_eq!(done(&hub, &assign), "1 of 1 devices changed\n");
    assert_eq!(done(&hub, &["script", "require", "water", "relay"]), "water requires relay\n");
    let list = done(&hub, &["capability", "list"]);
    let words: Vec<&str> = list.lines().nth(1).unwrap_or_default().split_whitespace().take(5).collect();
    assert_eq!(words, ["relay", "1", "0", "1", "switches"], "{list}");
    let (code, _, said) = ctl(&hub, &["capability", "delete", "relay"]);
    assert!(code == 1 && !said.is_empty(), "it is used");
    done(&hub, &["capability", "unassign", "relay", "--selector", "all", "--yes"]);
    assert_eq!(done(&hub, &["script", "require", "water"]), "water requires -\n");
    assert_eq!(done(&hub, &["capability", "delete", "relay"]), "deleted relay\n");
}

#[test]
fn a_flow_is_saved_placed_run_and_deleted() {
    let hub = Hub::start(&[]);
    let (bench, credential) = hub.api.micropython("bench", "bench");
    let mut link = Publisher::connect(&hub.mqtt(), &bench, &bench, &credential).expect("it is let in");
    let said = r#"{"protocol":1,"firmware":"motehub-micropython","capabilities":["relay"]}"#;
    link.publish(&format!("devices/{bench}/announce"), 1, said).expect("it is said");
    until("the board is there", || {
        let device = hub.api.get(&format!("/devices/{bench}"));
        (device["online"] == true && device["announced"] == json!(["relay"])).then_some(())
    });
    let file = hub.data().join("../line.json");
    let path = file.display().to_string();
    let step = |id: &str, kind: &str| json!({ "id": id, "kind": kind, "topic": id });
    let mut document = json!({
        "steps": [step("in", "topic"), { "id": "mid", "kind": "pass", "requires": ["relay"] }, step("out", "publish")],
        "wires": [{ "from": "in", "to": "mid" }, { "from": "mid", "to": "nowhere" }],
    });
    fs::write(&file, document.to_string()).unwrap();
    let (code, _, said) = ctl(&hub, &["flow", "save", &path]);
    assert!(code == 1 && said.contains("wires[1].to: there is no step nowhere"), "{said}");
    document["wires"][1]["to"] = json!("out");
    fs::write(&file, document.to_string()).unwrap();
    assert_eq!(done(&hub, &["flow", "save", &path]), "line version 1\n");
    fs::write(&file, done(&hub, &["flow", "show", "line"])).unwrap();
    assert_eq!(done(&hub, &["flow", "save", &path, "--comment", "again"]), "line version 2\n");
    let dry = done(&hub, &["flow", "dry-run", "line", "--without", "bench"]);
    assert!(dry.contains("nowhere") && dry.contains("not settled"), "{dry}");
    assert!(done(&hub, &["flow", "deploy", "line"]).contains("only board that can run it"));
    let placed = done(&hub, &["flow", "placement", "LINE"]);
    assert!(placed.contains("only the hub can do this") && placed.contains("message"), "{placed}");
    let scores = done(&hub, &["flow", "placement", "line", "--step", "mid"]);
    assert!(scores.contains("NEIGHBOURHOOD") && scores.contains("*") && scores.contains("0.400"), "{scores}");
    let (code, _, said) = ctl(&hub, &["flow", "placement", "line", "--step", "none"]);
    assert!(code == 1 && said.contains("its steps are in, mid, out"), "{said}");
    assert!(done(&hub, &["flow", "history", "line"]).contains("mid: nowhere > bench"));
    assert!(done(&hub, &["flow", "list"]).contains("running"));
    let export = json!([
        { "id": "t1", "type": "tab", "label": "Room" },
        { "id": "s1", "type": "temperature-humidity", "z": "t1", "x": 1, "y": 1, "pin": "4", "repeat": true, "interval": "5000",
            "predicates": "temperature", "wires": [["o1"]] },
        { "id": "o1", "type": "mqtt out", "z": "t1", "x": 2, "y": 1, "topic": "room/air", "wires": [] },
    ]);
    fs::write(&file, export.to_string()).unwrap();
    assert!(done(&hub, &["flow", "import-node-red", &path]).contains("room/air"));
    assert!(!done(&hub, &["flow", "list"]).contains("Room"));
    assert_eq!(done(&hub, &["flow", "import-node-red", &path, "--save"]), "Room version 1\n");
    assert_eq!(done(&hub, &["flow", "stop", "line"]), "stopped line\n");
    assert_eq!(done(&hub, &["flow", "delete", "line"]), "deleted line\n");
    let (code, _, said) = ctl(&hub, &["flow", "show", "line"]);
    assert!(code == 1 && said.contains("`motehub ctl flow list` shows all"), "{said}");
}

#[test]
fn who_was_refused_is_forgotten() {
    let hub = Hub::start(&[]);
    let eve = Api { token: "guessed".to_owned(), ..hub.api.clone() };
    assert_eq!(eve.call_raw("GET", "/devices/eve/downlinks", None).0, 401);
    assert!(done(&hub, &["inbox", "refuse", "eve"]).starts_with("refused eve"));
    assert!(done(&hub, &["inbox", "list", "--state", "refused"]).contains("eve"));
    assert!(done(&hub, &["inbox", "delete", "eve"]).starts_with("deleted eve"));
    assert!(!done(&hub, &["inbox", "list", "--state", "refused"]).contains("eve"));
    assert_eq!(eve.call_raw("GET", "/devices/eve/downlinks", None).0, 401);
    assert!(done(&hub, &["inbox", "list"]).contains("eve"), "it is new again");
}

#[test]
fn connections_are_listed_shown_disconnected_and_forgotten() {
    let hub = Hub::start(&[]);
    let connect = || Session::connect(&hub.mqtt(), true, "reader-1", &hub.api.token).expect("it is let in");
    let mut reader = connect();
    reader.subscribe("news/#", 1).expect("it is granted");
    let list = done(&hub, &["connection", "list", "--connected"]);
    assert!(list.contains("reader-1") && list.contains("tests") && list.contains("tcp"), "{list}");
    assert!(!done(&hub, &["connection", "list", "--away"]).contains("reader-1"));
    let shown = done(&hub, &["connection", "show", "reader-1"]);
    assert!(shown.contains("news/# (QoS 1)") && shown.contains("5.0"), "{shown}");
    assert!(done(&hub, &["connection", "disconnect", "reader-1"]).starts_with("disconnected reader-1"));
    assert!(reader.delivered().is_err(), "the connection has ended");
    assert!(done(&hub, &["connection", "list", "--away"]).contains("reader-1"));
    assert_eq!(ctl(&hub, &["connection", "disconnect", "reader-1"]).0, 1, "it is not connected");
    assert!(connect().is_present);
    done(&hub, &["connection", "forget", "reader-1"]);
    assert!(!connect().is_present);
    assert_eq!(ctl(&hub, &["connection", "show", "nobody"]).0, 1);
    assert!(done(&hub, &["activity", "list"]).contains("reader-1"));
}

#[test]
fn what_mdash_keeps_is_looked_at_and_imported() {
    let hub = Hub::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.json");
    let file = path.to_str().unwrap();
    let kept = include_str!("../../../crates/server/tests/api/db.json");
    fs::write(
        &path,
        kept.replace("email_mos_app_k2j4h5g6f\",\n      \"online\": true", "email_eve\", \"online\": true"),
    )
    .unwrap();
    let looked = done(&hub, &["import", "mdash", file, "--dry-run"]);
    assert!(looked.starts_with("3 users, 1 keys, 1 devices,") && looked.contains("email_eve"), "{looked}");
    let (code, printed, said) = ctl(&hub, &["import", "mdash", file]);
    assert!(
        code == 1 && printed.contains("email_eve") && said.contains("nothing was imported"),
        "{printed}{said}"
    );
    assert!(!done(&hub, &["device", "list"]).contains("Desk"));
    fs::write(&path, kept).unwrap();
    assert!(done(&hub, &["import", "mdash", file]).starts_with("3 users, 1 keys, 2 devices,"));
    let again: Value = serde_json::from_str(&done(&hub, &["import", "mdash", file, "--json"])).unwrap();
    assert_eq!((&again["made"]["devices"], &again["known"]), (&json!(0), &json!(6)), "{again}");
    assert!(done(&hub, &["device", "list"]).contains("Desk"));
}

#[test]
fn certificates_are_issued_also_for_a_key_of_the_device_and_revoked() {
    let hub = Hub::start(&[]);
    done(&hub, &["device", "add", "Lamp", "--dialect", "native", "--external-id", "lamp-1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let issued = done(&hub, &["certificate", "issue", "Lamp", "--out", &at("first")]);
    assert!(read("first/private_key.pem").contains("PRIVATE KEY"));
    assert_eq!(read("first/authority.pem"), done(&hub, &["certificate", "authority"]));
    let again = ctl(&hub, &["certificate", "issue", "Lamp", "--out", &at("first")]);
    assert!(again.0 == 1 && again.2.contains("private_key.pem"), "{again:?}");
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    fs::write(at("lamp.csr"), request.pem().expect("PEM")).expect("because the folder is ours");
    done(&hub, &["certificate", "issue", "lamp-1", "--csr", &at("lamp.csr"), "--out", &at("second")]);
    assert!(
        read("second/certificate.pem").contains("CERTIFICATE")
            && !folder.path().join("second/private_key.pem").exists()
    );
    let wrong = ctl(
        &hub,
        &["certificate", "issue", "Lamp", "--csr", &at("first/certificate.pem"), "--out", &at("third")],
    );
    assert!(wrong.0 == 1 && wrong.2.contains("csr"), "{wrong:?}");
    assert_eq!(fs::read_dir(at("third")).expect("a folder").count(), 0, "no empty files are left");
    assert_eq!(done(&hub, &["certificate", "list", "Lamp"]).lines().count(), 3);
    let fingerprint = issued.split_whitespace().nth(1).expect("a fingerprint");
    assert_eq!(ctl(&hub, &["certificate", "revoke", "Lamp", ""]).0, 1, "it has to be one");
    done(&hub, &["certificate", "revoke", "Lamp", &fingerprint[..16]]);
    assert!(!done(&hub, &["certificate", "list", "Lamp"]).contains(fingerprint));
}

#[test]
fn tokens_are_made_with_an_access_key_and_revoked() {
    let hub = Hub::start(&[]);
    let made = done(&hub, &["token", "add", "lights", "--role", "manager", "--access-key"]);
    assert!(made.contains("token") && made.contains("secret access key"), "{made}");
    assert!(!done(&hub, &["token", "add", "plain", "--role", "viewer"]).contains("access key"));
    assert!(done(&hub, &["token", "list"]).contains("lights"));
    done(&hub, &["token", "revoke", "lights"]);
    assert!(!done(&hub, &["token", "list"]).contains("lights"));
}
