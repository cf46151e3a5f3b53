//! Shadows at work: requests about those of one device are done one after the other, in the order they came, and the
//! worker looks after them when their time has come.

mod turns;

use std::collections::HashMap;

use motehub_domain::change::Actor;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::message::Downlink;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::{self, Deed, Refusal, Request, Shadow};
use motehub_domain::time::Time;
use motehub_gateway::hub::UplinkError;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::deadlines;
use crate::perform::Failure;

pub(crate) use turns::Turn;
use turns::Turns;

/// Places in the rows of several devices.
pub(crate) type Places = HashMap<DeviceId, Turn>;

/// How many shadows are looked at in one round.
const ROUND_MAX: usize = 500;

/// Whose turn it is, and what the worker is told: that a deadline is new.
#[derive(Default)]
pub(crate) struct Shadows {
    turns: Turns<DeviceId>,
    asks: Turns<(Principal, String)>,
    changed: Notify,
}

impl Shadows {
    /// Takes a place in the row of those who want something of a device's shadows.
    pub(crate) fn line_up(&self, device: DeviceId) -> Turn {
        self.turns.line_up(&device)
    }

    /// The same for somebody who asks for a thing: which device that is, is not known yet.
    pub(crate) fn line_up_to_ask(&self, who: Principal, thing: &str) -> Turn {
        self.asks.line_up(&(who, thing.to_owned()))
    }

    /// Takes a place in the rows of several devices at once.
    pub(crate) fn line_up_all(&self, devices: impl IntoIterator<Item = DeviceId>) -> Places {
        self.turns.line_up_all(devices)
    }

    /// Another node wrote shadows.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

    /// Shadows were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        let has_deadline =
            |save: &Save| matches!(save, Save::Shadow(shadow, _) if shadow.deadline().is_some());
        if saved.iter().any(has_deadline) {
            self.changed.notify_one();
        }
    }
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    deadlines::keep(&app, "shadows", &app.shadows.changed, shutdown, round).await;
}

/// Looks at what is due. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    let now = app.now();
    let due = app.store.due_shadows(now, ROUND_MAX).await?;
    let is_full = due.len() == ROUND_MAX;
    for Shadow { device: id, name, .. } in due {
        let mut turn = app.shadows.line_up(id);
        turn.comes().await;
        app.attempt(|| async {
            let (device, shadow) = (app.store.device(id).await?, app.store.shadow(id, name.as_ref()).await?);
            let effects = match (device, shadow) {
                (Some(device), Some(shadow)) => shadow::elapsed(&device, shadow, app.now()),
                _ => Effects::none(),
            };
            Ok(((), effects))
        })
        .await?;
    }
    Ok(deadlines::next_round(now, is_full, app.store.next_shadow_deadline().await?))
}

impl App {
    /// Does what is asked of a shadow; whoever calls this has its turn. Without an actor it is the device itself that
    /// asks.
    pub(crate) async fn on_shadow(
        &self,
        id: DeviceId,
        request: &Request,
        actor: Option<&Actor>,
    ) -> Result<Result<Shadow, Refusal>, Failure> {
        let name = request.shadow.as_ref();
        self.attempt(|| async {
            let Some(device) = self.store.device(id).await? else {
                return Ok((Err(Refusal::NoThing), Effects::none()));
            };
            let found = self.store.shadow(id, name).await?;
            let before = found.unwrap_or_else(|| Shadow::none(id, name.cloned()));
            let own = Actor::Device(device.name.clone());
            let actor = actor.unwrap_or(&own);
            let done = match &request.deed {
                Deed::Get(_) if before.exists() => Ok((before, Effects::none())),
                Deed::Get(_) => Err(Refusal::no_shadow(name, &device)),
                Deed::Update(update) => {
                    let others = if before.revision == 0 { self.store.shadows(id).await?.len() } else { 0 };
                    shadow::update(&device, &before, others, update, actor, self.now())
                }
                Deed::Delete(token) => shadow::delete(&device, &before, token.as_deref(), actor, self.now())
                    .map(|effects| (before, effects)),
            };
            Ok(match done {
                Ok((shadow, effects)) => (Ok(shadow), effects),
                Err(refusal) => (Err(refusal), Effects::none()),
            })
        })
        .await
    }

    /// A value is desired of a device, at a path of names with dots between them.
    pub(crate) async fn wish(
        &self,
        device: DeviceId,
        path: &str,
        value: Value,
        actor: &Actor,
    ) -> Result<(), Failure> {
        let update = json!({ "state": { "desired": shadow::nested(path, value) } });
        let update = shadow::Update::of(update).map_err(Rejection::from)?;
        let request = Request { shadow: None, deed: Deed::Update(Box::new(update)) };
        let mut turn = self.shadows.line_up(device);
        turn.comes().await;
        let done = self.on_shadow(device, &request, Some(actor)).await?;
        Ok(done.map(drop).map_err(Rejection::from)?)
    }

    /// A device reports into its shadow or asks for it, in the native protocol: it is answered by downlinks.
    pub(crate) async fn shadow_said(&self, id: DeviceId, request: Request) -> Result<(), UplinkError> {
        let unavailable = |failure: Failure| UplinkError::Unavailable(failure.to_string());
        let done = self.on_shadow(id, &request, None).await.map_err(unavailable)?;
        match (done, request.deed) {
            (Ok(shadow), Deed::Get(_)) => self.send(id, &Downlink::Shadow(Box::new(shadow))),
            (Err(Refusal::NoShadow(_)), Deed::Get(_)) => {
                let none = Shadow::none(id, request.shadow);
                self.send(id, &Downlink::Shadow(Box::new(none)));
            }
            (Ok(_), Deed::Update(_) | Deed::Delete(_)) => {}
            (Err(refusal), _) => {
                let sentence = refusal.to_string();
                // That two write at once is no fault.
                if refusal != Refusal::VersionConflict {
                    self.state_refusal(id, &sentence).await;
                }
                return Err(UplinkError::Refused(sentence));
            }
        }
        Ok(())
    }

    /// A device that is there listens from now on: it is told what it may have missed.
    pub(crate) async fn tell_shadows(&self, id: DeviceId) {
        let told = async {
            let shadows = self.store.shadows(id).await?;
            self.perform(shadows.iter().map(shadow::came).fold(Effects::none(), Effects::and)).await
        };
        if let Err(error) = told.await {
            tracing::warn!(device = %id, %error, "a device could not be told what is desired of it");
        }
    }
}
