//! What a rule does with what it is told of one device. The same code runs live and in a replay.
//!
//! Who drives it tells it signals in their order ([`Signal::order`]), and before each signal everything that is due
//! until then ([`State::due`], [`tick`]). Times are those at which the hub took something; how long a condition holds
//! is measured by the clock of the device where points have one.
//!
//! [`Signal::order`]: super::Signal::order

use serde_json::{Map, Value, json};

use super::{Condition, Deed, FIRINGS_PER_MINUTE_MAX, Firing, Fresh, Known, Meaning, Section, When};
use crate::device::Reach;
use crate::expression::hub::{Name, Scope};
use crate::expression::same;
use crate::id::DeviceId;
use crate::telemetry::Metric;
use crate::time::{Span, Time};

const MINUTE_MS: i64 = 60_000;

/// How a rule stands with one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Since when it looks: since it is on, or since the hub started.
    pub begun: Time,
    /// Behind this, the next moment of its schedule.
    pub from: Time,
    /// How far it is.
    pub phase: Phase,
    /// When it last fired.
    pub fired_at: Option<Time>,
    /// The minute since 1970 in which it last fired, and how often it did.
    pub minute: (i64, u32),
}

/// How far a rule is with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is the matter.
    Idle,
    /// Its condition holds since then, not long enough yet.
    Pending(Time),
    /// It fired; its condition holds since then.
    Active(Time),
}

/// What came of telling a rule something.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// It fired.
    pub firing: Option<Box<Firing>>,
    /// What it fired for is over.
    pub ended: bool,
    /// It could not be decided, or it fires too often.
    pub error: Option<String>,
}

impl State {
    /// A rule begins to look.
    pub fn new(begun: Time) -> Self {
        Self { begun, from: begun - Span(1), phase: Phase::Idle, fired_at: None, minute: (0, 0) }
    }

    /// The hub was off, and is there again: what nobody heard meanwhile is no silence, and schedules do not catch up.
    pub fn woke(&mut self, at: Time) {
        self.begun = self.begun.max(at);
        self.from = self.from.max(at - Span(1));
    }

    /// When something is to be done if nothing is said before.
    pub fn due(&self, meaning: &Meaning, known: &Known) -> Option<Time> {
        match (&meaning.when, self.phase) {
            (When::Schedule(schedule), _) => schedule.after(self.from),
            (When::Absence(metric, after), Phase::Idle) => {
                let heard = match metric {
                    Some(metric) => known.metrics.get(metric).map(|latest| latest.at),
                    None => known.heard_at,
                };
                let since = heard.unwrap_or(Time(0)).max(self.begun).max(known.created_at);
                Some((since + *after).max(self.not_before(meaning)))
            }
            (_, Phase::Pending(since)) => {
                let lag = match &meaning.when {
                    When::Metric(metric) => known.lag(metric),
                    _ => Span(0),
                };
                Some((since + meaning.hold + lag).max(self.not_before(meaning)))
            }
            (_, Phase::Idle | Phase::Active(_)) => None,
        }
    }

    /// From when on it may fire again.
    fn not_before(&self, meaning: &Meaning) -> Time {
        let quiet = self.fired_at.map_or(Time(i64::MIN), |at| at + meaning.quiet);
        match self.minute.1 >= FIRINGS_PER_MINUTE_MAX {
            true => quiet.max(Time((self.minute.0 + 1).saturating_mul(MINUTE_MS))),
            false => quiet,
        }
    }
}

/// A state for the store.
pub fn state_to_json(state: &State) -> Value {
    let (phase, since) = match state.phase {
        Phase::Idle => ("idle", None),
        Phase::Pending(since) => ("pending", Some(since.0)),
        Phase::Active(since) => ("active", Some(since.0)),
    };
    json!({
        "begun": state.begun.0, "from": state.from.0, "phase": phase, "since": since,
        "fired_at": state.fired_at.map(|at| at.0), "minute": state.minute.0, "in_minute": state.minute.1,
    })
}

/// What [`state_to_json`] wrote.
pub fn state_from_json(value: &Value) -> Option<State> {
    let time = |name: &str| value[name].as_i64().map(Time);
    let phase = match value["phase"].as_str()? {
        "idle" => Phase::Idle,
        "pending" => Phase::Pending(time("since")?),
        "active" => Phase::Active(time("since")?),
        _ => return None,
    };
    let in_minute = u32::try_from(value["in_minute"].as_i64()?).ok()?;
    let minute = (value["minute"].as_i64()?, in_minute);
    Some(State { begun: time("begun")?, from: time("from")?, phase, fired_at: time("fired_at"), minute })
}

/// A rule, with the device that it looks at.
#[derive(Clone, Copy)]
pub struct Looking<'a> {
    /// What the rule does.
    pub meaning: &'a Meaning,
    /// At which device; none for a schedule without devices.
    pub device: Option<DeviceId>,
    /// What is known of it, what came included.
    pub known: &'a Known,
    /// When.
    pub at: Time,
}

