//! One board: it opens its line, observes what waits for it, says what it is, and then what it measures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dimpl::Config;
use motehub_protocol::coap::{CallId, Code, Event, Failure, Method, Request, Response, format};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::fleet::{Deed, Fact, Known};
use super::line::Line;
use super::update::Update;
use crate::riot::Numbers;

/// The largest datagram that is read.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// How long the hub may take to answer; then the board takes its line for broken, as after a new start of the hub.
const WAIT_MS: u64 = 25_000;
/// A board whose line is broken begins anew after so long.
const AGAIN_MS: u64 = 5_000;
/// What a board observes.
const OBSERVED: [&str; 3] = ["command", "offer", "delta"];

/// How a board is.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) hub: SocketAddr,
    /// Of a hundred datagrams, in and out, so many are lost.
    pub(super) loss: u64,
    /// How long each takes at most.
    pub(super) delay: Duration,
    pub(super) measure_every: Duration,
    /// How many times as fast as in the field an update is tried out.
    pub(super) speed: u64,
    pub(super) facts: mpsc::Sender<Fact>,
}

/// What a request is about.
enum About {
    Observed(&'static str),
    Artifact(String, Duration),
    Kept(String),
    Said,
}

pub(super) struct Board {
    known: Known,
    proof: Option<Arc<Config>>,
    manner: Manner,
    socket: Arc<UdpSocket>,
    numbers: Numbers,
    line: Line,
    calls: HashMap<CallId, About>,
    has_begun: bool,
    is_off: bool,
    /// The last command that was done, which may be told again.
    done: Option<String>,
    /// What runs, after a restart too.
    running: Option<String>,
    update: Option<Update>,
    measure_at: Option<Instant>,
    again_at: Option<Instant>,
}

impl Board {
    pub(super) fn new(
        known: Known,
        proof: Option<Arc<Config>>,
        socket: UdpSocket,
        seed: u64,
        manner: Manner,
    ) -> Self {
        let mut numbers = Numbers::new(seed);
        let line = Line::new(manner.hub, None, Numbers::new(numbers.draw()));
        Self {
            known,
            proof,
            manner,
            socket: Arc::new(socket),
            numbers,
            line,
            calls: HashMap::new(),
            has_begun: false,
            is_off: true,
            done: None,
            running: None,
            update: None,
            measure_at: None,
            again_at: None,
        }
    }

