//! What the broker shows of itself: counters and live connections.

use std::net::SocketAddr;

use motehub_domain::id::DeviceId;

use super::wire::reason;

/// A live connection, for the connections page.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// Its client identifier.
    pub client_id: String,
    /// The device, if it is one.
    pub device: Option<DeviceId>,
    /// The remote address.
    pub address: SocketAddr,
    /// How long it has been open, in milliseconds.
    pub open_ms: u64,
    /// Topic filters it is subscribed to.
    pub subscriptions: Vec<String>,
    /// Messages that wait for it or for its acknowledgement.
    pub queued: usize,
    /// Messages for it that were dropped.
    pub dropped: u64,
}

/// What was counted since the broker was made.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Messages published by clients.
    pub messages_in: u64,
    /// Messages sent to clients.
    pub messages_out: u64,
    /// Connections refused for their credentials or because the hub could not tell.
    pub refused_credentials: u64,
    /// Connections, sessions or subscriptions beyond a limit.
    pub refused_limit: u64,
    /// Publishes, subscriptions and wills without the right to it.
    pub refused_rights: u64,
    /// Publishes that mean nothing in the device's dialect, or that the product does not take.
    pub refused_payload: u64,
    /// Uplinks that could not be stored.
    pub refused_unavailable: u64,
    /// Connections ended because of malformed or forbidden packets.
    pub refused_protocol: u64,
    /// QoS 0 messages to a subscriber that does not read fast enough.
    pub dropped_slow: u64,
    /// Messages beyond the limit of a session's queue.
    pub dropped_full: u64,
    /// Messages larger than the subscriber takes.
    pub dropped_large: u64,
    /// Messages the subscriber has no longer the right to.
    pub dropped_rights: u64,
    /// Messages that expired while they waited.
    pub dropped_expired: u64,
    /// Messages that could not be retained.
    pub dropped_retained: u64,
}

impl Counters {
    pub(super) fn count_refused(&mut self, code: u8) {
        match code {
            reason::NOT_AUTHORIZED => self.refused_rights += 1,
            _ => self.refused_payload += 1,
        }
    }
}
