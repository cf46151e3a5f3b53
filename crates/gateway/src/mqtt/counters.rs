//! What the broker counts.

use super::Broker;
use super::wire::reason;

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
    /// Messages for which all queues together had no room.
    pub dropped_memory: u64,
    /// Messages larger than the subscriber takes.
    pub dropped_large: u64,
    /// Messages the subscriber has no longer the right to.
    pub dropped_rights: u64,
    /// Messages that expired while they waited.
    pub dropped_expired: u64,
    /// Messages for a session that had gone to another node meanwhile.
    pub dropped_elsewhere: u64,
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

/// Publishes for Prometheus what a broker counted and holds.
pub(super) fn publish(broker: &Broker) {
    let (counters, (connections, sessions, retained)) = (broker.counters(), broker.sizes());
    let Counters { messages_in, messages_out, .. } = *counters;
    metrics::gauge!("motehub_mqtt_connections").set(connections as f64);
    metrics::gauge!("motehub_mqtt_sessions").set(sessions as f64);
    metrics::gauge!("motehub_mqtt_retained_messages").set(retained as f64);
    metrics::counter!("motehub_mqtt_messages_total", "direction" => "in").absolute(messages_in);
    metrics::counter!("motehub_mqtt_messages_total", "direction" => "out").absolute(messages_out);
    let refused = [
        ("credentials", counters.refused_credentials),
        ("limit", counters.refused_limit),
        ("rights", counters.refused_rights),
        ("payload", counters.refused_payload),
        ("unavailable", counters.refused_unavailable),
        ("protocol", counters.refused_protocol),
    ];
    for (reason, count) in refused {
        metrics::counter!("motehub_mqtt_refused_total", "reason" => reason).absolute(count);
    }
    let dropped = [
        ("slow", counters.dropped_slow),
        ("full", counters.dropped_full),
        ("memory", counters.dropped_memory),
        ("large", counters.dropped_large),
        ("rights", counters.dropped_rights),
        ("expired", counters.dropped_expired),
        ("retained", counters.dropped_retained),
        ("elsewhere", counters.dropped_elsewhere),
    ];
    for (reason, count) in dropped {
        metrics::counter!("motehub_mqtt_dropped_total", "reason" => reason).absolute(count);
    }
}
