//! Rules that are on: what the hub takes is told to them in one order, live as in a replay.
//!
//! Whoever stores something takes a [`Stamp`] before and gives it back behind: the stamp's time is stored with it, and
//! rules are told only what is older than every stamp that is out. So the order in which they are told is that of the
//! stored times, whatever was committed first. What does not fit into the queue is read from the store later.

mod deeds;
mod devices;
mod far;
mod live;
mod outcome;
pub(crate) mod replay;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use motehub_domain::change::{Actor, Change, ChangeKind};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::rule::{Rule, Said, Signal, Wants};
use motehub_domain::time::{Span, Time};
use motehub_store::{Measured, Store, StoreError, said_by};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

pub(crate) use deeds::run as run_deeds;
pub(crate) use far::run as run_far;
pub(crate) use live::run;
pub(crate) use troubles::{Trouble, Troubles};

/// How much may wait for the worker; what comes then is read from the store.
const QUEUE_MAX: usize = 100_000;
/// A clock that was set back by more than this is not waited for.
const BACK_MAX: Span = Span::seconds(1);
/// How many replays may run at once.
const REPLAYS_MAX: usize = 2;

/// What a device, or nobody, is told.
pub(crate) type Told = (DeviceId, Signal);

/// The way from those who store something to the worker.
pub(crate) struct Rules {
    /// Since when and until when the hub was off before it started; nothing once rules were told that.
    off: Mutex<Option<(Time, Time)>>,
    intake: Mutex<Intake>,
    /// How far other nodes are.
    others: Mutex<far::Others>,
    changed: Notify,
    troubles: Troubles,
    /// Deeds of firings that wait to be done.
    deeds: Notify,
    replays: Semaphore,
}

#[derive(Default)]
struct Intake {
    /// The time of the last stamp: time does not go back here.
    last: Time,
    /// The stamps that are out.
    out: BTreeSet<(Time, u64)>,
    next: u64,
    wants: Wants,
    /// Whether any rule is on.
    is_on: bool,
    queue: Vec<Told>,
    /// Nothing fits into the queue until the worker has looked.
    is_full: bool,
    /// Rules were told everything before this.
    told: Time,
    /// Another node was told that everything before this is stored.
    said: Time,
    /// The time of the newest that did not fit: up to it, the worker reads the store.
    missed: Option<Time>,
    /// Rules are others than before.
    rules_changed: bool,
    /// Devices are others than before.
    devices_changed: bool,
}

/// Something is about to be stored with this time.
pub(crate) struct Stamp<'a> {
    rules: &'a Rules,
    /// The time.
    pub(crate) at: Time,
    number: u64,
}

impl Drop for Stamp<'_> {
    fn drop(&mut self) {
        let mut intake = self.rules.intake();
        intake.out.remove(&(self.at, self.number));
        let wakes = intake.is_on && (!intake.queue.is_empty() || intake.missed.is_some());
        drop(intake);
        if wakes {
            self.rules.changed.notify_one();
        }
    }
}

/// What the worker takes.
#[derive(Default)]
struct Taken {
    /// Everything before this is there.
    until: Time,
    signals: Vec<Told>,
    is_behind: bool,
    rules_changed: bool,
    devices_changed: bool,
    /// When the next signal is old enough.
    next: Option<Time>,
}

impl Rules {
    /// The hub starts. That is a fact, with since when it was off, so that a replay knows it. It was off for a moment
    /// at least, whatever the clock says; a new hub never was.
    pub(crate) async fn start(store: &Store, now: Time) -> Result<Self, StoreError> {
        let mark =
            store.note(live::MARK).await?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let told = mark.as_ref().and_then(|mark| mark["until"].as_i64()).map(Time);
        let taken = store.last_taken().await?;
        if taken == Time(0) && told.is_none() {
            return Ok(Self::new((now, now)));
        }
        let since = told.unwrap_or(Time(0)).max(taken + Span(1));
        let up = now.max(since);
        let change = Change {
            actor: Actor::System,
            kind: ChangeKind::HubStarted,
            subject: "hub".to_owned(),
            subject_name: "motehub".to_owned(),
            device: None,
            before: None,
            after: Some(json!({ "off_since": since.0 })),
        };
        // A hub whose disk is full starts all the same, to be looked at.
        if let Err(error) = store.commit(&Effects { changes: vec![change], ..Effects::none() }, up).await {
            tracing::warn!(%error, "that the hub started is not recorded: replays do not know that it was off");
        }
        Ok(Self::new((since, up)))
    }

