//! MQTT 3.1.1 and 5.0 for clients that are no sessions of the broker: the same bytes, and nothing that is kept.

use super::reply::{self, Welcome};
use super::wire::{self, Fault, Sending, kind, reason};
use super::{Limits, Message, Version, lone_password};

/// Largest packet in bytes.
const PACKET_BYTES_MAX: usize = 16 * 1024;

/// A packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// It wants to be let in. Whatever it shows is not looked at.
    Connect {
        /// How long it may be silent, in seconds; 0 for ever.
        keep_alive_s: u16,
    },
    /// It says something.
    Publish {
        topic: String,
        payload: Vec<u8>,
        /// 0 to 2.
        qos: u8,
        /// 0 without quality of service.
        packet_id: u16,
    },
    /// It gives up a message of QoS 2.
    Release(u16),
    /// It wants to hear of these, with that quality of service.
    Subscribe { packet_id: u16, filters: Vec<(String, u8)> },
    /// Not any more.
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    /// It is there.
    Ping,
    /// It goes.
    Disconnect,
    /// It has what it was sent.
    Acknowledged,
}

/// The packets of one connection.
pub(crate) struct Packets {
    version: Version,
    held: Vec<u8>,
    is_open: bool,
    last_id: u16,
}

/// Why a connection ends, as its client is told it.
pub(crate) struct Broken(pub(crate) Vec<u8>);

impl Packets {
    pub(crate) fn new() -> Self {
        Self { version: Version::V3, held: Vec::new(), is_open: false, last_id: 0 }
    }

    /// Bytes came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next packet, if it is there in full.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, Broken> {
        let Some(frame) = wire::frame(&self.held, PACKET_BYTES_MAX).map_err(|fault| self.broken(fault))?
        else {
            return Ok(None);
        };
        let rest = self.held.split_off(frame.end);
        let packet = std::mem::replace(&mut self.held, rest);
        let body = &packet[frame.body..];
        if !wire::flags_are_right(&frame) {
            return Err(self.broken(Fault(reason::MALFORMED, "the flags of the packet are wrong")));
        }
        let read = match (self.is_open, frame.kind) {
            (false, kind::CONNECT) => return self.connect(body).map(Some),
            (false, _) => Err(Fault(reason::PROTOCOL_ERROR, "the first packet is a CONNECT")),
            (true, kind) => self.read(kind, frame.flags, body),
        };
        read.map(Some).map_err(|fault| self.broken(fault))
    }

    fn connect(&mut self, body: &[u8]) -> Result<Packet, Broken> {
        let refused = |version, code| Broken(reply::unwelcome(version, code, ""));
        match reply::version_of(body) {
            Ok(Some(version)) => self.version = version,
            Ok(None) => return Err(refused(Version::V3, reason::UNSUPPORTED_VERSION)),
            Err(_) => return Err(Broken(Vec::new())),
        }
        let version = self.version;
        let body = match version {
            Version::V5 => lone_password::with_user_name(body),
            Version::V3 => body.into(),
        };
        let connect = reply::connect(version, &body).map_err(|Fault(code, _)| refused(version, code))?;
        self.is_open = true;
        Ok(Packet::Connect { keep_alive_s: connect.keep_alive_s })
    }

    fn read(&self, kind: u8, flags: u8, body: &[u8]) -> Result<Packet, Fault> {
        let version = self.version;
        Ok(match kind {
            kind::PUBLISH => {
                let publish = wire::publish(version, flags, body)?;
                if publish.topic.is_empty() || publish.attributes.alias.is_some() {
                    return Err(Fault(reason::PROTOCOL_ERROR, "there are no topic aliases here"));
                }
                Packet::Publish {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    packet_id: publish.packet_id.unwrap_or(0),
                }
            }
            kind::PUBREL => Packet::Release(wire::acknowledgement(version, body)?.0),
            kind::PUBACK => Packet::Acknowledged,
            kind::SUBSCRIBE => {
                let subscribe = reply::subscribe(version, body)?;
                let filters = subscribe.wishes.into_iter().map(|wish| (wish.filter, wish.qos)).collect();
                Packet::Subscribe { packet_id: subscribe.packet_id, filters }
            }
            kind::UNSUBSCRIBE => {
                let (packet_id, filters) = reply::unsubscribe(version, body)?;
                Packet::Unsubscribe { packet_id, filters }
            }
            kind::PINGREQ => Packet::Ping,
            kind::DISCONNECT => Packet::Disconnect,
            _ => return Err(Fault(reason::PROTOCOL_ERROR, "nodes send no such packets")),
        })
    }

    fn broken(&self, Fault(code, why): Fault) -> Broken {
        Broken(if self.is_open { reply::disconnect(self.version, code, why) } else { Vec::new() })
    }

    /// It is let in.
    pub(crate) fn welcome(&self) -> Vec<u8> {
        let limits = Limits { topic_alias_max: 0, packet_bytes_max: PACKET_BYTES_MAX, ..Limits::default() };
        let welcome = Welcome {
            version: self.version,
            session_present: false,
            assigned_client_id: Some("node").filter(|_| self.version == Version::V5),
            session_expiry_s: Some(0).filter(|_| self.version == Version::V5),
            keep_alive_s: None,
        };
        reply::welcome(&welcome, &limits)
    }

    /// Its message was taken, or why it is not; 3.1.1 has no word for that.
    pub(crate) fn acknowledged(&self, qos: u8, packet_id: u16, why: Option<&str>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let kind = if qos == 2 { kind::PUBREC } else { kind::PUBACK };
        let code = if why.is_some() { reason::BAD_PAYLOAD } else { reason::SUCCESS };
        wire::put_acknowledgement(&mut bytes, self.version, kind, packet_id, code, why.unwrap_or_default());
        bytes
    }

    /// The end of a message of QoS 2.
    pub(crate) fn completed(&self, packet_id: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::put_acknowledgement(&mut bytes, self.version, kind::PUBCOMP, packet_id, reason::SUCCESS, "");
        bytes
    }

    /// With which quality of service each is heard; `None` for those that are not.
    pub(crate) fn subscribed(&self, packet_id: u16, granted: &[Option<u8>]) -> Vec<u8> {
        let refused = if self.version == Version::V5 { reason::NOT_AUTHORIZED } else { 0x80 };
        let codes: Vec<u8> = granted.iter().map(|qos| qos.unwrap_or(refused)).collect();
        reply::subscribed(self.version, packet_id, &codes)
    }

    /// These are heard no more.
    pub(crate) fn unsubscribed(&self, packet_id: u16, count: usize) -> Vec<u8> {
        reply::unsubscribed(self.version, packet_id, &vec![reason::SUCCESS; count])
    }

    /// The answer to a ping.
    pub(crate) fn pong(&self) -> Vec<u8> {
        vec![0xd0, 0]
    }

    /// Something for it. A lost connection loses it: what still counts is said again.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Vec<u8> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let message = Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: qos.min(1),
            retain: false,
            properties: [].into(),
            expires_at: None,
        };
        let sending = Sending {
            version: self.version,
            qos: qos.min(1),
            retain: false,
            dup: false,
            packet_id: self.last_id,
            alias: 0,
            alias_is_known: false,
            subscription_ids: &[],
            now: 0,
        };
        let mut bytes = Vec::new();
        sending.put(&mut bytes, &message);
        bytes
    }

    /// We end it.
    pub(crate) fn farewell(&self, why: &str) -> Vec<u8> {
        let is_told = self.is_open;
        if is_told { reply::disconnect(self.version, reason::ADMINISTRATIVE, why) } else { Vec::new() }
    }
}
