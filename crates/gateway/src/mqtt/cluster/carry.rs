//! What carries between a broker, the brokers of other nodes and the store: sessions that clients bring along, what was
//! passed, what others have. The broker decides all of it; here it is waited.

mod follow;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use motehub_domain::kept::{Passed, Principal};
use tokio::sync::{Mutex as Turn, Notify, RwLock, watch};
use tokio::time::timeout;

use super::{Said, Wishes};
use crate::hub::{Client, Nodes, Refusal, UplinkError};
use crate::mqtt::connection::Shared;
use crate::mqtt::{Broker, Handle, Millis, Slot};
pub(in crate::mqtt) use follow::follow;

/// So many sessions are taken over at once.
const ADOPT_MAX: usize = 200;
/// How often a session may slip to another node before its client is told to come back.
const TRIES_MAX: usize = 4;
/// How long it may take until a session is given up.
const GIVE_MAX: Duration = Duration::from_secs(2);

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
    /// There may be sessions in the store that are ours and not here: an answer about them was lost.
    doubts: AtomicBool,
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

    /// What was asked may have been done although the answer is an error.
    fn doubt<T>(&self, answer: Result<T, UplinkError>) -> Result<T, UplinkError> {
        self.doubts.fetch_or(answer.is_err(), Ordering::Relaxed);
        answer
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
    let mut is_settled = false;
    for _ in 0..TRIES_MAX {
        let Some((who, client_id)) = claims() else { return Ok(()) };
        let Some((serial, owner)) = nodes.find(who, client_id).await? else { return Ok(()) };
        let is_ours = match owner {
            // It ended here and the store does not know yet; or it came here and nobody here heard of that.
            Some(owner) if owner == nodes.name() => {
                if !is_settled {
                    settle(shared).await?;
                    is_settled = true;
                    continue;
                }
                true
            }
            Some(owner) => {
                let is_alive = nodes.is_reached() && nodes.alive().contains(&owner);
                let is_given = is_alive && nodes.ask(owner.clone(), serial).await;
                is_given || shared.carry.doubt(nodes.take(serial, owner).await)?
            }
            None => return Ok(()),
        };
        if is_ours {
            let adopted = adopt(shared, nodes, &BTreeSet::from([serial]), None).await;
            return shared.carry.doubt(adopted);
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
    let all: Vec<u64> = serials.iter().copied().collect();
    for some in all.chunks(ADOPT_MAX) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let look = Look::begin(shared);
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
                broker.adopt(now, session, passed, client, (look.began, died_at.unwrap_or(now)), out);
            }
        });
    }
    Ok(())
}

/// Brings what is ours in the store and not here.
async fn adopt_orphans(shared: &Arc<Shared>, nodes: &dyn Nodes) -> Result<(), UplinkError> {
    let _moving = shared.carry.moving.write().await;
    settle(shared).await?;
    let here = || shared.look(|broker, _| broker.kept_serials());
    let before = here();
    let mut found = nodes.elsewhere().await?;
    found.retain(|session| session.node.as_deref() == Some(nodes.name()));
    let mut orphans: BTreeSet<u64> = found.into_iter().map(|session| session.serial).collect();
    orphans.retain(|serial| !before.contains(serial));
    // Those that came meanwhile are no orphans either.
    let after = here();
    orphans.retain(|serial| !after.contains(serial));
    adopt(shared, nodes, &orphans, None).await
}

/// Waits until everything that was noted so far is on disk.
async fn settle(shared: &Arc<Shared>) -> Result<(), UplinkError> {
    let ticket = shared.call_aside(|broker, _, _| broker.noted());
    let mut kept = shared.carry.kept.subscribe();
    let is_kept = timeout(GIVE_MAX, kept.wait_for(|kept| *kept >= ticket)).await;
    let late = || UplinkError::Unavailable("what was noted before cannot be stored at present".to_owned());
    is_kept.map_err(|_| late())?.map(|_| ()).map_err(|_| late())
}

/// Somebody reads what was passed to our sessions, until this is dropped.
struct Look {
    shared: Arc<Shared>,
    began: u64,
}

impl Look {
    fn begin(shared: &Arc<Shared>) -> Self {
        let began = shared.call_aside(|broker, _, _| broker.look_begins());
        Self { shared: shared.clone(), began }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.shared.call_aside(|broker, _, _| broker.look_ends(self.began));
    }
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
    let look = Look::begin(shared);
    let (rows, is_all) = nodes.passed().await?;
    shared.call_aside(|broker, now, out| broker.passed(now, look.began, rows, is_all, out));
    carry.looks_done.store(until, Ordering::Relaxed);
    Ok(())
}
