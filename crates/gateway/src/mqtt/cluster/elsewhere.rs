//! Sessions of other nodes, as far as messages have to find them: they share the tree of topics with our own.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use motehub_domain::kept::{self, Subscription};

use crate::mqtt::routes::{Interest, Routes};
use crate::mqtt::subscribe::shared;

/// In the tree of topics, places from here on are of sessions of other nodes.
const AWAY: u32 = 1 << 30;
/// And those from here on of the nodes themselves.
const NODE: u32 = 1 << 31;

/// Whose an interest in the tree of topics is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mqtt) enum Whose {
    /// Of a session of this node.
    Here(u32),
    /// Of a session of another node.
    Away(u32),
    /// Of whatever another node has.
    Node(u32),
}

impl Whose {
    /// By the place that the tree has.
    pub(in crate::mqtt) fn of(place: u32) -> Self {
        match place {
            place if place >= NODE => Self::Node(place - NODE),
            place if place >= AWAY => Self::Away(place - AWAY),
            place => Self::Here(place),
        }
    }
}

/// The interest of a node in topics.
pub(super) fn of_node(node: u32) -> Interest {
    Interest { session: NODE + node, qos: 2, no_local: false, retain_as_published: true, id: None }
}

/// A session of another node.
#[derive(Debug)]
pub(in crate::mqtt) struct Away {
    pub serial: u64,
    /// Which node has it; `None` if that is not known.
    pub node: Option<u32>,
    /// What is passed to it by the store is not lost.
    pub is_kept: bool,
    /// It has a connection.
    pub is_here: bool,
    /// In which round of routing it was last met, and at which place.
    pub mark: Cell<(u64, u32)>,
    /// Filters as they were written, and when they were last heard of.
    subscriptions: Vec<(Box<str>, u64)>,
    epoch: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::mqtt) struct Aways {
    places: Vec<Option<Away>>,
    free: Vec<u32>,
    by_serial: HashMap<u64, u32>,
    /// Counts readings of the whole, of a node or of the store: what was heard of since has a larger number.
    epoch: u64,
    /// Sessions that ended since the store began to be read.
    ended: HashSet<u64>,
    /// Since when the store is being read.
    reading: Option<u64>,
}

impl Aways {
    pub(in crate::mqtt) fn get(&self, index: u32) -> Option<&Away> {
        self.places.get(index as usize)?.as_ref()
    }

    /// One by its number.
    pub(super) fn find(&self, serial: u64) -> Option<&Away> {
        self.get(*self.by_serial.get(&serial)?)
    }

