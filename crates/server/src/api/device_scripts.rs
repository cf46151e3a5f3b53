//! The scripts of one device: assign, activate, force, cancel, roll back.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::access::Permission;
use motehub_domain::artifact::Artifact;
use motehub_domain::deployment::{self, Cause, Request};
use motehub_domain::device;
use motehub_domain::id::{DeviceId, ScriptId};
use motehub_domain::rejection::Rejection;
use motehub_domain::script::Script;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::deployments::{
    Begun, TaskDto, TaskList, artifact_of, lacking_of, rollback_request, tell_to_go_back, title,
};
use super::devices::load;
use super::extract::{Body, id};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::random;

/// How many tasks of a device are listed.
const TASKS_MAX: usize = 100;

/// A script that is assigned to a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedScript {
    /// Id of the script.
    script: String,
    /// Its name.
    name: String,
    /// Its newest version.
    latest_version: i64,
    /// Whether it is the active one.
    active: bool,
}

/// The scripts assigned to a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedList {
    items: Vec<AssignedScript>,
}

/// The tasks of a device, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/tasks", tag = "devices",
    responses((status = 200, body = TaskList), (status = 404, body = Problem)))]
pub(crate) async fn tasks(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<TaskList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let tasks = app.store.tasks_of(device.id, TASKS_MAX).await?;
    let tasks = tasks.into_iter().map(|task| (task, device.name.clone())).collect();
    Ok(axum::Json(TaskDto::list(&app, tasks, None).await?))
}

/// The scripts assigned to a device.
#[utoipa::path(get, path = "/api/v1/devices/{id}/scripts", tag = "devices",
    responses((status = 200, body = AssignedList), (status = 404, body = Problem)))]
pub(crate) async fn assigned(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<AssignedList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let assigned = app.store.assignments(device.id).await?;
    let items = assigned.into_iter().map(|(script, active)| AssignedScript {
        script: script.id.to_string(),
        name: script.name,
        latest_version: script.latest_version,
        active,
    });
    Ok(axum::Json(AssignedList { items: items.collect() }))
}

/// Assigns a script to a device, so that a manager may activate it.
#[utoipa::path(put, path = "/api/v1/devices/{id}/scripts/{script}", tag = "devices",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn assign(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((device, script)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (device, script) =
        (load(&app, id("device", &device)?).await?, load_script(&app, id("script", &script)?).await?);
    if !is_assigned(&app, device.id, script.id).await? {
        app.perform(device::assign(&device, script.id, &script.name, &caller.actor())).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an assignment back; what runs goes on running.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/scripts/{script}", tag = "devices",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn unassign(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((device, script)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (device, script) =
        (load(&app, id("device", &device)?).await?, load_script(&app, id("script", &script)?).await?);
    if !is_assigned(&app, device.id, script.id).await? {
        return Err(ApiError::not_found("assignment of script", script.name));
    }
    app.perform(device::unassign(&device, script.id, &script.name, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which script shall be active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// Id of the script.
    script: String,
    /// Which version; the newest by default.
    version: Option<i64>,
}

impl Activation {
    /// The newest version of a script.
    pub(crate) fn newest(script: ScriptId) -> Self {
        Self { script: script.to_string(), version: None }
    }
}

/// Makes a script the active one: a deployment to this device. Managers choose among assigned scripts.
#[utoipa::path(post, path = "/api/v1/devices/{id}/activate", tag = "devices", request_body = Activation,
    responses((status = 201, body = Begun), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn activate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<Activation>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let script = load_script(&app, id("script", &wanted.script)?).await?;
    if !caller.role.may(Permission::Build) && !is_assigned(&app, device.id, script.id).await? {
        return Err(Rejection::forbidden(
            "a manager activates assigned scripts: ask an engineer to assign it",
        )
        .into());
    }
    let version = wanted.version.unwrap_or(script.latest_version);
    let artifact = artifact_of(&app, &script, version).await?;
    if let Some(why) = lacking_of(&app, &script, &[device.id]).await?.remove(&device.id) {
        return Err(Rejection::conflict("capability_missing", why).into());
    }
    let request = asked(&script, version, artifact);
    give(&app, &caller, device.id, &request, artifact).await
}

/// Deploys the active version again, whatever the device runs.
#[utoipa::path(post, path = "/api/v1/devices/{id}/force", tag = "devices",
    responses((status = 201, body = Begun), (status = 409, body = Problem)))]
