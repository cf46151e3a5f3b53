//! What is told of this node, and what others told: news, each once and in order, and the whole for who missed some.

use std::collections::HashSet;

use super::{Cluster, NEWS_MAX, News, PASSED_BATCHES, PASSED_MAX, Said};
use crate::mqtt::Millis;
use crate::mqtt::broker::Broker;
use crate::mqtt::session::Session;

impl Broker {
    pub(super) fn take_news(&mut self, node: u32, news: Vec<News>) {
        let Self { cluster: Some(cluster), routes, .. } = self else { return };
        let Cluster { aways, peers, here, .. } = cluster.as_mut();
        for news in news {
            match news {
                News::Session { serial, is_kept, is_here } if !here.contains_key(&serial) => {
                    aways.put(serial, Some(node), is_kept, is_here);
                }
                News::Subscribed { serial, text, subscription } if !here.contains_key(&serial) => {
                    aways.subscribe(routes, serial, &text, &subscription);
                }
                News::Session { .. } | News::Subscribed { .. } => {}
                News::Ended { serial } => aways.remove(routes, serial),
                News::Unsubscribed { serial, text } => aways.unsubscribe(routes, serial, &text),
                News::Wants { filter } => peers.wants(routes, node, filter),
                News::WantsNot { filter } => peers.wants_not(routes, node, &filter),
            }
        }
    }

    /// Tells one node all that there is to tell.
    pub(super) fn tell_whole(&mut self, now: Millis, node: u32) {
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let fresh = std::mem::take(&mut cluster.fresh);
        cluster.tell(now, &fresh);
        let mut all: Vec<News> = Vec::new();
        for session in sessions.iter().flatten().filter(|session| session.is_told) {
            all.extend(news_of(session));
        }
        all.extend(cluster.wants.keys().map(|filter| News::Wants { filter: filter.clone() }));
        let (start, told) = cluster.peers.told();
        let mut parts = all.chunks(NEWS_MAX).map(<[News]>::to_vec).collect::<Vec<_>>();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let last = parts.len() - 1;
        for (i, news) in parts.into_iter().enumerate() {
            let (is_first, is_last) = (i == 0, i == last);
            cluster.say(node, Said::Whole { start, told, is_first, is_last, news });
        }
        // Who asks does not know us yet, or has lost something.
        if cluster.peers.must_be_asked(now, node) {
            cluster.say(node, Said::Ask);
        }
    }

    /// Notes that a session has subscribed, for the others.
    pub(in crate::mqtt) fn tell_subscribed(&mut self, index: u32, text: &str) {
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        let (serial, is_kept, is_here) = (session.serial, session.is_kept, session.connection.is_some());
        let Some(subscription) = session.subscriptions.iter_mut().find(|s| *s.text == *text) else { return };
        if !is_kept && subscription.share.is_none() {
            if !std::mem::replace(&mut subscription.is_wanted, true) {
                cluster.want(subscription.filter.as_str());
            }
            return;
        }
        let subscription = subscription.record();
        let is_new = !std::mem::replace(&mut session.is_told, true);
        let news = if is_kept { &mut cluster.noted } else { &mut cluster.fresh };
        if is_new {
            news.push(News::Session { serial, is_kept, is_here });
        }
        news.push(News::Subscribed { serial, text: text.into(), subscription });
    }

    /// Tells the others whether a session has a connection, if that matters to them.
    pub(in crate::mqtt) fn tell_presence(&mut self, index: u32) {
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let Some(session) = sessions[index as usize].as_ref().filter(|session| session.is_told) else {
            return;
        };
        if session.subscriptions.iter().any(|subscription| subscription.share.is_some()) {
            let (serial, is_kept, is_here) = (session.serial, session.is_kept, session.connection.is_some());
            cluster.fresh.push(News::Session { serial, is_kept, is_here });
        }
    }

    /// Tells the others that a session has ended.
    pub(in crate::mqtt) fn tell_ended(&mut self, index: u32) {
        let Self { cluster: Some(cluster), sessions, .. } = self else { return };
        let Some(session) = sessions[index as usize].as_mut() else { return };
        cluster.here.remove(&session.serial);
        if std::mem::take(&mut session.is_told) {
            let news = if session.is_kept { &mut cluster.noted } else { &mut cluster.fresh };
            news.push(News::Ended { serial: session.serial });
        }
    }

