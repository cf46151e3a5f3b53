//! What the broker of this node has of the others: their brokers by the bus, and what all of them keep in the store
//! (ADR 0025).

mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use motehub_domain::kept::{Batch, Elsewhere, Principal, Recalled};
use motehub_gateway::hub::{Answer, Held, Moved, Nodes, Owned, PassedRows, RetainedRows, UplinkError};
use motehub_protocol::link;
use motehub_store::{Fence, PASSED_ROWS_MAX, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::BusState;
use crate::app::App;
use parts::{Joined, split};

/// How long another node may take to give a session.
const ASK_MAX: Duration = Duration::from_secs(2);
/// How often a batch is tried again at once because sessions were taken meanwhile.
const LOST_MAX: usize = 10;
/// That a session is given.
const GIVEN: &[u8] = b"given";

/// What this node knows for its broker.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    tries: tokio::sync::Mutex<Tries>,
    /// Numbers of what is too large to be said at once.
    split: Mutex<u64>,
}

/// How a batch is tried to be kept.
#[derive(Debug, Default)]
struct Tries {
    /// How often sessions were taken from this node, as far as it knows: guards what it writes.
    fence: i64,
    /// Of the batch.
    number: u64,
    /// The batch without the sessions that others have taken.
    rest: Option<Batch>,
    /// Which those are, by the fence at which it is tried without them.
    lost: BTreeMap<i64, BTreeSet<u64>>,
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}

impl App {
    /// What the broker kept when it last ran on this node.
    pub(crate) async fn recall_mqtt(&self) -> Result<Recalled, StoreError> {
        if self.cluster.is_alone() {
            return self.store.recall().await;
        }
        let now = self.now().0.unsigned_abs();
        let (fence, recalled) = self.store.broker_starts(self.cluster.node(), now).await?;
        self.broker.tries.lock().await.fence = fence;
        Ok(recalled)
    }

    /// Keeps a batch; gives the sessions that other nodes have taken meanwhile, of which nothing is written.
    pub(crate) async fn keep_mqtt(
        &self,
        batch: &Batch,
        held: &Held<'_>,
    ) -> Result<BTreeSet<u64>, StoreError> {
        if self.cluster.is_alone() {
            return self.store.keep(batch).await.map(|()| BTreeSet::new());
        }
        let (node, now) = (self.cluster.node(), self.now().0.unsigned_abs());
        let mut tries = self.broker.tries.lock().await;
        tries.begin(batch.number);
        for _ in 0..LOST_MAX {
            let fence = tries.fence;
            match self.store.keep_as(node, fence, now, tries.rest.as_ref().unwrap_or(batch)).await {
                Err(StoreError::Conflict { .. }) => {}
                Ok(()) => return Ok(tries.written_at(fence)),
                Err(error) => return Err(error),
            }
            // In this order: whatever is taken after the fence was read makes the next batch fail as well.
            let Fence { fence, batch: last, batch_fence } = self.store.broker_fence(node).await?;
            if last == batch.number {
                // An answer was lost. What was taken since is found with the next batch.
                return Ok(tries.written_at(batch_fence));
            }
            let ours = held().union(&batch.serials()).copied().collect();
            let taken = self.store.sessions_lost(node, &ours).await?;
            if !taken.is_empty() {
                tracing::warn!(sessions = taken.len(), "other nodes have taken sessions of MQTT clients");
            }
            tries.lose(batch, fence, &taken);
        }
        Err(StoreError::Unavailable("sessions of MQTT clients are being taken by other nodes".to_owned()))
    }
}

impl Tries {
    /// What was found out about a batch holds until that is written.
    fn begin(&mut self, number: u64) {
        if self.number != number {
            (self.number, self.rest) = (number, None);
            self.lost.clear();
        }
    }

    /// From this fence on it is tried without these sessions too.
    fn lose(&mut self, batch: &Batch, fence: i64, taken: &BTreeSet<u64>) {
        let mut lost = self.lost.get(&self.fence).cloned().unwrap_or_default();
        lost.extend(taken);
        if !taken.is_empty() {
            self.rest.get_or_insert_with(|| batch.clone()).lose(taken);
        }
        self.fence = fence;
        self.lost.insert(fence, lost);
    }

    /// It was written at this fence: without which sessions.
    fn written_at(&mut self, fence: i64) -> BTreeSet<u64> {
        self.fence = fence;
        self.lost.remove(&fence).unwrap_or_default()
    }
}

impl Nodes for App {
    fn name(&self) -> &str {
        self.cluster.node()
    }

    fn alive(&self) -> Vec<String> {
        self.cluster.others()
    }

    fn is_reached(&self) -> bool {
        *self.cluster.bus().state().borrow() == BusState::Here
    }

