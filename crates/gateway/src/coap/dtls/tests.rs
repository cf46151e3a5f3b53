//! DTLS with a clock that is moved: who is let in, what is forged, and how much of it is kept.

use std::sync::Arc;

use dimpl::{Dtls, Output};

use super::*;

const KEY: &str = "abcdefghijkmnpqrstuvwxyz23456789";

struct Own(&'static str);

impl PskResolver for Own {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.as_bytes().to_vec())
    }
}

/// A device at an address.
struct Client {
    dtls: Dtls,
    place: SocketAddr,
    is_connected: bool,
    heard: Vec<Vec<u8>>,
}

struct World {
    epoch: Instant,
    now_ms: u64,
    sessions: Sessions,
    events: Vec<Event>,
    /// Bytes that were sent to each address, and came from it.
    sent: usize,
    came: usize,
}

fn place(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

impl World {
    fn new() -> Self {
        let epoch = Instant::now();
        let sessions = Sessions::new(epoch).unwrap();
        Self { epoch, now_ms: 1, sessions, events: Vec::new(), sent: 0, came: 0 }
    }

    fn client(&self, port: u16, identity: &str, key: &'static str) -> Client {
        let config = Config::builder()
            .dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8])
            .dtls13_cipher_suites(&[])
            .with_psk_client(identity.as_bytes().to_vec(), Arc::new(Own(key)))
            .build()
            .unwrap();
        let mut dtls = Dtls::new_12_psk(Arc::new(config), self.epoch);
        dtls.set_active(true);
        Client { dtls, place: place(port), is_connected: false, heard: Vec::new() }
    }

    /// What a client has to say goes to the sessions, and back, until nobody has anything to say. Keys are looked up.
    fn settle(&mut self, client: &mut Client, known: Option<&str>) {
        let now = self.epoch + Duration::from_millis(self.now_ms);
        client.dtls.handle_timeout(now).unwrap();
        loop {
            let mut is_quiet = true;
            for bytes in client.drain() {
                is_quiet = false;
                self.came += bytes.len();
                self.sessions.datagram(client.place, &bytes, self.now_ms);
            }
            while let Some(event) = self.sessions.poll_event() {
                if let Event::Claimed(id, _) = &event {
                    self.sessions.key(*id, known.map(str::to_owned), self.now_ms);
                }
                self.events.push(event);
            }
            while let Some((to, bytes)) = self.sessions.poll_transmit() {
                self.sent += bytes.len();
                if to == client.place {
                    is_quiet = false;
                    client.dtls.handle_packet(&bytes).unwrap();
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn said(&mut self) -> Vec<Vec<u8>> {
        let is_said = |event: &Event| matches!(event, Event::Said(..));
        let (said, others) = std::mem::take(&mut self.events).into_iter().partition(is_said);
        self.events = others;
        said.into_iter()
            .filter_map(|e| if let Event::Said(_, bytes) = e { Some(bytes) } else { None })
            .collect()
    }
}

impl Client {
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let (mut packets, mut buffer) = (Vec::new(), vec![0; 4_096]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => packets.push(bytes.to_vec()),
                Output::ApplicationData(bytes) => self.heard.push(bytes.to_vec()),
                Output::Connected => self.is_connected = true,
                Output::Timeout(_) => return packets,
                _ => {}
            }
        }
    }
}

fn connected(world: &mut World, port: u16) -> (Client, SessionId) {
    let mut client = world.client(port, "lamp-1", KEY);
    world.settle(&mut client, Some(KEY));
    assert!(client.is_connected);
    let Some(Event::Claimed(id, identity)) = world.events.pop() else {
        panic!("nobody claimed to be anybody")
    };
    assert_eq!(identity, "lamp-1");
    (client, id)
}

#[test]
fn who_has_the_key_is_let_in_and_heard() {
    let mut world = World::new();
    let (mut client, id) = connected(&mut world, 1);
    let proven = world.sessions.proven(id).unwrap();
    assert_eq!((proven.identity.as_str(), proven.key.as_str(), proven.place), ("lamp-1", KEY, place(1)));
    assert_eq!(SessionId::of(id.address()), Some(id));
    client.dtls.send_application_data(b"hello").unwrap();
    world.settle(&mut client, None);
    assert_eq!(world.said(), [b"hello"]);
    world.sessions.send(id, b"and you", world.now_ms);
    world.settle(&mut client, None);
    assert_eq!(client.heard, [b"and you"]);
    world.sessions.close(id, world.now_ms);
    world.settle(&mut client, None);
    assert_eq!(world.events, [Event::Gone(id)]);
    assert!(world.sessions.peers.is_empty() && world.sessions.due.is_empty());
}

#[test]
fn who_has_not_is_neither() {
    for known in [None, Some("another key")] {
        let mut world = World::new();
        let mut client = world.client(1, "lamp-1", KEY);
        world.settle(&mut client, known);
        assert!(!client.is_connected);
        let Some(Event::Claimed(id, _)) = world.events.pop() else { panic!("nobody claimed to be anybody") };
        assert!(world.sessions.proven(id).is_none() && world.events.is_empty());
        // It is forgotten after a while.
        world.now_ms += HANDSHAKE_MAX_MS + 1_000;
        world.sessions.tick(world.now_ms);
        assert!(world.sessions.sessions.is_empty() && world.sessions.peers.is_empty(), "{known:?}");
        assert_eq!(world.sessions.counters.failed, 1);
        assert_eq!(world.sessions.poll_event(), None);
    }
}

#[test]
fn a_beginning_with_a_forged_address_gets_little_and_ends_nothing() {
    let mut world = World::new();
    let (mut client, id) = connected(&mut world, 1);
    let hello = world.client(1, "lamp-1", KEY).drain_first(&world);
    (world.sent, world.came) = (0, hello.len());
    world.sessions.datagram(place(1), &hello, world.now_ms);
    while let Some((_, bytes)) = world.sessions.poll_transmit() {
        world.sent += bytes.len();
    }
    assert!(world.sent > 0 && world.sent <= world.came, "{} for {}", world.sent, world.came);
    client.dtls.send_application_data(b"still here").unwrap();
    world.settle(&mut client, None);
    assert_eq!(world.said(), [b"still here"]);
    assert!(world.sessions.proven(id).is_some());
    // Nothing more goes there by itself, however long nobody answers.
    for _ in 0..60 {
        world.now_ms += 1_000;
        world.sessions.tick(world.now_ms);
        assert_eq!(world.sessions.poll_transmit(), None);
    }
}

#[test]
fn a_device_that_starts_again_at_the_same_port_has_a_new_session() {
    let mut world = World::new();
    let (_, former) = connected(&mut world, 1);
    let mut again = world.client(1, "lamp-1", KEY);
    world.settle(&mut again, Some(KEY));
    assert!(again.is_connected);
    let gone = world.events.contains(&Event::Gone(former));
    assert!(gone && world.sessions.proven(former).is_none());
    assert_eq!((world.sessions.established(), world.sessions.peers.len()), (1, 1));
}

#[test]
fn floods_are_bounded_and_silence_ends() {
    let mut world = World::new();
    let (_, id) = connected(&mut world, 1);
    let template = world.client(2, "lamp-1", KEY).drain_first(&world);
    for number in 0..HANDSHAKES_MAX + 100 {
        let (mut hello, number) = (template.clone(), number as u16);
        // Another random number, from another address.
        hello[30..32].copy_from_slice(&number.to_be_bytes());
        world.sessions.datagram(place(1_000 + number), &hello, world.now_ms);
    }
    assert_eq!(world.sessions.beginning.len(), HANDSHAKES_MAX);
    assert_eq!(world.sessions.counters.forgotten, 100);
    assert!(world.sessions.proven(id).is_some());
    world.now_ms += IDLE_MAX_MS;
    world.sessions.tick(world.now_ms);
    assert!(world.sessions.proven(id).is_none() && world.sessions.sessions.is_empty());
}

#[test]
fn no_bytes_do_any_harm() {
    let mut world = World::new();
    let (mut client, id) = connected(&mut world, 1);
    client.dtls.send_application_data(b"x").unwrap();
    let good = client.drain().remove(0);
    let hello = world.client(1, "lamp-1", KEY).drain_first(&world);
    for bytes in [&good, &hello] {
        for length in 0..bytes.len() {
            world.sessions.datagram(place(1), &bytes[..length], world.now_ms);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                world.sessions.datagram(place(1), &wrong, world.now_ms);
            }
        }
    }
    while world.sessions.poll_transmit().is_some() {}
    assert!(world.sessions.proven(id).is_some(), "a session ends by nothing that is not from its peer");
    client.dtls.send_application_data(b"alive").unwrap();
    world.settle(&mut client, None);
    let said = world.said();
    assert!(said.len() <= 2 && said.last().is_some_and(|last| last == b"alive"), "{said:?}");
}

impl Client {
    fn drain_first(mut self, world: &World) -> Vec<u8> {
        self.dtls.handle_timeout(world.epoch + Duration::from_millis(world.now_ms)).unwrap();
        self.drain().remove(0)
    }
}
