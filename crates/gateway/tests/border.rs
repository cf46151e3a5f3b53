//! Mutated packets against the broker: whatever comes, it does not panic, answers only whole packets, and forgets
//! everything when everybody is gone. Bounded and repeatable; `MOTEHUB_FUZZ_ROUNDS` makes it longer.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod disk;
#[expect(dead_code, reason = "only the writing half is of use here")]
mod packets;

use std::net::SocketAddr;

use motehub_domain::device::Dialect;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Batch;
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{Client, ConnectionId, Refusal, UplinkError};
use motehub_gateway::mqtt::{Broker, Flow, Limits, Out, Slot, Token};
use motehub_protocol::{Identity, dialect};

use disk::Disk;

/// Rounds in the ordinary run: a few seconds without optimisation.
const ROUNDS: u64 = 3_000;

const CONNECTS: [&str; 6] = [
    "CONNECT id=a user=1 clean=0 will=shared/w:x willqos=1 willretain",
    "CONNECT id=b user=1 keepalive=1",
    "CONNECT user=app",
    "CONNECT v=5 id=a user=1 clean=0 expiry=10 receive=2 packet=200 will=shared/w:x willdelay=5",
    "CONNECT v=5 id=c user=app expiry=4294967295 quiet",
    "CONNECT v=5 user=app keepalive=0",
];

const SAYINGS: [&str; 24] = [
    "PUBLISH devices/1/telemetry 1",
    "PUBLISH qos=1 id=1 devices/1/telemetry {\"t\":1}",
    "PUBLISH qos=1 id=2 devices/1/telemetry nonsense",
    "PUBLISH qos=2 id=3 devices/1/telemetry 2",
    "PUBLISH qos=2 id=3 dup devices/1/telemetry 2",
    "PUBLISH qos=1 id=4 retain shared/a hello",
    "PUBLISH retain shared/a",
    "PUBLISH qos=2 id=5 alias=1 expiry=3 content=c response=r correlation=d property=k:v text shared/b hello",
    "PUBLISH qos=1 id=6 alias=1 - again",
    "PUBLISH qos=1 id=7 $SYS/x 1",
    "PUBREL id=3",
    "PUBREL id=5",
    "PUBACK id=1",
    "PUBREC id=1",
    "PUBREC id=2 0x80",
    "PUBCOMP id=1",
    "SUBSCRIBE id=9 shared/#:2 devices/1/#:1",
    "SUBSCRIBE id=10 sub=5 shared/+:1:nl:rap $share/g/shared/#:1",
    "SUBSCRIBE id=11 #:0 +/+:1:rh1",
    "UNSUBSCRIBE id=12 shared/# nothing",
    "PINGREQ",
    "DISCONNECT",
    "DISCONNECT 0x04",
    "DISCONNECT expiry=7",
];

/// xorshift64*: repeatable, and good enough here.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len().max(1));
            match self.roll(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.roll(5)],
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.insert(at.min(bytes.len()), self.roll(256) as u8),
                4 => bytes.truncate(at),
                _ => {
                    let part = bytes[at.min(bytes.len())..].to_vec();
                    bytes.extend(part);
                }
            }
        }
    }
}

struct World {
    broker: Broker,
    dice: Dice,
    now: u64,
    next: u64,
    slots: Vec<Slot>,
    storing: Vec<(Slot, Token)>,
    attached: Vec<ConnectionId>,
    disk: Disk,
    keeping: Option<(u64, Batch)>,
    limits: Limits,
}

impl World {
    fn new(seed: u64) -> Self {
        let limits = Limits {
            packet_bytes_max: 300,
            queue_messages_max: 5,
            output_bytes_max: 500,
            retained_messages_max: 3,
            taken_unacknowledged_max: 4,
            sessions_per_principal_max: 4,
            session_expiry_max_s: 20,
            ..Limits::default()
        };
        Self {
            broker: Broker::new(limits.clone()),
            disk: Disk::default(),
            keeping: None,
            limits,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            next: 1,
            slots: Vec::new(),
            storing: Vec::new(),
            attached: Vec::new(),
        }
    }

