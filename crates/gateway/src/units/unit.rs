//! The task of one unit: what it has in both ways of being reached, and what the hub wants of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::line::{Direction, Kind, Line};
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::shadow::{Deed, Delta, Part, Patch, Request, Update};
use motehub_protocol::line::{DESIRED, Reader, told};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::attached::Attached;
use super::pace::Pace;
use super::queue::{Change, Waiting};
use super::readings::Readings;
use super::{Shared, Unit, Word, dial, greeting};
use crate::hub::{Arrival, Hub};

/// How long a unit may take to take what it is told.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// How long another unit's connection to the same address is waited for.
const PLACE_MAX: Duration = Duration::from_secs(5);
/// How long what is desired as a whole may take to be looked up.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// How often it is asked whether the unit may be reached from here, if it may not at present.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A unit, with all that its task knows.
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) hub: Arc<dyn Hub>,
    pub(super) unit: Unit,
    pub(super) reader: Reader,
    pub(super) words: mpsc::Receiver<Word>,
    pub(super) stop: CancellationToken,
    pub(super) attached: Attached,
    pub(super) readings: Readings,
    pub(super) waiting: Waiting,
    pub(super) pace: Pace,
    /// When it may be dialled again.
    pub(super) dial_at: Instant,
    /// Where it greeted, if not at its own address.
    found_at: Option<SocketAddr>,
    /// It was there when it was dialled last.
    is_there: bool,
    /// What was said last of why it is not reached, so that it is said once.
    trouble: Option<String>,
}

/// A connection to a unit, and the only place for one to its address.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) _place: Option<OwnedMutexGuard<()>>,
}

/// Runs until the unit is forgotten.
pub(super) async fn run(
    shared: Arc<Shared>,
    hub: Arc<dyn Hub>,
    unit: Unit,
    words: mpsc::Receiver<Word>,
    stop: CancellationToken,
) {
    let device = unit.device;
    let reader = match Reader::new(&unit.line) {
        Ok(reader) => reader,
        // It was checked where it was entered; a gateway of another version may see it otherwise.
        Err(rejection) => return hub.refused(device, rejection.sentence).await,
    };
    let seed = device.to_string().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let (is_update, direction) = (unit.line.kind == Kind::Update, unit.line.direction);
    let mut task = Task {
        attached: Attached::new(shared.clone(), hub.clone(), device),
        readings: Readings::new(shared.clone(), hub.clone(), device),
        waiting: Waiting::new(unit.line.queue, unit.line.expiry),
        pace: Pace::new(seed),
        dial_at: Instant::now(),
        found_at: None,
        is_there: false,
        trouble: None,
        shared,
        hub,
        unit,
        reader,
        words,
        stop,
    };
    match direction {
        Direction::Dial if is_update => task.call_for_each_change().await,
        Direction::Dial | Direction::Listen => task.stand().await,
    }
    while !task.readings.is_done() {
        task.readings.delivered().await;
    }
    task.attached.gone().await;
}

impl Task {
    pub(super) fn line(&self) -> &Line {
        &self.unit.line
    }

    /// Waits until the unit may be spoken to from here, or is to be left alone.
    pub(super) async fn may_speak(&mut self) {
        while !self.hub.may_call() && !self.stop.is_cancelled() {
            let _ = timeout(LOOK_EVERY, self.stop.cancelled()).await;
        }
    }

    /// Connects to where the unit is, and hears its greeting if it has one.
    pub(super) async fn dial(&mut self) -> Result<Wire, String> {
        self.may_speak().await;
        if let Some(address) = self.found_at.filter(|_| self.is_there) {
            self.is_there = false;
            let line = self.dial_to(address).await?;
            self.is_there = true;
            return Ok(line);
        }
        let Some(address) = &self.line().address else {
            return Err("nobody said where the unit is".to_owned());
        };
        let own = dial::addresses(&self.shared, address).await?;
        // At its own addresses first, wherever it was found: who is there hears of it.
        let mut all = own.clone();
        if self.line().greeting.is_some() {
            all.extend(self.found_at);
            all.extend(self.shared.left());
        }
        let mut tried = Vec::new();
        let mut failure = None;
        for peer in all {
            if tried.contains(&peer) {
                continue;
            }
            tried.push(peer);
            match self.dial_to(peer).await {
                Ok(line) => {
                    self.is_there = !own.contains(&peer);
                    self.found_at = self.is_there.then_some(peer);
                    self.shared.note_left(self.unit.device, if self.is_there { own } else { Vec::new() });
                    return Ok(line);
                }
                Err(why) => failure = failure.or(Some(why)),
            }
        }
        Err(failure.unwrap_or_default())
    }

    /// Connects to an address, if the unit is there.
    async fn dial_to(&mut self, peer: SocketAddr) -> Result<Wire, String> {
        let Ok(place) = timeout(PLACE_MAX, self.shared.place(peer)).await else {
            return Err(format!("another unit has the connection to {peer}: two cannot be at one address"));
        };
        let stream = dial::connect(&self.shared, peer).await?;
        let mut line = Wire { stream, peer, _place: Some(place) };
        self.greet(&mut line).await?;
        Ok(line)
    }

