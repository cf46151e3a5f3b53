//! Plays `tests/transcripts/mqtt/**/*.txt` against the broker, with a scripted hub and a clock moved by hand. Those in
//! folders are numbered by the chapters of the specification, and a comment names the statements that it shows
//! (`# [MQTT-3.1.0-1]`; `cargo xtask tidy` finds those that nothing shows).
//!
//! - `! versions 3.1.1 5.0` plays it once for each; a line behind `(5.0)` is played for that version only. Without it,
//!   `v=5` behind CONNECT says 5.0.
//! - `> PACKET` a client says (over a new connection if it has none); `< PACKET` the server says, in order, and nothing else; a name before the sign is
//!   the connection (`a> PINGREQ`). `> (cut)` the cable is cut, `> (joined)` the following packets of that
//!   connection up to `> (sent)` come in one piece. `< (nothing)`, `< (closed)`.
//! - `~ …` what the product understood, in order; `~ online NAME`, `~ offline NAME` presence.
//! - `@ +200ms` the clock moves.
//! - `! session disconnected CLIENT`, `! session removed CLIENT`, `! token until NAME 10s`.
//! - `! disk slow 200ms|full|ok` for what the broker keeps, `! power cut`, `! power cut for 20s`, `! kept NUMBER` as
//!   many things of sessions are on disk, `! token revoked NAME`, `! token revoked meanwhile NAME`.
//! - `! hub thinks`, `! hub answers` who came meanwhile, by what was right when they came; `! hub knows NAME no more`.
//! - `! store slow 200ms|full|ok`, `! store refuses WHY`, `! rights NAME FILTER…`, `! limit NAME NUMBER`,
//!   `! offer` something waits for the device, `! server PUBLISH …`, `! dropped REASON NUMBER` it was counted.
//!
//! Users that begin with `app` are programs that may use every topic; `eve` has a wrong secret,
//! `disabled` is not allowed, `away` cannot be judged. Everybody else is a native device of that external id, which
//! may use its own topics and `shared/#`.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod disk;
mod packets;
mod played;
mod scripted;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use motehub_domain::artifact::{ArtifactKind, Digest};
use motehub_domain::id::{DeviceId, ScriptId, TokenId};
use motehub_domain::kept::{Batch, Principal};
use motehub_domain::message::{Downlink, Offer, Uplink};
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{Arrival, Client, ConnectionId, Refusal, UplinkError};
use motehub_gateway::mqtt::{Broker, Flow, Limits, Message, Out, Slot, Token, Wanted};

use disk::Disk;

/// How the store behaves.
#[derive(Clone)]
enum Store {
    After(u64),
    Full,
    Refuses(String),
}

struct Wire {
    slot: Option<Slot>,
    is_v5: bool,
    output: Vec<u8>,
    is_closed: bool,
    joined: Option<Vec<u8>>,
}

struct World {
    broker: Broker,
    now: u64,
    wires: BTreeMap<String, Wire>,
    store: Store,
    storing: VecDeque<(u64, Slot, Token, Result<(), UplinkError>)>,
    /// What the hub will answer, while it thinks.
    thinking: Option<Vec<(Slot, Result<Client, Refusal>)>>,
    unknown: BTreeSet<String>,
    understood: VecDeque<String>,
    presence: VecDeque<String>,
    devices: BTreeMap<String, DeviceId>,
    tokens: BTreeMap<String, TokenId>,
    /// When tokens expire.
    until: BTreeMap<String, Time>,
    limits: Limits,
    disk: Disk,
    /// How long the disk takes; `None` if it is full.
    disk_ms: Option<u64>,
    /// The batch that is on its way to the disk, and when it is there.
    keeping: Option<(u64, u64, Batch)>,
    online: BTreeMap<ConnectionId, String>,
    next_connection: u64,
    /// Clients that do not say a version speak 5.0.
    is_v5: bool,
}

impl World {
    fn new(limits: Limits, is_v5: bool) -> Self {
        Self {
            broker: Broker::new(limits.clone()),
            limits,
            tokens: BTreeMap::new(),
            until: BTreeMap::new(),
            disk: Disk::default(),
            disk_ms: Some(0),
            keeping: None,
            is_v5,
            now: 1_000_000,
            wires: BTreeMap::new(),
            store: Store::After(0),
            storing: VecDeque::new(),
            thinking: None,
            unknown: BTreeSet::new(),
            understood: VecDeque::new(),
            presence: VecDeque::new(),
            devices: BTreeMap::new(),
            online: BTreeMap::new(),
            next_connection: 1,
        }
    }

