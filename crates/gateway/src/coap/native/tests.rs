//! Devices over CoAP with a clock that is moved: what waits for them, who is there, and what is refused.

use motehub_domain::device::Dialect;
use motehub_domain::message::{Order, Outcome, Secret, Uplink};
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::TopicRights;
use motehub_protocol::coap::{Endpoint, Event, Limits, Method};
use serde_json::json;

use super::*;
use crate::coap::core::Core;

const DEVICE: u8 = 7;

fn numbers(mut number: u64) -> impl FnMut() -> u64 + Send + 'static {
    move || {
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        number
    }
}

/// A gateway without DTLS, and one device, `lamp`, that is let in.
struct World {
    core: Core,
    device: Endpoint,
    now_ms: u64,
    is_there: bool,
    wishes: Vec<String>,
    /// What the device was answered and told.
    told: Vec<String>,
}

impl World {
    fn new() -> Self {
        let mut device = Endpoint::new(Limits::default(), numbers(2));
        device.trust_addresses();
        let core = Core::new(Limits::default(), None, 5683, 1, numbers(1));
        Self { core, device, now_ms: 0, is_there: true, wishes: Vec::new(), told: Vec::new() }
    }

    fn ask(&mut self, request: Request) {
        self.device.request(hub(), request, 90_000, self.now_ms).unwrap();
        self.settle();
    }

    fn say(&mut self, downlink: Downlink) {
        let connection = self.core.out.wishes.iter().find_map(|wish| match wish {
            Wish::Attach { connection, .. } => Some(*connection),
            _ => None,
        });
        let connection = connection.unwrap_or(ConnectionId(1 + (1 << 58)));
        self.core.downlink(connection, Some(downlink), self.now_ms);
        self.settle();
    }

    /// Datagrams and wishes go both ways until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some((_, bytes)) = self.device.poll_transmit() {
                is_quiet = false;
                if self.is_there {
                    self.core.datagram(lamp(), &bytes, self.now_ms);
                }
            }
            while let Some((_, bytes)) = self.core.poll_transmit(self.now_ms) {
                is_quiet = false;
                if self.is_there {
                    self.device.datagram(hub(), &bytes, self.now_ms);
                }
            }
            while let Some(wish) = self.core.out.wishes.pop_front() {
                is_quiet = false;
                self.wish(wish);
            }
            let said: Vec<_> = self.core.out.uplinks.drain(..).collect();
            self.core.taken(said.into_iter().map(|said| (said.then, Ok(()))), self.now_ms);
            while let Some(event) = self.device.poll_event() {
                match event {
                    Event::Answered { response, .. } => {
                        let text = String::from_utf8_lossy(response.payload()).into_owned();
                        self.told.push(format!("{} {text}", response.code).trim_end().to_owned());
                    }
                    Event::Failed { failure, .. } => self.told.push(failure.to_string()),
                    _ => {}
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Enter(enter) => {
                let Credentials::Unproven { id } = &enter.credentials else { panic!("there is no DTLS") };
                let known = (id == "lamp").then(|| Client {
                    device: Some(Identity {
                        device: DeviceId::from_parts(1, u128::from(DEVICE)),
                        external_id: Some("lamp".to_owned()),
                        dialect: Dialect::Native,
                    }),
                    token: None,
                    name: "lamp".to_owned(),
                    rights: TopicRights::default(),
                    until: None,
                    silence_max: None,
                });
                self.core.entered(*enter, known.ok_or(Refusal::BadCredentials), self.now_ms);
            }
            Wish::Attach { connection, .. } => {
                self.wishes.push(format!("attach {}", connection.0 & 0xff));
                self.core.attached(connection, self.now_ms);
            }
            Wish::Detach(connection) => self.wishes.push(format!("detach {}", connection.0 & 0xff)),
            Wish::Listen(_) => self.wishes.push("listen".to_owned()),
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let next = [self.core.next_moment(), self.device.next_timeout()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now_ms = at.max(self.now_ms);
            self.core.tick(self.now_ms);
            self.device.handle_timeout(self.now_ms);
            self.settle();
        }
        self.now_ms = end;
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn hub() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5683))
}

fn lamp() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 40_000))
}

fn get(path: &str) -> Request {
    Request::new(Method::Get, path)
}

fn observe(path: &str) -> Request {
    Request { observe: Some(true), ..get(path) }
}

fn order(number: u64, ttl: Span) -> Downlink {
    let id = motehub_domain::id::CommandId::from_parts(2, u128::from(number));
    Downlink::Command(Order {
        id,
        name: format!("do-{number}"),
        arguments: json!(null),
        expires_at: Time(0),
        ttl,
    })
}

fn names(told: &[String]) -> Vec<String> {
    let name = |text: &String| match text.find("do-") {
        Some(at) => text[at..at + 4].to_owned(),
        None => text.clone(),
    };
    told.iter().map(name).collect()
}