    fn new(off: (Time, Time)) -> Self {
        let now = off.1;
        // What comes before the worker knows its rules is read from the store.
        let missed = Some(now);
        let intake = Intake {
            last: now,
            is_on: true,
            is_full: true,
            missed,
            rules_changed: true,
            ..Intake::default()
        };
        Self {
            off: Mutex::new(Some(off)),
            intake: Mutex::new(intake),
            others: Mutex::default(),
            changed: Notify::new(),
            troubles: Mutex::default(),
            deeds: Notify::new(),
            replays: Semaphore::new(REPLAYS_MAX),
        }
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when and until when the hub was off, for a worker that begins; `told`: until when rules were told. Where
    /// another worker told them since this node began, nothing was off.
    fn off(&self, told: Option<Time>) -> Option<(Time, Time)> {
        let off = *self.off.lock().unwrap_or_else(PoisonError::into_inner);
        off.filter(|(_, up)| told.is_none_or(|told| told <= *up))
    }

    /// The worker takes over from another one: it begins at a moment with what is in the store, whatever this node told
    /// others.
    fn take_over(&self, at: Time) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = far::Others::default();
        let mut intake = self.intake();
        (intake.is_on, intake.is_full, intake.rules_changed) = (true, true, true);
        intake.told = at;
        intake.fall_behind();
    }

    /// Rules were told that the hub was off.
    fn began(&self) {
        *self.off.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A node joins others that tell rules.
    pub(crate) fn join(now: Time) -> Self {
        let rules = Self::new((now, now));
        rules.began();
        rules
    }

    /// Another node wrote rules, devices or groups.
    pub(crate) fn look(&self) {
        let mut intake = self.intake();
        (intake.rules_changed, intake.devices_changed) = (true, true);
        drop(intake);
        self.changed.notify_one();
    }

    /// Something is about to be stored.
    pub(crate) fn stamp(&self, now: Time) -> Stamp<'_> {
        let mut intake = self.intake();
        intake.last = intake.last.max(now);
        let (at, number) = (intake.last, intake.next);
        intake.next += 1;
        intake.out.insert((at, number));
        Stamp { rules: self, at, number }
    }

    /// Points are stored; `times`: when each was measured, none for those that are not stored.
    pub(crate) fn measured(&self, stamp: &Stamp<'_>, measured: &[Measured], times: &[Option<Time>]) {
        let mut intake = self.intake();
        if !intake.is_on || (intake.wants.metrics.is_empty() && !intake.wants.all_points) {
            return;
        }
        let points = measured.iter().flat_map(|said| said.points.iter().map(|point| (said.device, point)));
        for ((device, point), time) in points.zip(times) {
            let Some(time) = *time else { continue };
            if intake.wants.all_points || intake.wants.metrics.contains(&point.metric) {
                let said = Said::Point { metric: point.metric.clone(), time, value: point.value.to_json() };
                intake.push(device, Signal { at: stamp.at, said });
            }
        }
    }

