//! Jobs: how a device that speaks the topics of AWS sees its share of a deployment, and says how far it is with it.
//!
//! What AWS calls a job execution is a [`Task`]; its job is the deployment. The status that a device sees is what it
//! said itself, once that is final, and otherwise follows from the task:
//!
//! | Task | Status |
//! |---|---|
//! | Waiting, Offered | QUEUED, or IN_PROGRESS once the device said so |
//! | Fetching, Applying, Confirming | IN_PROGRESS |
//! | Done | SUCCEEDED |
//! | Failed, Reverted | FAILED |
//! | TimedOut | TIMED_OUT |
//! | Cancelled | CANCELED |
//! | RolledBack | REMOVED |
//!
//! The other way round, what the device says moves the task as [`crate::rollout`] decides. With a firmware SUCCEEDED is
//! no more than that it was taken: Done follows from the version that the device says it runs, among the details of an
//! update ([`RUNNING_VERSION`]) or in its announcement.

mod document;
mod refusal;

use std::collections::BTreeMap;

pub use document::{accepted, changed, execution, listed, next_changed, pending, rejected, state};
pub use refusal::Refusal;

use crate::deployment::{Target, Task, TaskState};
use crate::device::Device;
use crate::effects::{Effects, Save};
use crate::firmware::Firmware;
use crate::id::{DeploymentId, DeviceId};
use crate::message::FirmwareSignal;
use crate::report::{Crash, Progress, TaskReport};
use crate::rollout;
use crate::text;
use crate::time::{Span, Time};

/// Most details of one update.
pub const DETAILS_MAX: usize = 64;
/// Longest name of a detail, in bytes.
pub const DETAIL_NAME_BYTES_MAX: usize = 128;
/// Longest detail, in characters.
pub const DETAIL_CHARS_MAX: usize = 1024;
/// The shortest and the longest step, in minutes.
pub const STEP_MINUTES_RANGE: (i64, i64) = (1, 7 * 24 * 60);
/// The detail by which a device says which version it runs.
pub const RUNNING_VERSION: &str = "running_version";
/// The detail by which it says which build of it.
pub const RUNNING_BUILD: &str = "running_build";
/// How much of the details is shown to people as the reason of a task, in characters.
const REMARK_CHARS_MAX: usize = 200;

/// What a device says beside the status, by name.
pub type Details = BTreeMap<String, String>;

/// What is remembered of a task for the topics of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// How often the device was given the task, this time included.
    pub number: i64,
    /// Counts what the device said of it, from 1.
    pub version: i64,
    /// The status that it last said.
    pub said: Option<Status>,
    /// What it last said beside it.
    pub details: Details,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it last said something.
    pub said_at: Option<Time>,
    /// When the step that it is at ends.
    pub step_ends_at: Option<Time>,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            number: 1,
            version: 1,
            said: None,
            details: Details::new(),
            started_at: None,
            said_at: None,
            step_ends_at: None,
        }
    }
}

impl Job {
    /// The same task, given once more.
    pub(crate) fn again(&self) -> Self {
        Self { number: self.number + 1, ..Self::default() }
    }

    /// Whether the device said that it is at work, and nothing final since.
    pub(crate) fn is_at_work(&self) -> bool {
        self.said == Some(Status::InProgress)
    }

    /// Whether the time of the step that it is at has passed.
    pub(crate) fn is_late(&self, now: Time) -> bool {
        self.step_ends_at.is_some_and(|end| end <= now)
    }
}

/// The statuses of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for the device.
    Queued,
    /// The device is at work.
    InProgress,
    /// The device did it.
    Succeeded,
    /// The device could not.
    Failed,
    /// It took too long.
    TimedOut,
    /// The device does not want it.
    Rejected,
    /// It was taken from the device.
    Removed,
    /// It was cancelled.
    Canceled,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 8] = [
        Self::Queued,
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Rejected,
        Self::Removed,
        Self::Canceled,
    ];

    /// The name of AWS.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Rejected => "REJECTED",
            Self::Removed => "REMOVED",
            Self::Canceled => "CANCELED",
        }
    }
    /// A status by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// How a task looks by the topics of AWS.
