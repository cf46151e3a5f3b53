//! The properties of MQTT 5.0 (section 2.2.2), checked byte by byte before the packet library reads them: which may
//! be in which packet, how often, and that their values are what the specification demands.

use motehub_domain::topic::check_topic_name;

use super::wire::{Fault, reason};

/// Where properties are. Only packets of clients are here; there is no AUTH, so it is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// What the value of a property is.
enum Value {
    /// 0 or 1.
    Flag,
    /// A number of this many bytes.
    Number(usize),
    /// A number of this many bytes that is not 0.
    Positive(usize),
    /// A number of two bytes that is not 0, with its own reason code.
    Alias,
    VariableInteger,
    Text,
    Topic,
    Binary,
    Pair,
}

const MESSAGE: &[Place] = &[Place::Publish, Place::Will];
const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;

const MALFORMED: Fault = Fault(reason::MALFORMED, "the properties are malformed");
const MISPLACED: Fault = Fault(reason::MALFORMED, "a property does not belong in such a packet");
const TWICE: Fault = Fault(reason::PROTOCOL_ERROR, "a property is given twice");
const OUT_OF_RANGE: Fault = Fault(reason::PROTOCOL_ERROR, "the value of a property is not allowed");

/// What a property is and where it may be (table 2-4); `None` if clients have no such property.
fn rule(identifier: u8) -> Option<(Value, &'static [Place])> {
    let everywhere: &[Place] = &[
        Place::Connect,
        Place::Will,
        Place::Publish,
        Place::Acknowledgement,
        Place::Subscribe,
        Place::Unsubscribe,
        Place::Disconnect,
    ];
    Some(match identifier {
        0x01 => (Value::Flag, MESSAGE),
        0x02 => (Value::Number(4), MESSAGE),
        0x03 => (Value::Text, MESSAGE),
        0x08 => (Value::Topic, MESSAGE),
        0x09 => (Value::Binary, MESSAGE),
        // In a PUBLISH only servers give it; who reads the packet says so.
        SUBSCRIPTION_IDENTIFIER => (Value::VariableInteger, &[Place::Subscribe, Place::Publish]),
        0x11 => (Value::Number(4), &[Place::Connect, Place::Disconnect]),
        AUTHENTICATION_METHOD => (Value::Text, &[Place::Connect]),
        AUTHENTICATION_DATA => (Value::Binary, &[Place::Connect]),
        0x17 | 0x19 => (Value::Flag, &[Place::Connect]),
        0x18 => (Value::Number(4), &[Place::Will]),
        0x1f => (Value::Text, &[Place::Acknowledgement, Place::Disconnect]),
        0x21 => (Value::Positive(2), &[Place::Connect]),
        0x22 => (Value::Number(2), &[Place::Connect]),
        0x23 => (Value::Alias, &[Place::Publish]),
        USER_PROPERTY => (Value::Pair, everywhere),
        0x27 => (Value::Positive(4), &[Place::Connect]),
        _ => return None,
    })
}

/// Checks a property length and the properties behind it; returns how many bytes they have together.
pub(super) fn check(bytes: &[u8], place: Place) -> Result<usize, Fault> {
    let (length, used) = variable_integer(bytes)?;
    let end = used + length;
    let mut rest = bytes.get(used..end).ok_or(MALFORMED)?;
    let mut seen = 0u64;
    while let Some((identifier, after)) = rest.split_first() {
        let (value, places) = rule(*identifier).ok_or(MISPLACED)?;
        if !places.contains(&place) {
            return Err(MISPLACED);
        }
        // All identifiers are below 64.
        let bit = 1u64 << identifier;
        if seen & bit != 0 && *identifier != USER_PROPERTY {
            return Err(TWICE);
        }
        seen |= bit;
        rest = &after[value.check(after)?..];
    }
    if seen & (1 << AUTHENTICATION_DATA) != 0 && seen & (1 << AUTHENTICATION_METHOD) == 0 {
        return Err(Fault(reason::PROTOCOL_ERROR, "authentication data belong to a method"));
    }
    Ok(end)
}

/// Checks both places of a CONNECT that have properties; `body` begins with the protocol name.
pub(super) fn check_connect(body: &[u8]) -> Result<(), Fault> {
    /// Behind protocol name, version, flags and keep-alive.
    const PROPERTIES_AT: usize = 10;
    const FLAGS_AT: usize = 7;
    const WILL_FLAG: u8 = 4;
    let rest = body.get(PROPERTIES_AT..).ok_or(MALFORMED)?;
    let rest = &rest[check(rest, Place::Connect)?..];
    let client_id = lengthened(rest)?;
    if body[FLAGS_AT] & WILL_FLAG != 0 {
        check(&rest[2 + client_id.len()..], Place::Will)?;
    }
    Ok(())
}

