//! What comes from the socket of a unit, cut into frames. It holds at most one frame, whatever comes.

use motehub_domain::line::{End, EndIn, FRAME_BYTES_MAX, Framing};

/// Cuts a stream of bytes.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    held: Vec<u8>,
    /// Within a line that is too long: its end is waited for.
    is_skipping: bool,
    /// How many bytes of a frame that is too long are still to come.
    to_skip: u64,
}

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A frame, without what ends it.
    Frame(Vec<u8>),
    /// A frame that is longer than [`FRAME_BYTES_MAX`]: none of it is kept.
    TooLong,
}

impl Frames {
    /// Nothing came yet.
    pub fn new(framing: Framing) -> Self {
        Self { framing, held: Vec::new(), is_skipping: false, to_skip: 0 }
    }

    /// Bytes came.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        match self.framing {
            Framing::Lines(end, _) => bytes.iter().for_each(|byte| self.line(end, *byte, &mut cuts)),
            Framing::Length(size) => self.prefixed(usize::from(size), bytes, &mut cuts),
            Framing::Fixed(size) => {
                for byte in bytes {
                    self.held.push(*byte);
                    if self.held.len() == usize::from(size) {
                        cuts.push(Cut::Frame(std::mem::take(&mut self.held)));
                    }
                }
            }
        }
        cuts
    }

    /// The stream is over: a line without an end is one all the same.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        let held = std::mem::take(&mut self.held);
        let is_line = matches!(self.framing, Framing::Lines(..)) && !self.is_skipping;
        (is_line && !held.is_empty()).then_some(held)
    }

    fn line(&mut self, end: EndIn, byte: u8, cuts: &mut Vec<Cut>) {
        let is_end = match end {
            EndIn::Any => matches!(byte, b'\r' | b'\n'),
            EndIn::Only(End::Cr) => byte == b'\r',
            EndIn::Only(End::Lf) => byte == b'\n',
            EndIn::Only(End::CrLf) => byte == b'\n' && self.held.last() == Some(&b'\r'),
        };
        if is_end {
            if end == EndIn::Only(End::CrLf) {
                self.held.pop();
            }
            let line = std::mem::take(&mut self.held);
            // Of `\r\n` the second sign ends an empty line, which is nobody's reading.
            if !std::mem::take(&mut self.is_skipping) && !line.is_empty() {
                cuts.push(Cut::Frame(line));
            }
            return;
        }
        if self.held.len() > FRAME_BYTES_MAX {
            if !std::mem::replace(&mut self.is_skipping, true) {
                cuts.push(Cut::TooLong);
            }
            self.held.clear();
        }
        self.held.push(byte);
    }

    fn prefixed(&mut self, size: usize, mut bytes: &[u8], cuts: &mut Vec<Cut>) {
        while !bytes.is_empty() {
            if self.to_skip > 0 {
                let skipped = bytes.len().min(usize::try_from(self.to_skip).unwrap_or(usize::MAX));
                self.to_skip -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = match self.held.get(..size) {
                None => size,
                Some(prefix) => size + length(prefix),
            };
            let (some, rest) = bytes.split_at(bytes.len().min(wanted - self.held.len()));
            self.held.extend(some);
            bytes = rest;
            let Some(prefix) = self.held.get(..size) else { return };
            let length = length(prefix);
            if length > FRAME_BYTES_MAX {
                self.to_skip = length as u64;
                self.held.clear();
                cuts.push(Cut::TooLong);
            } else if self.held.len() == size + length {
                let frame = self.held.split_off(size);
                self.held.clear();
                cuts.push(Cut::Frame(frame));
            }
        }
    }
}

fn length(prefix: &[u8]) -> usize {
    prefix.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is cut, however the bytes come.
    fn cut(framing: Framing, bytes: &[u8]) -> (Vec<String>, Option<String>) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let of = |size: usize| {
            let mut frames = Frames::new(framing);
            let cuts: Vec<Cut> = bytes.chunks(size).flat_map(|some| frames.push(some)).collect();
            assert!(frames.held.capacity() <= 4 * FRAME_BYTES_MAX, "what is held is bounded");
            let named = cuts.into_iter().map(|cut| match cut {
                Cut::Frame(frame) => text(frame),
                Cut::TooLong => "too long".to_owned(),
            });
            (named.collect::<Vec<_>>(), frames.end().map(text))
        };
        let all = of(bytes.len().max(1));
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(of(size), all, "in pieces of {size}");
        }
        all
    }

    #[test]
    fn lines_end_as_it_is_set() {
        let lines = |end| Framing::Lines(end, End::Cr);
        let only = |end| lines(EndIn::Only(end));
        let cases = [
            (lines(EndIn::Any), "1\n2\r\n3\r4", vec!["1", "2", "3"], Some("4")),
            (only(End::Lf), "1\r2\n3", vec!["1\r2"], Some("3")),
            (only(End::Cr), "1\n2\r", vec!["1\n2"], None),
            (only(End::CrLf), "1\r2\n3\r\n\r\n4\r\n", vec!["1\r2\n3", "4"], None),
            (lines(EndIn::Any), "", vec![], None),
        ];
        for (framing, bytes, expected, rest) in cases {
            let (frames, end) = cut(framing, bytes.as_bytes());
            assert_eq!((frames, end.as_deref()), (expected.iter().map(ToString::to_string).collect(), rest));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_said_once_and_the_next_is_read() {
        let long = [b"7".repeat(10 * FRAME_BYTES_MAX), b"\n8\n".to_vec()].concat();
        let any = Framing::Lines(EndIn::Any, End::Cr);
        assert_eq!(cut(any, &long), (vec!["too long".to_owned(), "8".to_owned()], None));
        let just = [b"7".repeat(FRAME_BYTES_MAX), b"\n".to_vec()].concat();
        assert_eq!(cut(any, &just).0[0].len(), FRAME_BYTES_MAX);
        assert_eq!(cut(any, &long[..20_000]), (vec!["too long".to_owned()], None));
    }

    #[test]
    fn frames_with_their_length_in_front_and_of_one_size() {
        assert_eq!(cut(Framing::Length(1), b"\x01a\x00\x02bc\x05de"), (texts(&["a", "", "bc"]), None));
        assert_eq!(cut(Framing::Length(2), b"\x00\x01a\x00\x02bc"), (texts(&["a", "bc"]), None));
        let long = [b"\x13\x88".to_vec(), vec![b'x'; 5000], b"\x00\x01a".to_vec()].concat();
        assert_eq!(cut(Framing::Length(2), &long), (texts(&["too long", "a"]), None));
        assert_eq!(cut(Framing::Length(4), b"\xff\xff\xff\xffabc"), (texts(&["too long"]), None));
        assert_eq!(cut(Framing::Fixed(3), b"abcdefg"), (texts(&["abc", "def"]), None));
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }
}
