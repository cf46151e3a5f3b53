//! The worker: tells rules what the hub took, in its order, and has done what they want.

mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use motehub_domain::id::{DeviceId, RuleId};
use motehub_domain::rule::engine::{Outcome, State};
use motehub_domain::rule::{Fresh, Known, Pair, Rule, Runner, Signal, Wants};
use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};
use motehub_store::StoreError;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::devices::AllFacts;
use super::{Taken, Told, far};
use crate::app::App;
use crate::perform::Failure;

/// How often it is written how far rules were told, if nothing else is written.
const MARK_EVERY: Span = Span::minutes(1);
/// How long the worker rests if nothing is due, and after an error.
const REST: Span = Span::minutes(1);
/// How long after a change of devices they are read again: many come at once.
const RELOAD_AFTER: Span = Span::seconds(2);
/// How much of what was missed is read at once.
const CATCH_UP: Span = Span::days(1);
/// Where it is kept how far rules were told.
pub(super) const MARK: &str = "rules/mark";

/// Whom an outcome is about.
pub(super) type Key = (RuleId, Option<DeviceId>);

/// What came of telling a rule something.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) at: Time,
    pub(super) outcome: Outcome,
}

/// A rule that is on.
pub(super) struct On {
    pub(super) rule: Rule,
    /// Which devices; `None` for all.
    members: Option<BTreeSet<DeviceId>>,
}

struct Waiting {
    runner: Runner,
    /// For when it stands in the row of those that are due.
    queued: Option<Time>,
}

/// What the worker knows. Memory is a cache: all of it comes back from the store.
pub(super) struct Worker {
    app: App,
    pub(super) rules: BTreeMap<RuleId, On>,
    by_metric: HashMap<Metric, Vec<RuleId>>,
    /// Rules that look at anything else than one metric.
    others: Vec<RuleId>,
    wants: Wants,
    facts: AllFacts,
    known: HashMap<DeviceId, Known>,
    waiting: HashMap<Key, Waiting>,
    due: BTreeSet<(Time, Key)>,
    /// What is on disk of how rules stand.
    stored: HashMap<Key, State>,
    /// Those that stand otherwise than what is on disk.
    pub(super) changed: HashSet<Key>,
    pub(super) done: Vec<Done>,
    /// Rules were told everything before this.
    pub(super) until: Time,
    /// When the hub started.
    pub(super) up: Time,
    marked_at: Time,
    /// When devices are read again, because they are others than before.
    reload_at: Option<Time>,
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut worker = loop {
        match Worker::begin(app.clone()).await {
            Ok(worker) => break worker,
            Err(error) => tracing::error!(%error, "rules could not begin; trying again"),
        }
        tokio::select! {
            () = app.clock.sleep_until(app.now() + Span::seconds(1)) => {}
            () = shutdown.cancelled() => return,
        }
    };
    loop {
        let next = match worker.round().await {
            Ok(next) => next,
            Err(error) => {
                match error {
                    Failure::Store(StoreError::Conflict { what }) => {
                        tracing::info!(what, "rules are read again: a person changed something meanwhile");
                    }
                    error => {
                        tracing::error!(%error, "rules could not be told what was taken; it is read again");
                    }
                }
                app.rules.intake().fall_behind();
                worker.forget();
                app.now() + Span::seconds(1)
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = app.clock.sleep_until(next) => {}
            () = app.rules.changed.notified() => {}
        }
    }
    if let Err(error) = worker.round().await {
        tracing::warn!(%error, "what rules were told last is told again after the next start");
    }
}

impl Worker {
    /// From what is on disk: what was stored and not told before the hub stopped is told now.
    async fn begin(app: App) -> Result<Self, Failure> {
        let mark = app.store.note(MARK).await?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let time = |name: &str| mark.as_ref().and_then(|mark| mark[name].as_i64()).map(Time);
        let told = time("until");
        let off = app.rules.off(told);
        let (off_since, up) = off.unwrap_or_else(|| {
            // What other nodes have on its way to the store is waited for. What was told is not told again.
            let begins = (app.now() - far::SETTLE).max(told.unwrap_or(Time(i64::MIN)));
            app.rules.take_over(begins);
            (begins, begins)
        });
        let mut worker = Self {
            stored: HashMap::new(),
            app,
            rules: BTreeMap::new(),
            by_metric: HashMap::new(),
            others: Vec::new(),
            wants: Wants::default(),
            facts: AllFacts::new(),
            known: HashMap::new(),
            waiting: HashMap::new(),
            due: BTreeSet::new(),
            changed: HashSet::new(),
            done: Vec::new(),
            until: told.unwrap_or(up),
            up: time("up").unwrap_or(Time(i64::MIN)),
            marked_at: Time(0),
            reload_at: None,
        };
        worker.reload(true).await?;
        worker.catch_up(off_since).await?;
        // Where it was taken over, silence and schedules go on.
        if off.is_some() {
            for waiting in worker.waiting.values_mut() {
                waiting.runner.woke(off_since, up);
            }
            worker.up = up;
        }
        worker.until = up;
        let keys: Vec<Key> = worker.waiting.keys().copied().collect();
        keys.into_iter().for_each(|key| worker.queue(key));
        worker.app.rules.began();
        Ok(worker)
    }

