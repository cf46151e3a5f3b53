//! How connections are shown, to people and to other nodes.

use std::borrow::Cow;

use motehub_domain::kept::Principal;
use motehub_domain::time::Time;
use motehub_gateway::mqtt::{self, Listener, LiveView, SessionView, Totals, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::rfc3339;

/// How many subscriptions of a session are shown.
const SUBSCRIPTIONS_SHOWN: usize = 100;

/// An MQTT session, connected or away.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Connection {
    /// Its number.
    pub(super) id: String,
    /// The node of the hub that has it.
    pub(super) node: String,
    /// The client identifier.
    pub(super) client_id: String,
    /// Who it is: a device's or token's name, or "anonymous".
    name: String,
    /// What they are: `device`, `token` or `anonymous`.
    kind: Cow<'static, str>,
    /// The device, if it is one.
    pub(super) device: Option<String>,
    /// Whether the client is connected; otherwise the session waits for it.
    pub(super) connected: bool,
    /// The remote address.
    address: Option<String>,
    /// `tcp`, `tls`, `ws` or `wss`.
    transport: Option<Cow<'static, str>>,
    /// The MQTT version: `3.1.1` or `5.0`.
    version: Option<Cow<'static, str>>,
    /// Connected since.
    since: Option<String>,
    /// Seconds between two signs of life of the client; 0 for none.
    keep_alive_seconds: Option<u16>,
    /// How many seconds the session outlives its connection.
    expiry_seconds: u64,
    /// When a session that waits ends.
    ends_at: Option<String>,
    /// What it is subscribed to; at most 100 of them.
    subscriptions: Vec<Subscription>,
    /// How many there are.
    subscription_count: usize,
    /// Messages that were sent to the client and that it has not acknowledged.
    in_flight: usize,
    /// Messages that wait for it.
    queued: usize,
    /// Bytes of those.
    queued_bytes: usize,
    /// Messages for it that were dropped.
    dropped: u64,
}

/// A subscription.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Subscription {
    /// The topic filter, with `$share/NAME/` if it is shared.
    filter: String,
    /// Granted quality of service.
    qos: u8,
}

/// What the broker holds and has counted since the hub started.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct BrokerTotals {
    /// Open connections.
    connections: usize,
    /// Sessions, connected or away.
    sessions: usize,
    /// Sessions that wait for their clients.
    away: usize,
    /// Subscriptions.
    subscriptions: usize,
    /// Messages that wait or are not acknowledged.
    queued: usize,
    /// Bytes of all that waits for clients, about.
    waiting_bytes: usize,
    /// Retained messages.
    retained: usize,
    /// Messages published by clients.
    messages_in: u64,
    /// Messages sent to clients.
    messages_out: u64,
    /// What was dropped.
    dropped: Dropped,
    /// What was refused.
    refused: Refused,
}

/// Messages that were dropped, by the reason.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Dropped {
    /// The queue of the session was full.
    full: u64,
    /// The subscriber does not read fast enough (QoS 0).
    slow: u64,
    /// All queues together were full.
    memory: u64,
    /// Larger than the subscriber takes.
    large: u64,
    /// They expired.
    expired: u64,
    /// The subscriber has no right to them any more.
    rights: u64,
    /// There was no room to retain them.
    retained: u64,
}

/// What was refused, by the reason.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Refused {
    /// Wrong credentials.
    credentials: u64,
    /// Beyond a limit.
    limit: u64,
    /// Publishes, subscriptions and wills without the right to it.
    rights: u64,
    /// Publishes that mean nothing.
    payload: u64,
    /// Publishes that could not be stored.
    unavailable: u64,
    /// Malformed or forbidden packets.
    protocol: u64,
}

impl Connection {
    pub(super) fn new(view: SessionView, node: &str) -> Self {
        let (kind, device) = match view.principal {
            Principal::Device(device) => ("device", Some(device.to_string())),
            Principal::Token(_) => ("token", None),
            Principal::Anonymous => ("anonymous", None),
        };
        let live = view.connection;
        let of = |of: fn(&LiveView) -> &'static str| live.as_ref().map(of).map(Cow::Borrowed);
        Self {
            id: view.serial.to_string(),
            node: node.to_owned(),
            client_id: view.client_id,
            name: view.name,
            kind: Cow::Borrowed(kind),
            device,
            connected: live.is_some(),
            address: live.as_ref().map(|live| live.address.to_string()),
            transport: of(transport),
            version: of(version),
            since: live.as_ref().map(|live| moment(live.since)),
            keep_alive_seconds: live.as_ref().map(|live| live.keep_alive_s),
            expiry_seconds: view.expiry_ms / 1000,
            ends_at: view.ends_at.map(moment),
            subscription_count: view.subscriptions.len(),
            subscriptions: view
                .subscriptions
                .into_iter()
                .take(SUBSCRIPTIONS_SHOWN)
                .map(|(filter, qos)| Subscription { filter, qos })
                .collect(),
            in_flight: view.in_flight,
            queued: view.queued,
            queued_bytes: view.queued_bytes,
            dropped: view.dropped,
        }
    }
}

impl BrokerTotals {
    pub(super) fn new(totals: Totals, counters: &mqtt::Counters) -> Self {
        Self {
            connections: totals.connections,
            sessions: totals.sessions,
            away: totals.away,
            subscriptions: totals.subscriptions,
            queued: totals.queued,
            waiting_bytes: totals.waiting_bytes,
            retained: totals.retained,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            dropped: Dropped {
                full: counters.dropped_full,
                slow: counters.dropped_slow,
                memory: counters.dropped_memory,
                large: counters.dropped_large,
                expired: counters.dropped_expired,
                rights: counters.dropped_rights,
                retained: counters.dropped_retained,
            },
            refused: Refused {
                credentials: counters.refused_credentials,
                limit: counters.refused_limit,
                rights: counters.refused_rights,
                payload: counters.refused_payload,
                unavailable: counters.refused_unavailable,
                protocol: counters.refused_protocol,
            },
        }
    }
    /// With what another node holds and counted. Every node has all that is retained.
    pub(super) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.sessions += other.sessions;
        self.away += other.away;
        self.subscriptions += other.subscriptions;
        self.queued += other.queued;
        self.waiting_bytes += other.waiting_bytes;
        self.retained = self.retained.max(other.retained);
        self.messages_in += other.messages_in;
        self.messages_out += other.messages_out;
        self.dropped.full += other.dropped.full;
        self.dropped.slow += other.dropped.slow;
        self.dropped.memory += other.dropped.memory;
        self.dropped.large += other.dropped.large;
        self.dropped.expired += other.dropped.expired;
        self.dropped.rights += other.dropped.rights;
        self.dropped.retained += other.dropped.retained;
        self.refused.credentials += other.refused.credentials;
        self.refused.limit += other.refused.limit;
        self.refused.rights += other.refused.rights;
        self.refused.payload += other.refused.payload;
        self.refused.unavailable += other.refused.unavailable;
        self.refused.protocol += other.refused.protocol;
    }
}

fn transport(live: &LiveView) -> &'static str {
    match live.listener {
        Listener::Tcp => "tcp",
        Listener::Tls => "tls",
        Listener::WebSocket => "ws",
        Listener::WebSocketTls => "wss",
    }
}

fn version(live: &LiveView) -> &'static str {
    match live.version {
        Version::V3 => "3.1.1",
        Version::V5 => "5.0",
    }
}

fn moment(ms: u64) -> String {
    rfc3339(Time(i64::try_from(ms).unwrap_or(i64::MAX)))
}
