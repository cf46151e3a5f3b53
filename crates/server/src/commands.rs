//! Commands on their way: said when a device comes, said again, answered, expired. The worker sleeps until the
//! next deadline or until something changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use motehub_domain::change::Actor;
use motehub_domain::command::{self, Addressee, Command, Request};
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{CommandId, DeviceId};
use motehub_domain::message::Outcome;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::UplinkError;
use motehub_store::{ExecutionView, StoreError};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::words::Word;
use crate::deadlines;
use crate::perform::Failure;
use crate::presence;
use crate::random;

/// How many executions are looked at in one round, and written at once.
const ROUND_MAX: usize = 500;

/// How long somebody who waits for an answer waits, unless they say otherwise.
pub(crate) const WAIT: Span = Span::seconds(10);

/// What the worker is told: that a deadline is new; and who waits for an answer.
#[derive(Default)]
pub(crate) struct Commands {
    changed: Notify,
    waiting: Mutex<HashMap<CommandId, oneshot::Sender<Outcome>>>,
}

/// Why there is no answer to give.
pub(crate) enum NoAnswer {
    /// The device is not there.
    Away,
    /// It did not answer in time.
    Late,
    /// It was not asked.
    Failure(Failure),
}

/// Somebody waits for the answer to a command for as long as this lives.
struct Waiter<'a> {
    commands: &'a Commands,
    id: CommandId,
    answer: oneshot::Receiver<Outcome>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.commands.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Commands {
    fn wait_for(&self, id: CommandId) -> Waiter<'_> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        Waiter { commands: self, id, answer }
    }

    /// Whoever waits for this answer gets all of it; what is kept of it may be less.
    /// Whether somebody here waited for it.
    pub(crate) fn hand_over(&self, id: CommandId, outcome: &Outcome) -> bool {
        let waiter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        waiter.is_some_and(|waiter| waiter.send(outcome.clone()).is_ok())
    }

    /// Another node wrote something about commands.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

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
    deadlines::keep(&app, "commands", &app.commands.changed, shutdown, round).await;
}

/// Looks at what is due. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    let now = app.now();
    let due = app.store.due_executions(now, ROUND_MAX).await?;
    let is_full = due.len() == ROUND_MAX;
    app.each_execution(&due, |view| {
        let online = app.is_online(view.device.id);
        command::elapsed(&view.command, &view.device, online, &view.execution, app.now())
    })
    .await?;
    Ok(deadlines::next_round(now, is_full, app.store.next_execution_deadline().await?))
}

impl App {
    /// Gives a command to devices, for each of which it waits if it is away; those that do not exist are left out.
    pub(crate) async fn give_command(
        &self,
        request: &Request,
        devices: &[DeviceId],
        actor: &Actor,
    ) -> Result<Command, Failure> {
        let given = self.attempt(|| async {
            let targets = self.store.targets(devices).await?.into_iter();
            let to: Vec<Addressee> = targets
                .map(|target| {
                    let online = self.is_online(target.device.id);
                    Addressee { device: target.device, online }
                })
                .collect();
            let away = to.iter().filter(|to| !to.online).map(|to| to.device.id);
            let away: Vec<DeviceId> = away.collect();
            let now = self.now();
            let (command, effects) = command::request(random::id(now), request, &to, actor, now)?;
            Ok(((command, away), effects))
        });
        let (command, away) = given.await?;
        presence::tell_who_came(self, &away).await;
        Ok(command)
    }

    /// Asks a device that is there to do something, and waits for its answer.
    pub(crate) async fn ask_device(
        &self,
        device: &Device,
        name: &str,
        arguments: Value,
        wait: Span,
        actor: &Actor,
    ) -> Result<Outcome, NoAnswer> {
        if !self.is_online(device.id) {
            return Err(NoAnswer::Away);
        }
        let now = self.now();
        let waiter = self.commands.wait_for(random::id(now));
        let request = Request { name: name.to_owned(), arguments, selector: None, expires_in: Some(wait) };
        let to = [Addressee { device: device.clone(), online: true }];
        let asked = command::request(waiter.id, &request, &to, actor, now);
        let (_, effects) = asked.map_err(|rejection| NoAnswer::Failure(rejection.into()))?;
        self.perform(command::concealed(effects)).await.map_err(NoAnswer::Failure)?;
        let mut waiter = waiter;
        tokio::select! {
            outcome = &mut waiter.answer => outcome.map_err(|_| NoAnswer::Late),
            () = self.clock.sleep_until(now + wait) => Err(NoAnswer::Late),
        }
    }

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
            Ok(true) => {
                if !self.commands.hand_over(command, outcome) {
                    self.say_to_all(&Word::Answered(command, outcome.clone()));
                }
                Ok(())
            }
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
