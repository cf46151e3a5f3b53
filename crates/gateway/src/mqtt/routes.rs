//! Who wants which topic: a tree of topic levels, so that a publish costs as much as its topic has levels, however
//! many subscriptions there are.

use std::cell::Cell;
use std::collections::HashMap;

/// One subscription as the tree keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    /// Whose: an index into the table of sessions.
    pub session: u32,
    /// Granted quality of service.
    pub qos: u8,
    /// Not for messages of the session itself.
    pub no_local: bool,
    /// The RETAIN flag is passed on as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub id: Option<u32>,
}

/// A shared subscription: each message goes to one of the members.
#[derive(Debug)]
pub(super) struct Group {
    name: Box<str>,
    /// Never empty.
    pub members: Vec<Interest>,
    turn: Cell<usize>,
}

impl Group {
    /// The member whose turn it is, preferring those for whom `is_here`.
    pub(super) fn next(&self, is_here: impl Fn(u32) -> bool) -> Option<&Interest> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = self.members.len();
        let in_turn = || (0..count).map(|i| &self.members[(turn % count + i) % count]);
        in_turn().find(|member| is_here(member.session)).or_else(|| in_turn().next())
    }
}

/// Something that matched a topic.
pub(super) enum Match<'a> {
    /// A subscription.
    One(&'a Interest),
    /// A shared subscription.
    Group(&'a Group),
}

#[derive(Debug, Default)]
struct Subscribers {
    interests: Vec<Interest>,
    groups: Vec<Group>,
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.interests.is_empty() && self.groups.is_empty()
    }
    fn report<'a>(&'a self, found: &mut impl FnMut(Match<'a>)) {
        self.interests.iter().for_each(|interest| found(Match::One(interest)));
        self.groups.iter().for_each(|group| found(Match::Group(group)));
    }
}

#[derive(Debug, Default)]
struct Level {
    named: HashMap<Box<str>, Level>,
    /// `+`.
    any: Option<Box<Level>>,
    /// Filters that end here.
    here: Subscribers,
    /// Filters that end here with `#`.
    below: Option<Box<Subscribers>>,
}

impl Level {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.here.is_empty() && self.below.is_none()
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Routes {
    root: Level,
}

impl Routes {
    /// Adds or replaces the subscription of a session to a filter.
    pub(super) fn insert(&mut self, share: Option<&str>, filter: &str, interest: Interest) {
        let mut level = &mut self.root;
        let mut target = None;
        for name in filter.split('/') {
            match name {
                "#" => {
                    target = Some(());
                    break;
                }
                "+" => level = level.any.get_or_insert_default(),
                _ if level.named.contains_key(name) => {
                    level = level.named.get_mut(name).expect("because it was just found");
                }
                _ => level = level.named.entry(name.into()).or_default(),
            }
        }
        let subscribers = match target {
            Some(()) => level.below.get_or_insert_default().as_mut(),
            None => &mut level.here,
        };
        let members = match share {
            None => &mut subscribers.interests,
            Some(share) => group_members(&mut subscribers.groups, share),
        };
        match members.iter_mut().find(|m| m.session == interest.session) {
            Some(member) => *member = interest,
            None => members.push(interest),
        }
    }

    /// Removes the subscription of a session to a filter, and the levels that only it needed.
    pub(super) fn remove(&mut self, share: Option<&str>, filter: &str, session: u32) {
        remove_below(&mut self.root, Some(filter), share, session);
    }

    /// Calls `found` for everything that matches a topic (section 4.7).
    pub(super) fn matching<'a>(&'a self, topic: &str, mut found: impl FnMut(Match<'a>)) {
        let wildcards = !topic.starts_with('$');
        walk(&self.root, Some(topic), wildcards, &mut found);
    }

    /// Whether anybody wants a topic.
    pub(super) fn has_match(&self, topic: &str) -> bool {
        let mut any = false;
        self.matching(topic, |_| any = true);
        any
    }
}

fn group_members<'a>(groups: &'a mut Vec<Group>, share: &str) -> &'a mut Vec<Interest> {
    let at = groups.iter().position(|g| *g.name == *share).unwrap_or_else(|| {
        groups.push(Group { name: share.into(), members: Vec::new(), turn: Cell::new(0) });
        groups.len() - 1
    });
    &mut groups[at].members
}

