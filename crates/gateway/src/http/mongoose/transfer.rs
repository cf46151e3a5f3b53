//! A firmware on its way into a device: begun, written piece by piece with one call open at a time, ended. What comes
//! of it is for [`motehub_domain::rollout`] to judge; here are only the calls.

use std::time::Duration;

use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{FirmwareSignal, Offer};
use motehub_protocol::mongoose::{self, Fault};
use serde_json::{Value, json};

use crate::hub::{Hub, UplinkError};

/// How many bytes go into one call: as base64 they fit into a frame with room for the rest.
const PIECE_BYTES: usize = 2 * 1024;
/// How long a device may take to answer one of these calls; erasing its flash takes the longest.
pub(super) const CALL_MAX: Duration = Duration::from_secs(60);
/// After so many seconds without a piece the device gives an update up.
const DEVICE_TIMEOUT_S: i64 = 600;
/// So many seconds after the health window a device that nobody told to keep the firmware returns to its former one.
const COMMIT_MARGIN_S: i64 = 75;
/// What a device says that is still busy with an update that was cut off.
const BUSY: &str = "in progress";

/// One transfer.
pub(super) struct Transfer {
    digest: Digest,
    size: usize,
    /// What the device has.
    written: usize,
    /// Whether all was written and it was told so.
    is_ended: bool,
    commit_timeout_s: i64,
    said_tenths: usize,
}

/// What to do next.
pub(super) enum Next {
    /// Call this.
    Call(&'static str, Value),
    /// Nothing more.
    Over,
}

impl Transfer {
    /// Of what was offered; `None` if it is not for this device any more.
    pub(super) async fn begin(
        hub: &dyn Hub,
        device: DeviceId,
        offer: &Offer,
    ) -> Result<Option<Self>, UplinkError> {
        let size = hub.artifact_size(device, offer.digest).await?;
        let commit_timeout_s = offer.health_window.0.div_euclid(1000) + COMMIT_MARGIN_S;
        let digest = offer.digest;
        Ok(size.map(|size| Self {
            digest,
            size,
            written: 0,
            is_ended: false,
            commit_timeout_s,
            said_tenths: 0,
        }))
    }

    /// Of which artifact.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The first call.
    pub(super) fn first(&self) -> (&'static str, Value) {
        let params = json!({
            "timeout": DEVICE_TIMEOUT_S, "commit_timeout": self.commit_timeout_s, "size": self.size,
        });
        ("OTA.Begin", params)
    }

    /// The device answered the last call: what that means, and what follows.
    pub(super) async fn answered(
        &mut self,
        hub: &dyn Hub,
        outcome: Result<Value, Fault>,
    ) -> Result<(Option<FirmwareSignal>, Next), UplinkError> {
        if let Err(Fault { code, message }) = outcome {
            let signal = match self.written == 0 && message.contains(BUSY) {
                // It gives that up by itself; then this is offered again.
                true => {
                    FirmwareSignal::Transferring(Some("the device is busy with a former update".to_owned()))
                }
                false => FirmwareSignal::Failed(format!("{message} (code {code})")),
            };
            return Ok((Some(signal), Next::Over));
        }
        if self.is_ended {
            return Ok((Some(FirmwareSignal::Transferred), Next::Over));
        }
        let signal = self.progress();
        if self.written >= self.size {
            self.is_ended = true;
            return Ok((signal, Next::Call("OTA.End", Value::Null)));
        }
        let end = (self.written + PIECE_BYTES).min(self.size);
        let piece = hub.artifact_part(self.digest, self.written..end).await?;
        self.written = end;
        Ok((signal, Next::Call("OTA.Write", mongoose::piece(&piece))))
    }

    /// That it began, and each tenth of the way.
    fn progress(&mut self) -> Option<FirmwareSignal> {
        let tenths = self.written * 10 / self.size.max(1);
        if self.written == 0 {
            return Some(FirmwareSignal::Transferring(None));
        }
        let is_new = std::mem::replace(&mut self.said_tenths, tenths) != tenths;
        is_new.then(|| FirmwareSignal::Transferring(Some(format!("{} %", tenths * 10))))
    }
}
