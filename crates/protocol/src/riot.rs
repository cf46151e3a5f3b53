//! RIOT nodes that were made for Pyaiot: short texts over CoAP. A node announces itself with `alive:<uid>` or, when it
//! has just started, `reset:<uid>`; it posts `<resource>:<value>`; and it has its resources read and written as text.
//!
//! The firmware in the field has its ways, and they are taken as they are: answers that are filled with NUL, and
//! answers with the name of the resource before the value.

mod resources;
pub mod topics;

use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use serde_json::{Number, Value};

use crate::DecodeError;
use crate::payload::strict;

pub use resources::{Heard, Write, cleared, introduction, reported, reporting, restarted, writes};

/// Where nodes announce themselves.
pub const ALIVE: &str = "/alive";
/// Where they post values.
pub const SERVER: &str = "/server";
/// The UDP port that nodes listen on.
pub const PORT: u16 = 5683;
/// Largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Longest uid in bytes.
pub const UID_BYTES_MAX: usize = motehub_domain::device::EXTERNAL_ID_BYTES_MAX;
/// Longest name of a resource in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest unit in characters.
const UNIT_CHARS_MAX: usize = 8;
/// Most sensors in one value.
const SENSORS_MAX: usize = 16;
/// What the axes of a sensor are called.
const AXES: [&str; 3] = ["x", "y", "z"];

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Whether it has just started: what was known of its resources is not so any more.
    pub has_started: bool,
    /// Its uid. Old firmware has none.
    pub uid: Option<String>,
}