pub fn status(task: &Task) -> Status {
    match (task.job.said, task.state) {
        (Some(said), _) if said.is_final() => said,
        (None, TaskState::Waiting | TaskState::Offered) => Status::Queued,
        (Some(_), TaskState::Waiting | TaskState::Offered)
        | (_, TaskState::Fetching | TaskState::Applying | TaskState::Confirming) => Status::InProgress,
        (_, TaskState::Done) => Status::Succeeded,
        (_, TaskState::Failed | TaskState::Reverted) => Status::Failed,
        (_, TaskState::TimedOut) => Status::TimedOut,
        (_, TaskState::RolledBack) => Status::Removed,
        (_, TaskState::Cancelled) => Status::Canceled,
    }
}

/// Whether the task is among the jobs that wait for the device or that it is at.
pub fn is_pending(task: &Task) -> bool {
    !status(task).is_final()
}

/// Whether tasks of this device are jobs: the others are moved by what their own firmware says.
pub fn has_jobs(device: &Device) -> bool {
    device.dialect.speaks_native()
}

/// A device that has other pending jobs than before, and is told so by the topics of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub device: DeviceId,
    /// Its own id.
    pub external_id: Option<String>,
}

impl Changed {
    /// This device, if it has jobs.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        has_jobs(device).then(|| Self { device: device.id, external_id: device.external_id.clone() })
    }
}

/// What is asked about jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which are pending.
    Pending,
    /// To begin the next, if it has not begun.
    StartNext {
        /// What the device says of it then.
        details: Option<Details>,
        /// How long it has.
        step: Option<Step>,
    },
    /// What one is about and how it stands.
    Describe {
        /// Which; `None` for the next.
        job: Option<JobId>,
        /// Whether it is asked what to do.
        with_document: bool,
    },
    /// To say how far the device is.
    Update(JobId, Box<Update>),
}

/// Names a task of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobId {
    /// Of which deployment; `None` if the name is that of none.
    pub deployment: Option<DeploymentId>,
    /// Which time that it was given to the device; `None` for the last.
    pub number: Option<i64>,
}

/// What a device says of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// How it stands: IN_PROGRESS, SUCCEEDED, FAILED or REJECTED.
    pub status: Status,
    /// What it says beside that; `None` leaves what it said before.
    pub details: Option<Details>,
    /// How long it has for the next step; `None` leaves what was said before.
    pub step: Option<Step>,
    /// The version that it is about; with another one nothing is done.
    pub expected_version: Option<i64>,
    /// Whether the answer has the state.
    pub with_state: bool,
    /// Whether the answer has what to do.
    pub with_document: bool,
}

/// What becomes of the time for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is this, from now.
    Lasts(Span),
    /// There is no limit any more.
    Unlimited,
}

/// The device begins the next job. `task`: its open one, which is pending; `of` the firmware that it brings.
pub fn start(
    target: Target,
    task: &Task,
    of: Option<&Firmware>,
    details: Option<Details>,
    step: Option<Step>,
    now: Time,
) -> Result<(Task, Effects), Refusal> {
    let is_new = status(task) == Status::Queued;
    if !is_new && step.is_none() {
        return Ok((task.clone(), Effects::none()));
    }
    let update = Update {
        status: Status::InProgress,
        details: details.filter(|_| is_new),
        step,
        expected_version: None,
        with_state: false,
        with_document: false,
    };
    self::update(target, task, of, &update, now)
}

