//! Acknowledged means on disk (promises P1, P2 and P7): kills at random moments, the order of system calls, and
//! a disk that is full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use end_to_end::{Api, Hub, Publisher, until};
use serde_json::{Value, json};

const CONNECTIONS: usize = 20;
const MESSAGES: usize = 10_000;
const KILLS: usize = 10;
/// How many messages a connection has in flight.
const IN_FLIGHT: usize = 40;
/// The time of the first message; message n is n seconds later.
const FIRST_MS: i64 = 1_700_000_000_000;

struct Device {
    id: String,
    credential: String,
}

fn device(api: &Api, name: &str) -> Device {
    let made = api.post("/devices", &json!({ "name": name, "dialect": "native" }));
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    Device { id: text("id"), credential: text("credential") }
}

fn payload(n: usize) -> String {
    json!({ "ts": FIRST_MS + 1000 * i64::try_from(n).expect("small"), "n": n }).to_string()
}

fn stored(api: &Api, device: &Device) -> Vec<usize> {
    let points = api.get(&format!("/devices/{}/telemetry?metric=n&limit=100000", device.id));
    let items = points["items"].as_array().expect("items").iter();
    items.map(|point| usize::try_from(point["value"].as_u64().expect("a number")).expect("small")).collect()
}

/// Publishes everything, over as many connections as the kills make necessary. Counts what is acknowledged.
fn publish_all(address: &str, device: &Device, messages: usize, acknowledged: &AtomicUsize) {
    let topic = format!("devices/{}/telemetry", device.id);
    let mut open: BTreeSet<usize> = (0..messages).collect();
    while !open.is_empty() {
        let connected = until("the hub lets in", || {
            Publisher::connect(address, &device.id, &device.id, &device.credential).ok()
        });
        let _ = publish_some(connected, &topic, &mut open, acknowledged);
    }
}

fn publish_some(
    mut connection: Publisher,
    topic: &str,
    open: &mut BTreeSet<usize>,
    acknowledged: &AtomicUsize,
) -> std::io::Result<()> {
    let mut waiting: BTreeMap<u16, usize> = BTreeMap::new();
    let mut next = open.clone().into_iter().peekable();
    while next.peek().is_some() || !waiting.is_empty() {
        while waiting.len() < IN_FLIGHT
            && let Some(n) = next.next()
        {
            let id = u16::try_from(n % 60_000 + 1).expect("it fits");
            connection.publish(topic, id, &payload(n))?;
            waiting.insert(id, n);
        }
        let id = connection.acknowledged()?;
        let n = waiting.remove(&id).expect("an id that is in flight");
        open.remove(&n);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn random_below(limit: usize) -> usize {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    usize::try_from(u64::from_le_bytes(bytes) % limit as u64).expect("it fits")
}

#[test]
fn ten_kills_lose_nothing_acknowledged_and_double_nothing() {
    let mut hub = Hub::start(&[]);
    let devices: Vec<Device> = (0..CONNECTIONS).map(|n| device(&hub.api, &format!("d{n}"))).collect();
    let devices = Arc::new(devices);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let address = hub.mqtt();
    let publishers: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            let (devices, acknowledged, address) = (devices.clone(), acknowledged.clone(), address.clone());
            std::thread::spawn(move || {
                publish_all(&address, &devices[n], MESSAGES / CONNECTIONS, &acknowledged);
            })
        })
        .collect();
    let share = MESSAGES / (KILLS + 1);
    for kill in 0..KILLS {
        let moment = kill * share + random_below(share);
        until("messages are acknowledged", || (acknowledged.load(Ordering::SeqCst) >= moment).then_some(()));
        hub.again();
    }
    for publisher in publishers {
        publisher.join().expect("a publisher ends");
    }
    hub.again();
    for device in devices.iter() {
        let expected: Vec<usize> = (0..MESSAGES / CONNECTIONS).collect();
        assert_eq!(stored(&hub.api, device), expected, "each once, in the order of their times");
    }
    println!("{} acknowledged over {KILLS} kills, all stored once", acknowledged.load(Ordering::SeqCst));
}

