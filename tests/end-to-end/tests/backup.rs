//! A backup of a hub that goes on working, and a hub that goes on from a backup.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use end_to_end::{Api, Hub, Publisher, binary, until};
use serde_json::{Value, json};

const DEVICES: usize = 4;
/// How many messages a device has in flight.
const IN_FLIGHT: u16 = 40;
/// The time of the first message; message n is n seconds later.
const FIRST_MS: i64 = 1_700_000_000_000;
/// Messages of each device that are acknowledged before the backup begins.
const BEFORE: usize = 1500;

/// Runs the program; gives its exit code and what it said on the standard error.
fn motehub(arguments: &[&str]) -> (i32, String) {
    let done = Command::new(binary()).args(arguments).output().expect("the program runs");
    (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn backup(hub: &Hub, file: &Path, more: &[&str]) -> (i32, String) {
    let (file, data) = (file.display().to_string(), hub.data().display().to_string());
    motehub(&[&["backup", &file, "--data", &data], more].concat())
}

fn restore(file: &Path, data: &Path) -> (i32, String) {
    motehub(&["restore", &file.display().to_string(), "--data", &data.display().to_string()])
}

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder"))
}

/// Another hub, on what a backup holds.
fn restored(file: &Path, token: &str) -> Hub {
    let folder = folder();
    let (code, said) = restore(file, &folder.path().join("data"));
    assert_eq!(code, 0, "{said}");
    Hub::start_known(folder, token.to_owned())
}

/// Publishes 0, 1, 2, … until told to stop, and counts what is acknowledged; acknowledgements come in order.
fn publish(
    address: &str,
    (id, credential): &(String, String),
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) {
    let mut connection = Publisher::connect(address, id, id, credential).expect("it is let in");
    let (topic, mut sent) = (format!("devices/{id}/telemetry"), 0);
    loop {
        let known = acknowledged.load(Ordering::SeqCst);
        while !stop.load(Ordering::SeqCst) && sent - known < usize::from(IN_FLIGHT) {
            let ts = FIRST_MS + 1000 * i64::try_from(sent).expect("small");
            let packet = u16::try_from(sent % 60_000 + 1).expect("it fits");
            connection
                .publish(&topic, packet, &json!({ "ts": ts, "n": sent }).to_string())
                .expect("it is sent");
            sent += 1;
        }
        if sent == known {
            return;
        }
        connection.acknowledged().expect("it is acknowledged");
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

fn telemetry(api: &Api, device: &str) -> Vec<Value> {
    let list = api.get(&format!("/devices/{device}/telemetry?limit=100000"));
    assert_eq!(list["more"], false);
    list["items"].as_array().expect("items").clone()
}

/// What goes to other programs, in every form.
const EXPORTS: [&str; 3] = [
    "/telemetry/export?format=ndjson&selector=all",
    "/telemetry/export?format=csv&selector=all",
    "/activity/export",
];

/// That it started is each hub's own.
const OF_EACH_HUB: &str = "hub_started";

fn exports(api: &Api) -> Vec<String> {
    let own = |line: &&str| !line.contains(OF_EACH_HUB);
    EXPORTS.iter().map(|path| api.text(path).lines().filter(own).collect::<Vec<_>>().join("\n")).collect()
}

/// All that the API shows, as text, for hubs on which nothing happens.
fn everything(api: &Api, devices: &[(String, String)]) -> String {
    let lists = ["devices", "scripts", "deployments", "users", "tokens", "grants", "activity"];
    let mut all: Vec<Value> = lists.iter().map(|list| api.get(&format!("/{list}?limit=1000"))).collect();
    for script in all[1]["items"].as_array().expect("scripts").clone() {
        let id = script["id"].as_str().expect("an id").to_owned();
        all.push(api.get(&format!("/scripts/{id}/versions/1")));
    }
    for (id, _) in devices {
        all.push(Value::Array(telemetry(api, id)));
    }
    // When the caller's own token was used last, and when a connection was seen to be gone, is each hub's own.
    for list in &mut all {
        if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
            items.retain(|item| item["kind"] != OF_EACH_HUB);
        }
        for item in list
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            item.remove("last_used_at");
            item.remove("last_seen");
        }
    }
    all.iter().map(|list| format!("{list:#}\n")).collect()
}

#[test]
fn a_backup_during_ingest_holds_what_was_acknowledged_and_the_last_one_everything() {
    let hub = Hub::start(&["--mqtt-tls", "127.0.0.1:0"]);
    hub.api.script("climate", "x = 1\n");
    let new = |n: usize| {
        let made = hub.api.post("/devices", &json!({ "name": format!("d{n}"), "dialect": "native" }));
        let text = |key: &str| made[key].as_str().expect("a text").to_owned();
        (text("id"), text("credential"))
    };
    let devices: Arc<Vec<_>> = Arc::new((0..DEVICES).map(new).collect());
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..DEVICES).map(|_| AtomicUsize::new(0)).collect());
    let now = || counts.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..DEVICES)
        .map(|n| {
            let (address, devices, counts) = (hub.mqtt(), devices.clone(), counts.clone());
            let stop = stop.clone();
            std::thread::spawn(move || publish(&address, &devices[n], &stop, &counts[n]))
        })
        .collect();

    until("all publish", || now().iter().all(|count| *count >= BEFORE).then_some(()));
    let place = folder();
    let file = place.path().join("during.backup");
    let before = now();
    let (code, said) = backup(&hub, &file, &[]);
    let after = now();
    assert_eq!(code, 0, "{said}");
    until("all publish still", || now().iter().zip(&after).all(|(now, then)| now > then).then_some(()));
    stop.store(true, Ordering::SeqCst);
    for publisher in publishers {
        publisher.join().expect("a publisher ends");
    }

    // During ingest: all that was acknowledged before the backup began, exactly as the hub has it, in order and
    // without a gap; nothing that was sent after it ended.
    let copy = restored(&file, &hub.api.token);
    let tail = usize::from(IN_FLIGHT);
    for (n, (id, _)) in devices.iter().enumerate() {
        let (original, copied) = (telemetry(&hub.api, id), telemetry(&copy.api, id));
        assert_eq!(original.len(), now()[n], "the hub has what it acknowledged");
        assert!(copied.len() >= before[n], "{} of {} acknowledged", copied.len(), before[n]);
        assert!(copied.len() <= after[n] + tail, "{} while {} were acknowledged", copied.len(), after[n]);
        assert_eq!(copied, original[..copied.len()], "point for point");
    }
    drop(copy);

    // At rest: both are identical, and the keys of TLS came along.
    let is_quiet = || {
        let devices = hub.api.get("/devices?limit=1000");
        let mut online = devices["items"].as_array().expect("items").iter().map(|device| &device["online"]);
        online.all(|online| online == false).then_some(())
    };
    until("all are offline", is_quiet);
    let expected = everything(&hub.api, &devices);
    let exported = exports(&hub.api);
    let file = place.path().join("rest.backup");
    let (code, said) = ctl(&hub, &["backup", &file.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    let copy = restored(&file, &hub.api.token);
    assert_eq!(everything(&copy.api, &devices), expected);
    for (export, (ours, theirs)) in EXPORTS.iter().zip(exported.iter().zip(exports(&copy.api))) {
        assert!(ours.lines().count() > DEVICES, "{export}: {ours}");
        assert!(*ours == theirs, "{export}: {} and {} bytes differ", ours.len(), theirs.len());
    }
    for name in ["tls/ca.pem", "tls/ca.key", "tls/server.key"] {
        let (ours, theirs) = (hub.data().join(name), copy.data().join(name));
        assert_eq!(fs::read(&theirs).expect("a copy"), fs::read(&ours).expect("the original"), "{name}");
        let mode = |path: &PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&theirs), mode(&ours), "{name}");
    }
    let said = hub.api.get("/activity?kind=backup_taken")["items"].as_array().map(Vec::len);
    assert_eq!(said, Some(2), "both backups are in the activity log");
}

