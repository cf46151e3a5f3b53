//! Very many devices of the native protocol in this process: each keeps a session, measures all the time, does what it is
//! offered, and comes back when its connection ends. Each counts what was acknowledged and what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::hub::Api;

/// The time of the first point of each device; the others follow a millisecond after each other.
pub const FIRST_MS: i64 = 1_700_000_000_000;
/// The pause before a device connects again: twice as long after each failure, up to the second one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How long a device waits for an answer before it takes its connection for lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many devices shake hands or download at once, as on a network that is not endless.
const AT_ONCE: usize = 100;

/// What one device did.
#[derive(Debug, Default)]
pub struct Done {
    /// Points that are acknowledged: all numbers up to this one.
    pub acknowledged: u64,
    /// How often it was let in.
    pub connects: u64,
    /// Digests that it fetched and ran, and how often.
    pub ran: BTreeMap<String, u32>,
    /// What it runs now.
    pub running: Option<String>,
}

/// One device.
pub struct Device {
    /// The id that the hub gave it.
    pub id: String,
    credential: String,
    is_connected: AtomicBool,
    done: Mutex<Done>,
}

impl Device {
    /// What it did.
    pub fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().expect("no device panics")
    }

    /// Each point is stored once, its script ran once, and its task ended once. Gives how many points are missing that
    /// were acknowledged.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn missing(&self, api: &Api) -> usize {
        let found = api.get(&format!("/devices/{}/telemetry?metric=n&limit=100000", self.id));
        let items = found["items"].as_array().expect("points");
        let stored: Vec<u64> =
            items.iter().filter_map(|item| item["value"].as_f64()).map(|n| n as u64).collect();
        let distinct: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(distinct.len(), stored.len(), "{}: a point is there twice", self.id);
        let done = self.done();
        assert_eq!(done.ran.values().sum::<u32>(), 1, "{}: it ran its script once: {:?}", self.id, done.ran);
        let facts = api.get(&format!("/activity?kind=task_moved&device={}&limit=100", self.id));
        let is_done = |fact: &&Value| fact["after"]["state"] == "Done" || fact["after"] == "Done";
        let ends = facts["items"].as_array().expect("facts").iter().filter(is_done);
        assert_eq!(ends.count(), 1, "{}: its task ended once: {facts}", self.id);
        (1..=done.acknowledged).filter(|n| !distinct.contains(n)).count()
    }
}

/// Where devices reach the hub.
struct Way {
    http: String,
    mqtt: String,
    every: Duration,
    places: Semaphore,
}

/// Running devices; dropping it ends them.
pub struct Swarm {
    /// All of them.
    pub devices: Vec<Arc<Device>>,
    is_measuring: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Swarm {
    /// Devices, each with its id and credential, that measure in this interval.
    pub fn start(http: &str, mqtt: &str, devices: Vec<(String, String)>, every: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let places = Semaphore::new(AT_ONCE);
        let way = Arc::new(Way { http: http.to_owned(), mqtt: mqtt.to_owned(), every, places });
        let (is_measuring, published) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let start = |(id, credential): (String, String)| {
            let (is_connected, done) = (AtomicBool::new(false), Mutex::default());
            let device = Arc::new(Device { id, credential, is_connected, done });
            let live = live(device.clone(), way.clone(), is_measuring.clone(), published.clone());
            runtime.spawn(live);
            device
        };
        let devices = devices.into_iter().map(start).collect();
        Self { devices, is_measuring, published, _runtime: runtime }
    }

    /// How many are connected, as they see it.
    pub fn connected(&self) -> usize {
        self.devices.iter().filter(|device| device.is_connected.load(Ordering::SeqCst)).count()
    }

    /// How many points were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.devices.iter().map(|device| device.done().acknowledged).sum()
    }

    /// Nobody measures any more; who has said something waits until it is acknowledged.
    pub fn rest(&self) {
        self.is_measuring.store(false, Ordering::SeqCst);
    }

    /// Whether all that was said is acknowledged.
    pub fn is_all_acknowledged(&self) -> bool {
        self.acknowledged() == self.published.load(Ordering::SeqCst)
    }
}

