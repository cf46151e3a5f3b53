//! One node. It listens on a port of its address, and says each thing from a port that it uses once; those that share
//! an address speak from the port that they listen on.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_protocol::coap::{Code, Endpoint, Event, Limits, Method, Request, Response, format, link};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::firmware::{Firmware, Moment};
use super::fleet::{Deed, Fact};

/// The largest datagram that is read.
const DATAGRAM_BYTES_MAX: usize = 1_500;

/// How a node is.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) hub: SocketAddr,
    /// Of a hundred datagrams, in and out, so many are lost.
    pub(super) loss: u64,
    /// How long each takes at most.
    pub(super) delay: Duration,
    pub(super) alive_every: Duration,
    /// How many times as fast as in the field it posts.
    pub(super) speed: u64,
    /// Where the picture of a camera is.
    pub(super) webcam: String,
    pub(super) facts: mpsc::Sender<Fact>,
}

/// A node that runs.
pub(super) struct Node {
    uid: String,
    firmware: Firmware,
    manner: Manner,
    socket: Arc<UdpSocket>,
    is_shared: bool,
    endpoint: Endpoint,
    numbers: Numbers,
    started: Instant,
    /// When it started the last time.
    booted_ms: u64,
    is_off: bool,
    /// What was written to its resources since it started.
    written: HashMap<String, String>,
    next_mid: u16,
    /// Words for `/alive`, and when.
    signs: VecDeque<(Instant, &'static str)>,
    post_at: Option<Instant>,
}

/// xorshift64*: repeatable, and good enough here.
#[derive(Clone)]
pub(crate) struct Numbers(pub(super) u64);

impl Numbers {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Node {
    pub(super) fn new(
        uid: String,
        firmware: Firmware,
        socket: UdpSocket,
        is_shared: bool,
        seed: u64,
        manner: Manner,
    ) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut own = Numbers(numbers.draw() | 1);
        let mut endpoint = Endpoint::new(Limits::default(), move || own.draw());
        // They answer whom they are asked by.
        endpoint.trust_addresses();
        let next_mid = numbers.draw() as u16;
        Self {
            uid,
            firmware,
            manner,
            socket: Arc::new(socket),
            is_shared,
            endpoint,
            numbers,
            started: Instant::now(),
            booted_ms: 0,
            is_off: false,
            written: HashMap::new(),
            next_mid,
            signs: VecDeque::new(),
            post_at: None,
        }
    }

    /// Lives until it is stopped.
    pub(super) async fn live(mut self, mut deeds: mpsc::Receiver<Deed>, mut stopped: watch::Receiver<bool>) {
        // Not all in the same moment.
        let spread = self.manner.alive_every.as_millis().max(1) as u64;
        let after = Duration::from_millis(self.numbers.draw() % spread.min(3_000));
        self.boot(after);
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            self.flush().await;
            let due = self.endpoint.next_timeout().map(|at| self.started + Duration::from_millis(at));
            let next = [due, self.signs.front().map(|(at, _)| *at), self.post_at];
            let wake = next.into_iter().flatten().min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Ok((length, from)) = self.socket.recv_from(&mut buffer) => {
                    if !self.is_off && !self.is_lost() {
                        let now = self.now_ms();
                        self.endpoint.datagram(from, &buffer[..length], now);
                        self.serve(now).await;
                    }
                }
                () = sleep_until(wake) => self.due().await,
                deed = deeds.recv() => match deed {
                    Some(deed) => self.obey(deed),
                    None => return,
                },
                () = end(&mut stopped) => return,
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moment(&self) -> Moment {
        Moment { at_ms: self.now_ms() - self.booted_ms, seed: self.uid.bytes().map(u64::from).sum() }
    }

    fn is_lost(&mut self) -> bool {
        self.manner.loss > 0 && self.numbers.draw() % 100 < self.manner.loss
    }

    /// It starts: one `reset`, and at once `alive`, then that from time to time.
    fn boot(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.booted_ms = self.now_ms();
        self.written.clear();
        self.is_off = false;
        self.signs = [(at, "reset"), (at, "alive")].into();
        self.post_at = self.firmware.period_ms().map(|_| at);
        let _ = self.manner.facts.try_send(Fact::Booted { uid: self.uid.clone() });
    }

    fn obey(&mut self, deed: Deed) {
        match deed {
            Deed::Reboot => self.boot(Duration::ZERO),
            Deed::PowerOff => {
                self.is_off = true;
                self.signs.clear();
                self.post_at = None;
            }
        }
    }

    async fn due(&mut self) {
        let (now, now_ms) = (Instant::now(), self.now_ms());
        self.endpoint.handle_timeout(now_ms);
        while let Some((at, word)) = self.signs.front().copied().filter(|(at, _)| *at <= now) {
            self.signs.pop_front();
            let text = format!("{word}:{}", self.uid);
            self.say("alive", &text).await;
            if word == "alive" {
                self.signs.push_back((at + self.manner.alive_every, "alive"));
            }
        }
        if let (Some(at), Some(period)) = (self.post_at.filter(|at| *at <= now), self.firmware.period_ms()) {
            for text in self.firmware.posts(&self.moment()) {
                self.say("server", &text).await;
            }
            self.post_at = Some((at + Duration::from_millis(period / self.manner.speed.max(1))).max(now));
        }
    }

    /// Not confirmable, with a token of two bytes, from a port that is used once; the answer is not read.
    async fn say(&mut self, path: &str, text: &str) {
        if self.is_lost() {
            return;
        }
        self.next_mid = self.next_mid.wrapping_add(1);
        let token = (self.numbers.draw() as u16).to_be_bytes();
        let mut bytes = vec![0x52, 0x02];
        bytes.extend(self.next_mid.to_be_bytes());
        bytes.extend(token);
        bytes.push(0xb0 | path.len() as u8);
        bytes.extend(path.as_bytes());
        bytes.extend([0x10, 0xff]);
        bytes.extend(text.as_bytes());
        if self.is_shared {
            return self.send(self.socket.clone(), bytes, self.manner.hub).await;
        }
        let Ok(own) = self.socket.local_addr() else { return };
        match UdpSocket::bind(SocketAddr::new(own.ip(), 0)).await {
            Ok(socket) => self.send(Arc::new(socket), bytes, self.manner.hub).await,
            Err(error) => eprintln!("{}: no port to speak from: {error}", self.uid),
        }
    }

    async fn send(&mut self, socket: Arc<UdpSocket>, bytes: Vec<u8>, to: SocketAddr) {
        let most = self.manner.delay.as_millis() as u64;
        if most == 0 {
            let _ = socket.send_to(&bytes, to).await;
            return;
        }
        let after = Duration::from_millis(self.numbers.draw() % (most + 1));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = socket.send_to(&bytes, to).await;
        });
    }

