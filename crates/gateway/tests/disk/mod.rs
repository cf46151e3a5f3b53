//! A disk in memory for what the broker keeps: what was written to it is there after a power cut, nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Passed, Recalled, RecalledSession, Retained, Session, Subscription,
};

/// See the file.
#[derive(Default, Clone)]
pub(crate) struct Disk {
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) subscriptions: BTreeMap<(u64, Box<str>), Subscription>,
    pub(crate) entries: BTreeMap<(u64, u64), Entry>,
    pub(crate) received: BTreeMap<(u64, u16), ()>,
    pub(crate) retained: BTreeMap<Box<str>, Retained>,
    pub(crate) passed: BTreeMap<u64, Passed>,
    pub(crate) passed_so_far: u64,
    /// Which nodes have sessions, if there are several.
    pub(crate) node_of: BTreeMap<u64, Box<str>>,
    pub(crate) alive_at: Option<u64>,
}

impl Disk {
    /// Writes a batch.
    pub(crate) fn write(&mut self, batch: &Batch) {
        for (serial, session) in &batch.sessions {
            match session {
                Some(session) => drop(self.sessions.insert(*serial, session.clone())),
                None => {
                    self.sessions.remove(serial);
                    self.subscriptions.retain(|(of, _), _| of != serial);
                    self.entries.retain(|(of, _), _| of != serial);
                    self.received.retain(|(of, _), ()| of != serial);
                    self.passed.retain(|_, passed| passed.session != *serial);
                    self.node_of.remove(serial);
                }
            }
        }
        for (key, subscription) in &batch.subscriptions {
            put(&mut self.subscriptions, key, subscription.as_ref());
        }
        for (key, note) in &batch.entries {
            match note {
                EntryNote::Put(entry) => put(&mut self.entries, key, Some(entry)),
                EntryNote::Progress(progress) => {
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.progress = *progress;
                    }
                }
                EntryNote::Done => put(&mut self.entries, key, None),
            }
        }
        for (key, is_there) in &batch.received {
            put(&mut self.received, key, is_there.then_some(&()));
        }
        for (topic, retained) in &batch.retained {
            if self.retained.get(topic).is_none_or(|former| former.stamp <= retained.stamp) {
                self.retained.insert(topic.clone(), retained.clone());
            }
        }
        for passed in &batch.passed {
            self.passed_so_far += 1;
            self.passed.insert(self.passed_so_far, passed.clone());
        }
        for id in batch.taken.keys() {
            self.passed.remove(id);
        }
        self.alive_at = batch.alive_at.or(self.alive_at);
    }

    /// Everything that is on it.
    pub(crate) fn read(&self) -> Recalled {
        let contents = |session: &Session| {
            let serial = session.serial;
            let subscriptions = self.subscriptions.iter().filter(|((of, _), _)| *of == serial);
            let entries = self.entries.iter().filter(|((of, _), _)| *of == serial);
            let received = self.received.keys().filter(|(of, _)| *of == serial);
            RecalledSession {
                session: session.clone(),
                subscriptions: subscriptions.map(|((_, text), s)| (text.clone(), s.clone())).collect(),
                entries: entries.map(|((_, number), entry)| (*number, entry.clone())).collect(),
                received: received.map(|(_, id)| *id).collect(),
            }
        };
        Recalled {
            sessions: self.sessions.values().map(contents).collect(),
            retained: self.retained(),
            passed: self.passed.clone().into_iter().collect(),
            alive_at: self.alive_at,
        }
    }

    /// What is retained, with its stamps.
    fn retained(&self) -> Vec<(u64, Arc<Message>)> {
        let all = self.retained.values();
        all.filter_map(|retained| Some((retained.stamp, retained.message.clone()?))).collect()
    }

    /// How many things are on it that belong to sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len() + self.subscriptions.len() + self.entries.len() + self.received.len()
    }
}

fn put<K: Ord + Clone, V: Clone>(table: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) {
    match value {
        Some(value) => drop(table.insert(key.clone(), value.clone())),
        None => drop(table.remove(key)),
    }
}