/// Tells a rule what is new.
pub fn take(looking: Looking<'_>, state: &mut State, fresh: &Fresh) -> Outcome {
    let Looking { meaning, known, at, .. } = looking;
    match (&meaning.when, fresh) {
        (When::Metric(metric), Fresh::Point(of)) if metric == of => match meaning.condition {
            Some(_) => {
                let measured = known.metrics.get(metric).map_or(at, |latest| latest.time.min(at));
                looking.lasting(state, true, measured)
            }
            None => looking.momentary(state, &looking.came(None), Value::Null),
        },
        (When::State(section, path), Fresh::Shadow(desired, reported)) => {
            let (before, now) = match section {
                Section::Desired => (at_path(desired, path), at_path(&known.desired, path)),
                Section::Reported => (at_path(reported, path), at_path(&known.reported, path)),
            };
            match same(before, now) {
                true => Outcome::default(),
                false if meaning.condition.is_some() => looking.lasting(state, true, at),
                false => looking.momentary(state, &looking.came(None), Value::Null),
            }
        }
        (When::Presence(reach), Fresh::Presence(is)) => looking.lasting(state, reach == is, at),
        (When::Event(name), Fresh::Event(of, data)) if name.as_ref().is_none_or(|name| name == of) => {
            let event = json!({ "name": of, "data": data });
            looking.momentary(state, &looking.came(Some(&event)), event)
        }
        (When::Absence(metric, _), fresh) => {
            let is_sign = match (metric, fresh) {
                (Some(metric), Fresh::Point(of)) => metric == of,
                (Some(_), _) => false,
                (None, Fresh::Presence(reach)) => *reach == Reach::Online,
                (None, _) => known.heard_at == Some(at),
            };
            let ended = is_sign && matches!(state.phase, Phase::Active(_));
            if ended {
                state.phase = Phase::Idle;
            }
            Outcome { ended, ..Outcome::default() }
        }
        _ => Outcome::default(),
    }
}

/// What was due is done.
pub fn tick(looking: Looking<'_>, state: &mut State) -> Outcome {
    let came = looking.came(None);
    match (&looking.meaning.when, state.phase) {
        (When::Schedule(_), _) => {
            state.from = looking.at;
            looking.momentary(state, &came, Value::Null)
        }
        (When::Absence(_, after), Phase::Idle) => {
            let since = looking.at - *after;
            state.phase = Phase::Active(since);
            match looking.judged(looking.meaning.condition.as_ref()) {
                Ok(true) => looking.fire(state, &came, Some(since), Value::Null),
                Ok(false) => Outcome::default(),
                Err(error) => Outcome { error: Some(error), ..Outcome::default() },
            }
        }
        (_, Phase::Pending(since)) => {
            state.phase = Phase::Active(since);
            looking.fire(state, &came, Some(since), Value::Null)
        }
        (_, Phase::Idle | Phase::Active(_)) => Outcome::default(),
    }
}

