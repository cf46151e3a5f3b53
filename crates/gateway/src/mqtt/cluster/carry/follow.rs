//! Who follows the other nodes on behalf of a broker: does what it wishes, sees who is alive and whether the others can
//! be reached, and inherits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{adopt, adopt_orphans, locked, look};
use crate::hub::{Nodes, UplinkError};
use crate::mqtt::cluster::Wishes;
use crate::mqtt::connection::Shared;

/// How often is looked who is alive, and into the store while the others cannot be reached.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often the store is looked into in any case.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often is looked for sessions whose node is gone.
const HEIR_EVERY: Duration = Duration::from_secs(5);
/// Nobody is taken for gone who was not looked for so long.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// How often is read what was retained of late, in case that word of it was lost.
const RETAINED_EVERY: Duration = Duration::from_secs(30);
/// How often what nobody needs any more is removed from the store.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// For so many milliseconds it is kept that a topic has no retained message any more.
const GONE_MS: u64 = 3_600_000;
/// Of what was retained so shortly before it was last read, some may have been on its way: milliseconds.
const OVERLAP_MS: u64 = 60_000;
/// How long a node that is back may take to write what it retained while it was cut off.
const LATE_MAX: Duration = Duration::from_secs(60);

/// Does what the broker wishes, sees who is alive and whether the others can be reached, and inherits. Never ends.
pub(in crate::mqtt) async fn follow(shared: Arc<Shared>) {
    let Some(nodes) = shared.hub.nodes() else { return std::future::pending().await };
    let mut follow = Follow::new(nodes);
    let mut ticks = interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.carry.wished.notified() => {}
            _ = ticks.tick() => follow.watch(&shared, nodes).await,
        }
        let wishes = std::mem::take(&mut *locked(&shared.carry.wishes));
        if let Err(error) = follow.fulfil(&shared, nodes, wishes).await {
            tracing::warn!(%error, "what other nodes keep of MQTT clients cannot be read at present");
            shared.carry.wish(wishes);
            ticks.tick().await;
        }
    }
}

struct Follow {
    alive: Vec<Box<str>>,
    is_reached: bool,
    changes: i64,
    looked_at: Instant,
    /// Since when nodes with sessions are missed.
    missed: HashMap<String, Instant>,
    inherited_at: Instant,
    tidied_at: Instant,
    /// When what was retained is read next.
    retained_due: Instant,
    /// Up to which stamp it is known.
    retained_until: u64,
    /// Until when more may come below that.
    late_until: Instant,
}

impl Follow {
    fn new(nodes: &dyn Nodes) -> Self {
        Self {
            alive: Vec::new(),
            is_reached: nodes.is_reached(),
            changes: 0,
            looked_at: Instant::now(),
            missed: HashMap::new(),
            inherited_at: Instant::now(),
            tidied_at: Instant::now(),
            retained_due: Instant::now() + RETAINED_EVERY,
            retained_until: 0,
            late_until: Instant::now(),
        }
    }

    async fn fulfil(
        &mut self,
        shared: &Arc<Shared>,
        nodes: &dyn Nodes,
        wishes: Wishes,
    ) -> Result<(), UplinkError> {
        if wishes.serials {
            let serials = nodes.serials().await?;
            shared.call_aside(|broker, _, _| broker.give_serials(serials));
        }
        if wishes.look || self.looked_at.elapsed() >= LOOK_EVERY {
            self.looked_at = Instant::now();
            look(shared, nodes).await?;
        }
        if !nodes.is_reached() {
            // Others cannot tell what their sessions subscribe to: it is in the store.
            let changes = nodes.changes().await?;
            if wishes.reading || changes != self.changes {
                self.read(shared, nodes).await?;
                self.changes = changes;
            }
        } else if wishes.reading {
            self.read(shared, nodes).await?;
            self.read_retained(shared, nodes).await?;
        } else if Instant::now() >= self.retained_due {
            self.read_retained(shared, nodes).await?;
        }
        Ok(())
    }

