//! The life of a light in time: it starts, connects, is called, restarts, loses its power, and returns to its former
//! firmware when nobody commits the new one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::call::{Reaction, Then};
use super::fault::Fault;
use super::fleet::{Deed, Fact, Sender};
use super::light::Light;
use super::link;

/// From the end of one life to the next start.
const START_TAKES: Duration = Duration::from_millis(300);
/// Until the plug is put back that somebody pulled.
const POWER_AWAY: Duration = Duration::from_secs(1);
/// What a light says that is not sent yet; a real one keeps as many.
const OUTBOX_MAX: usize = 25;
const HAPPENINGS_MAX: usize = 16;

/// How fast its clock is, and how patient it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) speed: u32,
    pub(super) reconnect: Duration,
}

/// A light and what its tasks share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Life(Arc<Shared>);

struct Shared {
    id: String,
    light: Mutex<Light>,
    sender: Sender,
    pace: Pace,
    fault: Option<Fault>,
    facts: mpsc::Sender<Fact>,
    /// Whether it has power.
    power: watch::Sender<bool>,
    happenings: mpsc::Sender<Then>,
    happened: tokio::sync::Mutex<mpsc::Receiver<Then>>,
    outbox: mpsc::Sender<(&'static str, Value)>,
    unsent: tokio::sync::Mutex<mpsc::Receiver<(&'static str, Value)>>,
}

/// How a life ended.
enum End {
    Restart(Duration),
    /// Until somebody puts the plug back, or a while.
    Dark(Option<Duration>),
}

impl Life {
    pub(super) fn new(
        id: String,
        light: Light,
        sender: Sender,
        pace: Pace,
        fault: Option<Fault>,
        facts: mpsc::Sender<Fact>,
    ) -> Self {
        let (happenings, happened) = mpsc::channel(HAPPENINGS_MAX);
        let (outbox, unsent) = mpsc::channel(OUTBOX_MAX);
        let (power, _) = watch::channel(true);
        let (happened, unsent) = (tokio::sync::Mutex::new(happened), tokio::sync::Mutex::new(unsent));
        let light = Mutex::new(light);
        let shared =
            Shared { id, light, sender, pace, fault, facts, power, happenings, happened, outbox, unsent };
        Self(Arc::new(shared))
    }

    /// The light itself; never held while something is awaited.
    pub(super) fn light(&self) -> MutexGuard<'_, Light> {
        self.0.light.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sender(&self) -> Sender {
        self.0.sender
    }

    pub(super) fn has_power(&self) -> bool {
        *self.0.power.borrow()
    }

    pub(super) fn reconnect(&self) -> Duration {
        self.0.pace.reconnect
    }

    /// Calls the light; what it was switched to by that is stated.
    pub(super) async fn call(&self, method: &str, params: &Value) -> Reaction {
        let (reaction, was_committed) = {
            let mut light = self.light();
            let was_committed = light.slots.is_committed();
            (light.call(method, params), was_committed)
        };
        self.state_switched().await;
        let now = {
            let light = self.light();
            (light.slots.is_committed() && !was_committed).then(|| light.slots.running().version.clone())
        };
        if let Some(version) = now.filter(|_| method == "OTA.Commit") {
            self.state(Fact::Committed { light: self.0.id.clone(), version }).await;
        }
        reaction
    }

    /// Something happens to the light behind a call.
    pub(super) async fn happens(&self, then: Then) {
        let _ = self.0.happenings.send(then).await;
    }

    pub(super) async fn state_online(&self) {
        self.state(Fact::Online { light: self.0.id.clone() }).await;
    }

    /// The connection broke. A reader that is behind does not hold up a falling light.
    pub(super) fn state_offline(&self) {
        let _ = self.0.facts.try_send(Fact::Offline { light: self.0.id.clone() });
    }

    /// What the light says next.
    pub(super) async fn unsent(&self) -> Option<(&'static str, Value)> {
        self.0.unsent.lock().await.recv().await
    }

    fn says(&self, said: (&'static str, Value)) {
        let _ = self.0.outbox.try_send(said);
    }

    async fn state_switched(&self) {
        let switched = self.light().switched.take();
        if let Some(on) = switched {
            self.state(Fact::Switched { light: self.0.id.clone(), on }).await;
        }
    }

    async fn state(&self, fact: Fact) {
        let _ = self.0.facts.send(fact).await;
    }

    async fn state_boot(&self) {
        let fact = {
            let light = self.light();
            Fact::Boot {
                light: self.0.id.clone(),
                version: light.slots.running().version.clone(),
                slot: light.slots.active(),
                committed: light.slots.is_committed(),
                fault: self.0.fault.map(Fault::as_str),
            }
        };
        self.state(fact).await;
    }

    fn scaled(&self, span: Duration) -> Duration {
        span / self.0.pace.speed
    }
}

/// One life after the other, until all is stopped.
pub(super) async fn live(life: Life, mut deeds: mpsc::Receiver<Deed>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = lives(&life, &mut deeds) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

async fn lives(life: &Life, deeds: &mut mpsc::Receiver<Deed>) {
    loop {
        let comes_up = life.light().boot();
        life.state_boot().await;
        let end = if comes_up { one_life(life, deeds).await } else { End::Restart(Duration::ZERO) };
        match end {
            End::Restart(after) => sleep(life.scaled(after + START_TAKES)).await,
            End::Dark(comes_back) => {
                life.0.power.send_replace(false);
                let light = life.0.id.clone();
                life.state(Fact::PowerCut { light, comes_back: comes_back.is_some() }).await;
                dark(life, deeds, comes_back).await;
                life.0.power.send_replace(true);
            }
        }
    }
}

async fn dark(life: &Life, deeds: &mut mpsc::Receiver<Deed>, comes_back: Option<Duration>) {
    let back_at = comes_back.map(|after| Instant::now() + life.scaled(after));
    loop {
        tokio::select! {
            Some(deed) = deeds.recv() => match deed {
                Deed::PowerOn => return,
                Deed::PowerCut | Deed::Switch { .. } | Deed::Press => {}
            },
            () = sleep_until(back_at.unwrap_or_else(Instant::now)), if back_at.is_some() => return,
            // Nobody is left who could put the plug back: it stays dark until the fleet ends.
            else => std::future::pending().await,
        }
    }
}

async fn one_life(life: &Life, deeds: &mut mpsc::Receiver<Deed>) -> End {
    let timeout = life.light().slots.commit_within_s();
    let mut commit_by = timeout.map(|seconds| Instant::now() + life.scaled(Duration::from_secs(seconds)));
    let mut happened = life.0.happened.lock().await;
    // What was to happen to a former life is over with it.
    while happened.try_recv().is_ok() {}
    let mut connected = std::pin::pin!(link::keep_connected(life));
    loop {
        tokio::select! {
            never = connected.as_mut() => match never {},
            then = happened.recv() => match then {
                Some(Then::Restart(after)) => {
                    // The answer is on its way meanwhile.
                    tokio::select! {
                        never = connected.as_mut() => match never {},
                        () = sleep(life.scaled(after)) => {}
                    }
                    return End::Restart(Duration::ZERO);
                }
                Some(Then::PowerCut) => return End::Dark(Some(POWER_AWAY)),
                Some(Then::Dies) => return End::Dark(None),
                Some(Then::Disconnects | Then::Fetches { .. }) | None => {}
            },
            Some(deed) = deeds.recv() => match deed {
                Deed::PowerCut => return End::Dark(None),
                Deed::Switch { on } => {
                    let said = life.light().switch(on);
                    life.says(said);
                    life.state_switched().await;
                }
                Deed::Press => life.says(("button", json!({ "pressed": true }))),
                Deed::PowerOn => {}
            },
            () = sleep_until(commit_by.unwrap_or_else(Instant::now)), if commit_by.is_some() => {
                commit_by = None;
                let is_reverted = life.light().slots.revert().is_ok();
                if is_reverted {
                    return End::Restart(Duration::ZERO);
                }
            }
        }
    }
}
