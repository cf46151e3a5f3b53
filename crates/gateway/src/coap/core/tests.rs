//! The gateway with a clock that is moved: who is there, who is gone, and who holds up nobody.

use motehub_domain::device::Dialect;
use motehub_domain::message::{Order, Outcome};
use motehub_domain::shadow::Delta;
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::TopicRights;
use motehub_protocol::Identity;
use motehub_protocol::coap::{Event, Method, Request};
use serde_json::json;

use super::*;

const PORT: u16 = 5683;

fn node(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], port))
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_parts(1, u128::from(number))
}

fn numbers(mut number: u64) -> impl FnMut() -> u64 + Send + 'static {
    move || {
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        number
    }
}

/// A gateway, and nodes that answer as they are told.
struct World {
    core: Core,
    now_ms: u64,
    /// The nodes' side of CoAP, by address.
    nodes: HashMap<SocketAddr, Endpoint>,
    /// What those that answer have.
    resources: Vec<(&'static str, &'static str)>,
    /// What of that can be observed, and who does.
    observable: &'static str,
    observers: Vec<(SocketAddr, motehub_protocol::coap::ObserverId)>,
    /// What the hub was told, in words.
    heard: Vec<String>,
    asked: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self {
            core: Core::new(Limits::default(), None, PORT, 1, numbers(1)),
            now_ms: 0,
            nodes: HashMap::new(),
            resources: vec![("led", "0")],
            observable: "",
            observers: Vec::new(),
            heard: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn listen(&mut self, at: SocketAddr) {
        self.nodes.insert(at, Endpoint::new(Limits::default(), numbers(2)));
    }

    /// A node says something from a port, not confirmably.
    fn say(&mut self, from: SocketAddr, path: &str, payload: &str, mid: u8) {
        let mut bytes = vec![0x50, 0x02, 0, mid, 0xb0 | path.len() as u8];
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0xff);
        bytes.extend_from_slice(payload.as_bytes());
        self.core.datagram(from, &bytes, self.now_ms);
        self.settle();
    }

    /// Everything that can go on without time passing.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some((to, bytes)) = self.core.endpoint.poll_transmit() {
                is_quiet = false;
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.datagram(SocketAddr::from(([127, 0, 0, 1], 1)), &bytes, self.now_ms);
                }
            }
            for (at, node) in &mut self.nodes {
                while let Some(event) = node.poll_event() {
                    let Event::Asked { exchange, request, .. } = event else { continue };
                    let path = request.path_text();
                    self.asked.push(format!("{} {:?} {path}", at.ip(), request.method));
                    let answer = match path.trim_start_matches('/') {
                        ".well-known/core" => {
                            let obs = |name: &str| if name == self.observable { ";obs" } else { "" };
                            let link = |(name, _): &(&str, &str)| format!("</{name}>{}", obs(name));
                            let list: Vec<String> = self.resources.iter().map(link).collect();
                            Response::text(Code::CONTENT, list.join(","))
                        }
                        name => match self.resources.iter().find(|(known, _)| *known == name) {
                            Some((_, value)) => {
                                let observe = (name == self.observable).then_some(0);
                                Response { observe, ..Response::text(Code::CONTENT, *value) }
                            }
                            None => Response::new(Code::NOT_FOUND),
                        },
                    };
                    let observer = node.respond(exchange, answer, self.now_ms);
                    self.observers.extend(observer.map(|id| (*at, id)));
                }
                while let Some((_, bytes)) = node.poll_transmit() {
                    is_quiet = false;
                    self.core.datagram(*at, &bytes, self.now_ms);
                }
            }
            while let Some(wish) = self.core.out.wishes.pop_front() {
                is_quiet = false;
                self.wish(wish);
            }
            let said: Vec<Said> = self.core.out.uplinks.drain(..).collect();
            if !said.is_empty() {
                is_quiet = false;
                self.heard.extend(said.iter().map(|said| words(&said.arrival)));
                self.core.taken(said.into_iter().map(|said| (said.then, Ok(()))), self.now_ms);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Admit(sign) => {
                let SocketAddr::V4(from) = sign.from else { panic!("an address of the test") };
                let identity = Identity {
                    device: device(sign.uid.parse().unwrap_or(from.ip().octets()[3])),
                    external_id: Some(sign.uid.clone()),
                    dialect: Dialect::Riot,
                };
                let client = Client {
                    device: Some(identity),
                    token: None,
                    name: sign.uid.clone(),
                    rights: TopicRights::default(),
                    until: None,
                    silence_max: (sign.uid == "7").then_some(Span::seconds(300)),
                };
                let known = if sign.uid == "0" { Err(Refusal::BadCredentials) } else { Ok(client) };
                self.core.admitted(sign, known, self.now_ms);
            }
            Wish::Attach { connection, device, .. } => {
                self.heard.push(format!("{device} attached {}", connection.0));
            }
            Wish::Detach(connection) => self.heard.push(format!("detached {}", connection.0)),
            Wish::Listen(device) => self.heard.push(format!("{device} listens")),
            Wish::Refuse(device, why) => self.heard.push(format!("{device} refused {why}")),
            Wish::Enter(_) | Wish::Key(..) | Wish::Shadow(..) | Wish::Part(..) => {
                panic!("RIOT nodes ask no such thing")
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.core.next_moment().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at);
            self.core.tick(self.now_ms);
            self.settle();
        }
        self.now_ms = end;
    }

    fn has_heard(&self, part: &str) -> bool {
        self.heard.iter().any(|words| words.contains(part))
    }
}

