//! The Pusher protocol, versions 5 to 7, and its HTTP API, from the side of the server: what is said in frames, what
//! channels are called, what is signed, and what a program asks to be published. Nothing here knows a socket or a
//! secret.

pub mod channel;
pub mod frame;
pub mod signature;
pub mod trigger;

pub use channel::{Channel, Kind, Own};
pub use frame::{FromClient, Member, from_client};
pub use trigger::{Refused, Trigger};

/// The versions of the protocol that are spoken.
pub const VERSIONS: std::ops::RangeInclusive<u64> = 5..=7;
/// Most bytes of the data of an event.
pub const DATA_BYTES_MAX: usize = 10 * 1024;
/// Most bytes of the name of an event.
pub const EVENT_BYTES_MAX: usize = 200;

/// Codes of errors and of closed connections. A client does not come back after those below 4100, comes back after a
/// while below 4200, and at once above.
pub mod code {
    /// There is no such app.
    pub const NO_APP: u16 = 4001;
    /// The app has too many connections.
    pub const OVER_QUOTA: u16 = 4004;
    /// The version of the protocol cannot be read.
    pub const BAD_VERSION: u16 = 4006;
    /// The version of the protocol is not spoken here.
    pub const OTHER_VERSION: u16 = 4007;
    /// No version of the protocol was said.
    pub const NO_VERSION: u16 = 4008;
    /// A signature is wrong, or a right has ended.
    pub const UNAUTHORISED: u16 = 4009;
    /// There are too many connections, or this one does not read what it is sent.
    pub const OVER_CAPACITY: u16 = 4100;
    /// The server ends; come back at once.
    pub const COME_BACK: u16 = 4200;
    /// Nothing was heard for too long.
    pub const SILENT: u16 = 4201;
    /// Too many events of a client in a second. The connection stays.
    pub const TOO_OFTEN: u16 = 4301;
}
