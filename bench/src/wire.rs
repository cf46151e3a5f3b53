//! MQTT 3.1.1 frames written by hand, and a connection that does nothing else: the generator must cost less than
//! the brokers it measures.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// First byte of a CONNACK.
const CONNACK: u8 = 0x20;
/// First byte of a SUBACK.
const SUBACK: u8 = 0x90;
/// First byte of a PUBACK.
pub(crate) const PUBACK: u8 = 0x40;
/// First byte of a PUBLISH with QoS 0.
pub(crate) const PUBLISH_0: u8 = 0x30;
/// First byte of a PUBLISH with QoS 1.
const PUBLISH_1: u8 = 0x32;
/// Seconds of the keep-alive; no measurement takes so long.
const KEEP_ALIVE_S: u8 = 240;
/// Bytes taken from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Client identifier.
    pub(crate) client: String,
    /// User name.
    pub(crate) user: String,
    /// Password; mosquitto lets in anybody.
    pub(crate) password: String,
    /// The address it comes from, one of this machine.
    pub(crate) from: Ipv4Addr,
}

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The beginning of a packet that is not there completely.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects with a clean session.
    pub(crate) async fn open(address: SocketAddr, login: &Login) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((login.from, 0).into()).context("no port to come from")?;
        let stream = socket.connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, rest: Vec::new() };
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        body.extend([4, 0b1100_0010, 0, KEEP_ALIVE_S]);
        for part in [&login.client, &login.user, &login.password] {
            text(&mut body, part);
        }
        let mut packet = Vec::new();
        frame(&mut packet, 0x10, &[&body]);
        connection.send(&packet).await?;
        connection.answer(CONNACK, &[0, 0]).await?;
        Ok(connection)
    }

    /// Subscribes with QoS 0.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        let mut body = vec![0, 1];
        text(&mut body, filter);
        body.push(0);
        let mut packet = Vec::new();
        frame(&mut packet, 0x82, &[&body]);
        self.send(&packet).await?;
        self.answer(SUBACK, &[0, 1, 0]).await
    }

    /// Writes complete packets.
    pub(crate) async fn send(&mut self, packets: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(packets).await.context("sending")
    }

    /// Waits for bytes and counts the packets that became complete; another kind is an error.
    pub(crate) async fn count(&mut self, kind: u8) -> anyhow::Result<usize> {
        let mut count = 0;
        self.each(kind, |_| count += 1).await?;
        Ok(count)
    }

    /// Waits for bytes and shows the packets that became complete; another kind is an error. Nothing is lost if it
    /// is dropped while it waits.
    pub(crate) async fn each(&mut self, kind: u8, mut visit: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut piece = [0; READ_BYTES];
        let length = self.stream.read(&mut piece).await.context("reading")?;
        ensure!(length > 0, "the broker closed the connection");
        if !self.rest.is_empty() {
            self.rest.extend(&piece[..length]);
            let bytes = std::mem::take(&mut self.rest);
            let used = whole(&bytes, kind, &mut visit)?;
            self.rest.extend(&bytes[used..]);
        } else {
            let used = whole(&piece[..length], kind, &mut visit)?;
            self.rest.extend(&piece[used..length]);
        }
        Ok(())
    }

    async fn answer(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        let mut packet = vec![0; 2 + body.len()];
        self.stream.read_exact(&mut packet).await.context("waiting for an answer")?;
        ensure!(packet[0] == kind && packet[2..] == *body, "refused: {packet:?}");
        Ok(())
    }
}

/// Appends a PUBLISH; with an identifier it has QoS 1.
pub(crate) fn publish(into: &mut Vec<u8>, topic: &str, id: Option<u16>, payload: &[u8]) {
    let mut head = Vec::with_capacity(topic.len() + 4);
    text(&mut head, topic);
    head.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    let kind = if id.is_some() { PUBLISH_1 } else { PUBLISH_0 };
    frame(into, kind, &[&head, payload]);
}

/// Shows the complete packets at the beginning and says how many bytes they are.
fn whole(bytes: &[u8], kind: u8, visit: &mut impl FnMut(&[u8])) -> anyhow::Result<usize> {
    let mut used = 0;
    while let Some(length) = packet_length(&bytes[used..])? {
        ensure!(bytes[used] == kind, "packet {:#x} and not {kind:#x}", bytes[used]);
        visit(&bytes[used..used + length]);
        used += length;
    }
    Ok(used)
}

/// The length of the first packet with its head, if all of it is there.
fn packet_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            let total = 2 + index + length;
            return Ok((bytes.len() >= total).then_some(total));
        }
    }
    if bytes.len() > 4 {
        bail!("a remaining length of more than four bytes");
    }
    Ok(None)
}

fn frame(into: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    into.push(kind);
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        into.push(if length > 0 { digit | 128 } else { digit });
        if length == 0 {
            break;
        }
    }
    parts.iter().for_each(|part| into.extend_from_slice(part));
}

fn text(into: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the texts of the generator are short");
    into.extend(length.to_be_bytes());
    into.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_when_they_are_complete() {
        let mut bytes = Vec::new();
        publish(&mut bytes, "a/b", None, &[b'1'; 200]);
        publish(&mut bytes, "a/b", None, b"2");
        let first = 1 + 2 + 5 + 200;
        let mut lengths = Vec::new();
        let used = whole(&bytes, PUBLISH_0, &mut |packet: &[u8]| lengths.push(packet.len())).unwrap();
        assert_eq!((used, lengths), (bytes.len(), vec![first, bytes.len() - first]));
        for end in 0..bytes.len() {
            let mut count = 0;
            let used = whole(&bytes[..end], PUBLISH_0, &mut |_: &[u8]| count += 1).unwrap();
            assert_eq!((used, count), if end < first { (0, 0) } else { (first, 1) });
        }
    }
}
