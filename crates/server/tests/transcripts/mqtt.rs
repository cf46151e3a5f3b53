//! A client of MQTT 3.1.1 and 5.0, written by hand, so that nothing here shares a line with the broker. Packets are
//! one line of text each, as in the transcripts of the broker itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::Outcome;
use crate::http::{abort, connect};

/// A connection of a device.
pub(crate) struct Link {
    stream: Option<TcpStream>,
    is_v5: bool,
}

impl Link {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self { stream: Some(connect(address)), is_v5: false }
    }

    pub(crate) fn say(&mut self, text: &str) -> Outcome {
        let mut stream = self.stream.as_ref().ok_or("the cable is cut already")?;
        if text == "(cut)" {
            abort(stream);
            self.stream = None;
            return Ok(());
        }
        let line = Line::parse(text);
        if line.kind == "CONNECT" {
            self.is_v5 = line.get("v") == Some("5");
        }
        let bytes = encode(self.is_v5, &line)?;
        stream.write_all(&bytes).map_err(|error| format!("it could not be sent: {error}"))
    }

    /// Holds what is said next against what is expected; gives what stands at `…name`, with the name.
    pub(crate) fn expect(&mut self, expected: &str) -> Result<Option<(String, String)>, String> {
        if expected == "(nothing)" {
            self.say("PINGREQ")?;
        }
        let said = self.next()?;
        let wanted = match expected {
            "(nothing)" => "PINGRESP",
            "(closed)" => "",
            packet => packet,
        };
        let said = said.unwrap_or_default();
        // Reasons in words are compared only where the transcript gives them.
        let has_reason = wanted.contains('"') || said.starts_with("PUBLISH");
        let got = if has_reason { said.as_str() } else { said.split(" \"").next().unwrap_or_default() };
        let wrong = || format!("expected {expected}, got {said:?} (empty: closed)");
        match wanted.split_once('…') {
            None => {
                if got == wanted {
                    Ok(None)
                } else {
                    Err(wrong())
                }
            }
            Some((before, rest)) => {
                let (name, behind) = rest.split_at(rest.find('"').ok_or("a name ends with a quote")?);
                let found = got.strip_prefix(before).and_then(|text| text.strip_suffix(behind));
                found.map(|text| Some((name.to_owned(), text.to_owned()))).ok_or_else(wrong)
            }
        }
    }

    /// Whatever comes until the end, but for a good-bye.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(Some(packet)) = self.next() {
            rest.push(packet);
        }
        rest.retain(|packet| !packet.starts_with("DISCONNECT"));
        rest
    }

    /// The next packet; `None` if the connection ended.
    fn next(&mut self) -> Result<Option<String>, String> {
        let Some(stream) = self.stream.as_mut() else { return Ok(None) };
        let mut read = |length: usize| -> Result<Option<Vec<u8>>, String> {
            let mut bytes = vec![0; length];
            match stream.read_exact(&mut bytes) {
                Ok(()) => Ok(Some(bytes)),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                    Err("nothing was said".to_owned())
                }
                Err(_) => Ok(None),
            }
        };
        let Some(first) = read(1)? else { return Ok(None) };
        let (mut length, mut shift) = (0, 0);
        loop {
            let Some(byte) = read(1)? else { return Ok(None) };
            length |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        Ok(read(length)?.map(|body| decode(self.is_v5, first[0], &body)))
    }
}

/// A packet as text: its kind, its options, and the rest.
struct Line<'a> {
    kind: &'a str,
    options: Vec<(&'a str, &'a str)>,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let (kind, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut options = Vec::new();
        loop {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            match word.split_once('=') {
                Some((name, value)) if name.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    options.push((name, value));
                }
                None if matches!(word, "retain" | "dup") => options.push((word, "1")),
                _ => return Self { kind, options, rest },
            }
            rest = behind;
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str, default: u16) -> u16 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

