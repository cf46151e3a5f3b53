//! The link between a gateway on another host and its hub: one outgoing WebSocket over TLS, over which the gateway
//! calls the same [`crate::hub::Hub`] as inside the hub's process.
//!
//! [`RemoteHub`] is the gateway's end. It proves by a key of its own which gateway it is ([`proof`]), asks over the
//! live link ([`live`]), and finds it again when it is lost ([`dial`]). What devices say meanwhile waits on disk
//! ([`spool`]) and is delivered once ([`deliver`]); whom the hub let in comes in ([`verdicts`]). The hub's end is in
//! the server.

mod address;
mod deliver;
mod dial;
mod frame;
mod live;
mod order;
pub mod proof;
mod remote;
mod spool;
mod units;
mod verdicts;

pub use address::Address;
pub use dial::{Route, SILENCE_MAX};
pub use frame::{Down, Lane, Order, Question, Stamped, Status, Up};
pub use remote::{Clock, Ends, Notes, RemoteHub, Settings};
pub use spool::{BYTES_MIN as SPOOL_BYTES_MIN, Full, Spool, SpoolSettings};

/// Where a hub takes links, with the version behind it.
pub const PATH: &str = "/gateway";
