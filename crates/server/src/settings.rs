//! What the server is told at start.

use std::net::SocketAddr;
use std::path::PathBuf;

use motehub_domain::topic::TopicFilter;
use motehub_gateway::mqtt;

use crate::clock::Clock;

/// Settings of one hub. Port 0 lets the system choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds everything the hub keeps.
    pub data: PathBuf,
    /// Where the API, the dashboard and device-facing HTTP listen.
    pub http: SocketAddr,
    /// Where MQTT over TCP listens.
    pub mqtt: SocketAddr,
    /// Where MQTT over TLS listens, if it does.
    pub mqtt_tls: Option<SocketAddr>,
    /// Where MQTT over WebSocket listens, if it does.
    pub mqtt_ws: Option<SocketAddr>,
    /// Topic filters open to MQTT clients without credentials; none by default.
    pub mqtt_anonymous: Vec<TopicFilter>,
    /// Limits of the MQTT broker.
    pub mqtt_limits: mqtt::Limits,
    /// A TLS certificate chain and key in PEM; without them the hub makes its own authority in the data folder.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// The clock.
    pub clock: Clock,
}
