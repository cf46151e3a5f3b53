//! CoAP (RFC 7252) with observation (RFC 7641), block-wise transfer (RFC 7959) and link format (RFC 6690), as one
//! symmetric [`Endpoint`] for each UDP socket: client and server at once, since nodes are both.
//!
//! It has no socket, no clock and no random source: datagrams, the time and a source of numbers are given to it;
//! datagrams, events and one next moment come out.

pub mod link;

mod block;
mod endpoint;
mod limits;
mod message;

pub use block::Block;
pub use endpoint::{CallId, Counters, Endpoint, Event, ExchangeId, Failure, ObserverId};
pub use limits::Limits;
pub use message::{Body, Code, Method, Request, Response, Token, format};