impl Value {
    /// How many bytes the value at the start of `bytes` has.
    fn check(&self, bytes: &[u8]) -> Result<usize, Fault> {
        match *self {
            Value::Flag => match bytes.first().ok_or(MALFORMED)? {
                0 | 1 => Ok(1),
                _ => Err(OUT_OF_RANGE),
            },
            Value::Number(size) => bytes.get(..size).map(|_| size).ok_or(MALFORMED),
            Value::Positive(size) => {
                let value = bytes.get(..size).ok_or(MALFORMED)?;
                if value.iter().all(|byte| *byte == 0) { Err(OUT_OF_RANGE) } else { Ok(size) }
            }
            Value::Alias => match bytes.get(..2).ok_or(MALFORMED)? {
                [0, 0] => Err(Fault(reason::BAD_ALIAS, "0 is no topic alias")),
                _ => Ok(2),
            },
            Value::VariableInteger => match variable_integer(bytes)? {
                (0, _) => Err(OUT_OF_RANGE),
                (_, used) => Ok(used),
            },
            Value::Text => text(bytes).map(|text| 2 + text.len()),
            Value::Topic => {
                let topic = text(bytes)?;
                check_topic_name(topic).map_err(|_| OUT_OF_RANGE)?;
                Ok(2 + topic.len())
            }
            Value::Binary => lengthened(bytes).map(|binary| 2 + binary.len()),
            Value::Pair => {
                let key = 2 + text(bytes)?.len();
                Ok(key + 2 + text(&bytes[key..])?.len())
            }
        }
    }
}

/// Bytes with their length in two bytes before them.
fn lengthened(bytes: &[u8]) -> Result<&[u8], Fault> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(MALFORMED)?;
    rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(MALFORMED)
}

/// A UTF-8 string without U+0000 (section 1.5.4).
fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(lengthened(bytes)?).map_err(|_| MALFORMED)?;
    if text.contains('\0') { Err(MALFORMED) } else { Ok(text) }
}

/// A variable byte integer and its size: at most four bytes, and none too many (section 1.5.5).
fn variable_integer(bytes: &[u8]) -> Result<(usize, usize), Fault> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return if i > 0 && *byte == 0 { Err(MALFORMED) } else { Ok((value, i + 1)) };
        }
    }
    Err(MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_counted_and_what_is_not_is_named() {
        use Place::{Acknowledgement, Connect, Publish, Subscribe, Will};
        let cases: [(&[u8], Place, Result<usize, Fault>); 16] = [
            (&[0], Publish, Ok(1)),
            (&[2, 0x01, 1, 99], Publish, Ok(3)),
            (&[2, 0x01, 2], Publish, Err(OUT_OF_RANGE)),
            (&[4, 0x01, 1, 0x01, 1], Publish, Err(TWICE)),
            (&[3, 0x21, 0, 1], Publish, Err(MISPLACED)),
            (&[3, 0x21, 0, 0], Connect, Err(OUT_OF_RANGE)),
            (&[0x80, 0], Publish, Err(MALFORMED)),
            (&[0x83], Publish, Err(MALFORMED)),
            (&[3, 0x0b, 0x81, 0], Subscribe, Err(MALFORMED)),
            (&[2, 0x0b, 0], Subscribe, Err(OUT_OF_RANGE)),
            (&[14, 0x26, 0, 1, b'a', 0, 1, b'b', 0x26, 0, 1, b'a', 0, 1, b'b'], Will, Ok(15)),
            (&[7, 0x26, 0, 1, b'a', 0, 1, 0], Acknowledgement, Err(MALFORMED)),
            (&[7, 0x26, 0, 1, 0xff, 0, 1, b'b'], Acknowledgement, Err(MALFORMED)),
            (&[4, 0x08, 0, 1, b'#'], Publish, Err(OUT_OF_RANGE)),
            (&[2, 0x7e, 0], Publish, Err(MISPLACED)),
            (&[9, 0x01], Publish, Err(MALFORMED)),
        ];
        for (bytes, place, expected) in cases {
            assert_eq!(check(bytes, place), expected, "{bytes:x?} in {place:?}");
        }
    }
}
