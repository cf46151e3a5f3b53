//! Two gateways of one hub over real sockets, with one disk and a bus in memory: what only waiting can show. What the
//! brokers do is told by the transcripts of several nodes.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod disk;
#[path = "disk/nodes.rs"]
mod disk_of_nodes;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, TokenId};
use motehub_domain::kept::{Batch, Elsewhere, Message, Principal, Recalled, Retained};
use motehub_domain::message::{Downlink, Offer};
use motehub_domain::shadow::{Refusal as NoShadow, Request, Shadow};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{
    Answer, Arrival, Client, Connection, ConnectionId, Held, Hub, Kept, Knock, Moved, Nodes, Owned,
    PassedRows, Refusal, RetainedRows, UplinkError,
};
use motehub_gateway::mqtt::{Gateway, Handle, Settings};
use motehub_protocol::MqttMessage;
use motehub_protocol::aws::Ask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use disk_of_nodes::SharedDisk;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What all nodes have.
#[derive(Default)]
struct Shared {
    disk: Mutex<SharedDisk>,
    handles: Mutex<BTreeMap<String, Handle>>,
    blocks: Mutex<u64>,
    /// Nodes to which nothing is said, though they live.
    deaf: Mutex<BTreeSet<String>>,
    /// The next session is taken, and the answer to that is lost.
    loses_answer: AtomicBool,
    /// How often nodes have read to the end what is retained.
    read_retained: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    fn answered<T>(&self, answer: T) -> Result<T, UplinkError> {
        let is_lost = self.loses_answer.swap(false, Ordering::SeqCst);
        (!is_lost).then_some(answer).ok_or_else(|| UplinkError::Unavailable("it is lost".to_owned()))
    }

    /// A node that nobody hears writes what it retained at a moment.
    fn retained_at(&self, ms: u64, topic: &str) {
        let mut batch = Batch::default();
        let message = Some(Message::plain(topic, b"kept", 0, true));
        batch.retained.insert(topic.into(), Retained { message, stamp: ms << 10 });
        let mut disk = self.disk.lock().unwrap();
        let (fence, _) = disk.starts("unheard");
        disk.write_as("unheard", fence, &mut batch, BTreeSet::new);
    }

    /// Waits until a node has read once more what is retained.
    async fn reads_retained(&self, node: &str) {
        let times = || self.read_retained.lock().unwrap().get(node).copied();
        let before = times();
        let read = async {
            while times() == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(WAIT_MAX, read).await.expect("it was not read");
    }
}

/// One node's end of it.
struct Node {
    name: String,
    shared: Arc<Shared>,
    fence: Mutex<u64>,
    words: OnceLock<mpsc::UnboundedSender<(String, Bytes)>>,
}

fn anybody() -> Client {
    let all: Vec<TopicFilter> = TopicFilter::parse("#").into_iter().collect();
    Client {
        device: None,
        token: Some(TokenId::from_parts(0, 1)),
        name: "app".to_owned(),
        rights: TopicRights { publish: all.clone(), subscribe: all },
        until: None,
        silence_max: None,
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Hub for Node {
    fn authenticate(&self, _: Knock) -> Answer<'_, Result<Client, Refusal>> {
        ready(Ok(anybody()))
    }
    fn keep<'a>(&'a self, batch: &'a Batch, held: &'a Held<'a>) -> Kept<'a> {
        let (mut batch, mut fence) = (batch.clone(), self.fence.lock().unwrap());
        let (now, lost) = self.shared.disk.lock().unwrap().write_as(&self.name, *fence, &mut batch, held);
        *fence = now;
        ready(Ok(lost))
    }
    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        let (fence, recalled) = self.shared.disk.lock().unwrap().starts(&self.name);
        *self.fence.lock().unwrap() = fence;
        ready(Ok(recalled))
    }
    fn who(&self, principals: Vec<Principal>) -> Answer<'_, Result<Vec<Option<Client>>, UplinkError>> {
        ready(Ok(principals.iter().map(|_| Some(anybody())).collect()))
    }
    fn nodes(&self) -> Option<&dyn Nodes> {
        Some(self)
    }
    fn keys(&self, _: String) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        ready(Ok(Vec::new()))
    }
    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>> {
        ready(batch.iter().map(|_| Ok(())).collect())
    }
    fn offer(&self, _: Vec<Arrival>) {}
    fn shadow(&self, _: DeviceId, _: Request) -> Answer<'_, Result<Result<Shadow, NoShadow>, UplinkError>> {
        ready(Err(UplinkError::Refused("there is none".to_owned())))
    }
    fn asked(&self, _: Principal, _: Ask) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>> {
        ready(Ok(None))
    }
    fn attach(&self, _: Connection, _: mpsc::Sender<Downlink>) -> Answer<'_, ()> {
        ready(())
    }
    fn detach(&self, _: ConnectionId) -> Answer<'_, ()> {
        ready(())
    }
    fn listens(&self, _: DeviceId) -> Answer<'_, ()> {
        ready(())
    }
    fn pending(&self, _: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        ready(Ok(None))
    }
    fn current(&self, _: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        ready(Ok(None))
    }
    fn refused(&self, _: DeviceId, _: String) -> Answer<'_, ()> {
        ready(())
    }
    fn artifact_size(&self, _: DeviceId, _: Digest) -> Answer<'_, Result<Option<usize>, UplinkError>> {
        ready(Ok(None))
    }
    fn artifact_part(&self, _: Digest, _: Range<usize>) -> Answer<'_, Result<Bytes, UplinkError>> {
        ready(Ok(Bytes::new()))
    }
    fn artifact(&self, _: Digest) -> Answer<'_, Result<Option<Bytes>, UplinkError>> {
        ready(Ok(None))
    }
}

