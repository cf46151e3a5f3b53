//! RIOT nodes: each has an address of its own on the loopback network, the port that they all listen on, and a new port
//! for each thing that it says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet};

use crate::Outcome;
use crate::wait::PATIENCE;

/// The option by which a node proves that it is at its address (RFC 9175).
const ECHO: CoapOption = CoapOption::Unknown(252);

/// Where the next node is; every transcript has others.
static NEXT: AtomicU16 = AtomicU16::new(1);

pub(crate) struct Nodes {
    port: u16,
    first: UdpSocket,
    nodes: HashMap<String, Node>,
}

struct Node {
    address: IpAddr,
    /// What it listens on.
    socket: UdpSocket,
    /// What it spoke from last, and what it said there.
    speaker: Option<UdpSocket>,
    said: Option<(Packet, SocketAddr)>,
    /// What it was asked last.
    asked: Option<(Packet, SocketAddr)>,
    next_mid: u16,
    /// What came already.
    seen: Vec<u16>,
    /// Answers that came to the port that it listens on while it waited to be asked, and the other way round.
    aside: Vec<(Packet, SocketAddr)>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let first = UdpSocket::bind((next_address(), 0)).unwrap();
        Self { port: first.local_addr().unwrap().port(), first, nodes: HashMap::new() }
    }

    /// The port that all of them listen on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of a node.
    pub(crate) fn address(&mut self, name: &str) -> IpAddr {
        self.node(name).address
    }

    fn node(&mut self, name: &str) -> &mut Node {
        let is_first = self.nodes.is_empty();
        let (port, first) = (self.port, &self.first);
        self.nodes.entry(name.to_owned()).or_insert_with(|| {
            let socket = match is_first {
                true => first.try_clone().unwrap(),
                // Another program may have this port there: then at the next address.
                false => (0..100).find_map(|_| UdpSocket::bind((next_address(), port)).ok()).unwrap(),
            };
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let address = socket.local_addr().unwrap().ip();
            Node {
                address,
                socket,
                speaker: None,
                said: None,
                asked: None,
                next_mid: 1,
                seen: Vec::new(),
                aside: Vec::new(),
            }
        })
    }

    /// `[own] [CON] [cbor] POST /path "payload"`, where OBSERVE is a GET that goes on, or an answer: `2.05 "payload"`.
    pub(crate) fn say(&mut self, name: &str, hub: SocketAddr, text: &str) -> Outcome {
        let node = self.node(name);
        let (text, is_own) = text.strip_prefix("own ").map_or((text, false), |rest| (rest, true));
        let (text, is_confirmable) = text.strip_prefix("CON ").map_or((text, false), |rest| (rest, true));
        let (text, is_cbor) = text.strip_prefix("cbor ").map_or((text, false), |rest| (rest, true));
        let (head, payload) = text.split_once(" \"").unwrap_or((text, "\""));
        let payload = bytes(payload.strip_suffix('"').ok_or("a payload ends with a quotation mark")?)?;
        if head.starts_with(|sign: char| sign.is_ascii_digit()) {
            let (asked, from) = node.asked.take().ok_or("it was asked nothing")?;
            let mut packet = Packet::new();
            packet.header.set_version(1);
            packet.header.set_type(MessageType::Acknowledgement);
            packet.header.set_code(head);
            packet.header.message_id = asked.header.message_id;
            packet.set_token(asked.get_token().to_vec());
            packet.payload = payload;
            node.socket.send_to(&packet.to_bytes().unwrap(), from).unwrap();
            return Ok(());
        }
        let (method, path) = head.split_once(' ').ok_or("a method and a path")?;
        let (method, observes) = if method == "OBSERVE" { ("GET", true) } else { (method, false) };
        let code = ["GET", "POST", "PUT", "DELETE"].iter().position(|known| *known == method);
        let mut packet = Packet::new();
        packet.header.set_version(1);
        let kind = if is_confirmable { MessageType::Confirmable } else { MessageType::NonConfirmable };
        packet.header.set_type(kind);
        packet.header.code = MessageClass::from(code.ok_or("there is no such method")? as u8 + 1);
        packet.header.message_id = node.next_mid;
        node.next_mid += 1;
        packet.set_token(vec![0x5c, 0xb8]);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.for_each(|part| packet.add_option(CoapOption::UriPath, part.as_bytes().to_vec()));
        let parts = query.split('&').filter(|part| !part.is_empty());
        parts.for_each(|part| packet.add_option(CoapOption::UriQuery, part.as_bytes().to_vec()));
        if observes {
            packet.add_option(CoapOption::Observe, Vec::new());
        }
        if is_cbor {
            packet.add_option(CoapOption::ContentFormat, vec![60]);
        }
        packet.payload = payload;
        let speaker = match is_own {
            true => node.socket.try_clone().unwrap(),
            false => UdpSocket::bind((node.address, 0)).unwrap(),
        };
        speaker.set_read_timeout(Some(PATIENCE)).unwrap();
        speaker.send_to(&packet.to_bytes().unwrap(), hub).unwrap();
        (node.speaker, node.said) = (Some(speaker), Some((packet, hub)));
        Ok(())
    }

    /// `2.04 "payload"` is an answer to what it said last, `GET /led` something that it is asked.
    pub(crate) fn expect(&mut self, name: &str, expected: &str) -> Outcome {
        let node = self.node(name);
        let is_answer = expected.starts_with(|sign: char| sign.is_ascii_digit());
        let socket = if is_answer { node.speaker.as_ref().ok_or("it said nothing")? } else { &node.socket };
        let mut buffer = [0; 2048];
        let is_wanted =
            |packet: &Packet| matches!(packet.header.code, MessageClass::Response(_)) == is_answer;
        let aside = node.aside.iter().position(|(packet, _)| is_wanted(packet));
        let mut gathered = Vec::new();
        let (mut packet, from) = match aside {
            Some(at) => node.aside.remove(at),
            None => loop {
                let received = socket.recv_from(&mut buffer);
                let (length, from) = received.map_err(|_| "nothing was said".to_owned())?;
                let packet = Packet::from_bytes(&buffer[..length]).unwrap();
                // It proves that it is there, and asks again.
                if let (Some(echo), Some((said, hub))) = (packet.get_first_option(ECHO), &mut node.said) {
                    said.add_option(ECHO, echo.clone());
                    said.header.message_id = node.next_mid;
                    node.next_mid += 1;
                    socket.send_to(&said.to_bytes().unwrap(), *hub).unwrap();
                    continue;
                }
                // It observes, and got a notification.
                let is_notice = is_answer && is_wanted(&packet);
                if is_notice && packet.header.get_type() == MessageType::Confirmable {
                    let taken = [0x60, 0, buffer[2], buffer[3]];
                    socket.send_to(&taken, from).unwrap();
                }
                // A large answer comes in blocks.
                if let (Some(next), Some((said, hub))) = (next_block(&packet), &node.said) {
                    gathered.extend(packet.payload);
                    let mut said = said.clone();
                    said.clear_option(CoapOption::Observe);
                    said.add_option(CoapOption::Block2, next);
                    said.header.message_id = node.next_mid;
                    node.next_mid += 1;
                    socket.send_to(&said.to_bytes().unwrap(), *hub).unwrap();
                    continue;
                }
                // Sent again, because the node took its time.
                if !is_answer && node.seen.contains(&packet.header.message_id) {
                    continue;
                }
                if is_wanted(&packet) {
                    break (packet, from);
                }
                node.aside.push((packet, from));
            },
        };
        gathered.append(&mut packet.payload);
        packet.payload = gathered;
        let got = shown(&packet);
        if got != expected {
            return Err(format!("expected {expected}, got {got}"));
        }
        if !is_answer {
            node.seen.push(packet.header.message_id);
            node.asked = Some((packet, from));
        }
        Ok(())
    }
}

