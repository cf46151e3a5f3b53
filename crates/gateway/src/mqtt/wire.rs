//! Bytes of the packets that come and go by the thousand: frames, PUBLISH and its acknowledgements. They are read
//! and written here without copies; all other packets go through `mqtt-protocol-core` (see `reply`).

use motehub_domain::kept::Message;
use mqtt_protocol_core::mqtt::packet::{Properties, PropertiesParse};

use super::message::Attributes;
use super::properties::{self, Place};
use super::{Millis, Version};

/// Packet types (MQTT 5.0 section 2.1.2).
pub(super) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

/// Reason codes that we send (MQTT 5.0 section 2.4).
pub(super) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const WITH_WILL: u8 = 0x04;
    pub(crate) const NO_SUBSCRIPTION: u8 = 0x11;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_VERSION: u8 = 0x84;
    pub(crate) const BAD_CLIENT_ID: u8 = 0x85;
    pub(crate) const BAD_CREDENTIALS: u8 = 0x86;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const UNAVAILABLE: u8 = 0x88;
    pub(crate) const SHUTTING_DOWN: u8 = 0x8b;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
    pub(crate) const KEEP_ALIVE: u8 = 0x8d;
    pub(crate) const TAKEN_OVER: u8 = 0x8e;
    pub(crate) const BAD_FILTER: u8 = 0x8f;
    pub(crate) const BAD_TOPIC: u8 = 0x90;
    pub(crate) const UNKNOWN_PACKET_ID: u8 = 0x92;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x93;
    pub(crate) const BAD_ALIAS: u8 = 0x94;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA: u8 = 0x97;
    pub(crate) const ADMINISTRATIVE: u8 = 0x98;
    pub(crate) const BAD_PAYLOAD: u8 = 0x99;
    pub(crate) const CONNECTION_RATE: u8 = 0x9f;
}

/// One whole packet in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its type.
    pub kind: u8,
    /// The flags of its fixed header.
    pub flags: u8,
    /// Where its body begins.
    pub body: usize,
    /// Where it ends.
    pub end: usize,
}

impl Frame {
    /// Whether its length was given in more bytes than needed, which 5.0 does not allow (section 1.5.5).
    pub(super) fn is_padded(&self) -> bool {
        self.body - 1 > varint_size(self.end - self.body)
    }
}

/// Why a packet cannot be taken: a reason code and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(pub u8, pub &'static str);

/// Finds the first packet; `None` if it is not there in full yet. The claimed length is judged before a byte of
/// the body has to be there.
pub(super) fn frame(bytes: &[u8], bytes_max: usize) -> Result<Option<Frame>, Fault> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let mut length = 0usize;
    for i in 0..4 {
        let Some(byte) = bytes.get(1 + i) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let (body, end) = (2 + i, 2 + i + length);
            if end > bytes_max {
                return Err(Fault(reason::PACKET_TOO_LARGE, "the packet is too large"));
            }
            let frame = Frame { kind: first >> 4, flags: first & 0x0f, body, end };
            return Ok((bytes.len() >= end).then_some(frame));
        }
    }
    Err(Fault(reason::MALFORMED, "a length has at most four bytes"))
}

/// Whether the flags of a fixed header are those that the type demands (section 2.1.3).
pub(super) fn flags_are_right(frame: &Frame) -> bool {
    match frame.kind {
        kind::PUBLISH => {
            let qos = frame.flags >> 1 & 3;
            qos != 3 && (qos != 0 || frame.flags & 8 == 0)
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => frame.flags == 2,
        _ => frame.flags == 0,
    }
}

/// A PUBLISH as it lies in the buffer.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    /// Empty if an alias stands for it.
    pub topic: &'a str,
    /// `None` for QoS 0, never 0.
    pub packet_id: Option<u16>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub payload: &'a [u8],
    pub attributes: Attributes,
}

/// Reads the body of a PUBLISH whose flags are right.
pub(super) fn publish(version: Version, flags: u8, body: &[u8]) -> Result<Publish<'_>, Fault> {
    const SHORT: Fault = Fault(reason::MALFORMED, "the PUBLISH ends too early");
    let (length, rest) = body.split_first_chunk::<2>().ok_or(SHORT)?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(SHORT)?;
    let topic = std::str::from_utf8(topic).map_err(|_| Fault(reason::MALFORMED, "a topic is UTF-8"))?;
    let qos = flags >> 1 & 3;
    let mut packet_id = None;
    if qos > 0 {
        let (id, after) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        if *id == [0, 0] {
            return Err(Fault(reason::PROTOCOL_ERROR, "0 is no packet identifier"));
        }
        packet_id = Some(u16::from_be_bytes(*id));
        rest = after;
    }
    let attributes = match version {
        Version::V3 => Attributes::default(),
        Version::V5 => {
            let (attributes, after) = publish_attributes(rest)?;
            rest = after;
            attributes
        }
    };
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    Ok(Publish { topic, packet_id, qos, dup, retain, payload: rest, attributes })
}