impl Node {
    fn is_deaf(&self, other: &str) -> bool {
        let deaf = self.shared.deaf.lock().unwrap();
        deaf.contains(other) || deaf.contains(&self.name)
    }
}

impl Nodes for Node {
    fn name(&self) -> &str {
        &self.name
    }
    fn alive(&self) -> Vec<String> {
        let handles = self.shared.handles.lock().unwrap();
        handles.keys().filter(|name| **name != self.name).cloned().collect()
    }
    fn is_reached(&self) -> bool {
        !self.shared.deaf.lock().unwrap().contains(&self.name)
    }
    fn say(&self, to: &str, said: Bytes) {
        if !self.is_deaf(to)
            && let Some(words) = self.words.get()
        {
            let _ = words.send((to.to_owned(), said));
        }
    }
    fn ask(&self, owner: String, serial: u64) -> Answer<'_, bool> {
        let handle = self.shared.handles.lock().unwrap().get(&owner).cloned();
        Box::pin(async move {
            match handle.filter(|_| !self.is_deaf(&owner)) {
                Some(handle) => handle.give_up(serial, &self.name).await,
                None => false,
            }
        })
    }
    fn serials(&self) -> Answer<'_, Result<Range<u64>, UplinkError>> {
        let mut blocks = self.shared.blocks.lock().unwrap();
        *blocks += 1;
        ready(Ok(*blocks * 1_000_000..(*blocks + 1) * 1_000_000))
    }
    fn find(&self, who: Principal, client_id: Box<str>) -> Answer<'_, Result<Option<Owned>, UplinkError>> {
        let found = self.shared.disk.lock().unwrap().find(&who, &client_id);
        ready(Ok(found.map(|(serial, node)| (serial, Some(node.to_string())))))
    }
    fn take(&self, serial: u64, from: String) -> Answer<'_, Result<bool, UplinkError>> {
        self.shared.disk.lock().unwrap().take(&[serial], &from, &self.name);
        ready(self.shared.answered(true))
    }
    fn owners(&self) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        let all = self.shared.disk.lock().unwrap().elsewhere().into_iter();
        let owners: BTreeSet<String> = all.filter_map(|session| Some(session.node?.to_string())).collect();
        ready(Ok(owners.into_iter().collect()))
    }
    fn take_all(&self, from: String) -> Answer<'_, Result<(BTreeSet<u64>, u64), UplinkError>> {
        let mut disk = self.shared.disk.lock().unwrap();
        let serials = disk.of_node(&from);
        disk.take(&serials, &from, &self.name);
        ready(self.shared.answered((serials.into_iter().collect(), 1_000_000)))
    }
    fn sessions(&self, serials: RangeInclusive<u64>) -> Answer<'_, Result<Moved, UplinkError>> {
        let disk = self.shared.disk.lock().unwrap();
        let ours = disk.of_node(&self.name).into_iter().filter(|serial| serials.contains(serial));
        let (sessions, passed): (Vec<_>, Vec<_>) = ours.filter_map(|serial| disk.session(serial)).unzip();
        ready(Ok((sessions, passed.into_iter().flatten().collect())))
    }
    fn passed(&self) -> Answer<'_, Result<(PassedRows, bool), UplinkError>> {
        ready(Ok((self.shared.disk.lock().unwrap().passed_to(&self.name), true)))
    }
    fn elsewhere(&self) -> Answer<'_, Result<Vec<Elsewhere>, UplinkError>> {
        ready(Ok(self.shared.disk.lock().unwrap().elsewhere()))
    }
    fn changes(&self) -> Answer<'_, Result<i64, UplinkError>> {
        let disk = self.shared.disk.lock().unwrap();
        ready(Ok(i64::try_from(disk.len() + disk.passed_len()).unwrap()))
    }
    fn tidy(&self, _: u64) -> Answer<'_, Result<(), UplinkError>> {
        ready(Ok(()))
    }
    fn retained_since(&self, stamp: u64) -> Answer<'_, Result<RetainedRows, UplinkError>> {
        let all = self.shared.disk.lock().unwrap().stamps().into_iter();
        let kept = all.filter_map(|(_, retained)| Some((retained.stamp, retained.message?)));
        let found: RetainedRows = kept.filter(|(of, _)| *of > stamp).collect();
        if found.is_empty() {
            *self.shared.read_retained.lock().unwrap().entry(self.name.clone()).or_default() += 1;
        }
        ready(Ok(found))
    }
}

