//! Signals that other nodes take, on their way to the one that tells rules.
//!
//! Every node says up to which time everything that it took is stored, and what of it rules want. The teller goes on
//! only as far as all nodes that live have said, so the order is that of the stored times over all of them. A word that
//! is missing is no loss: the teller reads from the store what it was not told. So rules hear of another node's signals
//! some tenths of a second late, some seconds while the bus is away, and until a node counts as dead when one dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use motehub_domain::device::Reach;
use motehub_domain::rule::{Rule, Said, Signal, Wants};
use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::{Rules, Taken, Told, join};
use crate::app::App;
use crate::cluster::Work;
use crate::cluster::bus::BusState;
use crate::perform::Failure;
use crate::secrets;

/// The subject of the bus.
const SUBJECT: &str = "rules.told";
/// How often a node says how far it is.
const EVERY: Duration = Duration::from_millis(200);
/// How often the rules are read for what they want, if nothing says that they changed.
const RELOAD_EVERY: Duration = Duration::from_secs(60);
/// How many signals one word has at most; the teller reads more from the store.
const SIGNALS_MAX: usize = 2_000;
/// For how long a node counts that is heard and whose heartbeat is not seen.
const NEW_MAX: Duration = Duration::from_secs(6);
/// Where a new teller begins to read, before the time at which it begins: so long a transaction of another node may be
/// on its way.
pub(super) const SETTLE: Span = Span::seconds(5);

/// What a node says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    node: String,
    instance: String,
    /// Counted by the node, so that a missing one is noticed.
    number: u64,
    /// Everything before this is stored.
    until: i64,
    /// What it keeps, as a digest: if rules want something else by now, not all signals are here.
    wants: String,
    /// Not all signals are here.
    is_behind: bool,
    signals: Vec<Far>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Far {
    device: String,
    at: i64,
    said: FarSaid,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FarSaid {
    Presence(String),
    Shadow { desired: Value, reported: Value, by_device: bool },
    Event { name: String, data: Value },
    Point { metric: String, time: i64, value: Value },
}

/// How far another node is.
#[derive(Default)]
pub(super) struct Others(BTreeMap<String, Other>);

struct Other {
    instance: String,
    number: u64,
    until: Time,
    heard_at: Instant,
}

impl Far {
    fn new((device, Signal { at, said }): Told) -> Self {
        let said = match said {
            Said::Presence(reach) => FarSaid::Presence(reach.as_str().to_owned()),
            Said::Shadow { desired, reported, by_device } => FarSaid::Shadow { desired, reported, by_device },
            Said::Event { name, data } => FarSaid::Event { name, data },
            Said::Point { metric, time, value } => {
                FarSaid::Point { metric: metric.as_str().to_owned(), time: time.0, value }
            }
        };
        Self { device: device.to_string(), at: at.0, said }
    }

    fn read(self) -> Option<Told> {
        let said = match self.said {
            FarSaid::Presence(reach) => Said::Presence(Reach::parse(&reach)?),
            FarSaid::Shadow { desired, reported, by_device } => Said::Shadow { desired, reported, by_device },
            FarSaid::Event { name, data } => Said::Event { name, data },
            FarSaid::Point { metric, time, value } => {
                Said::Point { metric: Metric::parse(&metric).ok()?, time: Time(time), value }
            }
        };
        Some((self.device.parse().ok()?, Signal { at: Time(self.at), said }))
    }
}

/// Runs until shutdown, on every node of several: it says what it took, or hears what others took.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut heard = app.cluster.bus().subscribe(SUBJECT).await;
    let mut ticks = interval(EVERY);
    let mut teller = Teller { number: 0, loaded_at: None };
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            message = heard.next() => {
                let Some(message) = message else { return };
                // Who does not tell rules keeps nothing of others: it would pass it on as its own.
                if app.cluster.holds(Work::Rules) {
                    app.rules.heard_far(&message.payload);
                }
                continue;
            }
            () = shutdown.cancelled() => break,
        }
        if app.cluster.holds(Work::Rules) {
            app.rules.changed.notify_one();
        } else if let Err(error) = teller.say(&app).await {
            tracing::warn!(%error, "rules could not be read; what they want of this node they read from the store");
        }
    }
    if !app.cluster.holds(Work::Rules) {
        let _ = teller.say(&app).await;
    }
}

struct Teller {
    number: u64,
    loaded_at: Option<Instant>,
}

