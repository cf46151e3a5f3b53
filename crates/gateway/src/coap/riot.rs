//! RIOT nodes: who is there, by uid; what they post; what they are asked and told.
//!
//! A node proves nothing of itself. It is let in if its device may speak from its address, and counts as gone when it
//! has not announced itself for a while. Several may speak from one address: a value is taken for one of them only if
//! it comes from the port of that one's announcements, and it is asked at that port.

mod directory;
mod discovery;
mod node;
mod orders;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use motehub_domain::device::{Dialect, SILENCE_MAX};
use motehub_domain::id::CommandId;
use motehub_domain::message::{Outcome, Uplink};
use motehub_protocol::coap::{Code, Endpoint, ExchangeId, Failure, Response};
use motehub_protocol::riot;
use serde_json::Value;

use super::core::{Outbox, Wish, unavailable};
pub(super) use directory::{DIRECTORY, LINKS};

use crate::hub::{Client, ConnectionId, Refusal};
use node::Node;

/// A node that announced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignOf {
    /// Which request it was.
    pub(super) exchange: ExchangeId,
    /// From where.
    pub(super) from: SocketAddr,
    /// Which node; an old one without a uid goes by its address.
    pub(super) uid: String,
    /// Whether it has just started.
    pub(super) has_started: bool,
    /// What it is answered.
    pub(super) receipt: Response,
    /// How long it may be silent, as it says itself.
    pub(super) lifetime_ms: Option<u64>,
    /// The list of its resources, if it brought that along.
    pub(super) list: Option<String>,
}

/// What a request of ours is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    connection: ConnectionId,
    purpose: Purpose,
}

#[derive(Debug, Clone)]
enum Purpose {
    /// Which resources it has.
    Links,
    /// What the value of one is.
    Read { name: String },
    /// What the value of one is from now on: it is observed.
    Observed { name: String },
    /// What the value of one is, for somebody who wants to know.
    Ask { name: String, order: CommandId },
    /// A resource is given a value, because it is desired or ordered.
    Write { name: String, value: Value, order: Option<CommandId> },
}

/// All nodes.
pub(super) struct Riot {
    node_port: u16,
    next_connection: u64,
    nodes: HashMap<ConnectionId, Node>,
    by_uid: HashMap<String, ConnectionId>,
    by_address: HashMap<IpAddr, Vec<ConnectionId>>,
    /// When something is due with which of them.
    due: BTreeSet<(u64, ConnectionId)>,
}

/// What everything here works with.
pub(super) struct Hands<'a> {
    pub(super) endpoint: &'a mut Endpoint,
    pub(super) out: &'a mut Outbox,
    pub(super) now_ms: u64,
}

impl Hands<'_> {
    /// The same, for a moment.
    pub(super) fn lend(&mut self) -> Hands<'_> {
        Hands { endpoint: self.endpoint, out: self.out, now_ms: self.now_ms }
    }

    fn answer(&mut self, exchange: ExchangeId, response: Response) {
        self.endpoint.respond(exchange, response, self.now_ms);
    }
}

impl Riot {
    pub(super) fn new(node_port: u16, first_connection: u64) -> Self {
        Self {
            node_port,
            next_connection: first_connection,
            nodes: HashMap::new(),
            by_uid: HashMap::new(),
            by_address: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// How many are there.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Something was posted to `/alive`. Returns the answer if there is one already.
    pub(super) fn alive(
        &mut self,
        hands: Hands<'_>,
        exchange: ExchangeId,
        from: SocketAddr,
        payload: &[u8],
    ) -> Option<Response> {
        let riot::Sign { has_started, uid } = match riot::sign(payload) {
            Ok(sign) => sign,
            Err(error) => return Some(Response::text(Code::BAD_REQUEST, error.0)),
        };
        let uid = uid.unwrap_or_else(|| address(from).to_string());
        let receipt = receipt(payload);
        let (lifetime_ms, list) = (None, None);
        self.signed(hands, SignOf { exchange, from, uid, has_started, receipt, lifetime_ms, list })
    }

    /// The connection of a node that announced itself from the same address before.
    fn known(&self, sign: &SignOf) -> Option<ConnectionId> {
        let connection = self.by_uid.get(&sign.uid)?;
        let node = self.nodes.get(connection)?;
        (address(node.place) == address(sign.from)).then_some(*connection)
    }

    /// A node that is known announced itself again.
    fn heard(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, mut sign: SignOf) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        node.announced(sign.from, hands.now_ms);
        let device = node.device;
        if sign.has_started {
            node.restart();
            hands.out.say(device, riot::cleared(), None);
        }
        if node.wants_discovery() {
            match sign.list.take() {
                Some(list) => self.take_list(hands, connection, &list),
                None => self.discover(hands, connection),
            }
        } else if std::mem::take(&mut node.is_owed) {
            hands.out.wishes.push_back(Wish::Listen(device));
        }
        if !hands.out.say(device, Uplink::Alive, Some((sign.exchange, sign.receipt))) {
            hands.answer(sign.exchange, unavailable());
        }
        self.schedule(connection);
    }

    /// The hub said whether a node may come in.
    pub(super) fn admitted(&mut self, mut hands: Hands<'_>, sign: SignOf, answer: Result<Client, Refusal>) {
        let refusal = match answer {
            Ok(Client { device: Some(identity), silence_max, .. }) if identity.dialect == Dialect::Riot => {
                let said = silence_max.map(|span| span.0.unsigned_abs());
                let silence = said.or(sign.lifetime_ms).unwrap_or(SILENCE_MAX.0.unsigned_abs());
                let former = self.by_uid.get(&sign.uid).copied();
                // A node that said two things at once was let in by the first.
                if let Some(connection) = self.known(&sign) {
                    return self.heard(&mut hands, connection, sign);
                }
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                let wish = Wish::Attach {
                    connection,
                    device: identity.device,
                    address: sign.from,
                    silence_max_ms: silence,
                    shown: None,
                };
                hands.out.wishes.push_back(wish);
                // It moved to another address: it is there before it is gone from the former one.
                if let Some(former) = former {
                    self.forget(&mut hands, former);
                }
                let node = Node::new(identity.device, sign.uid.clone(), sign.from, silence, hands.now_ms);
                self.by_uid.insert(sign.uid.clone(), connection);
                self.by_address.entry(address(sign.from)).or_default().push(connection);
                self.nodes.insert(connection, node);
                return self.heard(&mut hands, connection, sign);
            }
            Ok(_) | Err(Refusal::BadCredentials | Refusal::NotAllowed) => {
                let sentence = "this node is not let in: an engineer accepts it in the inbox of the hub";
                Response::text(Code::FORBIDDEN, sentence)
            }
            Err(Refusal::Unavailable) => unavailable(),
        };
        hands.out.counters.refused += 1;
        hands.answer(sign.exchange, refusal);
    }

    /// Something is due.
    pub(super) fn tick(&mut self, mut hands: Hands<'_>) {
        while let Some((at, connection)) = self.due.first().copied().filter(|(at, _)| *at <= hands.now_ms) {
            self.due.remove(&(at, connection));
            let Some(node) = self.nodes.get_mut(&connection) else { continue };
            node.due_ms = None;
            if node.is_silent(hands.now_ms) {
                tracing::info!(device = %node.device, "a RIOT node was silent for too long: it counts as gone");
                self.forget(&mut hands, connection);
            } else {
                self.report(&mut hands, connection);
            }
        }
    }

    fn schedule(&mut self, connection: ConnectionId) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        let next = node.next_moment();
        if node.due_ms != Some(next) {
            if let Some(former) = node.due_ms.replace(next) {
                self.due.remove(&(former, connection));
            }
            self.due.insert((next, connection));
        }
    }

