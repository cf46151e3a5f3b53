//! What the MQTT broker keeps on disk, so that neither a restart nor a power cut loses it: the sessions that outlive
//! their connections, what waits for them, and retained messages. Plain data: the broker makes it, the store keeps it.
//!
//! Moments are milliseconds since 1970.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::Effects;
use crate::id::{DeviceId, TokenId};

/// A published message. Immutable, so that everybody it is delivered to shares one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: Box<str>,
    /// What was published.
    pub payload: Box<[u8]>,
    /// Quality of service of the publish, 0 to 2.
    pub qos: u8,
    /// Whether the publisher asked to retain it.
    pub retain: bool,
    /// The MQTT 5.0 properties that are forwarded unaltered, encoded; without the expiry.
    pub properties: Box<[u8]>,
    /// When it is no longer of use.
    pub expires_at: Option<u64>,
}

impl Message {
    /// A message without 5.0 properties.
    pub fn plain(topic: &str, payload: &[u8], qos: u8, retain: bool) -> Arc<Self> {
        Arc::new(Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain,
            properties: Box::default(),
            expires_at: None,
        })
    }

    /// What it costs to keep, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// Whether its expiry has passed.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of its expiry, in seconds, as it is told to a 5.0 subscriber.
    pub fn expiry_left_s(&self, now: u64) -> Option<u32> {
        let left_ms = self.expires_at?.saturating_sub(now);
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// Whose a session is. Part of what finds it, so that nobody can take over the session of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A device.
    Device(DeviceId),
    /// A program with a token.
    Token(TokenId),
    /// Somebody who showed nothing.
    Anonymous,
}

/// A session without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The number by which its contents refer to it; never used twice.
    pub serial: u64,
    /// Whose.
    pub principal: Principal,
    /// The client identifier.
    pub client_id: Box<str>,
    /// How long it outlives its connection, in milliseconds; 0 ends it with the connection.
    pub expiry_ms: u64,
    /// When it ends; `None` while it has a connection.
    pub ends_at: Option<u64>,
    /// Its will, as long as it is not sent.
    pub will: Option<Will>,
}

/// A will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message; its expiry begins when it is sent.
    pub message: Arc<Message>,
    /// How long it waits after the connection ended, in milliseconds.
    pub delay_ms: u64,
    /// Its expiry in milliseconds, counted from when it is sent.
    pub expiry_ms: Option<u64>,
    /// When it is due; `None` while the session has a connection.
    pub due_at: Option<u64>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Granted quality of service.
    pub qos: u8,
    /// Not for messages of the session itself.
    pub no_local: bool,
    /// The RETAIN flag is passed on as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub id: Option<u32>,
}

/// A person ended the connection of a client, or its session with all that waited for it; states that.
pub fn administered(
    kind: ChangeKind,
    serial: u64,
    device: Option<DeviceId>,
    client_id: &str,
    actor: &Actor,
) -> Effects {
    let change = Change {
        actor: actor.clone(),
        kind,
        subject: serial.to_string(),
        subject_name: client_id.to_owned(),
        device,
        before: None,
        after: None,
    };
    Effects { changes: vec![change], ..Effects::none() }
}

/// How far a message for a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It waits.
    Waiting,
    /// It was sent, and the client has not acknowledged it.
    Sent,
    /// QoS 2: the client has it, and was told that we know.
    Released,
}

/// A message for a session that the client has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub message: Arc<Message>,
    /// At which quality of service it is delivered: 1 or 2.
    pub qos: u8,
    /// With which RETAIN flag.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: Vec<u32>,
    /// How far it has come.
    pub progress: Progress,
}

/// What happened to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryNote {
    /// It is new.
    Put(Entry),
    /// It has come so far.
    Progress(Progress),
    /// It is acknowledged or dropped.
    Done,
}

/// What is retained for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The message; `None` if there is none any more.
    pub message: Option<Arc<Message>>,
    /// Larger than that of what was retained for the topic before, on whichever node; about when it was published.
    pub stamp: u64,
}

