//! One board: it opens its line, observes what waits for it, says what it is, and then what it measures.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dimpl::Config;
use motehub_protocol::coap::{CallId, Event, Failure, Method, Request, Response, format};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::fleet::{Deed, Fact, Known};
use super::line::Line;
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
    Artifact(String, u64),
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
    /// What is fetched or tried out.
    trial: Option<String>,
    trial_until: Option<Instant>,
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
            trial: None,
            trial_until: None,
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
            let next = [line, self.measure_at, self.again_at, self.trial_until];
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
        (self.measure_at, self.again_at, self.trial_until) = (None, None, None);
        self.calls.clear();
    }

    /// It starts: what it had in memory is gone.
    fn boot(&mut self) {
        self.off();
        self.is_off = false;
        self.open();
        self.fact(Fact::Booted { id: self.known.id.clone() });
    }

    fn open(&mut self) {
        self.calls.clear();
        self.again_at = None;
        self.has_begun = false;
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
        let payload = payload.to_string().into_bytes();
        let request =
            Request { payload, format: Some(format::JSON), ..Request::new(Method::Post, &self.path(kind)) };
        self.request(request, About::Said);
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
        if self.trial_until.is_some_and(|at| at <= now) {
            self.trial_until = None;
            if let Some(digest) = self.trial.take() {
                self.say("task", &json!({ "digest": digest, "state": "Done" }));
                self.fact(Fact::Updated { id: self.known.id.clone(), digest });
            }
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
                    let was_cut = matches!(self.calls.remove(&call), Some(About::Artifact(..)));
                    if was_cut {
                        self.trial = None;
                    }
                    if failure != Failure::Busy {
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
            About::Said if !response.code.is_success() => {
                let why = String::from_utf8_lossy(response.payload()).into_owned();
                self.fact(Fact::Refused { id: self.known.id.clone(), code: response.code.to_string(), why });
            }
            About::Said => {}
            About::Artifact(digest, health_ms) => self.fetched(digest, health_ms, response),
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
                if self.trial.as_deref() == Some(digest) {
                    return;
                }
                let health_ms = told["health_window"].as_u64().unwrap_or(30) * 1_000;
                self.trial = Some(digest.to_owned());
                self.say("task", &json!({ "digest": digest, "state": "Fetching" }));
                let request = Request::new(Method::Get, path);
                self.request(request, About::Artifact(digest.to_owned(), health_ms));
            }
        }
    }

    /// All blocks came: it is what it should be, or it is not taken.
    fn fetched(&mut self, digest: String, health_ms: u64, response: &Response) {
        let sum = Sha256::digest(response.payload());
        let sum = sum.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        if !response.code.is_success() || sum != digest {
            self.trial = None;
            let reason = format!("{} with other bytes than were offered", response.code);
            return self.say("task", &json!({ "digest": digest, "state": "Failed", "reason": reason }));
        }
        self.say("task", &json!({ "digest": digest, "state": "Applying" }));
        self.running = Some(digest);
        let after = Duration::from_millis(health_ms / self.manner.speed.max(1));
        self.trial_until = Some(Instant::now() + after);
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
