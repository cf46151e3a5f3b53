//! MQTT 3.1.1 and 5.0 over TCP, TLS and WebSocket.
//!
//! The [`Broker`] is one plain structure: what happens goes in, what is to be done comes out in an [`Out`]. It has
//! no socket, no clock, no task and no randomness, so every sentence of the specification can be tested with a
//! text file. The [`Gateway`] around it owns the sockets: one task per connection, one lock per read of a socket,
//! never held across an await.
//!
//! An uplink of QoS 1 or 2 is acknowledged, and passed on to subscribers, when the hub says that it is on disk.
//! Sessions that outlive their connections, what waits for them, and retained messages are kept by the hub; a publish
//! that changes any of them is acknowledged when the change is on disk.

mod asks;
mod broker;
mod cluster;
mod connect;
mod connection;
mod counters;
mod deliver;
mod ending;
mod gateway;
mod keeper;
mod keeping;
mod limits;
mod lone_password;
mod message;
mod notes;
mod out;
pub(crate) mod packets;
mod properties;
mod publish;
mod reply;
mod retained;
mod routes;
mod send;
mod session;
mod stale;
mod state;
mod subscribe;
mod tls;
mod view;
mod websocket;
mod wire;

pub use broker::Broker;
pub use cluster::{News, Said, Wishes};
pub use counters::Counters;
pub use gateway::{Addresses, Gateway, Handle, Settings};
pub use limits::{Limits, Told};
pub use motehub_domain::kept::Message;
pub use out::{Flow, Out, Slot, Token};
pub use view::{LiveView, SessionView, Totals, Wanted};

/// Milliseconds since 1970, on a clock that only goes forward while the program runs.
pub type Millis = u64;

/// The protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3,
    /// 5.0
    V5,
}

/// What lies between TCP and MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nothing.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    WebSocket,
    /// TLS, and WebSocket in it.
    WebSocketTls,
}