/// A message for a session that another node of the hub has: it is on disk before its publisher is answered, and the
/// node that has the session makes it an entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// For which session.
    pub session: u64,
    /// What.
    pub message: Arc<Message>,
    /// At which quality of service it is delivered: 1 or 2.
    pub qos: u8,
    /// With which RETAIN flag.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: Vec<u32>,
}

/// What a node knows of a session that another one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its number.
    pub serial: u64,
    /// Which node has it; `None` for nobody.
    pub node: Option<Box<str>>,
    /// Whether it has a connection, as far as is known.
    pub is_connected: bool,
    /// Its subscriptions, with their filters as they were written.
    pub subscriptions: Vec<(Box<str>, Subscription)>,
}

/// What is to be kept: all of it at once or nothing. Within a batch only the last word about each thing is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// By serial number. `None` forgets the session and everything that belongs to it.
    pub sessions: BTreeMap<u64, Option<Session>>,
    /// By session and by the filter as it was written, with `$share/…`.
    pub subscriptions: BTreeMap<(u64, Box<str>), Option<Subscription>>,
    /// By session and by number within the session, in the order in which they are delivered.
    pub entries: BTreeMap<(u64, u64), EntryNote>,
    /// By session and packet identifier: QoS 2 messages of clients that are passed on and not released.
    pub received: BTreeMap<(u64, u16), bool>,
    /// By topic.
    pub retained: BTreeMap<Box<str>, Retained>,
    /// Messages for sessions of other nodes, in the order in which they were published.
    pub passed: Vec<Passed>,
    /// By its number in the store: a passed message that is an entry from now on, of which session and with which
    /// number within it.
    pub taken: BTreeMap<u64, (u64, u64)>,
    /// By session: the node that has it from now on.
    pub handed: BTreeMap<u64, Box<str>>,
    /// The broker was alive at this moment.
    pub alive_at: Option<u64>,
    /// Not written. Which batch of the broker's life it is: one that is given once more, since it is not known whether
    /// it was written, is written once.
    pub number: u64,
    /// Not written. Messages that kept sessions have published and that are acknowledged when this is written.
    pub published: Vec<(u64, Arc<Message>)>,
}

impl Batch {
    /// How many things there are to be written.
    pub fn len(&self) -> usize {
        self.sessions.len()
            + self.subscriptions.len()
            + self.entries.len()
            + self.received.len()
            + self.retained.len()
            + self.passed.len()
            + self.taken.len()
            + self.handed.len()
            + usize::from(self.alive_at.is_some())
    }

    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sessions that it is about, and those that published something of it; what is passed is about none.
    pub fn serials(&self) -> BTreeSet<u64> {
        let of_entries = self.entries.keys().map(|(serial, _)| *serial);
        let of_subscriptions = self.subscriptions.keys().map(|(serial, _)| *serial);
        let of_received = self.received.keys().map(|(serial, _)| *serial);
        let of_taken = self.taken.values().map(|(serial, _)| *serial);
        let of_published = self.published.iter().map(|(serial, _)| *serial);
        let all = self.sessions.keys().chain(self.handed.keys()).copied();
        all.chain(of_entries)
            .chain(of_subscriptions)
            .chain(of_received)
            .chain(of_taken)
            .chain(of_published)
            .collect()
    }

    /// Other nodes have taken these sessions: nothing of them is written. Messages that were to wait for them are
    /// passed on to who has them now; those that had been passed to us stay passed. What they have published is
    /// withdrawn: it was not acknowledged, and their clients publish it again there.
    pub fn lose(&mut self, lost: &BTreeSet<u64>) {
        let withdrawn = self.withdraw(lost);
        self.passed.retain(|passed| !withdrawn.has(&passed.message));
        self.entries.retain(|_, note| match note {
            EntryNote::Put(entry) => !withdrawn.has(&entry.message),
            EntryNote::Progress(_) | EntryNote::Done => true,
        });
        let Self { sessions, subscriptions, entries, received, passed, taken, handed, .. } = self;
        sessions.retain(|serial, _| !lost.contains(serial));
        subscriptions.retain(|(serial, _), _| !lost.contains(serial));
        received.retain(|(serial, _), _| !lost.contains(serial));
        handed.retain(|serial, _| !lost.contains(serial));
        let stays = taken.extract_if(.., |_, (serial, _)| lost.contains(serial)).map(|(_, entry)| entry);
        let stays: BTreeSet<(u64, u64)> = stays.collect();
        for ((session, number), note) in entries.extract_if(.., |(serial, _), _| lost.contains(serial)) {
            if let EntryNote::Put(Entry { message, qos, retain, ids, .. }) = note
                && !stays.contains(&(session, number))
            {
                passed.push(Passed { session, message, qos, retain, ids });
            }
        }
    }

