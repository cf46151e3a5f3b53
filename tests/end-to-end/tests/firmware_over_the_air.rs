//! Firmware pushed into two hundred lights of which some fail in every way that is known: each task ends as the lights
//! themselves, which know nothing of the hub's records, say that it did.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use end_to_end::{Hub, binary, until_within};
use serde_json::{Value, json};

const LIGHTS: usize = 200;
/// How long all of them may take on a busy machine.
const ALL_MAX: Duration = Duration::from_secs(180);

/// What really happened to a light, as far as it is known.
#[derive(Debug, Clone, Default)]
struct Truth {
    version: String,
    committed: bool,
    fault: String,
    is_dark: bool,
}

struct Lights {
    child: Child,
    truth: Arc<Mutex<HashMap<String, Truth>>>,
}

impl Drop for Lights {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lights {
    fn start(hub: &Hub, lights: &[(String, String)], arguments: &[&str]) -> Self {
        let list = hub.data().join("../lights.txt");
        let lines: String = lights.iter().map(|(id, token)| format!("{id} {token}\n")).collect();
        std::fs::write(&list, lines).expect("the list of lights is written");
        let mdash = hub.ready["mdash"].as_str().expect("the listener is in the ready line");
        let mut child = Command::new(binary())
            .args(["sim", "mongoose", "--mdash", &format!("ws://{mdash}/api/v2/rpc"), "--lights"])
            .arg(&list)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the lights start");
        let truth: Arc<Mutex<HashMap<String, Truth>>> = Arc::default();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let known = truth.clone();
        std::thread::spawn(move || {
            for fact in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                learn(&mut known.lock().expect("nobody panics"), &fact);
            }
        });
        Self { child, truth }
    }

    fn truth(&self) -> HashMap<String, Truth> {
        self.truth.lock().expect("nobody panics").clone()
    }
}

fn learn(truth: &mut HashMap<String, Truth>, fact: &Value) {
    let Some(light) = fact["light"].as_str() else { return };
    let known = truth.entry(light.to_owned()).or_default();
    let text = |key: &str| fact[key].as_str().unwrap_or_default().to_owned();
    match fact["fact"].as_str() {
        Some("boot") => {
            (known.version, known.fault) = (text("version"), text("fault"));
            known.committed = fact["committed"] == true;
            known.is_dark = false;
        }
        Some("committed") => known.committed = true,
        Some("power_cut") => known.is_dark = fact["comes_back"] != true,
        _ => {}
    }
}

/// A firmware as Mongoose OS packs it: a zip without compression.
fn firmware(version: &str) -> Vec<u8> {
    let manifest = json!({
        "name": "smartlight", "platform": "esp8266", "version": version, "build_id": format!("b-{version}"),
        "parts": { "fw": { "type": "app", "src": "fw.bin", "size": 6000 } },
    });
    let code: Vec<u8> = (0..6000_u32).map(|at| (at % 251) as u8).collect();
    pack(&[
        (&format!("fw-{version}/manifest.json"), manifest.to_string().as_bytes()),
        (&format!("fw-{version}/fw.bin"), &code),
    ])
}

fn pack(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let place = u32::try_from(zip.len()).expect("is small").to_le_bytes();
        let length = u32::try_from(bytes.len()).expect("is small").to_le_bytes();
        let name_length = u16::try_from(name.len()).expect("is short").to_le_bytes();
        // From the version that is needed to the length of the extra field: the same in both records.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc32(bytes).to_le_bytes());
        common.extend([length, length].concat());
        common.extend(name_length);
        common.extend([0, 0]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(name.bytes());
        zip.extend(*bytes);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(place);
        directory.extend(name.bytes());
    }
    let count = u16::try_from(entries.len()).expect("are few").to_le_bytes();
    let (start, size) = (zip.len(), directory.len());
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00");
    zip.extend([count, count].concat());
    for number in [size, start] {
        zip.extend(u32::try_from(number).expect("is small").to_le_bytes());
    }
    zip.extend([0, 0]);
    zip
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// How a task must stand by what the light itself knows.
fn expected(truth: &Truth) -> &'static [&'static str] {
    match truth.fault.as_str() {
        // It took all of it and never came back: that it is lost is known only after its time.
        "silent" if truth.is_dark => &["Applying"],
        "reverts" => &["Reverted"],
        _ if truth.version == "1.1" && truth.committed => &["Done"],
        // Cut off too often, somebody has to look at it.
        "power-cut" if truth.version == "1.0" => &["Failed"],
        "lost-commit" if truth.version == "1.0" => &["Reverted"],
        _ => &[],
    }
}

