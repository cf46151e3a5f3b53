//! MicroPython boards with the ESP-FIRMWARE firmware. Over MQTT they announce themselves and say how they are; their
//! scripts come to them by HTTP, which is in [`post`].
//!
//! The firmware in the field is taken as it is: members of JSON in any order, topics with its address or with its
//! client id, and payloads that were broken on the way, of which nothing is taken.

pub mod post;

use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::report::{self, Announcement, CAPABILITIES_MAX, LOG_CHARS_MAX, Level, LogLine};
use motehub_domain::telemetry::{Metric, Point, PointValue, When};
use motehub_domain::topic::{TopicFilter, TopicRights};
use serde_json::{Map, Value, json};

use crate::payload::strict;
use crate::{DecodeError, Identity, MqttMessage, Said, passed};

/// Topics of one level, by which scripts of this firmware speak to each other: `topic0_node` and the like.
const WIRES: &str = "+";
/// The attribute in which a board's report has the address that it announced.
pub const ADDRESS: &str = "address";
/// The attribute that says whether the board announced itself because it ran out of memory.
pub const FAILURE: &str = "failure";
/// What a board measures of itself that says whether it has a script.
pub const RUNNING: &str = "running";
/// What it measures that says which parts its script has.
pub const NODES: &str = "nodes";
/// Bytes of its memory that are free, and that are taken.
pub const FREE: &str = "free_ram";
/// See [`FREE`].
pub const TAKEN: &str = "alloc_ram";
/// How long it took to post a script, in milliseconds.
pub const ROUND_TRIP: &str = "round_trip";
/// The port that the firmware listens on.
pub const PORT: u16 = 80;
/// Largest announcement in bytes.
const ANNOUNCEMENT_BYTES_MAX: usize = 2048;
/// Largest measurement in bytes.
const VALUE_BYTES_MAX: usize = 1024;
/// Largest value of a step of a flow, with what is around it, in bytes.
const EMITTED_BYTES_MAX: usize = 16 * 1024;
/// Largest message for a log in bytes.
pub const LOG_BYTES_MAX: usize = 16 * 1024;
/// What is measured as a number.
const NUMBERS: [&str; 7] = ["uptime", FREE, TAKEN, RUNNING, "status", "flash_size", "last_payload"];

/// The names with which the client ids of a board end; its scripts have none.
const ENDINGS: [&str; 2] = ["metrics", "announcement"];

/// The name of a board that has such a client id: hexadecimal text of the name, perhaps with an ending. `None` if it is
/// no client id of this firmware.
pub fn name_in(client_id: &str) -> Option<String> {
    let is_hex = client_id.len().is_multiple_of(2) && client_id.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex || client_id.is_empty() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(client_id.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..client_id.len()).step_by(2).map(byte).collect();
    let name = String::from_utf8(bytes?).ok()?;
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    motehub_domain::device::is_external_id(name).then(|| name.to_owned())
}

/// The topics of a board itself, as filters: what it may publish to, and what it may subscribe to.
pub fn rights(identity: &Identity) -> TopicRights {
    let filters = |texts: &[String]| texts.iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
    let Some(key) = identity.external_id.as_deref().filter(|key| !key.contains(['/', '+', '#'])) else {
        return TopicRights::default();
    };
    let wires = WIRES.to_owned();
    let said = [format!("announcements/{key}"), format!("telemetry/{key}/#"), format!("flows/{key}/out")];
    TopicRights {
        publish: filters(&[&said[..], std::slice::from_ref(&wires)].concat()),
        subscribe: filters(&[format!("flows/{key}/in"), wires]),
    }
}

/// What a publish of the firmware means; `None` for topics that are not its own.
pub fn mqtt_uplink(identity: &Identity, topic: &str, payload: &[u8]) -> Option<Result<Said, DecodeError>> {
    let key = identity.external_id.as_deref()?;
    let mut levels = topic.split('/');
    let (kind, of) = (levels.next()?, levels.next()?);
    if of != key {
        return None;
    }
    match (kind, levels.next(), levels.next(), levels.next()) {
        ("announcements", None, ..) => Some(announced(payload)),
        ("flows", Some("out"), None, _) => Some(emitted(payload)),
        ("telemetry", Some(NODES), None, _) => Some(nodes(payload)),
        ("telemetry", Some(ROUND_TRIP), None, _) => Some(round_trip(payload)),
        ("telemetry", Some(metric), None, _) | ("telemetry", Some(_), Some(metric), None)
            if NUMBERS.contains(&metric) =>
        {
            Some(number(metric, payload))
        }
        _ => None,
    }
}

