//! What rules are told of a device, and what is known of it from that.

use std::collections::BTreeMap;

use serde_json::Value;

use super::LATE_MAX;
use crate::device::Reach;
use crate::expression::same;
use crate::telemetry::Metric;
use crate::time::{Span, Time};

/// How many values of one moment are told apart.
const VALUES_PER_TIME_MAX: usize = 16;

/// Something that the hub took.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// When the hub took it.
    pub at: Time,
    /// What.
    pub said: Said,
}

/// What the hub took.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It came, it went, or its gateway did.
    Presence(Reach),
    /// Its shadow without a name is this now.
    Shadow {
        /// What is desired; an object.
        desired: Value,
        /// What is reported; an object.
        reported: Value,
        /// Whether the device itself said so.
        by_device: bool,
    },
    /// Something happened at it.
    Event {
        /// What.
        name: String,
        /// With what.
        data: Value,
    },
    /// It measured something.
    Point {
        /// What.
        metric: Metric,
        /// When, as it is stored.
        time: Time,
        /// How much.
        value: Value,
    },
}

/// What is known of a device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// What it is, as conditions see it: id, name, tags.
    pub device: Value,
    /// When it was registered.
    pub created_at: Time,
    /// The newest point of each metric that somebody looks at.
    pub metrics: BTreeMap<Metric, Latest>,
    /// What is desired of it; null if nothing ever was.
    pub desired: Value,
    /// What it reports; null if it never did.
    pub reported: Value,
    /// Whether it is there, if it ever was.
    pub reach: Option<Reach>,
    /// When it last said something.
    pub heard_at: Option<Time>,
}

/// The newest point of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// When it was measured.
    pub time: Time,
    /// When the hub took it.
    pub at: Time,
    /// How much.
    pub value: Value,
    /// How much the point before was.
    pub previous: Option<Value>,
    /// The values of this moment: a device may repeat them.
    seen: Vec<Value>,
}

/// What is new by a signal.
#[derive(Debug, Clone, PartialEq)]
pub enum Fresh {
    /// It is not as it was.
    Presence(Reach),
    /// The shadow was like this before: desired and reported.
    Shadow(Value, Value),
    /// An event, with its data.
    Event(String, Value),
    /// A newer point.
    Point(Metric),
}

impl Signal {
    /// The order in which rules are told of what the hub took at the same millisecond.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |said: &Said| match said {
            Said::Presence(_) => 0,
            Said::Shadow { .. } => 1,
            Said::Event { .. } => 2,
            Said::Point { .. } => 3,
        };
        let by_point = || match (&self.said, &other.said) {
            (
                Said::Point { metric, time, value },
                Said::Point { metric: other_metric, time: other_time, value: other_value },
            ) => (time, metric).cmp(&(other_time, other_metric)).then_with(|| by_value(value, other_value)),
            // Of one kind and millisecond: as they were written. The sort is stable.
            _ => std::cmp::Ordering::Equal,
        };
        self.at.cmp(&other.at).then_with(|| rank(&self.said).cmp(&rank(&other.said))).then_with(by_point)
    }
}

fn by_value(one: &Value, other: &Value) -> std::cmp::Ordering {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one.to_string().cmp(&other.to_string()),
    }
}

impl Known {
    /// Takes a signal. `None` if it says nothing new: a point that is older than the newest, or the same again.
    pub fn take(&mut self, signal: &Signal) -> Option<Fresh> {
        let at = signal.at;
        let fresh = match &signal.said {
            Said::Presence(reach) => {
                if *reach == Reach::Online {
                    self.heard_at = Some(at);
                }
                let before = self.reach.replace(*reach);
                return (before != Some(*reach)).then_some(Fresh::Presence(*reach));
            }
            Said::Shadow { desired, reported, by_device } => {
                let desired = std::mem::replace(&mut self.desired, desired.clone());
                let reported = std::mem::replace(&mut self.reported, reported.clone());
                if *by_device {
                    self.heard_at = Some(at);
                }
                return Some(Fresh::Shadow(desired, reported));
            }
            Said::Event { name, data } => Fresh::Event(name.clone(), data.clone()),
            Said::Point { metric, time, value } => {
                if at - *time > LATE_MAX || !self.measured(metric, *time, value, at) {
                    return None;
                }
                Fresh::Point(metric.clone())
            }
        };
        self.heard_at = Some(at);
        Some(fresh)
    }

    /// Whether a point is news. The store keeps equal points once, whichever came first, so an equal one is none.
    fn measured(&mut self, metric: &Metric, time: Time, value: &Value, at: Time) -> bool {
        let Some(latest) = self.metrics.get_mut(metric) else {
            let latest = Latest { time, at, value: value.clone(), previous: None, seen: vec![value.clone()] };
            self.metrics.insert(metric.clone(), latest);
            return true;
        };
        let is_known = || latest.seen.iter().any(|seen| same(seen, value));
        if time < latest.time
            || (time == latest.time && (latest.seen.len() >= VALUES_PER_TIME_MAX || is_known()))
        {
            return false;
        }
        if time > latest.time {
            latest.seen.clear();
        }
        latest.seen.push(value.clone());
        latest.previous = Some(std::mem::replace(&mut latest.value, value.clone()));
        (latest.time, latest.at) = (time, at);
        true
    }

    /// How long the newest point of a metric was on its way.
    pub(super) fn lag(&self, metric: &Metric) -> Span {
        self.metrics.get(metric).map_or(Span(0), |latest| Span((latest.at - latest.time).0.max(0)))
    }
}
