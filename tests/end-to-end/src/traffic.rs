//! Numbers that one program says and another one hears, both with sessions that are kept, over as many connections as it
//! takes. Whoever loses a connection goes to the next address; whoever waits asks whether the broker is there.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::session::Session;
use crate::wait::{until_within, waited};

/// How often a number is said.
const EVERY: Duration = Duration::from_millis(20);
/// After so long a silence the broker is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(3);
/// So many silences long it may take to answer.
const ANSWER_SILENCES_MAX: u32 = 3;
/// So many numbers may be on their way: fewer than may wait for a session.
const AHEAD_MAX: u64 = 300;
/// How long the last number may be on its way, and how long something may come behind it.
const LAST_WITHIN: Duration = Duration::from_secs(60);
const BEHIND: Duration = Duration::from_secs(8);

/// What one pair of programs did.
#[derive(Debug, Default)]
struct Numbers {
    said: AtomicU64,
    newest: AtomicU64,
    heard: Mutex<Vec<u64>>,
    stop: AtomicBool,
    is_over: AtomicBool,
    unanswered: AtomicU64,
    forgotten: AtomicU64,
}

/// How one of them reaches the hub.
#[derive(Clone)]
struct Way {
    addresses: Vec<String>,
    client: String,
    token: String,
    topic: String,
    qos: u8,
    /// After so many silences it gives a connection up.
    silences_max: u32,
}

/// A running pair.
pub struct Traffic {
    numbers: Arc<Numbers>,
    speaker: JoinHandle<()>,
    listener: JoinHandle<()>,
}

/// What became of it.
#[derive(Debug)]
pub struct Heard {
    /// All numbers up to this one were acknowledged.
    pub said: u64,
    /// All that was heard, in its order.
    pub numbers: Vec<u64>,
    /// How often the broker did not answer to a ping.
    pub unanswered: u64,
    /// How often a session was not there any more.
    pub forgotten: u64,
}

impl Traffic {
    /// A pair by these addresses, each the first one first. Who is `patient` never gives up a connection that lives.
    pub fn start(qos: u8, speaks: &[String], hears: &[String], token: &str, is_patient: bool) -> Self {
        let numbers = Arc::new(Numbers::default());
        let name = format!("{qos}-{}", if is_patient { "patient" } else { "hasty" });
        let way = |addresses: &[String], who: &str| Way {
            addresses: addresses.to_vec(),
            client: format!("{who}-{name}"),
            token: token.to_owned(),
            topic: format!("numbers/{name}"),
            qos,
            silences_max: if is_patient { u32::MAX } else { 3 },
        };
        let (speaks, hears) = (way(speaks, "speaker"), way(hears, "listener"));
        let mut first = Session::connect(&hears.addresses[0], false, &hears.client, token).expect("let in");
        first.subscribe(&hears.topic, qos).expect("it is granted");
        drop(first);
        let (for_speaker, for_listener) = (numbers.clone(), numbers.clone());
        let speaker = std::thread::spawn(move || speak(&speaks, &for_speaker));
        let listener = std::thread::spawn(move || listen(&hears, &for_listener));
        Self { numbers, speaker, listener }
    }

    /// How many numbers were acknowledged.
    pub fn said(&self) -> u64 {
        self.numbers.said.load(Ordering::SeqCst)
    }

    /// The largest number that was heard.
    pub fn newest(&self) -> u64 {
        self.numbers.newest.load(Ordering::SeqCst)
    }

    /// Says no more, and waits until the last was heard, and for what comes behind it.
    pub fn end(self) -> Heard {
        let Self { numbers, speaker, listener } = self;
        numbers.stop.store(true, Ordering::SeqCst);
        speaker.join().expect("the speaker ends");
        let said = numbers.said.load(Ordering::SeqCst);
        let is_heard = || numbers.newest.load(Ordering::SeqCst) >= said;
        let came = waited(LAST_WITHIN, is_heard);
        until_within(2 * BEHIND, "what comes behind", {
            let begun = std::time::Instant::now();
            move || (begun.elapsed() > BEHIND).then_some(())
        });
        numbers.is_over.store(true, Ordering::SeqCst);
        listener.join().expect("the listener ends");
        let heard = std::mem::take(&mut *numbers.heard.lock().expect("the numbers"));
        assert!(came, "{said} was never heard, but {:?}", heard.last());
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let (unanswered, forgotten) = (count(&numbers.unanswered), count(&numbers.forgotten));
        Heard { said, numbers: heard, unanswered, forgotten }
    }
}

impl Way {
    /// Connects, over and over; `None` when there is no need any more.
    fn connect(&self, tries: &mut usize, is_over: impl Fn() -> bool) -> Option<Session> {
        while !is_over() {
            let address = &self.addresses[*tries % self.addresses.len()];
            *tries += 1;
            if let Ok(link) = Session::connect(address, false, &self.client, &self.token)
                && link.patience(SILENCE).is_ok()
            {
                return Some(link);
            }
            waited(Duration::from_millis(300), &is_over);
        }
        None
    }
}

/// Asks at a silence; an error if it asks in vain, or was silent too long.
struct Pulse {
    /// Silences since the broker was asked; none if it has answered.
    asked: Option<u32>,
    silences: u32,
}

impl Pulse {
    const START: Self = Self { asked: None, silences: 0 };

