//! MQTT-SN 1.2: the messages of MQTT for sensors, one in a datagram, with numbers in the place of topics. The sections
//! named here are those of "MQTT For Sensor Networks (MQTT-SN) Protocol Specification, Version 1.2".

use crate::DecodeError;

/// After so long a message that was not answered is sent again, in milliseconds (T_RETRY, section 7.2).
pub const RETRY_AFTER_MS: u64 = 10_000;
/// So often (N_RETRY, section 7.2).
pub const RETRIES_MAX: u32 = 4;
/// Largest message in bytes that is read or written.
pub const BYTES_MAX: usize = 1_400;

/// How a message was taken (section 5.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Well.
    Accepted,
    /// Not now; it may be tried again.
    Congestion,
    /// There is no topic of that number.
    InvalidTopic,
    /// Never.
    NotSupported,
}

impl Code {
    fn byte(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Congestion => 1,
            Self::InvalidTopic => 2,
            Self::NotSupported => 3,
        }
    }
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Accepted,
            1 => Self::Congestion,
            2 => Self::InvalidTopic,
            _ => Self::NotSupported,
        }
    }
}

/// What a number for a topic stands for (section 5.3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// A name, in SUBSCRIBE and UNSUBSCRIBE only.
    Name(String),
    /// A number that was registered.
    Id(u16),
    /// A number that is agreed on beforehand.
    Predefined(u16),
    /// Two letters that are the name.
    Short([u8; 2]),
}

/// A message (section 5.4). Those about wills and forwarding are not here: nobody sends them who was not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who is a gateway?
    SearchGw,
    /// This one.
    GwInfo {
        /// Its number.
        gateway: u8,
    },
    /// A client comes.
    Connect {
        /// Whether it has a will.
        will: bool,
        /// Whether what is known of it counts no more.
        clean: bool,
        /// How long it may be silent, in seconds; 0 for ever.
        duration_s: u16,
        /// What it calls itself.
        client_id: String,
    },
    /// What became of that.
    ConnAck(Code),
    /// A topic gets a number.
    Register {
        /// Which; 0 from a client.
        topic: u16,
        /// Of this message.
        message: u16,
        /// Its name.
        name: String,
    },
    /// What became of that.
    RegAck {
        /// Which number.
        topic: u16,
        /// Of the message.
        message: u16,
        /// How it was taken.
        code: Code,
    },
    /// Something is said.
    Publish {
        /// Whether it was sent before.
        dup: bool,
        /// 0 to 2; -1 is for clients without a connection.
        qos: i8,
        /// Whether it shall be kept.
        retain: bool,
        /// Of which topic.
        topic: Topic,
        /// Of this message; 0 for QoS 0 and -1.
        message: u16,
        /// What.
        data: Vec<u8>,
    },
    /// What became of that.
    PubAck {
        /// Of which topic.
        topic: u16,
        /// Of the message.
        message: u16,
        /// How it was taken.
        code: Code,
    },
    /// A client wants what is said of a topic.
    Subscribe {
        /// Whether it was sent before.
        dup: bool,
        /// 0 to 2.
        qos: i8,
        /// Of this message.
        message: u16,
        /// Which, perhaps with wildcards.
        topic: Topic,
    },
    /// What became of that.
    SubAck {
        /// How it is sent.
        qos: i8,
        /// The number of the topic; 0 if it has wildcards or was not taken.
        topic: u16,
        /// Of the message.
        message: u16,
        /// How it was taken.
        code: Code,
    },
    /// A client wants that no more.
    Unsubscribe {
        /// Of this message.
        message: u16,
        /// Which.
        topic: Topic,
    },
    /// That is so.
    UnsubAck {
        /// Of the message.
        message: u16,
    },
    /// A client is there; one that sleeps says who it is and wants what waits for it.
    PingReq {
        /// Who.
        client_id: Option<String>,
    },
    /// The answer, or that nothing more waits.
    PingResp,
    /// The end, or the beginning of a sleep.
    Disconnect {
        /// For how long, in seconds.
        duration_s: Option<u16>,
    },
}

