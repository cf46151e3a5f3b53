//! Measurements: a point is a metric, a time and a value; a series is the points of one metric of one device.

use crate::rejection::Rejection;
use crate::time::{Span, Time};

/// Longest metric name in bytes.
pub const METRIC_BYTES_MAX: usize = 64;
/// Longest text or JSON value in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most points in one message.
pub const POINTS_PER_MESSAGE_MAX: usize = 1000;
/// Earliest device time that is accepted: 2000-01-01 UTC. A board without a clock sends no time at all.
pub const TIME_MIN: Time = Time(946_684_800_000);
/// How far a device's clock may be ahead of ours.
pub const TIME_AHEAD_MAX: Span = Span::days(1);

/// The name of a metric: 1 to 64 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metric(String);

impl Metric {
    /// Checks a metric name.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        if text.is_empty() || text.len() > METRIC_BYTES_MAX {
            return Err(Rejection::invalid("metric", format!("a name has 1 to {METRIC_BYTES_MAX} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(Rejection::invalid("metric", "a name has no control characters"));
        }
        Ok(Self(text.to_owned()))
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum PointValue {
    /// A finite number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text without NUL, at most [`VALUE_BYTES_MAX`] bytes.
    Text(String),
    /// An object or array as compact JSON text, at most [`VALUE_BYTES_MAX`] bytes.
    Json(String),
}

impl PointValue {
    /// A value out of JSON; `null` is no value.
    pub fn from_json(json: &serde_json::Value) -> Result<Option<Self>, Rejection> {
        use serde_json::Value;
        let value = match json {
            Value::Null => return Ok(None),
            Value::Bool(b) => Self::Boolean(*b),
            Value::Number(n) => match n.as_f64() {
                Some(n) if n.is_finite() => Self::Number(n),
                _ => return Err(Rejection::invalid("value", "a number is finite and fits 64 bits")),
            },
            Value::String(text) => {
                if text.contains('\0') {
                    return Err(Rejection::invalid("value", "a text has no NUL character"));
                }
                Self::Text(text.clone())
            }
            Value::Array(_) | Value::Object(_) => Self::Json(json.to_string()),
        };
        match &value {
            Self::Text(text) | Self::Json(text) if text.len() > VALUE_BYTES_MAX => Err(Rejection::too_large(
                "value",
                format!("a text or JSON value has at most {VALUE_BYTES_MAX} bytes"),
            )),
            _ => Ok(Some(value)),
        }
    }

    /// The value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => serde_json::Value::from(*n as i64),
            Self::Number(n) => serde_json::Value::from(*n),
            Self::Boolean(b) => serde_json::Value::from(*b),
            Self::Text(text) => serde_json::Value::from(text.as_str()),
            Self::Json(text) => serde_json::from_str(text).unwrap_or(serde_json::Value::Null),
        }
    }
}

/// When a point was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// By the clock of the device.
    At(Time),
    /// So long before its message arrived for the first time: the device has no clock, or a wrong one.
    Before(Span),
}

impl When {
    /// The device said nothing: the time of arrival counts.
    pub const ARRIVAL: When = When::Before(Span(0));

    /// The time, for a message that arrived for the first time then.
    pub fn for_arrival(self, arrived: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Before(span) => arrived - span,
        }
    }
}

/// One measurement as a device sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which metric.
    pub metric: Metric,
    /// When it was measured.
    pub time: When,
    /// What was measured.
    pub value: PointValue,
}

/// Whether a clock that says `time` may be right.
pub fn is_plausible(time: Time, now: Time) -> bool {
    time >= TIME_MIN && time <= now + TIME_AHEAD_MAX
}

/// Refuses a message with too many points, and mends the times of a clock that is wrong: what is before 2000 or more
/// than a day ahead. The newest such point gets the time of arrival, as if it had none; earlier ones keep their
/// distance from it. Returns what was mended, in words, if anything was.
pub fn mend(points: &mut [Point], now: Time) -> Result<Option<String>, Rejection> {
    if points.len() > POINTS_PER_MESSAGE_MAX {
        return Err(Rejection::too_large(
            "telemetry",
            format!("a message has at most {POINTS_PER_MESSAGE_MAX} points"),
        ));
    }
    let is_wrong = |time: Time| !is_plausible(time, now);
    let wrong = points.iter().filter_map(|point| match point.time {
        When::At(time) => Some(time).filter(|time| is_wrong(*time)),
        When::Before(_) => None,
    });
    let Some(newest) = wrong.max() else { return Ok(None) };
    for point in points.iter_mut() {
        if let When::At(time) = point.time
            && is_wrong(time)
        {
            let before = newest - time;
            let is_near = before.0 > 0 && before <= TIME_AHEAD_MAX;
            point.time = if is_near { When::Before(before) } else { When::ARRIVAL };
        }
    }
    Ok(Some(format!(
        "the device says it is {}, which is before 2000 or more than a day ahead; its points got the time of \
         their arrival",
        newest.0
    )))
}

