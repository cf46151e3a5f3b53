//! The addresses of a hub that is bound.

use std::net::SocketAddr;

use crate::{nodes, pusher};

/// Where a hub listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The API, the dashboard and device-facing HTTP.
    pub http: SocketAddr,
    /// The same over TLS.
    pub https: Option<SocketAddr>,
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over TLS.
    pub mqtt_tls: Option<SocketAddr>,
    /// MQTT over WebSocket.
    pub mqtt_ws: Option<SocketAddr>,
    /// CoAP over UDP.
    pub coap: Option<SocketAddr>,
    /// CoAP over DTLS.
    pub coaps: Option<SocketAddr>,
    /// Mongoose OS devices, and the API that mDash has.
    pub mdash: Option<SocketAddr>,
    /// The HTTP data plane of AWS IoT.
    pub aws: Option<SocketAddr>,
    /// Pyaiot gateways, and the programs made for it.
    pub pyaiot: Option<SocketAddr>,
    /// The Pusher protocol.
    pub pusher: pusher::Addresses,
    /// Nodes of the Pyaiot family.
    pub nodes: nodes::Addresses,
    /// What boards with ESP-FIRMWARE log.
    pub logstash: Option<SocketAddr>,
    /// Units that dial in.
    pub line: Option<SocketAddr>,
}
