//! Deployments: the intention that devices run an artifact, as people begin, cancel, retry and roll it back.
//! How a device's share of it proceeds is in [`crate::rollout`].

mod record;

use serde_json::json;

pub use record::{Cause, Counts, Deployment, DeploymentState, Request, Target, Task, TaskState};

use crate::artifact::Artifact;
use crate::change::{Actor, Change, ChangeKind};
use crate::device::{Assignment, Dialect, Software};
use crate::effects::{Effects, Save};
use crate::id::DeploymentId;
use crate::job::{self, Job};
use crate::message::{Downlink, Offer};
use crate::rejection::Rejection;
use crate::rollout;
use crate::time::{Span, Time};

/// How long a board must run a new version without trouble, by default.
pub const HEALTH_WINDOW: Span = Span::seconds(30);
/// The shortest and longest health window that can be asked for.
pub const HEALTH_WINDOW_RANGE: (Span, Span) = (Span::seconds(5), Span::seconds(3600));
/// How long a device may stay away before its task is TimedOut.
pub const DEADLINE: Span = Span::days(7);
/// Most devices of one deployment.
pub const TASKS_MAX: usize = 100_000;

/// Begins a deployment: one task per device, each with its artifact. An open task of a device is replaced. The
/// devices in `refused` get a task that has Failed already, with the reason, and nothing else of them is touched.
pub fn begin(
    id: DeploymentId,
    request: &Request,
    targets: Vec<(Target, Artifact)>,
    refused: Vec<(Target, Artifact, String)>,
    actor: &Actor,
    now: Time,
) -> Result<(Deployment, Effects), Rejection> {
    let count = targets.len() + refused.len();
    if count == 0 {
        return Err(Rejection::invalid("devices", "no device is meant: name some, or widen the selector"));
    }
    if count > TASKS_MAX {
        return Err(Rejection::too_large("devices", format!("at most {TASKS_MAX} devices at once")));
    }
    let health_window = request.health_window.unwrap_or(HEALTH_WINDOW);
    if health_window < HEALTH_WINDOW_RANGE.0 || health_window > HEALTH_WINDOW_RANGE.1 {
        return Err(Rejection::invalid("health_window_seconds", "a health window is 5 to 3600 seconds"));
    }
    let deployment = Deployment {
        id,
        title: request.title.clone(),
        cause: request.cause,
        selector: request.selector.clone(),
        state: DeploymentState::Running,
        health_window,
        created_by: actor.name().to_owned(),
        created_at: now,
        ended_at: None,
        revision: 1,
    };
    let mut effects = Effects::none();
    effects.save.push(Save::Deployment(Box::new(deployment.clone())));
    let after = json!({ "cause": cause_word(request.cause), "selector": request.selector, "devices": count });
    effects.changes.push(fact(ChangeKind::DeploymentStarted, &deployment, actor, Some(after)));
    for (target, artifact) in targets {
        effects = effects.and(offer(&deployment, target, artifact, actor, now));
    }
    for (target, artifact, why) in refused {
        effects = effects.and(refuse(&deployment, &target, artifact, &why, actor, now));
    }
    Ok((deployment, effects))
}

/// A task that ends as it begins: the device is not offered the artifact.
fn refuse(
    deployment: &Deployment,
    target: &Target,
    artifact: Artifact,
    why: &str,
    actor: &Actor,
    now: Time,
) -> Effects {
    let Target { device, software, .. } = target;
    let task = Task {
        deployment: deployment.id,
        device: device.id,
        artifact,
        previous: software.before(&artifact),
        state: TaskState::Failed,
        reason: Some(why.to_owned()),
        traceback: None,
        tries: 0,
        health_window: deployment.health_window,
        created_at: now,
        updated_at: now,
        deadline: None,
        job: Job::default(),
        revision: 1,
    };
    let change = rollout::moved(device, &task, TaskState::Failed, Some(why), actor);
    Effects { save: vec![Save::Task(Box::new(task))], changes: vec![change], ..Effects::none() }
}