/// Topics have at most 32 levels, so the recursion is bounded.
fn walk<'a>(level: &'a Level, rest: Option<&str>, wildcards: bool, found: &mut impl FnMut(Match<'a>)) {
    if wildcards && let Some(below) = &level.below {
        below.report(found);
    }
    let Some(rest) = rest else {
        level.here.report(found);
        return;
    };
    let (name, rest) = match rest.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (rest, None),
    };
    if wildcards && let Some(any) = &level.any {
        walk(any, rest, true, found);
    }
    if let Some(next) = level.named.get(name) {
        walk(next, rest, true, found);
    }
}

fn remove_below(level: &mut Level, rest: Option<&str>, share: Option<&str>, session: u32) {
    let Some(rest) = rest else {
        remove_from(&mut level.here, share, session);
        return;
    };
    let (name, rest) = match rest.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (rest, None),
    };
    match name {
        "#" => {
            if let Some(below) = &mut level.below {
                remove_from(below, share, session);
                if below.is_empty() {
                    level.below = None;
                }
            }
        }
        "+" => {
            if let Some(any) = &mut level.any {
                remove_below(any, rest, share, session);
                if any.is_empty() {
                    level.any = None;
                }
            }
        }
        _ => {
            if let Some(next) = level.named.get_mut(name) {
                remove_below(next, rest, share, session);
                if next.is_empty() {
                    level.named.remove(name);
                }
            }
        }
    }
}

fn remove_from(subscribers: &mut Subscribers, share: Option<&str>, session: u32) {
    match share {
        None => subscribers.interests.retain(|i| i.session != session),
        Some(share) => {
            for group in subscribers.groups.iter_mut().filter(|g| *g.name == *share) {
                group.members.retain(|i| i.session != session);
            }
            subscribers.groups.retain(|g| !g.members.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use motehub_domain::topic::TopicFilter;
    use proptest::prelude::*;

    use super::*;

    fn interest(session: u32) -> Interest {
        Interest { session, qos: 0, no_local: false, retain_as_published: false, id: None }
    }

    fn matches(routes: &Routes, topic: &str) -> Vec<u32> {
        let mut sessions = Vec::new();
        routes.matching(topic, |found| match found {
            Match::One(interest) => sessions.push(interest.session),
            Match::Group(group) => sessions.push(group.next(|_| true).unwrap().session),
        });
        sessions.sort_unstable();
        sessions
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_book(
            filters in prop::collection::vec("[+]|[#]|[ab$]?(/([ab]|[+]|)){0,3}(/#)?", 1..8),
            topic in "[ab$]?(/[ab]?){0,3}",
        ) {
            let filters: Vec<_> = filters.iter().filter_map(|f| TopicFilter::parse(f).ok()).collect();
            let mut routes = Routes::default();
            let mut expected = Vec::new();
            for (i, filter) in filters.iter().enumerate() {
                routes.insert(None, filter.as_str(), interest(i as u32));
                if !topic.is_empty() && filter.matches(&topic) {
                    expected.push(i as u32);
                }
            }
            if !topic.is_empty() {
                prop_assert_eq!(matches(&routes, &topic), expected);
            }
            for (i, filter) in filters.iter().enumerate() {
                routes.remove(None, filter.as_str(), i as u32);
            }
            prop_assert!(routes.root.is_empty());
        }
    }

    #[test]
    fn a_group_takes_turns_and_prefers_who_is_here() {
        let mut routes = Routes::default();
        for session in 0..3 {
            routes.insert(Some("g"), "a/#", interest(session));
        }
        let turns: Vec<u32> = (0..4).flat_map(|_| matches(&routes, "a/b")).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        let group =
            group_members(&mut routes.root.named.get_mut("a").unwrap().below.as_mut().unwrap().groups, "g");
        assert_eq!(group.len(), 3);
        for session in 0..3 {
            routes.remove(Some("g"), "a/#", session);
        }
        assert!(routes.root.is_empty());
    }
}
