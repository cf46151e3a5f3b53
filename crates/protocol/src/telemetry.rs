//! The forms of telemetry that every dialect shares, written here as JSON; CBOR has the same.
//!
//! - one value: `21.5`, `true`, `"open"` — the metric is called `value`
//! - an object of values: `{"t": 21.5, "open": true}`; a member `ts` is the time of all
//! - values with a time: `{"ts": 1700000000000, "values": {"t": 21.5}}`
//! - one point by name: `{"metric": "t", "value": 21.5, "ts": 1700000000000}`
//! - a batch: an array of any of the three object forms
//!
//! Times are milliseconds since 1970; numbers below 10^11 are taken for seconds. `time` and `timestamp` mean
//! the same as `ts` where `values` or `metric` stand beside them. A `null` value says nothing and is skipped.

use motehub_domain::message::Uplink;
use motehub_domain::telemetry::{Metric, POINTS_PER_MESSAGE_MAX, Point, PointValue, When};
use motehub_domain::time::Time;
use serde_json::{Map, Value};

use crate::{DecodeError, Said};

/// Numbers below this are seconds since 1970, others milliseconds.
const SECONDS_BELOW: f64 = 1e11;
/// Names under which a time may stand beside `values` or `metric`.
const TIME_NAMES: [&str; 3] = ["ts", "time", "timestamp"];

/// How many refused points of one message are named.
const NAMED_MAX: usize = 3;

/// Reads telemetry. Points that mean nothing are left out and named; it is an error if nothing is left.
pub fn decode(json: &Value) -> Result<Said, DecodeError> {
    let mut found = Found { points: Vec::new(), bad: Vec::new() };
    match json {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let place = format!("item {i} of the batch");
                match item {
                    Value::Object(object) => found.object(object, &place)?,
                    _ => found.bad.push(format!("{place} is not an object")),
                }
            }
        }
        Value::Object(object) => found.object(object, "")?,
        Value::Null => return Err(DecodeError("null is no measurement".to_owned())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push("value", json, None, "")?,
    }
    found.said()
}

struct Found {
    points: Vec<Point>,
    bad: Vec<String>,
}

impl Found {
    fn object(&mut self, object: &Map<String, Value>, place: &str) -> Result<(), DecodeError> {
        let (names, values): (&[&str], _) =
            match (object.get("values"), object.get("metric"), object.get("value")) {
                (Some(Value::Object(values)), ..) => (&TIME_NAMES, values.iter().collect()),
                (_, Some(Value::String(metric)), Some(value)) => (&TIME_NAMES, vec![(metric, value)]),
                _ => (&TIME_NAMES[..1], object.iter().filter(|(name, _)| *name != "ts").collect::<Vec<_>>()),
            };
        let time = names.iter().find_map(|name| object.get(*name)).map(time).transpose();
        let time = match time {
            Ok(time) => time,
            Err(error) => {
                self.bad.push(at(place, &error.0));
                return Ok(());
            }
        };
        values.into_iter().try_for_each(|(metric, value)| self.push(metric, value, time, place))
    }

    fn push(
        &mut self,
        metric: &str,
        json: &Value,
        time: Option<Time>,
        place: &str,
    ) -> Result<(), DecodeError> {
        if self.points.len() == POINTS_PER_MESSAGE_MAX {
            return Err(DecodeError(format!("a message has at most {POINTS_PER_MESSAGE_MAX} points")));
        }
        let point = PointValue::from_json(json).and_then(|value| match value {
            Some(value) => {
                let time = time.map_or(When::ARRIVAL, When::At);
                Ok(Some(Point { metric: Metric::parse(metric)?, time, value }))
            }
            None => Ok(None),
        });
        match point {
            Ok(point) => self.points.extend(point),
            Err(refusal) => {
                let name: String = format!("{metric:?}").chars().take(80).collect();
                self.bad.push(at(place, &format!("{name}: {}", refusal.sentence)));
            }
        }
        Ok(())
    }

    fn said(self) -> Result<Said, DecodeError> {
        let Self { points, bad } = self;
        let more = bad.len().saturating_sub(NAMED_MAX);
        let mut named = bad.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            named += &format!("; and {more} more");
        }
        match (points.is_empty(), bad.is_empty()) {
            (true, true) => Err(DecodeError("there is no measurement in it".to_owned())),
            (true, false) => Err(DecodeError(named)),
            (false, true) => Ok(Uplink::Telemetry(points).into()),
            (false, false) => {
                let refused = Some(format!("stored, without what cannot be: {named}"));
                Ok(Said { uplink: Uplink::Telemetry(points), refused })
            }
        }
    }
}