    fn say(&self, to: &str, said: Bytes) {
        let subject = format!("node.{to}.mqtt");
        let mut number = self.broker.split.lock().unwrap_or_else(PoisonError::into_inner);
        for part in split(self.cluster.node(), &mut number, &said, self.cluster.bus().payload_max()) {
            self.cluster.bus().publish(&subject, part);
        }
    }

    fn ask(&self, owner: String, serial: u64) -> Answer<'_, bool> {
        Box::pin(async move {
            let subject = format!("node.{owner}.mqtt-yield");
            let request = link::encode(&(serial, self.cluster.node().to_owned()));
            let answer = self.cluster.bus().request(&subject, request, ASK_MAX).await;
            answer.is_ok_and(|answer| answer == GIVEN)
        })
    }

    fn serials(&self) -> Answer<'_, Result<Range<u64>, UplinkError>> {
        Box::pin(async { self.store.session_serials(self.cluster.node()).await.map_err(|e| unavailable(&e)) })
    }

    fn find(&self, who: Principal, client_id: Box<str>) -> Answer<'_, Result<Option<Owned>, UplinkError>> {
        Box::pin(async move { self.store.find_session(&who, &client_id).await.map_err(|e| unavailable(&e)) })
    }

    fn take(&self, serial: u64, from: String) -> Answer<'_, Result<bool, UplinkError>> {
        Box::pin(async move {
            let taken = self.store.take_session(serial, &from, self.cluster.node()).await;
            taken.map_err(|e| unavailable(&e))
        })
    }

    fn owners(&self) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        Box::pin(async { self.store.session_owners().await.map_err(|e| unavailable(&e)) })
    }

    fn take_all(&self, from: String) -> Answer<'_, Result<(BTreeSet<u64>, u64), UplinkError>> {
        Box::pin(async move {
            let taken = self.store.take_sessions(&from, self.cluster.node()).await;
            taken.map_err(|e| unavailable(&e))
        })
    }

    fn sessions(&self, serials: RangeInclusive<u64>) -> Answer<'_, Result<Moved, UplinkError>> {
        Box::pin(async move {
            let moved = self.store.moved(self.cluster.node(), serials).await.map_err(|e| unavailable(&e))?;
            Ok((moved.sessions, moved.passed))
        })
    }

    fn passed(&self) -> Answer<'_, Result<(PassedRows, bool), UplinkError>> {
        Box::pin(async {
            let rows = self.store.passed_to(self.cluster.node()).await.map_err(|e| unavailable(&e))?;
            let is_all = rows.len() < PASSED_ROWS_MAX;
            Ok((rows, is_all))
        })
    }

    fn elsewhere(&self) -> Answer<'_, Result<Vec<Elsewhere>, UplinkError>> {
        Box::pin(async { self.store.sessions_of_all().await.map_err(|e| unavailable(&e)) })
    }

    fn changes(&self) -> Answer<'_, Result<i64, UplinkError>> {
        Box::pin(async {
            let nodes = self.store.broker_nodes().await.map_err(|e| unavailable(&e))?;
            Ok(nodes.iter().filter(|node| node.node != self.cluster.node()).map(|node| node.changes).sum())
        })
    }

    fn tidy(&self, before: u64) -> Answer<'_, Result<(), UplinkError>> {
        Box::pin(async move { self.store.tidy_brokers(before).await.map_err(|e| unavailable(&e)) })
    }

    fn retained_since(&self, stamp: u64) -> Answer<'_, Result<RetainedRows, UplinkError>> {
        Box::pin(async move { self.store.retained_since(stamp).await.map_err(|e| unavailable(&e)) })
    }
}

/// Hears what other nodes say to the broker of this one, until shutdown.
pub(crate) async fn listen(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let node = app.cluster.node();
    let mut said = app.cluster.bus().subscribe(&format!("node.{node}.mqtt")).await;
    let mut asked = app.cluster.bus().subscribe(&format!("node.{node}.mqtt-yield")).await;
    let mut joined = Joined::default();
    let giving = TaskTracker::new();
    loop {
        tokio::select! {
            Some(message) = said.next() => {
                if let (Some(mqtt), Some(whole)) = (app.mqtt.get(), joined.take(&message.payload)) {
                    mqtt.heard(&whole);
                }
            }
            Some(message) = asked.next() => {
                let Ok((serial, to)) = link::decode::<(u64, String)>(&message.payload) else { continue };
                let app = app.clone();
                giving.spawn(async move {
                    let Some(mqtt) = app.mqtt.get() else { return };
                    let is_given = mqtt.give_up(serial, &to).await;
                    if let Some(reply) = &message.reply {
                        app.cluster.bus().answer(reply, if is_given { GIVEN } else { b"" });
                    }
                });
            }
            () = shutdown.cancelled() => break,
        }
    }
    giving.close();
    giving.wait().await;
}
