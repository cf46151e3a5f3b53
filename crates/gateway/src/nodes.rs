//! Nodes of the Pyaiot family that say by themselves who they are and what their resources are: over a WebSocket at
//! `/node`. They have no credential; a node is let in by its name if its device may speak from its address.
//!
//! [`guest`] is one connection of one node, whatever carries it; [`node`] decides without waiting. What RIOT nodes say
//! over CoAP comes to the same [`values`].

mod guest;
mod names;
mod node;
mod values;
mod websocket;

pub(crate) use values::{RESOURCES_MAX, Taken, Values};
pub use websocket::{Pace, routes};
