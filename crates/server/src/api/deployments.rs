//! Deployments: begin, look at, cancel, try again.

pub(crate) mod back;
mod brought;
mod meant;
pub(crate) mod preview;
mod requirements;
mod view;

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::artifact::Artifact;
use motehub_domain::deployment::{self, Cause, DeploymentState, Request, Target, TaskState};
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::script::{Script, Syntax};
use motehub_domain::time::Span;
use motehub_store::DeploymentFilter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Page, Query, id};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::presence;
use crate::random;
use brought::{Brought, able};
use meant::{all_tasks, chosen, load_deployment, meant, with_targets};
use view::{DeploymentDto, DeploymentList, Names};

pub(crate) use back::{rollback_request, tell_to_go_back};
pub(crate) use meant::{check_seen, resolve, token};
pub(crate) use requirements::lacking as lacking_of;
pub(crate) use view::{TaskDto, TaskList};

/// How many tasks come with a deployment.
const TASKS_SHOWN: usize = 1000;

/// Which deployments are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those of a script.
    script: Option<String>,
    /// Those of a firmware.
    firmware: Option<String>,
    /// Those with a task on a device.
    device: Option<String>,
    /// Those in a state.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Deployments, newest first.
#[utoipa::path(get, path = "/api/v1/deployments", tag = "deployments", params(ListQuery),
    responses((status = 200, body = DeploymentList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<DeploymentList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let state = query.state.map(|text| {
        DeploymentState::parse(&text)
            .ok_or_else(|| Rejection::invalid("state", "there is no such deployment state"))
    });
    let filter = DeploymentFilter {
        script: query.script.map(|text| id("script", &text)).transpose()?,
        firmware: query.firmware.map(|text| id("firmware", &text)).transpose()?,
        device: query.device.map(|text| id("device", &text)).transpose()?,
        state: state.transpose()?,
    };
    let (deployments, total) = app.store.deployments(filter, page.offset, page.limit).await?;
    let mut names = Names::default();
    let mut items = Vec::with_capacity(deployments.len());
    for (deployment, counts) in deployments {
        items.push(DeploymentDto::new(&app, &mut names, deployment, counts).await?);
    }
    Ok(axum::Json(DeploymentList { items, total }))
}

/// Which devices are meant: a selector, or ids.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meant {
    /// A condition such as `tag=kitchen and online`.
    pub(super) selector: Option<String>,
    /// Ids of devices.
    pub(super) devices: Option<Vec<String>>,
}

impl Meant {
    pub(crate) fn new(selector: Option<String>, devices: Option<Vec<String>>) -> Self {
        Self { selector, devices }
    }
}

/// What begins a deployment.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDeployment {
    /// Id of the script, if it brings one.
    pub(super) script: Option<String>,
    /// Which version of the script; the newest by default.
    pub(super) version: Option<i64>,
    /// Id of the firmware, if it brings one.
    pub(super) firmware: Option<String>,
    /// A condition such as `tag=kitchen and online`.
    pub(super) selector: Option<String>,
    /// Ids of devices.
    pub(super) devices: Option<Vec<String>>,
    /// How long a board must run it without trouble: 5 to 3600, 30 by default.
    pub(super) health_window_seconds: Option<i64>,
    /// From the preview. A selection that changed since is refused.
    pub(super) token: Option<String>,
}

impl NewDeployment {
    /// How many of the devices would not be offered it.
    pub(crate) async fn left_out(&self, app: &App, devices: &[DeviceId]) -> Result<usize, ApiError> {
        let brought = Brought::asked(app, self.script.as_deref(), self.firmware.as_deref()).await?;
        Ok(brought.refused(app, devices).await?.len())
    }
}

/// A deployment that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Begun {
    /// Its id.
    pub(crate) id: String,
    /// On how many devices.
    pub(crate) total: usize,
}

/// Begins a deployment of a version to devices.
#[utoipa::path(post, path = "/api/v1/deployments", tag = "deployments", request_body = NewDeployment,
    responses((status = 201, body = Begun), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewDeployment>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let meant = Meant { selector: new.selector.clone(), devices: new.devices.clone() };
    let devices = resolve(&app, &meant).await?;
    check_seen(&devices, new.token.as_deref())?;
    Ok((StatusCode::CREATED, axum::Json(start(&app, &caller, new, devices).await?)))
}

/// Begins a deployment to devices that are known already. Of those that a selector picked, the ones that lack a
/// capability or have another platform are left out; those that were named get a task that says so.
pub(crate) async fn start(
    app: &App,
    caller: &Caller,
    new: NewDeployment,
    mut devices: Vec<DeviceId>,
) -> Result<Begun, ApiError> {
    let brought = Brought::asked(app, new.script.as_deref(), new.firmware.as_deref()).await?;
    let (artifact, title) = brought.artifact(app, new.version).await?;
    let mut refused = brought.refused(app, &devices).await?;
    if new.selector.is_some() && !refused.is_empty() {
        devices.retain(|device| !refused.contains_key(device));
        if devices.is_empty() {
            return Err(brought.nobody(refused.len()).into());
        }
        refused.clear();
    }
    let health_window = new.health_window_seconds.map(Span::seconds);
    let request = Request { title, cause: Cause::Asked(artifact), selector: new.selector, health_window };
    begin(app, caller, &request, &devices, &refused, |_| Some(artifact)).await
}