    fn find_mut(&mut self, serial: u64) -> Option<&mut Away> {
        let index = *self.by_serial.get(&serial)?;
        self.places.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Away> {
        self.places.iter().flatten()
    }

    /// A session is there, or has moved.
    pub(super) fn put(&mut self, serial: u64, node: Option<u32>, is_kept: bool, is_here: bool) {
        let epoch = self.epoch;
        if let Some(away) = self.find_mut(serial) {
            (away.node, away.is_kept, away.is_here, away.epoch) = (node, is_kept, is_here, epoch);
            return;
        }
        let (mark, subscriptions) = (Cell::new((0, 0)), Vec::new());
        let away = Away { serial, node, is_kept, is_here, mark, subscriptions, epoch };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[index as usize] = Some(away);
        self.by_serial.insert(serial, index);
        self.ended.remove(&serial);
    }

    /// A session has subscribed; nothing happens if it is not known, or if the filter is none.
    pub(super) fn subscribe(&mut self, routes: &mut Routes, serial: u64, text: &str, granted: &Subscription) {
        let epoch = self.epoch;
        let Some(index) = self.by_serial.get(&serial).copied() else { return };
        let Some(away) = self.find_mut(serial) else { return };
        let Some((share, filter)) = shared(text) else { return };
        away.epoch = epoch;
        match away.subscriptions.iter_mut().find(|(known, _)| **known == *text) {
            Some((_, heard)) => *heard = epoch,
            None => away.subscriptions.push((text.into(), epoch)),
        }
        let Subscription { qos, no_local, retain_as_published, id } = *granted;
        routes.insert(
            share,
            filter,
            Interest { session: AWAY + index, qos, no_local, retain_as_published, id },
        );
    }

    /// A session has unsubscribed.
    pub(super) fn unsubscribe(&mut self, routes: &mut Routes, serial: u64, text: &str) {
        let epoch = self.epoch;
        self.unsubscribe_all(routes, serial, |known, _| known == text);
        if let Some(away) = self.find_mut(serial) {
            away.epoch = epoch;
        }
    }

    fn unsubscribe_all(&mut self, routes: &mut Routes, serial: u64, goes: impl Fn(&str, u64) -> bool) {
        let Some(index) = self.by_serial.get(&serial).copied() else { return };
        let Some(away) = self.find_mut(serial) else { return };
        away.subscriptions.retain(|(text, heard)| {
            let goes = goes(text, *heard);
            if let (true, Some((share, filter))) = (goes, shared(text)) {
                routes.remove(share, filter, AWAY + index);
            }
            !goes
        });
    }

    /// A session has ended, or is here from now on.
    pub(super) fn remove(&mut self, routes: &mut Routes, serial: u64) {
        if self.reading.is_some() {
            self.ended.insert(serial);
        }
        self.unsubscribe_all(routes, serial, |_, _| true);
        if let Some(index) = self.by_serial.remove(&serial) {
            self.places[index as usize] = None;
            self.free.push(index);
        }
    }

    /// A node begins to tell the whole: for [`Aways::sweep`].
    pub(super) fn begin(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// A node has told the whole since an epoch: what it did not mention is not there any more. A kept session may only
    /// have moved; whether there is one that was not mentioned is returned, so that the store is read.
    pub(super) fn sweep(&mut self, routes: &mut Routes, node: u32, since: u64) -> bool {
        let of_node = self.all().filter(|away| away.node == Some(node));
        let (silent, told): (Vec<_>, Vec<_>) = of_node
            .map(|away| (away.serial, away.epoch, away.is_kept))
            .partition(|(_, heard, _)| *heard < since);
        for (serial, ..) in told {
            self.unsubscribe_all(routes, serial, |_, heard| heard < since);
        }
        for (serial, ..) in silent.iter().filter(|(.., is_kept)| !is_kept) {
            self.remove(routes, *serial);
        }
        silent.iter().any(|(.., is_kept)| *is_kept)
    }

    /// Sessions that nothing keeps have ended with their node.
    pub(super) fn node_is_gone(&mut self, routes: &mut Routes, node: u32) {
        let lost = self.all().filter(|away| away.node == Some(node) && !away.is_kept);
        let lost: Vec<u64> = lost.map(|away| away.serial).collect();
        lost.into_iter().for_each(|serial| self.remove(routes, serial));
        self.places
            .iter_mut()
            .flatten()
            .filter(|away| away.node == Some(node))
            .for_each(|a| a.is_here = false);
    }

    /// The store begins to be read.
    pub(super) fn begin_reading(&mut self) {
        self.reading = Some(self.begin());
        self.ended.clear();
    }

    /// The store was read; of what was heard meanwhile, that counts. `is_ours` says which sessions are here.
    pub(super) fn read(
        &mut self,
        routes: &mut Routes,
        found: Vec<kept::Elsewhere>,
        node_of: impl Fn(&str) -> Option<u32>,
        is_ours: impl Fn(u64) -> bool,
    ) {
        let Some(since) = self.reading.take() else { return };
        for kept::Elsewhere { serial, node, is_connected, subscriptions } in found {
            let is_news = self.find(serial).is_some_and(|away| away.epoch >= since);
            if is_news || self.ended.contains(&serial) || is_ours(serial) {
                continue;
            }
            self.put(serial, node.as_deref().and_then(&node_of), true, is_connected);
            for (text, granted) in &subscriptions {
                self.subscribe(routes, serial, text, granted);
            }
            let is_there = |text: &str| subscriptions.iter().any(|(known, _)| **known == *text);
            self.unsubscribe_all(routes, serial, |text, _| !is_there(text));
        }
        let gone = self.all().filter(|away| away.is_kept && away.epoch < since);
        let gone: Vec<u64> = gone.map(|away| away.serial).collect();
        gone.into_iter().for_each(|serial| self.remove(routes, serial));
        self.ended.clear();
    }
}
