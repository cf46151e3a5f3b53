//! Virtual nodes that open a WebSocket at `/node`, as those of Pyaiot do: they say what they have when they come and
//! when they are asked, say what they measure, set what they are told and confirm it. Nothing they say is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use motehub_protocol::pyaiot::DISCOVER;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::firmware::{Firmware, Moment};
use super::fleet::{Command, Deed, Fact};
use crate::stdio;

/// Facts that wait for a reader; further ones make the nodes wait.
const FACTS_MAX: usize = 16 * 1024;
/// Deeds that wait for one node.
const DEEDS_MAX: usize = 16;
/// How long a node waits before it tries to connect again.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// How long it is off when it starts again.
const BOOT: Duration = Duration::from_millis(200);

const EXAMPLE: &str = r#"Example: two thousand weather stations, each of which starts again every ten minutes
  motehub sim ws --hub ws://127.0.0.1:8001 --nodes 2000 --firmware bmx280 --reboot-every-s 600

Commands, one JSON object per line on standard input; without "node" for all nodes:
  {"node":"NAME","do":"reboot"}   power_off

Facts, one JSON object per line on standard output, named by "fact": ready, booted, set."#;

/// Settings of virtual WebSocket nodes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Options {
    /// Where the hub serves such nodes (--nodes-ws)
    #[arg(long, value_name = "URL")]
    hub: String,
    /// How many nodes
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// What they run, in turns; repeatable [default: leds]
    #[arg(long = "firmware", value_name = "FIRMWARE")]
    firmware: Vec<Firmware>,
    /// How many times as fast as in the field they say what they measure
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    speed: u64,
    /// Each starts again so often; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    reboot_every_s: u64,
    /// The number of the first; their names follow from it
    #[arg(long, default_value_t = 1)]
    first: u32,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// Runs nodes until a signal ends them.
///
/// # Errors
/// When the address is none.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let url = format!("{}/node", options.hub.trim_end_matches('/'));
    ensure!(url.starts_with("ws://"), "--hub: {:?} is no address such as ws://127.0.0.1:8001", options.hub);
    tokio::runtime::Runtime::new()?.block_on(async {
        let (facts, mut told) = mpsc::channel(FACTS_MAX.max(2 * options.nodes + 1));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut deeds = BTreeMap::new();
        let usual = [Firmware::Leds];
        let firmware = if options.firmware.is_empty() { &usual[..] } else { &options.firmware };
        for (number, firmware) in (0..options.nodes).zip(firmware.iter().cycle()) {
            let number = options.first.wrapping_add(u32::try_from(number).context("too many nodes")?);
            let name = format!("fd00:aaaa:bbbb::{number:x}");
            let (sender, receiver) = mpsc::channel(DEEDS_MAX);
            deeds.insert(name.clone(), sender);
            let node = Node {
                url: url.clone(),
                name,
                firmware: *firmware,
                seed: u64::from(number),
                period: firmware
                    .period_ms()
                    .map(|ms| Duration::from_millis((ms / options.speed.max(1)).max(1))),
                reboot_every: (options.reboot_every_s > 0)
                    .then(|| Duration::from_secs(options.reboot_every_s)),
                started: Instant::now(),
                set: BTreeMap::new(),
                facts: facts.clone(),
            };
            let stopped = stopped.clone();
            tasks.spawn(node.live(receiver, stopped));
        }
        let _ = facts.send(Fact::Ready).await;
        attend(options, &mut told, &deeds).await?;
        let _ = stop.send(true);
        told.close();
        while tasks.join_next().await.is_some() {}
        Ok(())
    })
}

