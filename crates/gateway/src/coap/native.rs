//! Devices of the native protocol over CoAP: `POST /devices/<id>/<kind>` says something, `GET` with observation on
//! `/devices/<id>/<kind>` is told something, `/devices/<id>/artifacts/<digest>` comes in blocks. Behind DTLS a device
//! has proven who it is; without it, it is let in if its device may speak without a credential from its address.
//!
//! A device counts as there from its first request on, and as gone when it was silent for a while: any datagram of it
//! is a sign of life, and one that observes is asked for one in time.

mod requests;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use motehub_domain::device::SILENCE_MAX;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use motehub_protocol::coap::{Block, Code, ExchangeId, ObserverId, Request, Response};
use motehub_protocol::{Encoding, Identity, native};

pub(super) use requests::{document, no_artifact};

use super::core::{Wish, unavailable};
use super::riot::Hands;
use crate::hub::{Client, ConnectionId, Credentials, Refusal, Shown};
use waiting::Waiting;

/// Devices that are there at once, on one listener.
const SPEAKERS_MAX: usize = 20_000;
/// Requests of one device that wait until it is told what waits for it.
const HELD_MAX: usize = 16;

/// What a request needs to be answered: who asks, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Which request it was.
    pub(super) exchange: ExchangeId,
    /// From where, as the endpoint knows it.
    pub(super) from: SocketAddr,
    /// What.
    pub(super) request: Request,
    /// The block of a large answer that is wanted.
    pub(super) block: Block,
}

/// Somebody of whom nothing is known yet.
#[derive(Debug, Clone)]
pub(super) struct Enter {
    /// What was asked.
    pub(super) asked: Asked,
    /// From where, outside.
    pub(super) place: SocketAddr,
    /// What is shown.
    pub(super) credentials: Credentials,
    /// The same, once it was looked at.
    pub(super) shown: Option<Shown>,
}