struct Served {
    mqtt: SocketAddr,
    running: JoinHandle<()>,
}

async fn serve(shared: &Arc<Shared>, name: &str) -> Served {
    let (words, mut said) = mpsc::unbounded_channel();
    let (fence, cell) = (Mutex::default(), OnceLock::new());
    let node = Arc::new(Node { name: name.to_owned(), shared: shared.clone(), fence, words: cell });
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = Settings { tcp: Some(anywhere), now_ms: 1_000_000, ..Settings::default() };
    let gateway = Gateway::bind(settings, node.clone()).await.unwrap();
    let _ = node.words.set(words);
    shared.handles.lock().unwrap().insert(name.to_owned(), gateway.handle());
    let mqtt = gateway.addresses().tcp.unwrap();
    let bus = shared.clone();
    let running = tokio::spawn(async move {
        let carry = async {
            while let Some((to, bytes)) = said.recv().await {
                let handle = bus.handles.lock().unwrap().get(&to).cloned();
                if let Some(handle) = handle {
                    handle.heard(&bytes);
                }
            }
        };
        tokio::join!(carry, gateway.run(CancellationToken::new()));
    });
    Served { mqtt, running }
}

struct Talker {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Talker {
    async fn connect(node: &Served, line: &str) -> Self {
        let mut this = Self { stream: TcpStream::connect(node.mqtt).await.unwrap(), buffer: Vec::new() };
        this.say(&format!("CONNECT {line}")).await;
        this
    }
    async fn say(&mut self, line: &str) {
        self.stream.write_all(&packets::encode(true, line)).await.unwrap();
    }
    async fn next(&mut self) -> String {
        loop {
            if let Some(text) = packets::decode(true, &mut self.buffer) {
                return text;
            }
            let mut bytes = [0; 4096];
            match timeout(WAIT_MAX, self.stream.read(&mut bytes)).await.expect("nothing was heard") {
                Ok(0) | Err(_) => return "(closed)".to_owned(),
                Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
            }
        }
    }
    async fn hear(&mut self, expected: &str) {
        assert_eq!(self.next().await.split(" \"").next().unwrap(), expected);
    }
}

const KEPT: &str = "id=s user=app clean=0 expiry=3600";

#[tokio::test]
async fn a_session_follows_its_client_and_outlives_its_node() {
    let shared = Arc::new(Shared::default());
    let (a, b) = (serve(&shared, "a").await, serve(&shared, "b").await);
    let mut s = Talker::connect(&b, KEPT).await;
    s.hear("CONNACK ok").await;
    s.say("SUBSCRIBE id=1 x/#:1").await;
    s.hear("SUBACK id=1 1").await;
    let mut p = Talker::connect(&a, "id=p user=app").await;
    p.hear("CONNACK ok").await;
    p.say("PUBLISH qos=1 id=1 x/1 one").await;
    p.hear("PUBACK id=1").await;
    s.hear("PUBLISH qos=1 id=1 x/1 one").await;
    // To the other node, with what was not acknowledged.
    let mut moved = Talker::connect(&a, KEPT).await;
    moved.hear("CONNACK ok present").await;
    s.hear("DISCONNECT 0x8e").await;
    moved.hear("PUBLISH qos=1 id=1 dup x/1 one").await;
    moved.say("PUBACK id=1").await;
    p.say("PUBLISH qos=1 id=2 x/1 two").await;
    p.hear("PUBACK id=2").await;
    moved.hear("PUBLISH qos=1 id=2 x/1 two").await;
    moved.say("PUBACK id=2").await;
    // And back, and away.
    let mut s = Talker::connect(&b, KEPT).await;
    s.hear("CONNACK ok present").await;
    drop(s);
    // Its node dies as it is.
    b.running.abort();
    shared.handles.lock().unwrap().remove("b");
    p.say("PUBLISH qos=1 id=3 x/1 three").await;
    p.hear("PUBACK id=3").await;
    let mut s = Talker::connect(&a, KEPT).await;
    s.hear("CONNACK ok present").await;
    s.hear("PUBLISH qos=1 id=1 x/1 three").await;
}

#[tokio::test]
async fn the_first_who_is_alive_inherits() {
    let shared = Arc::new(Shared::default());
    let (a, b) = (serve(&shared, "a").await, serve(&shared, "b").await);
    let mut s = Talker::connect(&b, &format!("{KEPT} will=gone:bye")).await;
    s.hear("CONNACK ok").await;
    let mut w = Talker::connect(&a, "id=w user=app").await;
    w.hear("CONNACK ok").await;
    w.say("SUBSCRIBE id=1 gone:0").await;
    w.hear("SUBACK id=1 0").await;
    b.running.abort();
    shared.handles.lock().unwrap().remove("b");
    w.hear("PUBLISH gone bye").await;
    assert_eq!(shared.disk.lock().unwrap().of_node("a").len(), 1);
}

#[tokio::test]
async fn without_the_bus_the_store_says_what_others_want_and_a_session_is_taken() {
    let shared = Arc::new(Shared::default());
    let (a, b) = (serve(&shared, "a").await, serve(&shared, "b").await);
    let mut s = Talker::connect(&b, KEPT).await;
    s.hear("CONNACK ok").await;
    shared.deaf.lock().unwrap().extend(["a".to_owned(), "b".to_owned()]);
    s.say("SUBSCRIBE id=1 x/#:1").await;
    s.hear("SUBACK id=1 1").await;
    let mut p = Talker::connect(&a, "id=p user=app").await;
    p.hear("CONNACK ok").await;
    p.say("PUBLISH qos=1 id=1 x/1 one").await;
    p.hear("PUBACK id=1").await;
    // It looks by itself.
    s.hear("PUBLISH qos=1 id=1 x/1 one").await;
    let mut taken = Talker::connect(&a, KEPT).await;
    taken.hear("CONNACK ok present").await;
    taken.hear("PUBLISH qos=1 id=1 dup x/1 one").await;
    // The former owner notices when it writes next.
    s.say("PUBACK id=1").await;
    s.hear("DISCONNECT 0x8e").await;
    shared.deaf.lock().unwrap().clear();
    p.say("PUBLISH qos=1 id=2 x/1 two").await;
    p.hear("PUBACK id=2").await;
    taken.hear("PUBLISH qos=1 id=2 x/1 two").await;
}

#[tokio::test]
async fn a_session_that_was_taken_is_there_though_the_answer_was_lost() {
    let shared = Arc::new(Shared::default());
    let (a, b) = (serve(&shared, "a").await, serve(&shared, "b").await);
    let mut s = Talker::connect(&b, KEPT).await;
    s.hear("CONNACK ok").await;
    shared.deaf.lock().unwrap().insert("b".to_owned());
    shared.loses_answer.store(true, Ordering::SeqCst);
    let mut refused = Talker::connect(&a, KEPT).await;
    refused.hear("CONNACK 0x88").await;
    let mut taken = Talker::connect(&a, KEPT).await;
    taken.hear("CONNACK ok present").await;
    drop(taken);
    a.running.abort();
    shared.handles.lock().unwrap().remove("a");
    shared.deaf.lock().unwrap().clear();
    shared.loses_answer.store(true, Ordering::SeqCst);
    while shared.loses_answer.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    let mut s = Talker::connect(&b, KEPT).await;
    s.hear("CONNACK ok present").await;
}

#[tokio::test]
async fn what_a_node_retained_while_it_was_cut_off_is_read_when_it_is_back() {
    let shared = Arc::new(Shared::default());
    shared.retained_at(10_000_000, "x/new");
    let b = serve(&shared, "b").await;
    shared.reads_retained("b").await;
    // It was retained long before that, and is written now that the other node is seen again.
    shared.retained_at(9_000_000, "x/late");
    let _a = serve(&shared, "a").await;
    shared.reads_retained("b").await;
    let mut s = Talker::connect(&b, "id=s user=app").await;
    s.hear("CONNACK ok").await;
    s.say("SUBSCRIBE id=1 x/#:0").await;
    s.hear("SUBACK id=1 0").await;
    s.hear("PUBLISH retain x/late kept").await;
    s.hear("PUBLISH retain x/new kept").await;
}
