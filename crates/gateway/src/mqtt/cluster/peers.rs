//! The other nodes: who is alive, what each has told, and what each knows of what was told.

use std::collections::{HashMap, VecDeque};

use super::elsewhere::of_node;
use crate::mqtt::Millis;
use crate::mqtt::routes::Routes;

/// Most nodes of a hub, those that are gone included.
const NODES_MAX: usize = 64;
/// How long an answer to a client waits until the other nodes know of its subscriptions.
const KNOW_MAX_MS: u64 = 1_000;
/// How often is said how far was told, so that what was lost is found.
const BEAT_MS: u64 = 2_000;

/// So long a node counts as alive of which the hub does not know, and which was heard.
const SILENT_MS: u64 = 6_000;

struct Peer {
    name: Box<str>,
    is_alive: bool,
    /// The hub says so, and not only that it was heard a moment ago.
    is_listed: bool,
    heard_at: Millis,
    /// Since when it runs, and the number of its last news; `None` if some of it was lost.
    heard: Option<(u64, u64)>,
    /// When it was last asked for the whole.
    asked_at: Option<Millis>,
    /// It is telling the whole, since this epoch.
    whole_since: Option<u64>,
    /// It knows our news up to this number.
    knows: u64,
    /// What it wants, and when that was last heard.
    wants: HashMap<Box<str>, u64>,
}

/// All of them.
pub(in crate::mqtt) struct Peers {
    start: u64,
    told: u64,
    all: Vec<Peer>,
    /// News up to this number are known to all who are alive, or were waited for long enough.
    known: u64,
    /// Nobody waits any more for who does not know these.
    given_up: u64,
    /// Numbers of news, and until when is waited.
    awaited: VecDeque<(u64, Millis)>,
    /// Batches with news, and the last number of these.
    batches: VecDeque<(u64, u64)>,
    beat_at: Millis,
    epoch: u64,
}