    /// Does what the broker wants done about one connection, and collects all output.
    fn perform(&mut self, slot: Option<Slot>, mut out: Out) {
        let mut todo: VecDeque<Out> = VecDeque::new();
        loop {
            if let Some(connection) = out.attach.take() {
                let name = self.name(connection.device);
                self.presence.push_back(format!("online {name}"));
                self.online.insert(connection.id, name);
                let mut after = Out::default();
                self.broker.attached(slot.unwrap(), &mut after);
                todo.push_back(after);
            }
            for id in out.detach.drain(..) {
                let name = self.online.remove(&id).expect("detached without having been attached");
                if !self.online.values().any(|other| *other == name) {
                    self.presence.push_back(format!("offline {name}"));
                }
            }
            for arrival in out.offers.drain(..) {
                let text = self.describe(&arrival);
                self.understood.push_back(format!("{text} unacknowledged"));
            }
            for (device, why) in out.refusals.drain(..) {
                let name = self.name(device);
                self.understood.push_back(format!("refused {name}: {why}"));
            }
            for (token, arrival) in out.uplinks.drain(..) {
                let text = self.describe(&arrival);
                self.understood.push_back(text);
                let (at, outcome) = match &self.store {
                    Store::After(ms) => (self.now + ms, Ok(())),
                    Store::Full => (self.now, Err(UplinkError::Unavailable("the disk is full".to_owned()))),
                    Store::Refuses(why) => (self.now, Err(UplinkError::Refused(why.clone()))),
                };
                self.storing.push_back((at, slot.unwrap(), token, outcome));
            }
            if let Some(knock) = out.knock.take() {
                let answer = self.judge(&knock.credentials);
                if let Some(thinking) = &mut self.thinking {
                    thinking.push((slot.unwrap(), answer));
                } else {
                    let mut after = Out::default();
                    self.broker.authenticated(self.now, slot.unwrap(), answer, &mut after);
                    todo.push_back(after);
                }
            }
            match todo.pop_front() {
                Some(next) => out = next,
                None => break,
            }
        }
        self.collect();
        self.keep();
    }

    /// Gives the disk what it is to keep, and tells the broker what is there.
    fn keep(&mut self) {
        if self.keeping.is_none()
            && let Some(ms) = self.disk_ms
            && let Some((number, batch)) = self.broker.take_notes()
        {
            self.keeping = Some((self.now + ms, number, batch));
        }
        if let Some((_, number, batch)) = self.keeping.take_if(|(at, ..)| *at <= self.now) {
            self.disk.write(&batch);
            let mut out = Out::default();
            self.broker.kept(self.now, number, &mut out);
            self.perform(None, out);
        }
    }

    /// The power goes, and comes back after a while.
    fn power_cut(&mut self, ms: u64) {
        self.now += ms;
        self.keeping = None;
        self.storing.clear();
        self.online.clear();
        for wire in self.wires.values_mut() {
            (wire.slot, wire.is_closed) = (None, true);
        }
        self.broker = Broker::new(self.limits.clone());
        let recalled = self.disk.read();
        let mut clients = Vec::new();
        for session in &recalled.sessions {
            let who = session.session.principal;
            let name = match who {
                Principal::Device(id) => Some(self.name(id)),
                Principal::Token(id) => self.tokens.iter().find(|(_, t)| **t == id).map(|(n, _)| n.clone()),
                Principal::Anonymous => Some("anonymous".to_owned()),
            };
            clients.push((who, name.and_then(|name| self.client(&name).ok())));
        }
        self.broker.recall(self.now, recalled, |who| {
            clients.iter().find(|(of, _)| of == who).and_then(|(_, client)| client.clone())
        });
        let mut out = Out::default();
        self.broker.tick(self.now, &mut out);
        self.perform(None, out);
    }

    fn settle_due(&mut self) {
        while let Some(at) = self.storing.iter().position(|(at, ..)| *at <= self.now) {
            let (_, slot, token, outcome) = self.storing.remove(at).unwrap();
            let mut out = Out::default();
            self.broker.settled(self.now, slot, [(token, outcome)], &mut out);
            self.perform(Some(slot), out);
        }
    }

