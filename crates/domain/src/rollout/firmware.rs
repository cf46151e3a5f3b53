//! How a task proceeds that brings a firmware, whatever the dialect. The signals are those of [`FirmwareSignal`]; a
//! dialect maps what its devices say to them, and the downlinks to what its devices understand:
//!
//! | Signal | From a native device | From Mongoose OS | Then the task |
//! |---|---|---|---|
//! | `Transferring` | task `fetching` | answer to `OTA.Begin`, `OTA.Write` | is Fetching |
//! | `Transferred` | task `applying` | answer to `OTA.End` | is Applying: the device starts anew |
//! | `Started` | announcement with `version` | `Sys.GetInfo`, `OTA.GetBootState` after connecting | see below |
//! | `Committed` | task `done` | answer to `OTA.Commit` | is Done, if the device said that it runs it |
//! | `Failed` | task `failed` | an error of `OTA.*` | is Failed |
//!
//! `Downlink::Offer` begins it and is said again until the bytes are taken: to native devices an offer to fetch, with
//! Mongoose OS the beginning of `OTA.Begin`. `Downlink::Commit` makes a version that is on trial permanent.
//!
//! The truth is what the device says that it runs after a start. `Started` with the new version begins the health
//! window (Confirming), at whose end the device must be there; if it said that it is not committed, it is told to
//! commit, and that must be answered. A person may have it go back instead, by `Downlink::Revert`; then the task is
//! RolledBack when it says that it runs the former version. Otherwise `Started` with another version means that a
//! transfer was cut off (it is offered again, [`TRIES_MAX`] times), or after the transfer that the device tried it and
//! went back: Reverted. One that is not heard again is TimedOut.

use super::{bumped, ended, moved, patience, save_software, to};
use crate::artifact::Artifact;
use crate::change::Actor;
use crate::deployment::{DEADLINE, Target, Task, TaskState};
use crate::device::{Device, Software};
use crate::effects::Effects;
use crate::firmware::Firmware;
use crate::message::{Downlink, FirmwareSignal, Offer};
use crate::rejection::Rejection;
use crate::time::{Span, Time};

/// How often a device may begin to take one firmware before somebody has to look at it.
pub const TRIES_MAX: i64 = 3;
/// How long after an offer a device that is there and did not begin is told again; doubled each time.
pub const OFFER_AGAIN: Span = Span::seconds(60);
/// The longest pause between two offers to a device that is there.
pub const OFFER_AGAIN_MAX: Span = Span::minutes(60);
/// How long a device may be silent in the middle of a transfer.
pub const TRANSFER_SILENCE_MAX: Span = Span::seconds(300);
/// How long a device may take to come back with the new version. Mongoose OS tries for five minutes before it reverts.
pub const START_MAX: Span = Span::minutes(15);
/// How long after the transfer a device may still say that it runs the former version: it has not started anew yet.
pub const FORMER_MAX: Span = Span::seconds(30);
/// How long a device may take to answer that it committed, before it is told again.
pub const COMMIT_AGAIN: Span = Span::seconds(30);
/// How long a device may take to come back with its former firmware, before it is told again to go back.
pub const REVERT_AGAIN: Span = Span::seconds(60);
/// How often it is told either, and how often it may start within the health window.
pub const CONFIRM_TRIES_MAX: i64 = 3;

const FORMER: &str = "the device is there with its former version";
const ON_TRIAL: &str = "the device runs it on trial; at the end of the health window it is told to commit";
const GOES_BACK: &str = "the device was told to go back to its former firmware";

