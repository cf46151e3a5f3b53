//! What several nodes do with one disk, as the store does it.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::kept::{
    Batch, Elsewhere, Passed, Principal, Recalled, RecalledSession, Retained, Session,
};

use crate::disk::Disk;

/// See the file.
#[derive(Default)]
pub(crate) struct SharedDisk {
    disk: Disk,
    /// How often sessions were taken from each node.
    fences: BTreeMap<Box<str>, u64>,
}

impl SharedDisk {
    /// A node starts: its fence, and what it has.
    pub(crate) fn starts(&mut self, node: &str) -> (u64, Recalled) {
        let fence = self.fences.entry(node.into()).or_default();
        *fence += 1;
        let fence = *fence;
        let mut recalled = self.disk.read();
        recalled
            .sessions
            .retain(|session| self.disk.node_of.get(&session.session.serial).is_some_and(|n| **n == *node));
        recalled
            .passed
            .retain(|(_, passed)| self.disk.node_of.get(&passed.session).is_some_and(|n| **n == *node));
        (fence, recalled)
    }

    /// Writes a batch of a node; if sessions were taken from it, those of the batch, and the fence from now on.
    pub(crate) fn write_as(
        &mut self,
        node: &str,
        fence: u64,
        batch: &mut Batch,
        held: impl Fn() -> BTreeSet<u64>,
    ) -> (u64, BTreeSet<u64>) {
        let now = self.fences[node];
        let others = |serial: &u64| self.disk.node_of.get(serial).is_some_and(|of| **of != *node);
        let lost: BTreeSet<u64> = match now == fence {
            true => BTreeSet::new(),
            false => held().union(&batch.serials()).copied().filter(others).collect(),
        };
        batch.lose(&lost);
        self.disk.write(batch);
        for serial in batch.sessions.iter().filter(|(_, session)| session.is_some()).map(|(serial, _)| serial)
        {
            self.disk.node_of.entry(*serial).or_insert(node.into());
        }
        self.disk.node_of.extend(batch.handed.clone());
        (now, lost)
    }

    /// The session of a client, and who has it.
    pub(crate) fn find(&self, principal: &Principal, client_id: &str) -> Option<(u64, Box<str>)> {
        let is_it = |s: &&Session| s.principal == *principal && *s.client_id == *client_id;
        let session = self.disk.sessions.values().rev().find(is_it)?;
        Some((session.serial, self.disk.node_of[&session.serial].clone()))
    }

    /// Takes sessions from a node without asking.
    pub(crate) fn take(&mut self, serials: &[u64], from: &str, to: &str) {
        *self.fences.entry(from.into()).or_default() += 1;
        self.disk.node_of.extend(serials.iter().map(|serial| (*serial, Box::from(to))));
    }

    /// The numbers of the sessions of a node.
    pub(crate) fn of_node(&self, node: &str) -> Vec<u64> {
        self.disk.node_of.iter().filter(|(_, of)| ***of == *node).map(|(serial, _)| *serial).collect()
    }

    /// A session, and what was passed to it.
    pub(crate) fn session(&self, serial: u64) -> Option<(RecalledSession, Vec<(u64, Passed)>)> {
        let session =
            self.disk.read().sessions.into_iter().find(|session| session.session.serial == serial)?;
        let passed = self.disk.passed.iter().filter(|(_, passed)| passed.session == serial);
        Some((session, passed.map(|(id, passed)| (*id, passed.clone())).collect()))
    }

    /// What was passed to the sessions of a node.
    pub(crate) fn passed_to(&self, node: &str) -> Vec<(u64, Passed)> {
        let is_its = |passed: &Passed| self.disk.node_of.get(&passed.session).is_some_and(|of| **of == *node);
        self.disk.passed.iter().filter(|(_, p)| is_its(p)).map(|(id, passed)| (*id, passed.clone())).collect()
    }

    /// How many messages wait to be taken.
    pub(crate) fn passed_len(&self) -> usize {
        self.disk.passed.len()
    }

    /// All sessions, as nodes know those of others.
    pub(crate) fn elsewhere(&self) -> Vec<Elsewhere> {
        let all = self.disk.read().sessions.into_iter().map(|session| Elsewhere {
            serial: session.session.serial,
            node: self.disk.node_of.get(&session.session.serial).cloned(),
            is_connected: session.session.ends_at.is_none(),
            subscriptions: session.subscriptions,
        });
        all.collect()
    }

    /// What was retained and what is no longer.
    pub(crate) fn stamps(&self) -> Vec<(Box<str>, Retained)> {
        self.disk.retained.clone().into_iter().collect()
    }

    /// How many things of sessions are on it.
    pub(crate) fn len(&self) -> usize {
        self.disk.len()
    }
}
