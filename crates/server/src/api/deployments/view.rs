//! Deployments and tasks as the API shows them.

use std::collections::HashMap;

use motehub_domain::artifact::Artifact;
use motehub_domain::deployment::{Cause, Counts, Deployment, Task, TaskState};
use motehub_domain::id::{FirmwareId, ScriptId};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::devices::ScriptRef;
use super::super::extract::rfc3339;
use super::super::firmware::FirmwareRef;
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
    /// Waiting, Offered, Fetching, Applying, Confirming, Done, Failed, TimedOut, Reverted, RolledBack or
    /// Cancelled.
    state: &'static str,
    /// Why it stands so.
    reason: Option<String>,
    /// The traceback of what crashed, if the device sent one.
    traceback: Option<String>,
    /// Id of the script, if it is about one.
    script: Option<String>,
    /// Its name.
    script_name: Option<String>,
    /// Which version of the script.
    version: Option<i64>,
    /// The firmware, if it is about one.
    firmware: Option<FirmwareRef>,
    /// The script that the device ran before.
    previous: Option<ScriptRef>,
    /// The firmware that the device had before.
    previous_firmware: Option<FirmwareRef>,
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
            let (previous, previous_firmware) = match task.previous {
                Some(former) => (names.script(app, former).await?, names.firmware(app, former).await?),
                None => (None, None),
            };
            let script = names.script(app, task.artifact).await?;
            items.push(Self {
                deployment: task.deployment.to_string(),
                device: task.device.to_string(),
                device_name,
                state: task.state.as_str(),
                reason: task.reason,
                traceback: task.traceback,
                script: script.as_ref().map(|it| it.script.clone()),
                script_name: script.as_ref().map(|it| it.name.clone()),
                version: script.map(|it| it.version),
                firmware: names.firmware(app, task.artifact).await?,
                previous,
                previous_firmware,
                created_at: rfc3339(task.created_at),
                updated_at: rfc3339(task.updated_at),
            });
        }
        Ok(TaskList { items, total })
    }
}

/// What artifacts are of, in a few words; each looked up once.
#[derive(Default)]
pub(super) struct Names {
    scripts: HashMap<ScriptId, Option<String>>,
    firmware: HashMap<FirmwareId, Option<FirmwareRef>>,
}

impl Names {
    /// The script, if it is a version of one.
    async fn script(&mut self, app: &App, artifact: Artifact) -> Result<Option<ScriptRef>, ApiError> {
        let Some((script, _)) = artifact.script() else { return Ok(None) };
        let name = match self.scripts.get(&script) {
            Some(name) => name.clone(),
            None => {
                let name = app.store.script(script).await?.map(|script| script.name);
                self.scripts.insert(script, name.clone());
                name
            }
        };
        Ok(ScriptRef::new(artifact, name))
    }

    /// The firmware, if it is one that is still there.
    async fn firmware(&mut self, app: &App, artifact: Artifact) -> Result<Option<FirmwareRef>, ApiError> {
        let Some(firmware) = artifact.firmware() else { return Ok(None) };
        if let Some(known) = self.firmware.get(&firmware) {
            return Ok(known.clone());
        }
        let found = app.store.firmware(firmware).await?.map(FirmwareRef::from);
        self.firmware.insert(firmware, found.clone());
        Ok(found)
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
    /// Which version of the script.
    version: Option<i64>,
    /// The firmware, if it brings one.
    firmware: Option<FirmwareRef>,
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
            Cause::Placed => ("placed", None, None),
        };
        let (script, firmware) = match artifact {
            Some(artifact) => (names.script(app, artifact).await?, names.firmware(app, artifact).await?),
            None => (None, None),
        };
        Ok(Self {
            id: deployment.id.to_string(),
            title: deployment.title,
            script: script.as_ref().map(|it| it.script.clone()),
            script_name: script.as_ref().map(|it| it.name.clone()),
            version: script.map(|it| it.version),
            firmware,
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