/// A device that is there.
struct Speaker {
    identity: Identity,
    /// As the endpoint knows it; without DTLS the port changes.
    peer: SocketAddr,
    silence_ms: u64,
    heard_ms: u64,
    /// When it was last asked for a sign of life.
    probed_ms: Option<u64>,
    /// When something is due with it, as it is scheduled.
    due_ms: Option<u64>,
    waiting: Waiting,
    observers: Vec<Observer>,
    /// These wait until it is known what waits for the device; `None` once it is.
    held: Option<Vec<(Asked, &'static str, Encoding)>>,
}

struct Observer {
    id: ObserverId,
    kind: &'static str,
    encoding: Encoding,
}

/// All of them.
pub(super) struct Native {
    next_connection: u64,
    speakers: HashMap<ConnectionId, Speaker>,
    by_device: HashMap<DeviceId, ConnectionId>,
    by_address: HashMap<IpAddr, Vec<ConnectionId>>,
    /// Who spoke last from a port of an address: several devices may share an address.
    by_peer: HashMap<SocketAddr, ConnectionId>,
    observers: HashMap<ObserverId, ConnectionId>,
    due: BTreeSet<(u64, ConnectionId)>,
}

impl Native {
    pub(super) fn new(first_connection: u64) -> Self {
        Self {
            next_connection: first_connection,
            speakers: HashMap::new(),
            by_device: HashMap::new(),
            by_address: HashMap::new(),
            by_peer: HashMap::new(),
            observers: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// How many devices are there.
    pub(super) fn speakers(&self) -> usize {
        self.speakers.len()
    }

    /// When something is due next.
    pub(super) fn next_moment(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a request is for this protocol.
    pub(super) fn is_meant(request: &Request) -> bool {
        device_named(request).is_some_and(|id| !id.is_empty()) && request.path.len() > 2
    }

    /// Something came from where a device spoke last: it is alive.
    pub(super) fn heard(&mut self, from: SocketAddr, now_ms: u64) {
        if let Some(speaker) = self.by_peer.get(&from).and_then(|it| self.speakers.get_mut(it)) {
            (speaker.heard_ms, speaker.probed_ms) = (now_ms, None);
        }
    }

    /// A device speaks from a port, perhaps from another than before.
    fn speaks_from(&mut self, connection: ConnectionId, from: SocketAddr, now_ms: u64) {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return };
        let former = std::mem::replace(&mut speaker.peer, from);
        if former != from && self.by_peer.get(&former) == Some(&connection) {
            self.by_peer.remove(&former);
        }
        self.by_peer.insert(from, connection);
        self.heard(from, now_ms);
    }

    /// A request. `proof` is what its peer has shown behind DTLS, and where it really is. Returns the answer if there
    /// is one already.
    pub(super) fn asked(
        &mut self,
        mut hands: Hands<'_>,
        asked: Asked,
        proof: Option<(Credentials, SocketAddr)>,
    ) -> Option<Response> {
        let of_address = self.by_address.get(&address(asked.from)).map(Vec::as_slice).unwrap_or_default();
        let is_it = |connection: &&ConnectionId| {
            self.speakers.get(*connection).is_some_and(|speaker| is_own(&speaker.identity, &asked.request))
        };
        let last = self.by_peer.get(&asked.from).filter(|last| is_it(last));
        if let Some(connection) = last.or_else(|| of_address.iter().find(is_it)).copied() {
            return self.serve(&mut hands, connection, asked);
        }
        if proof.is_some() && !of_address.is_empty() {
            return Some(not_its_id());
        }
        let (credentials, place) = proof.unwrap_or_else(|| {
            let id = device_named(&asked.request).unwrap_or_default().to_owned();
            (Credentials::Unproven { id }, asked.from)
        });
        if self.speakers.len() >= SPEAKERS_MAX || !hands.out.may_knock() {
            hands.out.counters.dropped += 1;
            return Some(unavailable());
        }
        hands.out.wishes.push_back(Wish::Enter(Box::new(Enter { asked, place, credentials, shown: None })));
        None
    }

    /// The hub said who somebody is.
    pub(super) fn entered(&mut self, mut hands: Hands<'_>, enter: Enter, answer: Result<Client, Refusal>) {
        let Enter { asked, place, shown, .. } = enter;
        let exchange = asked.exchange;
        let answer = match answer {
            Ok(Client { device: Some(identity), silence_max, .. }) if identity.dialect.speaks_native() => {
                if is_own(&identity, &asked.request) {
                    let silence = silence_max.unwrap_or(SILENCE_MAX).0.unsigned_abs();
                    let connection =
                        self.connection(&mut hands, identity, asked.from, (place, shown), silence);
                    self.serve(&mut hands, connection, asked)
                } else {
                    Some(not_its_id())
                }
            }
            Ok(_) | Err(Refusal::BadCredentials | Refusal::NotAllowed) => Some(Response::text(
                Code::UNAUTHORIZED,
                "speak over DTLS with the key of this device, or let an engineer allow its address",
            )),
            Err(Refusal::Unavailable) => Some(unavailable()),
        };
        if let Some(answer) = answer {
            hands.out.counters.refused += u64::from(!answer.code.is_success());
            hands.endpoint.respond(exchange, answer, hands.now_ms);
        }
    }

    /// The connection of a device that was let in: that which it has from there already, or a new one.
    fn connection(
        &mut self,
        hands: &mut Hands<'_>,
        identity: Identity,
        peer: SocketAddr,
        (place, shown): (SocketAddr, Option<Shown>),
        silence_ms: u64,
    ) -> ConnectionId {
        let device = identity.device;
        let former = self.by_device.get(&device).copied();
        if let Some(former) = former
            && self.speakers.get(&former).is_some_and(|speaker| address(speaker.peer) == address(peer))
        {
            return former;
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let wish = Wish::Attach { connection, device, address: place, silence_max_ms: silence_ms, shown };
        hands.out.wishes.push_back(wish);
        // It is there before it is gone from where it was.
        if let Some(former) = former {
            self.forget(hands, former);
        }
        let speaker = Speaker {
            identity,
            peer,
            silence_ms,
            heard_ms: hands.now_ms,
            probed_ms: None,
            due_ms: None,
            waiting: Waiting::default(),
            observers: Vec::new(),
            held: Some(Vec::new()),
        };
        self.speakers.insert(connection, speaker);
        self.by_device.insert(device, connection);
        self.by_address.entry(address(peer)).or_default().push(connection);
        self.schedule(connection);
        connection
    }

    /// What waits for a device that was let in was said to it; what it asked meanwhile is answered.
    pub(super) fn attached(&mut self, mut hands: Hands<'_>, connection: ConnectionId) {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return };
        for (asked, kind, encoding) in speaker.held.take().unwrap_or_default() {
            self.told(&mut hands, connection, &asked, kind, encoding);
        }
    }

    /// The hub has something for a device. False if it is none of these.
    pub(super) fn say(
        &mut self,
        mut hands: Hands<'_>,
        connection: ConnectionId,
        downlink: &Downlink,
        is_secret: bool,
    ) -> bool {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return false };
        // A secret is not said where others can hear it.
        if matches!(downlink, Downlink::Credential(_)) && !is_secret {
            return true;
        }
        if let Some(kind) = speaker.waiting.add(&speaker.identity, downlink, hands.now_ms) {
            self.notify(&mut hands, connection, kind);
        }
        self.schedule(connection);
        true
    }

    /// Tells those who observe something what is so now.
    fn notify(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, kind: &str) {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return };
        for observer in speaker.observers.iter().filter(|observer| observer.kind == kind) {
            let said = speaker.waiting.representation(observer.kind, observer.encoding, hands.now_ms);
            hands.endpoint.notify(observer.id, said, hands.now_ms);
        }
    }

    /// Somebody observes no more.
    pub(super) fn observer_gone(&mut self, observer: ObserverId) {
        let Some(connection) = self.observers.remove(&observer) else { return };
        if let Some(speaker) = self.speakers.get_mut(&connection) {
            speaker.observers.retain(|known| known.id != observer);
        }
    }

    /// Something is due.
    pub(super) fn tick(&mut self, mut hands: Hands<'_>) {
        while let Some((at, connection)) = self.due.first().copied().filter(|(at, _)| *at <= hands.now_ms) {
            self.due.remove(&(at, connection));
            let Some(speaker) = self.speakers.get_mut(&connection) else { continue };
            speaker.due_ms = None;
            let silent_ms = hands.now_ms.saturating_sub(speaker.heard_ms);
            if silent_ms >= speaker.silence_ms {
                tracing::info!(device = %speaker.identity.device, "a device was silent over CoAP: it counts as gone");
                self.forget(&mut hands, connection);
                continue;
            }
            if silent_ms >= speaker.silence_ms / 2 && speaker.probed_ms.is_none() {
                speaker.probed_ms = Some(hands.now_ms);
                if let Some(kind) = speaker.observers.first().map(|observer| observer.kind) {
                    self.notify(&mut hands, connection, kind);
                }
            }
            let Some(speaker) = self.speakers.get_mut(&connection) else { continue };
            for kind in speaker.waiting.expire(hands.now_ms) {
                self.notify(&mut hands, connection, kind);
            }
            self.schedule(connection);
        }
    }

    fn schedule(&mut self, connection: ConnectionId) {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return };
        let gone = speaker.heard_ms + speaker.silence_ms;
        let probe = speaker.probed_ms.is_none().then_some(speaker.heard_ms + speaker.silence_ms / 2);
        let next = [Some(gone), probe, speaker.waiting.expires_ms()].into_iter().flatten().min();
        if speaker.due_ms != next {
            if let Some(former) = std::mem::replace(&mut speaker.due_ms, next) {
                self.due.remove(&(former, connection));
            }
            self.due.extend(next.map(|at| (at, connection)));
        }
    }