    /// What is in memory may be wrong: it is read again.
    fn forget(&mut self) {
        self.known.clear();
        self.waiting.clear();
        self.due.clear();
        self.changed.clear();
        self.done.clear();
        let mut intake = self.app.rules.intake();
        intake.rules_changed = true;
    }

    async fn round(&mut self) -> Result<Time, Failure> {
        let far = self.app.rules.far(&self.app);
        let taken = self.app.rules.take(self.app.now(), &far);
        let Taken { until, signals, mut is_behind, rules_changed, devices_changed, next } = taken;
        if devices_changed && !self.rules.is_empty() {
            self.reload_at.get_or_insert(self.app.now() + RELOAD_AFTER);
        }
        let knows_all = signals.iter().all(|(device, _)| self.facts.contains_key(device));
        let is_time = self.reload_at.is_some_and(|at| at <= self.app.now());
        if rules_changed || is_time || (!knows_all && !self.rules.is_empty()) {
            self.reload_at = None;
            is_behind |= self.reload(rules_changed).await?;
        }
        if is_behind {
            // What another node said late is older than what is read from the store.
            let late = signals.into_iter().filter(|(_, signal)| signal.at < self.until).collect();
            self.tell_all(late, self.until).await?;
            self.catch_up(until).await?;
        } else {
            self.tell_all(signals, until).await?;
        }
        self.write(until).await?;
        let due = self.due.first().map(|(due, _)| *due + Span(1));
        let next = [next, due, self.reload_at].into_iter().flatten().min();
        // A stamp that is out may hold up what is next: whoever has it needs time too.
        let now = self.app.now();
        Ok(next.unwrap_or(now + REST).max(now + Span(1)).min(now + REST))
    }

    /// Puts a pair into the row of those that are due. An entry that is too early is looked at then.
    fn queue(&mut self, key: Key) {
        let (Some(on), Some(waiting)) = (self.rules.get(&key.0), self.waiting.get_mut(&key)) else { return };
        let none = Known::default();
        let known = key.1.and_then(|device| self.known.get(&device)).unwrap_or(&none);
        let Some(due) = waiting.runner.due(&on.rule.meaning, known) else { return };
        if waiting.queued.is_none_or(|queued| due < queued) {
            if let Some(queued) = waiting.queued {
                self.due.remove(&(queued, key));
            }
            waiting.queued = Some(due);
            self.due.insert((due, key));
        }
    }

    /// Tells rules signals, and does what is due before `until`.
    async fn tell_all(&mut self, mut signals: Vec<Told>, until: Time) -> Result<(), Failure> {
        signals.sort_by(|(_, one), (_, other)| one.order(other));
        for (device, signal) in signals {
            self.do_due(signal.at).await?;
            self.tell(device, &signal).await?;
        }
        self.do_due(until - Span(1)).await
    }

