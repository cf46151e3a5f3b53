//! Who hears which channels at other nodes: each node says what it has whenever that is something else, and all of it
//! now and then, so that nothing has to arrive.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use motehub_domain::id::PusherAppId;
use motehub_protocol::pusher::Channel;
use motehub_protocol::wire;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::words::Word;

/// How soon a node says that something is otherwise than it said last.
const SAY_PAUSE: Duration = Duration::from_millis(50);
/// How often is looked whether the others live.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often all is said.
const ALL_EVERY: Duration = Duration::from_secs(30);
/// A node that has just said something need not be known as alive yet.
const NEW_FOR: Duration = Duration::from_secs(5);
/// About how many bytes one word has; one channel is never divided.
const WORD_BYTES: usize = 256 * 1024;
/// Of how many channels of a node it is remembered who hears them.
const CHANNELS_MAX: usize = 100_000;

/// Who hears one channel at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audience {
    /// By which app.
    pub(crate) app: PusherAppId,
    /// Its name.
    pub(crate) channel: String,
    /// How many sockets; nobody hears it any more if there are none.
    pub(crate) sockets: u32,
    /// The members, if it is a presence channel, with what they say of themselves.
    pub(crate) members: Vec<(String, Value)>,
}

wire! {
    struct Audience { app, channel, sockets, members }
}

/// Who hears what at all other nodes.
#[derive(Default)]
pub(super) struct Elsewhere(HashMap<String, Node>);

struct Node {
    channels: BTreeMap<(PusherAppId, Channel), (usize, BTreeMap<String, Value>)>,
    /// When it last said something.
    said_at: Instant,
}

impl Elsewhere {
    /// How many sockets hear a channel.
    pub(super) fn sockets(&self, app: PusherAppId, channel: &Channel) -> usize {
        self.on(app, channel).map(|(sockets, _)| sockets).sum()
    }

    /// The members of a channel, with what they say of themselves; some may be at several nodes.
    pub(super) fn members(
        &self,
        app: PusherAppId,
        channel: &Channel,
    ) -> impl Iterator<Item = (&String, &Value)> {
        self.on(app, channel).flat_map(|(_, members)| members)
    }

    /// The channels of an app that somebody hears.
    pub(super) fn channels(&self, app: PusherAppId) -> impl Iterator<Item = &Channel> {
        let all = self.0.values().flat_map(|node| node.channels.keys());
        all.filter(move |(of, _)| *of == app).map(|(_, channel)| channel)
    }

    fn on(
        &self,
        app: PusherAppId,
        channel: &Channel,
    ) -> impl Iterator<Item = &(usize, BTreeMap<String, Value>)> {
        let key = (app, channel.clone());
        self.0.values().filter_map(move |node| node.channels.get(&key))
    }

    /// What a node says of which channels: the ones that it speaks of, and those that it does not mention any more.
    pub(super) fn concerned(
        &self,
        node: &str,
        heard: &[Audience],
        is_all: bool,
    ) -> Vec<(PusherAppId, Channel)> {
        let said = heard.iter().filter_map(|one| Some((one.app, Channel::parse(&one.channel).ok()?)));
        let mut concerned: Vec<_> = said.collect();
        if let Some(known) = self.0.get(node).filter(|_| is_all) {
            concerned.extend(known.channels.keys().cloned());
        }
        concerned.sort();
        concerned.dedup();
        concerned
    }

    /// Takes it.
    pub(super) fn hear(&mut self, node: &str, heard: Vec<Audience>, is_all: bool, now: Instant) {
        let known = self.0.entry(node.to_owned()).or_insert(Node { channels: BTreeMap::new(), said_at: now });
        known.said_at = now;
        if is_all {
            known.channels.clear();
        }
        for Audience { app, channel, sockets, members } in heard {
            let Ok(channel) = Channel::parse(&channel) else { continue };
            if sockets == 0 {
                known.channels.remove(&(app, channel));
            } else if known.channels.len() < CHANNELS_MAX {
                let members = members.into_iter().collect();
                known.channels.insert((app, channel), (sockets as usize, members));
            }
        }
        if known.channels.is_empty() {
            self.0.remove(node);
        }
    }

    /// Nodes that do not live any more.
    pub(super) fn gone(&self, alive: &[String], now: Instant) -> Vec<String> {
        let is_gone = |(name, node): &(&String, &Node)| {
            !alive.contains(name) && now.saturating_duration_since(node.said_at) > NEW_FOR
        };
        self.0.iter().filter(is_gone).map(|(name, _)| name.clone()).collect()
    }
}

impl App {
    /// Says to all other nodes who hears which channels here.
    pub(crate) fn say_all_heard(&self) {
        self.say_heard(self.pusher.rooms.all_heard(), true);
    }

    fn say_heard(&self, heard: Vec<Audience>, mut is_all: bool) {
        let (mut part, mut bytes) = (Vec::new(), 0);
        for one in heard {
            part.push(one);
            let Some(one) = part.last() else { continue };
            let members = one.members.iter().map(|(id, info)| id.len() + info.to_string().len() + 8);
            bytes += one.channel.len() + 32 + members.sum::<usize>();
            if bytes >= WORD_BYTES {
                self.say_to_all(&Word::Audience(std::mem::take(&mut part), is_all));
                (bytes, is_all) = (0, false);
            }
        }
        if !part.is_empty() || is_all {
            self.say_to_all(&Word::Audience(part, is_all));
        }
    }
}

/// Says who hears what here, and forgets nodes that are gone, until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let rooms = &app.pusher.rooms;
    rooms.note_changes();
    let mut all_at = Instant::now();
    loop {
        let is_new = tokio::select! {
            () = rooms.changed() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = shutdown.cancelled() => return,
        };
        let heard = rooms.take_changes();
        if !heard.is_empty() {
            app.say_heard(heard, false);
        }
        if all_at.elapsed() >= ALL_EVERY {
            all_at = Instant::now();
            if !rooms.is_empty() {
                app.say_all_heard();
            }
        }
        rooms.forget_all_but(&app.cluster.others(), Instant::now());
        if is_new {
            tokio::time::sleep(SAY_PAUSE).await;
        }
    }
}