/// The device said how far it is with a task. `of`: the firmware that it brings.
pub fn update(
    target: Target,
    task: &Task,
    of: Option<&Firmware>,
    update: &Update,
    now: Time,
) -> Result<(Task, Effects), Refusal> {
    if update.expected_version.is_some_and(|version| version != task.job.version) {
        return Err(Refusal::VersionMismatch(Box::new(task.clone())));
    }
    let before = status(task);
    // What the hub found out by itself the device may still say, once.
    let is_known = before == update.status && task.job.said != Some(update.status);
    if before.is_final() && !is_known {
        return Err(Refusal::InvalidStateTransition(Box::new(task.clone())));
    }
    let said = Task { job: said(&task.job, update, now), ..task.clone() };
    let changed = (!before.is_final() && update.status.is_final()).then(|| Changed::of(&target.device));
    let mut effects = match task.state.is_open() {
        true => moved(Target { open: Some(said.clone()), ..target }, &said, of, update, now),
        false => Effects::none(),
    };
    effects.jobs.extend(changed.flatten());
    let next = effects.save.iter().find_map(|save| match save {
        Save::Task(next) if next.deployment == task.deployment => Some((**next).clone()),
        _ => None,
    });
    let next = next.unwrap_or_else(|| {
        let deadline = rollout::due(&said);
        let next = Task { revision: task.revision + 1, deadline, ..said };
        effects.save.push(Save::Task(Box::new(next.clone())));
        next
    });
    Ok((next, effects))
}

fn said(job: &Job, update: &Update, now: Time) -> Job {
    let step_ends_at = match update.step {
        _ if update.status.is_final() => None,
        None => job.step_ends_at,
        Some(Step::Unlimited) => None,
        Some(Step::Lasts(span)) => Some(now + span),
    };
    Job {
        number: job.number,
        version: job.version + 1,
        said: Some(update.status),
        details: update.details.clone().unwrap_or_else(|| job.details.clone()),
        started_at: job.started_at.or(Some(now)),
        said_at: Some(now),
        step_ends_at,
    }
}

/// What follows for the open task.
fn moved(target: Target, task: &Task, of: Option<&Firmware>, update: &Update, now: Time) -> Effects {
    let details = update.details.as_ref().filter(|details| !details.is_empty());
    let remark = details.map(remark);
    let why = || match (update.status == Status::Rejected, &remark) {
        (true, None) => "the device rejected it".to_owned(),
        (true, Some(remark)) => format!("the device rejected it: {remark}"),
        (false, None) => "the device says that it failed, and not why".to_owned(),
        (false, Some(remark)) => format!("the device says that it failed: {remark}"),
    };
    let progress = match update.status {
        Status::Succeeded if task.artifact.firmware().is_some() => Progress::Applying,
        Status::Succeeded => Progress::Done,
        Status::Failed | Status::Rejected => Progress::Failed(Crash { reason: why(), ..Crash::default() }),
        // The others are no update of a device.
        Status::InProgress | Status::Queued | Status::TimedOut | Status::Removed | Status::Canceled => {
            Progress::Fetching(remark)
        }
    };
    let Some(of) = of.filter(|of| task.artifact.firmware() == Some(of.id)) else {
        return rollout::native::reported(
            target,
            &TaskReport { digest: task.artifact.digest, progress },
            now,
        );
    };
    let started = details.and_then(started).filter(|(version, build)| {
        let is_news = task.state != TaskState::Confirming && !matches!(progress, Progress::Failed(_));
        is_news && of.label.is_run_by(version, build.as_deref())
    });
    match started {
        Some((version, build)) => {
            let signal = FirmwareSignal::Started { name: None, version, build, committed: None };
            rollout::firmware::signalled(target, Some(of), Some(task.artifact), &signal, now)
        }
        None => rollout::firmware::signalled(target, Some(of), None, &progress.signal(), now),
    }
}

/// What the device says that it runs.
fn started(details: &Details) -> Option<(String, Option<String>)> {
    Some((details.get(RUNNING_VERSION)?.clone(), details.get(RUNNING_BUILD).cloned()))
}

fn remark(details: &Details) -> String {
    let pairs: Vec<String> = details.iter().map(|(name, detail)| format!("{name}: {detail}")).collect();
    text::shown(&pairs.join(", "), REMARK_CHARS_MAX)
}

#[cfg(test)]
mod tests;
