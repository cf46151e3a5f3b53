//! How one device's share of a deployment proceeds, from what its signals tell.
//!
//! Devices of the native protocol say themselves how far they are: [`native`]. Boards with an HTTP server are posted
//! their script, and what they answer is judged: [`posted`]. What brings a firmware is judged by
//! what devices say that they run: [`firmware`]. Boards with the IoT Executor firmware
//! report nothing: that a version runs is concluded from polls. They poll once after every start. A start that
//! follows the download begins the health window; a window without another start, at whose end the board is still
//! connected, makes the task Done. Three starts are a boot loop.

pub mod firmware;
pub mod native;
pub mod posted;

use serde_json::json;

use crate::artifact::{ArtifactKind, Digest};
use crate::change::{Actor, Change, ChangeKind};
use crate::deployment::{DEADLINE, Target, Task, TaskState};
use crate::device::{self, Device, Dialect, Software};
use crate::effects::{Effects, Save};
use crate::job;
use crate::message::{Downlink, Offer};
use crate::time::{Span, Time};

/// How long after a wake-up a board is woken again if it did not ask. Two within 15 s would overlap on the board.
pub const WAKE_AGAIN: Span = Span::seconds(20);
/// How long a board may take from asking to having taken the artifact, before it is woken again.
pub const FETCH_MAX: Span = Span::seconds(60);
/// How often a board may ask without taking the artifact in full.
pub const FETCH_TRIES_MAX: i64 = 20;
/// How long a board may be silent after it took an artifact.
pub const SILENCE_MAX: Span = Span::seconds(120);
/// So many starts after a download, none of which lasted the health window, are a boot loop.
pub const BOOTS_MAX: i64 = 3;
/// How many starts of a device are remembered.
pub const BOOTS_KEPT: usize = 5;
/// So many remembered starts within this span are a boot loop, whatever was deployed when.
pub const LOOP_SPAN: Span = Span::minutes(2);

/// The device asked whether something waits for it. Returns whether the answer is yes.
pub fn polled(target: Target, now: Time) -> (bool, Effects) {
    let Target { device, mut software, open, .. } = target;
    let Some(task) = open.filter(|task| task.state.is_open()) else {
        return (false, started(software, now));
    };
    if task.state == TaskState::Applying {
        return (false, started_anew(&device, software, &task, now));
    }
    let mut next = task.clone();
    next.tries = if task.state == TaskState::Fetching { task.tries + 1 } else { 1 };
    next.deadline = Some(now + FETCH_MAX);
    // It is at work now: a wake-up in the middle of its download would start a second request on the board.
    software.woken_at = Some(now);
    software.revision += 1;
    if next.tries > FETCH_TRIES_MAX {
        let why = format!("the board asked {FETCH_TRIES_MAX} times and never took the script in full");
        software.pending = None;
        software.problem = Some(why.clone());
        let effects = ended(&device, &task, TaskState::Failed, Some(&why), &Actor::System, now);
        return (false, effects.and(save_software(software)));
    }
    let reason = (next.tries > 1)
        .then(|| format!("asked {} times; the download was not taken in full yet", next.tries));
    let effects = to(&device, &task, next, TaskState::Fetching, reason.as_deref(), now);
    (true, effects.and(save_software(software)))
}

/// The device took an artifact to the last byte.
pub fn fetched(target: Target, digest: Digest, now: Time) -> Effects {
    let Target { device, mut software, open, .. } = target;
    software.fetched_at = Some(now);
    software.revision += 1;
    let Some(task) = open.filter(|task| task.state.is_open() && task.artifact.digest == digest) else {
        return save_software(software);
    };
    software.pending = None;
    software.boots.clear();
    let mut next = task.clone();
    next.tries = 0;
    next.deadline = Some(now + SILENCE_MAX);
    to(&device, &task, next, TaskState::Applying, None, now).and(save_software(software))
}

/// A deadline passed. The shell calls this when `task.deadline` is reached.
pub fn elapsed(target: Target, task: &Task, now: Time) -> Effects {
    if task.deadline.is_none_or(|deadline| deadline > now) {
        return Effects::none();
    }
    if task.job.is_late(now) && is_stepping(task) {
        return step_elapsed(target, task, now);
    }
    if task.artifact.firmware().is_some() {
        return firmware::elapsed(target, task, now);
    }
    if target.device.dialect.speaks_native() {
        return native::elapsed(target, task, now);
    }
    if target.device.dialect == Dialect::EspFirmware {
        return posted::elapsed(target, task, now);
    }
    match task.state {
        TaskState::Waiting | TaskState::Offered if now - task.created_at >= DEADLINE => {
            timed_out(target, task, now)
        }
        TaskState::Waiting => wake_or_wait(target, task, now),
        TaskState::Offered | TaskState::Fetching => wake_or_wait(target, task, now),
        TaskState::Applying => judged(target, task, now),
        TaskState::Confirming
        | TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => Effects::none(),
    }
}

