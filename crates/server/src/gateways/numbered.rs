//! What a gateway kept while it had no link, and everything whose order matters: it has numbers, and is stored once
//! however often it comes. The highest number is written in the transaction of what was taken.

use std::iter::repeat_n;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::gateway::Taken;
use motehub_domain::message::Uplink;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::UplinkError;
use motehub_gateway::link::{Lane, Stamped};
use motehub_protocol::link::decode;

use super::session::Peer;

/// What is later than this says when it was said, if the device did not.
const LATE: Span = Span::seconds(5);

type Outcomes = Vec<Result<(), UplinkError>>;

impl Peer {
    /// Takes rows of a lane. What was begun is finished even if the link is lost meanwhile: so a next link of the
    /// gateway, which waits for the lane, knows what is stored.
    pub(super) async fn numbered(self: &Arc<Self>, lane: Lane, rows: Vec<(u64, Bytes)>) -> Outcomes {
        let (peer, count) = (self.clone(), rows.len());
        let done = tokio::spawn(async move { peer.take_lane(lane, rows).await });
        done.await.unwrap_or_else(|_| nothing("it was not taken", count))
    }

    async fn take_lane(&self, lane: Lane, rows: Vec<(u64, Bytes)>) -> Outcomes {
        let lanes = self.app.gateways.lanes(self.link.gateway, self.spool);
        let mut up_to = lanes[lane as usize].lock().await;
        let known = match *up_to {
            Some(known) if self.app.cluster.is_alone() || self.looked_up[lane as usize].load(SeqCst) => known,
            _ => match self.app.store.taken(self.link.gateway, self.spool, lane.as_str()).await {
                Ok(known) => known,
                Err(error) => return nothing(&error.to_string(), rows.len()),
            },
        };
        self.looked_up[lane as usize].store(true, SeqCst);
        let is_known = |row: &&(u64, Bytes)| row.0 <= known;
        let repeated = rows.iter().take_while(is_known).count();
        let fresh = &rows[repeated..];
        if fresh.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            self.link.cut("its numbers do not ascend");
            return nothing("numbers ascend", rows.len());
        }
        let (outcomes, number) = match lane {
            Lane::Said => self.take_said(fresh, known).await,
            Lane::Measured => self.take_measured(fresh, known).await,
        };
        // What could not be taken may be taken: by another node that has the next link, or when an answer was lost.
        let is_sure = outcomes.iter().all(|outcome| !matches!(outcome, Err(UplinkError::Unavailable(_))));
        *up_to = is_sure.then_some(number);
        repeat_n(Ok(()), repeated).chain(outcomes).collect()
    }

    /// Things in order, one after the other, until one cannot be stored. Gives up to which number they were taken.
    async fn take_said(&self, rows: &[(u64, Bytes)], known: u64) -> (Outcomes, u64) {
        let mut outcomes = Vec::with_capacity(rows.len());
        let mut up_to = known;
        for (number, body) in rows {
            let outcome = match self.readable(body).await {
                Ok(said) => self.take_one(said, *number).await,
                Err(error) => Err(error),
            };
            if let Err(UplinkError::Unavailable(why)) = &outcome {
                outcomes.extend(nothing(why, rows.len() - outcomes.len()));
                break;
            }
            up_to = *number;
            outcomes.push(outcome);
        }
        // What left no trace of its own, and what says the same when it is said again.
        if up_to > known {
            let save = vec![Save::TakenUpTo(self.taken(Lane::Said, up_to))];
            if let Err(error) = self.app.perform(Effects { save, ..Effects::none() }).await {
                tracing::warn!(%error, "how far a gateway is could not be recorded");
            }
        }
        (outcomes, up_to)
    }

    async fn take_one(&self, mut said: Stamped, number: u64) -> Result<(), UplinkError> {
        note_time(&mut said, self.app.now());
        let app = match &said.arrival.uplink {
            // These may take more than one transaction, and change nothing when they are repeated.
            Uplink::Announced(_) | Uplink::Firmware(_) => self.app.clone(),
            Uplink::Telemetry(_)
            | Uplink::Alive
            | Uplink::Polled
            | Uplink::Fetched { .. }
            | Uplink::Event(_)
            | Uplink::Log(_)
            | Uplink::Task(_)
            | Uplink::Shadow(_)
            | Uplink::Passed(_)
            | Uplink::Reply { .. }
            | Uplink::Unit { .. } => self.app.taking(self.taken(Lane::Said, number)),
        };
        let mut outcomes = app.take_stamped(vec![said]).await;
        outcomes.pop().unwrap_or_else(|| Err(UplinkError::Unavailable("it was not taken".to_owned())))
    }

    /// Measurements, all in one transaction.
    async fn take_measured(&self, rows: &[(u64, Bytes)], known: u64) -> (Outcomes, u64) {
        let Some((last, _)) = rows.last() else { return (Vec::new(), known) };
        let mut places = Vec::with_capacity(rows.len());
        let mut good = Vec::with_capacity(rows.len());
        for (_, body) in rows {
            match self.readable(body).await {
                Ok(said) => {
                    places.push(None);
                    good.push(said);
                }
                Err(UplinkError::Unavailable(why)) => return (nothing(&why, rows.len()), known),
                Err(refused) => places.push(Some(refused)),
            }
        }
        let taken = self.taken(Lane::Measured, *last);
        let stored = self.app.take_measured(good, &taken).await;
        let is_lost =
            |outcome: &&Result<(), UplinkError>| matches!(outcome, Err(UplinkError::Unavailable(_)));
        if let Some(Err(lost)) = stored.iter().find(is_lost) {
            return (nothing(&lost.to_string(), rows.len()), known);
        }
        let mut stored = stored.into_iter();
        let outcomes = places.into_iter().map(|refused| match refused {
            Some(error) => Err(error),
            None => stored.next().unwrap_or(Ok(())),
        });
        (outcomes.collect(), *last)
    }

    /// What a row says, if the gateway may say it.
    async fn readable(&self, body: &[u8]) -> Result<Stamped, UplinkError> {
        let said: Stamped = decode(body).map_err(|error| UplinkError::Refused(error.to_string()))?;
        self.may(said.arrival.device).await?;
        Ok(said)
    }

    fn taken(&self, lane: Lane, number: u64) -> Taken {
        Taken { gateway: self.link.gateway, spool: self.spool, lane: lane.as_str(), number }
    }
}

/// What comes late says when it was said.
fn note_time(said: &mut Stamped, now: Time) {
    if now - said.at <= LATE {
        return;
    }
    match &mut said.arrival.uplink {
        Uplink::Event(event) => {
            event.time.get_or_insert(said.at);
        }
        Uplink::Log(lines) => {
            for line in lines {
                line.time.get_or_insert(said.at);
            }
        }
        Uplink::Telemetry(_)
        | Uplink::Alive
        | Uplink::Polled
        | Uplink::Fetched { .. }
        | Uplink::Announced(_)
        | Uplink::Firmware(_)
        | Uplink::Task(_)
        | Uplink::Shadow(_)
        | Uplink::Passed(_)
        | Uplink::Reply { .. }
        | Uplink::Unit { .. } => {}
    }
}

fn nothing(why: &str, count: usize) -> Outcomes {
    repeat_n(Err(UplinkError::Unavailable(why.to_owned())), count).collect()
}