fn ctl(hub: &Hub, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.arg("ctl").args(arguments);
    command.env("MOTEHUB_HUB", &hub.api.base).env("MOTEHUB_TOKEN", &hub.api.token);
    let done = command.output().expect("the program runs");
    (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn nothing_is_replaced_and_nothing_half_done_is_used() {
    let hub = Hub::start(&[]);
    let place = folder();
    let file = place.path().join("hub.backup");
    let refused = |(code, said): (i32, String), part: &str| {
        assert!(code == 1 && said.contains(part), "{code} {said}");
    };
    assert_eq!(backup(&hub, &file, &[]).0, 0);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let first = fs::read(&file).expect("a file");
    refused(backup(&hub, &file, &[]), "--force");
    refused(ctl(&hub, &["backup", &file.display().to_string()]), "--force");
    assert_eq!(fs::read(&file).expect("a file"), first);
    assert_eq!(backup(&hub, &file, &["--force"]).0, 0);
    refused(backup(&hub, &hub.data().join("inside"), &[]), "inside the data folder");
    refused(backup(&hub, &place.path().join("no/such/folder"), &[]), "no/such");
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 1, "nothing half written is left");

    // As a backup leaves its part that is killed, and one that is still at work.
    let left = |process: u32| place.path().join(format!("hub.backup.{process}.part"));
    let mut ended = Command::new("true").spawn().expect("it runs");
    ended.wait().expect("it ends");
    fs::write(left(ended.id()), "half").expect("it is written");
    fs::write(left(std::process::id()), "half").expect("it is written");
    assert_eq!(backup(&hub, &file, &["--force"]).0, 0);
    assert_eq!((left(ended.id()).exists(), left(std::process::id()).exists()), (false, true));
    fs::write(left(ended.id()), "half").expect("it is written");
    assert_eq!(ctl(&hub, &["backup", &file.display().to_string(), "--force"]).0, 0);
    assert!(!left(ended.id()).exists());

    refused(restore(&file, &hub.data()), "not empty");
    let data = place.path().join("data");
    fs::write(place.path().join("short"), &first[..first.len() / 2]).expect("it is written");
    refused(restore(&place.path().join("short"), &data), "only its beginning");
    assert!(!data.exists());
    // As a restore that was killed leaves it.
    fs::create_dir_all(data.join("restoring")).expect("it is made");
    let address = "127.0.0.1:0";
    let serve = ["serve", "--http", address, "--mqtt", address, "--data", &data.display().to_string()];
    refused(motehub(&serve), "restore");
    assert_eq!(restore(&file, &data).0, 0, "the next one takes its place");
    assert!(!data.join("restoring").exists());
}