    /// Lives until it is stopped. It starts some time within its first measurement, so that not all do at once.
    pub(super) async fn live(mut self, mut deeds: mpsc::Receiver<Deed>, mut stopped: watch::Receiver<bool>) {
        let spread = self.manner.measure_every.as_millis().max(1) as u64;
        self.again_at = Some(Instant::now() + Duration::from_millis(self.numbers.draw() % spread));
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            self.flush().await;
            let line = self.line.next_moment().filter(|_| !self.is_off);
            let next = [line, self.measure_at, self.again_at, self.tried_until()];
            let wake = next.into_iter().flatten().min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                Ok((length, from)) = self.socket.recv_from(&mut buffer) => {
                    if !self.is_off && from == self.manner.hub && !self.is_lost() {
                        self.line.datagram(&buffer[..length]);
                        self.heard();
                    }
                }
                () = sleep_until(wake) => self.due(),
                deed = deeds.recv() => match deed {
                    Some(Deed::Reboot) => self.boot(),
                    Some(Deed::PowerOff) => self.off(),
                    None => return,
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    fn fact(&self, fact: Fact) {
        let _ = self.manner.facts.try_send(fact);
    }

    fn is_lost(&mut self) -> bool {
        self.manner.loss > 0 && self.numbers.draw() % 100 < self.manner.loss
    }

    fn off(&mut self) {
        self.is_off = true;
        (self.measure_at, self.again_at) = (None, None);
        self.calls.clear();
    }

    /// It starts: what it had in memory is gone.
    fn boot(&mut self) {
        self.off();
        self.is_off = false;
        self.update = self.update.take().map(Update::after_restart);
        self.open();
        self.fact(Fact::Booted { id: self.known.id.clone() });
    }

    fn open(&mut self) {
        self.calls.clear();
        self.again_at = None;
        self.has_begun = false;
        self.update.take_if(|update| matches!(update, Update::Fetching(_)));
        self.line = Line::new(self.manner.hub, self.proof.clone(), Numbers::new(self.numbers.draw()));
        self.begin_if_open();
    }

    /// Once its line is open it observes, announces itself and measures.
    fn begin_if_open(&mut self) {
        if !self.line.is_open || std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        for kind in OBSERVED {
            let request = Request { observe: Some(true), ..Request::new(Method::Get, &self.path(kind)) };
            self.request(request, About::Observed(kind));
        }
        self.say(
            "announce",
            &json!({
                "protocol": 1, "model": "virtual", "firmware": "sim-coap", "version": "1.0.0",
                "capabilities": ["relay"], "running": self.running,
            }),
        );
        self.say_kept();
        self.measure_at = Some(Instant::now());
        self.fact(Fact::Connected { id: self.known.id.clone() });
    }

    fn path(&self, kind: &str) -> String {
        format!("/devices/{}/{kind}", self.known.id)
    }

    fn request(&mut self, request: Request, about: About) {
        let now = self.line.now_ms();
        match self.line.endpoint.request(self.manner.hub, request, WAIT_MS, now) {
            Ok(call) => drop(self.calls.insert(call, about)),
            Err(_) => self.again(),
        }
    }

    fn say(&mut self, kind: &str, payload: &Value) {
        self.say_about(kind, payload, About::Said);
    }

    fn say_about(&mut self, kind: &str, payload: &Value, about: About) {
        let payload = payload.to_string().into_bytes();
        let request =
            Request { payload, format: Some(format::JSON), ..Request::new(Method::Post, &self.path(kind)) };
        self.request(request, about);
    }

    /// Says that it keeps an update, over each line until the hub has confirmed it.
    fn say_kept(&mut self) {
        if let Some(Update::Kept(digest)) = self.update.as_ref().filter(|_| self.has_begun) {
            let digest = digest.clone();
            let report = json!({ "digest": digest, "state": "Done" });
            self.say_about("task", &report, About::Kept(digest));
        }
    }

    /// Until when an update is tried out.
    fn tried_until(&self) -> Option<Instant> {
        self.update.as_ref().filter(|_| !self.is_off).and_then(Update::tried_until)
    }

    /// Its line is of no use any more.
    fn again(&mut self) {
        if !self.is_off && self.again_at.is_none() {
            let after = AGAIN_MS / 2 + self.numbers.draw() % AGAIN_MS;
            self.again_at = Some(Instant::now() + Duration::from_millis(after));
            self.measure_at = None;
        }
    }

    fn due(&mut self) {
        let now = Instant::now();
        if self.again_at.is_some_and(|at| at <= now) {
            return match self.is_off {
                true => self.boot(),
                false => self.open(),
            };
        }
        if self.is_off {
            return;
        }
        self.line.tick();
        self.heard();
        if self.measure_at.is_some_and(|at| at <= now) {
            self.measure_at = Some(now + self.manner.measure_every);
            let t = 20.0 + (self.numbers.draw() % 100) as f64 / 10.0;
            self.say("telemetry", &json!({ "t": t }));
        }
        if let Some(tried) = self.update.take_if(|update| update.tried_until().is_some_and(|at| at <= now)) {
            let digest = tried.digest().to_owned();
            self.update = Some(Update::Kept(digest.clone()));
            self.say_kept();
            self.fact(Fact::Updated { id: self.known.id.clone(), digest });
        }
    }

    fn heard(&mut self) {
        if self.line.is_broken {
            self.again();
        }
        self.begin_if_open();
        while let Some(event) = self.line.endpoint.poll_event() {
            match event {
                Event::Answered { call, response } => self.answered(call, &response),
                Event::Failed { call, failure } => {
                    let about = self.calls.remove(&call);
                    let is_of_update = matches!(about, Some(About::Artifact(..) | About::Kept(_)));
                    if is_of_update || failure != Failure::Busy {
                        self.again();
                    }
                }
                Event::Asked { exchange, .. } => self.line.endpoint.ignore(exchange),
                Event::ObserverGone { .. } => {}
            }
        }
    }

    fn answered(&mut self, call: CallId, response: &Response) {
        let goes_on = response.observe.is_some() && response.code.is_success();
        let about = match goes_on {
            true => match self.calls.get(&call) {
                Some(About::Observed(kind)) => About::Observed(kind),
                _ => return,
            },
            false => match self.calls.remove(&call) {
                Some(about) => about,
                None => return,
            },
        };
        match about {
            About::Observed(kind) if goes_on => {
                if let Ok(told) = serde_json::from_slice::<Value>(response.payload()) {
                    self.told(kind, &told);
                }
            }
            // It observes nothing any more, or is not let in.
            About::Observed(_) => self.again(),
            // It is said again over the next line.
            About::Kept(_) if response.code == Code::UNAVAILABLE => self.again(),
            About::Kept(digest) => {
                self.update.take_if(|update| *update == Update::Kept(digest));
                self.taken(response);
            }
            About::Said => self.taken(response),
            About::Artifact(digest, health) => self.fetched(digest, health, response),
        }
    }

    /// What it said was taken, or was not.
    fn taken(&self, response: &Response) {
        if !response.code.is_success() {
            let why = String::from_utf8_lossy(response.payload()).into_owned();
            self.fact(Fact::Refused { id: self.known.id.clone(), code: response.code.to_string(), why });
        }
    }

    fn told(&mut self, kind: &str, told: &Value) {
        match kind {
            "command" => {
                let Some(id) = told["id"].as_str().map(str::to_owned) else { return };
                if self.done.as_ref() != Some(&id) {
                    self.done = Some(id.clone());
                    self.fact(Fact::Command { id: self.known.id.clone(), name: told["name"].clone() });
                }
                self.say("reply", &json!({ "id": id, "ok": true, "result": told["args"] }));
            }
            "delta" => self.say("shadow", &json!({ "state": { "reported": told["state"] } })),
            _ => {
                let (Some(digest), Some(path)) = (told["digest"].as_str(), told["path"].as_str()) else {
                    return;
                };
                if self.update.as_ref().is_some_and(|update| update.digest() == digest) {
                    return;
                }
                let health = Duration::from_secs(told["health_window"].as_u64().unwrap_or(30));
                self.update = Some(Update::Fetching(digest.to_owned()));
                self.say("task", &json!({ "digest": digest, "state": "Fetching" }));
                let request = Request::new(Method::Get, path);
                self.request(request, About::Artifact(digest.to_owned(), health));
            }
        }
    }

    /// All blocks came: it is what it should be, or it is not taken.
    fn fetched(&mut self, digest: String, health: Duration, response: &Response) {
        // Another one may have been offered meanwhile.
        if self.update.take_if(|update| *update == Update::Fetching(digest.clone())).is_none() {
            return;
        }
        let sum = Sha256::digest(response.payload());
        let sum = sum.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        if !response.code.is_success() || sum != digest {
            let reason = format!("{} with other bytes than were offered", response.code);
            return self.say("task", &json!({ "digest": digest, "state": "Failed", "reason": reason }));
        }
        self.say("task", &json!({ "digest": digest, "state": "Applying" }));
        self.running = Some(digest.clone());
        let health = health / u32::try_from(self.manner.speed.max(1)).unwrap_or(u32::MAX);
        self.update = Some(Update::trying(digest, health));
    }

    async fn flush(&mut self) {
        if self.is_off {
            return;
        }
        while let Some(bytes) = self.line.poll_transmit() {
            if self.is_lost() {
                continue;
            }
            let most = self.manner.delay.as_millis() as u64;
            if most == 0 {
                let _ = self.socket.send_to(&bytes, self.manner.hub).await;
                continue;
            }
            let after = Duration::from_millis(self.numbers.draw() % (most + 1));
            let (socket, hub) = (self.socket.clone(), self.manner.hub);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let _ = socket.send_to(&bytes, hub).await;
            });
        }
    }
}

#[cfg(test)]
mod tests;