fn encode(is_v5: bool, line: &Line<'_>) -> Result<Vec<u8>, String> {
    let no_properties: &[u8] = if is_v5 { &[0] } else { &[] };
    let id = line.number("id", 0).to_be_bytes();
    let mut body = Vec::new();
    let first = match line.kind {
        "CONNECT" => {
            let (user, password) = (line.get("user"), line.get("password"));
            let will = line.get("will").and_then(|will| will.split_once(':'));
            let flags = u8::from(line.number("clean", 1) == 1) << 1
                | u8::from(will.is_some()) << 2
                | u8::from(user.is_some()) << 7
                | u8::from(password.is_some()) << 6;
            body.extend([0, 4, b'M', b'Q', b'T', b'T', if is_v5 { 5 } else { 4 }, flags]);
            body.extend(line.number("keepalive", 120).to_be_bytes());
            body.extend(no_properties);
            put(&mut body, line.get("id").unwrap_or_default());
            if let Some((topic, message)) = will {
                body.extend(no_properties);
                [topic, message].into_iter().for_each(|field| put(&mut body, field));
            }
            [user, password].into_iter().flatten().for_each(|field| put(&mut body, field));
            0x10
        }
        "PUBLISH" => {
            let (topic, payload) = line.rest.split_once(' ').unwrap_or((line.rest, ""));
            let qos = line.number("qos", 0) as u8;
            put(&mut body, topic);
            body.extend(if qos > 0 { &id[..] } else { &[] });
            body.extend(no_properties);
            body.extend(payload.bytes());
            0x30 | (line.number("dup", 0) as u8) << 3 | qos << 1 | line.number("retain", 0) as u8
        }
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            body.extend(id);
            body.extend(no_properties);
            for wish in line.rest.split(' ') {
                let (filter, qos) = wish.split_once(':').unwrap_or((wish, "0"));
                put(&mut body, filter);
                if line.kind == "SUBSCRIBE" {
                    body.push(qos.parse().map_err(|_| "a QoS is a number")?);
                }
            }
            if line.kind == "SUBSCRIBE" { 0x82 } else { 0xa2 }
        }
        "PUBACK" => {
            body.extend(id);
            0x40
        }
        "PUBREL" => {
            body.extend(id);
            0x62
        }
        "PINGREQ" => 0xc0,
        "DISCONNECT" => 0xe0,
        other => return Err(format!("a client does not say {other}")),
    };
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 127 {
        bytes.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    Ok(bytes)
}

fn put(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.bytes());
}

fn decode(is_v5: bool, first: u8, body: &[u8]) -> String {
    let id = |at: usize| format!(" id={}", u16::from_be_bytes([body[at], body[at + 1]]));
    let code = |at: usize| match body.get(at) {
        None | Some(0) => String::new(),
        Some(code) => format!(" {code:#04x}"),
    };
    let why = |at: usize| body.get(at..).map_or(String::new(), reason);
    match first >> 4 {
        2 if !is_v5 && body[1] != 0 => format!("CONNACK {}", body[1]),
        2 => {
            let outcome = if body[1] == 0 { " ok".to_owned() } else { code(1) };
            let present = if body[0] & 1 == 1 { " present" } else { "" };
            format!("CONNACK{outcome}{present}{}", why(2))
        }
        3 => publish(is_v5, first, body),
        4 => format!("PUBACK{}{}{}", id(0), code(2), why(3)),
        5 => format!("PUBREC{}{}{}", id(0), code(2), why(3)),
        7 => format!("PUBCOMP{}{}", id(0), code(2)),
        9 => {
            let codes = if is_v5 { &body[3..] } else { &body[2..] };
            let codes = codes.iter().map(|c| if *c < 3 { format!(" {c}") } else { format!(" {c:#04x}") });
            format!("SUBACK{}{}", id(0), codes.collect::<String>())
        }
        11 => format!("UNSUBACK{}{}", id(0), code(3)),
        13 => "PINGRESP".to_owned(),
        14 => format!("DISCONNECT{}{}", code(0), why(1)),
        other => format!("a packet of type {other}"),
    }
}

fn publish(is_v5: bool, first: u8, body: &[u8]) -> String {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8_lossy(&body[2..2 + length]);
    let mut at = 2 + length;
    let mut text = "PUBLISH".to_owned();
    if first & 6 != 0 {
        text += &format!(" qos={} id={}", first >> 1 & 3, u16::from_be_bytes([body[at], body[at + 1]]));
        at += 2;
    }
    text += if first & 8 != 0 { " dup" } else { "" };
    text += if first & 1 != 0 { " retain" } else { "" };
    if is_v5 {
        at += 1 + usize::from(body[at]);
    }
    format!("{text} {topic} {}", String::from_utf8_lossy(&body[at..])).trim_end().to_owned()
}

/// The reason string among the properties, if there is one.
fn reason(properties: &[u8]) -> String {
    let Some((length, mut rest)) = properties.split_first() else { return String::new() };
    assert!(*length < 128, "long properties are not read here");
    let pair = |rest: &[u8], at: usize| 2 + usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
    while let Some((kind, value)) = rest.split_first() {
        let size = match kind {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x21..=0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            0x1f => return format!(" \"{}\"", String::from_utf8_lossy(&value[2..pair(value, 0)])),
            0x26 => pair(value, 0) + pair(value, pair(value, 0)),
            _ => pair(value, 0),
        };
        rest = &value[size..];
    }
    String::new()
}
