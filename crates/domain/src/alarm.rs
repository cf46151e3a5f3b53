//! Alarms: what a rule raised, until it is cleared. A rule has at most one alarm at a time for a device that is not
//! cleared; those that are cleared are its history.

use serde_json::{Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{AlarmId, DeviceId, RuleId};
use crate::rejection::Rejection;
use crate::time::Time;

/// Longest message of an alarm in characters.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act now.
    Critical,
}

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// Nobody has seen it yet.
    Raised,
    /// Somebody takes care of it.
    Acknowledged,
    /// It is over.
    Cleared,
}

/// What a rule raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Its id.
    pub id: AlarmId,
    /// The rule that raised it; it may be gone.
    pub rule: RuleId,
    /// The name of the rule then.
    pub rule_name: String,
    /// For which device; none if it is about no device.
    pub device: Option<DeviceId>,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter, for people.
    pub message: String,
    /// The value that the rule looked at when it raised the alarm.
    pub value: Option<Value>,
    /// Where it stands.
    pub state: AlarmState,
    /// When it was raised.
    pub raised_at: Time,
    /// When somebody acknowledged it.
    pub acknowledged_at: Option<Time>,
    /// Who, by name.
    pub acknowledged_by: Option<String>,
    /// When it was cleared.
    pub cleared_at: Option<Time>,
    /// By whom, by name: the rule itself, or a person.
    pub cleared_by: Option<String>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

impl Severity {
    /// Every severity, the least bad first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];
    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
    /// A severity by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

impl AlarmState {
    /// Every state, in their order.
    pub const ALL: [Self; 3] = [Self::Raised, Self::Acknowledged, Self::Cleared];
    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Cleared => "cleared",
        }
    }
    /// A state by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An alarm is raised.
pub fn raise(alarm: Alarm, actor: &Actor) -> Effects {
    let after =
        json!({ "severity": alarm.severity.as_str(), "message": alarm.message, "value": alarm.value });
    let change = fact(ChangeKind::AlarmRaised, &alarm, actor, None, after);
    saving(alarm, change)
}

/// Somebody has seen an alarm and takes care of it. One that is acknowledged already stays as it is.
///
/// # Errors
/// `conflict` if it is cleared.
pub fn acknowledge(alarm: &Alarm, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    match alarm.state {
        AlarmState::Acknowledged => Ok(Effects::none()),
        AlarmState::Cleared => Err(Rejection::conflict("conflict", "the alarm is cleared already")),
        AlarmState::Raised => {
            let seen = Alarm {
                state: AlarmState::Acknowledged,
                acknowledged_at: Some(now),
                acknowledged_by: Some(actor.name().to_owned()),
                revision: alarm.revision + 1,
                ..alarm.clone()
            };
            let change = moved(ChangeKind::AlarmAcknowledged, alarm, &seen, actor);
            Ok(saving(seen, change))
        }
    }
}

/// An alarm is over. One that is cleared already stays as it is.
pub fn clear(alarm: &Alarm, actor: &Actor, now: Time) -> Effects {
    if alarm.state == AlarmState::Cleared {
        return Effects::none();
    }
    let cleared = Alarm {
        state: AlarmState::Cleared,
        cleared_at: Some(now),
        cleared_by: Some(actor.name().to_owned()),
        revision: alarm.revision + 1,
        ..alarm.clone()
    };
    let change = moved(ChangeKind::AlarmCleared, alarm, &cleared, actor);
    saving(cleared, change)
}

fn saving(alarm: Alarm, change: Change) -> Effects {
    Effects { save: vec![Save::Alarm(Box::new(alarm))], changes: vec![change], ..Effects::none() }
}

fn moved(kind: ChangeKind, before: &Alarm, after: &Alarm, actor: &Actor) -> Change {
    let was = Some(json!({ "state": before.state.as_str() }));
    fact(kind, after, actor, was, json!({ "state": after.state.as_str() }))
}

fn fact(kind: ChangeKind, alarm: &Alarm, actor: &Actor, before: Option<Value>, after: Value) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: alarm.id.to_string(),
        subject_name: alarm.rule_name.clone(),
        device: alarm.device,
        before,
        after: Some(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_acknowledged_and_cleared_once() {
        let alarm = Alarm {
            id: AlarmId::from_parts(1, 1),
            rule: RuleId::from_parts(1, 2),
            rule_name: "Frost".to_owned(),
            device: None,
            severity: Severity::Warning,
            message: "cold".to_owned(),
            value: Some(json!(-1)),
            state: AlarmState::Raised,
            raised_at: Time(5),
            acknowledged_at: None,
            acknowledged_by: None,
            cleared_at: None,
            cleared_by: None,
            revision: 1,
        };
        let ada = Actor::User("ada".to_owned());
        let saved = |effects: Effects| match effects.save.into_iter().next() {
            Some(Save::Alarm(alarm)) => *alarm,
            other => panic!("no alarm was saved: {other:?}"),
        };
        let seen = saved(acknowledge(&alarm, &ada, Time(7)).unwrap());
        assert_eq!((seen.acknowledged_at, seen.acknowledged_by.as_deref()), (Some(Time(7)), Some("ada")));
        assert_eq!(acknowledge(&seen, &ada, Time(8)), Ok(Effects::none()), "once is enough");
        let cleared = saved(clear(&seen, &Actor::System, Time(9)));
        assert_eq!((cleared.cleared_at, cleared.revision), (Some(Time(9)), 3));
        assert_eq!(clear(&cleared, &ada, Time(10)), Effects::none());
        assert!(acknowledge(&cleared, &ada, Time(10)).is_err());
    }
}