/// Reads what is posted to `/alive`: a word, and the uid behind the last colon.
pub fn sign(payload: &[u8]) -> Result<Sign, DecodeError> {
    let text = text(payload)?;
    let (word, uid) = match text.rsplit_once(':') {
        Some((word, uid)) => (word, Some(uid.trim())),
        None => (text, None),
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let fits = |uid: &str| (1..=UID_BYTES_MAX).contains(&uid.len()) && uid.bytes().all(is_plain);
    if uid.is_some_and(|uid| !fits(uid) || uid.starts_with('.')) || word.trim().is_empty() {
        return Err(DecodeError(format!(
            "say alive:UID or reset:UID, with a uid of 1 to {UID_BYTES_MAX} letters, digits or the signs - _ ."
        )));
    }
    Ok(Sign { has_started: word.trim().eq_ignore_ascii_case("reset"), uid: uid.map(str::to_owned) })
}

/// Reads what is posted to `/server`: the name of a resource, and its value behind the first colon.
pub fn posted(payload: &[u8]) -> Result<(String, String), DecodeError> {
    let text = text(payload)?;
    let (name, value) =
        text.split_once(':').ok_or_else(|| DecodeError("say RESOURCE:VALUE, such as led:1".to_owned()))?;
    if !is_name(name) {
        return Err(DecodeError(format!("the name of a resource has 1 to {NAME_BYTES_MAX} printable signs")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads the value of a resource: up to the first NUL, without its own name before it.
pub fn value(name: &str, payload: &[u8]) -> Result<String, DecodeError> {
    let text = text(payload)?;
    let own = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    Ok(own.unwrap_or(text).to_owned())
}

/// Whether a text can be the name of a resource.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(|sign| sign.is_control() || sign == ':')
}

fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    if end > VALUE_BYTES_MAX {
        return Err(DecodeError(format!("a value has at most {VALUE_BYTES_MAX} bytes")));
    }
    std::str::from_utf8(&payload[..end])
        .map_err(|error| DecodeError(format!("a value is UTF-8; byte {} is not", error.valid_up_to())))
}

/// What a value means: a number, perhaps with a unit; JSON; or a text.
pub fn meaning(text: &str) -> Value {
    if let Some((number, _)) = quantity(text) {
        return Value::Number(number);
    }
    let is_json = text.trim_start().starts_with(['{', '[']);
    let json = is_json.then(|| strict(text).ok()).flatten();
    json.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Splits a number from its unit, `23.4°C`; the unit may be missing.
pub fn quantity(text: &str) -> Option<(Number, Option<&str>)> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = text.len() - digits.len();
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let fraction =
        digits[whole..].strip_prefix('.').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let end = match fraction {
        Some(0) | None => whole,
        Some(fraction) => whole + 1 + fraction,
    };
    let unit = digits[end..].trim_start();
    let is_unit = |unit: &str| {
        let is_sign = |sign: char| sign.is_alphabetic() || "°%µΩ/²³".contains(sign);
        unit.chars().count() <= UNIT_CHARS_MAX
            && unit.starts_with(is_sign)
            && unit.chars().all(|sign| is_sign(sign) || sign.is_ascii_digit())
    };
    if whole == 0 || !unit.is_empty() && !is_unit(unit) {
        return None;
    }
    let number = &text[usize::from(text.starts_with('+'))..sign + end];
    let number = match number.parse::<i64>() {
        Ok(number) => Number::from(number),
        Err(_) => Number::from_f64(number.parse().ok()?)?,
    };
    Some((number, Some(unit).filter(|unit| !unit.is_empty())))
}

/// A value as points, measured when it arrives. Its unit is not in them. A list of sensors with axes, as motion sensors
/// say it (`[{"type":"acc","values":[1,2,3]}]`), is a series per axis beside the whole: `imu.acc.x`, `imu.acc.y`,
/// `imu.acc.z`.
pub fn points(name: &str, value: &Value) -> Vec<Point> {
    let axes = axes(name, value).unwrap_or_default();
    point(name, value).into_iter().chain(axes).collect()
}

fn point(name: &str, value: &Value) -> Option<Point> {
    let metric = Metric::parse(name).ok()?;
    let value = PointValue::from_json(value).ok().flatten()?;
    Some(Point { metric, time: When::ARRIVAL, value })
}

/// `None` if it is no such list; nothing of one that is not understood in full is left out.
fn axes(name: &str, value: &Value) -> Option<Vec<Point>> {
    let sensors = value.as_array().filter(|sensors| (1..=SENSORS_MAX).contains(&sensors.len()))?;
    let mut points = Vec::with_capacity(sensors.len() * AXES.len());
    for sensor in sensors {
        let kind = sensor.get("type")?.as_str().filter(|kind| is_name(kind))?;
        let values = sensor.get("values")?.as_array()?;
        if values.is_empty() || values.len() > AXES.len() || !values.iter().all(Value::is_number) {
            return None;
        }
        for (axis, value) in AXES.into_iter().zip(values) {
            points.push(point(&format!("{name}.{kind}.{axis}"), value)?);
        }
    }
    Some(points)
}

/// How a value is said to a node: texts as they are, yes and no as 1 and 0.
pub fn said(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => u8::from(*yes).to_string(),
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn signs_of_all_firmware_are_read() {
        let sign_of = |payload: &[u8]| sign(payload).map(|sign| (sign.has_started, sign.uid)).ok();
        let uid = |text: &str| Some(text.to_owned());
        type Read = Option<(bool, Option<String>)>;
        let cases: [(&[u8], Read); 12] = [
            (b"alive:4E5F3A21C0D9B87", Some((false, uid("4E5F3A21C0D9B87")))),
            (b"reset:4E5F3A21C0D9B87", Some((true, uid("4E5F3A21C0D9B87")))),
            (b"Alive:1234", Some((false, uid("1234")))),
            (b"RESET:1234\0\0", Some((true, uid("1234")))),
            (b"a:b:1234", Some((false, uid("1234")))),
            (b"alive", Some((false, None))),
            (b"reset", Some((true, None))),
            (b"", None),
            (b"alive:", None),
            (b":1234", None),
            (b"alive:a b", None),
            (b"alive:\xff", None),
        ];
        for (payload, expected) in cases {
            assert_eq!(sign_of(payload), expected, "{payload:?}");
        }
        let most = format!("alive:{}", "u".repeat(UID_BYTES_MAX));
        assert!(sign(most.as_bytes()).is_ok());
        assert!(sign(format!("{most}u").as_bytes()).is_err());
        assert!(sign(format!("alive:{}", "u".repeat(10_000)).as_bytes()).is_err());
    }

    #[test]
    fn values_are_read_with_the_ways_of_the_firmware() {
        assert_eq!(
            posted("temperature:23.4°C".as_bytes()),
            Ok(("temperature".to_owned(), "23.4°C".to_owned()))
        );
        assert_eq!(posted(b"text:a:b"), Ok(("text".to_owned(), "a:b".to_owned())));
        for wrong in [&b"nothing"[..], b":1", b"a\tb:1", b"", b"\xff:1"] {
            assert!(posted(wrong).is_err(), "{wrong:?}");
        }
        let padded = [b"21.5".to_vec(), vec![0; 60]].concat();
        assert_eq!(value("temperature", &padded).as_deref(), Ok("21.5"));
        assert_eq!(value("imu", b"imu:[1]").as_deref(), Ok("[1]"));
        assert_eq!(value("imu", b"imux:1").as_deref(), Ok("imux:1"));
        assert!(value("js", &vec![b'x'; VALUE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn units_are_split_from_numbers() {
        let cases = [
            ("23.4°C", json!(23.4), Some("°C")),
            ("1012.34hPa", json!(1012.34), Some("hPa")),
            ("45.07%", json!(45.07), Some("%")),
            ("415ppm", json!(415), Some("ppm")),
            ("12 g/m3", json!(12), Some("g/m3")),
            ("-7", json!(-7), None),
            ("+1", json!(1), None),
            ("0", json!(0), None),
        ];
        for (text, number, unit) in cases {
            let got = quantity(text).map(|(number, unit)| (Value::Number(number), unit));
            assert_eq!(got, Some((number.clone(), unit)), "{text}");
            assert_eq!(meaning(text), number, "{text}");
        }
        let texts =
            ["1.0.0", "10:20", "riot", "", "-", "3 of 4", "1.", ".5", "1e5x!", "99999999999999999999999x9!"];
        for text in texts {
            assert_eq!(meaning(text), json!(text), "{text}");
        }
        assert_eq!(meaning(r#"{"lat":48.7,"lng":2.2}"#), json!({ "lat": 48.7, "lng": 2.2 }));
        assert_eq!(meaning("[1,2"), json!("[1,2"));
        assert_eq!(meaning(r#"{"a":1,"a":2}"#), json!(r#"{"a":1,"a":2}"#));
    }

    #[test]
    fn motion_is_a_series_per_axis() {
        let series = |text: &str| -> Vec<String> {
            let points = points("imu", &meaning(text));
            let shown = |p: &Point| format!("{}={}", p.metric.as_str(), p.value.to_json());
            assert_eq!(points.first().map(shown), Some(format!("imu={}", meaning(text))), "as it was said");
            points.iter().skip(1).map(shown).collect()
        };
        let firmware = r#"[{"type":"acc","values":[1,-2,3.5]}]"#;
        assert_eq!(series(firmware), ["imu.acc.x=1", "imu.acc.y=-2", "imu.acc.z=3.5"]);
        let test_node = r#"[{"type": "acc", "values": [304, 488, 448]}, {"type": "gyro", "values": [1, 0]}]"#;
        let expected = ["imu.acc.x=304", "imu.acc.y=488", "imu.acc.z=448", "imu.gyro.x=1", "imu.gyro.y=0"];
        assert_eq!(series(test_node), expected);
        // Whatever is not understood in full stays what it is.
        let others = [
            "[]",
            "[1,2,3]",
            r#"[{"type":"acc","values":[1,2,3,4]}]"#,
            r#"[{"type":"acc","values":[]}]"#,
            r#"[{"type":"acc","values":["1"]}]"#,
            r#"[{"type":"acc","values":[1]},{"type":3,"values":[1]}]"#,
            r#"[{"type":"a:b","values":[1]}]"#,
        ];
        for text in others {
            assert!(series(text).is_empty(), "{text}");
        }
        let many = format!("[{}]", vec![r#"{"type":"acc","values":[1]}"#; SENSORS_MAX + 1].join(","));
        assert!(series(&many).is_empty());
    }

    #[test]
    fn what_is_desired_is_said_as_text() {
        let cases = [(json!(1), "1"), (json!("on"), "on"), (json!(true), "1"), (json!(false), "0")];
        for (value, expected) in cases {
            assert_eq!(said(&value), expected);
        }
        assert_eq!(said(&json!({ "a": [1] })), r#"{"a":[1]}"#);
    }
}