impl Teller {
    /// Says how far this node is, and what it took since it last did.
    async fn say(&mut self, app: &App) -> Result<(), Failure> {
        let Taken { until, mut signals, mut is_behind, rules_changed, .. } = app.rules.take(app.now(), &[]);
        let is_old = self.loaded_at.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
        if rules_changed || is_old {
            let rules: Vec<Rule> = app.store.rules().await?.into_iter().filter(Rule::is_enabled).collect();
            let mut wants = Wants::default();
            rules.iter().for_each(|rule| join(&mut wants, &rule.meaning.wants));
            // What was taken before rules wanted it was not kept.
            is_behind |= app.rules.want((!rules.is_empty()).then_some(wants));
            self.loaded_at = Some(Instant::now());
        }
        let me = app.cluster.me();
        self.number += 1;
        let payload_max = app.cluster.bus().payload_max();
        loop {
            is_behind |= signals.len() > SIGNALS_MAX;
            signals.truncate(if is_behind { 0 } else { SIGNALS_MAX });
            let word = Word {
                node: me.name.clone(),
                instance: me.instance.clone(),
                number: self.number,
                until: until.0,
                wants: app.rules.wants(),
                is_behind,
                signals: signals.iter().cloned().map(Far::new).collect(),
            };
            let text = serde_json::to_vec(&word).unwrap_or_default();
            if text.len() <= payload_max || is_behind {
                app.rules.is_until(until);
                app.cluster.bus().publish(SUBJECT, text);
                return Ok(());
            }
            is_behind = true;
        }
    }
}

impl Rules {
    /// Another node said something. What makes no sense is no signal: it is read from the store in time.
    pub(super) fn heard_far(&self, text: &[u8]) {
        let Ok(word) = serde_json::from_slice::<Word>(text) else {
            metrics::counter!("motehub_bus_dropped_total", "reason" => "not understood").increment(1);
            return;
        };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = others.0.get(&word.node).filter(|known| known.instance == word.instance);
        let is_next = known.map_or(word.number == 1, |known| known.number + 1 == word.number);
        let until = Time(word.until);
        let before = known.map(|known| known.until);
        let other = Other { instance: word.instance, number: word.number, until, heard_at: Instant::now() };
        others.0.insert(word.node, other);
        drop(others);
        let wants = self.wants();
        let mut intake = self.intake();
        if !is_next || word.is_behind || word.wants != wants {
            intake.missed = Some(intake.missed.unwrap_or(until).max(until));
        }
        for (device, signal) in word.signals.into_iter().filter_map(Far::read) {
            // What is older was read from the store. A node whose clock is behind says late what is older only here.
            if signal.at >= before.map_or(intake.told, |before| before.min(intake.told)) {
                intake.push(device, signal);
            }
        }
        drop(intake);
        self.changed.notify_one();
    }

    /// How far all other nodes are that live. Those that are not heard on the bus say it with their heartbeat, and what
    /// they took is read from the store then; so is what those took that are gone.
    pub(super) fn far(&self, app: &App) -> Vec<Time> {
        if app.cluster.is_alone() {
            return Vec::new();
        }
        let alive =
            app.cluster.nodes().into_iter().filter(|(node, alive)| *alive && node.name != app.cluster.node());
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = BTreeSet::new();
        let (mut untils, mut missed) = (Vec::new(), None);
        let is_away = *app.cluster.bus().state().borrow() != BusState::Here;
        for (node, _) in alive {
            let said = node.figures["rules_until"].as_i64().map(Time).unwrap_or(Time(0));
            let mut heard = others.0.get_mut(&node.name).filter(|it| it.instance == node.instance);
            let until = heard.as_ref().map_or(said, |it| it.until.max(said));
            if heard.as_ref().is_none_or(|it| said > it.until) || is_away {
                missed = missed.max(Some(until));
            }
            if let Some(heard) = &mut heard {
                heard.until = until;
            }
            untils.push(until);
            names.insert(node.name);
        }
        let known = others.0.len();
        // One that has just come is heard before its heartbeat is seen.
        others.0.retain(|name, other| names.contains(name) || other.heard_at.elapsed() < NEW_MAX);
        let has_lost_one = others.0.len() < known;
        untils
            .extend(others.0.iter().filter(|(name, _)| !names.contains(*name)).map(|(_, other)| other.until));
        drop(others);
        let mut intake = self.intake();
        if has_lost_one {
            intake.fall_behind();
        }
        intake.missed = intake.missed.max(missed);
        untils
    }

    /// Everything that this node took before a moment is stored.
    fn is_until(&self, until: Time) {
        self.intake().said = until;
    }

    /// Up to when everything that this node took is stored, as it last said.
    pub(crate) fn until(&self) -> Time {
        self.intake().said
    }

    /// What is kept for rules, as a digest.
    pub(super) fn wants(&self) -> String {
        let text = format!("{:?}", self.intake().wants);
        secrets::digest(text).to_string()
    }
}