    /// The hub wants to hear of other topics than before.
    pub(in crate::mqtt) fn tell_taps(&mut self, topics: &HashSet<Box<str>>) {
        let Self { cluster: Some(cluster), taps, .. } = self else { return };
        topics.difference(taps).for_each(|topic| cluster.want(topic));
        taps.difference(topics).for_each(|topic| cluster.want_not(topic));
    }
}

/// All that others have to know of a session.
fn news_of(session: &Session) -> Vec<News> {
    let (serial, is_kept, is_here) = (session.serial, session.is_kept, session.connection.is_some());
    let told = session.subscriptions.iter().filter(|s| is_kept || s.share.is_some());
    let subscribed = told.map(|subscription| {
        let (text, subscription) = (subscription.text.clone(), subscription.record());
        News::Subscribed { serial, text, subscription }
    });
    std::iter::once(News::Session { serial, is_kept, is_here }).chain(subscribed).collect()
}

impl Cluster {
    pub(in crate::mqtt) fn say(&mut self, node: u32, said: Said) {
        if let Some(name) = self.peers.name(node) {
            self.says.push((name.into(), said));
        }
    }

    pub(in crate::mqtt) fn say_all(&mut self, said: impl Fn() -> Said) {
        let alive: Vec<u32> = self.peers.alive().collect();
        alive.into_iter().for_each(|node| self.say(node, said()));
    }

    /// Tells news to all.
    pub(super) fn tell(&mut self, now: Millis, news: &[News]) {
        for news in news.chunks(NEWS_MAX) {
            let (start, told) = self.peers.tells(now);
            self.say_all(|| Said::Tell { start, told, news: news.to_vec() });
        }
    }

    /// Asks those for the whole who are alive and of whom something was lost.
    pub(super) fn ask(&mut self, now: Millis) {
        let alive: Vec<u32> = self.peers.alive().collect();
        for node in alive {
            if self.peers.must_be_asked(now, node) {
                self.say(node, Said::Ask);
            }
        }
    }

    /// One more here wants a filter.
    fn want(&mut self, filter: &str) {
        let count = self.wants.entry(filter.into()).or_default();
        *count += 1;
        if *count == 1 {
            self.fresh.push(News::Wants { filter: filter.into() });
        }
    }

    /// One less here wants a filter.
    pub(in crate::mqtt) fn want_not(&mut self, filter: &str) {
        if let Some(count) = self.wants.get_mut(filter) {
            *count -= 1;
            if *count == 0 {
                self.wants.remove(filter);
                self.fresh.push(News::WantsNot { filter: filter.into() });
            }
        }
    }

    /// A kept session has unsubscribed.
    pub(in crate::mqtt) fn tell_unsubscribed(&mut self, serial: u64, is_kept: bool, text: &str) {
        let news = if is_kept { &mut self.noted } else { &mut self.fresh };
        news.push(News::Unsubscribed { serial, text: text.into() });
    }

    /// A batch leaves for the disk.
    pub(in crate::mqtt) fn batch_leaves(&mut self, taken: impl Iterator<Item = u64>) {
        self.leaving = std::mem::take(&mut self.noted);
        self.leaving_nudges = std::mem::take(&mut self.nudges);
        self.leaving_taken = taken.collect();
    }

    /// The batch is on disk: tells what is in it.
    pub(in crate::mqtt) fn batch_is_kept(&mut self, now: Millis, number: u64) {
        let news = std::mem::take(&mut self.leaving);
        self.tell(now, &news);
        self.peers.batch_was_told(number);
        for node in std::mem::take(&mut self.leaving_nudges) {
            self.say(node, Said::Look);
        }
        // Whoever began to read before may still come with them.
        self.taking.extend(self.leaving_taken.drain(..).map(|id| (id, number)));
        self.forget_taken(number);
        self.wants_look |= std::mem::take(&mut self.looks_again) || !self.catching_up.is_empty();
        if self.passed_in.len() > PASSED_MAX {
            self.passed_in.retain(|_, batch| *batch + PASSED_BATCHES > number);
        }
    }

    /// How many news have to be known for what is told with this call, too.
    pub(in crate::mqtt) fn to_know(&self) -> u64 {
        self.peers.told().1 + self.fresh.len().div_ceil(NEWS_MAX) as u64
    }
}