fn at(place: &str, what: &str) -> String {
    if place.is_empty() { what.to_owned() } else { format!("{place}: {what}") }
}

/// Reads a time: milliseconds since 1970, or seconds below 10^11.
pub(crate) fn time(json: &Value) -> Result<Time, DecodeError> {
    let number = json
        .as_f64()
        .ok_or_else(|| DecodeError("a time is a number of milliseconds since 1970".to_owned()))?;
    let ms = if number.abs() < SECONDS_BELOW { number * 1000.0 } else { number };
    Ok(Time(ms as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{self, Encoding};

    fn decoded(payload: &[u8]) -> String {
        let json = payload::decode(Encoding::Json, "telemetry", payload);
        match json.and_then(|json| decode(&json)) {
            Err(e) => format!("error: {e}"),
            Ok(Said { uplink: Uplink::Telemetry(points), refused }) => {
                let words = points.iter().map(|p| {
                    let time = match p.time {
                        When::At(time) => format!("@{}", time.0),
                        When::Before(_) => String::new(),
                    };
                    format!("{}={}{time}", p.metric.as_str(), p.value.to_json())
                });
                let words = words.collect::<Vec<_>>().join(" ");
                refused.map_or(words.clone(), |why| format!("{words} but {why}"))
            }
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_is_understood() {
        let cases = [
            ("21.5", "value=21.5"),
            ("true", "value=true"),
            ("\"open\"", "value=\"open\""),
            (r#"{"open":true,"t":21.5}"#, "open=true t=21.5"),
            (r#"{"t":21.5,"none":null}"#, "t=21.5"),
            (r#"{"time":5}"#, "time=5"),
            (r#"{"ts":1700000000000,"t":1}"#, "t=1@1700000000000"),
            (r#"{"ts":1700000000,"values":{"t":1}}"#, "t=1@1700000000000"),
            (r#"{"time":1700000000000,"values":{"t":1}}"#, "t=1@1700000000000"),
            (r#"{"metric":"t","value":1,"timestamp":1700000000000}"#, "t=1@1700000000000"),
            (
                r#"[{"ts":1700000000000,"values":{"t":1}},{"ts":1700000000,"t":2}]"#,
                "t=1@1700000000000 t=2@1700000000000",
            ),
            (r#"{"p":{"x":1}}"#, "p={\"x\":1}"),
        ];
        for (payload, expected) in cases {
            assert_eq!(decoded(payload.as_bytes()), expected, "{payload}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_a_reason() {
        let long = format!("\"{}\"", "x".repeat(5000));
        let many = format!("[{}]", vec![r#"{"a":1}"#; 1001].join(","));
        let deep = "[".repeat(100_000);
        let cases: [(&[u8], &str); 13] = [
            (b"", "JSON"),
            (b"nonsense", "JSON"),
            (b"\xff\xfe", "byte 0"),
            (b"null", "no measurement"),
            (b"{}", "no measurement"),
            (b"[]", "no measurement"),
            (b"[1,2]", "item 0"),
            (b"1e999", "JSON"),
            (br#"{"":1}"#, "a name has"),
            (br#"{"a\u0000":1}"#, "control"),
            (long.as_bytes(), "4096"),
            (many.as_bytes(), "1000 points"),
            (deep.as_bytes(), "JSON"),
        ];
        for (payload, expected) in cases {
            let got = decoded(payload);
            assert!(got.starts_with("error") && got.contains(expected), "{payload:.20?}: {got}");
        }
    }

    #[test]
    fn one_bad_point_is_named_and_the_good_ones_are_kept() {
        let cases = [
            (r#"[{"t":1},{"t":null,"":2},{"h":3}]"#, "t=1 h=3", "item 1 of the batch: \"\": metric: a name"),
            (r#"[{"t":1},5]"#, "t=1", "item 1 of the batch is not an object"),
            (r#"[{"ts":"now","t":1},{"t":2}]"#, "t=2", "item 0 of the batch: a time is a number"),
            (r#"{"t":1,"bad\u0000":2}"#, "t=1", "control characters"),
            (r#"[{"t":1},1,2,3,4,5]"#, "t=1", "item 3 of the batch is not an object; and 2 more"),
        ];
        for (payload, kept, named) in cases {
            let got = decoded(payload.as_bytes());
            assert!(got.starts_with(&format!("{kept} but ")) && got.contains(named), "{payload}: {got}");
        }
    }
}
