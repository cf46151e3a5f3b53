//! How much a CoAP endpoint keeps. What is beyond it is refused or dropped, and counted.

/// The first time-out of a confirmable message, before its random part.
pub(super) const ACK_TIMEOUT_MS: u64 = 2_000;
/// The random part is below this: the factor 1.5.
pub(super) const ACK_RANDOM_MS: u64 = 1_000;
/// How often a confirmable message is sent again.
pub(super) const RETRANSMIT_MAX: u32 = 4;
/// For how long the identifier of a confirmable message is remembered.
pub(super) const EXCHANGE_LIFETIME_MS: u64 = 247_000;
/// For how long that of a non-confirmable one is.
pub(super) const NON_LIFETIME_MS: u64 = 145_000;
/// After so long without an answer a confirmable request is acknowledged, and its answer follows by itself.
pub(super) const SEPARATE_AFTER_MS: u64 = 1_500;
/// A datagram that fits into what IPv6 carries in one piece (RFC 7252, section 4.6).
pub(super) const DATAGRAM_BYTES_MAX: usize = 1_152;
/// How long an observation is fresh if it is not said.
pub(super) const MAX_AGE_S: u32 = 60;

/// What one endpoint keeps at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body that comes in blocks.
    pub body_bytes_max: usize,
    /// Bodies that come in blocks at once.
    pub uploads_max: usize,
    /// Of one peer.
    pub uploads_per_peer_max: usize,
    /// A body of which no block comes for so long is forgotten.
    pub upload_idle_ms: u64,
    /// Requests of ours that wait for their turn at one peer.
    pub waiting_per_peer_max: usize,
    /// Requests of ours without an answer.
    pub calls_max: usize,
    /// Requests that were not answered yet.
    pub exchanges_max: usize,
    /// Of one address.
    pub exchanges_per_address_max: usize,
    /// Who observe something here.
    pub observers_max: usize,
    /// At one peer.
    pub observers_per_peer_max: usize,
    /// Identifiers of messages that are remembered, to know a repetition.
    pub seen_max: usize,
    /// Bytes of answers that are remembered with them.
    pub seen_bytes_max: usize,
    /// Peers that something is sent to.
    pub peers_max: usize,
    /// Addresses that proved that they are whose they say.
    pub proven_max: usize,
    /// For how long such a proof holds.
    pub proven_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            uploads_max: 64,
            uploads_per_peer_max: 2,
            upload_idle_ms: 60_000,
            waiting_per_peer_max: 64,
            calls_max: 20_000,
            exchanges_max: 4_096,
            exchanges_per_address_max: 512,
            observers_max: 20_000,
            observers_per_peer_max: 16,
            seen_max: 100_000,
            seen_bytes_max: 16 * 1024 * 1024,
            peers_max: 20_000,
            proven_max: 20_000,
            proven_ms: 10 * 60_000,
        }
    }
}
