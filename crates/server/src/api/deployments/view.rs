//! Deployments and tasks as the API shows them.

use std::collections::HashMap;

use motehub_domain::deployment::{Cause, Counts, Deployment, Task, TaskState};
use motehub_domain::id::ScriptId;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::devices::ScriptRef;
use super::super::extract::rfc3339;
use super::super::problem::ApiError;
use crate::app::App;

/// One device's share of a deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Task)]
pub(crate) struct TaskDto {
    /// Id of the deployment.
    deployment: String,
    /// Id of the device.
    device: String,
    /// Its name.
    device_name: String,
    /// Waiting, Offered, Fetching, Applying, Done, Failed, TimedOut, RolledBack or Cancelled.
    state: &'static str,
    /// Why it stands so.
    reason: Option<String>,
    /// The traceback of what crashed, if the device sent one.
    traceback: Option<String>,
    /// Id of the script.
    script: String,
    /// Its name.
    script_name: String,
    /// Which version.
    version: i64,
    /// What the device ran before.
    previous: Option<ScriptRef>,
    /// When it was made.
    created_at: String,
    /// When its state last changed.
    updated_at: String,
}

/// Tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    pub(super) items: Vec<TaskDto>,
    /// How many there are in all.
    pub(super) total: i64,
}

impl TaskDto {
    /// Tasks with the names of their devices become a list with the names of their scripts.
    pub(crate) async fn list(
        app: &App,
        tasks: Vec<(Task, String)>,
        total: Option<i64>,
    ) -> Result<TaskList, ApiError> {
        let mut names = Names::default();
        let total = total.unwrap_or_else(|| i64::try_from(tasks.len()).unwrap_or(i64::MAX));
        let mut items = Vec::with_capacity(tasks.len());
        for (task, device_name) in tasks {
            let previous = match task.previous {
                Some(artifact) => Some(ScriptRef::new(artifact, names.of(app, artifact.script).await?)),
                None => None,
            };
            items.push(Self {
                deployment: task.deployment.to_string(),
                device: task.device.to_string(),
                device_name,
                state: task.state.as_str(),
                reason: task.reason,
                traceback: task.traceback,
                script: task.artifact.script.to_string(),
                script_name: names.of(app, task.artifact.script).await?.unwrap_or_default(),
                version: task.artifact.version,
                previous,
                created_at: rfc3339(task.created_at),
                updated_at: rfc3339(task.updated_at),
            });
        }
        Ok(TaskList { items, total })
    }
}

/// Names of scripts, each looked up once.
#[derive(Default)]
pub(super) struct Names(HashMap<ScriptId, Option<String>>);

impl Names {
    pub(super) async fn of(&mut self, app: &App, script: ScriptId) -> Result<Option<String>, ApiError> {
        if let Some(name) = self.0.get(&script) {
            return Ok(name.clone());
        }
        let name = app.store.script(script).await?.map(|script| script.name);
        self.0.insert(script, name.clone());
        Ok(name)
    }
}

/// The intention that devices run a version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub(crate) struct DeploymentDto {
    /// Its id.
    id: String,
    /// What it is about, for people.
    title: String,
    /// Id of the script; none for a roll back or recovery, whose tasks have each their own.
    script: Option<String>,
    /// Its name.
    script_name: Option<String>,
    /// Which version.
    version: Option<i64>,
    /// `asked`, `rollback` or `recovery`.
    cause: &'static str,
    /// The deployment that is rolled back or recovered from.
    of: Option<String>,
    /// The selector that picked the devices.
    selector: Option<String>,
    /// Running, Done, Failed, Cancelled or RolledBack.
    state: &'static str,
    /// When it was begun.
    created_at: String,
    /// Who began it.
    created_by: String,
    /// When its last task ended.
    ended_at: Option<String>,
    /// How long a board must run it without trouble.
    health_window_seconds: i64,
    /// How many tasks are in each state.
    counts: HashMap<&'static str, i64>,
    /// How many tasks there are.
    total: i64,
}

impl DeploymentDto {
    pub(super) async fn new(
        app: &App,
        names: &mut Names,
        deployment: Deployment,
        counts: Counts,
    ) -> Result<Self, ApiError> {
        let (cause, artifact, of) = match deployment.cause {
            Cause::Asked(artifact) => ("asked", Some(artifact), None),
            Cause::Rollback(of) => ("rollback", None, Some(of)),
            Cause::Recovery(of) => ("recovery", None, Some(of)),
        };
        let script_name = match artifact {
            Some(artifact) => names.of(app, artifact.script).await?,
            None => None,
        };
        Ok(Self {
            id: deployment.id.to_string(),
            title: deployment.title,
            script: artifact.map(|artifact| artifact.script.to_string()),
            script_name,
            version: artifact.map(|artifact| artifact.version),
            cause,
            of: of.map(|of| of.to_string()),
            selector: deployment.selector,
            state: deployment.state.as_str(),
            created_at: rfc3339(deployment.created_at),
            created_by: deployment.created_by,
            ended_at: deployment.ended_at.map(rfc3339),
            health_window_seconds: deployment.health_window.0 / 1000,
            counts: TaskState::ALL.into_iter().map(|state| (state.as_str(), counts.of(state))).collect(),
            total: counts.total(),
        })
    }
}

/// A part of the deployments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentList {
    pub(super) items: Vec<DeploymentDto>,
    /// How many there are in all.
    pub(super) total: i64,
}