    /// The hub ended a connection.
    pub(super) fn ended(&mut self, mut hands: Hands<'_>, connection: ConnectionId) {
        self.forget(&mut hands, connection);
    }

    /// A node is gone. What was asked of it fails.
    fn forget(&mut self, hands: &mut Hands<'_>, connection: ConnectionId) {
        let Some(node) = self.nodes.remove(&connection) else { return };
        if let Some(due) = node.due_ms {
            self.due.remove(&(due, connection));
        }
        if self.by_uid.get(&node.uid) == Some(&connection) {
            self.by_uid.remove(&node.uid);
        }
        if let Some(of_address) = self.by_address.get_mut(&address(node.place)) {
            of_address.retain(|other| *other != connection);
            if of_address.is_empty() {
                self.by_address.remove(&address(node.place));
            }
        }
        let of_node = |about: &About| about.connection == connection;
        let calls: Vec<_> =
            hands.out.calls.iter().filter(|(_, about)| of_node(about)).map(|(id, _)| *id).collect();
        for call in calls {
            hands.endpoint.cancel(call);
            let about = hands.out.calls.remove(&call);
            if let Some(command) = about.and_then(|about| about.order()) {
                let outcome = Outcome::Failed("the node is gone, and did not answer before".to_owned());
                hands.out.say(node.device, Uplink::Reply { command, outcome }, None);
            }
        }
        hands.out.wishes.push_back(Wish::Detach(connection));
    }

    /// Where a node is asked, or why it cannot be.
    fn place(&self, node: &Node) -> Result<SocketAddr, String> {
        let of_address = self.by_address.get(&address(node.place)).map_or(0, Vec::len);
        let mut place = node.place;
        match (of_address > 1, node.is_steady) {
            (true, true) => Ok(place),
            (true, false) => Err(format!(
                "{of_address} nodes are at {} and cannot be told apart: let each have an address of its own, or send \
                 from the port that it listens on",
                address(place)
            )),
            (false, _) => {
                if !(node.is_steady && node.is_at_its_port) {
                    place.set_port(self.node_port);
                }
                Ok(place)
            }
        }
    }
}

impl About {
    /// Its first answer came, and more will: what follows is what is observed.
    pub(super) fn goes_on(&mut self) {
        if let Purpose::Read { name } = &mut self.purpose {
            self.purpose = Purpose::Observed { name: std::mem::take(name) };
        }
    }

    fn order(&self) -> Option<CommandId> {
        match &self.purpose {
            Purpose::Links | Purpose::Read { .. } | Purpose::Observed { .. } => None,
            Purpose::Ask { order, .. } => Some(*order),
            Purpose::Write { order, .. } => *order,
        }
    }
}

/// The address without its port, an IPv4 one as such.
fn address(place: SocketAddr) -> IpAddr {
    place.ip().to_canonical()
}

/// What the original gateway answers.
fn receipt(payload: &[u8]) -> Response {
    Response::text(Code::CHANGED, format!("Received '{}'", String::from_utf8_lossy(payload)))
}

/// What a failure of ours is for people.
fn sentence(outcome: &Result<Response, Failure>) -> Option<String> {
    match outcome {
        Ok(response) if response.code.is_success() => None,
        Ok(response) => {
            let text: String = String::from_utf8_lossy(response.payload()).chars().take(200).collect();
            Some(format!("the node answered {} {text}", response.code).trim_end().to_owned())
        }
        Err(failure) => Some(failure.to_string()),
    }
}