/// What a step of a flow says to steps elsewhere.
fn emitted(payload: &[u8]) -> Result<Said, DecodeError> {
    let json = strict(text(payload, EMITTED_BYTES_MAX)?).map_err(|e| DecodeError(format!("flows: {e}")))?;
    passed::read(json).map(|passed| Uplink::Passed(Box::new(passed)).into())
}

/// A value for the steps of a flow is the one thing that is said to a board over MQTT: its script hears it.
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Vec<MqttMessage> {
    match (downlink, identity.external_id.as_deref()) {
        (Downlink::Passed(passed), Some(key)) => {
            let payload = passed::write(passed).to_string().into_bytes();
            vec![MqttMessage { topic: format!("flows/{key}/in"), payload, qos: 0 }]
        }
        _ => Vec::new(),
    }
}

/// `{"payload":{"address":"10.77.0.11","capabilities":["micropython"],"failure":0}}`.
fn announced(payload: &[u8]) -> Result<Said, DecodeError> {
    let wrong = |what: &str| DecodeError(format!("an announcement: {what}"));
    let text = text(payload, ANNOUNCEMENT_BYTES_MAX).map_err(|e| wrong(&e.0))?;
    let json = strict(text).map_err(|e| wrong(&e.to_string()))?;
    let said = json.get("payload").and_then(Value::as_object).ok_or_else(|| wrong("it has a payload"))?;
    let address = said.get("address").and_then(Value::as_str);
    let address = address.ok_or_else(|| wrong("the payload has the address of the board, a text"))?;
    let failure = match said.get("failure") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(failure)) => *failure,
        Some(Value::Number(failure)) => failure.as_f64() != Some(0.0),
        Some(_) => return Err(wrong("failure is 0 or 1")),
    };
    let listed = match said.get("capabilities") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(listed)) => listed.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => return Err(wrong("capabilities are a list of words")),
    };
    let (capabilities, left_out) = capabilities(&listed);
    let mut attributes = Map::new();
    attributes.insert(ADDRESS.to_owned(), json!(report::clean(address, report::WORD_BYTES_MAX)));
    attributes.insert(FAILURE.to_owned(), json!(failure));
    let announcement = Announcement {
        firmware: Some("esp-firmware".to_owned()),
        capabilities,
        attributes,
        ..Announcement::default()
    };
    Ok(Said { uplink: Uplink::Announced(Box::new(announcement)), refused: left_out })
}

/// Those that can be kept, and what is said of the others.
fn capabilities(listed: &[String]) -> (Vec<String>, Option<String>) {
    let kept = |word: &String| report::capabilities(std::slice::from_ref(word)).is_ok();
    let good: Vec<String> = listed.iter().filter(|word| kept(word)).take(CAPABILITIES_MAX).cloned().collect();
    let left_out = listed.len() - good.len();
    let why = (left_out > 0).then(|| {
        format!("{left_out} capabilities are left out: they are small letters, digits or the signs . _ -")
    });
    (report::capabilities(&good).unwrap_or_default(), why)
}

/// A number in decimal digits.
fn number(metric: &str, payload: &[u8]) -> Result<Said, DecodeError> {
    let wrong = || DecodeError(format!("{metric}: a number in decimal digits"));
    let text = text(payload, VALUE_BYTES_MAX).map_err(|_| wrong())?;
    let is_plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    let number =
        Some(text.trim()).filter(|text| text.bytes().all(is_plain)).and_then(|text| text.parse().ok());
    let number = number.filter(|number: &f64| number.is_finite()).ok_or_else(wrong)?;
    points([(metric, PointValue::Number(number))])
}

