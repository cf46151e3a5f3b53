//! Plays `tests/transcripts/{nodemcu,native,micropython,mongoose,aws,riot,esp-firmware}/*.txt` against a whole hub in this
//! process: real sockets, a real database in a folder of its own, and a clock that is moved by hand.
//!
//! - `> PACKET` a device says over MQTT, `< PACKET` it is told, in order, and nothing else; a name before the sign is
//!   the connection (`a> PINGREQ`). `> (cut)` the cable is cut; `< (nothing)`, `< (closed)`.
//! - `> GET /path` a device asks over HTTP as the NodeMCU firmware does, each time on a connection of its own;
//!   `< 200 "UPDATE"`, `< dropped` (closed without an answer), `< cut`. Every answer is held to the rules of that
//!   firmware: `Content-Length`, no chunks, header names with capitals, closed behind the answer.
//! - `> OPEN token sub-protocol` a Mongoose OS device opens its WebSocket, `< OPEN sub-protocol` or `< 401`; then
//!   `> {…}` and `< {…}` are text frames, `> (characters) {…}` one frame per character.
//! - `> coap POST /alive "reset:1"` a RIOT node says over CoAP, from a port that it uses once; with `own` before the
//!   method from the port that it listens on, with `CON` confirmably, with `cbor` with a payload in CBOR; `OBSERVE` is a
//!   GET whose answer is followed by notifications. `< coap 2.04 "…"` it is answered; `< coap GET
//!   /led` it is asked, and answers with `> coap 2.05 "1"`. There are the nodes `a` and `b`, at
//!   `{a.ip}` and `{b.ip}`.
//! - `< post "source"` a board with ESP-FIRMWARE, at 127.0.0.1, is posted a script; `> post 200 "File saved."` it answers,
//!   `> post (reset)` it breaks off.
//! - `> OPEN /gw sub-protocols` a gateway or a client of Pyaiot opens its WebSocket; without sub-protocols an older one;
//!   `> OPEN /node` a WebSocket node. `> (nodes) CONNECT …` an MQTT node, on the listener of nodes.
//! - `> sn 0c 04 04 01 003c 'mqtt-2'` a datagram of MQTT-SN, its bytes in hexadecimal digits and texts, `..` for its length;
//!   `< sn` the answer.
//! - `api POST /path {…} => 201 board=id` a person asks; `board` is remembered. `nobody …` the same without a token.
//!   A word behind the status is the problem's code.
//! - `api UPLOAD /firmware name=light version=1.3 platform=stm32 => 201 light=id digest=digest` uploads an image; `file=` its
//!   bytes.
//! - `{board}` stands for what was remembered, `{x*1000}` for a thousand x, `\xNN` for a byte of a path. What a device
//!   is told at `"…secret"` is remembered as `secret`.
//! - `~ …` what the product understood, waited for: see `facts.rs`.
//! - `@ +30s` the clock moves. The broker's own timers (keep-alive) run in real time.
//! - `! cut after 40 bytes` the next answer is aborted there by the board; `-1` is one byte before its end.
//!   `! hold` it is read to its end, but the board closes its side only with `> (close)`.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod board;
mod coap;
mod facts;
mod http;
mod mqtt;
mod rpc;
mod sensor;
mod wait;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use world::World;

/// So many transcripts play at once; those that look at counters of the process play alone.
const AT_ONCE: usize = 4;

/// What went wrong: what was expected, and what was got.
type Outcome = Result<(), String>;

#[test]
fn every_dialect_is_spoken_as_written() {
    let only = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for dialect in ["nodemcu", "native", "micropython", "mongoose", "aws", "riot", "esp-firmware"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts").join(dialect);
        let found = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let found = found.filter(|path| path.to_string_lossy().contains(&only));
        files.extend(found.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())));
    }
    assert!(!files.is_empty(), "there are no transcripts");
    files.sort();
    let (alone, together): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(_, text)| text.contains("\n~ counted "));
    let failures = Mutex::new(Vec::new());
    for (files, at_once) in [(together, AT_ONCE), (alone, 1)] {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while let Some((path, text)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(failure) = play(path, text) {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                        }
                    }
                });
            }
        });
    }
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn play(path: &Path, text: &str) -> Outcome {
    // Of its own, so that nothing of this hub outlives its transcript, its connections to the database above all.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let name = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy());
    let name = name.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
    let at = |number: usize, why: String| format!("tests/transcripts/{name}:{number}: {why}");
    let mut world = World::start(runtime.handle());
    for (index, line) in text.lines().enumerate() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&mut world, line)));
        let outcome = outcome.unwrap_or_else(|_| Err("the transcript's player panicked here".to_owned()));
        outcome.map_err(|why| at(index + 1, format!("{line}\n    {why}")))?;
    }
    world.end().map_err(|why| at(text.lines().count(), format!("at the end\n    {why}")))
}

fn step(world: &mut World, line: &str) -> Outcome {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(request) = line.strip_prefix("api ") {
        return world.person_asks(request, true);
    }
    if let Some(request) = line.strip_prefix("nobody ") {
        return world.person_asks(request, false);
    }
    let at = line.find(['>', '<', '~', '@', '!']).ok_or("no sign")?;
    let (name, text) = (line[..at].trim(), line[at + 1..].trim());
    match line.as_bytes()[at] {
        b'>' => world.device_says(name, text),
        b'<' => world.device_is_told(name, text),
        b'~' => world.understood(text),
        b'@' => world.clock_moves(text),
        _ => world.fault(text),
    }
}
