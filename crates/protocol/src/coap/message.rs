//! Requests and responses, and their datagrams. The packets are those of `coap-lite`; what of the standard it does not
//! look at is held here.

mod wire;

use std::fmt;

use super::block::Block;

pub(super) use wire::{
    Bad, Kind, Message, Wanted, Wrong, answer, decode, echo, empty, plain, request, response, uint,
    uint_bytes, wanted,
};

/// Numbers of content formats.
pub mod format {
    /// `text/plain; charset=utf-8`.
    pub const TEXT: u16 = 0;
    /// `application/link-format`.
    pub const LINKS: u16 = 40;
    /// `application/octet-stream`.
    pub const BYTES: u16 = 42;
    /// `application/json`.
    pub const JSON: u16 = 50;
    /// `application/cbor`.
    pub const CBOR: u16 = 60;
}

/// A request method or a response code: a class of three bits and a detail of five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// No request and no response.
    pub const EMPTY: Self = Self(0);
    /// 2.01
    pub const CREATED: Self = Self(0x41);
    /// 2.02
    pub const DELETED: Self = Self(0x42);
    /// 2.03
    pub const VALID: Self = Self(0x43);
    /// 2.04
    pub const CHANGED: Self = Self(0x44);
    /// 2.05
    pub const CONTENT: Self = Self(0x45);
    /// 2.31
    pub const CONTINUE: Self = Self(0x5f);
    /// 4.00
    pub const BAD_REQUEST: Self = Self(0x80);
    /// 4.01
    pub const UNAUTHORIZED: Self = Self(0x81);
    /// 4.02
    pub const BAD_OPTION: Self = Self(0x82);
    /// 4.03
    pub const FORBIDDEN: Self = Self(0x83);
    /// 4.04
    pub const NOT_FOUND: Self = Self(0x84);
    /// 4.05
    pub const METHOD_NOT_ALLOWED: Self = Self(0x85);
    /// 4.06
    pub const NOT_ACCEPTABLE: Self = Self(0x86);
    /// 4.08
    pub const INCOMPLETE: Self = Self(0x88);
    /// 4.13
    pub const TOO_LARGE: Self = Self(0x8d);
    /// 4.15
    pub const UNSUPPORTED_FORMAT: Self = Self(0x8f);
    /// 4.29
    pub const TOO_MANY: Self = Self(0x9d);
    /// 5.00
    pub const INTERNAL: Self = Self(0xa0);
    /// 5.03
    pub const UNAVAILABLE: Self = Self(0xa3);
    /// 5.05
    pub const NO_PROXY: Self = Self(0xa5);

    /// 0 for requests, 2 for success, 4 and 5 for errors.
    pub fn class(self) -> u8 {
        self.0 >> 5
    }
    /// Whether it is a response that says yes.
    pub fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.0 & 0x1f)
    }
}

/// What a request wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// 0.01
    Get,
    /// 0.02
    Post,
    /// 0.03
    Put,
    /// 0.04
    Delete,
}

impl Method {
    fn of(code: Code) -> Option<Self> {
        match code.0 {
            1 => Some(Self::Get),
            2 => Some(Self::Post),
            3 => Some(Self::Put),
            4 => Some(Self::Delete),
            _ => None,
        }
    }
    fn code(self) -> Code {
        match self {
            Self::Get => Code(1),
            Self::Post => Code(2),
            Self::Put => Code(3),
            Self::Delete => Code(4),
        }
    }
}

/// What binds a response to its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token {
    bytes: [u8; 8],
    length: u8,
}

impl Token {
    /// At most 8 bytes; what is beyond is cut.
    pub fn new(given: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let length = given.len().min(8);
        bytes[..length].copy_from_slice(&given[..length]);
        Self { bytes, length: length as u8 }
    }
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A request, ours or a peer's; its body is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// The segments of the path.
    pub path: Vec<String>,
    /// The arguments of the query.
    pub query: Vec<String>,
    /// Of the body, if it is said.
    pub format: Option<u16>,
    /// Of the body of the response, if it is said.
    pub accept: Option<u16>,
    /// Observation begins (true) or ends (false).
    pub observe: Option<bool>,
    /// The block of the response that is wanted.
    pub block: Option<Block>,
    /// The body.
    pub payload: Vec<u8>,
    /// Whether its receipt is to be confirmed.
    pub is_confirmable: bool,
}

impl Request {
    /// A confirmable one without a body, for `/the/path`.
    pub fn new(method: Method, path: &str) -> Self {
        let path = path.trim_start_matches('/').split('/').filter(|part| !part.is_empty() || path.len() > 1);
        Self {
            method,
            path: path.map(str::to_owned).collect(),
            query: Vec::new(),
            format: None,
            accept: None,
            observe: None,
            block: None,
            payload: Vec::new(),
            is_confirmable: true,
        }
    }

    /// The path as people write it.
    pub fn path_text(&self) -> String {
        self.path.iter().fold(String::new(), |text, part| text + "/" + part)
    }
}

/// The body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it; an endpoint sends the block that is wanted.
    Whole(Vec<u8>),
    /// What of it was asked for, read from where it is stored.
    Part {
        /// Where this part begins.
        offset: usize,
        /// The bytes of one block, or less at the end.
        bytes: Vec<u8>,
        /// Of the whole.
        size: usize,
    },
}

impl Body {
    /// How large the whole is.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Part { size, .. } => *size,
        }
    }
}

/// A response, ours or a peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub code: Code,
    /// Of the body, if it is said.
    pub format: Option<u16>,
    /// For how many seconds it is fresh, if it is said.
    pub max_age_s: Option<u32>,
    /// Changes when the body does: without it a body in blocks may be of two states.
    pub etag: Option<Vec<u8>>,
    /// The path of what was made.
    pub location: Vec<String>,
    /// The number of a notification.
    pub observe: Option<u32>,
    /// The body.
    pub body: Body,
}

impl Response {
    /// A code and nothing else.
    pub fn new(code: Code) -> Self {
        let body = Body::Whole(Vec::new());
        Self { code, format: None, max_age_s: None, etag: None, location: Vec::new(), observe: None, body }
    }

    /// With a text: for an error, the sentence that says what to do.
    pub fn text(code: Code, text: impl Into<String>) -> Self {
        Self { body: Body::Whole(text.into().into_bytes()), ..Self::new(code) }
    }

    /// With a body of a format.
    pub fn with(code: Code, format: u16, body: Vec<u8>) -> Self {
        Self { format: Some(format), body: Body::Whole(body), ..Self::new(code) }
    }

    /// The bytes of the body, or of the part of it.
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) | Body::Part { bytes, .. } => bytes,
        }
    }
}