/// `{"nodes":"if:ab12 nothing:cd34","nr":"2"}`.
fn nodes(payload: &[u8]) -> Result<Said, DecodeError> {
    let wrong = || DecodeError(r#"nodes: {"nodes":"TYPE:ID …","nr":"1"}"#.to_owned());
    let json = strict(text(payload, VALUE_BYTES_MAX).map_err(|_| wrong())?).map_err(|_| wrong())?;
    let nodes = json.get("nodes").and_then(Value::as_str).ok_or_else(wrong)?;
    let nodes = report::clean(nodes, VALUE_BYTES_MAX);
    let count = match json.get("nr") {
        Some(Value::String(count)) => count.trim().parse::<u32>().ok(),
        Some(Value::Number(count)) => count.as_u64().and_then(|count| u32::try_from(count).ok()),
        _ => None,
    };
    let count = count.ok_or_else(wrong)?;
    points([(NODES, PointValue::Text(nodes)), ("nr", PointValue::Number(f64::from(count)))])
}

/// `{"duration":267,"state":1}`, which the original orchestrator says of a board.
fn round_trip(payload: &[u8]) -> Result<Said, DecodeError> {
    let wrong = || DecodeError(r#"round_trip: {"duration":MILLISECONDS,"state":1}"#.to_owned());
    let json = strict(text(payload, VALUE_BYTES_MAX).map_err(|_| wrong())?).map_err(|_| wrong())?;
    let duration = json.get("duration").and_then(Value::as_f64).ok_or_else(wrong)?;
    points([(ROUND_TRIP, PointValue::Number(duration))])
}

fn points<const N: usize>(values: [(&str, PointValue); N]) -> Result<Said, DecodeError> {
    let point = |(metric, value): (&str, PointValue)| {
        let metric = Metric::parse(metric).map_err(|rejection| DecodeError(rejection.sentence))?;
        Ok(Point { metric, time: When::ARRIVAL, value })
    };
    let points: Result<Vec<Point>, DecodeError> = values.into_iter().map(point).collect();
    Ok(Uplink::Telemetry(points?).into())
}

/// One JSON object of what the firmware logs, whatever its members are called: `message` or `text`, and `level`.
pub fn log(payload: &[u8]) -> Result<LogLine, DecodeError> {
    let json = strict(text(payload, LOG_BYTES_MAX)?).map_err(|e| DecodeError(format!("a log line: {e}")))?;
    let Value::Object(said) = json else {
        return Err(DecodeError("a log line is a JSON object".to_owned()));
    };
    let named = |names: &[&str]| names.iter().find_map(|name| said.get(*name)).and_then(Value::as_str);
    let level = named(&["level", "levelname", "severity"]).map(str::to_ascii_lowercase);
    let level = match level.as_deref() {
        Some("debug" | "trace") => Level::Debug,
        Some("warn" | "warning") => Level::Warn,
        Some("error" | "critical" | "fatal") => Level::Error,
        Some(_) | None => Level::Info,
    };
    let text = named(&["message", "msg", "text"]);
    let text = text.map_or_else(|| Value::Object(said.clone()).to_string(), str::to_owned);
    Ok(LogLine { level, text: report::clean(&text, LOG_CHARS_MAX), time: None })
}

fn text(payload: &[u8], bytes_max: usize) -> Result<&str, DecodeError> {
    if payload.len() > bytes_max {
        return Err(DecodeError(format!("at most {bytes_max} bytes")));
    }
    let text = std::str::from_utf8(payload);
    let text = text.map_err(|error| DecodeError(format!("UTF-8; byte {} is not", error.valid_up_to())))?;
    match text.bytes().position(|byte| byte == 0) {
        Some(at) => Err(DecodeError(format!("text; byte {at} is NUL"))),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use motehub_domain::device::Dialect;
    use motehub_domain::id::DeviceId;

    use super::*;

    fn said(topic: &str, payload: &[u8]) -> Option<Result<Uplink, String>> {
        let identity = Identity {
            device: DeviceId::from_parts(1, 1),
            external_id: Some("10.77.0.11".to_owned()),
            dialect: Dialect::EspFirmware,
        };
        let said = mqtt_uplink(&identity, topic, payload)?;
        Some(said.map(|said| said.uplink).map_err(|error| error.0))
    }

    fn measured(topic: &str, payload: &[u8]) -> Vec<(String, Value)> {
        let Some(Ok(Uplink::Telemetry(points))) = said(topic, payload) else { return Vec::new() };
        points.into_iter().map(|point| (point.metric.as_str().to_owned(), point.value.to_json())).collect()
    }

    #[test]
    fn a_board_is_known_by_its_client_ids() {
        let cases = [
            ("64657631", Some("dev1")),
            ("646576316d657472696373", Some("dev1")),
            ("64657631616e6e6f756e63656d656e74", Some("dev1")),
            ("6d657472696373", None),
            ("lamp-1", None),
            ("abc", None),
            ("ff00", None),
            ("", None),
        ];
        for (client_id, name) in cases {
            assert_eq!(name_in(client_id).as_deref(), name, "{client_id}");
        }
    }

    #[test]
    fn an_announcement_is_taken_in_any_order_and_what_it_cannot_be_is_named() {
        let good = [
            r#"{"payload":{"address":"10.77.0.11","capabilities":["micropython","dht"],"failure":0}}"#,
            r#"{"payload":{"failure":0,"capabilities":["dht","micropython","dht"],"address":"10.77.0.11"}}"#,
        ];
        for payload in good {
            let Some(Ok(Uplink::Announced(said))) = said("announcements/10.77.0.11", payload.as_bytes())
            else {
                panic!("{payload} is not taken");
            };
            assert_eq!(said.capabilities, ["dht", "micropython"]);
            assert_eq!(said.attributes[ADDRESS], "10.77.0.11");
            assert_eq!(said.attributes[FAILURE], false);
        }
        let failed = br#"{"payload":{"address":"10.77.0.11","capabilities":["Big One"],"failure":1}}"#;
        let Some(Ok(Uplink::Announced(failed))) = said("announcements/10.77.0.11", failed) else {
            panic!("a failure is not taken");
        };
        assert_eq!((failed.capabilities.len(), &failed.attributes[FAILURE]), (0, &json!(true)));
        let bad = ["", "1", "{}", r#"{"payload":{}}"#, r#"{"payload":{"address":7}}"#, "{\"payload\":\u{0}}"];
        for payload in bad {
            let refused = said("announcements/10.77.0.11", payload.as_bytes());
            assert!(matches!(refused, Some(Err(_))), "{payload} was taken");
        }
        assert_eq!(said("announcements/10.77.0.12", good[0].as_bytes()), None, "of another board");
    }

    #[test]
    fn measurements_are_taken_and_broken_ones_are_not() {
        let of = |metric: &str| format!("telemetry/10.77.0.11/{metric}");
        assert_eq!(measured(&of("free_ram"), b"10240"), [("free_ram".to_owned(), json!(10240))]);
        assert_eq!(measured(&of("flash_size"), b"78230468.0")[0].1, json!(78_230_468));
        assert_eq!(measured(&of("5123/last_payload"), b"321")[0].0, "last_payload");
        let nodes = measured(&of("nodes"), br#"{"nodes":"if:ab12 nothing:cd34","nr":"2"}"#);
        assert_eq!(nodes[0].1, json!("if:ab12 nothing:cd34"));
        assert_eq!(nodes[1], ("nr".to_owned(), json!(2)));
        let broken: [(&str, &[u8]); 8] = [
            ("alloc_ram", b"10\xc0\x0040"),
            ("alloc_ram", b"inf"),
            ("free_ram", b""),
            ("uptime", b"12\x00"),
            ("running", b"yes"),
            ("nodes", b"{\"nodes\":\xc0\x00}"),
            ("nodes", b"{\"nodes\":\"if:1\",\"nr\":\"two\"}"),
            ("round_trip", b"{}"),
        ];
        for (metric, payload) in broken {
            assert!(matches!(said(&of(metric), payload), Some(Err(_))), "{metric} {payload:?} was taken");
        }
        assert_eq!(said(&of("colour"), b"1"), None);
        assert_eq!(said("topic0_node", b"1"), None);
    }

    #[test]
    fn what_is_logged_is_a_line_whatever_its_members_are() {
        let line = log(br#"{"message":"boot","level":"WARNING","client":"dev1"}"#).expect("a line");
        assert_eq!((line.text.as_str(), line.level), ("boot", Level::Warn));
        assert_eq!(log(br#"{"a":1}"#).expect("a line").text, r#"{"a":1}"#);
        assert!(log(b"boot").is_err() && log(b"[1]").is_err() && log(&[0xff]).is_err());
    }
}
