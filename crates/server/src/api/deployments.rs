//! Deployments: begin, look at, cancel, try again, roll back.

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::deployment::{
    self, Cause, Counts, Deployment, DeploymentState, Request, TASKS_MAX, Target, Task, TaskState,
};
use motehub_domain::id::{DeploymentId, DeviceId, ScriptId};
use motehub_domain::rejection::Rejection;
use motehub_domain::script::{Artifact, Script, Syntax};
use motehub_domain::selector::Selector;
use motehub_domain::time::Span;
use motehub_store::{DeploymentFilter, DeviceQuery, Sort};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::device_scripts::load_script;
use super::devices::{DeviceList, ScriptRef};
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// How many tasks come with a deployment.
const TASKS_SHOWN: usize = 1000;
/// How many devices a preview shows.
const PREVIEW_SHOWN: usize = 20;

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
    items: Vec<TaskDto>,
    /// How many there are in all.
    total: i64,
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
struct Names(HashMap<ScriptId, Option<String>>);

impl Names {
    async fn of(&mut self, app: &App, script: ScriptId) -> Result<Option<String>, ApiError> {
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
    async fn new(
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
    items: Vec<DeploymentDto>,
    /// How many there are in all.
    total: i64,
}

/// Which deployments are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those of a script.
    script: Option<String>,
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
    selector: Option<String>,
    /// Ids of devices.
    devices: Option<Vec<String>>,
}

/// What begins a deployment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDeployment {
    /// Id of the script.
    script: String,
    /// Which version; the newest by default.
    version: Option<i64>,
    /// A condition such as `tag=kitchen and online`.
    selector: Option<String>,
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// How long a board must run it without trouble: 5 to 3600, 30 by default.
    health_window_seconds: Option<i64>,
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
    responses((status = 201, body = Begun), (status = 400, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewDeployment>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let script = load_script(&app, id("script", &new.script)?).await?;
    let artifact = artifact_of(&app, &script, new.version).await?;
    let meant = Meant { selector: new.selector, devices: new.devices };
    let devices = resolve(&app, &meant).await?;
    let health_window = new.health_window_seconds.map(Span::seconds);
    let title = title(&script, artifact);
    let request = Request { title, cause: Cause::Asked(artifact), selector: meant.selector, health_window };
    begin(&app, &caller, &request, &devices, |_| Some(artifact)).await
}

/// What the deployment of a version is called.
pub(crate) fn title(script: &Script, artifact: Artifact) -> String {
    format!("{} v{}", script.name, artifact.version)
}

/// The way back from a deployment; as much is asked of it as of the way there.
pub(crate) fn rollback_request(of: &Deployment) -> Request {
    Request {
        title: format!("back from {}", of.title),
        cause: Cause::Rollback(of.id),
        selector: None,
        health_window: Some(of.health_window),
    }
}

/// A version that can be deployed.
pub(crate) async fn artifact_of(
    app: &App,
    script: &Script,
    version: Option<i64>,
) -> Result<Artifact, ApiError> {
    let number = version.unwrap_or(script.latest_version);
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
    artifact: impl Fn(&Target) -> Option<Artifact>,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let actor = caller.actor();
    let (id, total) = app
        .attempt(|| async {
            let now = app.now();
            let mut targets = Vec::with_capacity(devices.len());
            for mut target in app.store.targets(devices).await? {
                target.online = app.connections.is_online(target.device.id);
                if let Some(artifact) = artifact(&target) {
                    targets.push((target, artifact));
                }
            }
            let total = targets.len();
            let (deployment, effects) = deployment::begin(random::id(now), request, targets, &actor, now)?;
            Ok(((deployment.id, total), effects))
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Begun { id: id.to_string(), total })))
}

async fn resolve(app: &App, meant: &Meant) -> Result<Vec<DeviceId>, ApiError> {
    match (&meant.selector, &meant.devices) {
        (Some(text), None) => Ok(app.store.select_ids(&Selector::parse(text)?, TASKS_MAX + 1).await?),
        (None, Some(ids)) => {
            let mut devices: Vec<DeviceId> =
                ids.iter().map(|text| id("device", text)).collect::<Result<_, _>>()?;
            devices.sort();
            devices.dedup();
            let known = app.store.targets(&devices).await?;
            if known.len() < devices.len() {
                let is_known = |id: &DeviceId| known.iter().any(|target| target.device.id == *id);
                if let Some(unknown) = devices.iter().find(|id| !is_known(id)) {
                    return Err(ApiError::not_found("device", unknown));
                }
            }
            Ok(devices)
        }
        _ => Err(Rejection::invalid(
            "devices",
            "name the devices by \"selector\" or by \"devices\", by one of them",
        )
        .into()),
    }
}

/// Which devices a selector means, before anything is done to them.
#[utoipa::path(post, path = "/api/v1/deployments/preview", tag = "deployments", request_body = Meant,
    responses((status = 200, body = DeviceList), (status = 400, body = Problem)))]
