//! The way back from a deployment. Devices that run its firmware on trial are told to go back, which they do by
//! themselves; the others are given what they ran before.

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::change::Actor;
use motehub_domain::deployment::{self, Cause, Deployment, DeploymentState, Request, Target, Task};
use motehub_domain::effects::Effects;
use motehub_domain::id::{DeploymentId, DeviceId};
use motehub_domain::rejection::Rejection;
use motehub_domain::rollout::firmware;

use super::super::access::Caller;
use super::super::extract::id;
use super::super::problem::{ApiError, Problem};
use super::meant::{chosen, load_deployment, meant};
use super::{Begun, Which, begin, cancel};
use crate::app::App;
use crate::perform::Failure;

/// Returns devices to what they ran before this deployment. The answer names the deployment in which that is seen: a
/// new one, or this one if its devices have its firmware on trial and go back by themselves.
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
    let mut tasks: HashMap<DeviceId, Task> =
        chosen(&app, id, meant.as_deref()).await?.into_iter().map(|task| (task.device, task)).collect();
    if deployment.state == DeploymentState::Running
        && tasks.values().any(|task| task.state.is_open())
        && meant.is_none()
    {
        let _ = cancel(State(app.clone()), Extension(caller.clone()), Path(path)).await?;
    }
    let devices: Vec<DeviceId> = tasks.keys().copied().collect();
    let told = tell_to_go_back(&app, id, &devices, &caller.actor()).await?;
    tasks.retain(|device, _| !told.contains(device));
    let devices: Vec<DeviceId> = tasks.keys().copied().collect();
    let request = rollback_request(&deployment);
    let back = |target: &Target| {
        tasks.get(&target.device.id).and_then(|task| deployment::way_back(task, &target.software))
    };
    let begun = begin(&app, &caller, &request, &devices, &HashMap::new(), back).await;
    let begun = match begun {
        Ok(begun) => Begun { total: begun.total + told.len(), ..begun },
        Err(error) if error.is_invalid() && !told.is_empty() => {
            Begun { id: id.to_string(), total: told.len() }
        }
        Err(error) if error.is_invalid() => {
            let why = "none of its devices ran anything before: there is no way back";
            return Err(Rejection::conflict("conflict", why).into());
        }
        Err(error) => return Err(error),
    };
    Ok((StatusCode::CREATED, axum::Json(begun)))
}

/// Tells those of the devices to go back that run the firmware of a deployment on trial. Returns which.
pub(crate) async fn tell_to_go_back(
    app: &App,
    deployment: DeploymentId,
    devices: &[DeviceId],
    actor: &Actor,
) -> Result<Vec<DeviceId>, Failure> {
    app.attempt(|| async {
        let (mut told, mut effects) = (Vec::new(), Effects::none());
        for mut target in app.store.targets(devices).await? {
            let open = target.open.as_ref().filter(|task| task.deployment == deployment);
            if open.is_some_and(firmware::is_on_trial) {
                told.push(target.device.id);
                target.online = app.is_online(target.device.id);
                effects = effects.and(firmware::revert(target, actor, app.now())?);
            }
        }
        Ok((told, effects))
    })
    .await
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