/// Reads a datagram.
///
/// # Errors
/// If it is no message, or one that only a client of another kind sends.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let body = match bytes {
        [1, high, low, body @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == bytes.len() => body,
        [length, body @ ..] if *length != 1 && usize::from(*length) == bytes.len() => body,
        _ => return Err(wrong("the length of a message is that of its datagram")),
    };
    let [kind, body @ ..] = body else { return Err(wrong("a message has a type")) };
    message(*kind, body).ok_or_else(|| wrong("no message of MQTT-SN 1.2 that is known here has this form"))
}

fn message(kind: u8, body: &[u8]) -> Option<Message> {
    let two = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        text.map(str::to_owned)
    };
    Some(match (kind, body) {
        (0x01, [_]) => Message::SearchGw,
        (0x02, [gateway, ..]) => Message::GwInfo { gateway: *gateway },
        (0x04, [flags, 1, _, _, id @ ..]) if !id.is_empty() => Message::Connect {
            will: flags & 0x08 != 0,
            clean: flags & 0x04 != 0,
            duration_s: two(2)?,
            client_id: text(id)?,
        },
        (0x05, [code]) => Message::ConnAck(Code::of(*code)),
        (0x0a, [_, _, _, _, name @ ..]) if !name.is_empty() => {
            Message::Register { topic: two(0)?, message: two(2)?, name: text(name)? }
        }
        (0x0b, [_, _, _, _, code]) => {
            Message::RegAck { topic: two(0)?, message: two(2)?, code: Code::of(*code) }
        }
        (0x0c, [flags, high, low, _, _, data @ ..]) => Message::Publish {
            dup: flags & 0x80 != 0,
            qos: qos(*flags),
            retain: flags & 0x10 != 0,
            topic: match flags & 3 {
                0 => Topic::Id(two(1)?),
                1 => Topic::Predefined(two(1)?),
                2 => Topic::Short([*high, *low]),
                _ => return None,
            },
            message: two(3)?,
            data: data.to_vec(),
        },
        (0x0d, [_, _, _, _, code]) => {
            Message::PubAck { topic: two(0)?, message: two(2)?, code: Code::of(*code) }
        }
        (0x12, [flags, _, _, topic @ ..]) => Message::Subscribe {
            dup: flags & 0x80 != 0,
            qos: qos(*flags),
            message: two(1)?,
            topic: wanted(*flags, topic)?,
        },
        (0x13, [flags, _, _, _, _, code]) => {
            Message::SubAck { qos: qos(*flags), topic: two(1)?, message: two(3)?, code: Code::of(*code) }
        }
        (0x14, [flags, _, _, topic @ ..]) => {
            Message::Unsubscribe { message: two(1)?, topic: wanted(*flags, topic)? }
        }
        (0x15, [_, _]) => Message::UnsubAck { message: two(0)? },
        (0x16, []) => Message::PingReq { client_id: None },
        (0x16, id) => Message::PingReq { client_id: Some(text(id)?) },
        (0x17, []) => Message::PingResp,
        (0x18, []) => Message::Disconnect { duration_s: None },
        (0x18, [_, _]) => Message::Disconnect { duration_s: two(0) },
        _ => return None,
    })
}

/// What a SUBSCRIBE or UNSUBSCRIBE is about.
fn wanted(flags: u8, bytes: &[u8]) -> Option<Topic> {
    let text = || std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0'));
    match (flags & 3, bytes) {
        (0, _) => Some(Topic::Name(text()?.to_owned())),
        (1, [high, low]) => Some(Topic::Predefined(u16::from_be_bytes([*high, *low]))),
        (2, [high, low]) => Some(Topic::Short([*high, *low])),
        _ => None,
    }
}