#[test]
fn every_task_ends_as_its_light_knows_that_it_did() {
    let hub = Hub::start(&["--mdash", "127.0.0.1:0"]);
    let lights: Vec<(String, String)> = (0..LIGHTS)
        .map(|number| {
            let id = format!("light-{number}");
            let device = json!({ "name": id, "dialect": "mongoose", "external_id": id, "tags": ["light"] });
            let made = hub.api.post("/devices", &device);
            (id, made["credential"].as_str().expect("a credential").to_owned())
        })
        .collect();
    let faults = ["power-cut=20", "lost-commit=15", "wrong-platform=10", "reverts=10", "silent=5"];
    let faults = faults.iter().flat_map(|fault| ["--fault", fault]);
    let arguments = ["--seed", "7", "--speed", "4", "--reconnect-ms", "200"];
    let fleet = Lights::start(&hub, &lights, &arguments.into_iter().chain(faults).collect::<Vec<_>>());
    until_within(ALL_MAX, "all lights are online", || {
        (hub.api.get("/overview")["devices"]["online"] == LIGHTS).then_some(())
    });
    let firmware = hub.api.firmware(&firmware("1.1"), &[]);
    let deployment = json!({ "firmware": firmware, "selector": "tag=light", "health_window_seconds": 5 });
    let deployment = hub.api.post("/deployments", &deployment)["id"].as_str().expect("an id").to_owned();
    let mut kinds = HashMap::new();
    until_within(ALL_MAX, "every task is as its light says", || {
        let tasks = hub.api.get(&format!("/deployments/{deployment}/tasks?limit=1000"));
        let tasks = tasks["items"].as_array().expect("tasks").clone();
        let truth = fleet.truth();
        // To another board than the firmware is for it is not offered at all.
        let other = truth.values().filter(|known| known.fault == "wrong-platform").collect::<Vec<_>>();
        assert!(!other.is_empty() && other.iter().all(|known| known.version == "1.0"));
        assert_eq!(tasks.len() + other.len(), LIGHTS);
        kinds.clear();
        let mut wrong = 0;
        for task in &tasks {
            let name = task["device_name"].as_str().expect("a name");
            let state = task["state"].as_str().expect("a state");
            let known = &truth[name];
            wrong += usize::from(!expected(known).contains(&state));
            *kinds.entry(format!("{} {} {state}", known.fault, known.version)).or_insert(0) += 1;
        }
        eprintln!("{wrong} of {LIGHTS} not as their lights: {kinds:?}");
        (wrong == 0).then_some(())
    });
    for kind in [" 1.1 Done", "power-cut 1.1 Done", "power-cut 1.0 Failed", "lost-commit 1.1 Done"] {
        assert!(kinds.contains_key(kind), "{kind:?} did not happen: {kinds:?}");
    }
    for kind in ["lost-commit 1.0 Reverted", "reverts 1.0 Reverted"] {
        assert!(kinds.contains_key(kind), "{kind:?} did not happen: {kinds:?}");
    }
}

/// One that was never there has not said what it is, so it is offered what is not for it.
#[test]
fn a_light_says_itself_that_a_firmware_is_for_another_board() {
    let hub = Hub::start(&["--mdash", "127.0.0.1:0"]);
    let device = json!({ "name": "other", "dialect": "mongoose", "external_id": "other" });
    let made = hub.api.post("/devices", &device);
    let token = made["credential"].as_str().expect("a credential").to_owned();
    let new = json!({ "firmware": hub.api.firmware(&firmware("1.1"), &[]), "devices": [made["id"]] });
    let deployment = hub.api.post("/deployments", &new)["id"].as_str().expect("an id").to_owned();
    let arguments = ["--fault", "wrong-platform=100", "--reconnect-ms", "200"];
    let fleet = Lights::start(&hub, &[("other".to_owned(), token)], &arguments);
    let task = until_within(ALL_MAX, "the light has refused it", || {
        let task = hub.api.get(&format!("/deployments/{deployment}"))["tasks"][0].clone();
        (task["state"] == "Failed").then_some(task)
    });
    assert_eq!(task["reason"], "Wrong platform (code 500)");
    assert_eq!(fleet.truth()["other"].version, "1.0");
}
