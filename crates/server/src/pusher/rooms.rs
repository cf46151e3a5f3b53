//! Who is connected by which app, and hears which channels. All of it is in memory and ends with the sockets. What is
//! to be said waits in a queue of each socket; one that does not read is closed.

mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::ws::Utf8Bytes;
use motehub_domain::id::PusherAppId;
use motehub_domain::time::Time;
use motehub_protocol::pusher::{Channel, Member, Own, code, frame};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::elsewhere::Elsewhere;
use super::own::Grant;
use crate::random;

/// Most sockets of an app, and of all.
const SOCKETS_MAX: usize = 1_000;
const ALL_SOCKETS_MAX: usize = 5_000;
/// How many frames wait for a socket.
const QUEUE_MAX: usize = 256;
/// Most channels that a socket hears.
const CHANNELS_MAX: usize = 100;
/// Most members of a presence channel.
const MEMBERS_MAX: usize = 100;

/// The number of a socket, written as digits, a dot and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SocketId(u32, u32);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for SocketId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (one, other) = text.split_once('.').ok_or(())?;
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| ()),
            false => Err(()),
        };
        Ok(Self(number(one)?, number(other)?))
    }
}

/// The near end of a socket.
pub(crate) struct Line {
    queue: mpsc::Sender<Utf8Bytes>,
    closed: OnceLock<(u16, &'static str)>,
    ended: CancellationToken,
    address: SocketAddr,
    since: Time,
    /// Who was let in to which of the hub's own channels.
    grants: Mutex<BTreeMap<Channel, Grant>>,
}

impl Line {
    /// Somebody may hear one of the hub's own channels.
    pub(super) fn grant(&self, channel: Channel, grant: Grant) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() < CHANNELS_MAX || grants.contains_key(&channel) {
            grants.insert(channel, grant);
        }
    }

    /// Who may.
    pub(super) fn granted(&self, channel: &Channel) -> Option<Grant> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    /// Says something, unless the socket does not read.
    pub(super) fn say(&self, frame: impl Into<Utf8Bytes>) {
        if self.queue.try_send(frame.into()).is_err() {
            metrics::counter!("motehub_pusher_slow_total").increment(1);
            self.close(code::OVER_CAPACITY, "you do not read what you are sent");
        }
    }

    /// Ends the socket, with a code.
    pub(super) fn close(&self, code: u16, why: &'static str) {
        let _ = self.closed.set((code, why));
        self.ended.cancel();
    }

    /// Waits until it is to end.
    pub(super) async fn ended(&self) -> (u16, &'static str) {
        self.ended.cancelled().await;
        self.closed.get().copied().unwrap_or((code::COME_BACK, "the hub ends"))
    }
}

/// A socket that is there: its number, its near end, and what waits for it.
pub(super) type Opened = (SocketId, Arc<Line>, mpsc::Receiver<Utf8Bytes>);

/// Why a channel is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotHeard {
    /// It is heard already.
    Already,
    /// The socket hears too many.
    TooMany,
    /// The channel has too many members.
    Full,
}

/// What a person may know of a socket.
#[derive(Debug, Clone)]
pub(crate) struct SocketView {
    /// Its number.
    pub(crate) id: SocketId,
    /// From where.
    pub(crate) address: SocketAddr,
    /// Since when.
    pub(crate) since: Time,
    /// What it hears.
    pub(crate) channels: Vec<String>,
}

/// How many hear a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelView {
    /// Its name.
    pub(crate) name: String,
    /// Sockets.
    pub(crate) sockets: usize,
    /// Members, if it is a presence channel.
    pub(crate) members: Vec<String>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Rooms {
    all: Mutex<All>,
    changed: Notify,
}

#[derive(Default)]
struct All {
    /// Who is here, by app.
    here: HashMap<PusherAppId, Room>,
    /// Who is at other nodes.
    elsewhere: Elsewhere,
    /// What other nodes have not been told yet, where there are any.
    changes: Option<BTreeSet<(PusherAppId, Channel)>>,
}

