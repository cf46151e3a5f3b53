//! What a board does when its line breaks during an update; the hub is an endpoint without a socket.

use motehub_protocol::coap::{Endpoint, ExchangeId, Limits};

use super::*;

const BOARD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const HUB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);
/// More than two blocks.
const SOURCE: [u8; 2_500] = [b'-'; 2_500];

struct World {
    board: Board,
    hub: Endpoint,
    facts: mpsc::Receiver<Fact>,
    /// What is offered as long as it was not said to be Done.
    offer: Value,
    /// So many blocks may still be fetched, and so many reports of Done are heard.
    blocks: usize,
    dones: usize,
    /// The states that were said.
    states: Vec<String>,
}

fn hub() -> Endpoint {
    let mut numbers = Numbers::new(1);
    let mut hub = Endpoint::new(Limits::default(), move || numbers.draw());
    hub.trust_addresses();
    hub
}

impl World {
    async fn new(blocks: usize, dones: usize) -> Self {
        let (told, facts) = mpsc::channel(64);
        let manner = Manner {
            hub: HUB,
            loss: 0,
            delay: Duration::ZERO,
            measure_every: Duration::from_secs(3_600),
            speed: 1,
            facts: told,
        };
        let socket = UdpSocket::bind((BOARD.ip(), 0)).await.unwrap();
        let known = Known { id: "lamp".to_owned(), key: None };
        let board = Board::new(known, None, socket, 1, manner);
        let digest = Sha256::digest(SOURCE).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = format!("sha256:{digest}");
        let path = format!("/devices/lamp/artifacts/{digest}");
        let offer = json!({ "digest": digest, "path": path, "health_window": 0 });
        Self { board, hub: hub(), facts, offer, blocks, dones, states: Vec::new() }
    }

    /// Datagrams go both ways until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some(bytes) = self.board.line.poll_transmit() {
                is_quiet = false;
                self.hub.datagram(BOARD, &bytes, 0);
            }
            while let Some(event) = self.hub.poll_event() {
                if let Event::Asked { exchange, request, .. } = event
                    && let Some(response) = self.asked(&request)
                {
                    self.answer(exchange, response);
                }
            }
            while let Some((_, bytes)) = self.hub.poll_transmit() {
                is_quiet = false;
                self.board.line.datagram(&bytes);
            }
            self.board.due();
            if is_quiet {
                return;
            }
        }
    }

    fn answer(&mut self, exchange: ExchangeId, response: Response) {
        self.hub.respond(exchange, response, 0);
    }

    /// What the hub answers, if it does.
    fn asked(&mut self, request: &Request) -> Option<Response> {
        let observed = Response { observe: Some(0), ..Response::new(Code::CONTENT) };
        match request.path.last().map(String::as_str) {
            Some("offer") if self.states.last().is_none_or(|state| state == "Fetching") => {
                let offer = self.offer.to_string().into_bytes();
                Some(Response { observe: Some(0), ..Response::with(Code::CONTENT, format::JSON, offer) })
            }
            Some(kind) if OBSERVED.contains(&kind) => Some(observed),
            Some("task") => {
                let said: Value = serde_json::from_slice(&request.payload).unwrap();
                let state = said["state"].as_str().unwrap();
                if state == "Done" {
                    self.dones = self.dones.checked_sub(1)?;
                }
                self.states.push(state.to_owned());
                Some(Response::new(Code::CHANGED))
            }
            Some(digest) if digest.starts_with("sha256:") => {
                self.blocks = self.blocks.checked_sub(1)?;
                Some(Response::with(Code::CONTENT, format::BYTES, SOURCE.to_vec()))
            }
            _ => Some(Response::new(Code::CHANGED)),
        }
    }

    /// Nothing comes over the line of now any more; there is a new one.
    fn break_line(&mut self, blocks: usize, dones: usize) {
        (self.hub, self.blocks, self.dones) = (hub(), blocks, dones);
        self.board.open();
        self.settle();
    }

    fn updates(&mut self) -> usize {
        std::iter::from_fn(|| self.facts.try_recv().ok())
            .filter(|fact| matches!(fact, Fact::Updated { .. }))
            .count()
    }
}

#[tokio::test]
async fn what_it_was_fetching_when_its_line_broke_is_fetched_when_it_is_offered_again() {
    let mut world = World::new(1, 1).await;
    world.board.boot();
    world.settle();
    assert_eq!(world.states, ["Fetching"], "of three blocks one came");
    world.break_line(3, 1);
    assert_eq!(world.states, ["Fetching", "Fetching", "Applying", "Done"]);
    assert_eq!(world.updates(), 1);
}

#[tokio::test]
async fn that_it_keeps_an_update_is_said_until_the_hub_knows() {
    let mut world = World::new(3, 0).await;
    world.board.boot();
    world.settle();
    assert_eq!(world.states, ["Fetching", "Applying"], "that it is Done was not heard");
    world.break_line(0, 1);
    assert_eq!(world.states, ["Fetching", "Applying", "Done"]);
    world.break_line(0, 1);
    assert_eq!(world.states.len(), 3, "the hub knows");
    assert_eq!(world.updates(), 1);
}

#[tokio::test]
async fn what_it_tried_out_when_it_was_switched_off_is_tried_out_again() {
    let mut world = World::new(3, 1).await;
    world.offer["health_window"] = 3_600.into();
    world.board.boot();
    world.settle();
    assert_eq!(world.states, ["Fetching", "Applying"]);
    world.board.off();
    assert_eq!(world.board.tried_until(), None);
    world.hub = hub();
    world.board.boot();
    world.settle();
    assert!(world.board.tried_until().is_some_and(|until| until > Instant::now()), "{:?}", world.states);
    assert_eq!(world.states.len(), 2, "it has it already");
}