    /// The hub ended a connection. Returns the peer, to whom nothing more is said.
    pub(super) fn ended(&mut self, mut hands: Hands<'_>, connection: ConnectionId) -> Option<SocketAddr> {
        let peer = self.speakers.get(&connection)?.peer;
        self.forget(&mut hands, connection);
        Some(peer)
    }

    /// A session is over.
    pub(super) fn gone(&mut self, mut hands: Hands<'_>, peer: SocketAddr) {
        for connection in self.by_address.get(&address(peer)).cloned().unwrap_or_default() {
            self.forget(&mut hands, connection);
        }
    }

    fn forget(&mut self, hands: &mut Hands<'_>, connection: ConnectionId) {
        let Some(speaker) = self.speakers.remove(&connection) else { return };
        if let Some(at) = speaker.due_ms {
            self.due.remove(&(at, connection));
        }
        if self.by_peer.get(&speaker.peer) == Some(&connection) {
            self.by_peer.remove(&speaker.peer);
        }
        if self.by_device.get(&speaker.identity.device) == Some(&connection) {
            self.by_device.remove(&speaker.identity.device);
        }
        if let Some(of_address) = self.by_address.get_mut(&address(speaker.peer)) {
            of_address.retain(|other| *other != connection);
            if of_address.is_empty() {
                self.by_address.remove(&address(speaker.peer));
            }
        }
        for observer in speaker.observers {
            self.observers.remove(&observer.id);
            hands.endpoint.forget_observer(observer.id);
        }
        for (asked, ..) in speaker.held.into_iter().flatten() {
            hands.endpoint.respond(asked.exchange, unavailable(), hands.now_ms);
        }
        hands.out.wishes.push_back(Wish::Detach(connection));
    }
}

/// The id in the path of a request; `None` for what is of no device.
fn device_named(request: &Request) -> Option<&str> {
    let (first, id) = (request.path.first()?, request.path.get(1)?);
    (first == "devices").then_some(id)
}

/// Whether a device may ask this: it is about itself, or about nobody.
fn is_own(identity: &Identity, request: &Request) -> bool {
    device_named(request).is_none_or(|id| native::is_own(identity, id))
}

/// The address without its port, an IPv4 one as such.
fn address(place: SocketAddr) -> IpAddr {
    place.ip().to_canonical()
}

fn not_its_id() -> Response {
    Response::text(Code::FORBIDDEN, "the path has the id of another device than the key belongs to")
}

#[cfg(test)]
mod tests;