/// The device said something about its firmware. `of` is the firmware of its open task; `found` the one of ours that
/// it says it runs, if it is one.
pub fn signalled(
    target: Target,
    of: Option<&Firmware>,
    found: Option<Artifact>,
    signal: &FirmwareSignal,
    now: Time,
) -> Effects {
    let Target { device, mut software, open, .. } = target;
    let mut noticed = Effects::none();
    if matches!(signal, FirmwareSignal::Started { .. }) && software.firmware != found {
        software.firmware = found;
        software = bumped(software);
        noticed = save_software(software.clone());
    }
    let task = open.filter(|task| task.state.is_open());
    let (Some(task), Some(of)) = (task, of) else { return noticed };
    if task.artifact.firmware() != Some(of.id) {
        return noticed;
    }
    let way = Way { device, software, task, now };
    // What was noticed is saved with what follows, which was decided after it.
    let follows = match signal {
        FirmwareSignal::Transferring(remark) => way.transferring(remark.as_deref()),
        FirmwareSignal::Transferred => way.transferred(),
        FirmwareSignal::Started { version, build, committed, .. } => {
            match of.label.is_run_by(version, build.as_deref()) {
                true => way.started_with_it(*committed),
                false => way.started_without_it(version),
            }
        }
        FirmwareSignal::Committed => way.committed(),
        FirmwareSignal::Failed(why) => way.failed(TaskState::Failed, why),
    };
    noticed.and(follows)
}

/// Whether a device goes back by itself if it is told to: it runs what the task brought on trial.
pub fn is_on_trial(task: &Task) -> bool {
    task.state == TaskState::Confirming
        && task.artifact.firmware().is_some()
        && matches!(task.reason.as_deref(), Some(ON_TRIAL | GOES_BACK))
}

/// A person wants a device back on the firmware that it ran before the one on trial.
///
/// # Errors
/// `conflict` if it runs none on trial.
pub fn revert(target: Target, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let Target { device, software, open, .. } = target;
    let task = open.filter(is_on_trial).ok_or_else(|| {
        Rejection::conflict("conflict", "the device runs no firmware on trial: roll the deployment back")
    })?;
    let asked = moved(&device, &task, task.state, Some("to go back to its former firmware"), actor);
    let mut effects = Way { device, software, task, now }.goes_back();
    effects.changes.push(asked);
    Ok(effects)
}

/// The device came online: what waits for it is offered. If it had begun to take it, that may be done, which only is
/// known from what it says that it runs; one that does not say so is offered it a while later.
pub(super) fn connected(target: Target, now: Time) -> Effects {
    let Target { device, software, open: Some(task), .. } = target else { return Effects::none() };
    let is_untaken = matches!(task.state, TaskState::Waiting | TaskState::Offered | TaskState::Fetching);
    if task.job.is_at_work() {
        // It asks for its jobs, and goes on where it was.
        return Effects::none();
    }
    let has_begun = task.tries > 0;
    let way = Way { device, software, task, now };
    match is_untaken {
        true if has_begun => way.listens(),
        true => way.offered(None),
        false => Effects::none(),
    }
}

/// A deadline passed.
pub(super) fn elapsed(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, software, online, .. } = target;
    let way = Way { device, software, task: task.clone(), now };
    match task.state {
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching
            if now - task.created_at >= DEADLINE =>
        {
            let days = DEADLINE.0 / Span::days(1).0;
            way.failed(TaskState::TimedOut, &format!("the device did not take it within {days} days"))
        }
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching if !online => way.waits(),
        TaskState::Waiting => way.offered(None),
        TaskState::Offered => {
            way.offered(Some("the device is there and did not begin to take it; it was offered again"))
        }
        TaskState::Fetching => {
            way.offered(Some("the device fell silent while it took it; it was offered again"))
        }
        TaskState::Applying if online && task.reason.as_deref() == Some(FORMER) => {
            way.failed(TaskState::Reverted, "the device tried it and is back on its former version")
        }
        TaskState::Applying if now < task.updated_at + START_MAX => way.starts(),
        TaskState::Applying => {
            let waited = (now - task.updated_at).0 / 1000;
            let why = format!("the device took it {waited} s ago and is silent since");
            way.failed(TaskState::TimedOut, &why)
        }
        TaskState::Confirming => way.judged(online),
        TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => Effects::none(),
    }
}

