//! Retained messages: the last one of each topic that asked for it, within limits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use motehub_domain::kept::Message;
use motehub_domain::topic::TopicFilter;

use super::Millis;

/// All retained messages, ordered by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<Box<str>, Arc<Message>>,
    bytes: usize,
}

impl Retained {
    /// Keeps a message, or forgets its topic if the payload is empty. False if there is no room for it: then nothing
    /// is retained for its topic, since what was is no longer true (section 3.3.1.3).
    pub(super) fn put(&mut self, message: &Arc<Message>, messages_max: usize, bytes_max: usize) -> bool {
        if message.payload.is_empty() {
            self.forget(&message.topic);
            return true;
        }
        let former = self.messages.get(&message.topic).map_or(0, |m| m.size_bytes());
        let is_new = former == 0;
        let bytes = self.bytes - former + message.size_bytes();
        if bytes > bytes_max || is_new && self.messages.len() >= messages_max {
            self.forget(&message.topic);
            return false;
        }
        self.bytes = bytes;
        self.messages.insert(message.topic.clone(), message.clone());
        true
    }

    /// Whether something is retained for a topic.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.messages.contains_key(topic)
    }

    fn forget(&mut self, topic: &str) {
        if let Some(message) = self.messages.remove(topic) {
            self.bytes -= message.size_bytes();
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
            let exact = self.messages.get(text).filter(|m| !m.has_expired(now));
            return exact.filter(|_| after.is_none());
        }
        // `a/#` matches `a` too.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.messages
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .find(|(topic, message)| filter.matches(topic) && !message.has_expired(now))
            .map(|(_, message)| message)
    }

    /// Forgets what has expired, and gives its topics.
    pub(super) fn sweep(&mut self, now: Millis) -> Vec<Box<str>> {
        let Self { messages, bytes } = self;
        let expired = messages.extract_if(.., |_, message| message.has_expired(now));
        expired
            .map(|(topic, message)| {
                *bytes -= message.size_bytes();
                topic
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
            assert!(retained.put(&Message::plain(topic, b"x", 0, true), 100, 1000));
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
        assert!(retained.put(&Message::plain("a", b"1234", 0, true), 2, 10));
        assert!(!retained.put(&Message::plain("b", b"123456", 0, true), 2, 10), "too many bytes");
        assert!(retained.put(&Message::plain("b", b"1", 0, true), 2, 10));
        assert!(!retained.put(&Message::plain("c", b"1", 0, true), 2, 10), "too many");
        assert!(retained.put(&Message::plain("a", b"12345", 0, true), 2, 10), "replacing needs no new place");
        assert!(retained.put(&Message::plain("a", b"", 0, true), 2, 10));
        assert_eq!((retained.len(), retained.bytes), (1, 2));
        assert!(!retained.put(&Message::plain("b", b"1234567890", 0, true), 2, 10), "too many bytes");
        assert_eq!((retained.len(), retained.bytes), (0, 0), "and the former one is not true any more");
    }
}
