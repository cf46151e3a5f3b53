//! Endpoints against each other over a network that loses, repeats and reorders, with a clock that is moved.

mod floods;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::message::{Body, Method, format};
use super::*;

/// xorshift64*: repeatable, and good enough here.
fn numbers(seed: u64) -> impl FnMut() -> u64 + Send + 'static {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn endpoint(seed: u64) -> Endpoint {
    Endpoint::new(Limits::default(), numbers(seed))
}

/// Two endpoints, and what is between them. The one at port 2 answers as [`serve`] says.
struct World {
    ends: BTreeMap<u16, Endpoint>,
    now_ms: u64,
    /// Of a hundred datagrams so many are lost, and so many come twice.
    lost: u64,
    twice: u64,
    chance: Box<dyn FnMut() -> u64>,
    /// What is under way: when it arrives, in which order, from whom, to whom.
    wire: BTreeMap<(u64, u64), (u16, u16, Vec<u8>)>,
    serial: u64,
    asked: Vec<(u16, Request)>,
    got: Vec<Event>,
    observers: Vec<ObserverId>,
}

impl World {
    fn new(seed: u64, lost: u64, twice: u64) -> Self {
        Self {
            ends: [(1, endpoint(seed)), (2, endpoint(seed + 1))].into(),
            now_ms: 1_000,
            lost,
            twice,
            chance: Box::new(numbers(seed + 2)),
            wire: BTreeMap::new(),
            serial: 0,
            asked: Vec::new(),
            got: Vec::new(),
            observers: Vec::new(),
        }
    }

    fn ask(&mut self, request: Request) -> CallId {
        self.ends.get_mut(&1).unwrap().request(address(2), request, 200_000, self.now_ms).unwrap()
    }

    /// Until nothing is under way, or so much time has passed.
    fn run(&mut self, for_ms: u64) {
        let end = self.now_ms + for_ms;
        loop {
            self.collect();
            let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
            let due = self.ends.values().filter_map(Endpoint::next_timeout).min();
            let Some(next) = arrives.into_iter().chain(due).min().filter(|next| *next <= end) else { break };
            self.now_ms = self.now_ms.max(next);
            while let Some((_, (from, to, bytes))) =
                self.wire.first_entry().filter(|e| e.key().0 <= self.now_ms).map(|e| e.remove_entry())
            {
                if let Some(end) = self.ends.get_mut(&to) {
                    end.datagram(address(from), &bytes, self.now_ms);
                }
            }
            for end in self.ends.values_mut() {
                end.handle_timeout(self.now_ms);
            }
        }
        self.now_ms = end;
    }

    fn collect(&mut self) {
        for (port, end) in &mut self.ends {
            while let Some(event) = end.poll_event() {
                match event {
                    Event::Asked { exchange, request, block, .. } => {
                        self.asked.push((*port, request.clone()));
                        let observer = end.respond(exchange, serve(&request, block), self.now_ms);
                        self.observers.extend(observer);
                    }
                    other => self.got.push(other),
                }
            }
            while let Some((to, bytes)) = end.poll_transmit() {
                assert!(bytes.len() <= 1_152 + 32, "{} bytes", bytes.len());
                let copies = match (self.chance)() % 100 {
                    n if n < self.lost => 0,
                    n if n < self.lost + self.twice => 2,
                    _ => 1,
                };
                for _ in 0..copies {
                    self.serial += 1;
                    let at = self.now_ms + 5 + (self.chance)() % 90;
                    self.wire.insert((at, self.serial), (*port, to.port(), bytes.clone()));
                }
            }
        }
    }

    fn answers(&self) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Answered { response, .. } => {
                format!("{} {}", response.code, String::from_utf8_lossy(response.payload()))
            }
            Event::Failed { failure, .. } => format!("{failure:?}"),
            other => format!("{other:?}"),
        };
        self.got.iter().map(text).collect()
    }
}

fn large(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + (at % 26) as u8).collect()
}