    /// Another unit may be there: DHCP gives an address to whoever asks.
    async fn greet(&mut self, line: &mut Wire) -> Result<(), String> {
        let Some(wanted) = self.line().greeting.clone() else { return Ok(()) };
        let said = greeting::read(&mut line.stream).await?;
        if said == wanted {
            return Ok(());
        }
        let is_known = self.shared.tell_greeter(&said, Direction::Dial, Word::FoundAt(line.peer));
        let said = motehub_domain::text::shown(&said, 40);
        let whose = if is_known { "that is another unit of ours" } else { "nobody knows that unit" };
        Err(format!("{} greets with {said:?}, not {wanted:?}: {whose}", line.peer))
    }

    /// The unit was found somewhere else.
    pub(super) fn found(&mut self, address: SocketAddr) {
        tracing::info!(device = %self.unit.device, %address, "a unit greeted at another address");
        self.found_at = Some(address);
        self.is_there = false;
        self.pace.reset();
        self.dial_at = Instant::now();
    }

    /// It was not reached. Said once, until it is reached again or the reason is another.
    pub(super) async fn failed(&mut self, why: String) {
        self.dial_at = Instant::now() + self.pace.next();
        metrics::counter!("motehub_units_failures_total").increment(1);
        tracing::debug!(device = %self.unit.device, why, "a unit was not reached");
        if self.trouble.as_ref() != Some(&why) {
            self.hub.refused(self.unit.device, why.clone()).await;
            self.trouble = Some(why);
        }
    }

    /// It is reached.
    pub(super) async fn reached(&mut self, peer: SocketAddr) {
        self.trouble = None;
        self.attached.at(peer).await;
    }

    /// It is not there. What is desired then is said again when it is back; it may be something else by then.
    pub(super) async fn gone(&mut self) {
        self.waiting.forget_latest();
        self.attached.gone().await;
    }

    /// Something of it cannot be taken: counted, and told to its owner.
    pub(super) async fn refused(&mut self, reason: &'static str, why: String) {
        metrics::counter!("motehub_units_refused_total", "reason" => reason).increment(1);
        self.hub.refused(self.unit.device, why).await;
    }

    /// The hub says something.
    pub(super) async fn said(&mut self, downlink: Downlink) {
        let delta = match downlink {
            Downlink::Delta(delta) if delta.shadow.is_none() && self.line().updates() => delta,
            // A unit has nothing that could take these.
            Downlink::Delta(_)
            | Downlink::Offer(_)
            | Downlink::Cancel(_)
            | Downlink::Passed(_)
            | Downlink::Credential(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Command(_)
            | Downlink::Shadow(_) => return,
        };
        let Some(value) = self.wanted(&delta).await else { return };
        let (version, at) = (delta.version, delta.at);
        match told(self.line(), &value) {
            Ok(bytes) => {
                if !self.waiting.push(Change { version, at, value, bytes }) {
                    self.refused(
                        "queue_full",
                        "too many changes wait for the unit: this one is dropped".into(),
                    )
                    .await;
                }
            }
            Err(rejection) => self.refused("template", rejection.sentence).await,
        }
    }

    /// What is desired. Of an object only what differs is said, so all of it is looked up.
    async fn wanted(&mut self, delta: &Delta) -> Option<Value> {
        let value = delta.state.get(DESIRED)?;
        if !value.is_object() {
            return Some(value.clone());
        }
        let request = Request { shadow: None, deed: Deed::Get(None) };
        let shadow = timeout(LOOK_UP_MAX, self.hub.shadow(self.unit.device, request)).await;
        match shadow {
            Ok(Ok(Ok(shadow))) => shadow.desired.values.get(DESIRED).cloned(),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Some(value.clone()),
        }
    }

    /// Takes away what has waited too long, and says so.
    pub(super) async fn expire(&mut self) {
        for late in self.waiting.expired(self.shared.now()) {
            let seconds = self.line().expiry.map_or(0, |expiry| expiry.0 / 1000);
            let why = format!("{} was not told within {seconds} seconds: it is dropped", late.value);
            self.refused("expired", why).await;
        }
    }

    /// The unit was told: it is as desired now, as far as it says.
    pub(super) async fn report(&mut self, change: &Change) {
        metrics::counter!("motehub_units_told_total").increment(1);
        let reported = Map::from_iter([(DESIRED.to_owned(), change.value.clone())]);
        let update = Update {
            state: Patch::Parts { desired: Part::Untouched, reported: Part::Merged(reported) },
            tags: None,
            version: None,
            token: None,
            expires_in: None,
        };
        let request = Request { shadow: None, deed: Deed::Update(Box::new(update)) };
        let uplink = Uplink::Shadow(request);
        let arrival = Arrival { device: self.unit.device, uplink, mark: None, again: false };
        for outcome in self.hub.uplink(vec![arrival]).await {
            match outcome {
                Ok(()) => self.waiting.told(change.version),
                Err(error) => {
                    tracing::warn!(device = %self.unit.device, %error, "what a unit was told could not be reported");
                }
            }
        }
    }
}

/// Writes to a unit.
///
/// # Errors
/// With a sentence, if it does not take it in time.
pub(super) async fn write(line: &mut Wire, bytes: &[u8]) -> Result<(), String> {
    match timeout(WRITE_MAX, line.stream.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{} does not take what it is told: {error}", line.peer)),
        Err(_) => {
            let seconds = WRITE_MAX.as_secs();
            Err(format!("{} did not take what it is told within {seconds} seconds", line.peer))
        }
    }
}