#[derive(Default)]
struct Room {
    sockets: HashMap<SocketId, Arc<Line>>,
    channels: BTreeMap<Channel, Seats>,
}

/// Who hears a channel, with the member it is; and how often each member is there.
#[derive(Default)]
struct Seats {
    sockets: BTreeMap<SocketId, Option<String>>,
    members: BTreeMap<String, (Value, usize)>,
}

impl Rooms {
    /// A socket is there. The error is a code and a sentence.
    pub(super) fn open(
        &self,
        app: PusherAppId,
        address: SocketAddr,
        now: Time,
    ) -> Result<Opened, (u16, &'static str)> {
        let rooms = &mut self.lock().here;
        if rooms.values().map(|room| room.sockets.len()).sum::<usize>() >= ALL_SOCKETS_MAX {
            return Err((code::OVER_CAPACITY, "the hub has too many connections: come back later"));
        }
        if rooms.get(&app).is_some_and(|room| room.sockets.len() >= SOCKETS_MAX) {
            return Err((code::OVER_QUOTA, "this app has too many connections"));
        }
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (closed, ended) = (OnceLock::new(), CancellationToken::new());
        let line = Arc::new(Line { queue, closed, ended, address, since: now, grants: Mutex::default() });
        let id = loop {
            let [one, other] = [random::number(), random::number()].map(|n| (n & 0x7fff_ffff) as u32);
            let id = SocketId(one, other);
            if !rooms.values().any(|room| room.sockets.contains_key(&id)) {
                break id;
            }
        };
        rooms.entry(app).or_default().sockets.insert(id, line.clone());
        Ok((id, line, waiting))
    }

    /// A socket is gone.
    pub(super) fn end(&self, app: PusherAppId, socket: SocketId) {
        let all = &mut *self.lock();
        let Some(room) = all.here.get_mut(&app) else { return };
        room.sockets.remove(&socket);
        let heard: Vec<Channel> = room.heard_by(socket).cloned().collect();
        heard.iter().for_each(|channel| self.leave(all, app, channel, socket));
        if all.here.get(&app).is_some_and(|room| room.sockets.is_empty()) {
            all.here.remove(&app);
        }
    }

    /// The app is no more.
    pub(super) fn close_all(&self, app: PusherAppId) {
        let all = self.lock();
        let lines = all.here.get(&app).into_iter().flat_map(|room| room.sockets.values());
        lines.for_each(|line| line.close(code::NO_APP, "the app was deleted"));
    }

    /// A socket hears a channel from now on, and is told so before anything else of it.
    pub(super) fn subscribe(
        &self,
        app: PusherAppId,
        socket: SocketId,
        channel: &Channel,
        member: Option<&Member>,
    ) -> Result<(), NotHeard> {
        let all = &mut *self.lock();
        let before = all.members(app, channel);
        let Some(room) = all.here.get_mut(&app) else { return Ok(()) };
        let Some(line) = room.sockets.get(&socket).cloned() else { return Ok(()) };
        if room.heard_by(socket).any(|heard| heard == channel) {
            return Err(NotHeard::Already);
        }
        if room.heard_by(socket).count() >= CHANNELS_MAX {
            return Err(NotHeard::TooMany);
        }
        let is_new = |member: &&Member| !before.contains_key(&member.id);
        if member.filter(is_new).is_some() && before.len() >= MEMBERS_MAX {
            return Err(NotHeard::Full);
        }
        if let Some(member) = member.filter(is_new) {
            room.say(channel, &frame::member_added(channel.as_str(), member), None);
        }
        let seats = room.channels.entry(channel.clone()).or_default();
        seats.sockets.insert(socket, member.map(|member| member.id.clone()));
        if let Some(member) = member {
            seats.members.entry(member.id.clone()).or_insert((member.info.clone(), 0)).1 += 1;
        }
        self.changed_on(all, app, channel);
        let members = all.members(app, channel);
        let members = member.map(|_| members.iter().map(|(id, info)| (id.as_str(), info)));
        line.say(frame::subscribed(channel.as_str(), members));
        Ok(())
    }