/// The option with which the block that follows is asked for; `None` if this is the last.
fn next_block(packet: &Packet) -> Option<Vec<u8>> {
    let bytes = packet.get_first_option(CoapOption::Block2)?;
    let block = bytes.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    let next = (block >> 4) + 1;
    (block & 8 != 0).then(|| (next << 4 | block & 7).to_be_bytes()[1..].to_vec())
}

fn next_address() -> Ipv4Addr {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = (number % 60_000 + 256).to_be_bytes();
    // Each run of the tests begins elsewhere, so that several may run at once.
    Ipv4Addr::new(127, 16 + (std::process::id() % 200) as u8, high, low.max(1))
}

fn shown(packet: &Packet) -> String {
    let code = packet.header.get_code();
    let methods = [("0.01", "GET"), ("0.02", "POST"), ("0.03", "PUT"), ("0.04", "DELETE")];
    let path = packet.get_option(CoapOption::UriPath).into_iter().flatten();
    let path = path.fold(String::new(), |text, part| text + "/" + &String::from_utf8_lossy(part));
    let head = match methods.iter().find(|(known, _)| *known == code) {
        Some((_, method)) => format!("{method} {path}"),
        None => code,
    };
    match packet.payload.is_empty() {
        true => head,
        false => format!("{head} \"{}\"", String::from_utf8_lossy(&packet.payload)),
    }
}

/// `\\00` stands for a byte.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let byte = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("two digits behind \\x")?);
        rest = &behind[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}
