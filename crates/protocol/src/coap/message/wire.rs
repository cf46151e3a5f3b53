//! Datagrams: what is in them, and how they are made.

use coap_lite::{CoapOption, Header, MessageClass, MessageType, Packet};

use super::super::block::Block;
use super::{Body, Code, Method, Request, Response, Token};

/// Most segments of a path, and most arguments of a query.
const PARTS_MAX: usize = 16;

const CONTENT_FORMAT: u16 = 12;
const BLOCK2: u16 = 23;
const BLOCK1: u16 = 27;
const SIZE1: u16 = 60;
const SIZE2: u16 = 28;
const ECHO: u16 = 252;

/// The four types of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coap) enum Kind {
    Confirmable,
    NonConfirmable,
    Acknowledgement,
    Reset,
}

/// A datagram that keeps the rules of form.
#[derive(Debug, Clone)]
pub(in crate::coap) struct Message {
    pub(in crate::coap) kind: Kind,
    pub(in crate::coap) code: Code,
    pub(in crate::coap) mid: u16,
    pub(in crate::coap) token: Token,
    packet: Packet,
}

/// A datagram that does not.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coap) enum Bad {
    /// Nothing is said about it.
    Ignored,
    /// It is confirmable: it is rejected with a reset.
    Rejected(u16),
}

/// Why a request is refused before anybody looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coap) struct Wrong(pub(in crate::coap) Code, pub(in crate::coap) &'static str);

/// What a request wants beside what is in it.
#[derive(Debug, Clone, Default)]
pub(in crate::coap) struct Wanted {
    /// The block of its body.
    pub(in crate::coap) block1: Option<Block>,
    /// What it was given to prove its address.
    pub(in crate::coap) echo: Option<Vec<u8>>,
    /// How large its body will be, as it says.
    pub(in crate::coap) size1: Option<u32>,
}

