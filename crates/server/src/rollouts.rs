//! The worker behind deployments: it looks at tasks whose deadline has passed and closes deployments whose last
//! task has ended. It sleeps until the next deadline or until something changes.

use motehub_domain::deployment::{self, DeploymentState};
use motehub_domain::effects::Effects;
use motehub_domain::rollout;
use motehub_domain::time::{Span, Time};
use motehub_store::{DeploymentFilter, StoreError};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::perform::Failure;

/// How many tasks are looked at in one round.
const ROUND_MAX: usize = 500;
/// How often the worker looks even if no deadline is known, and how long it rests after an error.
const REST: Span = Span::minutes(1);

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        let next = match round(&app).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "deployments could not be moved on");
                app.now() + REST
            }
        };
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = app.rollouts.notified() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Looks at what is due. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    let due = app.store.due_tasks(app.now(), ROUND_MAX).await?;
    let is_full = due.len() == ROUND_MAX;
    for task in due {
        let (deployment, device) = (task.deployment, task.device);
        let elapsed = app.attempt(|| async {
            let target = app.store.target(device).await?;
            let task = app.store.task(deployment, device).await?;
            let (Some(mut target), Some(task)) = (target, task) else { return Ok(((), Effects::none())) };
            target.online = app.connections.is_online(device);
            Ok(((), rollout::elapsed(target, &task, app.now())))
        });
        elapsed.await?;
    }
    settle(app).await?;
    if is_full {
        return Ok(app.now());
    }
    let next = app.store.next_deadline().await?.unwrap_or(app.now() + REST);
    Ok(next.max(app.now() + Span(1)).min(app.now() + REST))
}

async fn settle(app: &App) -> Result<(), StoreError> {
    let filter = DeploymentFilter { state: Some(DeploymentState::Running), ..DeploymentFilter::default() };
    let (running, _) = app.store.deployments(filter, 0, ROUND_MAX).await?;
    for (deployment, counts) in running {
        if counts.open() > 0 {
            continue;
        }
        match app.perform(deployment::settle(&deployment, counts, app.now())).await {
            Ok(()) | Err(Failure::Store(StoreError::Conflict { .. })) => {}
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Rejected(rejection)) => {
                tracing::warn!(%rejection, "a deployment could not be closed")
            }
        }
    }
    Ok(())
}