pub(crate) async fn force(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let software = app.store.software(device.id).await?;
    let active = software.active.or(software.running);
    let (active, (script, version)) =
        active.and_then(|artifact| Some((artifact, artifact.script()?))).ok_or_else(|| {
            Rejection::conflict("conflict", "the device has no active script: activate one first")
        })?;
    let script = load_script(&app, script).await?;
    give(&app, &caller, device.id, &asked(&script, version, active), active).await
}

/// Cancels what waits for a device.
#[utoipa::path(post, path = "/api/v1/devices/{id}/cancel", tag = "devices",
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (id, actor) = (id("device", &path)?, caller.actor());
    app.attempt(|| async {
        load(&app, id).await?;
        let target = app.store.target(id).await?;
        let Some((target, task)) = target.and_then(|target| target.open.clone().map(|task| (target, task)))
        else {
            return Err(Rejection::conflict("conflict", "nothing waits for the device").into());
        };
        Ok(((), deployment::cancel_task(target, &task, &actor, app.now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns a device to what it ran before. A device with firmware on trial goes back by itself; then the answer names
/// the deployment that brought it.
#[utoipa::path(post, path = "/api/v1/devices/{id}/rollback", tag = "devices",
    responses((status = 201, body = Begun), (status = 409, body = Problem)))]
pub(crate) async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let software = app.store.software(device.id).await?;
    let tasks = app.store.tasks_of(device.id, TASKS_MAX).await?;
    if let Some(open) = tasks.iter().find(|task| task.state.is_open())
        && !tell_to_go_back(&app, open.deployment, &[device.id], &caller.actor()).await?.is_empty()
    {
        let id = open.deployment.to_string();
        return Ok((StatusCode::CREATED, axum::Json(Begun { id, total: 1 })));
    }
    let back = tasks
        .iter()
        .find_map(|task| deployment::way_back(task, &software).map(|back| (task.deployment, back)));
    let (of, back) = back.ok_or_else(|| {
        Rejection::conflict("conflict", "nothing ran on the device before: there is no way back")
    })?;
    let undone = app.store.deployment(of).await?.ok_or_else(|| Rejection::not_found("deployment", of))?;
    give(&app, &caller, device.id, &rollback_request(&undone), back).await
}

fn asked(script: &Script, version: i64, artifact: Artifact) -> Request {
    let title = title(script, version);
    Request { title, cause: Cause::Asked(artifact), selector: None, health_window: None }
}

async fn give(
    app: &App,
    caller: &Caller,
    device: DeviceId,
    request: &Request,
    artifact: Artifact,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let actor = caller.actor();
    let id = app
        .attempt(|| async {
            let now = app.now();
            let mut targets = app.store.targets(&[device]).await?;
            targets.iter_mut().for_each(|target| target.online = app.is_online(device));
            let targets = targets.into_iter().map(|target| (target, artifact)).collect();
            let (deployment, effects) =
                deployment::begin(random::id(now), request, targets, Vec::new(), &actor, now)?;
            Ok((deployment.id, effects))
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Begun { id: id.to_string(), total: 1 })))
}

async fn is_assigned(app: &App, device: DeviceId, script: ScriptId) -> Result<bool, ApiError> {
    Ok(app.store.assignments(device).await?.iter().any(|(assigned, _)| assigned.id == script))
}

/// A script, or the refusal that there is none.
pub(crate) async fn load_script(app: &App, id: ScriptId) -> Result<Script, crate::perform::Failure> {
    Ok(app.store.script(id).await?.ok_or_else(|| Rejection::not_found("script", id))?)
}
