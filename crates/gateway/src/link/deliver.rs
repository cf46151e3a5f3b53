//! What devices said goes to the hub: at once while there is a link, through the spool when there was none.
//!
//! Measurements need no order, and equal ones are stored once. Everything else keeps its order and has numbers from the
//! beginning: what was on its way when the link was lost goes to the spool with the number it had.

use std::iter::repeat_n;
use std::sync::atomic::Ordering;
use std::time::Duration;

use motehub_domain::message::Uplink;
use tokio::sync::{mpsc, oneshot};

use super::live::{Live, Lost, unlinked};
use super::spool::Row;
use super::{Lane, Question, RemoteHub, Stamped};
use crate::hub::UplinkError;

/// How many rows are said at once.
const ROWS_MAX: usize = 1_000;
/// How many bytes are said at once, but for a single row.
const BYTES_MAX: u64 = 1024 * 1024;
/// How many batches of things in order are put together.
const SAYINGS_MAX: usize = 256;
/// The pause when the hub cannot store, and when a link broke while it was used.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether each was taken.
pub(super) type Outcomes = Vec<Result<(), UplinkError>>;

/// Things whose order matters.
pub(super) struct Saying {
    said: Vec<Stamped>,
    answer: oneshot::Sender<Outcomes>,
}

impl RemoteHub {
    /// Takes what devices said; things in order take their places when this is called.
    pub(super) fn take(&self, said: Vec<Stamped>) -> impl Future<Output = Outcomes> + Send + '_ {
        let has_order = |said: &Stamped| !matches!(said.arrival.uplink, Uplink::Telemetry(_) | Uplink::Alive);
        let ordered: Vec<bool> = said.iter().map(has_order).collect();
        let (said, measured): (Vec<_>, Vec<_>) = said.into_iter().partition(has_order);
        let (said_count, measured_count) = (said.len(), measured.len());
        let saying = (said_count > 0).then(|| {
            let (answer, outcomes) = oneshot::channel();
            // Full, or the gateway ends: the device says it again.
            let _ = self.shared.sayings.try_send(Saying { said, answer });
            outcomes
        });
        let coming = match (measured_count, self.live()) {
            (1.., Some(live)) => Some(live.begin(Question::Uplink(measured.clone()))),
            _ => None,
        };
        async move {
            let direct: Result<Outcomes, Lost> = match coming {
                Some(coming) => coming.answer().await,
                None => Err(Lost),
            };
            let measured = match direct {
                Ok(outcomes) => outcomes,
                Err(Lost) => self.keep_measured(measured).await,
            };
            let said = match saying {
                Some(outcomes) => {
                    outcomes.await.unwrap_or_else(|_| repeat_n(Err(unlinked()), said_count).collect())
                }
                None => Vec::new(),
            };
            let (mut said, mut measured) = (said.into_iter(), measured.into_iter());
            let next = |is_said| if is_said { said.next() } else { measured.next() };
            ordered.into_iter().map(next).map(|it| it.unwrap_or_else(|| Err(unlinked()))).collect()
        }
    }

    /// That a device is alive need not be known later.
    async fn keep_measured(&self, measured: Vec<Stamped>) -> Outcomes {
        let is_alive: Vec<bool> = measured.iter().map(|it| it.arrival.uplink == Uplink::Alive).collect();
        let points: Vec<Stamped> =
            measured.into_iter().filter(|it| it.arrival.uplink != Uplink::Alive).collect();
        let kept = match points.is_empty() {
            true => Ok(()),
            false => self.spool().keep_measured(&points).await,
        };
        is_alive.into_iter().map(|is_alive| if is_alive { Ok(()) } else { kept.clone() }).collect()
    }

    /// Says things in their order, or keeps them while there is no link or earlier ones wait. Never ends.
    pub(super) async fn say_in_order(&self, sayings: &mut mpsc::Receiver<Saying>) {
        let mut batch = Vec::new();
        while sayings.recv_many(&mut batch, SAYINGS_MAX).await > 0 {
            let rows = batch.iter().flat_map(|saying| self.spool().numbered(&saying.said)).collect();
            let mut outcomes = self.say_rows(rows).await.into_iter();
            for Saying { said, answer } in batch.drain(..) {
                let _ = answer.send(outcomes.by_ref().take(said.len()).collect());
            }
        }
        std::future::pending::<()>().await;
    }

    async fn say_rows(&self, mut rows: Vec<Row>) -> Outcomes {
        let mut outcomes = Vec::with_capacity(rows.len());
        while !rows.is_empty()
            && self.spool().counts().of(Lane::Said) == 0
            && let Some(live) = self.live()
        {
            let count = fitting(&rows);
            match say(&live, Lane::Said, &rows[..count]).await {
                Ok(answers) => outcomes.extend(answers),
                Err(Lost) => break,
            }
            rows.drain(..count);
        }
        if !rows.is_empty() {
            let count = rows.len();
            let kept = self.spool().keep(Lane::Said, rows).await;
            outcomes.extend(repeat_n(kept, count));
        }
        outcomes
    }

    /// Delivers what waits in a lane whenever there is a link. Never ends.
    pub(super) async fn deliver(&self, lane: Lane) {
        let mut told_newest = 0;
        loop {
            self.spool().has_some(lane).await;
            self.is_linked().await;
            let Some(live) = self.live() else { continue };
            let link = self.shared.links.load(Ordering::Relaxed);
            if lane == Lane::Measured && told_newest != link {
                // The state of now comes first, then what led to it. What is equal is stored once.
                told_newest = link;
                self.say_newest(&live).await;
            }
            let rows = self.spool().read(lane, ROWS_MAX, BYTES_MAX).await;
            let done = match say(&live, lane, &rows).await {
                Ok(outcomes) => self.note(&rows, &outcomes),
                Err(Lost) => None,
            };
            if let Some(number) = done {
                self.spool().delivered(lane, number).await;
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn say_newest(&self, live: &Live) {
        let mut newest = self.spool().take_newest();
        newest.sort_by_key(|said| said.at);
        for some in newest.chunks(ROWS_MAX) {
            // Each may be large, and a frame is bounded.
            let rows = self.spool().numbered(some);
            let mut done = 0;
            while done < some.len() {
                let count = fitting(&rows[done..]);
                let said = some[done..done + count].to_vec();
                if live.ask::<Outcomes>(Question::Uplink(said)).await.is_err() {
                    return;
                }
                done += count;
            }
        }
    }

    /// The number up to which rows are done; `None` if none is.
    fn note(&self, rows: &[Row], outcomes: &Outcomes) -> Option<u64> {
        let is_done =
            |outcome: &&Result<(), UplinkError>| !matches!(outcome, Err(UplinkError::Unavailable(_)));
        let done: Vec<_> = outcomes.iter().take_while(is_done).collect();
        for outcome in &done {
            if let Err(error) = outcome {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the hub refuses what waited for it");
            }
        }
        rows.get(done.len().checked_sub(1)?).map(|row| row.number)
    }
}

/// How many rows go into one frame, one at least.
fn fitting(rows: &[Row]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take(ROWS_MAX).take_while(|row| {
        bytes += row.body.len() as u64;
        bytes <= BYTES_MAX
    });
    fits.count().max(1)
}

async fn say(live: &Live, lane: Lane, rows: &[Row]) -> Result<Outcomes, Lost> {
    let rows: Vec<_> = rows.iter().map(|row| (row.number, row.body.clone())).collect();
    let count = rows.len();
    let outcomes: Outcomes = live.ask(Question::Numbered { lane, rows }).await?;
    if outcomes.len() == count { Ok(outcomes) } else { Err(Lost) }
}