    async fn flush(&mut self) {
        while let Some((to, bytes)) = self.endpoint.poll_transmit() {
            if !self.is_lost() {
                self.send(self.socket.clone(), bytes, to).await;
            }
        }
    }

    async fn serve(&mut self, now_ms: u64) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Asked { exchange, request, .. } = event {
                let answer = self.answer(&request).await;
                self.endpoint.respond(exchange, answer, now_ms);
            }
        }
    }

    async fn answer(&mut self, request: &Request) -> Response {
        let path = request.path.join("/");
        match (request.method, path.as_str()) {
            (Method::Get, ".well-known/core") => {
                let link = |name| link::Link { target: format!("/{name}"), attributes: Vec::new() };
                let links: Vec<link::Link> = self.firmware.resources().into_iter().map(link).collect();
                Response::with(Code::CONTENT, format::LINKS, link::write(&links).into_bytes())
            }
            (Method::Get, "webcam") if self.firmware == Firmware::Camera => {
                Response::text(Code::CONTENT, &self.manner.webcam)
            }
            (method, name) if self.firmware.at_start(name).is_some() => {
                self.written(method, name, request).await
            }
            (Method::Get, name) => match self.firmware.answer(name, &self.moment()) {
                Some(value) => Response::with(Code::CONTENT, format::TEXT, value),
                None => Response::new(Code::NOT_FOUND),
            },
            (Method::Put | Method::Post | Method::Delete, name) => {
                let is_there = self.firmware.resources().contains(&name);
                Response::new(if is_there { Code::METHOD_NOT_ALLOWED } else { Code::NOT_FOUND })
            }
        }
    }

    /// A resource that can be written is read or written.
    async fn written(&mut self, method: Method, name: &str, request: &Request) -> Response {
        let at_start = self.firmware.at_start(name).unwrap_or_default();
        match (method, std::str::from_utf8(&request.payload)) {
            (Method::Get, _) => {
                Response::text(Code::CONTENT, self.written.get(name).map_or(at_start, String::as_str))
            }
            (Method::Put | Method::Post, Ok(text)) if Firmware::takes(name, text) => {
                self.written.insert(name.to_owned(), text.to_owned());
                let fact =
                    Fact::Set { uid: self.uid.clone(), resource: name.to_owned(), value: text.to_owned() };
                let _ = self.manner.facts.send(fact).await;
                let said = if name == "led" { format!("led:{text}") } else { String::new() };
                Response::text(Code::CHANGED, said)
            }
            (Method::Put | Method::Post | Method::Delete, _) => Response::new(Code::BAD_REQUEST),
        }
    }
}

async fn end(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
