//! Units that are told changes by a connection each: dialled when something is desired, and at first to see whether
//! they are there. A unit counts as there from the last time that it took a connection until it does not.

use std::time::Duration;

use motehub_protocol::line::frames::{Cut, Frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::Word;
use super::queue::Change;
use super::unit::{Task, Wire, write};

/// How much is read at once of what a unit replies.
const READ_BYTES: usize = 1024;
/// How long a unit may take to close its side once it was told; it is gone then, or takes its time.
const CLOSE_MAX: Duration = Duration::from_secs(2);

impl Task {
    /// Until the unit is forgotten.
    pub(super) async fn call_for_each_change(&mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let has_reason = !self.waiting.is_empty() || !self.attached.is_there();
            let (dial_at, is_due) = (self.dial_at, has_reason && self.dial_at <= Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                Some(word) = self.words.recv() => match word {
                    Word::FoundAt(address) => self.found(address),
                    // It is one that is dialled.
                    Word::Came(..) => {}
                },
                downlink = self.attached.said() => match downlink {
                    Some(downlink) => {
                        self.said(downlink).await;
                        // Whatever failed before: somebody wants it now.
                        self.dial_at = Instant::now();
                    }
                    None => self.dial_at = Instant::now() + self.pace.next(),
                },
                () = sleep_until(dial_at), if has_reason && !is_due => {}
                () = std::future::ready(()), if is_due => {
                    self.expire().await;
                    if !self.waiting.is_empty() || !self.attached.is_there() {
                        let _ = stop.run_until_cancelled(self.call()).await;
                    }
                }
            }
        }
    }

    /// One connection: to tell the next change, or to see whether the unit is there.
    async fn call(&mut self) {
        let mut line = match self.dial().await {
            Ok(line) => line,
            Err(why) => {
                self.gone().await;
                return self.failed(why).await;
            }
        };
        self.reached(line.peer).await;
        let Some(change) = self.waiting.take() else {
            self.pace.reset();
            return;
        };
        match self.tell(&mut line, &change).await {
            Ok(()) => {
                self.pace.reset();
                self.report(&change).await;
                let _ = timeout(CLOSE_MAX, closed(&mut line)).await;
            }
            Err(why) => {
                self.waiting.put_back(change);
                self.failed(why).await;
            }
        }
    }

    async fn tell(&mut self, line: &mut Wire, change: &Change) -> Result<(), String> {
        self.may_speak().await;
        write(line, &change.bytes).await?;
        let Some(reply) = self.line().reply.clone() else { return Ok(()) };
        let within = Duration::from_millis(reply.within.0.unsigned_abs());
        match timeout(within, self.reply(line)).await {
            Ok(replied) => replied,
            Err(_) => Err(format!("{} did not reply within {} ms", line.peer, reply.within.0)),
        }
    }

    async fn reply(&mut self, line: &mut Wire) -> Result<(), String> {
        let (mut frames, mut bytes) = (Frames::new(self.line().framing), [0; READ_BYTES]);
        loop {
            let ended = || format!("{} ended the connection without a reply", line.peer);
            let read = line.stream.read(&mut bytes).await.map_err(|_| ended())?;
            let cuts = frames.push(&bytes[..read]);
            let last = (read == 0).then(|| frames.end()).flatten().map(Cut::Frame);
            for cut in cuts.into_iter().chain(last) {
                match cut {
                    Cut::Frame(frame) if self.reader.is_reply(&frame) => return Ok(()),
                    Cut::Frame(_) | Cut::TooLong => {}
                }
            }
            if read == 0 {
                return Err(ended());
            }
        }
    }
}

/// We have said all; the next change waits until the unit has heard it, since it serves one connection at a time.
async fn closed(line: &mut Wire) {
    let _ = line.stream.shutdown().await;
    let mut bytes = [0; READ_BYTES];
    while matches!(line.stream.read(&mut bytes).await, Ok(read) if read > 0) {}
}