/// The device came online while something waits for it. A board with the IoT Executor firmware polls by itself, so
/// it is not woken at once; a native device is told.
pub fn connected(target: Target, now: Time) -> Effects {
    if target.open.as_ref().is_some_and(|task| task.artifact.firmware().is_some()) {
        return firmware::connected(target, now);
    }
    if target.device.dialect.speaks_native() || target.device.dialect == Dialect::EspFirmware {
        return native::connected(target, now);
    }
    let Target { device, open: Some(task), .. } = target else { return Effects::none() };
    if task.state != TaskState::Waiting {
        return Effects::none();
    }
    let mut next = task.clone();
    next.deadline = Some(now + WAKE_AGAIN);
    to(&device, &task, next, TaskState::Offered, None, now)
}

/// Ends a task; what waits for the device is the caller's to say.
pub(crate) fn ended(
    device: &Device,
    task: &Task,
    state: TaskState,
    reason: Option<&str>,
    actor: &Actor,
    now: Time,
) -> Effects {
    let mut next = task.clone();
    next.deadline = None;
    next.state = state;
    next.reason = reason.map(str::to_owned);
    next.updated_at = now;
    next.revision += 1;
    let change = moved(device, task, state, reason, actor);
    let jobs = job::Changed::of(device).filter(|_| job::is_pending(task)).into_iter().collect();
    Effects { save: vec![Save::Task(Box::new(next))], changes: vec![change], jobs, ..Effects::none() }
}

/// When to look at an open task again: at its own deadline, or when the step ends that its device is at.
pub(crate) fn due(task: &Task) -> Option<Time> {
    let step = task.job.step_ends_at.filter(|_| is_stepping(task));
    task.deadline.into_iter().chain(step).min()
}

/// Until when a device that is at work may be silent. One that has jobs sets itself a time for each step, if it likes.
fn patience(task: &Task, silence_max: Span, now: Time) -> Time {
    if task.job.is_at_work() { (task.created_at + DEADLINE).max(now) } else { now + silence_max }
}

/// Whether the time for a step counts: what a device runs already is not taken back for its silence.
fn is_stepping(task: &Task) -> bool {
    task.state.is_open() && task.state != TaskState::Confirming
}

fn step_elapsed(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, mut software, .. } = target;
    let why = "the device did not come to its next step in the time that it set itself";
    software.pending = None;
    software.problem = Some(why.to_owned());
    let effects = ended(&device, task, TaskState::TimedOut, Some(why), &Actor::System, now);
    effects.and(save_software(bumped(software)))
}

/// The fact that a task changed its state.
pub(crate) fn moved(
    device: &Device,
    task: &Task,
    state: TaskState,
    reason: Option<&str>,
    actor: &Actor,
) -> Change {
    let before = json!({ "state": task.state.as_str() });
    let mut after = json!({ "state": state.as_str(), "reason": reason });
    match task.artifact.kind {
        ArtifactKind::Script { script, version } => {
            after["script"] = json!(script.to_string());
            after["version"] = json!(version);
        }
        ArtifactKind::Firmware(firmware) => after["firmware"] = json!(firmware.to_string()),
    }
    let mut change = device::fact(ChangeKind::TaskMoved, device, actor, Some(before), Some(after));
    change.subject = task.deployment.to_string();
    change
}

/// A roll back of this task's device is done: the task it undid is RolledBack.
pub fn undone(device: &Device, undone: &Task, now: Time) -> Effects {
    match undone.state {
        TaskState::Done | TaskState::Failed | TaskState::TimedOut | TaskState::Cancelled => {
            ended(device, undone, TaskState::RolledBack, None, &Actor::System, now)
        }
        TaskState::Waiting
        | TaskState::Offered
        | TaskState::Fetching
        | TaskState::Applying
        | TaskState::Confirming
        | TaskState::Reverted
        | TaskState::RolledBack => Effects::none(),
    }
}

/// A start without anything on its way: remembered, so that a loop is seen whenever it begins.
fn started(mut software: Software, now: Time) -> Effects {
    let was = software.problem.clone();
    remember_start(&mut software, now);
    let first = software.boots.first().copied().unwrap_or(now);
    let is_loop = software.boots.len() == BOOTS_KEPT && now - first <= LOOP_SPAN;
    software.problem = match (software.running, is_loop) {
        (None, _) => was,
        (Some(_), true) => {
            Some(format!("boot loop: {BOOTS_KEPT} starts within {} s", (now - first).0 / 1000))
        }
        (Some(_), false) if was.as_deref().is_some_and(|text| text.starts_with("boot loop")) => None,
        (Some(_), false) => was,
    };
    save_software(bumped(software))
}