impl Looking<'_> {
    /// What lasts is true or false now; `measured`: since when, if it is new.
    fn lasting(self, state: &mut State, is_there: bool, measured: Time) -> Outcome {
        let over = match (state.phase, &self.meaning.until) {
            (Phase::Active(_), Some(until)) => Some(self.judged(Some(until))),
            _ => None,
        };
        let judged = match over {
            Some(over) => over.map(|is_over| !is_over),
            None if is_there => self.judged(self.meaning.condition.as_ref()),
            None => Ok(false),
        };
        let holds = match judged {
            Ok(holds) => holds,
            // It is not known: it stays as it is.
            Err(error) => return Outcome { error: Some(error), ..Outcome::default() },
        };
        match (state.phase, holds) {
            (Phase::Idle, true) => state.phase = Phase::Pending(measured),
            (Phase::Idle, false) | (Phase::Active(_), true) | (Phase::Pending(_), true) => {}
            (Phase::Pending(_), false) => state.phase = Phase::Idle,
            (Phase::Active(_), false) => {
                state.phase = Phase::Idle;
                return Outcome { ended: true, ..Outcome::default() };
            }
        }
        let Phase::Pending(since) = state.phase else { return Outcome::default() };
        let may_fire = self.at >= state.not_before(self.meaning);
        if measured - since >= self.meaning.hold && may_fire {
            state.phase = Phase::Active(since);
            return self.fire(state, &self.came(None), Some(since), Value::Null);
        }
        Outcome::default()
    }

    fn momentary(self, state: &mut State, came: &Value, event: Value) -> Outcome {
        let scope = self.scope(event.clone());
        let judged = self.meaning.condition.as_ref().map_or(Ok(true), |condition| condition.holds(&scope));
        match judged.map_err(|why| format!("condition: {why}")) {
            Ok(true) if self.at >= state.not_before(self.meaning) => self.fire(state, came, None, event),
            Ok(true) if state.minute == (self.minute(), FIRINGS_PER_MINUTE_MAX) => {
                Outcome { error: Some(too_often()), ..Outcome::default() }
            }
            Ok(_) => Outcome::default(),
            Err(error) => Outcome { error: Some(error), ..Outcome::default() },
        }
    }

    fn fire(self, state: &mut State, came: &Value, since: Option<Time>, event: Value) -> Outcome {
        let minute = self.minute();
        state.minute = match state.minute {
            (of, count) if of == minute => (minute, count.saturating_add(1)),
            _ => (minute, 1),
        };
        state.fired_at = Some(self.at);
        let scope = self.scope(event);
        let deeds: Vec<Deed> = self.meaning.actions.iter().map(|action| Deed::of(action, &scope)).collect();
        let looked_at: Map<String, Value> = self
            .meaning
            .wants
            .metrics
            .iter()
            .filter_map(|metric| {
                let latest = self.known.metrics.get(metric)?;
                Some((metric.as_str().to_owned(), latest.value.clone()))
            })
            .collect();
        let trace = json!({
            "came": came,
            "previous": scope.previous,
            "condition": self.meaning.condition.as_ref().map(|condition| condition.text()),
            "metrics": looked_at,
            "since": since.map(|since| since.0),
            "actions": deeds.iter().map(Deed::to_json).collect::<Vec<_>>(),
        });
        let firing = Firing { device: self.device, at: self.at, trace, deeds };
        let error = (state.minute.1 == FIRINGS_PER_MINUTE_MAX).then(too_often);
        Outcome { firing: Some(Box::new(firing)), ended: false, error }
    }

    fn minute(self) -> i64 {
        self.at.0.div_euclid(MINUTE_MS)
    }

    fn judged(self, condition: Option<&Condition>) -> Result<bool, String> {
        let Some(condition) = condition else { return Ok(true) };
        condition.holds(&self.scope(Value::Null)).map_err(|why| format!("condition: {why}"))
    }

    /// What came, for the trace.
    fn came(self, event: Option<&Value>) -> Value {
        let known = self.known;
        match &self.meaning.when {
            When::Metric(metric) => {
                let latest = known.metrics.get(metric);
                let (time, value) = (latest.map(|it| it.time.0), latest.map(|it| &it.value));
                json!({ "kind": "point", "metric": metric.as_str(), "time": time, "value": value })
            }
            When::State(section, path) => {
                let (word, document) = match section {
                    Section::Desired => ("desired", &known.desired),
                    Section::Reported => ("reported", &known.reported),
                };
                let path: Vec<&str> = std::iter::once(word).chain(path.iter().map(String::as_str)).collect();
                json!({ "kind": "state", "path": path.join("."), "value": at_path(document, &path[1..]) })
            }
            When::Absence(metric, after) => {
                let metric = metric.as_ref().map(Metric::as_str);
                json!({ "kind": "absence", "metric": metric, "for_s": after.0 / 1000 })
            }
            When::Presence(reach) => json!({ "kind": "presence", "reach": reach.as_str() }),
            When::Schedule(_) => json!({ "kind": "schedule" }),
            When::Event(_) => match event {
                Some(event) => json!({ "kind": "event", "name": event["name"], "data": event["data"] }),
                None => json!({ "kind": "event" }),
            },
        }
    }
}

impl<'a> Looking<'a> {
    fn scope(self, event: Value) -> View<'a> {
        let known = self.known;
        let (value, previous) = match &self.meaning.when {
            When::Metric(metric) => match known.metrics.get(metric) {
                Some(latest) => (latest.value.clone(), latest.previous.clone().unwrap_or_default()),
                None => (Value::Null, Value::Null),
            },
            When::State(section, path) => {
                let document = match section {
                    Section::Desired => &known.desired,
                    Section::Reported => &known.reported,
                };
                (at_path(document, path).clone(), Value::Null)
            }
            When::Presence(_) => {
                (known.reach.map_or(Value::Null, |reach| reach.as_str().into()), Value::Null)
            }
            When::Event(_) => (event["data"].clone(), Value::Null),
            When::Absence(..) | When::Schedule(_) => (Value::Null, Value::Null),
        };
        View { value, previous, event, now: self.at.0.into(), known }
    }
}

/// What an expression of a rule sees.
struct View<'a> {
    value: Value,
    previous: Value,
    event: Value,
    now: Value,
    known: &'a Known,
}

impl Scope for View<'_> {
    fn value(&self) -> &Value {
        &self.value
    }
    fn name(&self, name: Name) -> &Value {
        match name {
            Name::Previous => &self.previous,
            Name::Device => &self.known.device,
            Name::Reported => &self.known.reported,
            Name::Desired => &self.known.desired,
            Name::Event => &self.event,
            Name::Now => &self.now,
        }
    }
    fn metric(&self, name: &str) -> Option<&Value> {
        let metric = Metric::parse(name).ok()?;
        self.known.metrics.get(&metric).map(|latest| &latest.value)
    }
}

fn too_often() -> String {
    format!(
        "it fired {FIRINGS_PER_MINUTE_MAX} times within a minute for one device and is held up until the next minute: \
         does it set off itself? give it a condition or a time to be quiet"
    )
}

fn at_path<'a>(document: &'a Value, path: &[impl AsRef<str>]) -> &'a Value {
    path.iter().try_fold(document, |part, name| part.get(name.as_ref())).unwrap_or(&Value::Null)
}