    fn collect(&mut self) {
        let mut ended = Vec::new();
        for wire in self.wires.values_mut() {
            let Some(slot) = wire.slot else { continue };
            let mut buffer = Vec::new();
            loop {
                let mut out = Out::default();
                let flow = self.broker.take(self.now, slot, &mut buffer, &mut out);
                wire.output.extend_from_slice(&buffer);
                if flow == Flow::Closing {
                    wire.is_closed = true;
                    wire.slot = None;
                    ended.push(slot);
                    break;
                }
                if buffer.is_empty() {
                    break;
                }
            }
        }
        for slot in ended {
            if !self.storing.iter().any(|(_, s, ..)| *s == slot) {
                self.broker.forget(slot);
            }
        }
    }

    fn describe(&self, arrival: &Arrival) -> String {
        let name = self.name(arrival.device);
        let again = if arrival.again { " again" } else { "" };
        let Uplink::Telemetry(points) = &arrival.uplink else { panic!("{arrival:?}") };
        let points = points.iter().map(|p| format!(" {}={}", p.metric.as_str(), p.value.to_json()));
        format!("telemetry {name}{}{again}", points.collect::<String>())
    }

    fn says(&mut self, name: &str, text: &str) {
        let is_v5 = packets::Line::parse(text).get("v").map_or(self.is_v5, |version| version == "5");
        let is_joining = self.wires.get(name).is_some_and(|wire| wire.joined.is_some());
        if is_joining && text.starts_with("CONNECT") {
            self.wires.get_mut(name).unwrap().is_v5 = is_v5;
        } else if text.starts_with("CONNECT") || self.wires.get(name).is_none_or(|wire| wire.slot.is_none()) {
            let id = ConnectionId(self.next_connection);
            self.next_connection += 1;
            let address = SocketAddr::from(([10, 0, 0, 1], 1000));
            let slot = self.broker.opened(self.now, id, address);
            let is_closed = slot.is_none();
            self.wires
                .insert(name.to_owned(), Wire { slot, is_v5, output: Vec::new(), is_closed, joined: None });
        }
        let now = self.now;
        let wire = self.wires.get_mut(name).unwrap();
        let bytes = match text {
            "(cut)" => {
                let slot = wire.slot.expect("it is closed already");
                let mut out = Out::default();
                self.broker.closed(now, slot, &mut out);
                return self.perform(Some(slot), out);
            }
            "(joined)" => {
                wire.joined = Some(Vec::new());
                return;
            }
            "(sent)" => wire.joined.take().unwrap(),
            text => {
                let bytes = packets::encode(wire.is_v5, text);
                match &mut wire.joined {
                    Some(joined) => {
                        joined.extend(bytes);
                        return;
                    }
                    None => bytes,
                }
            }
        };
        let Some(slot) = wire.slot else { return };
        let mut out = Out::default();
        self.broker.received(now, slot, &bytes, &mut out);
        self.perform(Some(slot), out);
        self.settle_due();
    }