fn serve(request: &Request, block: Block) -> Response {
    match request.path_text().as_str() {
        "/l" | "/large" => Response::with(Code::CONTENT, format::BYTES, large(20_000)),
        "/small" => Response::with(Code::CONTENT, format::BYTES, large(1_000)),
        "/parts" => {
            let all = large(5_000);
            let (offset, size) = (block.offset(), all.len());
            let bytes = all[offset.min(size)..size.min(offset + block.size())].to_vec();
            let body = Body::Part { offset, bytes, size };
            Response { body, ..Response::with(Code::CONTENT, format::BYTES, Vec::new()) }
        }
        "/echo" => Response::text(Code::CHANGED, format!("{} bytes", request.payload.len())),
        "/observe" => Response { observe: Some(0), ..Response::text(Code::CONTENT, "first") },
        _ => Response::text(Code::NOT_FOUND, "no"),
    }
}

#[test]
fn everything_arrives_once_over_a_network_that_loses_and_repeats() {
    for seed in 1..30 {
        let mut world = World::new(seed, 15, 10);
        for _ in 0..5 {
            world.ask(Request { payload: large(40), ..Request::new(Method::Post, "/echo") });
        }
        world.ask(Request { payload: large(20_000), ..Request::new(Method::Put, "/echo") });
        world.run(2_000_000);
        let posts = world.asked.iter().filter(|(_, request)| request.method == Method::Post).count();
        assert!(posts <= 5, "seed {seed}: a request was taken {posts} times");
        let answers = world.answers();
        let failed = answers.iter().filter(|text| *text == "Timeout").count();
        assert_eq!(answers.len(), 6, "seed {seed}: {answers:?}");
        assert!(failed <= 1, "seed {seed}: {answers:?}");
        assert!(
            answers.iter().all(|t| ["2.04 40 bytes", "2.04 20000 bytes", "Timeout"].contains(&t.as_str()))
        );
        for end in world.ends.values() {
            assert!(end.calls.is_empty() && end.tokens.is_empty() && end.exchanges.is_empty(), "seed {seed}");
            assert!(end.next_timeout().is_none(), "seed {seed}: it never rests");
            assert!(end.peers.is_empty() && end.seen.is_empty() && end.uploads.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn large_answers_come_in_blocks() {
    for (seed, path) in (1..4).flat_map(|seed| [(seed, "/large"), (seed, "/parts")]) {
        let mut world = World::new(seed, 3, 5);
        world.ask(Request::new(Method::Get, path));
        world.run(2_000_000);
        let [Event::Answered { response, .. }] = &world.got[..] else { panic!("{:?}", world.answers()) };
        let expected = if path == "/large" { 20_000 } else { 5_000 };
        assert!(response.payload() == large(expected), "{} bytes", response.payload().len());
    }
}

#[test]
fn who_does_not_answer_holds_up_nobody_else() {
    let mut world = World::new(3, 0, 0);
    let silent = address(9);
    let end = world.ends.get_mut(&1).unwrap();
    let get = || Request::new(Method::Get, "/echo");
    end.request(silent, get(), 10_000, 1_000).unwrap();
    end.request(silent, get(), 10_000, 1_000).unwrap();
    end.request(address(2), get(), 10_000, 1_000).unwrap();
    world.run(20_000);
    assert_eq!(world.answers()[0], "2.04 0 bytes");
    assert_eq!(world.answers().iter().filter(|text| *text == "Timeout").count(), 2, "{:?}", world.answers());
}

#[test]
fn an_observer_gets_the_newest_and_is_gone_when_it_is_silent() {
    let mut world = World::new(11, 0, 0);
    world.ask(Request { observe: Some(true), ..Request::new(Method::Get, "/observe") });
    world.run(5_000);
    let observer = world.observers[0];
    for text in ["a", "b", "c"] {
        world.ends.get_mut(&2).unwrap().notify(observer, Response::text(Code::CONTENT, text), world.now_ms);
    }
    world.run(5_000);
    assert_eq!(world.answers(), ["2.05 first", "2.05 a", "2.05 c"], "what is overtaken is left out");
    world.lost = 100;
    world.ends.get_mut(&2).unwrap().notify(observer, Response::text(Code::CONTENT, "d"), world.now_ms);
    world.run(120_000);
    assert_eq!(world.ends[&2].observers(), 0);
}

#[test]
fn an_observation_is_renewed_when_it_is_not_fresh_and_ends_when_it_is_forgotten() {
    let mut world = World::new(12, 0, 0);
    let call = world.ask(Request { observe: Some(true), ..Request::new(Method::Get, "/observe") });
    world.run(200_000);
    assert!(world.asked.len() >= 2, "it is asked again after 60 seconds and some");
    assert_eq!(
        world.observers.iter().collect::<std::collections::HashSet<_>>().len(),
        1,
        "the same observer"
    );
    world.ends.get_mut(&1).unwrap().cancel(call);
    let observer = world.observers[0];
    world.ends.get_mut(&2).unwrap().notify(observer, Response::text(Code::CONTENT, "d"), world.now_ms);
    world.run(5_000);
    assert_eq!(world.ends[&2].observers(), 0, "the notification was rejected");
}

/// What an endpoint says to a datagram.
fn said(end: &mut Endpoint, bytes: &[u8]) -> Vec<Vec<u8>> {
    end.datagram(address(5), bytes, 1_000);
    while let Some(event) = end.poll_event() {
        if let Event::Asked { exchange, request, block, .. } = event {
            end.respond(exchange, serve(&request, block), 1_000);
        }
    }
    std::iter::from_fn(|| end.poll_transmit()).map(|(_, bytes)| bytes).collect()
}

#[test]
fn the_form_of_messages_is_held() {
    let cases: [(&str, &[u8], &[u8]); 16] = [
        ("a ping", b"\x40\x00\x12\x34", b"\x70\x00\x12\x34"),
        ("an empty message that is not empty", b"\x40\x00\x12\x34\x01", b"\x70\x00\x12\x34"),
        ("a token of 9 bytes", b"\x49\x01\x12\x34123456789", b"\x70\x00\x12\x34"),
        ("a token that is cut", b"\x44\x01\x12\x34ab", b"\x70\x00\x12\x34"),
        ("an option that is cut", b"\x40\x01\x12\x34\xb5abc", b"\x70\x00\x12\x34"),
        ("a reserved delta", b"\x40\x01\x12\x34\xf0", b"\x70\x00\x12\x34"),
        ("a reserved length", b"\x40\x01\x12\x34\xbf", b"\x70\x00\x12\x34"),
        ("a number of option too large", b"\x40\x01\x12\x34\xe0\xff\xff", b"\x70\x00\x12\x34"),
        ("a marker and no body", b"\x40\x01\x12\x34\xff", b"\x70\x00\x12\x34"),
        ("the same, not confirmable", b"\x50\x01\x12\x34\xff", b""),
        ("another version", b"\x80\x01\x12\x34", b""),
        ("three bytes", b"\x40\x01\x12", b""),
        ("a reserved class", b"\x40\x21\x12\x34", b"\x70\x00\x12\x34"),
        ("a response to nothing", b"\x40\x45\x12\x34", b"\x70\x00\x12\x34"),
        ("an acknowledgement of nothing", b"\x60\x00\x12\x34", b""),
        ("a reset of nothing", b"\x70\x00\x12\x34", b""),
    ];
    for (what, bytes, expected) in cases {
        let said = said(&mut endpoint(1), bytes);
        assert_eq!(said.concat(), expected, "{what}");
    }
}

#[test]
fn options_that_must_be_understood_are() {
    let code =
        |bytes: &[u8]| said(&mut endpoint(1), bytes).concat().get(1).map(|code| Code(*code).to_string());
    let get = |options: &[u8]| [b"\x40\x01\x12\x34", options].concat();
    let cases: [(&str, &[u8], &str); 12] = [
        ("none", b"", "4.04"),
        ("an unknown elective one", b"\xa1x", "4.04"),
        ("an unknown critical one", b"\x91x", "4.02"),
        ("If-Match", b"\x11x", "4.02"),
        ("Uri-Port with four bytes", b"\x741234", "4.02"),
        ("Accept twice", b"\xd1\x04\x00\x01\x32", "4.02"),
        ("an address of elsewhere", b"\xd4\x16coap", "5.05"),
        ("Block2 with the reserved size", b"\xd1\x0a\x07", "4.00"),
        ("Block2 with four bytes", b"\xd4\x0a1234", "4.02"),
        ("a path of 16 parts", &[b'\xb1'; 1], "0.00"),
        ("a path that is no text", b"\xb1\xff", "4.02"),
        ("an observation with four bytes is none", b"\x641234", "4.04"),
    ];
    for (what, options, expected) in cases {
        assert_eq!(code(&get(options)).as_deref(), Some(expected), "{what}");
    }
    let deep: Vec<u8> = [b"\xb1a".to_vec(), b"\x01a".repeat(16)].concat();
    assert_eq!(code(&get(&deep)).as_deref(), Some("4.02"), "a path of 17 parts");
    assert_eq!(code(b"\x40\x05\x12\x34").as_deref(), Some("4.05"), "FETCH");
}

#[test]
fn blocks_out_of_order_and_bodies_too_large_are_refused() {
    // PUT /echo with Block1; sizes are those of 1024 bytes.
    let put = |mid: u8, number: u32, more: bool, size: usize| {
        let value = uint_bytes(number << 4 | u32::from(more) << 3 | 6);
        let mut bytes = vec![0x40, 0x03, 0, mid, 0xb4];
        bytes.extend_from_slice(b"echo");
        bytes.extend([0xd0 | value.len() as u8, 27 - 11 - 13]);
        bytes.extend(value);
        bytes.push(0xff);
        bytes.extend(vec![b'x'; size]);
        bytes
    };
    let mut end = endpoint(1);
    let mut code = |bytes: Vec<u8>| Code(said(&mut end, &bytes).concat()[1]).to_string();
    let cases = [
        (put(1, 1, true, 1024), "4.08"),
        (put(2, 0, true, 1024), "2.31"),
        (put(3, 2, true, 1024), "4.08"),
        (put(4, 1, true, 1000), "4.00"),
        (put(5, 1, false, 1025), "4.00"),
        (put(6, 1, false, 10), "2.04"),
        (put(7, 1, false, 10), "4.08"),
        (put(8, 1_000, true, 1024), "4.13"),
        (put(9, 0xf_ffff, true, 1024), "4.13"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(code(bytes.clone()), expected, "{:x?}", &bytes[..16]);
    }
    // 64 KiB is all that is taken.
    for number in 0..64 {
        assert_eq!(code(put(10 + number as u8, number, true, 1024)), "2.31");
    }
    assert_eq!(code(put(99, 64, false, 1)), "4.13");
}

#[test]
fn a_source_that_has_not_proven_itself_gets_no_more_than_three_times_what_it_sent() {
    let mut end = endpoint(1);
    let small = said(&mut end, b"\x40\x01\x00\x00\xb5small").concat();
    assert!(small[1] == Code::CONTENT.0 && small.len() <= 30, "a small block: {small:x?}");
    let get = |mid: u8, echo: &[u8]| {
        let mut bytes = vec![0x40, 0x01, 0, mid, 0xb1, b'l'];
        if !echo.is_empty() {
            bytes.extend([0xd0 | echo.len() as u8, 252u8.wrapping_sub(11 + 13)]);
            bytes.extend(echo);
        }
        bytes
    };
    let first = said(&mut end, &get(1, b"")).concat();
    assert_eq!((first[1], first.len() <= 18), (Code::UNAUTHORIZED.0, true), "{first:x?}");
    let echo = first[first.len() - 6..].to_vec();
    let wrong = said(&mut end, &get(2, b"123456")).concat();
    assert!(wrong.len() <= 3 * get(2, b"123456").len(), "it proves nothing");
    let proven = said(&mut end, &get(3, &echo)).concat();
    assert!(proven[1] == Code::CONTENT.0 && proven.len() > 1_024);
    let again = said(&mut end, &get(4, b"")).concat();
    assert!(again.len() > 1_024, "it is known now");
}

use super::super::message::uint_bytes;

#[derive(Debug, Clone)]
enum Step {
    Raw(Vec<u8>),
    Shaped { first: u8, code: u8, mid: u8, token: Vec<u8>, options: Vec<(u8, Vec<u8>)>, body: Vec<u8> },
    Later(u16),
    Ask,
    Notify,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let option = (prop_oneof![0u8..16, Just(0xd0), Just(0xe0), any::<u8>()], bytes(20));
    let shaped = (
        0u8..4,
        prop_oneof![0u8..8, 0x40u8..0xa6],
        0u8..8,
        bytes(9),
        proptest::collection::vec(option, 0..5),
        bytes(40),
    );
    prop_oneof![
        1 => bytes(60).prop_map(Step::Raw),
        6 => shaped.prop_map(|(kind, code, mid, token, options, body)| {
            Step::Shaped { first: 0x40 | kind << 4, code, mid, token, options, body }
        }),
        1 => any::<u16>().prop_map(Step::Later),
        1 => Just(Step::Ask),
        1 => Just(Step::Notify),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes: no panic, no large answer to who has not proven itself, and nothing is kept for ever.
    #[test]
    fn whatever_comes_it_goes_on(steps in proptest::collection::vec(step(), 1..60), seed in 1u64..1_000) {
        let mut end = endpoint(seed);
        let (mut now, mut observers, mut has_told) = (1_000, Vec::new(), false);
        for step in steps {
            let mut size = 0;
            match step {
                Step::Raw(bytes) => { size = bytes.len(); end.datagram(address(5), &bytes, now); }
                Step::Shaped { first, code, mid, token, options, body } => {
                    let mut bytes = vec![first | token.len() as u8, code, 0, mid];
                    bytes.extend(token);
                    for (delta, value) in options {
                        bytes.push(delta << 4 | value.len().min(15) as u8);
                        bytes.extend(value);
                    }
                    if !body.is_empty() { bytes.push(0xff); bytes.extend(body); }
                    size = bytes.len();
                    end.datagram(address(5), &bytes, now);
                }
                Step::Later(ms) => { now += u64::from(ms); end.handle_timeout(now); }
                Step::Ask => drop(end.request(address(6), Request::new(Method::Get, "/observe"), 5_000, now)),
                Step::Notify => if let Some(id) = observers.last() {
                    has_told = true;
                    end.notify(*id, Response::text(Code::CONTENT, "x".repeat(2_000)), now);
                }
            }
            while let Some(event) = end.poll_event() {
                if let Event::Asked { exchange, request, block, .. } = event {
                    observers.extend(end.respond(exchange, serve(&request, block), now));
                }
            }
            let sent: usize = std::iter::from_fn(|| end.poll_transmit()).filter(|(to, _)| to.port() == 5).map(|(_, b)| b.len()).sum();
            // What follows a notification is of requests before it.
            prop_assert!(size == 0 || has_told || end.proof.is_proven(address(5), now) || sent <= 3 * size, "{sent} for {size}");
        }
        end.handle_timeout(now + 100_000);
        end.handle_timeout(now + 1_000_000);
        end.handle_timeout(now + 2_000_000);
        prop_assert!(end.seen.is_empty() && end.peers.is_empty() && end.calls.is_empty() && end.uploads.is_empty());
    }
}
