//! Text frames become messages. Some devices send a message as one frame, some in many: each character or each word
//! in a frame of its own, and a lone line break behind the last. So the frames are one stream of characters.

use serde_json::Value;

use super::frame::Frame;
use crate::DecodeError;
use crate::payload::{self, Encoding};

/// Longest message, and most that is kept of one that is not complete, in bytes.
pub const BYTES_MAX: usize = 64 * 1024;

/// What of a message has arrived.
#[derive(Debug, Default)]
pub struct Buffer {
    text: String,
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl Buffer {
    /// Takes a frame. Returns the messages that are complete with it, and what in it is none.
    pub fn push(&mut self, frame: &str) -> Vec<Result<Frame, DecodeError>> {
        let mut read = Vec::new();
        if !self.text.is_empty() {
            let whole = whole(frame);
            if frame == "\n" || whole.is_some() {
                *self = Self::default();
                read.push(Err(DecodeError("a message was not completed before the next".to_owned())));
                if let Some(whole) = whole {
                    read.push(Ok(whole));
                }
                return read;
            }
        }
        let mut is_skipping = false;
        for character in frame.chars() {
            if self.text.is_empty() && character != '{' {
                if !character.is_whitespace() && !is_skipping {
                    read.push(Err(DecodeError(format!("a message begins with {{, not with {character:?}"))));
                    is_skipping = true;
                }
                continue;
            }
            is_skipping = false;
            self.text.push(character);
            if self.is_complete_with(character) {
                read.push(message(&std::mem::take(&mut self.text)));
            } else if self.text.len() > BYTES_MAX {
                *self = Self::default();
                read.push(Err(DecodeError(format!("a message has at most {BYTES_MAX} bytes"))));
                return read;
            }
        }
        read
    }

    fn is_complete_with(&mut self, character: char) -> bool {
        match character {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' if self.is_in_text => self.is_escaped = true,
            '"' => self.is_in_text = !self.is_in_text,
            _ if self.is_in_text => {}
            '{' => self.depth += 1,
            '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0 && !self.is_in_text
    }
}

/// A frame that is a whole message by itself. A piece of one may be an object too, but it is none of these.
fn whole(frame: &str) -> Option<Frame> {
    let value: Value = Some(frame).filter(|text| text.starts_with('{')).and_then(|text| parse(text).ok())?;
    let is_message =
        value.get("method").is_some() || (value.get("id").is_some() && value.get("result").is_some());
    Frame::read(value).ok().filter(|_| is_message)
}

fn message(text: &str) -> Result<Frame, DecodeError> {
    parse(text).and_then(Frame::read)
}

fn parse(text: &str) -> Result<Value, DecodeError> {
    payload::decode(Encoding::Json, "a message", text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"id":1,"result":{"a":"}{\"\\","b":[{}]}}"#;

    fn read(frames: &[&str]) -> Vec<String> {
        let mut buffer = Buffer::default();
        let read = frames.iter().flat_map(|frame| buffer.push(frame));
        let shown = |frame: Frame| match frame {
            Frame::Call { method, .. } => method,
            Frame::Answer { id, outcome } => format!("{id}={}", outcome.unwrap_or_default()),
        };
        read.map(|read| read.map_or_else(|error| format!("! {error}"), shown)).collect()
    }

    #[test]
    fn a_message_is_read_however_it_is_cut() {
        let expected = [r#"1={"a":"}{\"\\","b":[{}]}"#];
        assert_eq!(read(&[ANSWER]), expected);
        assert_eq!(read(&[&format!("{ANSWER}\n")]), expected);
        let characters: Vec<String> = ANSWER.chars().map(String::from).chain(["\n".to_owned()]).collect();
        assert_eq!(read(&characters.iter().map(String::as_str).collect::<Vec<_>>()), expected);
        assert_eq!(read(&[r#"{"id":1,"result":"#, r#"{"on":true}"#, "}", "\n"]), [r#"1={"on":true}"#]);
        assert_eq!(read(&["{\"method\":\"A\"}\n{\"method\":\"B\"}{\"method\":\"C\"}"]), ["A", "B", "C"]);
    }

    #[test]
    fn what_is_no_message_costs_only_itself() {
        let lost = "! a message was not completed before the next";
        assert_eq!(read(&["{\"id\":1,", "\n", r#"{"method":"A"}"#]), [lost, "A"]);
        assert_eq!(read(&["{\"id\":1,", r#"{"method":"A"}"#]), [lost, "A"]);
        assert_eq!(read(&["hello", r#"{"method":"A"}"#]), ["! a message begins with {, not with 'h'", "A"]);
        assert_eq!(read(&["{]}", r#"{"method":"A"}"#]).len(), 2);
    }

    #[test]
    fn a_message_without_end_is_given_up() {
        let mut buffer = Buffer::default();
        let piece = "\"x".repeat(1024);
        let mut refused = 0;
        for _ in 0..100 {
            refused += buffer.push(&format!("{{{piece}")).iter().filter(|read| read.is_err()).count();
            assert!(buffer.text.len() <= BYTES_MAX);
        }
        assert!(refused >= 1);
    }
}