    fn moves(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let kept_at = self.keeping.iter().map(|(at, ..)| *at);
            let stored_at = self.storing.iter().map(|(at, ..)| *at);
            let due = stored_at.chain(kept_at).chain(self.broker.deadline()).min();
            self.now = due.unwrap_or(end).clamp(self.now, end);
            let mut out = Out::default();
            self.broker.tick(self.now, &mut out);
            self.perform(None, out);
            self.settle_due();
            let more = self.broker.deadline().is_some_and(|at| at <= end);
            if self.now == end && !more {
                return;
            }
        }
    }

    fn fault(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let mut out = Out::default();
        match words.as_slice() {
            ["store", "slow", ms] => self.store = Store::After(ms.trim_end_matches("ms").parse().unwrap()),
            ["store", "full"] => self.store = Store::Full,
            ["store", "ok"] => self.store = Store::After(0),
            ["store", "refuses", ..] => {
                self.store = Store::Refuses(text.strip_prefix("store refuses ").unwrap().to_owned());
            }
            ["disk", "slow", ms] => self.disk_ms = Some(ms.trim_end_matches("ms").parse().unwrap()),
            ["disk", "full"] => self.disk_ms = None,
            ["disk", "ok"] => {
                self.disk_ms = Some(0);
                self.keep();
            }
            ["hub", "thinks"] => self.thinking = Some(Vec::new()),
            ["hub", "answers"] => {
                for (slot, answer) in self.thinking.take().unwrap() {
                    let mut out = Out::default();
                    self.broker.authenticated(self.now, slot, answer, &mut out);
                    self.perform(Some(slot), out);
                }
            }
            ["hub", "knows", name, "no", "more"] => drop(self.unknown.insert((*name).to_owned())),
            ["power", "cut"] => self.power_cut(0),
            ["power", "cut", "for", s] => {
                self.power_cut(s.trim_end_matches('s').parse::<u64>().unwrap() * 1000);
            }
            ["kept", number] => {
                assert_eq!(self.disk.len(), number.parse::<usize>().unwrap(), "things on disk");
            }
            ["token", "until", name, s] => {
                let ms = self.now + s.trim_end_matches('s').parse::<u64>().unwrap() * 1000;
                self.until.insert((*name).to_owned(), Time(ms as i64));
            }
            ["token", "revoked", name] => {
                let token = self.tokens.remove(*name).unwrap();
                self.broker.forget_principal(self.now, &Principal::Token(token), &mut out);
                self.perform(None, out);
            }
            ["token", "revoked", "meanwhile", name] => drop(self.tokens.remove(*name)),
            ["session", verb, client] => {
                let (views, _) = self.broker.sessions(&Wanted { limit: 100, ..Wanted::default() });
                let view = views.iter().find(|view| view.client_id == *client).unwrap();
                assert!(match *verb {
                    "disconnected" => self.broker.disconnect_session(self.now, view.serial, &mut out),
                    "removed" => self.broker.remove_session(self.now, view.serial, &mut out),
                    other => panic!("{other}?"),
                });
                self.perform(None, out);
            }
            ["rights", name, filters @ ..] => {
                let device = self.device(name);
                let filters: Vec<TopicFilter> =
                    filters.iter().map(|f| TopicFilter::parse(f).unwrap()).collect();
                let rights = TopicRights { publish: filters.clone(), subscribe: filters };
                self.broker.set_rights(device, &rights);
            }
            ["disconnect", name] => {
                let device = self.device(name);
                self.broker.disconnect_device(self.now, device, &mut out);
                self.perform(None, out);
            }
            ["shutdown"] => {
                let slots: Vec<Slot> = self.wires.values().filter_map(|w| w.slot).collect();
                for slot in slots {
                    let mut out = Out::default();
                    self.broker.shut_down(self.now, slot, &mut out);
                    self.perform(Some(slot), out);
                }
            }
            ["offer"] => {
                let digest = Digest([7; 32]);
                let kind = ArtifactKind::Script { script: ScriptId::from_parts(1, 1), version: 1 };
                let offer =
                    Downlink::Offer(Offer { kind, digest, size_bytes: 10, health_window: Span::seconds(30) });
                let slot = self.wires[""].slot.unwrap();
                self.broker.downlink(self.now, slot, &offer, &mut out);
                self.perform(Some(slot), out);
            }
            ["server", "PUBLISH", topic, payload] => {
                let message = Message::plain(topic, payload.as_bytes(), 1, false);
                self.broker.publish_from_server(self.now, &message, &mut out);
                self.perform(None, out);
            }
            ["dropped", reason, number] => {
                let counters = self.broker.counters();
                let count = match *reason {
                    "full" => counters.dropped_full,
                    "slow" => counters.dropped_slow,
                    "large" => counters.dropped_large,
                    "memory" => counters.dropped_memory,
                    "rights" => counters.dropped_rights,
                    "expired" => counters.dropped_expired,
                    "retained" => counters.dropped_retained,
                    "not-allowed" => counters.refused_rights,
                    "payload" => counters.refused_payload,
                    other => panic!("{other}?"),
                };
                assert_eq!(count, number.parse::<u64>().unwrap(), "dropped {reason}");
            }
            _ => panic!("! {text}?"),
        }
    }

    fn expect(&mut self, name: &str, expected: &str) {
        let wire = self.wires.get_mut(name).unwrap_or_else(|| panic!("there is no connection {name:?}"));
        match expected {
            "(nothing)" => {
                let more = packets::decode(wire.is_v5, &mut wire.output);
                assert!(more.is_none() && !wire.is_closed, "said {more:?}, closed: {}", wire.is_closed);
            }
            "(closed)" => {
                let more = packets::decode(wire.is_v5, &mut wire.output);
                assert!(more.is_none() && wire.is_closed, "said {more:?}, closed: {}", wire.is_closed);
            }
            _ if expected.starts_with("PACKET ") => {
                let said = packets::take(&mut wire.output);
                assert_eq!(said, Some(packets::encode(wire.is_v5, expected)), "{said:x?}");
            }
            _ => {
                let said = packets::decode(wire.is_v5, &mut wire.output);
                let said = said.unwrap_or_else(|| panic!("nothing was said (closed: {})", wire.is_closed));
                // Reasons in words are compared only where the transcript gives them.
                let compared = if expected.contains('"') { &said } else { said.split(" \"").next().unwrap() };
                let wanted = expected.split_whitespace().collect::<Vec<_>>().join(" ");
                assert_eq!(compared, wanted);
            }
        }
    }

    fn nothing_is_left(&mut self) {
        for (name, wire) in &mut self.wires {
            let more = packets::decode(wire.is_v5, &mut wire.output);
            assert_eq!(more, None, "connection {name:?} was told something the transcript does not have");
        }
        assert_eq!(self.understood.pop_front(), None, "the product understood more than the transcript has");
    }
}

