//! What carries between a broker, the brokers of other nodes and the store: sessions that clients bring along, what was
//! passed, what others have. The broker decides all of it; here it is waited.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use motehub_domain::kept::{Passed, Principal};
use tokio::sync::{Mutex as Turn, Notify, RwLock, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Said, Wishes};
use crate::hub::{Client, Nodes, Refusal, UplinkError};
use crate::mqtt::connection::Shared;
use crate::mqtt::{Broker, Handle, Millis, Slot};

/// How often is looked who is alive, and into the store while the others cannot be reached.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often the store is looked into in any case.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often is looked for sessions whose node is gone.
const HEIR_EVERY: Duration = Duration::from_secs(5);
/// Nobody is taken for gone who was not looked for so long.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// So many sessions are taken over at once.
const ADOPT_MAX: usize = 200;
/// How often a session may slip to another node before its client is told to come back.
const TRIES_MAX: usize = 4;
/// How long it may take until a session is given up.
const GIVE_MAX: Duration = Duration::from_secs(2);
/// How often is read what was retained of late, in case that word of it was lost.
const RETAINED_EVERY: Duration = Duration::from_secs(30);
/// How often what nobody needs any more is removed from the store.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// For so many milliseconds it is kept that a topic has no retained message any more.
const GONE_MS: u64 = 3_600_000;
/// Of what was retained so shortly before it was last read, some may have been on its way: milliseconds.
const OVERLAP_MS: u64 = 60_000;

/// Clients whose sessions are being brought, each with the turn of who brings it.
type Bringing = HashMap<(Principal, Box<str>), Weak<Turn<()>>>;

/// What waits on behalf of a broker that is one of several.
#[derive(Default)]
pub(in crate::mqtt) struct Carry {
    wishes: Mutex<Wishes>,
    wished: Notify,
    /// The number of the last batch that is on disk.
    kept: watch::Sender<u64>,
    looks_wanted: AtomicU64,
    looks_done: AtomicU64,
    looking: Turn<()>,
    /// Whoever brings one session reads, whoever brings many writes.
    moving: RwLock<()>,
    bringing: Mutex<Bringing>,
    /// Sessions that are ours in the store and could not be read yet.
    orphans: Mutex<BTreeSet<u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Carry {
    /// Says what the broker has to say, and notes what it wants.
    pub(in crate::mqtt) fn speak(&self, nodes: &dyn Nodes, broker: &mut Broker, now: Millis) {
        for (to, said) in broker.take_says(now) {
            nodes.say(&to, said.encode(nodes.name()));
        }
        self.wish(broker.take_wishes());
    }

    fn wish(&self, wishes: Wishes) {
        if wishes != Wishes::default() {
            let mut all = locked(&self.wishes);
            all.look |= wishes.look;
            all.reading |= wishes.reading;
            all.serials |= wishes.serials;
            self.wished.notify_one();
        }
    }

    /// A batch is on disk.
    pub(in crate::mqtt) fn kept(&self, number: u64) {
        self.kept.send_replace(number);
    }
}

impl Handle {
    /// Something came by the bus from the broker of another node.
    pub fn heard(&self, bytes: &[u8]) {
        match Said::decode(bytes) {
            Ok((from, said)) => {
                self.shared.call_aside(|broker, now, out| broker.heard(now, &from, said, out));
            }
            Err(error) => tracing::warn!(%error, "another node said something that is not understood"),
        }
    }

