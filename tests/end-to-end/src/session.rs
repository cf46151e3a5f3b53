//! A plain MQTT client with a session that is kept, 3.1.1 or 5.0, encoded by hand: it knows exactly what it was given.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection of a session that outlives it.
pub struct Session {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    is_v5: bool,
    /// Whether the hub still had the session.
    pub is_present: bool,
}

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its packet identifier; 0 for QoS 0.
    pub id: u16,
    /// Quality of service.
    pub qos: u8,
    /// What it says.
    pub payload: String,
}

impl Session {
    /// Connects to a session of an hour, or to a former one.
    pub fn connect(address: &str, is_v5: bool, client: &str, password: &str) -> io::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut body = Vec::new();
        string(&mut body, "MQTT");
        body.extend([if is_v5 { 5 } else { 4 }, 0b1100_0000, 0, 60]);
        if is_v5 {
            body.extend([5, 0x11, 0, 0, 14, 16]);
        }
        for text in [client, client, password] {
            string(&mut body, text);
        }
        let reader = BufReader::new(writer.try_clone()?);
        let mut session = Self { reader, writer, is_v5, is_present: false };
        session.send(0x10, &body)?;
        match session.packet()? {
            (0x20, answer) if answer.get(1) == Some(&0) => session.is_present = answer[0] == 1,
            (_, answer) => return Err(io::Error::other(format!("refused: {answer:?}"))),
        }
        Ok(session)
    }

    /// Subscribes to a filter and waits until it is granted.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        let mut body = vec![0, 1];
        body.extend(self.is_v5.then_some(0));
        string(&mut body, filter);
        body.push(qos);
        self.send(0x82, &body)?;
        match self.packet()? {
            (0x90, answer) if answer.last() == Some(&qos) => Ok(()),
            (kind, answer) => Err(io::Error::other(format!("not granted: {kind:#x} {answer:?}"))),
        }
    }

    /// Publishes with QoS 1, without waiting.
    pub fn publish(&mut self, topic: &str, id: u16, payload: &str, retain: bool) -> io::Result<()> {
        self.publish_as(0x32 | u8::from(retain), topic, id, payload)
    }

    /// Publishes with a first byte of the packet that says how.
    pub(crate) fn publish_as(&mut self, kind: u8, topic: &str, id: u16, payload: &str) -> io::Result<()> {
        let mut body = Vec::new();
        string(&mut body, topic);
        body.extend(id.to_be_bytes());
        body.extend(self.is_v5.then_some(0));
        body.extend(payload.as_bytes());
        self.send(kind, &body)
    }

    /// The packet identifier of the next PUBACK.
    pub fn acknowledged(&mut self) -> io::Result<u16> {
        match self.packet()? {
            (0x40, body) if body.len() == 2 => Ok(u16::from_be_bytes([body[0], body[1]])),
            (kind, body) => Err(io::Error::other(format!("no PUBACK but {kind:#x} {body:?}"))),
        }
    }

    /// The next message; it is not acknowledged.
    pub fn delivered(&mut self) -> io::Result<Delivered> {
        let (kind, body) = self.packet()?;
        match kind >> 4 {
            3 => Ok(self.read(kind, &body)),
            _ => Err(io::Error::other(format!("no PUBLISH but {kind:#x} {body:?}"))),
        }
    }

    /// What a PUBLISH says.
    pub(crate) fn read(&self, kind: u8, body: &[u8]) -> Delivered {
        let qos = kind >> 1 & 3;
        let mut rest = &body[2 + usize::from(u16::from_be_bytes([body[0], body[1]]))..];
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        if self.is_v5 {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        Delivered { id, qos, payload: String::from_utf8_lossy(rest).into_owned() }
    }

    /// Acknowledges a message of QoS 1.
    pub fn acknowledge(&mut self, id: u16) -> io::Result<()> {
        self.send(0x40, &id.to_be_bytes())
    }

    /// Asks whether the broker is there, and waits for its answer.
    pub fn ping(&mut self) -> io::Result<()> {
        self.send(0xc0, &[])?;
        match self.packet()? {
            (0xd0, _) => Ok(()),
            (kind, body) => Err(io::Error::other(format!("no PINGRESP but {kind:#x} {body:?}"))),
        }
    }

    /// Waits at most so long for an answer from now on.
    pub fn patience(&self, span: Duration) -> io::Result<()> {
        self.writer.set_read_timeout(Some(span))
    }

    pub(crate) fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![kind];
        let mut length = body.len();
        loop {
            let digit = u8::try_from(length % 128).map_err(io::Error::other)?;
            length /= 128;
            packet.push(if length > 0 { digit | 128 } else { digit });
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        self.writer.write_all(&packet)
    }

    pub(crate) fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0; 1];
        self.reader.read_exact(&mut byte)?;
        let kind = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.reader.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 128 || shift > 21 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    into.extend(text.as_bytes());
}