fn words(arrival: &Arrival) -> String {
    let what = match &arrival.uplink {
        Uplink::Telemetry(points) => {
            points.iter().map(|p| format!("{}={}", p.metric.as_str(), p.value.to_json())).collect::<String>()
        }
        Uplink::Unit { metric, unit } => format!("{} in {unit}", metric.as_str()),
        Uplink::Reply { outcome: Outcome::Failed(why), .. } => format!("failed: {why}"),
        Uplink::Reply { outcome, .. } => format!("{outcome:?}"),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    };
    format!("{} {what}", arrival.device)
}

fn order(name: &str) -> Downlink {
    Downlink::Command(Order {
        id: motehub_domain::id::CommandId::from_parts(1, 1),
        name: name.to_owned(),
        arguments: json!(1),
        expires_at: Time(0),
        ttl: Span::minutes(5),
    })
}

#[test]
fn a_node_is_gone_after_its_silence_and_values_are_no_sign_of_life() {
    let mut world = World::new();
    world.listen(node(1, PORT));
    world.listen(node(7, PORT));
    world.say(node(1, 40_000), "alive", "alive:1", 1);
    world.say(node(7, 40_000), "alive", "alive:7", 1);
    assert_eq!(world.core.nodes(), 2);
    world.pass(100_000);
    world.say(node(1, 40_001), "alive", "alive:1", 2);
    world.pass(119_000);
    world.say(node(1, 40_002), "server", "temperature:21°C", 3);
    assert_eq!(world.core.nodes(), 2, "119 seconds are not too long");
    assert!(world.has_heard("temperature=21") && world.has_heard("temperature in °C"), "{:?}", world.heard);
    world.pass(1_000);
    assert_eq!(world.core.nodes(), 1, "120 are");
    assert!(world.has_heard("detached 1"));
    world.pass(80_000);
    assert_eq!(world.core.nodes(), 0, "300 for the one of which that is said");
    assert!(world.core.out.calls.is_empty());
    world.pass(1_000_000);
    assert_eq!(world.core.next_moment(), None, "nothing is left");
}

#[test]
fn a_node_that_does_not_answer_fails_its_command_and_holds_up_nobody() {
    let mut world = World::new();
    world.listen(node(2, PORT));
    world.say(node(1, 40_000), "alive", "alive:1", 1);
    world.say(node(2, 40_000), "alive", "alive:2", 1);
    world.core.downlink(ConnectionId(1), Some(order("led")), world.now_ms);
    world.core.downlink(ConnectionId(2), Some(order("led")), world.now_ms);
    world.settle();
    assert!(world.has_heard(&format!("{} Done", device(2))), "{:?}", world.heard);
    world.pass(20_000);
    assert!(world.has_heard(&format!("{} failed: no answer came in time", device(1))), "{:?}", world.heard);
    // What is owed is said when the node is heard again, and it is asked again what it has.
    world.listen(node(1, PORT));
    world.pass(20_000);
    world.asked.clear();
    world.say(node(1, 40_001), "alive", "alive:1", 2);
    assert_eq!(world.asked, ["192.0.2.1 Get /.well-known/core", "192.0.2.1 Get /led"]);
    world.say(node(1, 40_002), "alive", "alive:1", 3);
    assert!(world.has_heard(&format!("{} listens", device(1))), "{:?}", world.heard);
}