    /// Effects are stored.
    pub(crate) fn tell(&self, stamp: &Stamp<'_>, effects: &Effects) {
        let mut intake = self.intake();
        for save in &effects.save {
            match save {
                Save::Rule(rule) => intake.learn(rule),
                Save::DeleteRule(_) => intake.rules_changed = true,
                Save::Device(_) | Save::DeleteDevice(_) | Save::Group(_) | Save::DeleteGroup(_) => {
                    intake.devices_changed = true;
                }
                Save::Announced(..) => intake.devices_changed = true,
                Save::Shadow(shadow, Some(revision)) if shadow.name.is_none() && intake.wants.shadow => {
                    let by_device = revision.actor.kind() == "device";
                    let said = match revision.is_deleted {
                        true => Said::Shadow { desired: Value::Null, reported: Value::Null, by_device },
                        false => Said::Shadow {
                            desired: Value::Object(revision.desired.clone()),
                            reported: Value::Object(revision.reported.clone()),
                            by_device,
                        },
                    };
                    intake.push(shadow.device, Signal { at: stamp.at, said });
                }
                _ => {}
            }
        }
        for change in &effects.changes {
            if let Some(device) = change.device
                && let Some(said) = said_by(change.kind, change.after.as_ref())
            {
                intake.push(device, Signal { at: stamp.at, said });
            }
        }
        let wakes = intake.rules_changed || intake.devices_changed;
        drop(intake);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// What is old enough; what is not stays.
    fn take(&self, now: Time, far: &[Time]) -> Taken {
        let mut intake = self.intake();
        let now = if now + BACK_MAX < intake.last { intake.last + Span(1) } else { now };
        intake.last = intake.last.max(now);
        let until = intake.out.first().map_or(now, |(at, _)| (*at).min(now));
        let until = far.iter().copied().fold(until, Time::min).max(intake.told);
        intake.told = until;
        let (signals, rest): (Vec<Told>, Vec<Told>) =
            std::mem::take(&mut intake.queue).into_iter().partition(|(_, signal)| signal.at < until);
        let is_behind = intake.missed.is_some();
        // What was missed at this very moment or after is for the next look.
        intake.missed = intake.missed.filter(|missed| *missed >= until);
        intake.is_full = false;
        let next = rest.iter().map(|(_, signal)| signal.at).chain(intake.missed).min();
        let next = next.map(|at| at + Span(1));
        intake.queue = rest;
        Taken {
            until,
            signals,
            is_behind,
            rules_changed: std::mem::take(&mut intake.rules_changed),
            devices_changed: std::mem::take(&mut intake.devices_changed),
            next,
        }
    }

    /// The rules that are on want this; whether that is more than was kept until now.
    fn want(&self, wants: Option<Wants>) -> bool {
        let mut intake = self.intake();
        let (is_on, wants) = (wants.is_some(), wants.unwrap_or_default());
        let mut all = intake.wants.clone();
        join(&mut all, &wants);
        let is_more = (is_on && !intake.is_on) || all != intake.wants;
        // A rule was written while they were read: what it wants stays until they are read again.
        let is_old = intake.rules_changed;
        intake.is_on = is_on || (is_old && intake.is_on);
        intake.wants = if is_old { all } else { wants };
        is_more
    }
}

impl Intake {
    fn push(&mut self, device: DeviceId, signal: Signal) {
        if !self.is_on {
            return;
        }
        self.queue.push((device, signal));
        if self.queue.len() > QUEUE_MAX || self.is_full {
            metrics::counter!("motehub_rule_signals_delayed_total").increment(1);
            self.is_full = true;
            self.fall_behind();
            self.queue.clear();
        }
    }

    /// Everything that was stamped until now is read from the store, and so is what was heard of other nodes: their
    /// clocks may be ahead.
    fn fall_behind(&mut self) {
        let heard = self.queue.iter().map(|(_, signal)| signal.at).max();
        self.missed = self.missed.max(Some(self.last)).max(heard);
    }

    /// A rule was written: what it wants is kept from now on, before the worker knows of it.
    fn learn(&mut self, rule: &Rule) {
        self.rules_changed = true;
        if rule.is_enabled() {
            self.is_on = true;
            join(&mut self.wants, &rule.meaning.wants);
        }
    }
}

/// All that one or the other wants.
fn join(wants: &mut Wants, more: &Wants) {
    wants.metrics.extend(more.metrics.iter().cloned());
    wants.all_points |= more.all_points;
    wants.shadow |= more.shadow;
}