    async fn read(&self, shared: &Arc<Shared>, nodes: &dyn Nodes) -> Result<(), UplinkError> {
        shared.call_aside(|broker, _, _| broker.begin_reading());
        let found = nodes.elsewhere().await?;
        shared.call_aside(|broker, _, _| broker.read_elsewhere(found));
        Ok(())
    }

    async fn read_retained(&mut self, shared: &Arc<Shared>, nodes: &dyn Nodes) -> Result<(), UplinkError> {
        self.retained_due = Instant::now() + RETAINED_EVERY;
        let is_all = Instant::now() >= self.late_until;
        let mut since = self.retained_until;
        loop {
            let found = nodes.retained_since(since).await?;
            let Some(last) = found.last().map(|(stamp, _)| *stamp) else { break };
            since = last;
            shared.call_aside(|broker, _, _| {
                for (stamp, message) in found {
                    let kept = Some(message.clone()).filter(|message| !message.payload.is_empty());
                    broker.hear_retained(&message.topic, stamp, kept);
                }
            });
        }
        if is_all {
            self.retained_until = since.saturating_sub(OVERLAP_MS << 10).max(self.retained_until);
        }
        Ok(())
    }

    async fn watch(&mut self, shared: &Arc<Shared>, nodes: &dyn Nodes) {
        let mut alive: Vec<Box<str>> = nodes.alive().into_iter().map(Into::into).collect();
        alive.sort_unstable();
        if alive.iter().any(|node| !self.alive.contains(node)) {
            // If it was cut off, it writes what it retained meanwhile with the stamps of then.
            (self.retained_until, self.retained_due) = (0, Instant::now());
            self.late_until = Instant::now() + LATE_MAX;
        }
        if alive != self.alive {
            self.alive = alive;
            shared.call_aside(|broker, now, out| broker.set_others(now, &self.alive, out));
            self.inherited_at -= HEIR_EVERY.min(self.inherited_at.elapsed());
        }
        let is_reached = nodes.is_reached();
        if is_reached && !std::mem::replace(&mut self.is_reached, is_reached) {
            shared.call_aside(|broker, now, _| broker.bus_came_back(now));
        }
        self.is_reached = is_reached;
        if self.inherited_at.elapsed() >= HEIR_EVERY || !self.missed.is_empty() {
            self.inherited_at = Instant::now();
            if let Err(error) = self.inherit(shared, nodes).await {
                tracing::warn!(%error, "sessions of a node that is gone cannot be taken over at present");
            }
        }
    }

    /// The first of those who are alive takes the sessions of those who are not.
    async fn inherit(&mut self, shared: &Arc<Shared>, nodes: &dyn Nodes) -> Result<(), UplinkError> {
        let owners = nodes.owners().await?;
        let is_gone =
            |owner: &String| *owner != nodes.name() && !self.alive.iter().any(|name| **name == **owner);
        let gone: Vec<String> = owners.into_iter().filter(is_gone).collect();
        self.missed.retain(|owner, _| gone.contains(owner));
        let is_heir = self.alive.first().is_none_or(|first| nodes.name() < &**first);
        for owner in gone {
            let since = *self.missed.entry(owner.clone()).or_insert_with(Instant::now);
            if since.elapsed() < GONE_AFTER || !is_heir {
                continue;
            }
            let _moving = shared.carry.moving.write().await;
            let (serials, died_at) = shared.carry.doubt(nodes.take_all(owner.clone()).await)?;
            shared.carry.doubt(adopt(shared, nodes, &serials, Some(died_at)).await)?;
            tracing::info!(
                node = owner,
                sessions = serials.len(),
                "the sessions of a node that is gone are here now"
            );
            self.missed.remove(&owner);
        }
        if is_heir && self.tidied_at.elapsed() >= TIDY_EVERY {
            self.tidied_at = Instant::now();
            nodes.tidy(shared.now().saturating_sub(GONE_MS) << 10).await?;
        }
        if shared.carry.doubts.swap(false, Ordering::Relaxed) {
            shared.carry.doubt(adopt_orphans(shared, nodes).await)?;
        }
        Ok(())
    }
}
