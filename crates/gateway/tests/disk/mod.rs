//! A disk in memory for what the broker keeps: what was written to it is there after a power cut, nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Recalled, RecalledSession, Session, Subscription,
};

/// See the file.
#[derive(Default, Clone)]
pub(crate) struct Disk {
    sessions: BTreeMap<u64, Session>,
    subscriptions: BTreeMap<(u64, Box<str>), Subscription>,
    entries: BTreeMap<(u64, u64), Entry>,
    received: BTreeMap<(u64, u16), ()>,
    retained: BTreeMap<Box<str>, Arc<Message>>,
    alive_at: Option<u64>,
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
        for (topic, message) in &batch.retained {
            put(&mut self.retained, topic, message.as_ref());
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
            retained: self.retained.values().cloned().collect(),
            alive_at: self.alive_at,
        }
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