fn qos(flags: u8) -> i8 {
    match flags >> 5 & 3 {
        3 => -1,
        qos => i8::try_from(qos).unwrap_or(0),
    }
}

fn wrong(sentence: &str) -> DecodeError {
    DecodeError(sentence.to_owned())
}

/// Writes a message.
///
/// # Errors
/// If it has more than [`BYTES_MAX`] bytes.
pub fn encode(message: &Message) -> Result<Vec<u8>, DecodeError> {
    let (kind, body) = parts(message);
    let length = body.len() + 2;
    if length + 2 > BYTES_MAX {
        return Err(wrong("a message has at most 1400 bytes"));
    }
    let mut bytes = match u8::try_from(length) {
        Ok(length) => vec![length],
        Err(_) => {
            let [high, low] = u16::try_from(length + 2).unwrap_or(u16::MAX).to_be_bytes();
            vec![1, high, low]
        }
    };
    bytes.push(kind);
    bytes.extend(body);
    Ok(bytes)
}

fn parts(message: &Message) -> (u8, Vec<u8>) {
    let join = |parts: &[&[u8]]| parts.concat();
    match message {
        Message::SearchGw => (0x01, vec![0]),
        Message::GwInfo { gateway } => (0x02, vec![*gateway]),
        Message::Connect { will, clean, duration_s, client_id } => {
            let flags = u8::from(*will) << 3 | u8::from(*clean) << 2;
            (0x04, join(&[&[flags, 1], &duration_s.to_be_bytes(), client_id.as_bytes()]))
        }
        Message::ConnAck(code) => (0x05, vec![code.byte()]),
        Message::Register { topic, message, name } => {
            (0x0a, join(&[&topic.to_be_bytes(), &message.to_be_bytes(), name.as_bytes()]))
        }
        Message::RegAck { topic, message, code } => {
            (0x0b, join(&[&topic.to_be_bytes(), &message.to_be_bytes(), &[code.byte()]]))
        }
        Message::Publish { dup, qos, retain, topic, message, data } => {
            let flags = u8::from(*dup) << 7 | qos_bits(*qos) | u8::from(*retain) << 4;
            let (kind, topic) = numbered(topic);
            (0x0c, join(&[&[flags | kind], &topic, &message.to_be_bytes(), data]))
        }
        Message::PubAck { topic, message, code } => {
            (0x0d, join(&[&topic.to_be_bytes(), &message.to_be_bytes(), &[code.byte()]]))
        }
        Message::Subscribe { dup, qos, message, topic } => {
            let (kind, topic) = numbered(topic);
            let flags = u8::from(*dup) << 7 | qos_bits(*qos) | kind;
            (0x12, join(&[&[flags], &message.to_be_bytes(), &topic]))
        }
        Message::SubAck { qos, topic, message, code } => {
            let numbers = [topic.to_be_bytes(), message.to_be_bytes()].concat();
            (0x13, join(&[&[qos_bits(*qos)], &numbers, &[code.byte()]]))
        }
        Message::Unsubscribe { message, topic } => {
            let (kind, topic) = numbered(topic);
            (0x14, join(&[&[kind], &message.to_be_bytes(), &topic]))
        }
        Message::UnsubAck { message } => (0x15, message.to_be_bytes().to_vec()),
        Message::PingReq { client_id } => (0x16, client_id.clone().unwrap_or_default().into_bytes()),
        Message::PingResp => (0x17, Vec::new()),
        Message::Disconnect { duration_s } => {
            (0x18, duration_s.map(|s| s.to_be_bytes().to_vec()).unwrap_or_default())
        }
    }
}

fn numbered(topic: &Topic) -> (u8, Vec<u8>) {
    match topic {
        Topic::Name(name) => (0, name.as_bytes().to_vec()),
        Topic::Id(id) => (0, id.to_be_bytes().to_vec()),
        Topic::Predefined(id) => (1, id.to_be_bytes().to_vec()),
        Topic::Short(letters) => (2, letters.to_vec()),
    }
}