/// Widths of buckets below a day, in milliseconds; each fits into a day a whole number of times.
const WIDTHS: [i64; 27] = {
    let (second, minute, hour) = (1_000, 60_000, 3_600_000);
    [
        1,
        2,
        5,
        10,
        20,
        50,
        100,
        200,
        500,
        second,
        2 * second,
        5 * second,
        10 * second,
        15 * second,
        30 * second,
        minute,
        2 * minute,
        5 * minute,
        10 * minute,
        15 * minute,
        30 * minute,
        hour,
        2 * hour,
        3 * hour,
        4 * hour,
        6 * hour,
        12 * hour,
    ]
};
const DAY_MS: i64 = 86_400_000;

/// The least handy width in milliseconds of buckets that begin at its multiples since 1970, so that at most
/// `buckets` of them (2 are needed wherever a range lies) cover `from..to`. From a day on, whole days.
pub fn bucket_width(from: Time, to: Time, buckets: usize) -> i64 {
    let buckets = i128::try_from(buckets.max(2)).unwrap_or(i128::MAX);
    let (from, last) = (i128::from(from.0), i128::from(to.0) - 1);
    let fits = |width: i64| {
        let width = i128::from(width);
        last.div_euclid(width) - from.div_euclid(width) < buckets
    };
    if let Some(width) = WIDTHS.into_iter().find(|width| fits(*width)) {
        return width;
    }
    let days = ((last - from) / i128::from(DAY_MS) / buckets).max(1);
    let days = i64::try_from(days).unwrap_or(i64::MAX / DAY_MS);
    // One or two more may be needed, since the first and the last bucket are cut.
    (days..days.saturating_add(3))
        .map(|days| days.saturating_mul(DAY_MS))
        .find(|width| fits(*width))
        .unwrap_or(i64::MAX / DAY_MS * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    const fn at(time: i64) -> When {
        When::At(Time(time))
    }

    fn mended(times: &[When]) -> (Vec<When>, bool) {
        let point = |time: &When| Point {
            metric: Metric::parse("t").unwrap(),
            time: *time,
            value: PointValue::Number(1.0),
        };
        let mut points: Vec<Point> = times.iter().map(point).collect();
        let said = mend(&mut points, NOW).unwrap().is_some();
        (points.iter().map(|point| point.time).collect(), said)
    }

    #[test]
    fn a_clock_that_is_wrong_by_years_is_mended_and_said() {
        let now = NOW.0;
        let cases = [
            (vec![When::ARRIVAL, at(now - 5)], vec![When::ARRIVAL, at(now - 5)], false),
            (vec![at(1000)], vec![When::ARRIVAL], true),
            (vec![at(now * 2)], vec![When::ARRIVAL], true),
            (
                vec![at(1000), at(61_000), at(31_000)],
                vec![When::Before(Span(60_000)), When::ARRIVAL, When::Before(Span(30_000))],
                true,
            ),
            (vec![at(0), at(now * 2), at(now)], vec![When::ARRIVAL, When::ARRIVAL, at(now)], true),
            (vec![at(i64::MIN), at(i64::MAX)], vec![When::ARRIVAL, When::ARRIVAL], true),
        ];
        for (times, expected, said) in cases {
            assert_eq!(mended(&times), (expected, said), "{times:?}");
        }
    }

    #[test]
    fn buckets_are_handy_and_no_more_than_asked() {
        let year = 365 * DAY_MS;
        assert_eq!(bucket_width(Time(0), Time(year), 1000), DAY_MS / 2);
        assert_eq!(bucket_width(Time(0), Time(year), 100), 4 * DAY_MS);
        assert_eq!(bucket_width(Time(0), Time(3_600_000), 60), 60_000);
        assert_eq!(bucket_width(Time(1), Time(3_600_001), 60), 120_000, "it would touch 61 minutes");
        assert_eq!(bucket_width(Time(5), Time(5), 1000), 1);
        for (from, to) in
            [(0, year), (-7, 11), (i64::MIN / 4, i64::MAX / 4), (1_763_690_400_001, 1_795_226_400_001)]
        {
            for buckets in [2, 3, 10, 999, 5000] {
                let width = i128::from(bucket_width(Time(from), Time(to), buckets));
                let count = (i128::from(to) - 1).div_euclid(width) - i128::from(from).div_euclid(width) + 1;
                assert!(count <= buckets as i128, "{from}..{to} in {buckets}: {count} of {width}");
            }
        }
    }
}
