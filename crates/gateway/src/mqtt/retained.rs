//! Retained messages: the last one of each topic that asked for it, within limits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use motehub_domain::kept::{self, Message};
use motehub_domain::topic::TopicFilter;

use super::Millis;
use super::broker::Broker;
use super::cluster::Said;

/// The lower bits of a stamp tell nodes apart, the others are milliseconds since 1970.
const NODE_BITS: u32 = 10;
/// Of so many topics whose message is gone it is known when it went.
const GONE_MAX: usize = 10_000;

/// All retained messages, ordered by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<Box<str>, (u64, Arc<Message>)>,
    bytes: usize,
    /// The lower bits of the stamps of this node, if there are others.
    node: Option<u64>,
    /// With several nodes: stamps of topics whose message is gone, so that none comes back that is older.
    gone: BTreeMap<Box<str>, u64>,
}

impl Broker {
    /// Keeps a message for those who will subscribe, within limits.
    pub(super) fn retain(&mut self, now: Millis, message: &Arc<Message>) {
        let Self { limits, retained, notes, counters, cluster, .. } = self;
        let had_one = retained.has(&message.topic);
        let stamp = retained.new_stamp(now, &message.topic);
        let is_kept = retained.put(message, stamp, limits.retained_messages_max, limits.retained_bytes_max);
        if !is_kept {
            counters.dropped_retained += 1;
        }
        if !is_kept && !had_one {
            return;
        }
        let kept = Some(message).filter(|message| is_kept && !message.payload.is_empty());
        notes.retained(&message.topic, kept::Retained { message: kept.cloned(), stamp });
        if let Some(cluster) = cluster {
            cluster.say_all(|| Said::Retained {
                topic: message.topic.clone(),
                stamp,
                message: kept.cloned(),
            });
        }
    }

    /// What another node retained, unless something later is known.
    pub fn hear_retained(&mut self, topic: &str, stamp: u64, message: Option<Arc<Message>>) {
        let Self { limits, retained, counters, .. } = self;
        if stamp <= retained.stamp(topic) {
            return;
        }
        match message {
            Some(message) => {
                let (messages_max, bytes_max) = (limits.retained_messages_max, limits.retained_bytes_max);
                if !retained.put(&message, stamp, messages_max, bytes_max) {
                    counters.dropped_retained += 1;
                }
            }
            None => retained.forget(topic, stamp),
        }
    }
}

impl Retained {
    /// There are other nodes: this one has a name.
    pub(super) fn tell_apart(&mut self, name: &str) {
        let hash = name.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        self.node = Some(hash % (1 << NODE_BITS));
    }

    /// A stamp for what is retained for a topic from now on: later than what was known, on whichever clock.
    fn new_stamp(&self, now: Millis, topic: &str) -> u64 {
        let moment = now.max((self.stamp(topic) >> NODE_BITS) + 1);
        moment << NODE_BITS | self.node.unwrap_or_default()
    }

    /// The stamp of what is known of a topic; 0 for nothing.
    fn stamp(&self, topic: &str) -> u64 {
        let there = self.messages.get(topic).map(|(stamp, _)| *stamp);
        there.or_else(|| self.gone.get(topic).copied()).unwrap_or_default()
    }

    /// Keeps a message, or forgets its topic if the payload is empty. False if there is no room for it: then nothing
    /// is retained for its topic, since what was is no longer true (section 3.3.1.3).
    pub(super) fn put(
        &mut self,
        message: &Arc<Message>,
        stamp: u64,
        messages_max: usize,
        bytes_max: usize,
    ) -> bool {
        if message.payload.is_empty() {
            self.forget(&message.topic, stamp);
            return true;
        }
        let former = self.messages.get(&message.topic).map_or(0, |(_, m)| m.size_bytes());
        let is_new = former == 0;
        let bytes = self.bytes - former + message.size_bytes();
        if bytes > bytes_max || is_new && self.messages.len() >= messages_max {
            self.forget(&message.topic, stamp);
            return false;
        }
        self.bytes = bytes;
        self.gone.remove(&message.topic);
        self.messages.insert(message.topic.clone(), (stamp, message.clone()));
        true
    }

