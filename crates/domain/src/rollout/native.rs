//! How a task proceeds on a device of the native protocol, which says itself how far it is. It is offered the
//! artifact whenever it connects, fetches it, tries it out for the health window and says Done or Failed. Where it
//! fails it returns to its last good version by itself, so nothing is offered to it for that.

use serde_json::json;

use super::{bumped, ended, patience, save_software, to};
use crate::artifact::{Artifact, Digest};
use crate::change::{Actor, ChangeKind};
use crate::deployment::{DEADLINE, Target, Task, TaskState};
use crate::device::{self, Device, Software};
use crate::effects::{Effects, Save};
use crate::message::{Downlink, Offer};
use crate::report::{self, Crash, Progress, Quarantine, Running, TaskReport};
use crate::time::{Span, Time};

/// How long after an offer a device that is there and did not take it is told again; doubled each time.
pub const OFFER_AGAIN: Span = Span::seconds(60);
/// The longest pause between two offers to a device that is there.
pub const OFFER_AGAIN_MAX: Span = Span::minutes(60);
/// How long a device may be silent while it fetches.
pub const FETCH_SILENCE_MAX: Span = Span::seconds(120);
/// How long beyond the health window a device may be silent while it tries an artifact out.
pub const TRIAL_SILENCE_MAX: Span = Span::seconds(300);
/// How often a device may begin to fetch one artifact, or start with it, before its task fails.
pub const TRIES_MAX: i64 = 20;
/// How long a device that started without the artifact it was to try out may take to say why.
pub const EXPLAIN_MAX: Span = Span::seconds(15);

const STARTED_WITHOUT: &str = "the device started again without it";

/// The device said how far it is with an artifact.
pub fn reported(target: Target, report: &TaskReport, now: Time) -> Effects {
    let Target { device, mut software, open, .. } = target;
    let digest = report.digest;
    let Some(task) = open.filter(|task| task.state.is_open() && task.artifact.digest == digest) else {
        return unasked(&device, software, report, now);
    };
    let mut next = task.clone();
    match &report.progress {
        Progress::Fetching(_) if task.state == TaskState::Applying => Effects::none(),
        Progress::Fetching(remark) => {
            next.tries += i64::from(task.state != TaskState::Fetching);
            next.deadline = Some(patience(&task, FETCH_SILENCE_MAX, now));
            to(&device, &task, next, TaskState::Fetching, remark.as_deref(), now)
        }
        Progress::Applying => {
            next.deadline = Some(now + task.health_window + TRIAL_SILENCE_MAX);
            software.pending = None;
            software.fetched_at = Some(now);
            let effects = to(&device, &task, next, TaskState::Applying, None, now);
            effects.and(save_software(bumped(software)))
        }
        Progress::Done => {
            software.pending = None;
            software.running = Some(task.artifact);
            software.good = Some(task.artifact);
            software.problem = None;
            let effects = ended(&device, &task, TaskState::Done, None, &Actor::System, now);
            effects.and(save_software(bumped(software)))
        }
        Progress::Failed(crash) => {
            software.pending = None;
            software.problem = Some(crash.reason.clone());
            if software.running == Some(task.artifact) {
                software.running = software.good.filter(|good| *good != task.artifact).or(task.previous);
            }
            let reason = Some(crash.reason.as_str());
            let mut effects = ended(&device, &task, TaskState::Failed, reason, &Actor::System, now);
            for save in &mut effects.save {
                if let Save::Task(task) = save {
                    task.traceback.clone_from(&crash.traceback);
                }
            }
            effects.and(quarantined(&device, digest, crash, now)).and(save_software(bumped(software)))
        }
    }
}

/// The device spoke of an artifact that no open task is about: a version that crashed after it had been Done, or
/// a report that comes late or again.
fn unasked(device: &Device, mut software: Software, report: &TaskReport, now: Time) -> Effects {
    let digest = report.digest;
    match &report.progress {
        Progress::Fetching(_) | Progress::Applying => Effects::none(),
        Progress::Done => match known(&software, digest) {
            Some(artifact) if software.good != Some(artifact) => {
                software.running = Some(artifact);
                software.good = Some(artifact);
                software.problem = None;
                save_software(bumped(software))
            }
            Some(_) | None => Effects::none(),
        },
        Progress::Failed(crash) if software.problem.as_ref() == Some(&crash.reason) => Effects::none(),
        Progress::Failed(crash) => {
            let is_it = |artifact: &Artifact| artifact.digest == digest;
            software.running = software.running.filter(|artifact| !is_it(artifact));
            software.good = software.good.filter(|artifact| !is_it(artifact));
            software.problem = Some(crash.reason.clone());
            let after = json!({
                "reason": crash.reason, "traceback": crash.traceback, "digest": digest.to_string(),
                "safe_mode": crash.safe_mode,
            });
            let actor = Actor::Device(device.name.clone());
            let change = device::fact(ChangeKind::DeviceProblem, device, &actor, None, Some(after));
            let effects = Effects { changes: vec![change], ..Effects::none() };
            effects.and(quarantined(device, digest, crash, now)).and(save_software(bumped(software)))
        }
    }
}