    /// Does what is due until a moment, that one included.
    async fn do_due(&mut self, until: Time) -> Result<(), Failure> {
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= until) {
            self.due.remove(&(due, key));
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.queued = None;
            }
            if let Some(device) = key.1 {
                self.meet(device, due.max(self.until)).await?;
            }
            self.advance(key, due);
            self.queue(key);
        }
        Ok(())
    }

    fn advance(&mut self, key: Key, until: Time) {
        let (Some(on), Some(waiting)) = (self.rules.get(&key.0), self.waiting.get_mut(&key)) else { return };
        let none = Known::default();
        let known = key.1.and_then(|device| self.known.get(&device)).unwrap_or(&none);
        let pair = Pair { meaning: &on.rule.meaning, device: key.1 };
        let done = waiting.runner.advance(pair, known, until);
        for (at, outcome) in done {
            self.note(key, at, outcome);
        }
    }

    async fn tell(&mut self, device: DeviceId, signal: &Signal) -> Result<(), Failure> {
        if !self.facts.contains_key(&device) {
            return Ok(());
        }
        self.meet(device, signal.at).await?;
        let Some(known) = self.known.get_mut(&device) else { return Ok(()) };
        let Some(fresh) = known.take(signal) else { return Ok(()) };
        let of_metric = match &fresh {
            Fresh::Point(metric) => self.by_metric.get(metric).map(Vec::as_slice).unwrap_or_default(),
            Fresh::Presence(_) | Fresh::Shadow(..) | Fresh::Event(..) => &[],
        };
        let ids: Vec<RuleId> = of_metric.iter().chain(&self.others).copied().collect();
        for id in ids {
            let key = (id, Some(device));
            let begun = self.rules.get(&id).and_then(|on| on.rule.enabled_at);
            if begun.is_none_or(|begun| signal.at < begun) || !self.wait(key) {
                continue;
            }
            let (Some(on), Some(waiting)) = (self.rules.get(&id), self.waiting.get_mut(&key)) else {
                continue;
            };
            let pair = Pair { meaning: &on.rule.meaning, device: Some(device) };
            let before = waiting.runner.state.clone();
            let outcome = waiting.runner.take(pair, &self.known[&device], &fresh, signal.at);
            if outcome != Outcome::default() || before != waiting.runner.state {
                self.note(key, signal.at, outcome);
            }
            self.queue(key);
        }
        Ok(())
    }

    /// Something came of it; what stands otherwise than on disk is written.
    fn note(&mut self, key: Key, at: Time, outcome: Outcome) {
        self.changed.insert(key);
        if outcome != Outcome::default() {
            self.done.push(Done { key, at, outcome });
        }
    }

    /// What is known of a device from before a moment.
    async fn meet(&mut self, device: DeviceId, before: Time) -> Result<(), Failure> {
        if !self.known.contains_key(&device)
            && let Some(facts) = self.facts.get(&device)
        {
            let known = self.app.store.known_before(device, facts.clone(), &self.wants, before).await?;
            self.known.insert(device, known);
        }
        Ok(())
    }

    /// Reads from the store what rules were not told, up to a moment.
    async fn catch_up(&mut self, until: Time) -> Result<(), Failure> {
        while self.until < until && !self.rules.is_empty() {
            let to = (self.until + CATCH_UP).min(until);
            let mut devices: Vec<DeviceId> = self.facts.keys().copied().collect();
            devices.sort_unstable();
            let mut signals = Vec::new();
            for device in devices {
                let (more, _) = self.app.store.signals(device, &self.wants, self.until, to).await?;
                signals.extend(more.into_iter().map(|signal| (device, signal)));
            }
            self.tell_all(signals, to).await?;
            self.write(to).await?;
        }
        self.until = self.until.max(until);
        Ok(())
    }

    /// Writes what came of it, and that rules were told everything before a moment, in one transaction.
    async fn write(&mut self, until: Time) -> Result<(), Failure> {
        let until = self.until.max(until);
        let is_time = self.app.now() >= self.marked_at + MARK_EVERY && !self.rules.is_empty();
        if self.done.is_empty() && self.changed.is_empty() && !is_time {
            self.until = until;
            return Ok(());
        }
        let mark = json!({ "until": until.0, "up": self.up.0 }).to_string().into_bytes();
        let done = std::mem::take(&mut self.done);
        let mut states = Vec::new();
        for key in std::mem::take(&mut self.changed) {
            if let Some(waiting) = self.waiting.get(&key) {
                states.push((key, waiting.runner.state.clone()));
            }
        }
        self.app.do_what_rules_want(&self.rules, done, &states, (MARK, mark)).await?;
        self.stored.extend(states);
        self.until = until;
        self.marked_at = self.app.now();
        Ok(())
    }
}
