//! MQTT topic names and topic filters (MQTT 5.0 section 4.7), and which of them a client may use.

use crate::rejection::Rejection;

/// Longest topic name or filter that is accepted, in bytes.
pub const TOPIC_BYTES_MAX: usize = 1024;
/// Most levels of a topic name or filter.
pub const TOPIC_LEVELS_MAX: usize = 32;

/// A valid topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(String);

impl TopicFilter {
    /// Checks a filter: wildcards alone in their level, `#` last, no NUL, not empty, within the limits.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        check_lengths(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            if level.contains('#') && (level != "#" || !is_last) {
                return Err(Rejection::invalid("topic filter", "# stands alone in the last level"));
            }
            if level.contains('+') && level != "+" {
                return Err(Rejection::invalid("topic filter", "+ stands alone in its level"));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic name matches (section 4.7.1; a leading wildcard never matches a topic that begins with `$`).
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut names = topic.split('/');
        let mut levels = self.0.split('/');
        loop {
            match (levels.next(), names.next()) {
                (Some("#"), _) => return true,
                (Some("+"), Some(_)) => {}
                (Some(level), Some(name)) if level == name => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// Whether every topic that `other` matches is matched by this filter too, so that a permission on this
    /// filter allows a subscription to `other`.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        if other.0.starts_with('$') && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut mine = self.0.split('/');
        let mut theirs = other.0.split('/');
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(level), Some(their)) if level == their && level != "+" => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

/// Checks a topic name to publish to: no wildcard, no NUL, not empty, within the limits.
pub fn check_topic_name(text: &str) -> Result<(), Rejection> {
    check_lengths(text)?;
    if text.contains(['+', '#']) {
        return Err(Rejection::invalid("topic", "a topic to publish to has no + or #"));
    }
    Ok(())
}

fn check_lengths(text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::invalid("topic", "a topic has at least one character"));
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(Rejection::invalid("topic", format!("a topic has at most {TOPIC_BYTES_MAX} bytes")));
    }
    if text.contains('\0') {
        return Err(Rejection::invalid("topic", "a topic has no NUL character"));
    }
    if text.bytes().filter(|byte| *byte == b'/').count() >= TOPIC_LEVELS_MAX {
        return Err(Rejection::invalid("topic", format!("a topic has at most {TOPIC_LEVELS_MAX} levels")));
    }
    Ok(())
}

/// Which topics a client may use. Deny by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicRights {
    /// Filters of topics it may publish to.
    pub publish: Vec<TopicFilter>,
    /// Filters of topics it may subscribe to, in whole or in part.
    pub subscribe: Vec<TopicFilter>,
}

impl TopicRights {
    /// Whether a publish to this topic is allowed. Server topics (`$…`) never are by a wildcard.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|filter| filter.matches(topic))
    }
    /// Whether a subscription to this filter is allowed.
    pub fn may_subscribe(&self, wanted: &TopicFilter) -> bool {
        self.subscribe.iter().any(|filter| filter.covers(wanted))
    }
    /// Whether a message on this topic may be delivered.
    pub fn may_receive(&self, topic: &str) -> bool {
        self.subscribe.iter().any(|filter| filter.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn matching_follows_the_book() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a/b", "a/B", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ];
        for (f, topic, expected) in cases {
            assert_eq!(filter(f).matches(topic), expected, "{f} on {topic}");
        }
    }

    #[test]
    fn a_permission_covers_only_what_lies_inside_it() {
        let cases = [
            ("a/#", "a/b/+", true),
            ("a/#", "#", false),
            ("a/+", "a/#", false),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/b", "a/+", false),
            ("#", "$SYS/#", false),
            ("#", "a", true),
            ("a/#", "a", true),
            ("+/+", "+/#", false),
            ("a/+/c", "a/+/c", true),
        ];
        for (mine, theirs, expected) in cases {
            assert_eq!(filter(mine).covers(&filter(theirs)), expected, "{mine} covers {theirs}");
        }
    }

    #[test]
    fn malformed_filters_are_refused() {
        for text in ["", "a#", "a/#/b", "a+", "+a/b", "a\0b", &"a/".repeat(40), &"x".repeat(2000)] {
            assert!(TopicFilter::parse(text).is_err(), "{text} was accepted");
        }
        assert!(check_topic_name("a/+").is_err());
    }
}