/// What the deployment of a version is called.
pub(crate) fn title(script: &Script, version: i64) -> String {
    format!("{} v{version}", script.name)
}

/// A version that can be deployed.
pub(crate) async fn artifact_of(app: &App, script: &Script, number: i64) -> Result<Artifact, ApiError> {
    let version = app.store.version(script.id, number).await?;
    let version = version.ok_or_else(|| ApiError::not_found("version", number))?;
    version.artifact().map_err(|rejection| match version.syntax {
        Syntax::Error { line, .. } => ApiError::from(rejection).at_line(line),
        Syntax::Good => rejection.into(),
    })
}

async fn begin(
    app: &App,
    caller: &Caller,
    request: &Request,
    devices: &[DeviceId],
    unfit: &HashMap<DeviceId, String>,
    artifact: impl Fn(&Target) -> Option<Artifact>,
) -> Result<Begun, ApiError> {
    let actor = caller.actor();
    let (id, total, away) = app
        .attempt(|| async {
            let now = app.now();
            let mut away = Vec::new();
            let mut targets = Vec::with_capacity(devices.len());
            let mut refused = Vec::new();
            for mut target in app.store.targets(devices).await? {
                target.online = app.is_online(target.device.id);
                if !target.online {
                    away.push(target.device.id);
                }
                match (artifact(&target), unfit.get(&target.device.id)) {
                    (Some(artifact), Some(why)) => refused.push((target, artifact, why.clone())),
                    (Some(artifact), None) => targets.push((target, artifact)),
                    (None, _) => {}
                }
            }
            let total = targets.len() + refused.len();
            let id = random::id(now);
            let (deployment, effects) = deployment::begin(id, request, targets, refused, &actor, now)?;
            Ok(((deployment.id, total, away), effects))
        })
        .await?;
    presence::tell_who_came(app, &away).await;
    Ok(Begun { id: id.to_string(), total })
}

/// A deployment with its tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentWithTasks {
    #[serde(flatten)]
    deployment: DeploymentDto,
    /// The first 1000 tasks.
    tasks: Vec<TaskDto>,
}

/// One deployment with its first 1000 tasks.
#[utoipa::path(get, path = "/api/v1/deployments/{id}", tag = "deployments",
    responses((status = 200, body = DeploymentWithTasks), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<DeploymentWithTasks>, ApiError> {
    let deployment = load_deployment(&app, id("deployment", &path)?).await?;
    let counts = app.store.counts(deployment.id).await?;
    let (tasks, total) = app.store.tasks(deployment.id, &[], 0, TASKS_SHOWN).await?;
    let tasks = TaskDto::list(&app, tasks, Some(total)).await?.items;
    let deployment = DeploymentDto::new(&app, &mut Names::default(), deployment, counts).await?;
    Ok(axum::Json(DeploymentWithTasks { deployment, tasks }))
}

/// Which tasks are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskQuery {
    /// Those in a state.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// The tasks of a deployment.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/tasks", tag = "deployments", params(TaskQuery),
    responses((status = 200, body = TaskList), (status = 404, body = Problem)))]
pub(crate) async fn tasks(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<TaskQuery>,
) -> Result<axum::Json<TaskList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let deployment = load_deployment(&app, id("deployment", &path)?).await?;
    let state = query.state.map(|text| {
        TaskState::parse(&text).ok_or_else(|| Rejection::invalid("state", "there is no such task state"))
    });
    let states: Vec<TaskState> = state.transpose()?.into_iter().collect();
    let (tasks, total) = app.store.tasks(deployment.id, &states, page.offset, page.limit).await?;
    Ok(axum::Json(TaskDto::list(&app, tasks, Some(total)).await?))
}

/// Cancels what is still on its way.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/cancel", tag = "deployments",
    responses((status = 204), (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (id, actor) = (id("deployment", &path)?, caller.actor());
    app.attempt(|| async {
        let deployment = load_deployment(&app, id).await?;
        let open = with_targets(&app, all_tasks(&app, id).await?, TaskState::is_open).await?;
        Ok(((), deployment::cancel(&deployment, open, &actor, app.now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which of a deployment's devices are meant; all by default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Ids of devices.
    devices: Option<Vec<String>>,
}

/// How many tasks were begun again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// How many.
    tasks: usize,
}

/// Gives devices whose task failed, timed out or was cancelled the version again.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/retry", tag = "deployments", request_body = Option<Which>,
    responses((status = 200, body = Retried), (status = 409, body = Problem)))]
pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    body: axum::body::Bytes,
) -> Result<axum::Json<Retried>, ApiError> {
    let (id, actor, meant) = (id("deployment", &path)?, caller.actor(), meant(&body)?);
    let tasks = app
        .attempt(|| async {
            let deployment = load_deployment(&app, id).await?;
            let failed = with_targets(&app, chosen(&app, id, meant.as_deref()).await?, |state| {
                let ended_badly = [TaskState::Failed, TaskState::TimedOut, TaskState::Reverted];
                ended_badly.contains(&state) || state == TaskState::Cancelled
            });
            let failed = able(&app, &deployment, failed.await?).await?;
            Ok((failed.len(), deployment::retry(&deployment, failed, &actor, app.now())?))
        })
        .await?;
    Ok(axum::Json(Retried { tasks }))
}
