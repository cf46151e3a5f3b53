//! A client of MQTT-SN, byte by byte.

use std::net::{SocketAddr, UdpSocket};

use crate::Outcome;
use crate::wait::PATIENCE;

pub(crate) struct Sensor(UdpSocket);

impl Sensor {
    pub(crate) fn new(hub: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(hub).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends a datagram.
    pub(crate) fn say(&self, text: &str) -> Outcome {
        self.0.send(&bytes(text)?).map(drop).map_err(|error| error.to_string())
    }

    /// The next datagram is this.
    pub(crate) fn expect(&self, text: &str) -> Outcome {
        let expected = bytes(text)?;
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer).map_err(|_| "nothing was said".to_owned())?;
        let got = &buffer[..length];
        let shown = || {
            got.iter().map(|b| format!("{b:02x}")).collect::<String>() + " " + &String::from_utf8_lossy(got)
        };
        if got == expected { Ok(()) } else { Err(format!("expected {text}, got {}", shown())) }
    }
}

/// Pairs of digits, with blanks wherever they are of use, and texts in quotation marks. `..` at the beginning is the
/// length of the whole.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (place, part) in text.split('\'').enumerate() {
        if place % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.chars().filter(|sign| !sign.is_whitespace()).collect();
        let digits = if place == 0 { digits.replacen("..", "00", 1) } else { digits };
        for at in (0..digits.len()).step_by(2) {
            let pair = digits.get(at..at + 2).ok_or("digits come in pairs")?;
            bytes.push(u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?);
        }
    }
    if text.starts_with("..") {
        bytes[0] = u8::try_from(bytes.len()).map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}