/// The device said, right after connecting, what it runs. `found` is the artifact with that digest, if there is one.
pub fn announced(target: Target, running: Option<Running>, found: Option<Artifact>, now: Time) -> Effects {
    let Target { device, mut software, open, .. } = target;
    let (is_known, artifact) = match running {
        None => return Effects::none(),
        Some(Running::Nothing) => (true, None),
        Some(Running::Artifact(digest)) => {
            let of_task = open.as_ref().map(|task| task.artifact).filter(|it| it.digest == digest);
            let artifact = of_task.or(known(&software, digest)).or(found);
            (artifact.is_some(), artifact)
        }
    };
    let mut effects = Effects::none();
    if is_known && software.running != artifact {
        software.running = artifact;
        effects = save_software(bumped(software));
    }
    let is_tried = |task: &Task| task.state == TaskState::Applying && task.artifact.script().is_some();
    let Some(task) = open.filter(is_tried) else { return effects };
    let mut next = task.clone();
    if artifact == Some(task.artifact) {
        next.tries += 1;
        if next.tries < TRIES_MAX {
            next.deadline = Some(now + task.health_window + TRIAL_SILENCE_MAX);
        }
        return effects.and(to(&device, &task, next, TaskState::Applying, None, now));
    }
    // It may be about to say that it failed. If it does not, its trial was lost, as in a power cut.
    next.deadline = Some(now + EXPLAIN_MAX);
    effects.and(to(&device, &task, next, TaskState::Applying, Some(STARTED_WITHOUT), now))
}

/// The device came online, or began to listen: what waits for it is offered, also what it had begun to fetch.
pub(super) fn connected(target: Target, now: Time) -> Effects {
    let Target { device, software, open: Some(task), .. } = target else { return Effects::none() };
    match task.state {
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching => {
            offered(&device, software, &task, None, now)
        }
        TaskState::Applying
        | TaskState::Confirming
        | TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => Effects::none(),
    }
}

/// A deadline passed.
pub(super) fn elapsed(target: Target, task: &Task, now: Time) -> Effects {
    let is_too_old = now - task.created_at >= DEADLINE;
    let Target { device, software, online, .. } = target;
    match task.state {
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching if is_too_old => {
            let days = DEADLINE.0 / Span::days(1).0;
            let why = format!("the device did not take it within {days} days");
            timed_out(&device, software, task, &why, now)
        }
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching if !online => {
            let mut next = task.clone();
            next.deadline = Some(task.created_at + DEADLINE);
            let went = "the device went away while it fetched; it is offered again when it is back";
            let reason = if task.state == TaskState::Fetching { Some(went) } else { task.reason.as_deref() };
            to(&device, task, next, TaskState::Waiting, reason, now)
        }
        TaskState::Waiting => offered(&device, software, task, None, now),
        TaskState::Offered => {
            let why = "the device is there and did not take it yet; it was offered again";
            offered(&device, software, task, Some(why), now)
        }
        TaskState::Fetching => {
            let why = "the device fell silent while it fetched; it was offered again";
            offered(&device, software, task, Some(why), now)
        }
        TaskState::Applying if online && task.reason.as_deref() == Some(STARTED_WITHOUT) => {
            offered(&device, software, task, Some("the device started again without it; offered again"), now)
        }
        TaskState::Applying => {
            let waited = (now - task.updated_at).0 / 1000;
            let why = format!("the device took it {waited} s ago and did not say how it went");
            timed_out(&device, software, task, &why, now)
        }
        TaskState::Confirming
        | TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => Effects::none(),
    }
}

fn offered(device: &Device, mut software: Software, task: &Task, reason: Option<&str>, now: Time) -> Effects {
    if task.tries >= TRIES_MAX {
        let why = format!("the device began {TRIES_MAX} times and never came to an end");
        software.pending = None;
        software.problem = Some(why.clone());
        let effects = ended(device, task, TaskState::Failed, Some(&why), &Actor::System, now);
        return effects.and(save_software(bumped(software)));
    }
    let mut next = task.clone();
    let waited = if task.state == TaskState::Offered { now - task.updated_at } else { Span(0) };
    next.deadline = Some(now + waited.clamp(OFFER_AGAIN, OFFER_AGAIN_MAX));
    let mut effects = to(device, task, next, TaskState::Offered, reason, now);
    if software.pending.is_none() {
        software.pending = Some((task.deployment, task.artifact));
        effects = effects.and(save_software(bumped(software)));
    }
    effects.send.push((device.id, Downlink::Offer(Offer::new(&task.artifact, task.health_window))));
    effects
}

fn timed_out(device: &Device, mut software: Software, task: &Task, why: &str, now: Time) -> Effects {
    software.pending = None;
    software.problem = (task.state == TaskState::Applying).then(|| why.to_owned()).or(software.problem);
    let effects = ended(device, task, TaskState::TimedOut, Some(why), &Actor::System, now);
    effects.and(save_software(bumped(software)))
}

fn quarantined(device: &Device, digest: Digest, crash: &Crash, now: Time) -> Effects {
    if !crash.safe_mode {
        return Effects::none();
    }
    let Crash { reason, traceback, .. } = crash.clone();
    report::quarantine(device, Quarantine { device: device.id, digest, reason, traceback, at: now })
}

fn known(software: &Software, digest: Digest) -> Option<Artifact> {
    let pending = software.pending.map(|(_, artifact)| artifact);
    let known = [software.running, software.good, pending, software.active];
    known.into_iter().flatten().find(|artifact| artifact.digest == digest)
}