#[test]
fn commands_come_one_after_the_other_as_they_are_answered() {
    let mut world = World::new();
    world.ask(observe("/devices/lamp/command"));
    assert_eq!(world.take(), ["2.05"]);
    for number in 1..=3 {
        world.say(order(number, Span::seconds(300)));
    }
    // Said again: it is told once.
    world.say(order(1, Span::seconds(290)));
    assert_eq!(names(&world.take()), ["do-1"]);
    for number in 1..=3 {
        let id = motehub_domain::id::CommandId::from_parts(2, number);
        let reply = json!({ "id": id.to_string(), "ok": true }).to_string().into_bytes();
        world.ask(Request { payload: reply, ..Request::new(Method::Post, "/devices/lamp/reply") });
    }
    let told = names(&world.take());
    assert_eq!(told.iter().filter(|text| text.starts_with("do-")).collect::<Vec<_>>(), ["do-2", "do-3"]);
    world.ask(get("/devices/lamp/command"));
    assert_eq!(world.take(), ["2.05"], "nothing waits any more");
    // One that is too late is not told.
    world.say(order(4, Span::seconds(5)));
    world.pass(6_000);
    world.ask(get("/devices/lamp/command"));
    assert_eq!(world.take().last().map(String::as_str), Some("2.05"));
}

#[test]
fn who_observes_is_asked_for_a_sign_of_life_and_missed_without_one() {
    let mut world = World::new();
    world.ask(observe("/devices/lamp/offer"));
    world.pass(1_000_000);
    assert_eq!(world.wishes, ["attach 1"], "it answers what it is asked");
    world.is_there = false;
    world.pass(SILENCE_MAX.0.unsigned_abs() + 1_000);
    assert_eq!(world.wishes, ["attach 1", "detach 1"]);
    assert_eq!((world.core.nodes(), world.core.endpoint.observers()), (0, 0));
}

#[test]
fn what_others_at_the_same_address_say_is_no_sign_of_life() {
    let mut world = World::new();
    world.ask(get("/devices/lamp/command"));
    let other = SocketAddr::new(lamp().ip(), 50_000);
    for second in 0..SILENCE_MAX.0.unsigned_abs() / 1_000 {
        // Pings of somebody else.
        world.core.datagram(other, &[0x40, 0, 0, second as u8], world.now_ms);
        world.pass(1_000);
    }
    assert_eq!(world.wishes, ["attach 1", "detach 1"]);
    // It may speak from another port than before.
    world.ask(get("/devices/lamp/command"));
    world.core.datagram(other, b"\x50\x02\x00\x01\xb7devices\x04lamp\x03log\xff\"x\"", world.now_ms);
    world.settle();
    assert_eq!(world.wishes, ["attach 1", "detach 1", "attach 2"]);
}

#[test]
fn who_says_nothing_counts_as_gone_and_comes_back() {
    let mut world = World::new();
    world.ask(get("/devices/lamp/command"));
    world.pass(SILENCE_MAX.0.unsigned_abs() - 1);
    assert_eq!(world.wishes, ["attach 1"]);
    world.pass(1);
    assert_eq!(world.wishes, ["attach 1", "detach 1"]);
    world.ask(get("/devices/lamp/command"));
    assert_eq!(world.wishes, ["attach 1", "detach 1", "attach 2"]);
}

#[test]
fn what_is_wrong_is_answered_with_what_to_do() {
    let mut world = World::new();
    let post = |format, payload: &str| Request {
        format,
        payload: payload.as_bytes().to_vec(),
        ..Request::new(Method::Post, "/devices/lamp/telemetry")
    };
    world.ask(get("/devices/lamp/command"));
    world.take();
    for (request, expected) in [
        (get("/devices/lamp/nothing"), "4.04"),
        (get("/devices/lamp"), "4.04"),
        (get("/devices"), "4.04"),
        (get("/devices//command"), "4.04"),
        (get("/devices/other/command"), "4.01"),
        (get("/devices/lamp/telemetry"), "4.05"),
        (get("/devices/lamp/artifacts/sha256:12"), "4.04"),
        (Request::new(Method::Put, "/devices/lamp/command"), "4.05"),
        (Request::new(Method::Delete, "/devices/lamp/artifacts/x"), "4.05"),
        (Request { accept: Some(41), ..get("/devices/lamp/command") }, "4.06"),
        (Request { query: vec!["name=!".to_owned()], ..get("/devices/lamp/shadow") }, "4.00"),
        (post(Some(41), "<t>1</t>"), "4.15"),
        (post(None, "1"), "2.04"),
        (post(Some(60), "\x01"), "2.04"),
    ] {
        let what = format!("{request:?}");
        world.ask(request);
        let told = world.take();
        assert!(told.len() == 1 && told[0].starts_with(expected), "{what}: {told:?}");
    }
}

#[test]
fn what_waits_is_bounded_and_secrets_are_not_said_in_the_clear() {
    let mut waiting = Waiting::default();
    let identity =
        Identity { device: DeviceId::from_parts(1, 7), external_id: None, dialect: Dialect::Native };
    for number in 0..1_000 {
        waiting.add(&identity, &order(number, Span::seconds(60)), 0);
    }
    let reply = |number| Uplink::Reply {
        command: motehub_domain::id::CommandId::from_parts(2, number),
        outcome: Outcome::Done(None),
    };
    let answered = (0..1_000).filter(|number| !waiting.answered(&reply(*number)).is_empty()).count();
    assert_eq!(answered, 16);
    let mut world = World::new();
    world.ask(observe("/devices/lamp/credential"));
    let secret = Secret { credential: "credential".to_owned(), coap_key: "key".to_owned() };
    world.say(Downlink::Credential(secret));
    assert_eq!(world.take(), ["2.05"]);
}