/// An open task on its way, at one moment.
struct Way {
    device: Device,
    software: Software,
    task: Task,
    now: Time,
}

impl Way {
    fn moves(&self, next: Task, state: TaskState, reason: Option<&str>) -> Effects {
        to(&self.device, &self.task, next, state, reason, self.now)
    }

    fn transferring(self, remark: Option<&str>) -> Effects {
        let state = self.task.state;
        if matches!(state, TaskState::Applying | TaskState::Confirming) {
            return Effects::none();
        }
        let mut next = self.task.clone();
        next.tries += i64::from(state != TaskState::Fetching);
        next.deadline = Some(patience(&self.task, TRANSFER_SILENCE_MAX, self.now));
        self.moves(next, TaskState::Fetching, remark)
    }

    fn transferred(mut self) -> Effects {
        if self.task.state == TaskState::Confirming {
            return Effects::none();
        }
        let mut next = self.task.clone();
        next.deadline = Some(self.now + START_MAX);
        let moved = self.moves(next, TaskState::Applying, None);
        self.software.pending = None;
        self.software.fetched_at = Some(self.now);
        moved.and(save_software(bumped(self.software)))
    }

    /// It is back in the middle, and will say what it runs.
    fn listens(self) -> Effects {
        let mut next = self.task.clone();
        next.deadline = Some(self.now + OFFER_AGAIN);
        let reason = self.task.reason.clone();
        self.moves(next, self.task.state, reason.as_deref())
    }

    /// It runs the new version. Whether it had taken it from us is not asked: what it says it runs is the truth.
    fn started_with_it(mut self, committed: Option<bool>) -> Effects {
        let was_on_trial = self.task.reason.as_deref() == Some(ON_TRIAL);
        if self.task.state == TaskState::Confirming && was_on_trial && committed == Some(true) {
            // It keeps it; that it answered so to the commit was lost.
            return self.done();
        }
        if self.is_going_back() {
            return self.goes_back();
        }
        let mut next = self.task.clone();
        next.tries = if self.task.state == TaskState::Confirming { self.task.tries + 1 } else { 1 };
        if next.tries > CONFIRM_TRIES_MAX {
            let why = format!("needs attention: it started {} times within the health window", next.tries);
            return self.failed(TaskState::Failed, &why);
        }
        next.deadline = Some(self.now + self.task.health_window);
        let reason = (committed == Some(false)).then_some(ON_TRIAL);
        let moved = self.moves(next, TaskState::Confirming, reason);
        if self.software.pending.take().is_none() {
            return moved;
        }
        moved.and(save_software(bumped(self.software)))
    }

    fn started_without_it(self, version: &str) -> Effects {
        match self.task.state {
            TaskState::Waiting | TaskState::Offered | TaskState::Fetching if self.task.tries > 0 => {
                self.offered(Some("it was cut off while it took it; it was offered again"))
            }
            TaskState::Applying => {
                let mut next = self.task.clone();
                next.deadline = Some(self.now + FORMER_MAX);
                self.moves(next, TaskState::Applying, Some(FORMER))
            }
            TaskState::Confirming if self.is_going_back() => self.went_back(),
            TaskState::Confirming => {
                let why = format!("the device started with it and is back on {version}");
                self.failed(TaskState::Reverted, &why)
            }
            TaskState::Waiting
            | TaskState::Offered
            | TaskState::Fetching
            | TaskState::Done
            | TaskState::Failed
            | TaskState::TimedOut
            | TaskState::Reverted
            | TaskState::RolledBack
            | TaskState::Cancelled => Effects::none(),
        }
    }

    fn committed(self) -> Effects {
        if self.task.state == TaskState::Confirming && !self.is_going_back() {
            return self.done();
        }
        // No end here: the device has not said, after a start, that it runs the new version.
        Effects::none()
    }