/// Passes commands on and prints facts, until the end.
async fn attend(
    options: &Options,
    told: &mut mpsc::Receiver<Fact>,
    deeds: &BTreeMap<String, mpsc::Sender<Deed>>,
) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut lines = stdio::lines();
    let mut is_open = true;
    loop {
        tokio::select! {
            Some(fact) = told.recv() => stdio::print(&serde_json::to_string(&fact)?)?,
            line = lines.recv(), if is_open => match line {
                Some(line) => match serde_json::from_str::<Command>(&line) {
                    Ok(Command { node, deed }) => {
                        let meant = |name: &String| node.as_ref().is_none_or(|node| node == name);
                        for (_, sender) in deeds.iter().filter(|(name, _)| meant(name)) {
                            let _ = sender.try_send(deed);
                        }
                    }
                    Err(error) => eprintln!("{line:?} is no command: {error}"),
                },
                None if options.until_eof => return Ok(()),
                None => is_open = false,
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Node {
    url: String,
    name: String,
    firmware: Firmware,
    seed: u64,
    period: Option<Duration>,
    reboot_every: Option<Duration>,
    started: Instant,
    /// What was written to its resources.
    set: BTreeMap<String, String>,
    facts: mpsc::Sender<Fact>,
}

/// Why it talks no more.
enum End {
    Lost,
    Deed(Deed),
    Stopped,
}

impl Node {
    async fn live(mut self, mut deeds: mpsc::Receiver<Deed>, mut stopped: watch::Receiver<bool>) {
        self.boot().await;
        loop {
            let end = tokio::select! {
                end = self.talk(&mut deeds) => end,
                _ = stopped.wait_for(|stopped| *stopped) => End::Stopped,
            };
            let pause = match end {
                End::Stopped => return,
                End::Lost => RETRY_AFTER,
                End::Deed(Deed::Reboot) => BOOT,
                End::Deed(Deed::PowerOff) => {
                    tokio::select! {
                        deed = deeds.recv() => if deed.is_none() { return },
                        _ = stopped.wait_for(|stopped| *stopped) => return,
                    }
                    BOOT
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            if matches!(end, End::Deed(_)) {
                self.boot().await;
            }
        }
    }

    async fn boot(&mut self) {
        self.started = Instant::now();
        self.set.clear();
        let _ = self.facts.send(Fact::Booted { uid: self.name.clone() }).await;
    }

    async fn talk(&mut self, deeds: &mut mpsc::Receiver<Deed>) -> End {
        let Ok((mut socket, _)) = connect_async(&self.url).await else { return End::Lost };
        if say(&mut socket, self.everything()).await.is_err() {
            return End::Lost;
        }
        let far = Duration::from_secs(24 * 3600);
        let mut measure_at = Instant::now() + self.period.unwrap_or(far);
        let reboot_at = self.started + self.reboot_every.unwrap_or(far);
        loop {
            let said = tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(&text).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Lost,
                    Some(Ok(_)) => None,
                },
                deed = deeds.recv() => return deed.map_or(End::Stopped, End::Deed),
                () = sleep_until(measure_at) => {
                    measure_at += self.period.unwrap_or(far);
                    Some(self.measured())
                }
                () = sleep_until(reboot_at), if self.reboot_every.is_some() => return End::Deed(Deed::Reboot),
            };
            if let Some(said) = said.filter(|said| !said.is_empty())
                && say(&mut socket, said).await.is_err()
            {
                return End::Lost;
            }
        }
    }

    /// It compares the whole text, as the original does.
    async fn hear(&mut self, text: &str) -> Option<Map<String, Value>> {
        if text == DISCOVER {
            return Some(self.everything());
        }
        let told: Value = serde_json::from_str(text).ok()?;
        let (resource, value) = (told["endpoint"].as_str()?.to_owned(), told["payload"].as_str()?.to_owned());
        if self.firmware.at_start(&resource).is_none() || !Firmware::takes(&resource, &value) {
            return None;
        }
        self.set.insert(resource.clone(), value.clone());
        let fact = Fact::Set { uid: self.name.clone(), resource: resource.clone(), value: value.clone() };
        let _ = self.facts.send(fact).await;
        Some(Map::from_iter([(resource, Value::String(value))]))
    }

    fn moment(&self) -> Moment {
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { at_ms, seed: self.seed }
    }

    /// All its resources, and who it is.
    fn everything(&self) -> Map<String, Value> {
        let mut all = Map::from_iter([("node".to_owned(), json!(self.name))]);
        for resource in self.firmware.resources() {
            let set = self.set.get(resource).map(String::as_str).or_else(|| self.firmware.at_start(resource));
            let text = match set {
                Some(text) => Some(text.to_owned()),
                None => self.firmware.answer(resource, &self.moment()).map(|bytes| {
                    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                    String::from_utf8_lossy(bytes).into_owned()
                }),
            };
            all.extend(text.map(|text| (resource.to_owned(), Value::String(text))));
        }
        all
    }

    fn measured(&self) -> Map<String, Value> {
        let posts = self.firmware.posts(&self.moment());
        let value = |post: &String| {
            let (name, text) = post.split_once(':')?;
            Some((name.to_owned(), Value::String(text.to_owned())))
        };
        posts.iter().filter_map(value).collect()
    }
}

async fn say(socket: &mut Socket, data: Map<String, Value>) -> Result<(), ()> {
    let text = json!({ "type": "update", "data": data }).to_string();
    socket.send(Message::text(text)).await.map_err(|_| ())
}