/// The versions that a transcript is for, or none.
fn versions(text: &str) -> Vec<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("! versions "));
    line.into_iter().flat_map(str::split_whitespace).collect()
}

fn play(text: &str) {
    let versions = versions(text);
    if versions.is_empty() {
        play_as(text, "");
    }
    for version in versions {
        assert!(["3.1.1", "5.0"].contains(&version), "{version}?");
        play_as(text, version);
    }
}

fn play_as(text: &str, version: &str) {
    let mut limits = Limits::default();
    for line in text.lines() {
        if let Some((name, number)) = line.strip_prefix("! limit ").and_then(|l| l.split_once(' ')) {
            let number: usize = number.parse().unwrap();
            match name {
                "packet-bytes" => limits.packet_bytes_max = number,
                "subscriptions" => limits.subscriptions_per_session_max = number,
                "queue" => limits.queue_messages_max = number,
                "retained" => limits.retained_messages_max = number,
                "retained-bytes" => limits.retained_bytes_max = number,
                "sessions" => limits.sessions_per_principal_max = number,
                "connections" => limits.connections_max = number,
                "output-bytes" => limits.output_bytes_max = number,
                "connects-per-minute" => limits.connects_per_address_per_minute_max = number as u32,
                "topic-bytes" => limits.topic_bytes_max = number,
                "topic-levels" => limits.topic_levels_max = number,
                "waiting-bytes" => limits.waiting_bytes_max = number,
                "unacknowledged" => limits.taken_unacknowledged_max = number as u16,
                other => panic!("{other}?"),
            }
        }
    }
    let mut world = World::new(limits, version == "5.0");
    for (number, line) in text.lines().enumerate() {
        let line = match line.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((only, rest)) if only == version => rest,
            Some(_) => continue,
            None => line,
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&mut world, line)));
        if outcome.is_err() {
            panic!("line {} as {version:?}: {line}", number + 1);
        }
    }
    world.nothing_is_left();
}

fn step(world: &mut World, line: &str) {
    let Some(at) = line.find(['>', '<', '~', '@', '!', '#']) else { return };
    let (name, text) = (line[..at].trim(), line[at + 1..].trim());
    match line.as_bytes()[at] {
        b'>' => world.says(name, text),
        b'<' => world.expect(name, text),
        b'@' => {
            let ms = text.trim_start_matches('+');
            let ms = match ms.strip_suffix("ms") {
                Some(ms) => ms.parse::<u64>().unwrap(),
                None => ms.trim_end_matches('s').parse::<u64>().unwrap() * 1000,
            };
            world.moves(ms);
        }
        b'~' if text.starts_with("online") || text.starts_with("offline") => {
            assert_eq!(world.presence.pop_front().as_deref(), Some(text));
        }
        b'~' if text == "(presence unchanged)" => assert_eq!(world.presence.pop_front(), None),
        b'~' => assert_eq!(world.understood.pop_front().as_deref(), Some(text)),
        b'!' if text.starts_with("limit ") || text.starts_with("versions ") => {}
        b'!' => world.fault(text),
        _ => {}
    }
}

#[test]
fn every_transcript_plays_as_written() {
    played::all("mqtt", 60, play);
}
