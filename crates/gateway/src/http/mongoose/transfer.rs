//! A firmware on its way into a device. It is pushed: begun, written piece by piece with one call open at a time, and
//! ended. A device that has no such methods is told an address to fetch it from, by a call, or, if it does not know
//! that call either, in a delta of its shadow. What comes of it is for [`motehub_domain::rollout`] to judge; here are
//! only the calls.

use std::time::Duration;

use motehub_domain::artifact::Digest;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{FirmwareSignal, Offer};
use motehub_protocol::mongoose::{self, Fault};
use serde_json::{Value, json};

use super::links::{Lent, Link, Links};
use crate::hub::{Hub, UplinkError};

/// How many bytes go into one call: as base64 they fit into a frame with room for the rest.
const PIECE_BYTES: usize = 2 * 1024;
/// How long a device may take to answer one of the calls of a push; erasing its flash takes the longest.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long a device may take to answer that it fetched all of it.
const FETCH_MAX: Duration = Duration::from_secs(600);
/// After so many seconds without a piece the device gives an update up.
const DEVICE_TIMEOUT_S: i64 = 600;
/// So many seconds after the health window a device that nobody told to keep the firmware returns to its former one.
const COMMIT_MARGIN_S: i64 = 75;
/// What a device says that is still busy with an update that was cut off.
const BUSY: &str = "in progress";

/// One transfer.
pub(super) struct Transfer {
    lent: Lent,
    way: Way,
    /// Where devices reach us, and what is lent there.
    origin: Option<String>,
    links: Links,
    /// Good for as long as the transfer.
    _link: Option<Link>,
    commit_timeout_s: i64,
}

/// How it goes.
enum Way {
    /// By calls with its bytes.
    Pushed(Push),
    /// The device was called to fetch it.
    Fetched,
    /// The device was told by a delta to fetch it.
    Told,
}

/// How far a push is.
#[derive(Default)]
struct Push {
    /// What the device has.
    written: usize,
    /// Whether all was written and it was told so.
    is_ended: bool,
    said_tenths: usize,
}

/// What to do next.
pub(super) enum Next {
    /// Call this, and wait so long for the answer.
    Call(&'static str, Value, Duration),
    /// Nothing more is to be said; the device goes on by itself.
    Watch,
    /// Nothing more.
    Over,
}

impl Transfer {
    /// Of what was offered; `None` if it is not for this device any more. `origin` is where devices reach us.
    pub(super) async fn begin(
        hub: &dyn Hub,
        device: DeviceId,
        offer: &Offer,
        origin: Option<&str>,
        links: &Links,
    ) -> Result<Option<Self>, UplinkError> {
        let digest = offer.digest;
        let Some(size) = hub.artifact_size(device, digest).await? else { return Ok(None) };
        Ok(Some(Self {
            lent: Lent { device, digest, size },
            way: Way::Pushed(Push::default()),
            origin: origin.map(str::to_owned),
            links: links.clone(),
            _link: None,
            commit_timeout_s: offer.health_window.0.div_euclid(1000) + COMMIT_MARGIN_S,
        }))
    }

    /// Of which artifact.
    pub(super) fn digest(&self) -> Digest {
        self.lent.digest
    }

    /// The first call.
    pub(super) fn first(&self) -> Next {
        let params = json!({
            "timeout": DEVICE_TIMEOUT_S, "commit_timeout": self.commit_timeout_s, "size": self.lent.size,
        });
        Next::Call("OTA.Begin", params, CALL_MAX)
    }

    /// The device answered the last call: what that means, and what follows.
    pub(super) async fn answered(
        &mut self,
        hub: &dyn Hub,
        outcome: Result<Value, Fault>,
    ) -> Result<(Option<FirmwareSignal>, Next), UplinkError> {
        match (outcome, &mut self.way) {
            (Err(fault), _) => Ok(self.refused(&fault)),
            (Ok(_), Way::Pushed(push)) => push.goes_on(hub, &self.lent).await,
            (Ok(_), Way::Fetched) => Ok((Some(FirmwareSignal::Transferred), Next::Over)),
            (Ok(_), Way::Told) => Ok((None, Next::Watch)),
        }
    }

    fn refused(&mut self, fault: &Fault) -> (Option<FirmwareSignal>, Next) {
        let Fault { code, message } = fault;
        let is_begun = matches!(&self.way, Way::Pushed(push) if push.written > 0);
        if fault.is_unknown_method() && !is_begun {
            return match self.other_way() {
                Some(next) => (None, next),
                None => {
                    let why = format!("the device cannot be updated over the air: {message} (code {code})");
                    (Some(FirmwareSignal::Failed(why)), Next::Over)
                }
            };
        }
        let signal = match &self.way {
            // Old firmware says in the form of an error that all went well.
            Way::Fetched if *code == 0 => FirmwareSignal::Transferred,
            // It gives that up by itself; then this is offered again.
            Way::Pushed(push) if push.written == 0 && message.contains(BUSY) => {
                FirmwareSignal::Transferring(Some("the device is busy with a former update".to_owned()))
            }
            Way::Pushed(_) | Way::Fetched | Way::Told => {
                FirmwareSignal::Failed(format!("{message} (code {code})"))
            }
        };
        (Some(signal), Next::Over)
    }

    /// The way for a device that does not know this one.
    fn other_way(&mut self) -> Option<Next> {
        let link = self.links.lend(self.lent);
        let url = format!("{}{}", self.origin.as_ref()?, link.path());
        let (way, next) = match self.way {
            Way::Pushed(_) => {
                let params = json!({ "url": url, "commit_timeout": self.commit_timeout_s });
                (Way::Fetched, Next::Call("OTA.Update", params, FETCH_MAX))
            }
            Way::Fetched => {
                // It is in no document: the address is good for this once.
                let params = json!({ "state": { "ota": { "url": url } } });
                (Way::Told, Next::Call(mongoose::DELTA, params, CALL_MAX))
            }
            Way::Told => return None,
        };
        (self.way, self._link) = (way, Some(link));
        Some(next)
    }
}

impl Push {
    async fn goes_on(
        &mut self,
        hub: &dyn Hub,
        lent: &Lent,
    ) -> Result<(Option<FirmwareSignal>, Next), UplinkError> {
        if self.is_ended {
            return Ok((Some(FirmwareSignal::Transferred), Next::Over));
        }
        let signal = self.progress(lent.size);
        if self.written >= lent.size {
            self.is_ended = true;
            return Ok((signal, Next::Call("OTA.End", Value::Null, CALL_MAX)));
        }
        let end = (self.written + PIECE_BYTES).min(lent.size);
        let piece = hub.artifact_part(lent.digest, self.written..end).await?;
        self.written = end;
        Ok((signal, Next::Call("OTA.Write", mongoose::piece(&piece), CALL_MAX)))
    }

    /// That it began, and each tenth of the way.
    fn progress(&mut self, size: usize) -> Option<FirmwareSignal> {
        let tenths = self.written * 10 / size.max(1);
        if self.written == 0 {
            return Some(FirmwareSignal::Transferring(None));
        }
        let is_new = std::mem::replace(&mut self.said_tenths, tenths) != tenths;
        is_new.then(|| FirmwareSignal::Transferring(Some(format!("{} %", tenths * 10))))
    }
}
