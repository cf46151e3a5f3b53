//! What is remembered of deployments: the intention, a task per device, and their states.

use crate::artifact::{Artifact, Digest};
use crate::device::{Device, Software};
use crate::id::{DeploymentId, DeviceId};
use crate::job::Job;
use crate::time::{Span, Time};

/// The intention that devices run an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// What it is about, for people: such as "climate v2".
    pub title: String,
    /// Why there is this deployment.
    pub cause: Cause,
    /// The selector that picked the devices, if one did.
    pub selector: Option<String>,
    /// How it stands as a whole.
    pub state: DeploymentState,
    /// How long a board must run it without trouble.
    pub health_window: Span,
    /// The name of whoever began it.
    pub created_by: String,
    /// When it was begun.
    pub created_at: Time,
    /// When its last task ended.
    pub ended_at: Option<Time>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// Why there is a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A person asked for this version.
    Asked(Artifact),
    /// A person asked to return to what ran before this deployment.
    Rollback(DeploymentId),
    /// Steps of flows were placed; each device has a program of its own.
    Placed,
    /// Devices on which this deployment failed return to their last good version by themselves.
    Recovery(DeploymentId),
}

/// How a deployment stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentState {
    /// At least one task is open.
    Running,
    /// All tasks ended, none badly.
    Done,
    /// All tasks ended, at least one Failed or TimedOut.
    Failed,
    /// A person cancelled it.
    Cancelled,
    /// A person rolled it back.
    RolledBack,
}

impl DeploymentState {
    /// Every state.
    pub const ALL: [DeploymentState; 5] =
        [Self::Running, Self::Done, Self::Failed, Self::Cancelled, Self::RolledBack];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::RolledBack => "RolledBack",
        }
    }
    /// A state by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One device's share of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Of which deployment.
    pub deployment: DeploymentId,
    /// On which device.
    pub device: DeviceId,
    /// What it shall run.
    pub artifact: Artifact,
    /// What it ran before: where a roll back returns to.
    pub previous: Option<Artifact>,
    /// How it stands.
    pub state: TaskState,
    /// Why it stands so, in words for people.
    pub reason: Option<String>,
    /// The traceback of what crashed, if the device sent one.
    pub traceback: Option<String>,
    /// IoT Executor: in Fetching how often the device asked, in Applying how often it started since it took the
    /// artifact. Native: how often it began to fetch, and started with it. Firmware: how often it began to take it; in
    /// Confirming how often it started with it or was told to commit.
    pub tries: i64,
    /// How long the device must run it without trouble.
    pub health_window: Span,
    /// When it was given to the device, for the last time if it was tried again: its days are counted from here.
    pub created_at: Time,
    /// When its state last changed.
    pub updated_at: Time,
    /// When to look at it again if nothing happens; `None` for a task that ended.
    pub deadline: Option<Time>,
    /// What the topics of AWS know of it.
    pub job: Job,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// The states of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// The device is away; it gets the artifact when it comes.
    Waiting,
    /// The device was told.
    Offered,
    /// The device asked for it.
    Fetching,
    /// The device took it in full; it must prove that it runs.
    Applying,
    /// The device says that it runs the new firmware; it must prove that it stays.
    Confirming,
    /// It ran for the health window without trouble.
    Done,
    /// It does not run.
    Failed,
    /// The device did not come in time.
    TimedOut,
    /// The device tried the firmware and went back by itself to what it ran before.
    Reverted,
    /// The device returned to what it ran before, as a person asked.
    RolledBack,
    /// It is not wanted any more.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [TaskState; 11] = [
        Self::Waiting,
        Self::Offered,
        Self::Fetching,
        Self::Applying,
        Self::Confirming,
        Self::Done,
        Self::Failed,
        Self::TimedOut,
        Self::Reverted,
        Self::RolledBack,
        Self::Cancelled,
    ];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Offered => "Offered",
            Self::Fetching => "Fetching",
            Self::Applying => "Applying",
            Self::Confirming => "Confirming",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Reverted => "Reverted",
            Self::RolledBack => "RolledBack",
            Self::Cancelled => "Cancelled",
        }
    }
    /// A state by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
    /// Whether the task is still on its way.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Offered | Self::Fetching | Self::Applying | Self::Confirming)
    }
}

/// How many tasks of a deployment are in each state, in the order of [`TaskState::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts(pub [i64; 11]);

impl Counts {
    /// How many are in a state.
    pub fn of(&self, state: TaskState) -> i64 {
        TaskState::ALL.iter().position(|s| *s == state).map_or(0, |i| self.0[i])
    }
    /// How many there are in all.
    pub fn total(&self) -> i64 {
        self.0.iter().sum()
    }
    /// How many are still on their way.
    pub fn open(&self) -> i64 {
        TaskState::ALL.iter().zip(self.0).filter(|(state, _)| state.is_open()).map(|(_, n)| n).sum()
    }
}

/// A script that is more than so many times as large as the free memory of a device cannot run there.
const SOURCE_PER_MEMORY: i64 = 2;

/// A device as deployments see it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The device.
    pub device: Device,
    /// What it runs and what waits for it.
    pub software: Software,
    /// Whether it has a live connection.
    pub online: bool,
    /// Its open task, which a new one replaces.
    pub open: Option<Task>,
    /// Bytes of memory that were free when it last said so.
    pub free_memory: Option<i64>,
    /// What it is not given any more, each with the reason.
    pub quarantined: Vec<(Digest, String)>,
}

impl Target {
    /// Why it is not given this, if it is not.
    pub(crate) fn refuses(&self, artifact: &Artifact) -> Option<String> {
        if let Some(why) = self.device.dialect.refuses(artifact.kind) {
            return Some(why.to_owned());
        }
        if let Some((_, why)) = self.quarantined.iter().find(|(digest, _)| *digest == artifact.digest) {
            return Some(format!("quarantined: {why}; a person can lift that on the page of the device"));
        }
        let (size, free) = (artifact.size_bytes, self.free_memory.filter(|free| *free > 0)?);
        (artifact.script().is_some() && size > SOURCE_PER_MEMORY.saturating_mul(free)).then(|| {
            format!("too large: the script has {size} bytes, the device has {free} bytes of memory free")
        })
    }
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is about, for people.
    pub title: String,
    /// Why.
    pub cause: Cause,
    /// The selector that picked the devices, if one did.
    pub selector: Option<String>,
    /// `None` for the default.
    pub health_window: Option<Span>,
}
