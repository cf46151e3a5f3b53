//! Who hears which channels at all nodes of the hub, and what of it other nodes are told.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::id::PusherAppId;
use motehub_protocol::pusher::{Channel, Member, frame};
use serde_json::Value;
use tokio::time::Instant;

use super::{All, ChannelView, Rooms};
use crate::pusher::elsewhere::Audience;

impl Rooms {
    /// The channels of an app that somebody hears at whatever node, with names that begin so.
    pub(crate) fn channels(&self, app: PusherAppId, prefix: &str) -> Vec<ChannelView> {
        let all = self.lock();
        let here = all.here.get(&app).into_iter().flat_map(|room| room.channels.keys());
        let names: BTreeSet<&Channel> = here.chain(all.elsewhere.channels(app)).collect();
        let names = names.into_iter().filter(|name| name.as_str().starts_with(prefix));
        names.filter_map(|name| all.view(app, name)).collect()
    }

    /// One channel, if somebody hears it.
    pub(in crate::pusher) fn channel(&self, app: PusherAppId, channel: &Channel) -> Option<ChannelView> {
        self.lock().view(app, channel)
    }

    /// From now on it is noted what other nodes are to be told.
    pub(in crate::pusher) fn note_changes(&self) {
        let mut all = self.lock();
        all.changes.get_or_insert_default();
    }

    /// Until there is something to tell them.
    pub(in crate::pusher) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Who hears what here by now, of the channels where that is otherwise than it was told last.
    pub(in crate::pusher) fn take_changes(&self) -> Vec<Audience> {
        let mut all = self.lock();
        let changes = all.changes.as_mut().map(std::mem::take).unwrap_or_default();
        changes.iter().map(|(app, channel)| all.heard(*app, channel)).collect()
    }

    /// Who hears what here.
    pub(in crate::pusher) fn all_heard(&self) -> Vec<Audience> {
        let all = self.lock();
        let channels = all.here.iter().flat_map(|(app, room)| room.channels.keys().map(|name| (*app, name)));
        channels.map(|(app, channel)| all.heard(app, channel)).collect()
    }

    /// Whether nobody hears anything here.
    pub(in crate::pusher) fn is_empty(&self) -> bool {
        self.lock().here.values().all(|room| room.channels.is_empty())
    }

    /// Another node says who hears what there, of some channels or of all. Who comes or goes by that is told here.
    pub(crate) fn hear(&self, node: &str, heard: Vec<Audience>, is_all: bool) {
        self.lock().hear(node, heard, is_all, Instant::now());
    }

    /// Nobody hears anything at nodes that do not live any more.
    pub(in crate::pusher) fn forget_all_but(&self, alive: &[String], now: Instant) {
        let mut all = self.lock();
        for node in all.elsewhere.gone(alive, now) {
            all.hear(&node, Vec::new(), true, now);
        }
    }

    pub(super) fn changed_on(&self, all: &mut All, app: PusherAppId, channel: &Channel) {
        if let Some(changes) = &mut all.changes {
            changes.insert((app, channel.clone()));
            self.changed.notify_one();
        }
    }
}

impl All {
    fn hear(&mut self, node: &str, heard: Vec<Audience>, is_all: bool, now: Instant) {
        let concerned = self.elsewhere.concerned(node, &heard, is_all);
        let before = concerned.into_iter().map(|(app, channel)| {
            let members = self.members(app, &channel);
            (app, channel, members)
        });
        let before: Vec<_> = before.collect();
        self.elsewhere.hear(node, heard, is_all, now);
        for (app, channel, members) in before {
            self.say_changes(app, &channel, &members);
        }
    }

    /// The members of a channel at all nodes, with what they say of themselves.
    pub(super) fn members(&self, app: PusherAppId, channel: &Channel) -> BTreeMap<String, Value> {
        let elsewhere = self.elsewhere.members(app, channel);
        let mut members: BTreeMap<String, Value> =
            elsewhere.map(|(id, info)| (id.clone(), info.clone())).collect();
        if let Some(seats) = self.here.get(&app).and_then(|room| room.channels.get(channel)) {
            members.extend(seats.members.iter().map(|(id, (info, _))| (id.clone(), info.clone())));
        }
        members
    }

    /// Tells who hears a channel here which members came and went.
    pub(super) fn say_changes(&self, app: PusherAppId, channel: &Channel, before: &BTreeMap<String, Value>) {
        let Some(room) = self.here.get(&app) else { return };
        let after = self.members(app, channel);
        for (id, info) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
            let member = Member { id: id.clone(), info: info.clone() };
            room.say(channel, &frame::member_added(channel.as_str(), &member), None);
        }
        for id in before.keys().filter(|id| !after.contains_key(*id)) {
            room.say(channel, &frame::member_removed(channel.as_str(), id), None);
        }
    }

    fn heard(&self, app: PusherAppId, channel: &Channel) -> Audience {
        let seats = self.here.get(&app).and_then(|room| room.channels.get(channel));
        let members = seats.into_iter().flat_map(|seats| &seats.members);
        Audience {
            app,
            channel: channel.as_str().to_owned(),
            sockets: seats.map_or(0, |seats| u32::try_from(seats.sockets.len()).unwrap_or(u32::MAX)),
            members: members.map(|(id, (info, _))| (id.clone(), info.clone())).collect(),
        }
    }

    fn view(&self, app: PusherAppId, channel: &Channel) -> Option<ChannelView> {
        let seats = self.here.get(&app).and_then(|room| room.channels.get(channel));
        let here = seats.map_or(0, |seats| seats.sockets.len());
        let sockets = here + self.elsewhere.sockets(app, channel);
        let members = self.members(app, channel).into_keys().collect();
        (sockets > 0).then(|| ChannelView { name: channel.as_str().to_owned(), sockets, members })
    }
}