fn qos_bits(qos: i8) -> u8 {
    match qos {
        1 => 1 << 5,
        2 => 2 << 5,
        -1 => 3 << 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte from section 5.4.
    #[test]
    fn messages_are_what_the_specification_says() {
        let connect =
            Message::Connect { will: false, clean: true, duration_s: 60, client_id: "mqtt-2".to_owned() };
        let register = Message::Register { topic: 0, message: 1, name: "node/check".to_owned() };
        let publish = Message::Publish {
            dup: true,
            qos: 1,
            retain: false,
            topic: Topic::Id(1),
            message: 2,
            data: b"{}".to_vec(),
        };
        let subscribe = Message::Subscribe {
            dup: false,
            qos: 1,
            message: 3,
            topic: Topic::Name("gateway/check".to_owned()),
        };
        let cases: [(Message, &[u8]); 12] = [
            (Message::SearchGw, &[3, 1, 0]),
            (Message::GwInfo { gateway: 1 }, &[3, 2, 1]),
            (connect, b"\x0c\x04\x04\x01\x00\x3cmqtt-2"),
            (Message::ConnAck(Code::NotSupported), &[3, 5, 3]),
            (register, b"\x10\x0a\x00\x00\x00\x01node/check"),
            (Message::RegAck { topic: 1, message: 1, code: Code::Accepted }, &[7, 11, 0, 1, 0, 1, 0]),
            (publish, b"\x09\x0c\xa0\x00\x01\x00\x02{}"),
            (Message::PubAck { topic: 1, message: 2, code: Code::Congestion }, &[7, 13, 0, 1, 0, 2, 1]),
            (subscribe, b"\x12\x12\x20\x00\x03gateway/check"),
            (
                Message::SubAck { qos: 1, topic: 4, message: 3, code: Code::Accepted },
                &[8, 19, 0x20, 0, 4, 0, 3, 0],
            ),
            (Message::PingReq { client_id: Some("a".to_owned()) }, b"\x03\x16a"),
            (Message::Disconnect { duration_s: Some(300) }, &[4, 24, 1, 44]),
        ];
        for (message, bytes) in cases {
            assert_eq!(encode(&message).as_deref(), Ok(bytes), "{message:?}");
            assert_eq!(decode(bytes), Ok(message));
        }
    }

    #[test]
    fn long_messages_have_a_long_length() {
        let data = vec![7; 400];
        let topic = Topic::Id(1);
        let publish = Message::Publish { dup: false, qos: 0, retain: false, topic, message: 0, data };
        let bytes = encode(&publish).expect("it fits");
        assert_eq!(bytes[..4], [1, 1, 153, 0x0c]);
        assert_eq!(decode(&bytes), Ok(publish));
        let data = vec![7; BYTES_MAX];
        let topic = Topic::Id(1);
        let large = Message::Publish { dup: false, qos: 0, retain: false, topic, message: 0, data };
        assert!(encode(&large).is_err());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let wrong: [&[u8]; 12] = [
            &[],
            &[0],
            &[1],
            &[1, 0],
            &[2],
            &[2, 0x7f],
            &[3, 5],
            &[5, 5, 0],
            &[6, 4, 4, 1, 0, 60],
            &[7, 4, 4, 2, 0, 60, 65],
            b"\x09\x0c\x03\x00\x01\x00\x02{}",
            &[7, 10, 0, 0, 0, 1, 0xff],
        ];
        for bytes in wrong {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
        for kind in 0..=255_u8 {
            for length in 2..=12_u8 {
                let mut bytes = vec![0; usize::from(length)];
                (bytes[0], bytes[1]) = (length, kind);
                // Whatever it is, it is an answer and not the end.
                let _ = decode(&bytes);
            }
        }
    }
}