    /// The next packet that is no answer to a ping; `None` at a silence.
    fn packet(
        &mut self,
        link: &mut Session,
        way: &Way,
        numbers: &Numbers,
    ) -> io::Result<Option<(u8, Vec<u8>)>> {
        match link.packet() {
            Ok((0xd0, _)) => {
                self.asked = None;
                Ok(None)
            }
            Ok(packet) => {
                *self = Self::START;
                Ok(Some(packet))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if let Some(since) = &mut self.asked {
                    *since += 1;
                    if *since < ANSWER_SILENCES_MAX {
                        return Ok(None);
                    }
                    numbers.unanswered.fetch_add(1, Ordering::SeqCst);
                    return Err(error);
                }
                self.silences += 1;
                if self.silences > way.silences_max {
                    return Err(error);
                }
                self.asked = Some(0);
                link.send(0xc0, &[])?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A number that is not acknowledged to the end; whether the broker has it.
type Open = Option<(u64, bool)>;

fn speak(way: &Way, numbers: &Numbers) {
    let (mut tries, mut open, mut is_known) = (0, None, false);
    let is_over = |open: &Open| numbers.stop.load(Ordering::SeqCst) && open.is_none();
    while let Some(mut link) = way.connect(&mut tries, || is_over(&open)) {
        if std::mem::replace(&mut is_known, true) && !link.is_present {
            numbers.forgotten.fetch_add(1, Ordering::SeqCst);
        }
        while !is_over(&open) && say(&mut link, way, numbers, &mut open).is_ok() {}
    }
}

/// Says one number to the end.
fn say(link: &mut Session, way: &Way, numbers: &Numbers, open: &mut Open) -> io::Result<()> {
    let kind = 0x30 | way.qos << 1;
    let id = |number: u64| u16::try_from(1 + number % 60_000).expect("small");
    let (number, is_received) = match *open {
        Some((number, is_received)) => {
            match is_received {
                true => link.send(0x62, &id(number).to_be_bytes())?,
                false => link.publish_as(kind | 8, &way.topic, id(number), &number.to_string())?,
            }
            (number, is_received)
        }
        None => {
            waited(EVERY, || numbers.stop.load(Ordering::SeqCst));
            let next = numbers.said.load(Ordering::SeqCst) + 1;
            let has_room = || next <= numbers.newest.load(Ordering::SeqCst) + AHEAD_MAX;
            if numbers.stop.load(Ordering::SeqCst) || !has_room() {
                return Ok(());
            }
            *open = Some((next, false));
            link.publish_as(kind, &way.topic, id(next), &next.to_string())?;
            (next, false)
        }
    };
    let (mut pulse, mut is_received) = (Pulse::START, is_received);
    loop {
        let Some((kind, body)) = pulse.packet(link, way, numbers)? else { continue };
        if body != id(number).to_be_bytes() {
            continue;
        }
        match kind {
            0x50 if !is_received => {
                is_received = true;
                *open = Some((number, true));
                link.send(0x62, &body)?;
            }
            0x40 | 0x70 => {
                *open = None;
                numbers.said.store(number, Ordering::SeqCst);
                return Ok(());
            }
            _ => {}
        }
    }
}

fn listen(way: &Way, numbers: &Numbers) {
    let is_over = || numbers.is_over.load(Ordering::SeqCst);
    let (mut tries, mut held) = (0, std::collections::BTreeSet::new());
    while let Some(mut link) = way.connect(&mut tries, is_over) {
        if !link.is_present {
            numbers.forgotten.fetch_add(1, Ordering::SeqCst);
        }
        let mut pulse = Pulse::START;
        while !is_over()
            && let Ok(packet) = pulse.packet(&mut link, way, numbers)
        {
            let Some((kind, body)) = packet else { continue };
            let done = match kind >> 4 {
                3 => {
                    let message = link.read(kind, &body);
                    if message.qos < 2 || held.insert(message.id) {
                        let number = message.payload.parse().expect("a number");
                        numbers.heard.lock().expect("the numbers").push(number);
                        numbers.newest.fetch_max(number, Ordering::SeqCst);
                    }
                    link.send(if message.qos == 2 { 0x50 } else { 0x40 }, &message.id.to_be_bytes())
                }
                6 => {
                    held.remove(&u16::from_be_bytes([body[0], body[1]]));
                    link.send(0x70, &body)
                }
                _ => Ok(()),
            };
            if done.is_err() {
                break;
            }
        }
    }
}

impl Heard {
    /// Nothing that was acknowledged is missing, and everything was heard for the first time in its order; with QoS 2
    /// once.
    pub fn must_be_all(&self, qos: u8, what: &str) {
        let (mut newest, mut again, mut back) = (0, 0, 0);
        for number in &self.numbers {
            assert!(*number <= newest + 1, "{what}: {number} came after {newest}");
            if *number <= newest {
                again += 1;
                back = back.max(newest - number);
            }
            newest = newest.max(*number);
        }
        eprintln!(
            "{what}: {} said, {} heard again, at most {back} late; {} pings unanswered",
            self.said, again, self.unanswered
        );
        assert!(newest >= self.said, "{what}: of {} the last that came is {newest}", self.said);
        assert_eq!(self.forgotten, 0, "{what}: a session was forgotten");
        if qos == 2 {
            assert_eq!(again, 0, "{what}: some came twice");
        }
    }
}