    fn judged(self, online: bool) -> Effects {
        let mut next = self.task.clone();
        if !online {
            let end = self.task.updated_at + self.task.health_window + START_MAX;
            if self.now >= end {
                return self.failed(TaskState::TimedOut, "the device started with it and is gone since");
            }
            next.deadline = Some(end);
            let reason = self.task.reason.clone();
            return self.moves(next, TaskState::Confirming, reason.as_deref());
        }
        if self.is_going_back() {
            return self.goes_back();
        }
        if self.task.reason.as_deref() != Some(ON_TRIAL) {
            return self.done();
        }
        if self.task.tries > CONFIRM_TRIES_MAX {
            return self.failed(TaskState::TimedOut, "the device did not answer that it keeps it");
        }
        next.tries += 1;
        next.deadline = Some(self.now + COMMIT_AGAIN);
        let mut effects = self.moves(next, TaskState::Confirming, Some(ON_TRIAL));
        effects.send.push((self.device.id, Downlink::Commit(self.task.artifact.digest)));
        effects
    }

    fn is_going_back(&self) -> bool {
        self.task.reason.as_deref() == Some(GOES_BACK)
    }

    fn goes_back(self) -> Effects {
        let mut next = self.task.clone();
        next.tries = if self.is_going_back() { self.task.tries + 1 } else { 1 };
        if next.tries > CONFIRM_TRIES_MAX {
            return self.failed(TaskState::Failed, "the device was told to go back and did not");
        }
        next.deadline = Some(self.now + REVERT_AGAIN);
        let mut effects = self.moves(next, TaskState::Confirming, Some(GOES_BACK));
        effects.send.push((self.device.id, Downlink::Revert(self.task.artifact.digest)));
        effects
    }

    fn went_back(mut self) -> Effects {
        let ended = ended(&self.device, &self.task, TaskState::RolledBack, None, &Actor::System, self.now);
        self.software.pending = None;
        self.software.problem = None;
        ended.and(save_software(bumped(self.software)))
    }

    fn done(mut self) -> Effects {
        let ended = ended(&self.device, &self.task, TaskState::Done, None, &Actor::System, self.now);
        self.software.firmware = Some(self.task.artifact);
        self.software.problem = None;
        ended.and(save_software(bumped(self.software)))
    }

    fn failed(mut self, state: TaskState, why: &str) -> Effects {
        let ended = ended(&self.device, &self.task, state, Some(why), &Actor::System, self.now);
        self.software.pending = None;
        self.software.problem = Some(format!("firmware: {why}"));
        ended.and(save_software(bumped(self.software)))
    }

    /// It is away, as it should be: it starts.
    fn starts(self) -> Effects {
        let mut next = self.task.clone();
        next.deadline = Some(self.task.updated_at + START_MAX);
        self.moves(next, TaskState::Applying, None)
    }

    fn waits(self) -> Effects {
        let mut next = self.task.clone();
        next.deadline = Some(self.task.created_at + DEADLINE);
        let went = "the device went away while it took it; it is offered again when it is back";
        let reason = match self.task.state {
            TaskState::Fetching => Some(went.to_owned()),
            _ => self.task.reason.clone(),
        };
        self.moves(next, TaskState::Waiting, reason.as_deref())
    }

    fn offered(mut self, reason: Option<&str>) -> Effects {
        let task = self.task.clone();
        if task.tries >= TRIES_MAX {
            let why = format!("needs attention: it was cut off {TRIES_MAX} times while it took it");
            return self.failed(TaskState::Failed, &why);
        }
        let mut next = task.clone();
        let waited = if task.state == TaskState::Offered { self.now - task.updated_at } else { Span(0) };
        next.deadline = Some(self.now + waited.clamp(OFFER_AGAIN, OFFER_AGAIN_MAX));
        let mut effects = self.moves(next, TaskState::Offered, reason);
        if self.software.pending.is_none() {
            self.software.pending = Some((task.deployment, task.artifact));
            effects = effects.and(save_software(bumped(self.software)));
        }
        effects.send.push((self.device.id, Downlink::Offer(Offer::new(&task.artifact, task.health_window))));
        effects
    }
}
