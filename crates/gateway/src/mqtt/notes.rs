//! What the broker wants kept on disk, collected into batches, and who waits for which of them.
//!
//! One batch is on its way to the disk at a time, while the next is collected. Whatever is acknowledged only when
//! it is on disk waits for the number of the batch that has it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use motehub_domain::kept::{
    Batch, Entry, EntryNote, Message, Passed, Progress, Retained, Session, Subscription, Withdrawn,
};

use super::Slot;

/// When so many things wait for the disk, clients are not read.
const WAITING_MAX: usize = 50_000;
/// When so many bytes of messages wait for the disk, clients are not read.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// See the file.
#[derive(Debug)]
pub(super) struct Notes {
    batch: Batch,
    /// What was published with the batch that is on its way, and by which session.
    leaving: Vec<(u64, Arc<Message>)>,
    /// Bytes of the messages that were put into the batch.
    bytes: usize,
    /// Of the batch that is collected.
    number: u64,
    /// All batches up to this one are on disk.
    kept: u64,
    /// How many notes were made in all.
    made: u64,
    /// Somebody waits for the batch, even if it should become empty.
    is_awaited: bool,
    waiting: VecDeque<(u64, Slot)>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            batch: Batch::default(),
            leaving: Vec::new(),
            bytes: 0,
            number: 1,
            kept: 0,
            made: 0,
            is_awaited: false,
            waiting: VecDeque::new(),
        }
    }
}

impl Notes {
    /// A session is new, or something of it has changed.
    pub(super) fn session(&mut self, session: Session) {
        self.made += 1;
        self.batch.sessions.insert(session.serial, Some(session));
    }

    /// A session has ended. Whatever was noted about it is of no use any more.
    pub(super) fn forget_session(&mut self, serial: u64) {
        self.made += 1;
        let Batch { sessions, subscriptions, entries, received, .. } = &mut self.batch;
        sessions.insert(serial, None);
        let text = |serial| (serial, Box::<str>::default());
        subscriptions.extract_if(text(serial)..text(serial + 1), |_, _| true).for_each(drop);
        entries.extract_if((serial, 0)..(serial + 1, 0), |_, _| true).for_each(drop);
        received.extract_if((serial, 0)..(serial + 1, 0), |_, _| true).for_each(|_| ());
    }

    /// A subscription is new, or has ended.
    pub(super) fn subscription(&mut self, serial: u64, text: &str, subscription: Option<Subscription>) {
        self.made += 1;
        self.batch.subscriptions.insert((serial, text.into()), subscription);
    }

    /// A message waits for a session.
    pub(super) fn put(&mut self, serial: u64, number: u64, entry: Entry) {
        self.made += 1;
        self.bytes += entry.message.size_bytes();
        self.batch.entries.insert((serial, number), EntryNote::Put(entry));
    }

    /// A message has come so far.
    pub(super) fn progress(&mut self, serial: u64, number: u64, progress: Progress) {
        self.made += 1;
        let note = self.batch.entries.entry((serial, number));
        match note.or_insert(EntryNote::Progress(progress)) {
            EntryNote::Put(entry) => entry.progress = progress,
            note => *note = EntryNote::Progress(progress),
        }
    }

    /// A message is acknowledged or dropped. If it is not on disk yet it need not go there.
    pub(super) fn done(&mut self, serial: u64, number: u64) {
        self.made += 1;
        match self.batch.entries.insert((serial, number), EntryNote::Done) {
            Some(EntryNote::Put(_)) => drop(self.batch.entries.remove(&(serial, number))),
            Some(EntryNote::Progress(_) | EntryNote::Done) | None => {}
        }
    }

    /// A QoS 2 message of the client is passed on (true), or released.
    pub(super) fn received(&mut self, serial: u64, packet_id: u16, is_there: bool) {
        self.made += 1;
        self.batch.received.insert((serial, packet_id), is_there);
    }

    /// The retained message of a topic has changed.
    pub(super) fn retained(&mut self, topic: &str, retained: Retained) {
        self.made += 1;
        self.bytes += retained.message.as_ref().map_or(0, |message| message.size_bytes());
        self.batch.retained.insert(topic.into(), retained);
    }

    /// A message is passed to a session of another node.
    pub(super) fn pass(&mut self, passed: Passed) {
        self.made += 1;
        self.bytes += passed.message.size_bytes();
        self.batch.passed.push(passed);
    }

