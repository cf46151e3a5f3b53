//! Firmware for one device, as mDash takes it: a form with the file, answered when the device has all of it. That is
//! kept here as any other firmware, and given by a deployment, which goes on to watch whether the device stays with it.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use motehub_domain::change::ChangeKind;
use motehub_domain::deployment::{self, Cause, Task, TaskState};
use motehub_domain::firmware::{Firmware, PLATFORM};
use motehub_domain::id::{DeploymentId, DeviceId};
use motehub_domain::time::Span;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Front;
use super::answer::Refusal;
use super::caller::Caller;
use super::devices::known;
use crate::api::{KnownFirmware, keep_firmware};
use crate::app::App;
use crate::live::News;
use crate::random;

/// How long a device may take to have all of it before the caller is told to look later.
const UPDATE_MAX: Span = Span::minutes(10);

/// `POST /api/v2/devices/ID/ota`.
pub(super) async fn update(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Result<axum::Json<bool>, Refusal> {
    let app = &front.app;
    let device = known(app, &id).await?.id;
    if !app.is_online(device) {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the device is offline"));
    }
    let firmware = keep_firmware(app, request, &caller.actor(), KnownFirmware::Meant).await?;
    let reported = app.store.reported_words(&[device], PLATFORM).await?;
    if let Some(why) = reported.iter().find_map(|(_, platform)| firmware.unfit(platform)) {
        return Err(Refusal::invalid(why));
    }
    let mut news = app.live.subscribe();
    let began = app.now();
    let deployment = give(app, &caller, device, &firmware).await?;
    tokio::select! {
        taken = taken(app, &mut news, deployment, device) => taken,
        () = app.clock.sleep_until(began + UPDATE_MAX) => {
            let why = "the device does not have all of it yet: it goes on by itself, look at its tasks";
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, why))
        }
        () = front.shutdown.cancelled() => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the hub stops: it goes on when it is back"))
        }
    }
}

/// Begins a deployment of a firmware to one device.
async fn give(
    app: &App,
    caller: &Caller,
    device: DeviceId,
    firmware: &Firmware,
) -> Result<DeploymentId, Refusal> {
    let (artifact, title) = (firmware.artifact(), firmware.title());
    let cause = Cause::Asked(artifact);
    let request = deployment::Request { title, cause, selector: None, health_window: None };
    let begun = app.attempt(|| async {
        let (id, now) = (random::id(app.now()), app.now());
        let mut targets = app.store.targets(&[device]).await?;
        targets.iter_mut().for_each(|target| target.online = app.is_online(device));
        let targets = targets.into_iter().map(|target| (target, artifact)).collect();
        let (_, effects) = deployment::begin(id, &request, targets, Vec::new(), &caller.actor(), now)?;
        Ok((id, effects))
    });
    Ok(begun.await?)
}

/// Waits until the device has all of it.
async fn taken(
    app: &App,
    news: &mut Receiver<News>,
    deployment: DeploymentId,
    device: DeviceId,
) -> Result<axum::Json<bool>, Refusal> {
    let subject = deployment.to_string();
    loop {
        let task = app.store.task(deployment, device).await?;
        let task = task.ok_or_else(|| Refusal::not_found("the device was deleted meanwhile"))?;
        if let Some(answer) = answer(&task) {
            return answer;
        }
        loop {
            match news.recv().await {
                Ok(News::Changes(changes)) => {
                    let is_its = |kind, of: &str| kind == ChangeKind::TaskMoved && of == subject;
                    if changes.iter().any(|it| is_its(it.change.kind, &it.change.subject)) {
                        break;
                    }
                }
                Ok(
                    News::Telemetry(_) | News::Inbox(_) | News::Shadows(_) | News::Log(_) | News::Flow(..),
                ) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => {
                    return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the hub stops"));
                }
            }
        }
    }
}

/// What a task comes to; none while the device takes it.
fn answer(task: &Task) -> Option<Result<axum::Json<bool>, Refusal>> {
    match task.state {
        TaskState::Waiting | TaskState::Offered | TaskState::Fetching => None,
        TaskState::Applying | TaskState::Confirming | TaskState::Done => Some(Ok(axum::Json(true))),
        TaskState::Failed
        | TaskState::TimedOut
        | TaskState::Reverted
        | TaskState::RolledBack
        | TaskState::Cancelled => {
            let why = task.reason.clone().unwrap_or_else(|| task.state.as_str().to_owned());
            Some(Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)))
        }
    }
}
