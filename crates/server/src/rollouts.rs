//! The worker behind deployments: it looks at tasks whose deadline has passed and closes deployments whose last
//! task has ended. It sleeps until the next deadline or until something changes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use motehub_domain::deployment::{self, DeploymentState};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeploymentId;
use motehub_domain::rollout;
use motehub_domain::time::Time;
use motehub_store::{DeploymentFilter, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::deadlines;
use crate::perform::Failure;

/// How many tasks are looked at in one round.
const ROUND_MAX: usize = 500;

/// What the worker is told: that a deadline is new, and whose tasks have ended.
#[derive(Default)]
pub(crate) struct Rollouts {
    changed: Notify,
    ended: Mutex<HashSet<DeploymentId>>,
    /// Tasks may have ended at another node.
    elsewhere: AtomicBool,
}

impl Rollouts {
    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        let mut tasks =
            saved.iter().filter_map(|save| if let Save::Task(task) = save { Some(task) } else { None });
        let Some(first) = tasks.next() else { return };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = std::iter::once(first).chain(tasks).filter(|task| !task.state.is_open());
        ended.extend(closed.map(|task| task.deployment));
        drop(ended);
        self.changed.notify_one();
    }

    /// Another node wrote something about tasks.
    pub(crate) fn look(&self) {
        self.elsewhere.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    fn take_ended(&self) -> HashSet<DeploymentId> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until shutdown. What ended while no hub ran is settled first.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if let Err(error) = settle_running(&app).await {
        tracing::error!(%error, "deployments could not be settled");
    }
    deadlines::keep(&app, "rollouts", &app.rollouts.changed, shutdown, round).await;
}

/// Looks at what is due. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    let now = app.now();
    let due = app.store.due_tasks(now, ROUND_MAX).await?;
    let is_full = due.len() == ROUND_MAX;
    for task in due {
        let (deployment, device) = (task.deployment, task.device);
        let elapsed = app.attempt(|| async {
            let target = app.store.target(device).await?;
            let task = app.store.task(deployment, device).await?;
            let (Some(mut target), Some(task)) = (target, task) else { return Ok(((), Effects::none())) };
            target.online = app.is_online(device);
            Ok(((), rollout::elapsed(target, &task, app.now())))
        });
        elapsed.await?;
    }
    settle(app).await?;
    Ok(deadlines::next_round(now, is_full, app.store.next_deadline().await?))
}

/// Deployments whose tasks ended.
async fn settle(app: &App) -> Result<(), Failure> {
    if app.rollouts.elsewhere.swap(!app.cluster.is_alone(), Ordering::SeqCst) {
        settle_running(app).await?;
    }
    for id in app.rollouts.take_ended() {
        let settled = app.attempt(|| async {
            let Some(deployment) = app.store.deployment(id).await? else { return Ok(((), Effects::none())) };
            let counts = app.store.counts(id).await?;
            Ok(((), deployment::settle(&deployment, counts, app.now())))
        });
        settled.await?;
    }
    Ok(())
}

async fn settle_running(app: &App) -> Result<(), StoreError> {
    let filter = DeploymentFilter { state: Some(DeploymentState::Running), ..DeploymentFilter::default() };
    let (running, _) = app.store.deployments(filter, 0, ROUND_MAX).await?;
    let mut ended = app.rollouts.ended.lock().unwrap_or_else(PoisonError::into_inner);
    ended.extend(
        running.into_iter().filter(|(_, counts)| counts.open() == 0).map(|(deployment, _)| deployment.id),
    );
    Ok(())
}