fn publish_attributes(bytes: &[u8]) -> Result<(Attributes, &[u8]), Fault> {
    const BAD: Fault = Fault(reason::MALFORMED, "the properties of the PUBLISH are malformed");
    if let Some((0, rest)) = bytes.split_first() {
        return Ok((Attributes::default(), rest));
    }
    properties::check(bytes, Place::Publish)?;
    let (properties, length) = Properties::parse(bytes).map_err(|_| BAD)?;
    let rest = bytes.get(length..).ok_or(BAD)?;
    let attributes = Attributes::of(&properties);
    if attributes.has_subscription_id {
        return Err(Fault(reason::PROTOCOL_ERROR, "a client gives no subscription identifier in a PUBLISH"));
    }
    Ok((attributes, rest))
}

/// The packet identifier at the start of an acknowledgement, and its reason code.
pub(super) fn acknowledgement(version: Version, body: &[u8]) -> Result<(u16, u8), Fault> {
    const BAD: Fault = Fault(reason::MALFORMED, "the acknowledgement is malformed");
    let (id, rest) = body.split_first_chunk::<2>().ok_or(BAD)?;
    let packet_id = u16::from_be_bytes(*id);
    match (version, rest) {
        (_, []) => Ok((packet_id, reason::SUCCESS)),
        (Version::V3, _) => Err(BAD),
        (Version::V5, [code]) => Ok((packet_id, *code)),
        (Version::V5, [code, properties @ ..]) => {
            let length = properties::check(properties, Place::Acknowledgement)?;
            if length == properties.len() { Ok((packet_id, *code)) } else { Err(BAD) }
        }
    }
}

/// Writes PUBACK, PUBREC, PUBREL or PUBCOMP; the reason is left out where it is success or the version has none.
pub(super) fn put_acknowledgement(
    buffer: &mut Vec<u8>,
    version: Version,
    kind: u8,
    packet_id: u16,
    code: u8,
    why: &str,
) {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    if version == Version::V3 || code == reason::SUCCESS && why.is_empty() {
        buffer.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
    } else if why.is_empty() {
        buffer.extend_from_slice(&[kind << 4 | flags, 3, high, low, code]);
    } else {
        let why = shortened(why);
        let properties = 3 + why.len();
        buffer.push(kind << 4 | flags);
        put_varint(buffer, 3 + varint_size(properties) + properties);
        buffer.extend_from_slice(&[high, low, code]);
        put_varint(buffer, properties);
        buffer.push(0x1f);
        put_text(buffer, why);
    }
}

/// Longest reason string, in bytes.
const REASON_BYTES_MAX: usize = 200;

fn shortened(why: &str) -> &str {
    let mut end = why.len().min(REASON_BYTES_MAX);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    &why[..end]
}

/// How large the SUBACK or UNSUBACK of a 5.0 client is that has this many filters.
pub(super) fn grant_bytes(filters: usize) -> usize {
    let body = 3 + filters;
    1 + varint_size(body) + body
}

/// How a message is sent to one subscriber.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending<'a> {
    pub version: Version,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// Only for QoS 1 and 2.
    pub packet_id: u16,
    /// The topic alias; 0 for none.
    pub alias: u16,
    /// The client knows the alias, so the topic is left out.
    pub alias_is_known: bool,
    /// Identifiers of the subscriptions that match.
    pub subscription_ids: &'a [u32],
    pub now: Millis,
}

impl Sending<'_> {
    fn property_bytes(&self, message: &Message) -> usize {
        let expiry = if message.expires_at.is_some() { 5 } else { 0 };
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + varint_size(*id as usize)).sum();
        let alias = if self.alias > 0 { 3 } else { 0 };
        message.properties.len() + expiry + alias + ids
    }

    fn body_bytes(&self, message: &Message) -> usize {
        let id = if self.qos > 0 { 2 } else { 0 };
        let properties = match self.version {
            Version::V3 => 0,
            Version::V5 => {
                let bytes = self.property_bytes(message);
                varint_size(bytes) + bytes
            }
        };
        2 + self.topic(message).len() + id + properties + message.payload.len()
    }

    fn topic<'m>(&self, message: &'m Message) -> &'m str {
        if self.alias_is_known { "" } else { &message.topic }
    }

    /// How large the packet will be.
    pub(super) fn packet_bytes(&self, message: &Message) -> usize {
        let body = self.body_bytes(message);
        1 + varint_size(body) + body
    }

    /// Writes the PUBLISH.
    pub(super) fn put(&self, buffer: &mut Vec<u8>, message: &Message) {
        let body = self.body_bytes(message);
        buffer.reserve(5 + body);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        buffer.push(kind::PUBLISH << 4 | flags);
        put_varint(buffer, body);
        put_text(buffer, self.topic(message));
        if self.qos > 0 {
            buffer.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        if self.version == Version::V5 {
            put_varint(buffer, self.property_bytes(message));
            if let Some(left_s) = message.expiry_left_s(self.now) {
                buffer.push(0x02);
                buffer.extend_from_slice(&left_s.to_be_bytes());
            }
            if self.alias > 0 {
                buffer.push(0x23);
                buffer.extend_from_slice(&self.alias.to_be_bytes());
            }
            buffer.extend_from_slice(&message.properties);
            for id in self.subscription_ids {
                buffer.push(0x0b);
                put_varint(buffer, *id as usize);
            }
        }
        buffer.extend_from_slice(&message.payload);
    }
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("because topics and reasons are limited far below 64 KiB");
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

fn varint_size(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

fn put_varint(buffer: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        buffer.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}
