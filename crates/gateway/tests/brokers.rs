//! Plays `tests/transcripts/nodes/*.txt`: the brokers of several nodes with one disk and a bus between them, all in one
//! process and with a clock moved by hand. As in `transcripts.rs`, but a connection is named `NODE.NAME`:
//!
//! - `a.p> PACKET` a client says to node `a`; `a.p< PACKET` the node says, in order, and nothing else;
//!   `a.p> (cut)`, `a.p< (nothing)`, `a.p< (closed)`. Everybody speaks 5.0.
//! - `! nodes a b c` there are these nodes; they are up and know of each other.
//! - `! bus away`, `! bus back` nothing gets through meanwhile; `! bus holds`, `! bus lets go` it is late;
//!   `! bus loses a` what was said to `a` and held is lost.
//! - `! disk holds a`, `! disk lets go a` what the node keeps is not on disk yet.
//! - `! kill a` the node dies as it is; `! gone a for b` the others hear of it, and `b` takes its sessions;
//!   `! start a` it starts again. `! unknown a` the hub does not say to the others that it is alive. `! deaf a` the node lives and is not heard by the others any more; `! hears a`.
//! - `! look a` the node looks into the store by itself; `! reads a`, `! has read a` it takes its time. `! passed 2` so many messages wait in the store to be taken.
//!   `! kept 2` so many things of sessions are in it.
//! - `! asked a ID b` the node is asked late for the session of a client, for `b`.
//! - `! server a TOPIC PAYLOAD` the hub publishes on that node. `! tap a TOPIC…`; `~ a TOPIC PAYLOAD` it heard.
//! - `@ +2s` the clock moves.
//!
//! Everybody is a program that may use every topic; the client identifier is the session's.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod disk;
#[path = "disk/nodes.rs"]
mod disk_of_nodes;
mod packets;
mod played;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use motehub_domain::id::TokenId;
use motehub_domain::kept::{Batch, Message, Passed};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{Client, ConnectionId};
use motehub_gateway::mqtt::{Broker, Flow, Limits, Out, Said, Slot};

use disk_of_nodes::SharedDisk;

struct Node {
    broker: Broker,
    fence: u64,
    holds: bool,
    keeping: Option<(u64, Batch)>,
    reading: Option<(u64, Vec<(u64, Passed)>)>,
    is_deaf: bool,
    heard: VecDeque<String>,
    serials: u64,
}

struct Wire {
    slot: Option<Slot>,
    output: Vec<u8>,
    is_closed: bool,
}

#[derive(Default)]
struct World {
    now: u64,
    nodes: BTreeMap<String, Node>,
    alive: BTreeSet<String>,
    disk: SharedDisk,
    wires: BTreeMap<String, Wire>,
    bus: VecDeque<(String, String, Vec<u8>)>,
    bus_is_away: bool,
    bus_holds: bool,
    connections: u64,
    blocks: u64,
}

fn client(id: u128) -> Client {
    let all: Vec<TopicFilter> = ["#", "$SYS/#"].iter().map(|f| TopicFilter::parse(f).unwrap()).collect();
    Client {
        device: None,
        token: Some(TokenId::from_parts(0, id)),
        name: "app".to_owned(),
        rights: TopicRights { publish: all.clone(), subscribe: all },
        until: None,
        silence_max: None,
    }
}