    /// Whether something is retained for a topic.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.messages.contains_key(topic)
    }

    fn forget(&mut self, topic: &str, stamp: u64) {
        if let Some((_, message)) = self.messages.remove(topic) {
            self.bytes -= message.size_bytes();
        }
        if self.node.is_some() {
            if self.gone.len() >= GONE_MAX {
                self.gone.clear();
            }
            self.gone.insert(topic.into(), stamp);
        }
    }

    /// The first message behind `after` that matches the filter and has not expired. Walks only topics that begin
    /// as the filter does.
    pub(super) fn next(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        now: Millis,
    ) -> Option<&Arc<Message>> {
        let text = filter.as_str();
        let prefix = text.split(['+', '#']).next().unwrap_or_default();
        if prefix.len() == text.len() {
            let exact = self.messages.get(text).map(|(_, message)| message).filter(|m| !m.has_expired(now));
            return exact.filter(|_| after.is_none());
        }
        // `a/#` matches `a` too.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.messages
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .map(|(topic, (_, message))| (topic, message))
            .find(|(topic, message)| filter.matches(topic) && !message.has_expired(now))
            .map(|(_, message)| message)
    }

    /// Forgets what has expired, and gives its topics and their stamps.
    pub(super) fn sweep(&mut self, now: Millis) -> Vec<(Box<str>, u64)> {
        let Self { messages, bytes, .. } = self;
        let expired = messages.extract_if(.., |_, (_, message)| message.has_expired(now));
        expired
            .map(|(topic, (stamp, message))| {
                *bytes -= message.size_bytes();
                (topic, stamp)
            })
            .collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(retained: &Retained, filter: &str) -> Vec<String> {
        let filter = TopicFilter::parse(filter).unwrap();
        let mut topics: Vec<String> = Vec::new();
        while let Some(message) = retained.next(&filter, topics.last().map(String::as_str), 0) {
            topics.push(message.topic.to_string());
        }
        topics
    }

    #[test]
    fn a_filter_finds_what_it_matches_in_order() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "a-x", "b", "$SYS/x", "/a"] {
            assert!(retained.put(&Message::plain(topic, b"x", 0, true), 1, 100, 1000));
        }
        assert_eq!(found(&retained, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(found(&retained, "a/+"), ["a/b"]);
        assert_eq!(found(&retained, "a"), ["a"]);
        assert_eq!(found(&retained, "+"), ["a", "a-x", "b"]);
        assert_eq!(found(&retained, "#").len(), 6);
        assert_eq!(found(&retained, "$SYS/#"), ["$SYS/x"]);
    }

    #[test]
    fn the_limits_hold_and_an_empty_payload_deletes() {
        let mut retained = Retained::default();
        assert!(retained.put(&Message::plain("a", b"1234", 0, true), 1, 2, 10));
        assert!(!retained.put(&Message::plain("b", b"123456", 0, true), 1, 2, 10), "too many bytes");
        assert!(retained.put(&Message::plain("b", b"1", 0, true), 1, 2, 10));
        assert!(!retained.put(&Message::plain("c", b"1", 0, true), 1, 2, 10), "too many");
        assert!(
            retained.put(&Message::plain("a", b"12345", 0, true), 1, 2, 10),
            "replacing needs no new place"
        );
        assert!(retained.put(&Message::plain("a", b"", 0, true), 1, 2, 10));
        assert_eq!((retained.len(), retained.bytes), (1, 2));
        assert!(!retained.put(&Message::plain("b", b"1234567890", 0, true), 1, 2, 10), "too many bytes");
        assert_eq!((retained.len(), retained.bytes), (0, 0), "and the former one is not true any more");
    }
}