    fn answer(&mut self) -> Result<Client, Refusal> {
        let shared = TopicFilter::parse("shared/#").unwrap();
        match self.dice.roll(8) {
            0 => Err(Refusal::BadCredentials),
            1..=4 => {
                let device = DeviceId::from_parts(0, 1);
                let identity =
                    Identity { device, external_id: Some("1".to_owned()), dialect: Dialect::Native };
                let mut rights = dialect::mqtt_rights(&identity);
                rights.publish.push(shared.clone());
                rights.subscribe.push(shared);
                Ok(Client {
                    device: Some(identity),
                    token: None,
                    name: "one".to_owned(),
                    rights,
                    until: None,
                    silence_max: None,
                })
            }
            _ => {
                let all = vec![TopicFilter::parse("#").unwrap()];
                let rights = TopicRights { publish: all.clone(), subscribe: all };
                Ok(Client {
                    device: None,
                    token: None,
                    name: "app".to_owned(),
                    rights,
                    until: None,
                    silence_max: None,
                })
            }
        }
    }

    fn perform(&mut self, slot: Option<Slot>, out: Out) {
        let mut todo = vec![out];
        while let Some(mut out) = todo.pop() {
            if let Some(connection) = out.attach.take() {
                self.attached.push(connection.id);
                let mut after = Out::default();
                self.broker.attached(slot.unwrap(), &mut after);
                todo.push(after);
            }
            for id in out.detach.drain(..) {
                let at = self
                    .attached
                    .iter()
                    .position(|a| *a == id)
                    .expect("detached without having been attached");
                self.attached.swap_remove(at);
            }
            self.storing.extend(out.uplinks.drain(..).map(|(token, _)| (slot.unwrap(), token)));
            if out.knock.is_some() {
                let answer = self.answer();
                let mut after = Out::default();
                self.broker.authenticated(self.now, slot.unwrap(), answer, &mut after);
                todo.push(after);
            }
        }
    }

    /// Takes everything there is to write, sees that it is whole packets, and lets go of closed connections.
    fn write(&mut self) {
        for slot in self.slots.clone() {
            let mut written = Vec::new();
            let mut buffer = Vec::new();
            let flow = loop {
                let mut out = Out::default();
                let flow = self.broker.take(self.now, slot, &mut buffer, &mut out);
                written.extend_from_slice(&buffer);
                if buffer.is_empty() || flow == Flow::Closing {
                    break flow;
                }
            };
            let mut at = 0;
            while at < written.len() {
                let (length, size) = match written[at + 1] {
                    low if low < 128 => (usize::from(low), 2),
                    low => (usize::from(low & 127) | usize::from(written[at + 2]) << 7, 3),
                };
                at += size + length;
            }
            assert_eq!(at, written.len(), "the last packet is not whole");
            if flow == Flow::Closing {
                self.slots.retain(|s| *s != slot);
                self.storing.retain(|(s, _)| *s != slot);
                self.broker.forget(slot);
            }
        }
    }