#[test]
fn no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    const SENT: usize = 50;
    let folder =
        Arc::new(tempfile::Builder::new().prefix("motehub-test-").tempdir().expect("a temporary folder"));
    let trace = folder.path().join("trace");
    let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg";
    let trace_text = trace.display().to_string();
    let wrapper = ["strace", "-f", "-qq", "-xx", "-s", "8", "-e", calls, "-o", &trace_text];
    let mut hub = Hub::start_on(folder, &wrapper, &[]);
    let device = device(&hub.api, "traced");
    let mut connection =
        Publisher::connect(&hub.mqtt(), &device.id, &device.id, &device.credential).expect("it is let in");
    let topic = format!("devices/{}/telemetry", device.id);
    for n in 0..SENT {
        connection.publish(&topic, 7, &payload(n)).expect("it is sent");
        assert_eq!(connection.acknowledged().expect("it is acknowledged"), 7);
    }
    hub.terminate();
    let mut syncs = 0;
    let mut acknowledgements = 0;
    for line in fs::read_to_string(&trace).expect("the trace").lines() {
        if (line.contains("fsync") || line.contains("fdatasync")) && line.trim_end().ends_with("= 0") {
            syncs += 1;
        }
        if line.contains(r#""\x40\x02\x00\x07""#) {
            assert!(
                syncs > 0,
                "acknowledgement {acknowledgements} left without a sync since the one before: {line}"
            );
            syncs = 0;
            acknowledgements += 1;
        }
    }
    assert_eq!(acknowledgements, SENT, "the trace shows every acknowledgement");
}

/// A disk of 4 MB in a mount namespace of its own, which needs no rights.
struct SmallDisk {
    holder: Child,
    folder: Arc<tempfile::TempDir>,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = Arc::new(tempfile::Builder::new().prefix("motehub-small-").tempdir().expect("a folder"));
        let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut line = String::new();
        let mut stdout = BufReader::new(holder.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("an answer");
        assert_eq!(line, "mounted\n", "a user namespace can mount a tmpfs");
        Self { holder, folder }
    }

    /// What runs a program inside.
    fn inside(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        let words = ["nsenter", "--target", &target, "--user", "--preserve-credentials", "--mount", "--"];
        words.map(str::to_owned).to_vec()
    }

    fn shell(&self, script: &str) -> String {
        let words = self.inside();
        let folder = self.folder.path();
        let done = Command::new(&words[0]).args(&words[1..]).args(["sh", "-c", script]).arg(folder).output();
        String::from_utf8_lossy(&done.expect("nsenter").stdout).into_owned()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_full_disk_stops_acknowledgements_never_the_hub() {
    let disk = SmallDisk::new();
    let words = disk.inside();
    let wrapper: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut hub = Hub::start_on(disk.folder.clone(), &wrapper, &[]);
    let device = device(&hub.api, "thirsty");
    let topic = format!("devices/{}/telemetry", device.id);
    let text = "x".repeat(900);
    let connect =
        || Publisher::connect(&hub.mqtt(), &device.id, &device.id, &device.credential).expect("it is let in");
    let mut acknowledged = BTreeSet::new();
    let mut connection = connect();
    connection.patience(Duration::from_secs(15)).expect("a time-out");
    for n in 0..20_000_usize {
        let ts = FIRST_MS + i64::try_from(n).expect("small");
        let message = json!({ "ts": ts, "values": { "n": n, "text": format!("{n} {text}") } }).to_string();
        let id = u16::try_from(n % 60_000 + 1).expect("it fits");
        if connection.publish(&topic, id, &message).is_err() {
            break;
        }
        match connection.acknowledged() {
            Ok(got) => {
                assert_eq!(got, id);
                acknowledged.insert(n);
            }
            Err(_) => break,
        }
    }
    assert!(acknowledged.len() > 100 && acknowledged.len() < 20_000, "{} of them", acknowledged.len());
    assert_eq!(hub.api.get(&format!("/devices/{}", device.id))["name"], "thirsty", "reads live on");
    let (status, problem) =
        hub.api.call("POST", "/devices", Some(&json!({ "name": "one more", "dialect": "native" })));
    assert!(status == 507 || status == 201, "{status} {problem}");

    hub.kill();
    hub.again();
    let points = hub.api.get(&format!("/devices/{}/telemetry?metric=n&limit=100000", device.id));
    let found: BTreeSet<usize> = points["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|point| point["value"].as_u64())
        .map(|n| usize::try_from(n).expect("small"))
        .collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");

    disk.shell("mount -o remount,size=32m \"$0\"");
    let mut connection =
        Publisher::connect(&hub.mqtt(), &device.id, &device.id, &device.credential).expect("it is let in");
    let message = json!({ "ts": FIRST_MS, "values": { "after": 1 } }).to_string();
    connection.publish(&topic, 9, &message).expect("it is sent");
    assert_eq!(connection.acknowledged().expect("there is room again"), 9);
    let _: Value = hub.api.get("/overview");
}
