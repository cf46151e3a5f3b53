//! A plain MQTT 3.1.1 publisher, encoded by hand: it knows exactly what was acknowledged.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection.
pub struct Publisher {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Publisher {
    /// Connects with credentials; an error is a refusal or a broken connection.
    pub fn connect(address: &str, client: &str, user: &str, password: &str) -> io::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut body = Vec::new();
        string(&mut body, "MQTT");
        body.extend([4, 0b1100_0010, 0, 60]);
        for text in [client, user, password] {
            string(&mut body, text);
        }
        let mut connection = Self { reader: BufReader::new(writer.try_clone()?), writer };
        connection.send(0x10, &body)?;
        match connection.packet()? {
            (0x20, answer) if answer == [0, 0] => Ok(connection),
            (_, answer) => Err(io::Error::other(format!("refused: {answer:?}"))),
        }
    }

    /// Publishes with QoS 1, without waiting.
    pub fn publish(&mut self, topic: &str, id: u16, payload: &str) -> io::Result<()> {
        let mut body = Vec::new();
        string(&mut body, topic);
        body.extend(id.to_be_bytes());
        body.extend(payload.as_bytes());
        self.send(0x32, &body)
    }

    /// The packet identifier of the next PUBACK.
    pub fn acknowledged(&mut self) -> io::Result<u16> {
        match self.packet()? {
            (0x40, id) if id.len() == 2 => Ok(u16::from_be_bytes([id[0], id[1]])),
            (kind, body) => Err(io::Error::other(format!("no PUBACK but {kind:#x} {body:?}"))),
        }
    }

    /// Waits at most so long for an answer from now on.
    pub fn patience(&self, span: Duration) -> io::Result<()> {
        self.writer.set_read_timeout(Some(span))
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
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

    fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.reader.read_exact(&mut head)?;
        let mut body = vec![0; usize::from(head[1])];
        self.reader.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    into.extend(text.as_bytes());
}
