//! A tiny hub for virtual boards: the web pages and the broker that IoT Executor firmware and Motehub's agent
//! need, written by hand so that nothing of the product can hide a fault of the boards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use motehub_sim::nodemcu::{BoardConfig, BootReason, Command, Fact, FleetConfig, FleetHandle, Order, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

pub(crate) const CHIP: &str = "10801015";
/// Far longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct State {
    /// Chip ids whose next poll is answered with `UPDATE`.
    pub(crate) flagged: Vec<String>,
    /// The program of all boards.
    pub(crate) program: String,
    /// Head bytes of each request.
    pub(crate) requests: Vec<String>,
    /// How downloads ended for the server: `closed` or `reset`.
    pub(crate) endings: Vec<String>,
    /// Topic and payload of what boards published.
    pub(crate) published: Vec<(String, String)>,
    /// CONNECT packets, client id, user and password.
    pub(crate) logins: Vec<(String, String, String)>,
    /// Connections to the broker that were reset.
    pub(crate) resets: usize,
    /// Messages with this text are not acknowledged.
    pub(crate) deaf_to: Option<&'static str>,
    /// Topic filters that were subscribed to.
    pub(crate) subscribed: Vec<String>,
    /// Passwords that the broker refuses.
    pub(crate) refused: Vec<String>,
    /// What is served as an artifact, and what goes wrong with it.
    pub(crate) artifact: Vec<u8>,
    pub(crate) fault: Fault,
    clients: HashMap<String, mpsc::UnboundedSender<Vec<u8>>>,
}

/// What goes wrong with artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// This status, with a page that is not the script.
    Status(u16),
    /// Each answer ends after so many bytes of its body.
    Truncated(usize),
    /// The bytes are others, from this one on.
    Altered(usize),
    /// The hub says that there are so many bytes in all.
    Total(usize),
    /// The connection is closed without a word.
    Silent,
    /// Something that is not HTTP.
    Garbage,
}

pub(crate) struct Hub {
    pub(crate) http: String,
    pub(crate) mqtt: String,
    pub(crate) state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let changed = Arc::new(Notify::new());
        let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http, mqtt) = (web.local_addr().unwrap().to_string(), broker.local_addr().unwrap().to_string());
        let (at, note) = (state.clone(), changed.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = web.accept().await {
                tokio::spawn(serve_page(socket, at.clone(), note.clone()));
            }
        });
        let (at, note) = (state.clone(), changed.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = broker.accept().await {
                tokio::spawn(serve_mqtt(socket, at.clone(), note.clone()));
            }
        });
        Self { http, mqtt, state, changed }
    }

    pub(crate) fn deploy(&self, program: &str) {
        let mut state = self.state.lock().unwrap();
        state.program = program.to_owned();
        state.flagged.push(CHIP.to_owned());
    }

    /// Publishes to one client, whatever it subscribed to.
    pub(crate) fn publish(&self, client: &str, topic: &str, payload: &str) {
        let length = 2 + topic.len() + payload.len();
        let mut packet = vec![0x30, (length % 128) as u8 | 0x80, (length / 128) as u8, 0, topic.len() as u8];
        packet.extend_from_slice(topic.as_bytes());
        packet.extend_from_slice(payload.as_bytes());
        self.state.lock().unwrap().clients[client].send(packet).unwrap();
    }

    /// Waits until the hub has seen something.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// Waits for a message on a topic whose payload contains a text, for as long as it takes.
    pub(crate) async fn message(&self, topic: &str, part: &str) -> String {
        loop {
            let changed = self.changed.notified();
            let found = {
                let state = self.state.lock().unwrap();
                state.published.iter().find(|(on, text)| on.ends_with(topic) && text.contains(part)).cloned()
            };
            match found {
                Some((_, text)) => return text,
                None => changed.await,
            }
        }
    }

    /// Waits until anything changes.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn config(&self) -> FleetConfig {
        let mut config = FleetConfig::new(&self.http, &self.mqtt);
        config.boards = vec![BoardConfig {
            chip_id: CHIP.parse().unwrap(),
            credential: Some("s3cret".into()),
            device: None,
        }];
        config.boot_delay_ms = 10;
        config.wifi_join_ms = 10;
        let program = std::env::current_exe().unwrap();
        config.group_command = vec!["env".into(), "MOTEHUB_SIM_GROUP=1".into(), program.into()];
        config.group_command.extend(["group_process", "--exact", "--nocapture"].map(Into::into));
        config
    }
}

