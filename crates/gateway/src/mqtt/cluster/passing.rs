//! Messages between nodes. Those of QoS 1 and 2 for kept sessions of others are in the store before they are
//! acknowledged, and the node that has the session takes them from there; all others are said over the bus.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use motehub_domain::kept::{Message, Passed};

use super::{Cluster, Said};
use crate::mqtt::Millis;
use crate::mqtt::broker::Broker;
use crate::mqtt::deliver::Delivery;
use crate::mqtt::out::Out;
use crate::mqtt::session::Session;

/// Later than every batch.
const NOT_KEPT: u64 = u64::MAX;
/// A number that no entry has: of what was passed to us and dropped.
const NO_ENTRY: u64 = u64::MAX;

/// A message on its way to a session of another node.
#[derive(Debug)]
pub(in crate::mqtt) struct Passing {
    /// Its place among those.
    pub away: u32,
    pub qos: u8,
    pub retain: bool,
    pub ids: Vec<u32>,
    /// It was chosen among those of a shared subscription.
    pub is_chosen: bool,
}

impl Cluster {
    /// Forgets what was passed to us and is gone from the store for everybody who reads it; all up to a batch is on
    /// disk.
    pub(super) fn forget_taken(&mut self, kept: u64) {
        let first = self.looks.iter().copied().min().unwrap_or(kept);
        self.taking.retain(|_, batch| *batch > first);
    }
}

impl Broker {
    /// Passes a message on to sessions of other nodes, and to nodes (a bit for each) that want it.
    pub(in crate::mqtt) fn pass(
        &mut self,
        message: &Arc<Message>,
        passing: Vec<Passing>,
        mut nodes: u64,
        is_of_client: bool,
    ) {
        let Self { cluster: Some(cluster), notes, .. } = self else { return };
        let mut skip: Vec<(u32, u64)> = Vec::new();
        for Passing { away, qos, retain, ids, is_chosen } in passing {
            let Some(away) = cluster.aways.get(away) else { continue };
            let (serial, node) = (away.serial, away.node);
            if away.is_kept && qos > 0 {
                notes.pass(Passed { session: serial, message: message.clone(), qos, retain, ids });
                cluster.passed_in.insert(serial, notes.number());
                if let Some(node) = node {
                    cluster.nudges.insert(node);
                    skip.push((node, serial));
                }
            } else if let Some(node) = node.filter(|node| cluster.peers.is_alive(*node)) {
                if is_chosen {
                    cluster.say(node, Said::One { serial, message: message.clone(), qos, retain, ids });
                } else {
                    nodes |= 1 << node;
                }
            }
        }
        for node in (0..u64::BITS).filter(|node| nodes & 1 << node != 0) {
            if cluster.peers.is_alive(node) {
                let skip = skip.iter().filter(|(of, _)| *of == node).map(|(_, serial)| *serial).collect();
                cluster.say(node, Said::Spread { message: message.clone(), skip, is_of_client });
            }
        }
    }

    /// A message that another node said for one session of ours.
    pub(super) fn deliver_one(
        &mut self,
        now: Millis,
        serial: u64,
        message: &Arc<Message>,
        (qos, retain, ids): (u8, bool, Vec<u32>),
        out: &mut Out,
    ) {
        match self.index_of(serial) {
            Some(session) => {
                let delivery = Delivery { session, qos: qos.min(2), retain, ids };
                self.deliver(now, delivery, message, out);
            }
            None => self.counters.dropped_elsewhere += 1,
        }
    }

    /// The store is about to be read for what was passed to our sessions: for [`Broker::passed`].
    pub fn look_begins(&mut self) -> u64 {
        let began = self.notes.number_kept();
        if let Some(cluster) = self.cluster.as_mut() {
            cluster.looks.push(began);
        }
        began
    }

    /// What began so was read and told, or could not be read.
    pub fn look_ends(&mut self, began: u64) {
        let Some(cluster) = self.cluster.as_mut() else { return };
        if let Some(at) = cluster.looks.iter().position(|look| *look == began) {
            cluster.looks.swap_remove(at);
        }
        cluster.forget_taken(self.notes.number_kept());
    }

    /// What was passed to our sessions, in order, by its numbers in the store. `began` is what [`Broker::look_begins`]
    /// said before, `is_all` whether there is no more.
    pub fn passed(&mut self, now: Millis, began: u64, rows: Vec<(u64, Passed)>, is_all: bool, out: &mut Out) {
        for (id, passed) in rows {
            self.take_passed(now, id, passed, out);
        }
        let Some(cluster) = self.cluster.as_mut() else { return };
        if !is_all {
            cluster.looks_again = true;
            return;
        }
        let caught_up: Vec<u64> =
            cluster.catching_up.extract_if(.., |(_, batch)| *batch <= began).map(|of| of.0).collect();
        for serial in caught_up {
            let Some(index) = self.index_of(serial) else { continue };
            let Some(session) = self.sessions[index as usize].as_mut() else { continue };
            session.late = None;
            if let Some(slot) = session.connection {
                self.pump(now, slot, out);
            }
        }
    }

    /// Makes a passed message an entry of its session, if that is here and it is none yet.
    pub(in crate::mqtt) fn take_passed(&mut self, now: Millis, id: u64, passed: Passed, out: &mut Out) {
        let Some(session) = self.index_of(passed.session) else { return };
        if let Some(cluster) = self.cluster.as_mut() {
            match cluster.taking.entry(id) {
                Entry::Occupied(_) => return,
                Entry::Vacant(taking) => drop(taking.insert(NOT_KEPT)),
            }
        }
        let Passed { session: serial, message, qos, retain, ids } = passed;
        let delivery = Delivery { session, qos: qos.clamp(1, 2), retain, ids };
        let number = self.deliver_late(now, delivery, &message, out);
        self.notes.take_passed(id, serial, number.unwrap_or(NO_ENTRY));
    }

    /// The place of a session of ours by its number.
    pub(in crate::mqtt) fn index_of(&self, serial: u64) -> Option<u32> {
        match &self.cluster {
            Some(cluster) => cluster.here.get(&serial).copied(),
            None => {
                let is_it =
                    |session: &Option<_>| session.as_ref().is_some_and(|s: &Session| s.serial == serial);
                self.sessions.iter().position(is_it).map(|index| index as u32)
            }
        }
    }
}
