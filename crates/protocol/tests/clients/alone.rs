//! Our endpoint on a socket of its own: a server with a few resources, and a client.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use motehub_protocol::coap::{
    CallId, Code, Endpoint, Event, Failure, Limits, Method, ObserverId, Request, Response, format,
};

/// The size of `/large`.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;
/// How long anything may take on a busy machine, over a network that loses.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn large(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}

/// What others may know of the server.
#[derive(Default)]
pub(crate) struct State {
    things: HashMap<String, Vec<u8>>,
    pub(crate) observers: usize,
}

/// A server that runs until it is dropped.
pub(crate) struct Alone {
    pub(crate) address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Alone {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (state, stop) = (Arc::<(Mutex<State>, Condvar)>::default(), Arc::<AtomicBool>::default());
        let server = Server { socket, endpoint: endpoint(), state: state.clone(), observers: HashMap::new() };
        let stopped = stop.clone();
        let thread = Some(std::thread::spawn(move || server.run(&stopped)));
        Self { address, state, stop, thread }
    }

    /// What was put there.
    pub(crate) fn thing(&self, path: &str) -> Option<Vec<u8>> {
        self.state.0.lock().unwrap().things.get(path).cloned()
    }

    pub(crate) fn wait_for(&self, what: &str, fact: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.state;
        let state = state.lock().unwrap();
        let waited = changed.wait_timeout_while(state, PATIENCE, |state| !fact(state)).unwrap();
        assert!(!waited.1.timed_out(), "waited in vain: {what}");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Server {
    socket: UdpSocket,
    endpoint: Endpoint,
    state: Arc<(Mutex<State>, Condvar)>,
    observers: HashMap<ObserverId, String>,
}

impl Server {
    fn run(mut self, stop: &AtomicBool) {
        let started = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = step(&self.socket, &mut self.endpoint, started);
            while let Some(event) = self.endpoint.poll_event() {
                match event {
                    Event::Asked { exchange, request, .. } => {
                        let path = request.path.join("/");
                        let (response, is_changed) = self.answer(&path, &request);
                        if let Some(observer) = self.endpoint.respond(exchange, response, now) {
                            self.observers.insert(observer, path.clone());
                        }
                        if is_changed {
                            self.tell(&path, now);
                        }
                    }
                    Event::ObserverGone { observer } => drop(self.observers.remove(&observer)),
                    Event::Answered { .. } | Event::Failed { .. } => {}
                }
                self.state.0.lock().unwrap().observers = self.observers.len();
                self.state.1.notify_all();
            }
            flush(&self.socket, &mut self.endpoint);
        }
    }

    fn answer(&self, path: &str, request: &Request) -> (Response, bool) {
        let mut state = self.state.0.lock().unwrap();
        let things = &mut state.things;
        let is_thing = path.starts_with("things/");
        match (request.method, path) {
            (Method::Get, ".well-known/core") => {
                let links = b"</large>;sz=65536,</things/a>;rt=\"thing\"".to_vec();
                (Response::with(Code::CONTENT, format::LINKS, links), false)
            }
            (Method::Get, "large") => {
                (Response::with(Code::CONTENT, format::BYTES, large(LARGE_BYTES)), false)
            }
            (Method::Get, path) => match things.get(path) {
                Some(body) => {
                    let content = Response::with(Code::CONTENT, format::TEXT, body.clone());
                    (Response { observe: Some(0), ..content }, false)
                }
                None => (Response::text(Code::NOT_FOUND, "there is none"), false),
            },
            (Method::Put, path) if is_thing => {
                let former = things.insert(path.to_owned(), request.payload.clone());
                (Response::new(if former.is_some() { Code::CHANGED } else { Code::CREATED }), true)
            }
            (Method::Post, path) if is_thing => {
                things.entry(path.to_owned()).or_default().extend_from_slice(&request.payload);
                (Response::new(Code::CHANGED), true)
            }
            (Method::Delete, path) if is_thing => {
                things.remove(path);
                (Response::new(Code::DELETED), true)
            }
            _ => (Response::new(Code::METHOD_NOT_ALLOWED), false),
        }
    }

    fn tell(&mut self, path: &str, now: u64) {
        let body = self.state.0.lock().unwrap().things.get(path).cloned();
        for (observer, _) in self.observers.iter().filter(|(_, observed)| *observed == path) {
            let response = match &body {
                Some(body) => Response::with(Code::CONTENT, format::TEXT, body.clone()),
                None => Response::new(Code::NOT_FOUND),
            };
            self.endpoint.notify(*observer, response, now);
        }
    }
}

/// Asks a server, and waits for so many answers.
pub(crate) fn ask(at: SocketAddr, request: Request, answers: usize) -> Vec<Result<Response, Failure>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut endpoint = endpoint();
    let started = Instant::now();
    let wait_ms = PATIENCE.as_millis() as u64;
    let asked: CallId = endpoint.request(at, request, wait_ms, 0).unwrap();
    let mut got = Vec::new();
    while got.len() < answers && started.elapsed() < PATIENCE {
        flush(&socket, &mut endpoint);
        step(&socket, &mut endpoint, started);
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::Answered { call, response } if call == asked => got.push(Ok(response)),
                Event::Failed { call, failure } if call == asked => return vec![Err(failure)],
                _ => {}
            }
        }
    }
    flush(&socket, &mut endpoint);
    got
}

fn endpoint() -> Endpoint {
    // Repeatable is not needed here, and nobody forges anything.
    let mut state = u64::from(std::process::id()) << 20 | 1;
    Endpoint::new(Limits::default(), move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// Waits for a datagram, or until something is due, but never long. Returns the time.
fn step(socket: &UdpSocket, endpoint: &mut Endpoint, started: Instant) -> u64 {
    let now = |started: Instant| started.elapsed().as_millis() as u64;
    let left = endpoint.next_timeout().map_or(100, |at| at.saturating_sub(now(started))).clamp(1, 100);
    socket.set_read_timeout(Some(Duration::from_millis(left))).unwrap();
    let mut buffer = [0; 2_048];
    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
        endpoint.datagram(from, &buffer[..length], now(started));
    }
    endpoint.handle_timeout(now(started));
    now(started)
}

fn flush(socket: &UdpSocket, endpoint: &mut Endpoint) {
    while let Some((to, bytes)) = endpoint.poll_transmit() {
        let _ = socket.send_to(&bytes, to);
    }
}
