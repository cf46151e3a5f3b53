//! The only interpreter of [`Effects`]: commit, then publish, then send.

use std::future::Future;

use motehub_domain::deployment::{self, Cause, Task, TaskState};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::rejection::Rejection;
use motehub_domain::rollout;
use motehub_domain::shadow::Spoken;
use motehub_domain::time::Time;
use motehub_protocol::shadow;
use motehub_store::StoreError;

use crate::app::App;
use crate::random;

/// How often a verb is tried again when somebody else changed its records meanwhile.
pub(crate) const ATTEMPTS_MAX: usize = 32;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The domain refuses.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Performs effects once. On a conflict nothing is done.
    pub(crate) async fn perform(&self, effects: Effects) -> Result<(), Failure> {
        if effects.is_empty() {
            return Ok(());
        }
        let mut effects = self.with_aftermath(effects).await?;
        effects.save.extend(self.along());
        let stamp = self.rules.stamp(self.now());
        let now = stamp.at;
        let states_facts = !effects.changes.is_empty();
        self.store.commit_under(self.held(), &effects, now).await?;
        self.rules.tell(&stamp, &effects);
        drop(stamp);
        if states_facts {
            self.live.wake();
        }
        self.publish(&effects.say);
        self.tell_jobs(effects.jobs).await;
        for (device, downlink) in effects.send {
            self.send(device, &downlink);
        }
        self.tell(&effects.save, now).await;
        self.miss_waiting(&effects.save);
        self.tell_holders(&effects.save);
        self.tell_others(&effects.save, states_facts);
        self.show_shadows(effects.save);
        Ok(())
    }

    /// What is in memory is told of records that were written, by this node or another.
    pub(crate) async fn tell(&self, saved: &[Save], now: Time) {
        self.tell_elsewhere(saved);
        self.rollouts.tell(saved);
        self.knocks.tell(saved);
        self.commands.tell(saved);
        self.flows.tell(saved, now);
        self.webhooks.tell(saved);
        self.shadows.tell(saved);
        self.pyaiot.tell(saved);
        self.pusher.tell(saved);
        self.tell_boards(saved).await;
        self.tell_units(saved);
    }

    /// Publishes what is said about shadows, as far as anybody has subscribed to it.
    fn publish(&self, say: &[Spoken]) {
        for spoken in say {
            for topic in shadow::topics(spoken) {
                self.publish_about(spoken.device, &topic, || spoken.payload.to_string().into_bytes());
            }
        }
    }

    /// Loads state, lets a verb decide, performs; again from the start if the state changed meanwhile.
    pub(crate) async fn attempt<T, F, A>(&self, mut verb: F) -> Result<T, Failure>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<(T, Effects), Failure>>,
    {
        let mut attempts = 1;
        loop {
            let (value, effects) = verb().await?;
            match self.perform(effects).await {
                Err(Failure::Store(StoreError::Conflict { .. })) if attempts < ATTEMPTS_MAX => attempts += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(value),
            }
        }
    }

    /// What follows from tasks that end here is decided in the same transaction: a failed device is offered its
    /// last good version, a finished roll back marks the task that it undid.
    async fn with_aftermath(&self, mut effects: Effects) -> Result<Effects, Failure> {
        let ended: Vec<Task> = effects.save.iter().filter_map(ended_task).collect();
        for task in ended {
            let Some(deployment) = self.store.deployment(task.deployment).await? else { continue };
            let Some(mut target) = self.store.target(task.device).await? else { continue };
            target.open = None;
            for save in &effects.save {
                if let Save::Software(software) = save
                    && software.device == task.device
                {
                    target.software = (**software).clone();
                }
            }
            target.online = self.is_online(task.device);
            let more = match (task.state, deployment.cause) {
                // A native device returns to its last good version by itself, and so does one with two firmwares.
                (TaskState::Failed, _)
                    if target.device.dialect.speaks_native() || task.artifact.firmware().is_some() =>
                {
                    Effects::none()
                }
                (TaskState::Failed, Cause::Asked(_) | Cause::Rollback(_)) => {
                    let existing = self.store.recovery_of(deployment.id).await?;
                    let former = match &existing {
                        Some(recovery) => self.store.task(recovery.id, task.device).await?,
                        None => None,
                    };
                    let id = random::id(self.now());
                    let former = former.as_ref();
                    deployment::recover(id, &deployment, existing, former, target, task.artifact, self.now())
                }
                (TaskState::Done, Cause::Rollback(of)) => match self.store.task(of, task.device).await? {
                    Some(undone) => rollout::undone(&target.device, &undone, self.now()),
                    None => Effects::none(),
                },
                _ => Effects::none(),
            };
            effects = effects.and(more);
        }
        Ok(effects)
    }
}

fn ended_task(save: &Save) -> Option<Task> {
    match save {
        Save::Task(task) if !task.state.is_open() => Some((**task).clone()),
        _ => None,
    }
}