impl World {
    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap_or_else(|| panic!("there is no node {name:?}"))
    }

    fn start(&mut self, name: &str) {
        self.now += 1;
        self.blocks += 1;
        let (fence, recalled) = self.disk.starts(name);
        let serials = self.blocks * 1_000;
        let mut broker = Broker::new(Limits::default());
        broker.join(name, self.now, serials..serials + 1_000);
        broker.recall(self.now, recalled, |_| Some(client(1)));
        broker.begin_reading();
        broker.read_elsewhere(self.disk.elsewhere());
        let (keeping, heard) = (None, VecDeque::new());
        self.nodes.insert(
            name.to_owned(),
            Node { broker, fence, holds: false, keeping, reading: None, is_deaf: false, heard, serials },
        );
        self.alive.insert(name.to_owned());
        self.tell_alive();
        self.settle();
    }

    fn tell_alive(&mut self) {
        let now = self.now;
        for (name, node) in &mut self.nodes {
            let others = self.alive.iter().filter(|other| *other != name && !node.is_deaf);
            let others: Vec<Box<str>> = others.map(|other| other.as_str().into()).collect();
            node.broker.set_others(now, &others, &mut Out::default());
        }
    }

    /// Does what brokers want of each other and of the disk, until they want nothing more.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut is_done = true;
            let names: Vec<String> = self.nodes.keys().cloned().collect();
            for name in &names {
                is_done &= !self.keep(name);
                is_done &= !self.carry(name);
            }
            if is_done && (self.bus_holds || self.bus.is_empty()) {
                return self.collect();
            }
            while !self.bus_holds
                && let Some((from, to, bytes)) = self.bus.pop_front()
            {
                self.hear(&from, &to, &bytes);
            }
        }
        panic!("the brokers do not come to an end");
    }

    fn keep(&mut self, name: &str) -> bool {
        let now = self.now;
        let node = self.nodes.get_mut(name).unwrap();
        if node.keeping.is_none() {
            node.keeping = node.broker.take_notes();
        }
        let Some((number, mut batch)) = node.keeping.take_if(|_| !node.holds) else { return false };
        let held = || node.broker.kept_serials();
        let (fence, lost) = self.disk.write_as(name, node.fence, &mut batch, held);
        node.fence = fence;
        let mut out = Out::default();
        if !lost.is_empty() {
            node.broker.lose(now, &lost, &mut out);
        }
        node.broker.kept(now, number, &mut out);
        node.heard.extend(out.tapped.iter().map(|message| said(message)));
        true
    }

    /// Takes what a broker says, and what it wants of the store.
    fn carry(&mut self, name: &str) -> bool {
        let now = self.now;
        let node = self.nodes.get_mut(name).unwrap();
        let says = node.broker.take_says(now);
        let wishes = node.broker.take_wishes();
        let mut has_some = !says.is_empty();
        for (to, said) in says {
            if !self.bus_is_away && !node.is_deaf {
                self.bus.push_back((name.to_owned(), to.to_string(), said.encode(name).to_vec()));
            }
        }
        if wishes.reading {
            node.broker.begin_reading();
            node.broker.read_elsewhere(self.disk.elsewhere());
            has_some = true;
        }
        if wishes.serials {
            self.blocks += 1;
            node.serials = self.blocks * 1_000;
            node.broker.give_serials(node.serials..node.serials + 1_000_000);
        }
        if wishes.look {
            self.look(name);
        }
        has_some || wishes.look
    }

    fn look(&mut self, name: &str) {
        let now = self.now;
        let node = self.nodes.get_mut(name).unwrap();
        let began = node.broker.look_begins();
        let mut out = Out::default();
        node.broker.passed(now, began, self.disk.passed_to(name), true, &mut out);
        node.broker.look_ends(began);
    }

    fn hear(&mut self, from: &str, to: &str, bytes: &[u8]) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(to).filter(|node| !node.is_deaf) else { return };
        let (sender, said_) = Said::decode(bytes).unwrap();
        assert_eq!(&*sender, from);
        let mut out = Out::default();
        node.broker.heard(now, from, said_, &mut out);
        node.heard.extend(out.tapped.iter().map(|message| said(message)));
    }

    /// Brings the session of a client to a node, as the hub does it.
    fn fetch(&mut self, name: &str, slot: Slot) {
        let now = self.now;
        let who = client(1);
        let Some((principal, client_id)) = self.node(name).broker.claims(slot, &who) else { return };
        self.look(name);
        self.settle();
        let Some((serial, owner)) = self.disk.find(&principal, &client_id) else { return };
        if *owner != *name {
            let can_ask = !self.bus_is_away && self.nodes.get(&*owner).is_some_and(|node| !node.is_deaf);
            if can_ask {
                let mut out = Out::default();
                self.node(&owner).broker.give_up(now, serial, name, &mut out);
                self.settle();
            }
            if self.disk.find(&principal, &client_id).is_some_and(|(_, owner)| *owner != *name) {
                self.disk.take(&[serial], &owner, name);
            }
        }
        self.adopt(name, &[serial]);
    }

    fn adopt(&mut self, name: &str, serials: &[u64]) {
        let now = self.now;
        for serial in serials {
            let began = self.node(name).broker.look_begins();
            let Some((session, passed)) = self.disk.session(*serial) else { continue };
            let mut out = Out::default();
            let broker = &mut self.node(name).broker;
            broker.adopt(now, session, passed, Some(client(1)), (began, now), &mut out);
            broker.look_ends(began);
        }
        self.settle();
    }

    fn collect(&mut self) {
        for (name, wire) in &mut self.wires {
            let Some(slot) = wire.slot else { continue };
            let node = self.nodes.get_mut(name.split('.').next().unwrap()).unwrap();
            let mut buffer = Vec::new();
            loop {
                let flow = node.broker.take(self.now, slot, &mut buffer, &mut Out::default());
                wire.output.extend_from_slice(&buffer);
                if flow == Flow::Closing {
                    (wire.is_closed, wire.slot) = (true, None);
                    node.broker.forget(slot);
                    break;
                }
                if buffer.is_empty() {
                    break;
                }
            }
        }
        if self.nodes.values().any(|node| node.broker.has_notes() && !node.holds && node.keeping.is_none()) {
            self.settle();
        }
    }

    fn says(&mut self, wire: &str, text: &str) {
        let name = wire.split('.').next().unwrap().to_owned();
        let now = self.now;
        if text.starts_with("CONNECT") {
            self.connections += 1;
            let (id, address) = (ConnectionId(self.connections), SocketAddr::from(([10, 0, 0, 1], 1000)));
            let slot = self.node(&name).broker.opened(now, id, address);
            self.wires.insert(wire.to_owned(), Wire { slot, output: Vec::new(), is_closed: false });
        }
        let Some(slot) = self.wires[wire].slot else { panic!("{wire} is closed") };
        let mut out = Out::default();
        let broker = &mut self.node(&name).broker;
        if text == "(cut)" {
            broker.closed(now, slot, &mut out);
        } else {
            broker.received(now, slot, &packets::encode(true, text), &mut out);
        }
        if out.knock.is_some() {
            self.fetch(&name, slot);
            let node = self.node(&name);
            node.broker.authenticated(now, slot, Ok(client(1)), &mut out);
        }
        self.node(&name).heard.extend(out.tapped.iter().map(|message| said(message)));
        self.settle();
    }

    fn expect(&mut self, name: &str, expected: &str) {
        let wire = self.wires.get_mut(name).unwrap_or_else(|| panic!("there is no connection {name:?}"));
        let said = packets::decode(true, &mut wire.output);
        match expected {
            "(nothing)" => {
                assert!(said.is_none() && !wire.is_closed, "said {said:?}, closed: {}", wire.is_closed);
            }
            "(closed)" => {
                assert!(said.is_none() && wire.is_closed, "said {said:?}, closed: {}", wire.is_closed);
            }
            _ => {
                let said = said.unwrap_or_else(|| panic!("nothing was said (closed: {})", wire.is_closed));
                assert_eq!(said.split(" \"").next().unwrap(), expected);
            }
        }
    }

    fn moves(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = end.min(self.now + 500);
            for node in self.nodes.values_mut() {
                let mut out = Out::default();
                node.broker.tick(self.now, &mut out);
                node.heard.extend(out.tapped.iter().map(|message| said(message)));
            }
            self.settle();
        }
    }

    fn does(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["nodes", names @ ..] => names.iter().for_each(|name| self.start(name)),
            ["start", name] => self.start(name),
            ["bus", "away"] => self.bus_is_away = true,
            ["bus", "back"] => {
                self.bus_is_away = false;
                let now = self.now;
                for node in self.nodes.values_mut() {
                    node.broker.bus_came_back(now);
                    for (topic, retained) in self.disk.stamps() {
                        node.broker.hear_retained(&topic, retained.stamp, retained.message);
                    }
                }
            }
            ["bus", "holds"] => self.bus_holds = true,
            ["bus", "lets", "go"] => self.bus_holds = false,
            ["bus", "loses", name] => self.bus.retain(|(_, to, _)| to != name),
            ["disk", "holds", name] => self.node(name).holds = true,
            ["disk", "lets", "go", name] => self.node(name).holds = false,
            ["kill", name] => {
                self.nodes.remove(*name);
                for (wire, of) in &mut self.wires {
                    if wire.split('.').next() == Some(name) {
                        (of.slot, of.is_closed) = (None, true);
                    }
                }
            }
            ["gone", name, "for", heir] => {
                self.alive.remove(*name);
                self.tell_alive();
                let serials = self.disk.of_node(name);
                self.disk.take(&serials, name, heir);
                self.adopt(heir, &serials);
            }
            ["asked", name, id, to] => {
                let (principal, now) = (client(1).principal(), self.now);
                let (serial, _) = self.disk.find(&principal, id).unwrap();
                self.node(name).broker.give_up(now, serial, to, &mut Out::default());
            }
            ["unknown", name] => {
                self.alive.remove(*name);
                self.tell_alive();
            }
            ["deaf", name] => self.node(name).is_deaf = true,
            ["hears", name] => {
                self.node(name).is_deaf = false;
                let now = self.now;
                self.node(name).broker.bus_came_back(now);
            }
            ["read", name] => {
                let elsewhere = self.disk.elsewhere();
                self.node(name).broker.begin_reading();
                self.node(name).broker.read_elsewhere(elsewhere);
            }
            ["look", name] => self.look(name),
            ["reads", name] => {
                let rows = self.disk.passed_to(name);
                let node = self.node(name);
                node.reading = Some((node.broker.look_begins(), rows));
            }
            ["has", "read", name] => {
                let (now, node) = (self.now, self.node(name));
                let (began, rows) = node.reading.take().unwrap();
                node.broker.passed(now, began, rows, true, &mut Out::default());
                node.broker.look_ends(began);
            }
            ["kept", count] => assert_eq!(self.disk.len(), count.parse::<usize>().unwrap()),
            ["passed", count] => assert_eq!(self.disk.passed_len(), count.parse::<usize>().unwrap()),
            ["server", name, topic, payload] => {
                let (now, message) = (self.now, Message::plain(topic, payload.as_bytes(), 1, false));
                self.node(name).broker.publish_from_server(now, &message, &mut Out::default());
            }
            ["tap", name, topics @ ..] => {
                let topics = topics.iter().map(|topic| Box::from(*topic)).collect();
                self.node(name).broker.set_taps(topics);
            }
            _ => panic!("! {text}?"),
        }
        self.settle();
    }
}

fn said(message: &Message) -> String {
    format!("{} {}", message.topic, String::from_utf8_lossy(&message.payload))
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
        b'~' => {
            let (name, heard) = text.split_once(' ').unwrap();
            assert_eq!(world.node(name).heard.pop_front().as_deref(), Some(heard));
        }
        b'!' => world.does(text),
        _ => {}
    }
}

fn play(text: &str) {
    let mut world = World { now: 1_000_000, ..World::default() };
    for (number, line) in text.lines().enumerate() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&mut world, line)));
        if outcome.is_err() {
            panic!("line {}: {line}", number + 1);
        }
    }
    for (name, wire) in &mut world.wires {
        let more = packets::decode(true, &mut wire.output);
        assert_eq!(more, None, "connection {name:?} was told something the transcript does not have");
    }
    for (name, node) in &mut world.nodes {
        assert_eq!(node.heard.pop_front(), None, "the hub on {name} heard more than the transcript has");
    }
}

#[test]
fn every_transcript_of_several_nodes_plays_as_written() {
    played::all("nodes", 10, play);
}
