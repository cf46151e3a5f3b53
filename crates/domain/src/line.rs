//! Units: plain TCP devices that say and are told lines. A unit proves nothing of itself; it is known by the address
//! that an engineer entered, or by the line with which it greets.

mod address;
mod document;
mod template;

use crate::id::GatewayId;
use crate::rejection::Rejection;
use crate::telemetry::Metric;
use crate::time::Span;

pub use address::{Address, PORT, default_networks, is_allowed};
pub use template::Template;

/// Longest frame that a unit says or is told, in bytes.
pub const FRAME_BYTES_MAX: usize = 4096;
/// Longest template, pattern or greeting, in bytes.
pub const TEXT_BYTES_MAX: usize = 500;
/// Most columns of a table.
pub const COLUMNS_MAX: usize = 64;
/// How long a reply may be waited for.
pub const REPLY_RANGE: (Span, Span) = (Span(1), Span::seconds(60));
/// How long a change may wait for its unit.
pub const EXPIRY_RANGE: (Span, Span) = (Span::seconds(1), Span::days(30));
/// How many changes wait for a unit whose changes are all told; further ones are refused.
pub const QUEUE_MAX: usize = 64;

/// How a unit is reached, what it says and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it is. A unit that dials in and greets may be anywhere.
    pub address: Option<Address>,
    /// From where it is reached.
    pub through: Through,
    /// Whether it says something, is told something, or both.
    pub kind: Kind,
    /// Who begins the connection.
    pub direction: Direction,
    /// Where one frame ends and the next begins.
    pub framing: Framing,
    /// What its frames mean.
    pub parser: Parser,
    /// What it is told.
    pub template: Template,
    /// What it says once it did as it was told, if it does.
    pub reply: Option<Reply>,
    /// Which changes are told.
    pub queue: Queue,
    /// After so long a change is not told any more; `None` for never.
    pub expiry: Option<Span>,
    /// With which line it begins each connection, if it does: it is known by it wherever it is.
    pub greeting: Option<String>,
}

/// From where a unit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Through {
    /// The hub itself.
    #[default]
    Hub,
    /// One of our gateways, on another host.
    Gateway(GatewayId),
    /// A base of the IoT base family, which speaks to the hub by Pusher and webhooks.
    Base,
}

/// What a unit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// It says readings, and is told nothing. Its connection stands.
    Read,
    /// It is told changes, each by a connection of its own.
    Update,
    /// Both, by one connection that stands.
    #[default]
    Both,
}

/// Who begins the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// We do.
    #[default]
    Dial,
    /// The unit does.
    Listen,
}

/// Where one frame ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a sign behind each: what ends theirs, and ours.
    Lines(EndIn, End),
    /// By the length in front, in so many bytes, the highest first: 1, 2 or 4.
    Length(u8),
    /// By their size in bytes: all have the same, 1 to [`FRAME_BYTES_MAX`]. What they are told ends in blanks.
    Fixed(u16),
}

/// What ends a line that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// `\r`
    #[default]
    Cr,
    /// `\n`
    Lf,
    /// `\r\n`
    CrLf,
}

/// What ends a line that a unit writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndIn {
    /// Any of the three.
    #[default]
    Any,
    /// This one alone.
    Only(End),
}

/// What the frames of a unit mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parser {
    /// A number, which is the metric `value`.
    #[default]
    Number,
    /// Any text, which is the metric `value`.
    Text,
    /// An object of metrics, in JSON.
    Json,
    /// Columns that are metrics, by this sign between them; `None` for a column that is nobody's.
    Csv(Vec<Option<Metric>>, char),
    /// A regular expression whose named groups are metrics.
    Regex(String),
}

/// What a unit says once it did as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// It comes within this time, or the change failed.
    pub within: Span,
    /// A regular expression that fits the whole of it; any frame if it is not said.
    pub pattern: Option<String>,
}

/// Which changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Queue {
    /// The latest one.
    #[default]
    Latest,
    /// All, in their order.
    All,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Lines(EndIn::default(), End::default())
    }
}

impl Line {
    /// A unit at an address, with the usual settings.
    pub fn at(address: Address) -> Self {
        Self {
            address: Some(address),
            through: Through::default(),
            kind: Kind::default(),
            direction: Direction::default(),
            framing: Framing::default(),
            parser: Parser::default(),
            template: Template::default(),
            reply: None,
            queue: Queue::default(),
            expiry: None,
            greeting: None,
        }
    }

    /// Whether it says readings.
    pub fn reads(&self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Both)
    }

    /// Whether it is told changes.
    pub fn updates(&self) -> bool {
        matches!(self.kind, Kind::Update | Kind::Both)
    }

    /// Refuses what contradicts itself.
    pub(crate) fn checked(self) -> Result<Self, Rejection> {
        let refuse = |field: &str, why: &str| Err(Rejection::invalid(field, why));
        match (self.direction, &self.address, &self.greeting) {
            (Direction::Dial, None, _) => {
                return refuse("address", "say where the unit is, such as 192.168.1.20:8888");
            }
            (Direction::Listen, None, None) => {
                return refuse(
                    "address",
                    "a unit that dials in is known by its address or by its greeting: say one of them",
                );
            }
            _ => {}
        }
        match (self.through, self.direction) {
            (Through::Base, Direction::Listen) => {
                refuse("direction", "an original base dials its units: none dials in to it")
            }
            _ => Ok(self),
        }
    }
}

impl End {
    /// The bytes.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Cr => b"\r",
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

#[cfg(test)]
mod tests;