async fn live(device: Arc<Device>, way: Arc<Way>, is_measuring: Arc<AtomicBool>, published: Arc<AtomicU64>) {
    let mut pause = PAUSES.0;
    // A point that was said and not acknowledged; it is said again after each connect until it is.
    let mut open: Option<u64> = None;
    // What runs on trial, and until when: that goes on whatever becomes of the connection.
    let mut trial: Option<(String, Instant)> = None;
    loop {
        let Ok(place) = way.places.acquire().await else { return };
        let connected = timeout(PATIENCE, Link::open(&device, &way.mqtt)).await;
        drop(place);
        if let Ok(Ok(link)) = connected {
            device.is_connected.store(true, Ordering::SeqCst);
            device.done().connects += 1;
            pause = PAUSES.0;
            let _ = serve(link, &device, &way, &is_measuring, &published, (&mut open, &mut trial)).await;
            device.is_connected.store(false, Ordering::SeqCst);
        }
        sleep(pause).await;
        pause = (2 * pause).min(PAUSES.1);
    }
}

/// A connection.
struct Link {
    writer: OwnedWriteHalf,
    packets: tokio::sync::mpsc::Receiver<(u8, Vec<u8>)>,
}

impl Link {
    async fn open(device: &Device, address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (into, packets) = tokio::sync::mpsc::channel(64);
        tokio::spawn(async move {
            let mut reader = BufReader::with_capacity(1024, reader);
            while let Ok(packet) = packet(&mut reader).await {
                if into.send(packet).await.is_err() {
                    return;
                }
            }
        });
        let mut link = Self { writer, packets };
        let texts = [device.id.as_str(), &device.id, &device.credential];
        // Keep-alive of 30 s; the session outlives the connection.
        let body = [text("MQTT"), vec![4, 0b1100_0000, 0, 30], texts.map(text).concat()].concat();
        link.send(0x10, &body).await?;
        match link.packets.recv().await {
            Some((0x20, answer)) if answer.get(1) == Some(&0) => {}
            answer => return Err(io::Error::other(format!("not let in: {answer:?}"))),
        }
        let filter = [vec![0, 1], text(&format!("devices/{}/#", device.id)), vec![1]].concat();
        link.send(0x82, &filter).await?;
        let running = device.done().running.clone();
        let announcement = json!({ "protocol": 1, "firmware": "swarm", "running": running });
        link.say(device, "announce", 2, &announcement).await?;
        Ok(link)
    }

    async fn say(&mut self, device: &Device, kind: &str, id: u16, payload: &Value) -> io::Result<()> {
        let topic = text(&format!("devices/{}/{kind}", device.id));
        let payload = payload.to_string();
        self.send(0x32, &[&topic[..], &id.to_be_bytes(), payload.as_bytes()].concat()).await
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![kind];
        let mut length = body.len();
        while length > 127 {
            packet.push(u8::try_from(length % 128).expect("seven bits") | 128);
            length /= 128;
        }
        packet.push(u8::try_from(length).expect("seven bits"));
        packet.extend(body);
        self.writer.write_all(&packet).await
    }
}

async fn packet(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = reader.read_u8().await?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let digit = reader.read_u8().await?;
        length |= usize::from(digit & 127) << shift;
        shift += 7;
        if digit < 128 || shift > 21 {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("a short text").to_be_bytes(), text.as_bytes()].concat()
}

