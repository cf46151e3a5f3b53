//! The broker as one of several, each on a node of the hub (ADR 0025): what it tells the others of its sessions, what
//! it knows of theirs, and who knows what it told. Still without a socket: what is to be said comes out of
//! [`Broker::take_says`], what was heard goes into [`Broker::heard`].

pub(super) mod carry;
mod elsewhere;
mod moving;
mod passing;
mod peers;
mod telling;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use motehub_domain::kept;

use super::broker::Broker;
use super::out::Out;
use super::{Millis, Slot};
use elsewhere::Aways;
pub(super) use elsewhere::{Away, Whose};
pub(super) use passing::Passing;
use peers::Peers;
pub use words::{News, Said};

/// Most news that are told at once; the rest follows.
const NEWS_MAX: usize = 500;

/// What the broker of a node knows because there are others.
pub(super) struct Cluster {
    /// The name of this node.
    pub name: Box<str>,
    pub peers: Peers,
    pub aways: Aways,
    /// Places of our sessions by their numbers.
    pub here: HashMap<u64, u32>,
    /// Filters that sessions here want that end with their connection, or the hub; and how many of them do.
    wants: HashMap<Box<str>, u32>,
    /// To be told at once.
    fresh: Vec<News>,
    /// To be told when the batch that is collected is on disk, and the one on its way.
    noted: Vec<News>,
    leaving: Vec<News>,
    /// Nodes that are to look into the store when the batch that is collected is on disk, and the one on its way.
    nudges: BTreeSet<u32>,
    leaving_nudges: BTreeSet<u32>,
    says: Vec<(Box<str>, Said)>,
    /// Answers of these connections wait until the others know what was told.
    waiting: Vec<Slot>,
    /// What was passed to our sessions and is taken, and with which batch: who reads the store may still find it there.
    taking: HashMap<u64, u64>,
    /// Up to which batch all was on disk when each of those began who read what was passed.
    looks: Vec<u64>,
    leaving_taken: Vec<u64>,
    /// There was more when the store was last looked into.
    looks_again: bool,
    /// Sessions that came here, and the last batch in which this node passed something to them before.
    catching_up: Vec<(u64, u64)>,
    /// In which batch something was last passed to a session.
    passed_in: HashMap<u64, u64>,
    /// Numbers of sessions that may be given besides those of `next_serial`.
    more_serials: Option<Range<u64>>,
    serials_end: u64,
    /// Whether there is something in the store to look for: what was passed to us, and what others have.
    wants_look: bool,
    wants_reading: bool,
}

/// What a broker wants of its surroundings besides what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// [`Broker::passed`]: look into the store for what was passed to its sessions.
    pub look: bool,
    /// [`Broker::begin_reading`] and [`Broker::read_elsewhere`]: read what sessions others have.
    pub reading: bool,
    /// [`Broker::give_serials`]: more numbers for sessions.
    pub serials: bool,
}

impl Broker {
    /// Makes it one of several. To be called once, before anything else. `start` is when it started, by a clock that
    /// went on since its former life; `serials` are the numbers that its sessions may have.
    pub fn join(&mut self, name: &str, start: u64, serials: Range<u64>) {
        self.next_serial = serials.start;
        self.retained.tell_apart(name);
        self.cluster = Some(Box::new(Cluster {
            name: name.into(),
            peers: Peers::new(start),
            aways: Aways::default(),
            here: HashMap::new(),
            wants: HashMap::new(),
            fresh: Vec::new(),
            noted: Vec::new(),
            leaving: Vec::new(),
            nudges: BTreeSet::new(),
            leaving_nudges: BTreeSet::new(),
            says: Vec::new(),
            waiting: Vec::new(),
            taking: HashMap::new(),
            looks: Vec::new(),
            leaving_taken: Vec::new(),
            looks_again: false,
            catching_up: Vec::new(),
            passed_in: HashMap::new(),
            more_serials: None,
            serials_end: serials.end,
            wants_look: true,
            wants_reading: true,
        }));
    }

    /// Which other nodes are alive.
    pub fn set_others(&mut self, now: Millis, alive: &[Box<str>], out: &mut Out) {
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        for node in cluster.peers.set_alive(alive) {
            cluster.aways.node_is_gone(routes, node);
            cluster.peers.forget_wants(routes, node);
        }
        cluster.ask(now);
        self.know(now, out);
    }

    /// The bus was away and is back: what was said meanwhile is lost.
    pub fn bus_came_back(&mut self, now: Millis) {
        let Some(cluster) = self.cluster.as_mut() else { return };
        cluster.peers.hear_anew();
        (cluster.wants_look, cluster.wants_reading) = (true, true);
        cluster.ask(now);
    }

    /// What is to be said to which node, in order.
    pub fn take_says(&mut self, now: Millis) -> Vec<(Box<str>, Said)> {
        let Some(cluster) = self.cluster.as_mut() else { return Vec::new() };
        let fresh = std::mem::take(&mut cluster.fresh);
        cluster.tell(now, &fresh);
        std::mem::take(&mut cluster.says)
    }

    /// What it wants, once.
    pub fn take_wishes(&mut self) -> Wishes {
        let next_serial = self.next_serial;
        let Some(cluster) = self.cluster.as_mut() else { return Wishes::default() };
        let is_low =
            cluster.more_serials.is_none() && cluster.serials_end.saturating_sub(next_serial) < SERIALS_LOW;
        Wishes {
            look: std::mem::take(&mut cluster.wants_look),
            reading: std::mem::take(&mut cluster.wants_reading),
            serials: is_low,
        }
    }

