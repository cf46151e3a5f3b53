//! What passes between a device and the product once its dialect has understood the bytes.

use crate::script::Digest;
use crate::telemetry::Point;

/// What a device says.
#[derive(Debug, Clone, PartialEq)]
pub enum Uplink {
    /// Measurements.
    Telemetry(Vec<Point>),
    /// The device said that it is alive, and nothing more.
    Alive,
    /// A device that pulls asked whether something waits for it. Says also that it is alive.
    Polled,
    /// A device that pulls took an artifact, to the last byte.
    Fetched {
        /// Of the bytes it took.
        digest: Digest,
    },
}

/// What the product says to a device. Every downlink can be recomputed from stored state, so losing one is a
/// delay and never a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downlink {
    /// Something waits for the device; it should ask for it.
    Offer(Offer),
}

/// An artifact that waits for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Of the artifact's bytes.
    pub digest: Digest,
    /// Of the artifact.
    pub size_bytes: u64,
}
