//! MQTT 5.0 allows a password without a user name (section 3.1.2.9); the packet library does not. Such a CONNECT is
//! given an empty user name before it is parsed.

use std::borrow::Cow;

const USER_NAME_FLAG: u8 = 0x80;
const PASSWORD_FLAG: u8 = 0x40;
const WILL_FLAG: u8 = 0x04;
/// Where the flags are: behind the protocol name and the version.
const FLAGS_AT: usize = 7;
/// Where the properties begin: behind the flags and the keep-alive.
const PROPERTIES_AT: usize = 10;

/// The body of a CONNECT of MQTT 5.0, with a user name if it has a password. What is malformed is left as it is.
pub(super) fn with_user_name(body: &[u8]) -> Cow<'_, [u8]> {
    let flags = body.get(FLAGS_AT).copied().unwrap_or_default();
    if flags & (USER_NAME_FLAG | PASSWORD_FLAG) != PASSWORD_FLAG {
        return Cow::Borrowed(body);
    }
    let Some(place) = password_at(body, flags) else { return Cow::Borrowed(body) };
    let (before, password) = body.split_at(place);
    let mut named = [before, &[0, 0], password].concat();
    named[FLAGS_AT] |= USER_NAME_FLAG;
    Cow::Owned(named)
}

/// Behind the client identifier and the will.
fn password_at(body: &[u8], flags: u8) -> Option<usize> {
    let mut at = behind_text(body, behind_properties(body, PROPERTIES_AT)?)?;
    if flags & WILL_FLAG != 0 {
        let topic = behind_properties(body, at)?;
        at = behind_text(body, behind_text(body, topic)?)?;
    }
    Some(at)
}

fn behind_text(body: &[u8], at: usize) -> Option<usize> {
    let length = body.get(at..at + 2)?;
    let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    (end <= body.len()).then_some(end)
}

/// The length before properties is a variable byte integer of at most four bytes (section 1.5.5).
fn behind_properties(body: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    for (i, byte) in body.get(at..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let end = at + i + 1 + length;
            return (end <= body.len()).then_some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\x00\x04MQTT\x05";

    fn body(flags: u8, rest: &[u8]) -> Vec<u8> {
        [HEAD, &[flags], b"\x00\x3c", rest].concat()
    }

    #[test]
    fn a_password_alone_gets_an_empty_user_name() {
        let cases: [(u8, &[u8], &[u8]); 2] = [
            (0x42, b"\x00\x00\x01a\x00\x02pw", b"\x00\x00\x01a\x00\x00\x00\x02pw"),
            (
                0x46,
                b"\x03\x21\x00\x05\x00\x01a\x00\x00\x01t\x00\x01x\x00\x02pw",
                b"\x03\x21\x00\x05\x00\x01a\x00\x00\x01t\x00\x01x\x00\x00\x00\x02pw",
            ),
        ];
        for (flags, given, expected) in cases {
            assert_eq!(*with_user_name(&body(flags, given)), *body(flags | USER_NAME_FLAG, expected));
        }
    }

    #[test]
    fn everything_else_is_left_as_it_is() {
        let whole = body(0xc2, b"\x00\x00\x01a\x00\x01u\x00\x02pw");
        assert_eq!(*with_user_name(&whole), *whole);
        let alone = body(0x46, b"\x03\x21\x00\x05\x00\x01a\x00\x00\x01t\x00\x01x\x00\x02pw");
        for end in 0..alone.len() - 4 {
            assert_eq!(*with_user_name(&alone[..end]), alone[..end], "cut at {end}");
        }
        let endless = body(0x42, b"\xff\xff\xff\xff\xff");
        assert_eq!(*with_user_name(&endless), *endless);
    }
}
