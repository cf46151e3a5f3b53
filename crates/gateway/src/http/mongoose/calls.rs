//! Our calls to one device that are not answered yet.

use std::collections::BTreeMap;

use motehub_domain::id::CommandId;
use motehub_domain::message::{FirmwareSignal, Outcome, Uplink};
use motehub_protocol::mongoose::{self, Fault};
use serde_json::Value;
use tokio::time::Instant;

/// Most open calls of a connection; a device itself queues no more than 25.
const OPEN_MAX: usize = 24;

/// The code of a device that keeps its firmware already.
const CODE_COMMITTED: i64 = -1;

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The device was asked what it is.
    Introduction,
    /// The device was asked whether it keeps the firmware that it runs.
    BootState,
    /// A part of a firmware.
    Transfer,
    /// The device was told to keep the firmware that it runs.
    Commit,
    /// The device was told to go back to the firmware before that.
    Revert,
    /// The device was told what is desired of it.
    Delta,
    /// A command.
    Command(CommandId),
}

/// The open calls.
#[derive(Default)]
pub(super) struct Calls {
    last: u64,
    open: BTreeMap<u64, (About, Instant)>,
}

impl Calls {
    /// A new call that is answered until then, or not at all. Returns its id; `None` if too many are open.
    pub(super) fn begin(&mut self, about: About, until: Instant) -> Option<u64> {
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        self.last += 1;
        self.open.insert(self.last, (about, until));
        Some(self.last)
    }

    /// Whether a call about this is open.
    pub(super) fn has(&self, about: About) -> bool {
        self.open.values().any(|(open, _)| *open == about)
    }

    /// What the answer with this id is about. Some devices give a number back as a text.
    pub(super) fn answered(&mut self, id: &Value) -> Option<About> {
        let id = id.as_u64().or_else(|| id.as_str()?.parse().ok())?;
        self.open.remove(&id).map(|(about, _)| about)
    }

    /// When the first open call is given up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|(_, until)| *until).min()
    }

    /// Gives up the calls that were not answered in time. A command says by itself that it expired.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.open.retain(|_, (_, until)| *until > now);
    }

    /// The answers to calls about this are of no concern any more.
    pub(super) fn forget(&mut self, about: About) {
        self.open.retain(|_, (open, _)| *open != about);
    }

    /// The connection is over: what the open calls come to.
    pub(super) fn abandoned(&mut self) -> Vec<Uplink> {
        let open = std::mem::take(&mut self.open);
        let commands = open.into_values().filter_map(|(about, _)| match about {
            About::Command(command) => Some(command),
            About::Introduction
            | About::BootState
            | About::Transfer
            | About::Commit
            | About::Revert
            | About::Delta => None,
        });
        let why = "the connection ended before the device answered: whether it was done is not known";
        commands.map(|command| Uplink::Reply { command, outcome: Outcome::Failed(why.to_owned()) }).collect()
    }
}

/// What an answer means.
pub(super) fn meaning(about: About, outcome: Result<Value, Fault>) -> Option<Uplink> {
    match about {
        // The session goes on with these.
        About::Introduction | About::BootState | About::Transfer => None,
        // It says so too if it kept it before, and the answer was lost.
        About::Commit => match outcome {
            Ok(_) | Err(Fault { code: CODE_COMMITTED, .. }) => {
                Some(Uplink::Firmware(FirmwareSignal::Committed))
            }
            Err(_) => None,
        },
        // That it went back is seen when it comes again and says what it runs.
        About::Revert => outcome.err().map(|Fault { code, message }| {
            let why = format!("the device did not go back to its former firmware: {message} (code {code})");
            Uplink::Firmware(FirmwareSignal::Failed(why))
        }),
        // Some say what they applied and report nothing beside that.
        About::Delta => match outcome {
            Ok(applied @ Value::Object(_)) => mongoose::reported(&applied).ok().map(Uplink::Shadow),
            Ok(_) | Err(_) => None,
        },
        About::Command(command) => {
            let outcome = match outcome {
                Ok(result) => Outcome::Done(Some(result).filter(|result| !result.is_null())),
                Err(Fault { code, message }) => Outcome::Refused { code, message },
            };
            Some(Uplink::Reply { command, outcome })
        }
    }
}
