//! Which devices and tasks a request means.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use motehub_domain::deployment::{Deployment, TASKS_MAX, Target, Task, TaskState};
use motehub_domain::id::{DeploymentId, DeviceId};
use motehub_domain::rejection::Rejection;

use super::super::extract::id;
use super::super::problem::ApiError;
use super::super::selectors;
use super::{Meant, Which};
use crate::app::App;
use crate::perform::Failure;
use crate::secrets;

/// Of more devices than these, all tasks of the deployment are read at once.
const TASKS_ONE_BY_ONE_MAX: usize = 50;

pub(crate) async fn resolve(app: &App, meant: &Meant) -> Result<Vec<DeviceId>, ApiError> {
    match (&meant.selector, &meant.devices) {
        (Some(text), None) => {
            let selector = selectors::read(app, text).await?;
            Ok(app.store.select_ids(&selector, app.now(), TASKS_MAX + 1).await?)
        }
        (None, Some(ids)) => {
            let mut devices: Vec<DeviceId> =
                ids.iter().map(|text| id("device", text)).collect::<Result<_, _>>()?;
            devices.sort();
            devices.dedup();
            let known = app.store.targets(&devices).await?;
            if known.len() < devices.len() {
                let known: HashSet<DeviceId> = known.iter().map(|target| target.device.id).collect();
                if let Some(unknown) = devices.iter().find(|id| !known.contains(id)) {
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

/// Stands for a set of devices, in any order.
pub(crate) fn token(ids: &[DeviceId]) -> String {
    let mut ids: Vec<String> = ids.iter().map(DeviceId::to_string).collect();
    ids.sort();
    let digest = secrets::digest(ids.join(" ")).to_string();
    format!("{}-{}", ids.len(), &digest[..16])
}

/// Whether these are the devices of the preview that gave the token; without one nobody looked before.
pub(crate) fn check_seen(ids: &[DeviceId], expected: Option<&str>) -> Result<(), Rejection> {
    if expected.is_none_or(|expected| expected == token(ids)) {
        return Ok(());
    }
    let now = if ids.len() == 1 { "one device".to_owned() } else { format!("{} devices", ids.len()) };
    let why = format!("the selection has changed since the preview: it is {now} now; look again");
    Err(Rejection::conflict("selection_changed", why))
}

pub(super) fn meant(body: &[u8]) -> Result<Option<Vec<DeviceId>>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let parsed: Which = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid", format!("the body: {error}")))?;
    parsed.devices.map(|ids| ids.iter().map(|text| id("device", text)).collect()).transpose()
}

pub(super) async fn chosen(
    app: &App,
    deployment: DeploymentId,
    meant: Option<&[DeviceId]>,
) -> Result<Vec<Task>, Failure> {
    let Some(meant) = meant else { return all_tasks(app, deployment).await };
    let mut known: HashMap<DeviceId, Task> = HashMap::new();
    if meant.len() > TASKS_ONE_BY_ONE_MAX {
        known = all_tasks(app, deployment).await?.into_iter().map(|task| (task.device, task)).collect();
    } else {
        for device in meant {
            known.extend(app.store.task(deployment, *device).await?.map(|task| (*device, task)));
        }
    }
    let unknown = meant.iter().find(|device| !known.contains_key(device));
    if let Some(unknown) = unknown {
        return Err(Rejection::not_found("task of device", unknown).into());
    }
    let meant: HashSet<&DeviceId> = meant.iter().collect();
    Ok(known.into_values().filter(|task| meant.contains(&task.device)).collect())
}

pub(super) async fn all_tasks(app: &App, deployment: DeploymentId) -> Result<Vec<Task>, Failure> {
    let (tasks, _) = app.store.tasks(deployment, &[], 0, TASKS_MAX).await?;
    Ok(tasks.into_iter().map(|(task, _)| task).collect())
}

pub(super) async fn with_targets(
    app: &App,
    tasks: Vec<Task>,
    is_meant: impl Fn(TaskState) -> bool,
) -> Result<Vec<(Target, Task)>, Failure> {
    let mut tasks: HashMap<DeviceId, Task> =
        tasks.into_iter().filter(|task| is_meant(task.state)).map(|task| (task.device, task)).collect();
    let devices: Vec<DeviceId> = tasks.keys().copied().collect();
    let targets = app.store.targets(&devices).await?.into_iter();
    let pairs = targets.filter_map(|mut target| {
        target.online = app.is_online(target.device.id);
        tasks.remove(&target.device.id).map(|task| (target, task))
    });
    Ok(pairs.collect())
}

pub(super) async fn load_deployment(app: &App, id: DeploymentId) -> Result<Deployment, Failure> {
    Ok(app.store.deployment(id).await?.ok_or_else(|| Rejection::not_found("deployment", id))?)
}
