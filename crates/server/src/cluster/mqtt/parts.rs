//! What is too large for one message of the bus goes in parts, which are joined again. If one is lost, all of it is.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};

/// What stands before a part, besides the name of who says it.
const HEAD_BYTES: usize = 64;
/// Largest that is joined.
const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The parts of something that a node says, each no longer than `bytes_max`.
pub(super) fn split<'a>(
    node: &'a str,
    number: &mut u64,
    said: &'a Bytes,
    bytes_max: usize,
) -> impl Iterator<Item = Bytes> + 'a {
    *number += 1;
    let (number, room) = (*number, bytes_max.saturating_sub(HEAD_BYTES + node.len()).max(1));
    let count = said.len().div_ceil(room).max(1);
    (0..count).map(move |at| {
        let part = &said[at * room..said.len().min((at + 1) * room)];
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + node.len() + part.len());
        bytes.put_u8(u8::try_from(node.len()).unwrap_or(u8::MAX));
        bytes.put_slice(&node.as_bytes()[..node.len().min(usize::from(u8::MAX))]);
        bytes.put_u64(number);
        bytes.put_u32(at as u32);
        bytes.put_u32(count as u32);
        bytes.put_slice(part);
        bytes.freeze()
    })
}

/// What has come of each node.
#[derive(Default)]
pub(super) struct Joined(HashMap<Box<[u8]>, Joining>);

struct Joining {
    number: u64,
    next: u32,
    bytes: BytesMut,
}

impl Joined {
    /// The whole, if this was the last part of it.
    pub(super) fn take(&mut self, bytes: &Bytes) -> Option<Bytes> {
        let name_bytes = usize::from(*bytes.first()?);
        let (name, rest) = bytes.get(1..)?.split_at_checked(name_bytes)?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<4>()?;
        let (count, part) = rest.split_first_chunk::<4>()?;
        let number = u64::from_be_bytes(*number);
        let (at, count) = (u32::from_be_bytes(*at), u32::from_be_bytes(*count));
        if count == 1 {
            return Some(bytes.slice_ref(part));
        }
        if at == 0 {
            let joining = Joining { number, next: 0, bytes: BytesMut::new() };
            self.0.insert(name.into(), joining);
        }
        let joining = self.0.get_mut(name)?;
        let fits = joining.bytes.len() + part.len() <= JOINED_BYTES_MAX;
        if joining.number != number || joining.next != at || !fits {
            self.0.remove(name);
            return None;
        }
        joining.bytes.extend_from_slice(part);
        joining.next += 1;
        if joining.next < count {
            return None;
        }
        self.0.remove(name).map(|joining| joining.bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_unless_one_is_lost() {
        let said = Bytes::from(vec![7; 1_000]);
        let mut number = 0;
        let parts: Vec<Bytes> = split("a", &mut number, &said, 200).collect();
        assert!(parts.len() > 5 && parts.iter().all(|part| part.len() <= 200));
        let mut joined = Joined::default();
        let whole: Vec<Bytes> = parts.iter().filter_map(|part| joined.take(part)).collect();
        assert_eq!(whole.first(), Some(&said));
        assert_eq!(parts[1..].iter().find_map(|part| joined.take(part)), None, "the first was lost");
        let small: Vec<Bytes> = split("b", &mut number, &Bytes::from_static(b"x"), 200).collect();
        assert_eq!(joined.take(&small[0]), Some(Bytes::from_static(b"x")));
        for end in 0..small[0].len() - 1 {
            assert_eq!(joined.take(&small[0].slice(..end)), None);
        }
    }
}
