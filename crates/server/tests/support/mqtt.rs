//! A hand-written MQTT 3.1.1 client that publishes with QoS 1 and waits for each PUBACK.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Hub;

/// A connected device.
pub(crate) struct Publisher {
    stream: TcpStream,
    next_id: u16,
    /// What came while an acknowledgement was waited for.
    came: VecDeque<(String, Vec<u8>)>,
}

impl Publisher {
    /// Connects; the error is the return code of the CONNACK, or that there was none.
    pub(crate) async fn connect(hub: &Hub, user: &str, password: &str) -> io::Result<Self> {
        Self::greet(TcpStream::connect(hub.mqtt).await?, 0b1100_0010, user, password).await
    }

    /// Connects to another broker than that of the hub.
    pub(crate) async fn connect_at(at: SocketAddr, user: &str, password: &str) -> io::Result<Self> {
        Self::greet(TcpStream::connect(at).await?, 0b1100_0010, user, password).await
    }

    /// Connects to a session that outlives the connection.
    pub(crate) async fn connect_kept(hub: &Hub, user: &str, password: &str) -> io::Result<Self> {
        Self::greet(TcpStream::connect(hub.mqtt).await?, 0b1100_0000, user, password).await
    }

    /// Connects from 127.0.0.`from`.
    pub(crate) async fn connect_from(hub: &Hub, from: u8, user: &str, password: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, from], 0).into())?;
        Self::greet(socket.connect(hub.mqtt).await?, 0b1100_0010, user, password).await
    }

    async fn greet(stream: TcpStream, flags: u8, user: &str, password: &str) -> io::Result<Self> {
        let mut body = Vec::new();
        string(&mut body, "MQTT");
        body.extend([4, flags, 0, 60]);
        for text in [user, user, password] {
            string(&mut body, text);
        }
        let mut publisher = Self { stream, next_id: 1, came: VecDeque::new() };
        publisher.write(0x10, &body).await?;
        match publisher.packet().await? {
            (0x20, answer) if matches!(answer[..], [0 | 1, 0]) => Ok(publisher),
            (_, answer) => Err(io::Error::other(format!("refused: {answer:?}"))),
        }
    }

    /// Subscribes with QoS 1.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut body = 1u16.to_be_bytes().to_vec();
        string(&mut body, filter);
        body.push(1);
        self.write(0x82, &body).await?;
        loop {
            match self.packet().await? {
                (0x90, answer) if answer == [0, 1, 1] => return Ok(()),
                // What is heard by it may come before it is acknowledged.
                (kind, body) if is_message(kind) => self.came.push_back(message(kind, &body)?),
                (kind, body) => return Err(io::Error::other(format!("no SUBACK but {kind:#x} {body:?}"))),
            }
        }
    }

    /// The topic and the payload of the next message; it is not acknowledged.
    pub(crate) async fn next_message(&mut self) -> io::Result<(String, Vec<u8>)> {
        if let Some(message) = self.came.pop_front() {
            return Ok(message);
        }
        match self.packet().await? {
            (kind, body) if is_message(kind) => message(kind, &body),
            (kind, body) => Err(io::Error::other(format!("no PUBLISH but {kind:#x} {body:?}"))),
        }
    }

    /// Asks so often in one breath, and gives the payloads of as many answers.
    pub(crate) async fn ask_at_once(&mut self, topic: &str, count: usize) -> io::Result<Vec<Value>> {
        let mut body = Vec::new();
        string(&mut body, topic);
        self.stream.write_all(&packet(0x30, &body)?.repeat(count)).await?;
        let mut answers = Vec::with_capacity(count);
        while answers.len() < count {
            let (kind, body) = self.packet().await?;
            let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let payload = &body[end + if kind & 0x06 == 0 { 0 } else { 2 }..];
            answers.push(serde_json::from_slice(payload).map_err(io::Error::other)?);
        }
        Ok(answers)
    }

    /// Publishes and waits for the acknowledgement; an error if the connection ends instead.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let mut body = Vec::new();
        string(&mut body, topic);
        body.extend(id.to_be_bytes());
        body.extend(payload);
        self.write(0x32, &body).await?;
        loop {
            match self.packet().await? {
                (0x40, answer) if answer == id.to_be_bytes() => return Ok(()),
                (kind, body) if is_message(kind) => self.came.push_back(message(kind, &body)?),
                (kind, body) => return Err(io::Error::other(format!("no PUBACK but {kind:#x} {body:?}"))),
            }
        }
    }

    /// Publishes all in one breath, and waits for as many acknowledgements.
    pub(crate) async fn publish_all(&mut self, topic: &str, payloads: &[String]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let mut body = Vec::new();
            string(&mut body, topic);
            body.extend(self.next_id.to_be_bytes());
            body.extend(payload.as_bytes());
            bytes.extend(packet(0x32, &body)?);
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        self.stream.write_all(&bytes).await?;
        for _ in payloads {
            match self.packet().await? {
                (0x40, _) => {}
                (kind, body) => return Err(io::Error::other(format!("no PUBACK but {kind:#x} {body:?}"))),
            }
        }
        Ok(())
    }

    async fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&packet(kind, body)?).await
    }

    /// Whether the hub ends the connection within the time that a fact may take.
    pub(crate) async fn is_cut_off(&mut self) -> bool {
        let ends = async { while self.packet().await.is_ok() {} };
        tokio::time::timeout(super::wait::WAIT_MAX, ends).await.is_ok()
    }

    async fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let digit = self.stream.read_u8().await?;
            length |= usize::from(digit & 127) << shift;
            shift += 7;
            if digit < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((kind, body))
    }
}

/// A PUBLISH with QoS 0 or 1, whether it is a repeat or was retained.
fn is_message(kind: u8) -> bool {
    matches!(kind & 0xf6, 0x30 | 0x32)
}

/// Topic and payload of one.
fn message(kind: u8, body: &[u8]) -> io::Result<(String, Vec<u8>)> {
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).map_err(io::Error::other)?;
    let id = if kind & 0x06 == 0 { 0 } else { 2 };
    Ok((topic, body[end + id..].to_vec()))
}

fn packet(kind: u8, body: &[u8]) -> io::Result<Vec<u8>> {
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
    Ok(packet)
}

fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    into.extend(text.as_bytes());
}