/// Adds a device to a running deployment, or gives a device its task again.
pub(crate) fn offer(
    deployment: &Deployment,
    target: Target,
    artifact: Artifact,
    actor: &Actor,
    now: Time,
) -> Effects {
    let is_told = target.device.dialect != Dialect::Nodemcu;
    if let Some(why) = target.refuses(&artifact) {
        return refuse(deployment, &target, artifact, &why, actor, now);
    }
    let Target { device, mut software, online, open, .. } = target;
    let mut effects = Effects::none();
    if let Some(open) = open
        && open.deployment != deployment.id
    {
        let why = "a later deployment took its place";
        effects = effects.and(rollout::ended(&device, &open, TaskState::Cancelled, Some(why), actor, now));
    }
    let may_wake = online && (is_told || software.woken_at.is_none_or(|at| now - at >= rollout::WAKE_AGAIN));
    let woken_at = software.woken_at.filter(|_| !may_wake).unwrap_or(now);
    let task = Task {
        deployment: deployment.id,
        device: device.id,
        artifact,
        previous: software.before(&artifact),
        state: if online { TaskState::Offered } else { TaskState::Waiting },
        reason: None,
        traceback: None,
        tries: 0,
        health_window: deployment.health_window,
        created_at: now,
        updated_at: now,
        deadline: Some(match (online, is_told) {
            (true, true) => now + rollout::native::OFFER_AGAIN,
            (true, false) => woken_at + rollout::WAKE_AGAIN,
            (false, _) => now + DEADLINE,
        }),
        job: Job::default(),
        revision: 1,
    };
    software.pending = Some((deployment.id, artifact));
    if let Some((script, _)) = artifact.script() {
        software.active = Some(artifact);
        if matches!(deployment.cause, Cause::Asked(_)) {
            effects.save.push(Save::Assign(Assignment { device: device.id, script }));
        }
    }
    if may_wake {
        software.woken_at = Some(now);
        let offer = Offer::new(&artifact, deployment.health_window);
        effects.send.push((device.id, Downlink::Offer(offer)));
    }
    software.revision += 1;
    effects.jobs.extend(job::Changed::of(&device));
    effects.save.push(Save::Task(Box::new(task)));
    effects.save.push(Save::Software(Box::new(software)));
    effects
}

/// Cancels what is still on its way; what is done stays done. Tasks that a board is applying run on.
pub fn cancel(
    deployment: &Deployment,
    open: Vec<(Target, Task)>,
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    if deployment.state != DeploymentState::Running {
        return Err(Rejection::conflict(
            "conflict",
            format!("the deployment is {} already", deployment.state.as_str()),
        ));
    }
    let mut ended = deployment.clone();
    ended.state = DeploymentState::Cancelled;
    ended.ended_at = Some(now);
    ended.revision += 1;
    let mut effects = Effects::none();
    effects.save.push(Save::Deployment(Box::new(ended)));
    effects.changes.push(fact(ChangeKind::DeploymentCancelled, deployment, actor, None));
    for (target, task) in open {
        if !matches!(task.state, TaskState::Applying | TaskState::Confirming) {
            effects = effects.and(withdraw(target, &task, actor, now));
        }
    }
    Ok(effects)
}

/// Takes one task back before the device has it.
pub fn cancel_task(target: Target, task: &Task, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    match task.state {
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching => {
            Ok(withdraw(target, task, actor, now))
        }
        TaskState::Applying | TaskState::Confirming => Err(Rejection::conflict(
            "conflict",
            "the board has the new version already: roll it back instead",
        )),
        TaskState::Done
        | TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => {
            Err(Rejection::conflict("conflict", format!("the task is {} already", task.state.as_str())))
        }
    }
}

fn withdraw(target: Target, task: &Task, actor: &Actor, now: Time) -> Effects {
    let Target { device, mut software, .. } = target;
    let why = format!("cancelled by {}", actor.name());
    let mut effects = rollout::ended(&device, task, TaskState::Cancelled, Some(&why), actor, now);
    if device.dialect != Dialect::Nodemcu && task.state != TaskState::Waiting {
        effects.send.push((device.id, Downlink::Cancel(task.artifact.digest)));
    }
    if software.pending.is_some_and(|(deployment, _)| deployment == task.deployment) {
        software.pending = None;
        if task.artifact.script().is_some() {
            software.active = software.running;
        }
        software.revision += 1;
        effects.save.push(Save::Software(Box::new(software)));
    }
    effects
}

/// Gives devices whose task ended badly or was cancelled the artifact again.
pub fn retry(
    deployment: &Deployment,
    failed: Vec<(Target, Task)>,
    actor: &Actor,
    now: Time,
) -> Result<Effects, Rejection> {
    if failed.is_empty() {
        return Err(Rejection::conflict(
            "conflict",
            "no task of it ended badly: there is nothing to try again",
        ));
    }
    let mut running = deployment.clone();
    running.state = DeploymentState::Running;
    running.ended_at = None;
    running.revision += 1;
    let mut effects = Effects::none();
    effects.save.push(Save::Deployment(Box::new(running.clone())));
    for (target, task) in failed {
        let device = target.device.clone();
        let mut again = offer(&running, target, task.artifact, actor, now);
        for save in &mut again.save {
            if let Save::Task(fresh) = save
                && fresh.deployment == task.deployment
            {
                fresh.revision = task.revision + 1;
                fresh.previous = task.previous;
                fresh.job = task.job.again();
                effects.changes.push(rollout::moved(&device, &task, fresh.state, None, actor));
            }
        }
        effects = effects.and(again);
    }
    Ok(effects)
}

