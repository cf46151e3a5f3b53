//! Commands on their way: said when a device comes, said again, answered, expired. The worker sleeps until the
//! next deadline or until something changes.

use motehub_domain::command;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{CommandId, DeviceId};
use motehub_domain::message::Outcome;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::UplinkError;
use motehub_store::{ExecutionView, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::perform::Failure;

/// How many executions are looked at in one round, and written at once.
const ROUND_MAX: usize = 500;
/// How often the worker looks even if no deadline is known, and how long it rests after an error.
const REST: Span = Span::minutes(1);

/// What the worker is told: that a deadline is new.
#[derive(Default)]
pub(crate) struct Commands {
    changed: Notify,
}

impl Commands {
    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        let has_deadline = |save: &Save| matches!(save, Save::Execution(it) if it.deadline.is_some());
        if saved.iter().any(has_deadline) {
            self.changed.notify_one();
        }
    }
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        let next = match round(&app).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "commands could not be moved on");
                app.now() + REST
            }
        };
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = app.commands.changed.notified() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Looks at what is due. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    // Read once: what falls due during the round is due at once in the next.
    let now = app.now();
    let due = app.store.due_executions(now, ROUND_MAX).await?;
    let is_full = due.len() == ROUND_MAX;
    app.each_execution(&due, |view| {
        let online = app.connections.is_online(view.device.id);
        command::elapsed(&view.command, &view.device, online, &view.execution, app.now())
    })
    .await?;
    if is_full {
        return Ok(now);
    }
    let next = app.store.next_execution_deadline().await?.unwrap_or(now + REST);
    Ok(next.max(now + Span(1)).min(now + REST))
}

impl App {
    /// Devices are there and listen: they are told what they have not answered.
    pub(crate) async fn say_commands(&self, devices: &[DeviceId]) -> Result<(), Failure> {
        let open = self.store.open_executions(devices, ROUND_MAX).await?;
        let say =
            |view: &ExecutionView| command::say(&view.command, &view.device, &view.execution, self.now());
        self.each_execution(&open, say).await
    }

    /// A device answered a command.
    pub(crate) async fn answered(
        &self,
        device: DeviceId,
        command: CommandId,
        outcome: &Outcome,
    ) -> Result<(), UplinkError> {
        let done = self.attempt(|| async {
            let Some(view) = self.store.execution(command, device).await? else {
                return Ok((false, Effects::none()));
            };
            let ExecutionView { command, device, execution } = view;
            Ok((true, command::answered(&command, &device, &execution, outcome, self.now())))
        });
        match done.await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = format!("a reply to a command that this device was not given: {command}");
                self.state_refusal(device, &why).await;
                Err(UplinkError::Refused(why))
            }
            Err(Failure::Rejected(rejection)) => Err(UplinkError::Refused(rejection.sentence)),
            Err(Failure::Store(error)) => Err(UplinkError::Unavailable(error.to_string())),
        }
    }

    /// Performs a verb on many executions at once; if one of them was changed meanwhile, on each by itself.
    async fn each_execution(
        &self,
        views: &[ExecutionView],
        verb: impl Fn(&ExecutionView) -> Effects,
    ) -> Result<(), Failure> {
        let together = views.iter().map(&verb).fold(Effects::none(), Effects::and);
        match self.perform(together).await {
            Err(Failure::Store(StoreError::Conflict { .. })) => {}
            outcome => return outcome,
        }
        for view in views {
            let (command, device) = (view.command.id, view.device.id);
            self.attempt(|| async {
                let view = self.store.execution(command, device).await?;
                Ok(((), view.as_ref().map_or_else(Effects::none, &verb)))
            })
            .await?;
        }
        Ok(())
    }
}
