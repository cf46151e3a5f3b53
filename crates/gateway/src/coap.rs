//! CoAP over UDP: one socket for what nodes ask of us and what we ask of them. The rules of CoAP are in the endpoint
//! of `protocol`; here are the socket, the hub, and what the firmware families do with it.
//!
//! [`core`] decides without waiting: datagrams, the time and what the hub answered go in; datagrams and wishes to the
//! hub come out. [`gateway`] carries them, so that a test can move the clock. A gateway is open to anybody, or behind
//! [`dtls`], where everybody has proven who it is.

mod artifact;
mod core;
mod dtls;
mod gateway;
mod native;
mod riot;

pub use gateway::{Gateway, Settings};
pub use motehub_protocol::coap::Limits;
pub use motehub_protocol::riot::PORT as NODE_PORT;

/// A random number of the system, for [`Settings::draw`].
pub fn draw() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("because the operating system always has random numbers");
    u64::from_le_bytes(bytes)
}