    fn happens(&mut self) {
        let mut out = Out::default();
        let what = self.dice.roll(20);
        let slot = (!self.slots.is_empty()).then(|| self.slots[self.dice.roll(self.slots.len())]);
        match (what, slot) {
            (0..=1, _) | (_, None) => {
                let id = ConnectionId(self.next);
                self.next += 1;
                let slot = self.broker.opened(self.now, id, SocketAddr::from(([10, 0, 0, 1], 1))).unwrap();
                self.slots.push(slot);
                let text = CONNECTS[self.dice.roll(CONNECTS.len())];
                let mut bytes = packets::encode(text.contains("v=5"), text);
                if self.dice.roll(4) == 0 {
                    self.dice.mutate(&mut bytes);
                }
                self.broker.received(self.now, slot, &bytes, &mut out);
                self.perform(Some(slot), out);
            }
            (2, Some(slot)) => {
                self.broker.closed(self.now, slot, &mut out);
                self.perform(Some(slot), out);
            }
            (3..=4, Some(_)) => {
                self.now += [1, 500, 1_000, 5_000, 30_000][self.dice.roll(5)];
                self.broker.tick(self.now, &mut out);
                self.perform(None, out);
            }
            (5..=8, Some(_)) if !self.storing.is_empty() => {
                let at = self.dice.roll(self.storing.len());
                let (slot, token) = self.storing.swap_remove(at);
                let outcome = match self.dice.roll(6) {
                    0 => Err(UplinkError::Refused("no".to_owned())),
                    1 => Err(UplinkError::Unavailable("full".to_owned())),
                    _ => Ok(()),
                };
                self.broker.settled(self.now, slot, [(token, outcome)], &mut out);
                self.perform(Some(slot), out);
            }
            (9, Some(_)) => {
                let rights = TopicRights::default();
                self.broker.set_rights(DeviceId::from_parts(0, 1), &rights);
            }
            (_, Some(slot)) => {
                let mut bytes = Vec::new();
                for _ in 0..=self.dice.roll(4) {
                    let text = SAYINGS[self.dice.roll(SAYINGS.len())];
                    let mut packet = packets::encode(self.dice.roll(2) == 0, text);
                    if self.dice.roll(3) == 0 {
                        self.dice.mutate(&mut packet);
                    }
                    bytes.extend(packet);
                }
                let at = self.dice.roll(bytes.len() + 1);
                self.broker.received(self.now, slot, &bytes[..at], &mut out);
                self.broker.received(self.now, slot, &bytes[at..], &mut out);
                self.perform(Some(slot), out);
            }
        }
        if self.dice.roll(3) != 0 {
            self.write();
        }
    }

    /// The disk takes its time; or the power goes and comes back.
    fn keeps(&mut self) {
        let mut out = Out::default();
        match self.dice.roll(40) {
            0 => {
                self.broker = Broker::new(self.limits.clone());
                let all = vec![TopicFilter::parse("#").unwrap()];
                let rights = TopicRights { publish: all.clone(), subscribe: all };
                let client = Client {
                    device: None,
                    token: None,
                    name: "app".to_owned(),
                    rights,
                    until: None,
                    silence_max: None,
                };
                self.broker.recall(self.now, self.disk.read(), |_| Some(client.clone()));
                self.slots.clear();
                self.storing.clear();
                self.attached.clear();
                self.keeping = None;
            }
            1..=10 => {
                if let Some((number, batch)) = self.keeping.take() {
                    self.disk.write(&batch);
                    self.broker.kept(self.now, number, &mut out);
                    self.perform(None, out);
                } else {
                    self.keeping = self.broker.take_notes();
                }
            }
            _ => {}
        }
    }

    fn everybody_leaves(&mut self) {
        for slot in self.slots.clone() {
            let mut out = Out::default();
            self.broker.closed(self.now, slot, &mut out);
            self.perform(Some(slot), out);
        }
        self.write();
        self.now += 100_000_000;
        let mut out = Out::default();
        self.broker.tick(self.now, &mut out);
        self.perform(None, out);
        let (connections, sessions, retained) = self.broker.sizes();
        assert_eq!((connections, sessions), (0, 0), "something was not forgotten");
        assert!(retained <= 3 && self.attached.is_empty() && self.broker.deadline().is_none());
        for _ in 0..2 {
            if let Some((number, batch)) = self.keeping.take().or_else(|| self.broker.take_notes()) {
                self.disk.write(&batch);
                self.broker.kept(self.now, number, &mut Out::default());
            }
        }
        assert_eq!((self.disk.len(), self.broker.has_notes()), (0, false), "something is left on the disk");
    }
}

#[test]
fn whatever_comes_the_broker_stands() {
    let rounds = std::env::var("MOTEHUB_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    for seed in 0..rounds.unwrap_or(ROUNDS) {
        let played = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..60 {
                world.happens();
                world.keeps();
            }
            world.everybody_leaves();
        });
        assert!(played.is_ok(), "seed {seed}");
    }
}

#[test]
fn random_bytes_are_let_pass_or_refused() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let mut broker = Broker::new(Limits::default());
        let slot = broker.opened(0, ConnectionId(1), SocketAddr::from(([10, 0, 0, 1], 1))).unwrap();
        let bytes: Vec<u8> = (0..dice.roll(64)).map(|_| dice.roll(256) as u8).collect();
        broker.received(0, slot, &bytes, &mut Out::default());
    }
}
