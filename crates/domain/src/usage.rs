//! How shipped devices are used, day by day: how many were there and for how long, how often they were switched, and
//! which firmware they run. Days are those of UTC.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::id::DeviceId;
use crate::time::{Span, Time};

/// How the devices were used on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Which day, counted from 1970.
    pub day: i64,
    /// How many devices there were.
    pub devices: i64,
    /// How many of them were online, if only for a moment.
    pub active: i64,
    /// For how long all of them together.
    pub online: Span,
    /// How often a boolean that a device reports was another than before.
    pub switches: i64,
    /// How many devices said they run which firmware, by its version, at the end of the day.
    pub firmware: Vec<(String, i64)>,
}

/// A device came online or went offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// Which.
    pub device: DeviceId,
    /// When.
    pub at: Time,
    /// Whether it is online from then on.
    pub online: bool,
}

/// The day of a moment, counted from 1970.
pub fn day_of(time: Time) -> i64 {
    time.0.div_euclid(Span::days(1).0)
}

/// When a day begins.
pub fn begin_of(day: i64) -> Time {
    Time(day.saturating_mul(Span::days(1).0))
}

/// How many devices were online between two moments, and for how long all together. `came` is all that is known
/// since `from`, oldest first, until now; `online` are those that are online now.
pub fn presence(from: Time, to: Time, online: &HashSet<DeviceId>, came: &[Came]) -> (i64, Span) {
    let mut by_device: HashMap<DeviceId, Vec<Came>> = HashMap::new();
    for device in online {
        by_device.entry(*device).or_default();
    }
    for one in came {
        by_device.entry(one.device).or_default().push(*one);
    }
    let mut active = 0;
    let mut total = Span(0);
    for (device, came) in by_device {
        // Before its first change it was what it changed from; without one it is as it is now.
        let mut is_online = came.first().map_or_else(|| online.contains(&device), |first| !first.online);
        let mut since = from;
        let mut was_online = false;
        let mut for_long = Span(0);
        for one in came.iter().take_while(|one| one.at < to) {
            if is_online {
                for_long = Span(for_long.0 + (one.at - since).0.max(0));
            }
            was_online |= is_online || one.online;
            (is_online, since) = (one.online, one.at.max(from));
        }
        if is_online {
            for_long = Span(for_long.0 + (to - since).0.max(0));
            was_online = true;
        }
        active += i64::from(was_online);
        total = Span(total.0 + for_long.0);
    }
    (active, total)
}

/// How many booleans of a report are another than in the one before it.
pub fn switches(before: &Map<String, Value>, after: &Map<String, Value>) -> i64 {
    let is_switched = |(name, value): &(&String, &Value)| {
        value.is_boolean() && before.get(*name).is_some_and(|before| before.is_boolean() && before != *value)
    };
    i64::try_from(after.iter().filter(is_switched).count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: i64 = 20_000;

    fn device(number: u128) -> DeviceId {
        DeviceId::from_parts(1, number)
    }

    fn at(hour: i64) -> Time {
        begin_of(DAY) + Span::minutes(60 * hour)
    }

    fn came(number: u128, hour: i64, online: bool) -> Came {
        Came { device: device(number), at: at(hour), online }
    }

    #[test]
    fn online_time_is_counted_within_the_day_whatever_was_before_and_after() {
        let hours = |online: &[u128], came: &[Came]| {
            let online = online.iter().map(|number| device(*number)).collect();
            let (active, span) = presence(at(0), at(24), &online, came);
            (active, span.0 / Span::minutes(60).0)
        };
        assert_eq!(hours(&[], &[]), (0, 0));
        assert_eq!(hours(&[1], &[]), (1, 24), "all day and still");
        assert_eq!(hours(&[], &[came(1, 6, false)]), (1, 6), "since before");
        assert_eq!(hours(&[1], &[came(1, 20, true)]), (1, 4));
        assert_eq!(hours(&[], &[came(1, 2, true), came(1, 5, false)]), (1, 3));
        assert_eq!(hours(&[1], &[came(1, 2, true), came(1, 5, true)]), (1, 22), "said twice");
        assert_eq!(hours(&[1], &[came(1, 30, true)]), (0, 0), "came the day after");
        assert_eq!(hours(&[], &[came(1, 30, false)]), (1, 24), "went the day after");
        assert_eq!(hours(&[2], &[came(1, 6, false)]), (2, 30), "of all together");
    }

    #[test]
    fn switches_are_booleans_that_differ_from_before() {
        let count =
            |before: Value, after: Value| switches(before.as_object().unwrap(), after.as_object().unwrap());
        assert_eq!(count(json!({}), json!({ "on": true })), 0, "it was not known before");
        assert_eq!(count(json!({ "on": false, "level": 3 }), json!({ "on": true, "level": 4 })), 1);
        assert_eq!(count(json!({ "on": true, "fan": true }), json!({ "on": false, "fan": false })), 2);
        assert_eq!(count(json!({ "on": true }), json!({ "on": true })), 0);
    }

    #[test]
    fn a_day_is_one_of_utc() {
        assert_eq!(day_of(begin_of(DAY)), DAY);
        assert_eq!(day_of(begin_of(DAY) - Span(1)), DAY - 1);
        assert_eq!(day_of(Time(-1)), -1);
    }
}