async fn serve_page(mut socket: TcpStream, state: Arc<Mutex<State>>, changed: Arc<Notify>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    if head.contains("/artifacts/") {
        let answer = {
            let mut state = state.lock().unwrap();
            state.requests.push(head.clone());
            artifact_answer(&head, &state.artifact, state.fault)
        };
        let _ = socket.write_all(&answer).await;
        let _ = socket.shutdown().await;
        let _ = socket.read(&mut [0; 16]).await;
        return;
    }
    let is_download = head.contains("/uploads/");
    let body = {
        let mut state = state.lock().unwrap();
        state.requests.push(head.clone());
        let asker = state.flagged.iter().position(|id| head.contains(&format!("?id={id}&update")));
        match asker {
            Some(index) => {
                state.flagged.remove(index);
                "UPDATE".to_owned()
            }
            None if is_download => state.program.clone(),
            None => String::new(),
        }
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = socket.write_all((head + &body).as_bytes()).await;
    let _ = socket.shutdown().await;
    let end = socket.read(&mut [0; 16]).await;
    if is_download {
        let ending = if matches!(end, Ok(0)) { "closed" } else { "reset" };
        state.lock().unwrap().endings.push(ending.to_owned());
        changed.notify_waiters();
    }
}

/// The piece that is asked for, with its fault.
fn artifact_answer(head: &str, artifact: &[u8], fault: Fault) -> Vec<u8> {
    let range = head.split("Range: bytes=").nth(1).unwrap().split("\r\n").next().unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let mut piece = artifact[first..=last].to_vec();
    let (mut status, mut total, mut sent) = (206, artifact.len(), piece.len());
    match fault {
        Fault::None => {}
        Fault::Status(other) => {
            status = other;
            piece = b"<html>not the script</html>".to_vec();
            sent = piece.len();
        }
        Fault::Truncated(bytes) => sent = bytes.min(sent),
        Fault::Altered(from) => {
            for (at, byte) in piece.iter_mut().enumerate() {
                *byte = if first + at >= from { b'!' } else { *byte };
            }
        }
        Fault::Total(bytes) => total = bytes,
        Fault::Silent => return Vec::new(),
        Fault::Garbage => return b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(),
    }
    let mut answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", piece.len());
    if status == 206 {
        answer += &format!("Content-Range: bytes {first}-{last}/{total}\r\n");
    }
    [(answer + "Connection: close\r\n\r\n").as_bytes(), &piece[..sent]].concat()
}

/// The filters of a SUBSCRIBE.
fn filters(mut rest: &[u8]) -> Vec<String> {
    let mut filters = Vec::new();
    while let [_, length, tail @ ..] = rest {
        let (filter, tail) = tail.split_at(usize::from(*length));
        filters.push(String::from_utf8(filter.to_vec()).unwrap());
        rest = &tail[1..];
    }
    filters
}

async fn serve_mqtt(socket: TcpStream, state: Arc<Mutex<State>>, changed: Arc<Notify>) {
    let (mut reader, mut writer) = socket.into_split();
    let (sender, mut packets) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(packet) = packets.recv().await {
            let _ = writer.write_all(&packet).await;
        }
    });
    loop {
        let kind = match reader.read_u8().await {
            Ok(kind) => kind,
            Err(error) => {
                if error.kind() == std::io::ErrorKind::ConnectionReset {
                    state.lock().unwrap().resets += 1;
                    changed.notify_waiters();
                }
                return;
            }
        };
        let Ok(mut length) = reader.read_u8().await.map(usize::from) else { return };
        if length & 0x80 != 0 {
            length = (length & 0x7f) + 128 * usize::from(reader.read_u8().await.unwrap());
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).await.is_err() {
            return;
        }
        let reply = {
            let mut state = state.lock().unwrap();
            match kind >> 4 {
                1 => {
                    let login = login(&body);
                    let code = if state.refused.contains(&login.2) { 4 } else { 0 };
                    state.clients.insert(login.0.clone(), sender.clone());
                    state.logins.push(login);
                    vec![0x20, 2, 0, code]
                }
                3 => {
                    let topic_end = 2 + usize::from(body[1]);
                    let qos = (kind >> 1) & 3;
                    let payload = if qos == 0 { topic_end } else { topic_end + 2 };
                    let text = |range: &[u8]| String::from_utf8(range.to_vec()).unwrap();
                    let said = text(&body[payload..]);
                    let is_heard = !state.deaf_to.is_some_and(|part| said.contains(part));
                    state.published.push((text(&body[2..topic_end]), said));
                    if qos == 1 && is_heard {
                        vec![0x40, 2, body[topic_end], body[topic_end + 1]]
                    } else {
                        Vec::new()
                    }
                }
                8 => {
                    let filters = filters(&body[2..]);
                    let codes = vec![1; filters.len()];
                    state.subscribed.extend(filters);
                    [&[0x90, 2 + codes.len() as u8, body[0], body[1]], &codes[..]].concat()
                }
                10 => vec![0xb0, 2, body[0], body[1]],
                12 => vec![0xd0, 0],
                _ => Vec::new(),
            }
        };
        changed.notify_waiters();
        let _ = sender.send(reply);
    }
}

fn login(body: &[u8]) -> (String, String, String) {
    let mut rest = &body[10..];
    let mut next = || {
        if rest.is_empty() {
            return String::new();
        }
        let (text, tail) = rest[2..].split_at(usize::from(rest[1]));
        rest = tail;
        String::from_utf8(text.to_vec()).unwrap()
    };
    (next(), next(), next())
}

/// A fact that is a boot for this reason.
pub(crate) fn booted(wanted: BootReason) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Boot { reason, .. } if *reason == wanted)
}

/// A fleet with the facts it has reported.
pub(crate) struct Watched {
    pub(crate) fleet: FleetHandle,
    pub(crate) seen: Vec<Fact>,
}

impl Watched {
    pub(crate) fn start(config: &FleetConfig) -> Self {
        Self { fleet: spawn(config).unwrap(), seen: Vec::new() }
    }

    /// Waits for the next fact that fits.
    pub(crate) async fn wait(&mut self, what: &str, fits: impl Fn(&Fact) -> bool) -> Fact {
        let found = timeout(DEADLINE, async {
            loop {
                let fact = self.fleet.next_fact().await.expect("the fleet runs");
                self.seen.push(fact.clone());
                if fits(&fact) {
                    return fact;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what} in {:#?}", self.seen))
    }

    pub(crate) async fn printed(&mut self, wanted: &str) {
        self.wait(wanted, |fact| matches!(fact, Fact::Print { text, .. } if text == wanted)).await;
    }

    pub(crate) async fn order(&self, order: Order) {
        self.fleet.command(Command { board: Some(CHIP.into()), order }).await;
    }
}