    /// Another node asks for a session. Resolves when everything of it is on disk and it is the other's; false if it is
    /// not here.
    pub async fn give_up(&self, serial: u64, to: &str) -> bool {
        let carry = &self.shared.carry;
        let _moving = carry.moving.read().await;
        let ticket = self.shared.call_aside(|broker, now, out| broker.give_up(now, serial, to, out));
        let Some(ticket) = ticket else { return false };
        let mut kept = carry.kept.subscribe();
        timeout(GIVE_MAX, kept.wait_for(|kept| *kept >= ticket)).await.is_ok_and(|kept| kept.is_ok())
    }
}

/// Before a client is let in: brings its session here if another node has it. Refuses the client if that cannot be.
pub(in crate::mqtt) async fn welcome(
    shared: &Arc<Shared>,
    slot: Slot,
    answer: Result<Client, Refusal>,
) -> Result<Client, Refusal> {
    let Some(nodes) = shared.hub.nodes() else { return answer };
    let client = answer?;
    match bring(shared, nodes, slot, &client).await {
        Ok(()) => Ok(client),
        Err(error) => {
            tracing::warn!(%error, "the session of a client cannot be brought from its node");
            Err(Refusal::Unavailable)
        }
    }
}

async fn bring(
    shared: &Arc<Shared>,
    nodes: &dyn Nodes,
    slot: Slot,
    client: &Client,
) -> Result<(), UplinkError> {
    // What the client published elsewhere and what was acknowledged there comes before what it publishes here.
    look(shared, nodes).await?;
    let claims = || shared.look(|broker, _| broker.claims(slot, client));
    let Some(key) = claims() else { return Ok(()) };
    let turn = {
        let mut bringing = locked(&shared.carry.bringing);
        bringing.retain(|_, turn| turn.strong_count() > 0);
        let known = bringing.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::new(Turn::new(()));
            bringing.insert(key.clone(), Arc::downgrade(&turn));
            turn
        })
    };
    let _turn = turn.lock().await;
    let _moving = shared.carry.moving.read().await;
    for _ in 0..TRIES_MAX {
        let Some((who, client_id)) = claims() else { return Ok(()) };
        let Some((serial, owner)) = nodes.find(who, client_id).await? else { return Ok(()) };
        let is_ours = match owner {
            // What is not here any more may still be in the store for a moment; what could not be read is brought now.
            Some(owner) if owner == nodes.name() => {
                if !locked(&shared.carry.orphans).contains(&serial) {
                    return Ok(());
                }
                true
            }
            Some(owner) => {
                let is_alive = nodes.is_reached() && nodes.alive().contains(&owner);
                is_alive && nodes.ask(owner.clone(), serial).await || nodes.take(serial, owner).await?
            }
            None => return Ok(()),
        };
        if is_ours {
            return adopt(shared, nodes, &BTreeSet::from([serial]), None).await;
        }
    }
    Err(UplinkError::Unavailable("the session goes from node to node".to_owned()))
}

/// Reads sessions that are ours in the store by now, and has the broker take them.
async fn adopt(
    shared: &Arc<Shared>,
    nodes: &dyn Nodes,
    serials: &BTreeSet<u64>,
    died_at: Option<Millis>,
) -> Result<(), UplinkError> {
    locked(&shared.carry.orphans).extend(serials);
    let all: Vec<u64> = serials.iter().copied().collect();
    for some in all.chunks(ADOPT_MAX) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let began = shared.call_aside(|broker, _, _| broker.look_begins());
        let (mut sessions, passed) = nodes.sessions(*first..=*last).await?;
        sessions.retain(|session| some.contains(&session.session.serial));
        let principals = sessions.iter().map(|session| session.session.principal).collect();
        let clients = shared.hub.who(principals).await?;
        let mut passed_to: HashMap<u64, Vec<(u64, Passed)>> = HashMap::new();
        for (id, passed) in passed {
            passed_to.entry(passed.session).or_default().push((id, passed));
        }
        shared.call_aside(|broker, now, out| {
            for (session, client) in sessions.into_iter().zip(clients) {
                let passed = passed_to.remove(&session.session.serial).unwrap_or_default();
                broker.adopt(now, session, passed, client, (began, died_at.unwrap_or(now)), out);
            }
        });
        locked(&shared.carry.orphans).retain(|serial| !some.contains(serial));
    }
    Ok(())
}

/// Takes what was passed to our sessions. Whoever waits for it shares a look that began after they came.
async fn look(shared: &Arc<Shared>, nodes: &dyn Nodes) -> Result<(), UplinkError> {
    let carry = &shared.carry;
    let wanted = carry.looks_wanted.fetch_add(1, Ordering::Relaxed) + 1;
    let _turn = carry.looking.lock().await;
    if carry.looks_done.load(Ordering::Relaxed) >= wanted {
        return Ok(());
    }
    let until = carry.looks_wanted.load(Ordering::Relaxed);
    let began = shared.call_aside(|broker, _, _| broker.look_begins());
    let (rows, is_all) = nodes.passed().await?;
    shared.call_aside(|broker, now, out| broker.passed(now, began, rows, is_all, out));
    carry.looks_done.store(until, Ordering::Relaxed);
    Ok(())
}

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
    retained_at: Instant,
    retained_until: u64,
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
            retained_at: Instant::now(),
            retained_until: 0,
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
        } else if self.retained_at.elapsed() >= RETAINED_EVERY {
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
        self.retained_at = Instant::now();
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
        self.retained_until = since.saturating_sub(OVERLAP_MS << 10).max(self.retained_until);
        Ok(())
    }

    async fn watch(&mut self, shared: &Arc<Shared>, nodes: &dyn Nodes) {
        let mut alive: Vec<Box<str>> = nodes.alive().into_iter().map(Into::into).collect();
        alive.sort_unstable();
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
            let (serials, died_at) = nodes.take_all(owner.clone()).await?;
            adopt(shared, nodes, &serials, Some(died_at)).await?;
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
        let orphans = locked(&shared.carry.orphans).clone();
        if !orphans.is_empty() {
            let _moving = shared.carry.moving.write().await;
            adopt(shared, nodes, &orphans, None).await?;
        }
        Ok(())
    }
}