/// What a roll back does to one task: where its device returns to, if it ever took the artifact.
pub fn way_back(task: &Task, software: &Software) -> Option<Artifact> {
    let took_it = matches!(
        task.state,
        TaskState::Applying
            | TaskState::Confirming
            | TaskState::Done
            | TaskState::Failed
            | TaskState::TimedOut
    );
    let good = software.good.filter(|_| task.artifact.script().is_some());
    let back = task.previous.or(good).filter(|artifact| *artifact != task.artifact);
    if took_it { back } else { None }
}

/// The device on which a deployment failed is offered its last good version, once. All such devices of one
/// deployment share one recovery; `former` is the device's task in it if it had one.
pub fn recover(
    id: DeploymentId,
    failed: &Deployment,
    existing: Option<Deployment>,
    former: Option<&Task>,
    target: Target,
    artifact: Artifact,
    now: Time,
) -> Effects {
    let software = &target.software;
    let good = software.good.or(software.running).filter(|good| *good != artifact);
    let Some(good) = good else {
        return give_up(target);
    };
    let mut effects = Effects::none();
    let recovery = match existing {
        Some(mut recovery) => {
            recovery.revision += 1;
            recovery.state = DeploymentState::Running;
            recovery.ended_at = None;
            recovery
        }
        None => Deployment {
            id,
            title: format!("recovery from {}", failed.title),
            cause: Cause::Recovery(failed.id),
            selector: None,
            state: DeploymentState::Running,
            health_window: failed.health_window,
            created_by: Actor::System.name().to_owned(),
            created_at: now,
            ended_at: None,
            revision: 1,
        },
    };
    if recovery.revision == 1 {
        let after = json!({ "cause": "recovery", "of": failed.id.to_string() });
        effects.changes.push(fact(ChangeKind::DeploymentStarted, &recovery, &Actor::System, Some(after)));
    }
    effects.save.push(Save::Deployment(Box::new(recovery.clone())));
    let mut offered = offer(&recovery, target, good, &Actor::System, now);
    for save in &mut offered.save {
        if let Save::Task(task) = save {
            task.previous = Some(artifact);
            task.revision = former.map_or(1, |former| former.revision + 1);
            task.job = former.map_or_else(Job::default, |former| former.job.again());
        }
    }
    effects.and(offered)
}

/// There is nothing to return to: nothing waits for the device any more.
fn give_up(target: Target) -> Effects {
    let mut software = target.software;
    if software.pending.is_none() {
        return Effects::none();
    }
    software.pending = None;
    software.revision += 1;
    Effects { save: vec![Save::Software(Box::new(software))], changes: Vec::new(), ..Effects::none() }
}

/// Whether all tasks have ended, and how the deployment stands then.
pub fn settle(deployment: &Deployment, counts: Counts, now: Time) -> Effects {
    if counts.open() > 0 {
        return Effects::none();
    }
    let bad = [TaskState::Failed, TaskState::TimedOut, TaskState::Reverted].map(|state| counts.of(state));
    let bad: i64 = bad.iter().sum();
    let state = match deployment.state {
        _ if counts.of(TaskState::RolledBack) > 0 && counts.of(TaskState::Done) == 0 => {
            DeploymentState::RolledBack
        }
        DeploymentState::Cancelled => DeploymentState::Cancelled,
        _ if bad > 0 => DeploymentState::Failed,
        _ if counts.of(TaskState::Cancelled) == counts.total() => DeploymentState::Cancelled,
        _ => DeploymentState::Done,
    };
    if state == deployment.state {
        return Effects::none();
    }
    let mut ended = deployment.clone();
    ended.state = state;
    ended.ended_at = Some(now);
    ended.revision += 1;
    let after = json!({ "state": state.as_str() });
    let change = fact(ChangeKind::DeploymentEnded, deployment, &Actor::System, Some(after));
    Effects { save: vec![Save::Deployment(Box::new(ended))], changes: vec![change], ..Effects::none() }
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Asked(_) => "asked",
        Cause::Rollback(_) => "rollback",
        Cause::Recovery(_) => "recovery",
        Cause::Placed => "placed",
    }
}

fn fact(
    kind: ChangeKind,
    deployment: &Deployment,
    actor: &Actor,
    after: Option<serde_json::Value>,
) -> Change {
    let (subject, subject_name) = (deployment.id.to_string(), deployment.title.clone());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before: None, after }
}