#[test]
fn what_is_desired_is_written_once_at_a_time() {
    let mut world = World::new();
    world.listen(node(1, PORT));
    world.say(node(1, 40_000), "alive", "alive:1", 1);
    world.asked.clear();
    let delta = |value| {
        let state = [("led".to_owned(), value)].into_iter().collect();
        let times = serde_json::Map::new();
        Downlink::Delta(Box::new(Delta {
            shadow: None,
            version: 1,
            at: Time(0),
            state,
            times,
            is_again: false,
        }))
    };
    world.core.downlink(ConnectionId(1), Some(delta(json!("0"))), world.now_ms);
    world.settle();
    assert!(world.asked.is_empty(), "it says that already");
    world.core.downlink(ConnectionId(1), Some(delta(json!(true))), world.now_ms);
    world.core.downlink(ConnectionId(1), Some(delta(json!(true))), world.now_ms);
    world.settle();
    assert_eq!(world.asked, ["192.0.2.1 Put /led"]);
}

#[test]
fn strangers_and_those_who_move_are_told_apart() {
    let mut world = World::new();
    world.say(node(1, 40_000), "alive", "alive:0", 1);
    assert_eq!((world.core.nodes(), world.core.out.counters.refused), (0, 1));
    // An old node without a uid goes by its address.
    world.listen(node(3, PORT));
    world.say(node(3, 40_000), "alive", "Alive", 1);
    world.say(node(1, 40_000), "alive", "alive:5", 2);
    world.say(node(2, 40_000), "alive", "alive:5", 1);
    assert_eq!(world.core.nodes(), 2, "who moved is there once");
    assert!(world.has_heard("detached 2"), "{:?}", world.heard);
    world.say(node(9, 40_000), "server", "t:1", 1);
    assert!(!world.has_heard("t=1"));
}

#[test]
fn a_flood_of_values_reaches_the_shadow_once_a_second() {
    let mut world = World::new();
    world.listen(node(1, PORT));
    world.say(node(1, 40_000), "alive", "alive:1", 1);
    world.pass(5_000);
    world.heard.clear();
    for value in 0..50u8 {
        world.say(node(1, 40_001), "server", &format!("x:{value}"), 10 + value);
        world.pass(100);
    }
    let count = |part: &str| world.heard.iter().filter(|words| words.contains(part)).count();
    assert_eq!(count("x="), 50, "every value is a point");
    assert!((5..=6).contains(&count("Shadow")), "{:?}", world.heard);
}

#[test]
fn what_a_node_tells_of_by_itself_is_observed_and_asked_for_anew_after_its_start() {
    let mut world = World::new();
    world.resources = vec![("led", "0"), ("temperature", "21°C")];
    world.observable = "temperature";
    world.listen(node(1, PORT));
    world.say(node(1, 40_000), "alive", "reset:1", 1);
    assert!(world.has_heard("temperature=21"), "{:?}", world.heard);
    let tell = |world: &mut World, text: &str| {
        let (at, observer) = *world.observers.last().unwrap();
        let told = world.nodes.get_mut(&at).unwrap();
        told.notify(observer, Response::text(Code::CONTENT, text), world.now_ms);
        world.settle();
    };
    tell(&mut world, "22.5°C");
    assert!(world.has_heard("temperature=22.5"), "{:?}", world.heard);
    // It is observed for as long as the node is there, and asked for again when it is not fresh any more.
    for number in 2..20 {
        world.pass(30_000);
        world.say(node(1, 40_000), "alive", "alive:1", number);
    }
    tell(&mut world, "23°C");
    assert!(world.has_heard("temperature=23"), "{:?}", world.heard);
    let asked = world.observers.len();
    world.nodes.insert(node(1, PORT), Endpoint::new(Limits::default(), numbers(9_999)));
    world.say(node(1, 40_000), "alive", "reset:1", 100);
    assert_eq!(world.observers.len(), asked + 1, "a node that starts again has forgotten it");
    tell(&mut world, "24°C");
    assert!(world.has_heard("temperature=24"), "{:?}", world.heard);
    // When it is gone nothing is left.
    world.nodes.clear();
    world.pass(300_000);
    assert!(world.core.nodes() == 0 && world.core.out.calls.is_empty(), "{:?}", world.core.out.calls);
}