    /// Takes out what these sessions have published.
    fn withdraw(&mut self, lost: &BTreeSet<u64>) -> Withdrawn {
        let withdrawn = self.published.extract_if(.., |(serial, _)| lost.contains(serial));
        withdrawn.map(|(_, message)| message).collect()
    }
}

/// Messages that were published and are not delivered after all. One that says the same is another message.
#[derive(Debug, Default)]
pub struct Withdrawn(BTreeMap<usize, Arc<Message>>);

impl Withdrawn {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message is one of them.
    pub fn has(&self, message: &Arc<Message>) -> bool {
        self.0.contains_key(&Arc::as_ptr(message).addr())
    }
}

impl FromIterator<Arc<Message>> for Withdrawn {
    fn from_iter<I: IntoIterator<Item = Arc<Message>>>(messages: I) -> Self {
        Self(messages.into_iter().map(|message| (Arc::as_ptr(&message).addr(), message)).collect())
    }
}

/// A session with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecalledSession {
    /// The session.
    pub session: Session,
    /// Its subscriptions, with their filters as they were written.
    pub subscriptions: Vec<(Box<str>, Subscription)>,
    /// What waits for it, by number.
    pub entries: Vec<(u64, Entry)>,
    /// Packet identifiers of QoS 2 messages of the client that are passed on and not released.
    pub received: Vec<u16>,
}

/// Everything that was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recalled {
    /// By serial number.
    pub sessions: Vec<RecalledSession>,
    /// Retained messages by topic, with their stamps.
    pub retained: Vec<(u64, Arc<Message>)>,
    /// Messages that were passed to these sessions and are not entries yet, in order, by their numbers in the store.
    pub passed: Vec<(u64, Passed)>,
    /// The last moment at which the broker said that it is alive.
    pub alive_at: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_wait_for_a_lost_session_is_passed_on_in_its_order() {
        let entry = |payload: &[u8]| {
            let message = Message::plain("t", payload, 1, false);
            EntryNote::Put(Entry { message, qos: 1, retain: false, ids: vec![], progress: Progress::Waiting })
        };
        let mut batch = Batch::default();
        batch.entries.insert((1, 7), entry(b"was passed to us"));
        batch.entries.insert((1, 8), entry(b"a"));
        batch.entries.insert((1, 9), entry(b"b"));
        batch.entries.insert((1, 3), EntryNote::Done);
        batch.entries.insert((2, 1), entry(b"ours"));
        batch.taken.extend([(70, (1, 7)), (71, (2, 1))]);
        batch.received.insert((1, 5), true);
        let published = Message::plain("t", b"by 1", 2, false);
        let by_another = Message::plain("t", b"by 1", 2, false);
        batch.published.extend([(1, published.clone()), (2, by_another.clone())]);
        for (number, message) in [(4, published.clone()), (5, by_another)] {
            let (qos, retain, ids, progress) = (2, false, vec![], Progress::Waiting);
            batch.entries.insert((2, number), EntryNote::Put(Entry { message, qos, retain, ids, progress }));
        }
        batch.passed.push(Passed { session: 9, message: published, qos: 2, retain: false, ids: vec![] });
        assert_eq!(batch.serials(), BTreeSet::from([1, 2]));
        batch.lose(&BTreeSet::from([1]));
        let passed: Vec<&[u8]> = batch.passed.iter().map(|passed| &*passed.message.payload).collect();
        assert_eq!(passed, [b"a", b"b"]);
        assert_eq!(batch.entries.keys().collect::<Vec<_>>(), [&(2, 1), &(2, 5)]);
        assert_eq!(batch.taken, BTreeMap::from([(71, (2, 1))]));
        assert!(batch.received.is_empty());
    }
}
