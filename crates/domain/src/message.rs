//! What passes between a device and the product once its dialect has understood the bytes.

use serde_json::Value;

use crate::artifact::{Artifact, ArtifactKind, Digest};
use crate::flow::Passed;
use crate::id::CommandId;
use crate::report::{Announcement, Event, LogLine, TaskReport};
use crate::shadow::{Delta, Request, Shadow};
use crate::telemetry::{Metric, Point};
use crate::time::{Span, Time};

/// What a device says.
#[derive(Debug, Clone, PartialEq)]
pub enum Uplink {
    /// Measurements.
    Telemetry(Vec<Point>),
    /// The unit in which a device measures something.
    Unit {
        /// What it measures.
        metric: Metric,
        /// Such as `°C`.
        unit: String,
    },
    /// The device said that it is alive, and nothing more.
    Alive,
    /// A device that pulls asked whether something waits for it. Says also that it is alive.
    Polled,
    /// A device that pulls took an artifact, to the last byte.
    Fetched {
        /// Of the bytes it took.
        digest: Digest,
    },
    /// The device says what it is and what it runs.
    Announced(Box<Announcement>),
    /// Something happened at the device.
    Event(Event),
    /// Lines of the device's log.
    Log(Vec<LogLine>),
    /// How far the device is with an artifact.
    Task(TaskReport),
    /// How the device is with its firmware.
    Firmware(FirmwareSignal),
    /// The device reports into its shadow, or asks for it.
    Shadow(Request),
    /// A step of a flow on the device emitted a value that steps elsewhere take.
    Passed(Box<Passed>),
    /// The device answered a command.
    Reply {
        /// Which.
        command: CommandId,
        /// How it went.
        outcome: Outcome,
    },
}

/// What devices say about their firmware, in any dialect. How a task proceeds by it is in
/// [`crate::rollout::firmware`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareSignal {
    /// It takes the bytes; perhaps with a remark such as how far it is.
    Transferring(Option<String>),
    /// It has all of them, they are what they should be, and it starts with them now.
    Transferred,
    /// It runs this. Said after every start and every connection.
    Started {
        /// Which program it is, if it says so.
        name: Option<String>,
        /// Which version.
        version: String,
        /// Which build of it, if it says so.
        build: Option<String>,
        /// Whether it keeps it over the next start; `None` if it knows no trial.
        committed: Option<bool>,
    },
    /// It keeps what it runs.
    Committed,
    /// It does not take it, or broke off; the sentence says why.
    Failed(String),
}

/// What a device answers to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did it; with a result, any JSON, if it gave one.
    Done(Option<Value>),
    /// It could not; the sentence says why.
    Failed(String),
    /// It answered with an error of its own protocol.
    Refused {
        /// Its code there.
        code: i64,
        /// What it said.
        message: String,
    },
}

/// What the product says to a device. Every downlink can be recomputed from stored state, so losing one is a
/// delay and never a loss.
#[derive(Debug, Clone, PartialEq)]
pub enum Downlink {
    /// A new credential, in place of the one it has.
    Credential(Secret),
    /// Something waits for the device; it should ask for it.
    Offer(Offer),
    /// An offer is withdrawn: the device need not fetch it any more.
    Cancel(Digest),
    /// The device shall keep the firmware with this digest, which it runs on trial.
    Commit(Digest),
    /// The device shall go back from the firmware with this digest, which it runs on trial, to the one before.
    Revert(Digest),
    /// The device shall do something once.
    Command(Order),
    /// A value for steps of a flow on the device. Of all downlinks only this one may be lost: it is a live value.
    Passed(Box<Passed>),
    /// Something is desired of the device that it does not report.
    Delta(Box<Delta>),
    /// The shadow that the device asked for.
    Shadow(Box<Shadow>),
}

/// A command as it is said to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Of the command; the same when it is said again, and then it is not done again.
    pub id: CommandId,
    /// What to do.
    pub name: String,
    /// With what; null for nothing.
    pub arguments: Value,
    /// Not after this moment.
    pub expires_at: Time,
    /// How long that is from now, for devices without a clock.
    pub ttl: Span,
}

/// An artifact that waits for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it is.
    pub kind: ArtifactKind,
    /// Of the artifact's bytes.
    pub digest: Digest,
    /// Of the artifact.
    pub size_bytes: u64,
    /// How long the device shall run it without trouble before it says Done.
    pub health_window: Span,
}

impl Offer {
    /// Of an artifact.
    pub fn new(artifact: &Artifact, health_window: Span) -> Self {
        Self {
            kind: artifact.kind,
            digest: artifact.digest,
            size_bytes: artifact.size_bytes.unsigned_abs(),
            health_window,
        }
    }
}

/// A secret on its way to a device. It is never stored, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The credential.
    pub credential: String,
    /// The key for DTLS that belongs to it.
    pub coap_key: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
