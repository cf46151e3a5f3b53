//! Plays `tests/transcripts/line/*.txt`: bytes from and to units, with the settings that an engineer gave.
//!
//! - `unit {…}` settings beside an address: another unit.
//! - `> bytes` the unit says; `\r`, `\n`, `\xNN` are bytes. What is behind `{x*1000}` is said so often.
//! - `= metric=value …` one reading, `= error: …` a frame that means nothing, `= too long`; in order, and nothing else.
//! - `want json` something is desired; `< bytes` the unit is told exactly this, or `! …` it is refused.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::Path;

use motehub_domain::line::Line;
use motehub_domain::message::Uplink;
use motehub_protocol::line::frames::{Cut, Frames};
use motehub_protocol::line::{Reader, told};
use serde_json::{Value, json};

struct Unit {
    line: Line,
    reader: Reader,
    frames: Frames,
    /// What was understood or is to be told, and not looked at yet.
    happened: Vec<String>,
}

impl Unit {
    fn new(settings: &str) -> Self {
        let mut all: Value = serde_json::from_str(settings).unwrap();
        all["address"] = json!("192.168.1.20:8888");
        let line = Line::from_json(&all).unwrap();
        let (reader, frames) = (Reader::new(&line).unwrap(), Frames::new(line.framing));
        Self { line, reader, frames, happened: Vec::new() }
    }

    fn says(&mut self, bytes: &[u8]) {
        for cut in self.frames.push(bytes) {
            let understood = match cut {
                Cut::TooLong => "= too long".to_owned(),
                Cut::Frame(frame) => match self.reader.read(&frame) {
                    Ok(said) => format!("= {}", points(&said.uplink)),
                    Err(error) => format!("= error: {error}"),
                },
            };
            self.happened.push(understood);
        }
    }

    fn wants(&mut self, desired: &str) {
        let desired = serde_json::from_str(desired).unwrap();
        self.happened.push(match told(&self.line, &desired) {
            Ok(bytes) => format!("< {}", bytes.escape_ascii()),
            Err(rejection) => format!("! {rejection}"),
        });
    }

    fn end(self) {
        assert!(self.happened.is_empty(), "nobody looked at {:?}", self.happened);
    }
}

fn points(uplink: &Uplink) -> String {
    let Uplink::Telemetry(points) = uplink else { panic!("{uplink:?}") };
    let words = points.iter().map(|point| format!("{}={}", point.metric.as_str(), point.value.to_json()));
    words.collect::<Vec<_>>().join(" ")
}

/// `\r`, `\n` and `\xNN` as bytes, `{7*3}` as `777`.
fn bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(sign) = rest.chars().next() {
        let behind = &rest[sign.len_utf8()..];
        rest = match sign {
            '\\' if behind.starts_with('x') => {
                bytes.push(u8::from_str_radix(&behind[1..3], 16).unwrap());
                &behind[3..]
            }
            '\\' => {
                bytes.push(if behind.starts_with('r') { b'\r' } else { b'\n' });
                &behind[1..]
            }
            '{' if behind.get(1..2) == Some("*") => {
                let (times, behind) = behind[2..].split_once('}').unwrap();
                bytes.extend(text_of(&rest[1..2]).repeat(times.parse().unwrap()));
                behind
            }
            _ => {
                bytes.extend(text_of(&rest[..sign.len_utf8()]));
                behind
            }
        };
    }
    bytes
}

fn text_of(text: &str) -> &[u8] {
    text.as_bytes()
}

fn play(transcript: &str) {
    let mut unit = Unit::new("{}");
    for (number, line) in transcript.lines().enumerate() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("" | "#", _) => {}
            ("unit", settings) => std::mem::replace(&mut unit, Unit::new(settings)).end(),
            (">", said) => unit.says(&bytes(said)),
            ("want", desired) => unit.wants(desired),
            ("=" | "<" | "!", _) => {
                assert!(!unit.happened.is_empty(), "line {}: nothing happened: {line}", number + 1);
                assert_eq!(unit.happened.remove(0), line, "line {}", number + 1);
            }
            (other, _) => panic!("line {}: {other:?} is no sign of transcripts", number + 1),
        }
    }
    unit.end();
}

#[test]
fn units_say_and_are_told_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/line");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "the transcripts are there");
    for file in files {
        println!("{}", file.display());
        play(&std::fs::read_to_string(file).unwrap());
    }
}
