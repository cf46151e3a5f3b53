//! What one broker allows, in one place. Every queue, table and buffer of the gateway is bounded by a field here.

use motehub_domain::topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Bounds of the MQTT gateway; the defaults fit a hub with 10,000 boards and 1 GB of memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections at once from one address; fleets behind one router need many.
    pub connections_per_address_max: usize,
    /// Most CONNECTs from one address in a minute; those beyond it are told to come back later.
    pub connects_per_address_per_minute_max: u32,
    /// How long a client may take to send its CONNECT, in milliseconds.
    pub connect_wait_ms: u64,
    /// Largest packet taken from a client, in bytes.
    pub packet_bytes_max: usize,
    /// Largest CONNECT, in bytes: those who are not known yet get less.
    pub connect_bytes_max: usize,
    /// Longest client identifier, in bytes.
    pub client_id_bytes_max: usize,
    /// Longest topic or topic filter, in bytes; never more than the product knows.
    pub topic_bytes_max: usize,
    /// Most levels of a topic or topic filter; never more than the product knows.
    pub topic_levels_max: usize,
    /// Longest keep-alive in seconds; 5.0 clients that ask for more, or for none, are told this one.
    pub keep_alive_max_s: u16,
    /// Most sessions, connected or not, of one device or token.
    pub sessions_per_principal_max: usize,
    /// Longest time a session is kept without a connection, in seconds; 3.1.1 clients get this one.
    pub session_expiry_max_s: u32,
    /// Most subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// Most messages that wait in one session.
    pub queue_messages_max: usize,
    /// Most payload bytes that wait in one session.
    pub queue_bytes_max: usize,
    /// Most messages sent to a client that it has not acknowledged; a 5.0 client may ask for less.
    pub sent_unacknowledged_max: u16,
    /// Most QoS 1 and 2 messages of a client that we have not acknowledged; beyond it a 3.1.1 client is not
    /// read, a 5.0 client that ignores it is disconnected.
    pub taken_unacknowledged_max: u16,
    /// Most bytes of topics and payloads of a client's messages that we have not acknowledged; beyond it the
    /// client is not read.
    pub taken_bytes_max: usize,
    /// Most bytes that wait to be written to one connection before QoS 0 messages to it are dropped.
    pub output_bytes_max: usize,
    /// Most bytes of all that waits for clients, in all queues and outputs together; beyond it nothing more is put
    /// there. What several wait for counts for each.
    pub waiting_bytes_max: usize,
    /// Most retained messages.
    pub retained_messages_max: usize,
    /// Most bytes of retained topics and payloads.
    pub retained_bytes_max: usize,
    /// Topic aliases a 5.0 client may use towards us, and most that we use towards a client that allows them.
    pub topic_alias_max: u16,
    /// The order in which CONNACK tells the limits of this broker.
    pub connack_order: [Told; 3],
}

/// A limit that a 5.0 client is told in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Receive Maximum: `taken_unacknowledged_max`.
    ReceiveMaximum,
    /// Maximum Packet Size: `packet_bytes_max`.
    MaximumPacketSize,
    /// Topic Alias Maximum: `topic_alias_max`.
    TopicAliasMaximum,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 12_000,
            connects_per_address_per_minute_max: 60_000,
            connect_wait_ms: 10_000,
            packet_bytes_max: 1024 * 1024,
            connect_bytes_max: 64 * 1024,
            client_id_bytes_max: 128,
            topic_bytes_max: TOPIC_BYTES_MAX,
            topic_levels_max: TOPIC_LEVELS_MAX,
            keep_alive_max_s: 3_600,
            sessions_per_principal_max: 100,
            session_expiry_max_s: 7 * 24 * 3_600,
            subscriptions_per_session_max: 1_000,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            sent_unacknowledged_max: 64,
            taken_unacknowledged_max: 1_024,
            taken_bytes_max: 1024 * 1024,
            output_bytes_max: 256 * 1024,
            waiting_bytes_max: 512 * 1024 * 1024,
            retained_messages_max: 10_000,
            retained_bytes_max: 64 * 1024 * 1024,
            topic_alias_max: 16,
            connack_order: [Told::ReceiveMaximum, Told::MaximumPacketSize, Told::TopicAliasMaximum],
        }
    }
}