/// Packet identifiers: 2 announces, 3 says of tasks, 4 and 5 measure in turns, 6 says that a task is done.
async fn serve(
    mut link: Link,
    device: &Device,
    way: &Way,
    is_measuring: &AtomicBool,
    published: &AtomicU64,
    (open, trial): (&mut Option<u64>, &mut Option<(String, Instant)>),
) -> io::Result<()> {
    let measure =
        |n: u64| (u16::try_from(4 + n % 2).expect("small"), json!({ "n": n, "ts": FIRST_MS + n as i64 }));
    if let Some(n) = *open {
        let (id, payload) = measure(n);
        link.say(device, "telemetry", id, &payload).await?;
    }
    let mut measures = tokio::time::interval(way.every);
    measures.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        let trial_left =
            trial.as_ref().map_or(PATIENCE, |(_, at)| at.saturating_duration_since(Instant::now()));
        let packet = tokio::select! {
            packet = link.packets.recv() => packet.ok_or(io::ErrorKind::UnexpectedEof)?,
            () = sleep(trial_left), if trial.is_some() => {
                // Said again until it is acknowledged, over as many connections as it takes.
                if let Some((digest, at)) = trial {
                    *at = Instant::now() + PATIENCE;
                    link.say(device, "task", 6, &json!({ "digest": digest, "state": "Done" })).await?;
                }
                continue;
            }
            _ = measures.tick() => {
                match heard_at.elapsed() {
                    silence if silence > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
                    silence if silence > PATIENCE / 2 => link.send(0xc0, &[]).await?,
                    _ => {}
                }
                if open.is_none() && is_measuring.load(Ordering::SeqCst) {
                    let n = device.done().acknowledged + 1;
                    *open = Some(n);
                    published.fetch_add(1, Ordering::SeqCst);
                    let (id, payload) = measure(n);
                    link.say(device, "telemetry", id, &payload).await?;
                }
                continue;
            }
        };
        heard_at = Instant::now();
        match packet {
            (0x40, id) if id == 6_u16.to_be_bytes() => *trial = None,
            (0x40, id) => {
                if let Some(n) = *open
                    && id == measure(n).0.to_be_bytes()
                {
                    device.done().acknowledged = n;
                    *open = None;
                }
            }
            (kind, body) if kind & 0xf0 == 0x30 => {
                let (topic, id, payload) = published_in(kind, &body).ok_or(io::ErrorKind::InvalidData)?;
                if let Some(id) = id {
                    link.send(0x40, &id.to_be_bytes()).await?;
                }
                if topic.ends_with("/offer") {
                    let offer: Value = serde_json::from_slice(payload)?;
                    *trial = Some(take(&mut link, device, way, &offer).await?);
                }
            }
            _ => {}
        }
    }
}

/// The topic, the packet identifier of QoS 1, and the payload of a PUBLISH.
fn published_in(kind: u8, body: &[u8]) -> Option<(&str, Option<u16>, &[u8])> {
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let topic = std::str::from_utf8(body.get(2..2 + length)?).ok()?;
    let rest = body.get(2 + length..)?;
    match kind & 0b110 {
        0 => Some((topic, None, rest)),
        _ => Some((topic, Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?)),
    }
}

/// Fetches and runs what is offered, unless it runs already. Gives what is on trial, and until when.
async fn take(link: &mut Link, device: &Device, way: &Way, offer: &Value) -> io::Result<(String, Instant)> {
    let member = |name: &str| offer[name].as_str().unwrap_or_default().to_owned();
    let (digest, path) = (member("digest"), member("path"));
    let window = Duration::from_secs(offer["health_window"].as_u64().unwrap_or(30));
    if device.done().ran.contains_key(&digest) {
        return Ok((digest, Instant::now()));
    }
    link.say(device, "task", 3, &json!({ "digest": digest, "state": "Fetching" })).await?;
    let place = way.places.acquire().await.map_err(io::Error::other)?;
    let fetched = timeout(PATIENCE, fetch(&way.http, &path, &device.credential)).await?;
    drop(place);
    // A node that ends in the middle leaves a part of it.
    if fetched? != offer["size"].as_u64().unwrap_or_default() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    {
        let mut done = device.done();
        *done.ran.entry(digest.clone()).or_default() += 1;
        done.running = Some(digest.clone());
    }
    link.say(device, "task", 3, &json!({ "digest": digest, "state": "Applying" })).await?;
    Ok((digest, Instant::now() + window))
}

/// The size of what is at a path.
async fn fetch(http: &str, path: &str, credential: &str) -> io::Result<u64> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {http}\r\nauthorization: Bearer {credential}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&answer[..end]).into_owned()));
    }
    Ok((answer.len() - end - 4) as u64)
}
