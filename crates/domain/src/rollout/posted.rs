//! How a task proceeds on a board that is posted its script and says nothing of it later: ESP-FIRMWARE. That it took
//! the script begins the health window; if it is there at its end and did not run out of memory, the task is Done.
//! What was Done once stays chosen for the board when it fails later: a board that has no memory just then is posted it
//! again, and never what failed before it.

use super::{BOOTS_MAX, bumped, ended, judged, native, remember_start, save_software, to};
use crate::artifact::{Artifact, Digest};
use crate::change::Actor;
use crate::deployment::{Target, Task, TaskState};
use crate::device::Software;
use crate::effects::{Effects, Save};
use crate::report::{Crash, Progress, TaskReport};
use crate::time::Time;

/// What tasks are told, and devices have as their problem, when a board has no memory for its script.
pub const OUT_OF_MEMORY: &str = "out of memory";

/// What became of posting a script, as far as that is about an open task.
pub fn reported(target: Target, report: &TaskReport, now: Time) -> Effects {
    let open = target.open.as_ref().filter(|task| task.state.is_open());
    let task = open.filter(|task| task.artifact.digest == report.digest).cloned();
    let good = target.software.good;
    match (task, &report.progress) {
        (Some(task), Progress::Applying) => taken(target, &task, now),
        (Some(task), Progress::Failed(_)) => {
            forsaken(native::reported(target, report, now), &task.artifact, good)
        }
        (None, Progress::Applying) => taken_again(target, report.digest, now),
        (None, Progress::Failed(_)) => kept(native::reported(target, report, now), good),
        (Some(_) | None, Progress::Fetching(_) | Progress::Done) => native::reported(target, report, now),
    }
}

/// The board said that it ran out of memory: that is about what it was given last, or is just given.
pub fn ran_out_of_memory(target: Target, now: Time) -> Effects {
    let is_given = |task: &&Task| matches!(task.state, TaskState::Fetching | TaskState::Applying);
    let of_task = target.open.as_ref().filter(is_given);
    let Some(artifact) = of_task.map(|task| task.artifact).or(target.software.running) else {
        return Effects::none();
    };
    let reason = format!("{OUT_OF_MEMORY}: the board says so of itself, and stopped the script");
    let crash = Crash { reason, ..Crash::default() };
    reported(target, &TaskReport { digest: artifact.digest, progress: Progress::Failed(crash) }, now)
}

/// What the board shall run now: what waits for it, or else what it has or was chosen for it.
pub fn wanted(software: &Software) -> Option<Artifact> {
    software.pending.map(|(_, artifact)| artifact).or(software.running).or(software.active)
}

/// A deadline passed.
pub(super) fn elapsed(target: Target, task: &Task, now: Time) -> Effects {
    match task.state {
        TaskState::Applying => judged(target, task, now),
        TaskState::Waiting
        | TaskState::Offered
        | TaskState::Fetching
        | TaskState::Confirming
        | TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => native::elapsed(target, task, now),
    }
}

/// The board has the script, and runs it. The same once more follows from a start of the board.
fn taken(target: Target, task: &Task, now: Time) -> Effects {
    let Target { device, mut software, .. } = target;
    software.pending = None;
    software.running = Some(task.artifact);
    if task.state != TaskState::Applying {
        software.boots.clear();
    }
    software.fetched_at = Some(now);
    remember_start(&mut software, now);
    let mut next = task.clone();
    next.tries = if task.state == TaskState::Applying { task.tries + 1 } else { 1 };
    if next.tries >= BOOTS_MAX {
        let why = format!("the board started {} times since it took the script", next.tries - 1);
        software.problem = Some(why.clone());
        let effects = ended(&device, task, TaskState::Failed, Some(&why), &Actor::System, now);
        return effects.and(save_software(bumped(software)));
    }
    next.deadline = Some(now + task.health_window);
    to(&device, task, next, TaskState::Applying, None, now).and(save_software(bumped(software)))
}

/// The board was given again what it had: it had started, or lost it.
fn taken_again(target: Target, digest: Digest, now: Time) -> Effects {
    let mut software = target.software;
    let Some(artifact) = wanted(&software).filter(|artifact| artifact.digest == digest) else {
        return Effects::none();
    };
    software.running = Some(artifact);
    software.problem = software.problem.filter(|problem| !problem.starts_with(OUT_OF_MEMORY));
    software.fetched_at = Some(now);
    remember_start(&mut software, now);
    save_software(bumped(software))
}

/// What failed is not chosen for the board any more, so that it is not posted again at its next start; unless it was
/// good before, as the version that a recovery returns to.
fn forsaken(effects: Effects, failed: &Artifact, good: Option<Artifact>) -> Effects {
    let mut effects = kept(effects, good);
    for software in softwares(&mut effects) {
        if good == Some(*failed) {
            (software.running, software.active) = (None, good);
        } else {
            software.active = software.running;
        }
    }
    effects
}

/// What was good stays the version to return to.
fn kept(mut effects: Effects, good: Option<Artifact>) -> Effects {
    softwares(&mut effects).for_each(|software| software.good = good);
    effects
}

fn softwares(effects: &mut Effects) -> impl Iterator<Item = &mut Software> {
    effects.save.iter_mut().filter_map(|save| match save {
        Save::Software(software) => Some(&mut **software),
        _ => None,
    })
}
