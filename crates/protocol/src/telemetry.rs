//! The JSON forms of telemetry that every dialect shares.
//!
//! - one value: `21.5`, `true`, `"open"` — the metric is called `value`
//! - an object of values: `{"t": 21.5, "open": true}`; a member `ts` is the time of all
//! - values with a time: `{"ts": 1700000000000, "values": {"t": 21.5}}`
//! - one point by name: `{"metric": "t", "value": 21.5, "ts": 1700000000000}`
//! - a batch: an array of any of the three object forms
//!
//! Times are milliseconds since 1970; numbers below 10^11 are taken for seconds. `time` and `timestamp` mean
//! the same as `ts` where `values` or `metric` stand beside them. A `null` value says nothing and is skipped.

use motehub_domain::rejection::Rejection;
use motehub_domain::telemetry::{Metric, POINTS_PER_MESSAGE_MAX, Point, PointValue};
use motehub_domain::time::Time;
use serde_json::{Map, Value};

use crate::DecodeError;

/// Numbers below this are seconds since 1970, others milliseconds.
const SECONDS_BELOW: f64 = 1e11;
/// Names under which a time may stand beside `values` or `metric`.
const TIME_NAMES: [&str; 3] = ["ts", "time", "timestamp"];

/// Reads a telemetry payload.
pub fn decode_json(payload: &[u8]) -> Result<Vec<Point>, DecodeError> {
    let text = std::str::from_utf8(payload)
        .map_err(|e| DecodeError(format!("telemetry is JSON in UTF-8; byte {} is not", e.valid_up_to())))?;
    let json: Value =
        serde_json::from_str(text).map_err(|e| DecodeError(format!("telemetry is JSON: {e}")))?;
    let mut points = Vec::new();
    match &json {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let Value::Object(object) = item else {
                    return Err(DecodeError(format!("item {i} of the batch is not an object")));
                };
                decode_object(object, &mut points)
                    .map_err(|e| DecodeError(format!("item {i} of the batch: {}", e.0)))?;
            }
        }
        Value::Object(object) => decode_object(object, &mut points)?,
        Value::Null => return Err(DecodeError("null is no measurement".to_owned())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => push(&mut points, "value", &json, None)?,
    }
    if points.is_empty() {
        return Err(DecodeError("there is no measurement in it".to_owned()));
    }
    Ok(points)
}

fn decode_object(object: &Map<String, Value>, points: &mut Vec<Point>) -> Result<(), DecodeError> {
    if let Some(Value::Object(values)) = object.get("values") {
        let time = any_time(object)?;
        return values.iter().try_for_each(|(metric, value)| push(points, metric, value, time));
    }
    if let (Some(Value::String(metric)), Some(value)) = (object.get("metric"), object.get("value")) {
        return push(points, metric, value, any_time(object)?);
    }
    let time = object.get("ts").map(time).transpose()?;
    object
        .iter()
        .filter(|(name, _)| *name != "ts")
        .try_for_each(|(name, value)| push(points, name, value, time))
}

fn any_time(object: &Map<String, Value>) -> Result<Option<Time>, DecodeError> {
    TIME_NAMES.iter().find_map(|name| object.get(*name)).map(time).transpose()
}

fn time(json: &Value) -> Result<Time, DecodeError> {
    let number = json
        .as_f64()
        .ok_or_else(|| DecodeError("a time is a number of milliseconds since 1970".to_owned()))?;
    let ms = if number.abs() < SECONDS_BELOW { number * 1000.0 } else { number };
    Ok(Time(ms as i64))
}

fn push(points: &mut Vec<Point>, metric: &str, json: &Value, time: Option<Time>) -> Result<(), DecodeError> {
    if points.len() == POINTS_PER_MESSAGE_MAX {
        return Err(DecodeError(format!("a message has at most {POINTS_PER_MESSAGE_MAX} points")));
    }
    let refused = |e: Rejection| DecodeError(format!("{metric:?}: {}", e.sentence));
    if let Some(value) = PointValue::from_json(json).map_err(refused)? {
        points.push(Point { metric: Metric::parse(metric).map_err(refused)?, time, value });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(payload: &[u8]) -> String {
        match decode_json(payload) {
            Err(e) => format!("error: {e}"),
            Ok(points) => {
                let words = points.iter().map(|p| {
                    let time = p.time.map_or(String::new(), |t| format!("@{}", t.0));
                    format!("{}={}{time}", p.metric.as_str(), p.value.to_json())
                });
                words.collect::<Vec<_>>().join(" ")
            }
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
}