    /// What was passed to a session is an entry of it from now on.
    pub(super) fn take_passed(&mut self, id: u64, serial: u64, number: u64) {
        self.made += 1;
        self.batch.taken.insert(id, (serial, number));
    }

    /// Another node has a session from now on.
    pub(super) fn hand_over(&mut self, serial: u64, to: &str) {
        self.made += 1;
        self.batch.handed.insert(serial, to.into());
    }

    /// A session that is kept has published a message, of which other notes follow.
    pub(super) fn published(&mut self, serial: u64, message: &Arc<Message>) {
        self.batch.published.push((serial, message.clone()));
    }

    /// Other nodes have taken sessions. Gives what they have published that is not on its way to the disk.
    pub(super) fn lose(&mut self, lost: &BTreeSet<u64>) -> Withdrawn {
        let published = self.batch.published.iter().filter(|(serial, _)| lost.contains(serial));
        let withdrawn = published.map(|(_, message)| message.clone()).collect();
        self.batch.lose(lost);
        withdrawn
    }

    /// The batch that is on its way was written without these sessions. Gives what they have published with it.
    pub(super) fn left_without(&mut self, lost: &BTreeSet<u64>) -> Withdrawn {
        let withdrawn = self.leaving.extract_if(.., |(serial, _)| lost.contains(serial));
        withdrawn.map(|(_, message)| message).collect()
    }

    /// The sessions that the batch that is collected is about.
    pub(super) fn serials(&self) -> BTreeSet<u64> {
        self.batch.serials()
    }

    /// The number of the batch that is collected.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The number of the last batch that is on disk.
    pub(super) fn number_kept(&self) -> u64 {
        self.kept
    }

    /// The broker is alive.
    pub(super) fn alive(&mut self, now: u64) {
        self.batch.alive_at = Some(now);
    }

    /// How many notes were made; for [`Notes::since`].
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// For what waits for the disk if notes were made since: until which batch; 0 if there is nothing to wait for.
    pub(super) fn since(&mut self, made: u64) -> u64 {
        if self.made == made {
            return 0;
        }
        self.is_awaited = true;
        self.number
    }

    /// For what waits for everything that was noted so far.
    pub(super) fn so_far(&mut self) -> u64 {
        if !self.batch.is_empty() || self.is_awaited {
            self.is_awaited = true;
            self.number
        } else {
            self.number - 1
        }
    }

    /// Has [`Notes::kept`] name the connection when the batch is on disk.
    pub(super) fn wait(&mut self, ticket: u64, slot: Slot) {
        if !self.is_kept(ticket) && self.waiting.back() != Some(&(ticket, slot)) {
            self.waiting.push_back((ticket, slot));
        }
    }

    /// Whether a batch is on disk.
    pub(super) fn is_kept(&self, ticket: u64) -> bool {
        ticket <= self.kept
    }

    /// Whether there is something to be kept.
    pub(super) fn has_some(&self) -> bool {
        self.is_awaited || !self.batch.is_empty()
    }

    /// Whether so much waits for the disk that clients should not be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WAITING_BYTES_MAX || self.batch.len() >= WAITING_MAX
    }

    /// Takes the batch and its number, if there is something to be kept and nothing else is on its way.
    pub(super) fn take(&mut self) -> Option<(u64, Batch)> {
        let is_idle = self.kept + 1 == self.number;
        if !is_idle || !self.has_some() {
            return None;
        }
        self.is_awaited = false;
        self.bytes = 0;
        self.batch.number = self.number;
        self.leaving.clone_from(&self.batch.published);
        self.number += 1;
        Some((self.number - 1, std::mem::take(&mut self.batch)))
    }

    /// A batch is on disk: the connections that waited for it, each once.
    pub(super) fn kept(&mut self, number: u64) -> Vec<Slot> {
        self.kept = self.kept.max(number);
        self.leaving.clear();
        let due = self.waiting.iter().take_while(|(ticket, _)| *ticket <= self.kept).count();
        let mut slots: Vec<Slot> = self.waiting.drain(..due).map(|(_, slot)| slot).collect();
        slots.sort_unstable_by_key(|slot| slot.0);
        slots.dedup();
        slots
    }
}