/// A number in an option: up to four bytes, the high one first.
pub(in crate::coap) fn uint(value: &[u8]) -> u32 {
    value.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The shortest form of a number in an option.
pub(in crate::coap) fn uint_bytes(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// Reads a datagram.
pub(in crate::coap) fn decode(bytes: &[u8]) -> Result<Message, Bad> {
    let &[first, code, high, low, ..] = bytes else { return Err(Bad::Ignored) };
    if first >> 6 != 1 {
        return Err(Bad::Ignored);
    }
    let mid = u16::from_be_bytes([high, low]);
    let kind = match first >> 4 & 3 {
        0 => Kind::Confirmable,
        1 => Kind::NonConfirmable,
        2 => Kind::Acknowledgement,
        _ => Kind::Reset,
    };
    let bad = if kind == Kind::Confirmable { Bad::Rejected(mid) } else { Bad::Ignored };
    // Nothing may follow an empty message, and a reset is one.
    if (code == 0 || kind == Kind::Reset) && (bytes.len() > 4 || code != 0) {
        return Err(bad);
    }
    let Ok(packet) = Packet::from_bytes(bytes) else { return Err(bad) };
    // A marker with nothing behind it, which the library takes for no body: every other form has one length only.
    if packet.payload.is_empty()
        && bytes.last() == Some(&0xff)
        && packet.to_bytes_unlimited().is_ok_and(|again| again.len() != bytes.len())
    {
        return Err(bad);
    }
    let token = Token::new(packet.get_token());
    Ok(Message { kind, code: Code(code), mid, token, packet })
}

impl Message {
    fn values(&self, number: u16) -> impl Iterator<Item = &Vec<u8>> {
        self.packet.get_option(CoapOption::from(number)).into_iter().flatten()
    }

    fn first(&self, number: u16, length_max: usize) -> Option<&Vec<u8>> {
        self.values(number).next().filter(|value| value.len() <= length_max)
    }

    fn number(&self, number: u16, length_max: usize) -> Option<u32> {
        self.first(number, length_max).map(|value| uint(value))
    }

    /// A number of two bytes.
    fn short(&self, number: u16) -> Option<u16> {
        self.number(number, 2).and_then(|value| u16::try_from(value).ok())
    }

    /// What was given to prove an address.
    pub(in crate::coap) fn echo(&self) -> Option<&Vec<u8>> {
        self.first(ECHO, 40).filter(|value| !value.is_empty())
    }

    /// The block of the body that a response has, or that it wants next.
    pub(in crate::coap) fn block1(&self) -> Option<Block> {
        self.first(BLOCK1, 3).and_then(|value| Block::read(value))
    }
}

/// What a request asks.
pub(in crate::coap) fn request(message: &Message) -> Result<Request, Wrong> {
    check_critical(message)?;
    let Some(method) = Method::of(message.code) else {
        return Err(Wrong(Code::METHOD_NOT_ALLOWED, "the methods are GET, POST, PUT and DELETE"));
    };
    let block = message.values(BLOCK2).next().map(|value| Block::read(value));
    let block = match block {
        Some(None) => return Err(Wrong(Code::BAD_REQUEST, "a block has at most 1024 bytes")),
        Some(Some(block)) => Some(block),
        None => None,
    };
    let observe = match message.number(6, 3) {
        Some(0) => Some(true),
        Some(1) => Some(false),
        _ => None,
    };
    Ok(Request {
        method,
        path: texts(message, 11)?,
        query: texts(message, 15)?,
        format: message.short(CONTENT_FORMAT),
        accept: message.short(17),
        observe: observe.filter(|_| method == Method::Get),
        block,
        payload: message.packet.payload.clone(),
        is_confirmable: message.kind == Kind::Confirmable,
    })
}

/// What a request wants beside that.
pub(in crate::coap) fn wanted(message: &Message) -> Result<Wanted, Wrong> {
    let block1 = match message.values(BLOCK1).next() {
        Some(value) => {
            let block =
                Block::read(value).ok_or(Wrong(Code::BAD_REQUEST, "a block has at most 1024 bytes"))?;
            Some(block)
        }
        None => None,
    };
    Ok(Wanted { block1, echo: message.echo().cloned(), size1: message.number(SIZE1, 4) })
}

/// Options with an odd number must be understood: those that are not, that are too long or come twice, are none that
/// we know.
fn check_critical(message: &Message) -> Result<(), Wrong> {
    for (number, values) in message.packet.options().filter(|(number, _)| *number % 2 == 1) {
        let (repeats, length_max) = match number {
            3 => (false, 255),
            7 => (false, 2),
            11 | 15 => (true, 255),
            17 => (false, 2),
            23 | 27 => (false, 3),
            35 | 39 => return Err(Wrong(Code::NO_PROXY, "this is no proxy")),
            _ => return Err(Wrong(Code::BAD_OPTION, "a critical option is not known here")),
        };
        if !repeats && values.len() > 1 || values.iter().any(|value| value.len() > length_max) {
            return Err(Wrong(Code::BAD_OPTION, "a critical option is too long, or comes twice"));
        }
    }
    Ok(())
}

fn texts(message: &Message, number: u16) -> Result<Vec<String>, Wrong> {
    let mut texts = Vec::new();
    for value in message.values(number) {
        if texts.len() == PARTS_MAX {
            return Err(Wrong(Code::BAD_OPTION, "a path and a query have at most 16 parts"));
        }
        let text = std::str::from_utf8(value);
        texts.push(text.map_err(|_| Wrong(Code::BAD_OPTION, "a path and a query are UTF-8"))?.to_owned());
    }
    Ok(texts)
}

/// What a peer answers, with the block of its body that this is; `None` if it has an option that must be understood
/// and is not.
pub(in crate::coap) fn answer(message: &Message) -> Option<(Response, Option<Block>)> {
    let is_known = |number: u16| matches!(number, 3 | 7 | BLOCK2 | BLOCK1);
    let has_unknown = message.packet.options().any(|(number, _)| number % 2 == 1 && !is_known(*number));
    let block = message.values(BLOCK2).next().map(|value| (value.len() <= 3).then(|| Block::read(value)));
    let block = match block {
        Some(Some(Some(block))) => Some(block),
        Some(_) => return None,
        None => None,
    };
    let response = Response {
        code: message.code,
        format: message.short(CONTENT_FORMAT),
        max_age_s: message.number(14, 4),
        etag: message.first(4, 8).cloned(),
        location: message.values(8).filter_map(|value| String::from_utf8(value.clone()).ok()).collect(),
        observe: message.number(6, 3),
        body: Body::Whole(message.packet.payload.clone()),
    };
    (!has_unknown).then_some((response, block))
}

fn packet(kind: Kind, code: Code, mid: u16, token: Token) -> Packet {
    let mut packet = Packet::new();
    packet.header = Header::new();
    packet.header.set_version(1);
    packet.header.set_type(match kind {
        Kind::Confirmable => MessageType::Confirmable,
        Kind::NonConfirmable => MessageType::NonConfirmable,
        Kind::Acknowledgement => MessageType::Acknowledgement,
        Kind::Reset => MessageType::Reset,
    });
    packet.header.code = MessageClass::from(code.0);
    packet.header.message_id = mid;
    packet.set_token(token.as_bytes().to_vec());
    packet
}

fn add(packet: &mut Packet, number: u16, value: Vec<u8>) {
    packet.add_option(CoapOption::from(number), value);
}

fn add_number(packet: &mut Packet, number: u16, value: Option<u32>) {
    if let Some(value) = value {
        add(packet, number, uint_bytes(value));
    }
}

fn bytes(packet: &Packet) -> Vec<u8> {
    packet.to_bytes_unlimited().expect("because a vector takes as much as is written to it")
}

/// An acknowledgement or a reset without anything.
pub(in crate::coap) fn empty(kind: Kind, mid: u16) -> Vec<u8> {
    bytes(&packet(kind, Code::EMPTY, mid, Token::default()))
}

/// The datagram of a request of ours; `payload` is its body or a block of it.
pub(in crate::coap) fn plain(
    mid: u16,
    token: Token,
    request: &Request,
    block1: Option<(Block, usize)>,
    payload: &[u8],
    echo: Option<&[u8]>,
) -> Vec<u8> {
    let kind = if request.is_confirmable { Kind::Confirmable } else { Kind::NonConfirmable };
    let mut packet = packet(kind, request.method.code(), mid, token);
    request.path.iter().for_each(|part| add(&mut packet, 11, part.clone().into_bytes()));
    request.query.iter().for_each(|part| add(&mut packet, 15, part.clone().into_bytes()));
    add_number(&mut packet, 6, request.observe.map(|begins| u32::from(!begins)));
    add_number(&mut packet, CONTENT_FORMAT, request.format.map(u32::from));
    add_number(&mut packet, 17, request.accept.map(u32::from));
    if let Some(value) = request.block.and_then(Block::write) {
        add(&mut packet, BLOCK2, value);
    }
    if let Some((block, size)) = block1 {
        add(&mut packet, BLOCK1, block.write().unwrap_or_default());
        add_number(&mut packet, SIZE1, u32::try_from(size).ok().filter(|_| block.number == 0));
    }
    if let Some(echo) = echo {
        add(&mut packet, ECHO, echo.to_vec());
    }
    packet.payload = payload.to_vec();
    bytes(&packet)
}

/// A response with all of its body, or the block of it that is given.
pub(in crate::coap) fn response(
    (kind, mid, token): (Kind, u16, Token),
    response: &Response,
    part: &[u8],
    block2: Option<(Block, usize)>,
    block1: Option<Block>,
) -> Vec<u8> {
    let mut packet = packet(kind, response.code, mid, token);
    if let Some(etag) = &response.etag {
        add(&mut packet, 4, etag.clone());
    }
    add_number(&mut packet, 6, response.observe);
    response.location.iter().for_each(|part| add(&mut packet, 8, part.clone().into_bytes()));
    add_number(&mut packet, CONTENT_FORMAT, response.format.map(u32::from));
    add_number(&mut packet, 14, response.max_age_s);
    if let Some((block, size)) = block2 {
        add(&mut packet, BLOCK2, block.write().unwrap_or_default());
        add_number(&mut packet, SIZE2, u32::try_from(size).ok().filter(|_| block.number == 0));
    }
    if let Some(value) = block1.and_then(Block::write) {
        add(&mut packet, BLOCK1, value);
    }
    packet.payload = part.to_vec();
    bytes(&packet)
}

/// 4.01 with something to say again, for who has yet to prove its address.
pub(in crate::coap) fn echo((kind, mid, token): (Kind, u16, Token), value: &[u8]) -> Vec<u8> {
    let mut packet = packet(kind, Code::UNAUTHORIZED, mid, token);
    add(&mut packet, ECHO, value.to_vec());
    bytes(&packet)
}