impl Peers {
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            told: 0,
            all: Vec::new(),
            known: 0,
            given_up: 0,
            awaited: VecDeque::new(),
            batches: VecDeque::new(),
            beat_at: 0,
            epoch: 0,
        }
    }

    /// The place of a node by its name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.all.iter().position(|peer| *peer.name == *name).map(|at| at as u32)
    }

    /// The place of a node, which is made if there is room; `None` if not.
    pub(super) fn index_of(&mut self, name: &str) -> Option<u32> {
        let known = self.find(name);
        if known.is_some() || self.all.len() >= NODES_MAX {
            return known;
        }
        self.all.push(Peer {
            name: name.into(),
            is_alive: false,
            is_listed: false,
            heard_at: 0,
            heard: None,
            asked_at: None,
            whole_since: None,
            knows: 0,
            wants: HashMap::new(),
        });
        Some((self.all.len() - 1) as u32)
    }

    pub(super) fn name(&self, node: u32) -> Option<&str> {
        self.all.get(node as usize).map(|peer| &*peer.name)
    }

    pub(super) fn is_alive(&self, node: u32) -> bool {
        self.all.get(node as usize).is_some_and(|peer| peer.is_alive)
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = u32> {
        (0_u32..).zip(&self.all).filter(|(_, peer)| peer.is_alive).map(|(node, _)| node)
    }

    /// Who is alive; gives those who were and are not any more.
    pub(super) fn set_alive(&mut self, alive: &[Box<str>]) -> Vec<u32> {
        for name in alive {
            self.index_of(name);
        }
        let mut gone = Vec::new();
        for (node, peer) in (0..).zip(&mut self.all) {
            peer.is_listed = alive.contains(&peer.name);
            if std::mem::replace(&mut peer.is_alive, peer.is_listed) && !peer.is_listed {
                (peer.heard, peer.asked_at) = (None, None);
                gone.push(node);
            }
        }
        gone
    }

    /// A node said something: it is alive, whether the hub knows yet or not.
    pub(super) fn is_heard(&mut self, now: Millis, node: u32) {
        if let Some(peer) = self.all.get_mut(node as usize) {
            (peer.is_alive, peer.heard_at) = (true, now);
        }
    }

    /// Those who were heard and are not any more, though the hub never knew of them.
    pub(super) fn fell_silent(&mut self, now: Millis) -> Vec<u32> {
        let mut silent = Vec::new();
        for (node, peer) in (0..).zip(&mut self.all) {
            if peer.is_alive && !peer.is_listed && peer.heard_at + SILENT_MS <= now {
                (peer.is_alive, peer.heard, peer.asked_at) = (false, None, None);
                silent.push(node);
            }
        }
        silent
    }

    /// Whatever was said lately may be lost.
    pub(super) fn hear_anew(&mut self) {
        for peer in &mut self.all {
            (peer.heard, peer.asked_at) = (None, None);
        }
    }

    /// Whether a node has to be asked for the whole; notes that it is.
    pub(super) fn must_be_asked(&mut self, now: Millis, node: u32) -> bool {
        let Some(peer) = self.all.get_mut(node as usize) else { return false };
        let is_due = peer.asked_at.is_none_or(|at| now >= at + BEAT_MS);
        let must = peer.heard.is_none() && is_due;
        if must {
            peer.asked_at = Some(now);
        }
        must
    }

    /// News of a node: whether none are missing before them.
    pub(super) fn hears(&mut self, node: u32, start: u64, told: u64, is_news: bool) -> bool {
        let Some(peer) = self.all.get_mut(node as usize) else { return false };
        let expected = told.wrapping_sub(u64::from(is_news));
        let is_next = peer.heard == Some((start, expected));
        if !is_next && peer.heard.is_some() {
            peer.asked_at = None;
        }
        peer.heard = is_next.then_some((start, told));
        is_next
    }

    pub(super) fn whole_begins(&mut self, node: u32, since: u64) {
        self.epoch = since;
        if let Some(peer) = self.all.get_mut(node as usize) {
            peer.whole_since = Some(since);
        }
    }

    /// The whole was told: since which epoch. `None` if its begin was missed; it is asked for again then.
    pub(super) fn whole_ends(
        &mut self,
        routes: &mut Routes,
        node: u32,
        start: u64,
        told: u64,
    ) -> Option<u64> {
        let peer = self.all.get_mut(node as usize)?;
        let since = peer.whole_since.take()?;
        peer.heard = Some((start, told));
        for (filter, _) in peer.wants.extract_if(|_, heard| *heard < since) {
            routes.remove(None, &filter, of_node(node).session);
        }
        Some(since)
    }

    /// A node wants a filter.
    pub(super) fn wants(&mut self, routes: &mut Routes, node: u32, filter: Box<str>) {
        if let Some(peer) = self.all.get_mut(node as usize) {
            routes.insert(None, &filter, of_node(node));
            peer.wants.insert(filter, self.epoch);
        }
    }

    /// A node does not want a filter any more.
    pub(super) fn wants_not(&mut self, routes: &mut Routes, node: u32, filter: &str) {
        if let Some(peer) = self.all.get_mut(node as usize)
            && peer.wants.remove(filter).is_some()
        {
            routes.remove(None, filter, of_node(node).session);
        }
    }

    /// A node is gone: it wants nothing.
    pub(super) fn forget_wants(&mut self, routes: &mut Routes, node: u32) {
        if let Some(peer) = self.all.get_mut(node as usize) {
            for (filter, _) in peer.wants.drain() {
                routes.remove(None, &filter, of_node(node).session);
            }
        }
    }

    /// Since when this node runs, and the number of its last news.
    pub(super) fn told(&self) -> (u64, u64) {
        (self.start, self.told)
    }

    /// There are news: their number.
    pub(super) fn tells(&mut self, now: Millis) -> (u64, u64) {
        self.told += 1;
        if self.alive().next().is_some() {
            self.awaited.push_back((self.told, now + KNOW_MAX_MS));
        }
        (self.start, self.told)
    }

    /// What a batch had to tell is told.
    pub(super) fn batch_was_told(&mut self, number: u64) {
        if self.told > self.known {
            self.batches.push_back((number, self.told));
        }
    }

    /// Whether the others know news, and those of a batch.
    pub(in crate::mqtt) fn are_known(&self, told: u64, batch: u64) -> bool {
        let is_alone = self.alive().next().is_none();
        is_alone || told <= self.known && self.batches.iter().all(|(number, _)| *number > batch)
    }

    /// A node knows our news.
    pub(super) fn knows(&mut self, node: u32, start: u64, told: u64) {
        if let Some(peer) = self.all.get_mut(node as usize)
            && start == self.start
        {
            peer.knows = peer.knows.max(told.min(self.told));
        }
    }

    /// Adds up who knows what; whether more is known than before.
    pub(super) fn know_more(&mut self) -> bool {
        let known = self.all.iter().filter(|peer| peer.is_alive).map(|peer| peer.knows).min();
        let known = known.unwrap_or(self.told).max(self.given_up);
        let is_more = known > self.known;
        self.known = self.known.max(known);
        while self.awaited.front().is_some_and(|(told, _)| *told <= self.known) {
            self.awaited.pop_front();
        }
        while self.batches.front().is_some_and(|(_, told)| *told <= self.known) {
            self.batches.pop_front();
        }
        is_more
    }

    /// Waits no longer for what was told long ago.
    pub(super) fn give_up(&mut self, now: Millis) {
        while let Some((told, _)) = self.awaited.pop_front_if(|(_, until)| *until <= now) {
            self.given_up = told;
        }
    }

    /// Until when is waited.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.awaited.front().map(|(_, until)| *until)
    }

    /// Whether it is time to say how far was told; notes that it is done.
    pub(super) fn beats(&mut self, now: Millis) -> bool {
        let is_due = now >= self.beat_at + BEAT_MS;
        if is_due {
            self.beat_at = now;
        }
        is_due
    }
}
