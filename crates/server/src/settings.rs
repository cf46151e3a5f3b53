//! What the server is told at start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use motehub_domain::network::Network;
use motehub_domain::topic::TopicFilter;
use motehub_gateway::mqtt;
use motehub_store::StoreUrl;

use crate::backup::store_in;
use crate::clock::Clock;
use crate::cluster::NodeName;
use crate::cluster::bus::BusUrl;

/// Settings of one hub. Port 0 lets the system choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds everything the hub keeps.
    pub data: PathBuf,
    /// The bus between the nodes of a hub of several; without it the hub is alone.
    pub bus: Option<BusUrl>,
    /// The name of this node.
    pub node: NodeName,
    /// Where its state is: a file in this folder, or a server that other nodes use too.
    pub store: StoreUrl,
    /// Where the API, the dashboard and device-facing HTTP listen.
    pub http: SocketAddr,
    /// Where the same is served over TLS, if it is.
    pub https: Option<SocketAddr>,
    /// Where MQTT over TCP listens.
    pub mqtt: SocketAddr,
    /// Where MQTT over TLS listens, if it does.
    pub mqtt_tls: Option<SocketAddr>,
    /// Where MQTT over WebSocket listens, if it does.
    pub mqtt_ws: Option<SocketAddr>,
    /// Where CoAP over UDP listens, if it does.
    pub coap: Option<SocketAddr>,
    /// Where CoAP over DTLS listens, if it does.
    pub coaps: Option<SocketAddr>,
    /// The port that RIOT nodes listen on: 5683, unless a test has others.
    pub riot_port: u16,
    /// Where nodes of the Pyaiot family come in by themselves.
    pub nodes: Nodes,
    /// Where Mongoose OS devices and the programs around mDash are served, if they are.
    pub mdash: Option<SocketAddr>,
    /// Where the HTTP data plane of AWS IoT is served, over TLS, if it is.
    pub aws: Option<SocketAddr>,
    /// Whether users of the original phone app are let in there, whose name is their password.
    pub mdash_app_users: bool,
    /// What is there for Pyaiot.
    pub pyaiot: Pyaiot,
    /// Where the Pusher protocol is spoken.
    pub pusher: Pusher,
    /// Boards with ESP-FIRMWARE, if they are served.
    pub esp_firmware: Option<EspFirmware>,
    /// Where units are.
    pub line: Units,
    /// Topic filters open to MQTT clients without credentials; none by default.
    pub mqtt_anonymous: Vec<TopicFilter>,
    /// From where balancers connect, which say from whom each TCP connection comes; nowhere by default.
    pub balancers: Vec<Network>,
    /// Limits of the MQTT broker.
    pub mqtt_limits: mqtt::Limits,
    /// A TLS certificate chain and key in PEM; without them the hub makes its own authority in the data folder.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Where devices reach `http`, such as `https://hub.example`, if they are told.
    pub public_url: Option<String>,
    /// The largest firmware that is taken, in bytes.
    pub firmware_bytes_max: usize,
    /// The networks to which webhooks and flows may post beside public addresses.
    pub webhook_networks: Vec<Network>,
    /// The mail server, if mail can be sent.
    pub smtp: Option<SmtpSettings>,
    /// How long telemetry is kept where nobody says otherwise.
    pub keep: Keep,
    /// A file to which every change is appended as a line of JSON, if there is one.
    pub activity_file: Option<PathBuf>,
    /// The clock.
    pub clock: Clock,
}

impl Settings {
    /// Those of a hub in a folder that is reached from this machine only, on ports that the system chooses, with
    /// everything off that can be off.
    pub fn in_folder(data: &Path) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data: data.to_owned(),
            bus: None,
            node: NodeName::default(),
            store: store_in(data),
            http: free,
            https: None,
            mqtt: free,
            mqtt_tls: None,
            mqtt_ws: None,
            coap: None,
            coaps: None,
            riot_port: 0,
            nodes: Nodes::default(),
            mdash: None,
            aws: None,
            mdash_app_users: false,
            pyaiot: Pyaiot::default(),
            pusher: Pusher::default(),
            esp_firmware: None,
            line: Units::default(),
            mqtt_anonymous: Vec::new(),
            balancers: Vec::new(),
            mqtt_limits: mqtt::Limits::default(),
            tls_files: None,
            public_url: None,
            firmware_bytes_max: 4 * 1024 * 1024,
            webhook_networks: Vec::new(),
            smtp: None,
            keep: Keep::default(),
            activity_file: None,
            clock: Clock::System,
        }
    }
}

/// A mail server, and from whom mails come.
#[derive(Clone)]
pub struct SmtpSettings {
    /// How what is said to it is protected.
    pub security: SmtpSecurity,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, if it wants them.
    pub login: Option<(String, String)>,
    /// Such as `hub@example.org`.
    pub from: String,
}

impl std::fmt::Debug for SmtpSettings {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { security, host, port, from, .. } = self;
        write!(f, "{security:?} {host}:{port} from {from}")
    }
}

/// How what is said to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// By TLS from the first byte.
    Tls,
    /// By TLS that the server is asked for; without it nothing is sent.
    StartTls,
    /// Not at all.
    None,
}

/// What is there for Pyaiot; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Pyaiot {
    /// Where its gateways and clients are served.
    pub address: Option<SocketAddr>,
    /// Whether clients without credentials may see everything there.
    pub anonymous: bool,
    /// Pages whose visitors may use their login there, such as `http://lab:8080`.
    pub origins: Vec<String>,
}

/// Where the Pusher protocol is spoken; nowhere by default.
#[derive(Debug, Clone, Default)]
pub struct Pusher {
    /// Without TLS.
    pub address: Option<SocketAddr>,
    /// Over TLS.
    pub tls: Option<SocketAddr>,
    /// Pages whose visitors may use their login there, such as `http://hub:8080`.
    pub origins: Vec<String>,
}

/// How boards with ESP-FIRMWARE are served, which have no credential.
#[derive(Debug, Clone)]
pub struct EspFirmware {
    /// The port that their HTTP servers listen on: 80, unless they are virtual.
    pub port: u16,
    /// Where boards are called beside the address that they may speak from.
    pub networks: Vec<Network>,
    /// Where what they log is taken, if it is.
    pub logstash: Option<SocketAddr>,
}

/// Where units are, plain TCP devices that prove nothing of themselves.
#[derive(Debug, Clone)]
pub struct Units {
    /// Where those that dial in are taken, if they are.
    pub listen: Option<SocketAddr>,
    /// Where units may be: private networks and the host itself, unless somebody says otherwise.
    pub networks: Vec<Network>,
}

impl Default for Units {
    fn default() -> Self {
        Self { listen: None, networks: motehub_domain::line::default_networks() }
    }
}

/// Where nodes of the Pyaiot family come in by themselves; nowhere by default, since they have no credential.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nodes {
    /// By WebSocket.
    pub websocket: Option<SocketAddr>,
    /// By MQTT.
    pub mqtt: Option<SocketAddr>,
    /// By MQTT-SN, over UDP.
    pub mqtt_sn: Option<SocketAddr>,
}

/// How many days telemetry is kept; 0 is for ever. Summaries of days are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Points.
    pub points_days: u32,
    /// Summaries of minutes.
    pub minutes_days: u32,
    /// Summaries of hours.
    pub hours_days: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { points_days: 90, minutes_days: 400, hours_days: 3_660 }
    }
}
