//! What can be seen of a datagram before its session is asked: which kind of records it has, and who it says to be.

/// Longest identity that is taken, in bytes; those of our devices are shorter.
pub(super) const IDENTITY_BYTES_MAX: usize = 128;

const RECORD_HEAD: usize = 13;
const HANDSHAKE_HEAD: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// What a datagram is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A handshake begins, or goes on after the cookie.
    Hello {
        /// Tells beginnings apart.
        random: [u8; 32],
        /// Whether it is the first message, without a cookie.
        is_first: bool,
    },
    /// Something else of a handshake.
    Handshake,
    /// Something that was said under the keys of a session.
    Protected,
}

/// By its first record; `None` if that is none.
pub(super) fn shape(bytes: &[u8]) -> Option<Shape> {
    let record = records(bytes).next()?;
    match (record.kind, record.epoch) {
        (HANDSHAKE, 0) => match message(record.body) {
            Some((CLIENT_HELLO, number, body)) => {
                let random = body.get(2..34)?.try_into().ok()?;
                Some(Shape::Hello { random, is_first: number == 0 })
            }
            Some(_) | None => Some(Shape::Handshake),
        },
        // An end of the handshake that came before what it follows, or was sent again.
        (HANDSHAKE | 20, _) | (21, 0) => Some(Shape::Handshake),
        (21 | 23, 1..) => Some(Shape::Protected),
        _ => None,
    }
}

/// Whether a datagram of ours only asks the peer to return a cookie.
pub(super) fn is_cookie(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE) && bytes.get(RECORD_HEAD) == Some(&HELLO_VERIFY_REQUEST)
}

/// Who the peer says to be, if it does so here: in a ClientKeyExchange that is whole (RFC 4279, section 2). What is no
/// text or too long is nobody.
pub(super) fn identity(bytes: &[u8]) -> Option<String> {
    let plain = records(bytes).filter(|record| record.kind == HANDSHAKE && record.epoch == 0);
    let body = plain
        .filter_map(|record| message(record.body))
        .find_map(|(kind, _, body)| (kind == CLIENT_KEY_EXCHANGE).then_some(body))?;
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let identity = body.get(2..2 + length)?;
    let text = std::str::from_utf8(identity).ok().filter(|text| text.len() <= IDENTITY_BYTES_MAX);
    Some(text.unwrap_or_default().to_owned())
}

struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
}

fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = rest.get(..RECORD_HEAD)?;
        let length = usize::from(u16::from_be_bytes([head[11], head[12]]));
        let body = rest.get(RECORD_HEAD..RECORD_HEAD + length)?;
        let record = Record { kind: head[0], epoch: u16::from_be_bytes([head[3], head[4]]), body };
        rest = &rest[RECORD_HEAD + length..];
        Some(record)
    })
}

/// Kind, number and body of a handshake message; `None` if it came in pieces.
fn message(body: &[u8]) -> Option<(u8, u16, &[u8])> {
    let head = body.get(..HANDSHAKE_HEAD)?;
    let number = |from: usize| u32::from_be_bytes([0, head[from], head[from + 1], head[from + 2]]) as usize;
    let (whole, offset, length) = (number(1), number(6), number(9));
    let is_whole = offset == 0 && whole == length;
    let body = body.get(HANDSHAKE_HEAD..HANDSHAKE_HEAD + length).filter(|_| is_whole)?;
    Some((head[0], u16::from_be_bytes([head[4], head[5]]), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        let mut message = vec![kind, length[1], length[2], length[3], 0, 0, 0, 0, 0];
        message.extend(&length[1..]);
        message.extend(body);
        record(HANDSHAKE, 0, &message)
    }

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn a_datagram_is_told_by_its_first_record() {
        let hello = handshake(CLIENT_HELLO, &[7; 40]);
        assert_eq!(shape(&hello), Some(Shape::Hello { random: [7; 32], is_first: true }));
        assert_eq!(shape(&record(23, 1, b"said")), Some(Shape::Protected));
        assert_eq!(shape(&record(20, 0, b"\x01")), Some(Shape::Handshake));
        assert_eq!(shape(&record(HANDSHAKE, 1, b"finished")), Some(Shape::Handshake));
        for bad in [&b""[..], b"\x16", &record(99, 0, b"x"), &record(23, 0, b"plain"), &hello[..20]] {
            assert_eq!(shape(bad), None, "{bad:?}");
        }
        assert_eq!(shape(&handshake(CLIENT_HELLO, &[7; 20])), None, "too short for a random number");
    }

    #[test]
    fn an_identity_is_found_and_bounded() {
        let exchange = |identity: &[u8]| {
            let mut body = (identity.len() as u16).to_be_bytes().to_vec();
            body.extend(identity);
            handshake(CLIENT_KEY_EXCHANGE, &body)
        };
        let mut behind = record(20, 0, b"\x01");
        behind.extend(exchange(b"lamp-1"));
        assert_eq!(identity(&behind).as_deref(), Some("lamp-1"));
        for (bytes, what) in [
            (exchange(&[b'x'; IDENTITY_BYTES_MAX + 1]), "too long"),
            (exchange(&[b'x'; 60_000]), "much too long"),
            (exchange(b"\xff\xfe"), "no text"),
            (exchange(b""), "empty"),
        ] {
            assert_eq!(identity(&bytes).as_deref(), Some(""), "{what}");
        }
        let whole = exchange(b"lamp-1");
        for length in 0..whole.len() {
            assert_eq!(identity(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(identity(&handshake(CLIENT_KEY_EXCHANGE, b"\x00\x09lamp")), None, "longer than it is");
    }
}