/// A start after the download: the first begins the health window, the third is a boot loop.
fn started_anew(device: &Device, mut software: Software, task: &Task, now: Time) -> Effects {
    remember_start(&mut software, now);
    software.running = Some(task.artifact);
    let mut next = task.clone();
    next.tries += 1;
    if next.tries >= BOOTS_MAX {
        let since = software.fetched_at.map_or(0, |at| (now - at).0 / 1000);
        let why = format!(
            "boot loop: the board started {} times within {since} s of taking the script",
            next.tries
        );
        software.problem = Some(why.clone());
        // This very poll tells it of the version to return to.
        software.woken_at = Some(now);
        let effects = ended(device, task, TaskState::Failed, Some(&why), &Actor::System, now);
        return effects.and(save_software(bumped(software)));
    }
    next.deadline = Some(now + task.health_window);
    let reason = (next.tries > 1).then(|| format!("started {} times since it took the script", next.tries));
    to(device, task, next, TaskState::Applying, reason.as_deref(), now).and(save_software(bumped(software)))
}

/// The end of the health window, or of the patience with a silent board.
fn judged(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, mut software, online, .. } = target;
    let has_started = task.tries > 0;
    if has_started && online {
        software.good = Some(task.artifact);
        software.running = Some(task.artifact);
        software.problem = None;
        let effects = ended(&device, task, TaskState::Done, None, &Actor::System, now);
        return effects.and(save_software(bumped(software)));
    }
    let waited = now - software.fetched_at.unwrap_or(task.updated_at);
    if waited < SILENCE_MAX {
        let mut next = task.clone();
        next.deadline = Some(now - waited + SILENCE_MAX);
        let reason = Some("started, then went away; waiting for it to come back");
        return to(&device, task, next, TaskState::Applying, reason, now);
    }
    let why = if has_started {
        format!("the board started with the script and is gone since; {} s after it took it", waited.0 / 1000)
    } else {
        format!("the board is silent since it took the script {} s ago", waited.0 / 1000)
    };
    software.problem = Some(why.clone());
    ended(&device, task, TaskState::Failed, Some(&why), &Actor::System, now)
        .and(save_software(bumped(software)))
}

fn timed_out(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, mut software, .. } = target;
    software.pending = None;
    let why = format!("the device did not take it within {} days", DEADLINE.0 / Span::days(1).0);
    let effects = ended(&device, task, TaskState::TimedOut, Some(&why), &Actor::System, now);
    effects.and(save_software(bumped(software)))
}

fn wake_or_wait(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, mut software, online, .. } = target;
    let mut next = task.clone();
    if !online {
        next.deadline = Some((task.created_at + DEADLINE).max(now + WAKE_AGAIN));
        return to(&device, task, next, TaskState::Waiting, task.reason.as_deref(), now);
    }
    next.deadline = Some(now + WAKE_AGAIN);
    let is_unanswered = software.woken_at.is_some_and(|at| at >= task.updated_at);
    let unanswered = is_unanswered && task.state == TaskState::Offered;
    let reason = unanswered
        .then_some("woken without an answer; if it stays so, restart the board: it asks at every start");
    software.woken_at = Some(now);
    let offer = Offer::new(&task.artifact, task.health_window);
    let send = vec![(device.id, Downlink::Offer(offer))];
    let mut effects =
        to(&device, task, next, TaskState::Offered, reason, now).and(save_software(bumped(software)));
    effects.send = send;
    effects
}

/// Writes `next` as the successor of `task`; a fact is stated only if the state differs.
fn to(
    device: &Device,
    task: &Task,
    mut next: Task,
    state: TaskState,
    reason: Option<&str>,
    now: Time,
) -> Effects {
    next.state = state;
    next.reason = reason.map(str::to_owned);
    next.revision = task.revision + 1;
    next.deadline = due(&next);
    let mut effects = Effects::none();
    if task.state != state {
        next.updated_at = now;
        effects.changes.push(moved(device, task, state, reason, &Actor::System));
    }
    effects.save.push(Save::Task(Box::new(next)));
    effects
}

fn remember_start(software: &mut Software, now: Time) {
    software.boots.push(now);
    let surplus = software.boots.len().saturating_sub(BOOTS_KEPT);
    software.boots.drain(..surplus);
}

fn bumped(mut software: Software) -> Software {
    software.revision += 1;
    software
}

fn save_software(software: Software) -> Effects {
    Effects { save: vec![Save::Software(Box::new(software))], ..Effects::none() }
}
