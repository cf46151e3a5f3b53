//! The values of the options Block1 and Block2 (RFC 7959): which block, whether more follow, and how large they are.

use super::message::{uint, uint_bytes};

/// The largest block of a datagram, as an exponent: 1024 bytes.
pub(super) const EXPONENT_MAX: u8 = 6;
/// How many blocks can be numbered.
const NUMBERS: u32 = 1 << 20;

/// A block of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Which, from 0.
    pub number: u32,
    /// Whether more follow.
    pub more: bool,
    /// Its size is 16 bytes, doubled so many times; at most 6.
    pub exponent: u8,
}

impl Block {
    /// The value of an option; `None` for the exponent that is reserved.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let value = uint(value);
        let exponent = u8::try_from(value & 7).unwrap_or(7);
        (exponent <= EXPONENT_MAX).then_some(Self { number: value >> 4, more: value & 8 != 0, exponent })
    }

    /// The value of the option; `None` if there are more blocks than can be numbered.
    pub(super) fn write(self) -> Option<Vec<u8>> {
        let value = self.number << 4 | u32::from(self.more) << 3 | u32::from(self.exponent);
        (self.number < NUMBERS).then(|| uint_bytes(value))
    }

    /// How many bytes a full block has.
    pub fn size(self) -> usize {
        16 << self.exponent
    }

    /// Where it begins in the body.
    pub fn offset(self) -> usize {
        self.number as usize * self.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_survives_its_option() {
        type Known = Option<(u32, bool, u8)>;
        let cases: [(&[u8], Known); 6] = [
            (b"", Some((0, false, 0))),
            (b"\x06", Some((0, false, 6))),
            (b"\x1e", Some((1, true, 6))),
            (b"\xff\xff\xf6", Some((0xf_ffff, false, 6))),
            (b"\x07", None),
            (b"\x17", None),
        ];
        for (bytes, expected) in cases {
            let block = Block::read(bytes);
            assert_eq!(block.map(|block| (block.number, block.more, block.exponent)), expected, "{bytes:?}");
            if let Some(block) = block {
                assert_eq!(block.write().as_deref(), Some(bytes));
            }
        }
        let beyond = Block { number: NUMBERS, more: false, exponent: 6 };
        assert_eq!(beyond.write(), None);
        assert_eq!(Block { number: 3, more: false, exponent: 2 }.offset(), 192);
    }
}