    /// More numbers for its sessions.
    pub fn give_serials(&mut self, serials: Range<u64>) {
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.more_serials = Some(serials);
        }
    }

    /// The number of a new session; `None` if they have run out.
    pub(super) fn new_serial(&mut self) -> Option<u64> {
        if let Some(cluster) = self.cluster.as_mut()
            && self.next_serial >= cluster.serials_end
        {
            let more = cluster.more_serials.take()?;
            (self.next_serial, cluster.serials_end) = (more.start, more.end);
        }
        self.next_serial += 1;
        Some(self.next_serial - 1)
    }

    /// The store is about to be read for what sessions others have.
    pub fn begin_reading(&mut self) {
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.aways.begin_reading();
        }
    }

    /// All sessions that are kept, of whichever node; those of this one mean nothing.
    pub fn read_elsewhere(&mut self, found: Vec<kept::Elsewhere>) {
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        let Cluster { aways, peers, here, .. } = cluster.as_mut();
        for name in found.iter().filter_map(|session| session.node.as_deref()) {
            peers.index_of(name);
        }
        aways.read(routes, found, |name| peers.find(name), |serial| here.contains_key(&serial));
    }

    /// What another broker said.
    pub fn heard(&mut self, now: Millis, from: &str, said: Said, out: &mut Out) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| *cluster.name != *from) else { return };
        let Some(node) = cluster.peers.index_of(from) else { return };
        cluster.peers.is_heard(now, node);
        match said {
            Said::Tell { start, told, news } => {
                let is_next = cluster.peers.hears(node, start, told, !news.is_empty());
                let is_news = !news.is_empty();
                self.take_news(node, news);
                let Some(cluster) = self.cluster.as_mut() else { return };
                match is_next {
                    true if is_news => cluster.say(node, Said::Knows { start, told }),
                    true => {}
                    false => cluster.ask(now),
                }
            }
            Said::Whole { start, told, is_first, is_last, news } => {
                if is_first {
                    let since = cluster.aways.begin();
                    cluster.peers.whole_begins(node, since);
                }
                self.take_news(node, news);
                let Self { cluster: Some(cluster), routes, .. } = self else { return };
                if is_last && let Some(since) = cluster.peers.whole_ends(routes, node, start, told) {
                    cluster.wants_reading |= cluster.aways.sweep(routes, node, since);
                    cluster.say(node, Said::Knows { start, told });
                }
            }
            Said::Ask => self.tell_whole(now, node),
            Said::Knows { start, told } => {
                cluster.peers.knows(node, start, told);
                self.know(now, out);
            }
            Said::Spread { message, skip, is_of_client } => {
                self.spread(now, &message, &skip, is_of_client, out);
            }
            Said::One { serial, message, qos, retain, ids } => {
                self.deliver_one(now, serial, &message, (qos, retain, ids), out);
            }
            Said::Look => cluster.wants_look = true,
            Said::Retained { topic, stamp, message } => {
                let message = message.filter(|message| message.topic == topic);
                self.hear_retained(&topic, stamp, message);
            }
            Said::Connected { principal, client_id, serial, since } => {
                self.connected_elsewhere(now, from, (principal, client_id), serial, since, out);
            }
        }
    }

    /// Others may know more of what was told: writes the answers that waited for it.
    fn know(&mut self, now: Millis, out: &mut Out) {
        let Some(cluster) = self.cluster.as_mut() else { return };
        if !cluster.peers.know_more() {
            return;
        }
        for slot in std::mem::take(&mut cluster.waiting) {
            self.write_deferred(slot, out);
            if self.cluster.as_ref().is_some_and(|_| self.awaits_others(slot)) {
                self.wait_for_others(slot);
            }
            self.pump(now, slot, out);
        }
    }

    /// Does what is due: waits no longer for those who do not answer, and says now and then how far it has told.
    pub(super) fn tick_cluster(&mut self, now: Millis, out: &mut Out) {
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        for node in cluster.peers.fell_silent(now) {
            cluster.aways.node_is_gone(routes, node);
            cluster.peers.forget_wants(routes, node);
        }
        cluster.peers.give_up(now);
        if cluster.peers.beats(now) {
            let (start, told) = cluster.peers.told();
            cluster.say_all(|| Said::Tell { start, told, news: Vec::new() });
            cluster.ask(now);
        }
        self.know(now, out);
    }

    /// When it has to be looked at again, because others do not answer.
    pub(super) fn cluster_deadline(&self) -> Option<Millis> {
        self.cluster.as_ref()?.peers.deadline()
    }

    /// Has the connection's answers written when the others know.
    pub(super) fn wait_for_others(&mut self, slot: Slot) {
        if let Some(cluster) = self.cluster.as_mut()
            && !cluster.waiting.contains(&slot)
        {
            cluster.waiting.push(slot);
        }
    }
}

/// Of so many sessions is remembered when something was last passed to them.
const PASSED_MAX: usize = 10_000;
/// And of more only within so many batches: reading a session does not take that long.
const PASSED_BATCHES: u64 = 1_000;
/// Below so many more are asked for.
const SERIALS_LOW: u64 = 100_000;
