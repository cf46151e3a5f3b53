//! Units whose connection stands: those that say readings, and those that dial in. What is desired of them is told over
//! the same connection.

use std::time::Duration;

use motehub_domain::line::Direction;
use motehub_domain::message::Uplink;
use motehub_domain::telemetry::Point;
use motehub_protocol::line::frames::{Cut, Frames};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use super::Word;
use super::queue::Change;
use super::unit::{Task, Wire, write};

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;
/// A connection that stood so long did well.
const STEADY: Duration = Duration::from_secs(10);
/// Never, as far as anybody waits.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a connection is served, beside what the task knows.
struct Serving {
    frames: Frames,
    has_spoken: bool,
    heard_at: Instant,
    /// What was told, and until when its reply is waited for.
    asked: Option<(Change, Instant)>,
}

/// Why a connection is over.
enum Over {
    /// The unit ended it.
    Ended,
    /// Something is wrong with it.
    Failed(String),
    /// The unit dialled in again.
    Replaced(Wire),
    /// The unit is forgotten.
    Stopped,
}

impl Task {
    /// Until the unit is forgotten.
    pub(super) async fn stand(&mut self) {
        let mut next = None;
        while !self.stop.is_cancelled() {
            let line = match next.take() {
                Some(line) => line,
                None => match self.next_line().await {
                    Some(line) => line,
                    None => continue,
                },
            };
            let begun = Instant::now();
            self.reached(line.peer).await;
            let mut serving = Serving {
                frames: Frames::new(self.line().framing),
                has_spoken: false,
                heard_at: begun,
                asked: None,
            };
            let over = self.serve(line, &mut serving).await;
            if serving.has_spoken || begun.elapsed() >= STEADY {
                self.pace.reset();
            }
            if let Some((change, _)) = serving.asked.take() {
                self.waiting.put_back(change);
            }
            match over {
                Over::Replaced(line) => next = Some(line),
                Over::Stopped => {}
                Over::Ended => {
                    // One that never says anything closes when it likes; whether it is there is seen at the next dial.
                    if serving.has_spoken || self.line().direction == Direction::Listen {
                        self.gone().await;
                    }
                    self.dial_at = Instant::now() + self.pace.next();
                }
                Over::Failed(why) => {
                    self.gone().await;
                    self.failed(why).await;
                }
            }
        }
    }

    /// Waits for a connection: until the unit may be dialled, or until it dials in.
    async fn next_line(&mut self) -> Option<Wire> {
        let stop = self.stop.clone();
        let dials = self.line().direction == Direction::Dial;
        let (dial_at, is_due) = (self.dial_at, self.dial_at <= Instant::now());
        tokio::select! {
            () = stop.cancelled() => None,
            Some(word) = self.words.recv() => self.word(word),
            downlink = self.attached.said() => {
                if let Some(downlink) = downlink {
                    self.said(downlink).await;
                    if !self.waiting.is_empty() {
                        self.dial_at = Instant::now();
                    }
                }
                None
            }
            _ = self.readings.delivered() => None,
            () = sleep_until(dial_at), if dials && !is_due => None,
            () = std::future::ready(()), if dials && is_due => {
                match stop.run_until_cancelled(self.dial()).await? {
                    Ok(line) => Some(line),
                    Err(why) => {
                        self.gone().await;
                        self.failed(why).await;
                        None
                    }
                }
            }
        }
    }

    fn word(&mut self, word: Word) -> Option<Wire> {
        match word {
            Word::Came(stream, peer) => Some(Wire { stream, peer, _place: None }),
            Word::FoundAt(address) => {
                self.found(address);
                None
            }
        }
    }

    async fn serve(&mut self, mut line: Wire, serving: &mut Serving) -> Over {
        let (stop, mut bytes) = (self.stop.clone(), vec![0; READ_BYTES]);
        let silence_max = self.unit.silence_max.filter(|_| self.line().reads());
        let silence_max = silence_max.map_or(NEVER, |span| Duration::from_millis(span.0.unsigned_abs()));
        loop {
            if let Err(why) = self.tell_next(&mut line, serving).await {
                return Over::Failed(why);
            }
            let late_at = serving.asked.as_ref().map_or(Instant::now() + NEVER, |(_, until)| *until);
            let may_read = self.readings.has_room();
            tokio::select! {
                () = stop.cancelled() => return Over::Stopped,
                Some(word) = self.words.recv() => match word {
                    Word::Came(stream, peer) => return Over::Replaced(Wire { stream, peer, _place: None }),
                    Word::FoundAt(_) => {}
                },
                refused = self.readings.delivered() => if let Some(why) = refused {
                    self.refused("reading", why).await;
                },
                downlink = self.attached.said() => match downlink {
                    Some(downlink) => self.said(downlink).await,
                    None => return Over::Failed("the hub ended the connection".to_owned()),
                },
                read = line.stream.read(&mut bytes), if may_read => match read {
                    Ok(0) => {
                        let last = serving.frames.end().map(Cut::Frame);
                        self.take(last.into_iter().collect(), serving).await;
                        return Over::Ended;
                    }
                    Ok(read) => {
                        serving.heard_at = Instant::now();
                        let cuts = serving.frames.push(&bytes[..read]);
                        self.take(cuts, serving).await;
                    }
                    Err(error) => return Over::Failed(format!("{} is gone: {error}", line.peer)),
                },
                () = sleep_until(late_at) => {
                    let why = format!("{} did not reply in time to what it was told", line.peer);
                    return Over::Failed(why);
                }
                () = sleep_until(serving.heard_at + silence_max), if may_read => {
                    let seconds = silence_max.as_secs();
                    return Over::Failed(format!("{} said nothing for {seconds} seconds", line.peer));
                }
            }
        }
    }

    /// Tells the next change, unless a reply is waited for.
    async fn tell_next(&mut self, line: &mut Wire, serving: &mut Serving) -> Result<(), String> {
        while serving.asked.is_none() && !self.waiting.is_empty() {
            self.expire().await;
            self.may_speak().await;
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let Some(change) = self.waiting.take() else { return Ok(()) };
            if let Err(why) = write(line, &change.bytes).await {
                self.waiting.put_back(change);
                return Err(why);
            }
            match &self.line().reply {
                Some(reply) => {
                    let until = Instant::now() + Duration::from_millis(reply.within.0.unsigned_abs());
                    serving.asked = Some((change, until));
                }
                None => self.report(&change).await,
            }
        }
        Ok(())
    }

    /// The unit said something.
    async fn take(&mut self, cuts: Vec<Cut>, serving: &mut Serving) {
        for cut in cuts {
            serving.has_spoken = true;
            match cut {
                Cut::TooLong => {
                    let most = motehub_domain::line::FRAME_BYTES_MAX;
                    let why = format!("a line of more than {most} bytes, or one without end: it is dropped");
                    self.refused("too_long", why).await;
                }
                Cut::Frame(frame) => self.frame(&frame, serving).await,
            }
        }
    }

    async fn frame(&mut self, frame: &[u8], serving: &mut Serving) {
        if let Some((change, _)) = serving.asked.take_if(|_| self.reader.is_reply(frame)) {
            return self.report(&change).await;
        }
        if !self.line().reads() {
            return;
        }
        match self.reader.read(frame) {
            Ok(said) => {
                self.readings.push(points(said.uplink));
                if let Some(why) = said.refused {
                    self.refused("point", why).await;
                }
            }
            Err(error) => self.refused("frame", error.to_string()).await,
        }
    }
}

fn points(uplink: Uplink) -> Vec<Point> {
    match uplink {
        Uplink::Telemetry(points) => points,
        _ => Vec::new(),
    }
}