pub(crate) async fn preview(
    State(app): State<App>,
    Body(meant): Body<Meant>,
) -> Result<axum::Json<DeviceList>, ApiError> {
    let ids = resolve(&app, &meant).await?;
    if let Some(selector) = &meant.selector {
        let selector = Some(Selector::parse(selector)?);
        let query = DeviceQuery {
            selector,
            text: None,
            sort: Sort::Name,
            descending: false,
            offset: 0,
            limit: PREVIEW_SHOWN,
        };
        let (views, total) = app.store.devices(query).await?;
        return Ok(axum::Json(DeviceList::new(views, total)));
    }
    let mut views = Vec::new();
    for id in ids.iter().take(PREVIEW_SHOWN) {
        views.extend(app.store.device_view(*id).await?);
    }
    Ok(axum::Json(DeviceList::new(views, i64::try_from(ids.len()).unwrap_or(i64::MAX))))
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
                matches!(state, TaskState::Failed | TaskState::TimedOut | TaskState::Cancelled)
            });
            let failed = failed.await?;
            Ok((failed.len(), deployment::retry(&deployment, failed, &actor, app.now())?))
        })
        .await?;
    Ok(axum::Json(Retried { tasks }))
}

/// Returns devices to what they ran before this deployment.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/rollback", tag = "deployments", request_body = Option<Which>,
    responses((status = 201, body = Begun), (status = 409, body = Problem)))]
pub(crate) async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, axum::Json<Begun>), ApiError> {
    let (id, meant) = (id("deployment", &path)?, meant(&body)?);
    let deployment = load_deployment(&app, id).await?;
    let tasks: HashMap<DeviceId, Task> =
        chosen(&app, id, meant.as_deref()).await?.into_iter().map(|task| (task.device, task)).collect();
    if deployment.state == DeploymentState::Running
        && tasks.values().any(|task| task.state.is_open())
        && meant.is_none()
    {
        let _ = cancel(State(app.clone()), Extension(caller.clone()), Path(path)).await?;
    }
    let devices: Vec<DeviceId> = tasks.keys().copied().collect();
    let request = rollback_request(&deployment);
    let back = |target: &Target| {
        tasks.get(&target.device.id).and_then(|task| deployment::way_back(task, &target.software))
    };
    begin(&app, &caller, &request, &devices, back).await.map_err(|error| match error.is_invalid() {
        true => {
            Rejection::conflict("conflict", "none of its devices ran anything before: there is no way back")
                .into()
        }
        false => error,
    })
}

fn meant(body: &[u8]) -> Result<Option<Vec<DeviceId>>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let parsed: Which = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid", format!("the body: {error}")))?;
    parsed.devices.map(|ids| ids.iter().map(|text| id("device", text)).collect()).transpose()
}

async fn chosen(
    app: &App,
    deployment: DeploymentId,
    meant: Option<&[DeviceId]>,
) -> Result<Vec<Task>, Failure> {
    let Some(meant) = meant else { return all_tasks(app, deployment).await };
    let mut tasks = Vec::with_capacity(meant.len());
    for device in meant {
        let task = app.store.task(deployment, *device).await?;
        tasks.push(task.ok_or_else(|| Rejection::not_found("task of device", device))?);
    }
    Ok(tasks)
}

async fn all_tasks(app: &App, deployment: DeploymentId) -> Result<Vec<Task>, Failure> {
    let (tasks, _) = app.store.tasks(deployment, &[], 0, TASKS_MAX).await?;
    Ok(tasks.into_iter().map(|(task, _)| task).collect())
}

async fn with_targets(
    app: &App,
    tasks: Vec<Task>,
    is_meant: impl Fn(TaskState) -> bool,
) -> Result<Vec<(Target, Task)>, Failure> {
    let mut tasks: HashMap<DeviceId, Task> =
        tasks.into_iter().filter(|task| is_meant(task.state)).map(|task| (task.device, task)).collect();
    let devices: Vec<DeviceId> = tasks.keys().copied().collect();
    let targets = app.store.targets(&devices).await?.into_iter();
    let pairs = targets.filter_map(|mut target| {
        target.online = app.connections.is_online(target.device.id);
        tasks.remove(&target.device.id).map(|task| (target, task))
    });
    Ok(pairs.collect())
}

async fn load_deployment(app: &App, id: DeploymentId) -> Result<Deployment, Failure> {
    Ok(app.store.deployment(id).await?.ok_or_else(|| Rejection::not_found("deployment", id))?)
}