    /// A socket hears no more of a channel.
    pub(super) fn unsubscribe(&self, app: PusherAppId, socket: SocketId, channel: &Channel) {
        self.leave(&mut self.lock(), app, channel, socket);
    }

    fn leave(&self, all: &mut All, app: PusherAppId, channel: &Channel, socket: SocketId) {
        let before = all.members(app, channel);
        if all.here.get_mut(&app).is_some_and(|room| room.leave(channel, socket)) {
            self.changed_on(all, app, channel);
            all.say_changes(app, channel, &before);
        }
    }

    /// The member that a socket is on a channel that it hears.
    pub(super) fn seat(
        &self,
        app: PusherAppId,
        socket: SocketId,
        channel: &Channel,
    ) -> Option<Option<String>> {
        self.lock().here.get(&app)?.channels.get(channel)?.sockets.get(&socket).cloned()
    }

    /// Says something to all that hear a channel here, but one.
    pub(crate) fn publish(&self, app: PusherAppId, channel: &Channel, said: &str, except: Option<SocketId>) {
        if let Some(room) = self.lock().here.get(&app) {
            room.say(channel, said, except);
        }
    }

    /// The same, by whichever app they came in.
    pub(crate) fn publish_all(&self, channel: &Channel, said: &str) {
        self.lock().here.values().for_each(|room| room.say(channel, said, None));
    }

    /// Says the same on each of the channels of devices that somebody hears.
    pub(super) fn publish_own(&self, event: &str, data: &str) {
        for room in self.lock().here.values() {
            for channel in room.channels.keys().filter(|channel| is_of_devices(channel)) {
                room.say(channel, &frame::event(channel.as_str(), event, data, None), None);
            }
        }
    }

    /// Whether anybody hears of devices.
    pub(super) fn is_own_heard(&self) -> bool {
        self.lock().here.values().any(|room| room.channels.keys().any(is_of_devices))
    }

    /// A socket by its number.
    pub(super) fn find(&self, socket: SocketId) -> Option<(PusherAppId, Arc<Line>)> {
        let all = self.lock();
        all.here.iter().find_map(|(app, room)| Some((*app, room.sockets.get(&socket)?.clone())))
    }

    /// The sockets of an app that are here.
    pub(crate) fn sockets(&self, app: PusherAppId) -> Vec<SocketView> {
        let all = self.lock();
        let Some(room) = all.here.get(&app) else { return Vec::new() };
        let mut views: Vec<SocketView> = room
            .sockets
            .iter()
            .map(|(id, line)| SocketView {
                id: *id,
                address: line.address,
                since: line.since,
                channels: room.heard_by(*id).map(|channel| channel.as_str().to_owned()).collect(),
            })
            .collect();
        views.sort_by_key(|view| (view.since, view.id));
        views
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn heard_by(&self, socket: SocketId) -> impl Iterator<Item = &Channel> {
        let channels = self.channels.iter();
        channels.filter(move |(_, seats)| seats.sockets.contains_key(&socket)).map(|(channel, _)| channel)
    }

    fn say(&self, channel: &Channel, said: &str, except: Option<SocketId>) {
        let Some(seats) = self.channels.get(channel) else { return };
        let said: Utf8Bytes = said.into();
        let ids = seats.sockets.keys().filter(|id| Some(**id) != except);
        ids.filter_map(|id| self.sockets.get(id)).for_each(|line| line.say(said.clone()));
    }

    /// Whether it was heard.
    fn leave(&mut self, channel: &Channel, socket: SocketId) -> bool {
        let Some(seats) = self.channels.get_mut(channel) else { return false };
        let Some(member) = seats.sockets.remove(&socket) else { return false };
        if let Some(id) = member
            && let Some((_, count)) = seats.members.get_mut(&id)
        {
            *count -= 1;
            if *count == 0 {
                seats.members.remove(&id);
            }
        }
        if seats.sockets.is_empty() {
            self.channels.remove(channel);
        }
        true
    }
}

fn is_of_devices(channel: &Channel) -> bool {
    matches!(channel.own(), Some(Own::Devices | Own::Device(_)))
}
