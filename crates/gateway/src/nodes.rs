//! Nodes of the Pyaiot family that say by themselves who they are and what their resources are: over a WebSocket at
//! `/node`, and by topics over MQTT and MQTT-SN. They have no credential; a node is let in by its name if its device
//! may speak from its address.
//!
//! [`guest`] is one connection of one node, whatever carries it; [`node`] decides without waiting. [`caller`] is a
//! guest that speaks by topics. What RIOT nodes say over CoAP comes to the same [`values`].

mod caller;
mod guest;
pub mod mqtt;
pub mod mqtt_sn;
mod names;
mod node;
mod pace;
mod values;
mod websocket;

pub use pace::Pace;
pub(crate) use values::{RESOURCES_MAX, Taken, Values};
pub use websocket::routes;