/// A node asks the directory something; what it is answered.
fn asks(
    world: &mut World,
    from: SocketAddr,
    method: Method,
    path: &str,
    query: &[&str],
    list: &str,
) -> String {
    // Other numbers than the time before.
    world.now_ms += 1;
    let mut own = Endpoint::new(Limits::default(), numbers(world.now_ms * 7_919));
    own.trust_addresses();
    let request = Request {
        query: query.iter().map(|part| (*part).to_owned()).collect(),
        payload: list.as_bytes().to_vec(),
        ..Request::new(method, path)
    };
    own.request(SocketAddr::from(([127, 0, 0, 1], 1)), request, 60_000, world.now_ms).unwrap();
    loop {
        let mut said: Vec<Vec<u8>> =
            std::iter::from_fn(|| own.poll_transmit()).map(|(_, bytes)| bytes).collect();
        if said.is_empty() {
            return "nothing".to_owned();
        }
        for bytes in said.drain(..) {
            world.core.datagram(from, &bytes, world.now_ms);
        }
        let answers = world.settle_for(from);
        answers
            .iter()
            .for_each(|bytes| own.datagram(SocketAddr::from(([127, 0, 0, 1], 1)), bytes, world.now_ms));
        if let Some(Event::Answered { response, .. }) = own.poll_event() {
            let text = String::from_utf8_lossy(response.payload()).into_owned();
            return format!("{} {}{text}", response.code, response.location.join("/")).trim_end().to_owned();
        }
    }
}

impl World {
    /// Settles, and takes what is for an address that is none of a node that listens.
    fn settle_for(&mut self, from: SocketAddr) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        loop {
            while let Some(wish) = self.core.out.wishes.pop_front() {
                self.wish(wish);
            }
            let said: Vec<Said> = self.core.out.uplinks.drain(..).collect();
            self.heard.extend(said.iter().map(|said| words(&said.arrival)));
            self.core.taken(said.into_iter().map(|said| (said.then, Ok(()))), self.now_ms);
            let mut others = Vec::new();
            while let Some((to, bytes)) = self.core.endpoint.poll_transmit() {
                match to == from {
                    true => taken.push(bytes),
                    false => others.push((to, bytes)),
                }
            }
            if others.is_empty() && self.core.out.wishes.is_empty() && self.core.out.uplinks.is_empty() {
                return taken;
            }
            for (to, bytes) in others {
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.datagram(SocketAddr::from(([127, 0, 0, 1], 1)), &bytes, self.now_ms);
                }
            }
            self.settle();
        }
    }
}

#[test]
fn a_node_registers_is_found_stays_as_long_as_it_says_and_goes() {
    let mut world = World::new();
    world.listen(node(1, PORT));
    let list = "</led>;rt=\"lamp\",</gone>;rt=\"lamp\"";
    let from = node(1, 40_000);
    let cases: [(&[&str], &str); 5] = [
        (&[], "4.00"),
        (&["ep="], "4.00"),
        (&["ep=a:1"], "4.00"),
        (&["ep=1", "lt=59"], "4.00"),
        (&["ep=0"], "4.03"),
    ];
    for (query, expected) in cases {
        let answer = asks(&mut world, from, Method::Post, "/rd", query, list);
        assert!(answer.starts_with(expected), "{query:?}: {answer}");
    }
    assert!(asks(&mut world, from, Method::Get, "/rd-lookup/ep", &[], "").starts_with("4.03"), "a stranger");
    assert_eq!(asks(&mut world, from, Method::Post, "/rd", &["ep=1", "lt=600"], list), "2.01 rd/1");
    world.settle();
    assert!(world.has_heard("led=0"), "{:?}", world.heard);
    assert!(!world.asked.iter().any(|asked| asked.contains(".well-known")), "it said what it has");
    // It may be silent for as long as it said, and longer after it said that it is there.
    world.pass(500_000);
    assert_eq!(asks(&mut world, from, Method::Post, "/rd/1", &[], ""), "2.04");
    world.pass(500_000);
    assert_eq!(world.core.nodes(), 1);
    let found = asks(&mut world, from, Method::Get, "/rd-lookup/res", &["rt=lamp", "ep=1"], "");
    assert!(found.starts_with("2.05 <coap://192.0.2.1:40000/led>;rt=\"lamp\""), "{found}");
    assert_eq!(asks(&mut world, from, Method::Get, "/rd-lookup/res", &["rt=fan"], ""), "2.05");
    let nodes = asks(&mut world, from, Method::Get, "/rd-lookup/ep", &[], "");
    assert!(nodes.contains("</rd/1>;ep=\"1\";base=\"coap://192.0.2.1:40000\""), "{nodes}");
    assert!(
        asks(&mut world, node(2, 40_000), Method::Delete, "/rd/1", &[], "").starts_with("4.04"),
        "of another"
    );
    assert_eq!(asks(&mut world, from, Method::Delete, "/rd/1", &[], ""), "2.02");
    assert_eq!(world.core.nodes(), 0);
    assert!(asks(&mut world, from, Method::Post, "/rd/1", &[], "").starts_with("4.04"));
}
