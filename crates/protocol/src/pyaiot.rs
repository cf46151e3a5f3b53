//! What Pyaiot gateways and clients say and are told: JSON objects with a `type`, one in a frame.
//!
//! A gateway whose reader meets something unexpected stops listening for good and does not say so. So what goes to a
//! gateway is made here only, from parts that are checked.

use serde_json::{Map, Value, json};

use crate::DecodeError;
use crate::payload::{self, Encoding};
use crate::riot;

/// Largest frame in bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Longest reason in a close frame, in bytes.
pub const REASON_BYTES_MAX: usize = 123;
/// Longest text that is written to a resource, in bytes.
pub const TEXT_BYTES_MAX: usize = riot::VALUE_BYTES_MAX;
/// The name that all clients have as an addressee.
pub const ALL: &str = "all";
/// The uid by which a gateway says that it is alive itself.
const ALIVE: &str = "alive";

/// What a gateway says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromGateway {
    /// It is alive.
    Alive,
    /// There is a node.
    New {
        /// Which.
        uid: String,
        /// For whom, if not for all.
        to: Option<String>,
    },
    /// A node said something of one of its resources.
    Update {
        /// Which node.
        uid: String,
        /// Which resource.
        endpoint: String,
        /// What it said; mostly text.
        data: Value,
        /// For whom, if not for all.
        to: Option<String>,
    },
    /// A node is gone.
    Out {
        /// Which.
        uid: String,
    },
    /// A node started again.
    Reset {
        /// Which.
        uid: String,
    },
}

/// Reads a frame of a gateway; the error fits into a close frame.
pub fn from_gateway(frame: &[u8]) -> Result<FromGateway, DecodeError> {
    let (kind, mut members) = message(frame)?;
    let uid = text(&mut members, "uid")?;
    let to = members.remove("dst").and_then(|to| to.as_str().filter(|to| *to != ALL).map(str::to_owned));
    Ok(match kind {
        Kind::New => FromGateway::New { uid, to },
        Kind::Out => FromGateway::Out { uid },
        Kind::Reset => FromGateway::Reset { uid },
        Kind::Update if uid == ALIVE && !members.contains_key("endpoint") => FromGateway::Alive,
        Kind::Update => {
            let endpoint = text(&mut members, "endpoint")?;
            let data = members.remove("data").ok_or_else(|| wrong("an update has data"))?;
            FromGateway::Update { uid, endpoint, data, to }
        }
    })
}

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    /// It wants to know everything that is known.
    New {
        /// Whether it also wants to know what becomes of what it asks for; original clients do not.
        results: bool,
    },
    /// Something shall be written to a resource of a node.
    Update {
        /// Which node.
        uid: String,
        /// Which resource.
        endpoint: String,
        /// What.
        payload: String,
    },
}

/// Reads a frame of a client; the error fits into a close frame.
pub fn from_client(frame: &[u8]) -> Result<FromClient, DecodeError> {
    let (kind, mut members) = message(frame)?;
    match kind {
        Kind::New => Ok(FromClient::New { results: members.get("results") == Some(&Value::Bool(true)) }),
        Kind::Update => {
            let Some(Value::Object(mut data)) = members.remove("data") else {
                return Err(wrong("an update has data with uid, endpoint and payload"));
            };
            let (uid, endpoint) = (text(&mut data, "uid")?, text(&mut data, "endpoint")?);
            let payload = text(&mut data, "payload")?;
            if data.is_empty() {
                return Ok(FromClient::Update { uid, endpoint, payload });
            }
            Err(wrong("data has uid, endpoint and payload and nothing else"))
        }
        Kind::Out | Kind::Reset => Err(wrong("clients say new and update")),
    }
}

/// What a WebSocket node says: what it reports, by resource. `None` for messages that say nothing to us.
pub fn from_node(frame: &[u8]) -> Result<Option<Map<String, Value>>, DecodeError> {
    let (kind, mut members) = message(frame)?;
    match (kind, members.remove("data")) {
        (Kind::Update, Some(Value::Object(data))) => Ok(Some(data)),
        (Kind::Update, _) => Err(wrong("an update has data, an object by resource")),
        (Kind::New | Kind::Out | Kind::Reset, _) => Ok(None),
    }
}

/// The name of a resource, without the slash before it that some write; `None` for what can be none.
pub fn resource(endpoint: &str) -> Option<&str> {
    Some(endpoint.strip_prefix('/').unwrap_or(endpoint)).filter(|name| riot::is_name(name))
}

/// A value of a resource as text: gateways pass on whatever JSON a node said.
pub fn data_text(data: &Value) -> String {
    match data {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            data.to_string()
        }
    }
}

/// Asks a gateway to say all it knows once more; it addresses the answer to this name.
pub fn ask_all(name: &str) -> String {
    json!({ "type": "new", "data": "client", "src": name }).to_string()
}

/// A command for a gateway, or why there is none that it bears: exactly these members, with texts in ASCII.
pub fn command(uid: &str, endpoint: &str, payload: &str) -> Result<String, DecodeError> {
    let is_plain =
        |text: &str| text.chars().all(|c| c.is_ascii() && (!c.is_control() || "\n\r\t".contains(c)));
    let is_name = riot::is_name(endpoint) && endpoint.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name {
        return Err(wrong("a Pyaiot gateway takes plain names of resources only"));
    }
    if !is_plain(uid) || uid.is_empty() || !is_plain(payload) || payload.len() > TEXT_BYTES_MAX {
        return Err(wrong("a Pyaiot gateway takes ASCII text only: another text would stop it for good"));
    }
    let data = json!({ "uid": uid, "endpoint": endpoint, "payload": payload });
    Ok(json!({ "type": "update", "data": data }).to_string())
}

/// A node is there, for a client.
pub fn new(uid: &str) -> String {
    json!({ "type": "new", "uid": uid, "dst": ALL }).to_string()
}

/// A node says something, for a client.
pub fn update(uid: &str, endpoint: &str, data: &str) -> String {
    json!({ "type": "update", "uid": uid, "endpoint": endpoint, "data": data, "dst": ALL }).to_string()
}

/// A node is gone, for a client.
pub fn out(uid: &str) -> String {
    json!({ "type": "out", "uid": uid }).to_string()
}

/// A node started again, for a client.
pub fn reset(uid: &str) -> String {
    json!({ "type": "reset", "uid": uid }).to_string()
}

/// What became of what a client asked for. Only those that want it are told: Pyaiot has nothing like it.
pub fn result(uid: &str, endpoint: &str, outcome: Result<(), &str>) -> String {
    let mut result = json!({ "type": "result", "uid": uid, "endpoint": endpoint, "done": outcome.is_ok() });
    if let Err(reason) = outcome {
        result["reason"] = json!(reason);
    }
    result.to_string()
}

/// Asks a WebSocket node what it has; some compare the whole text.
pub const DISCOVER: &str = r#"{"request": "discover"}"#;

/// A command for a WebSocket node.
pub fn node_command(endpoint: &str, payload: &str) -> String {
    json!({ "endpoint": endpoint, "payload": payload }).to_string()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Update,
    Out,
    Reset,
}

fn message(frame: &[u8]) -> Result<(Kind, Map<String, Value>), DecodeError> {
    let value = payload::decode(Encoding::Json, "a message", frame);
    let value = value.map_err(|_| wrong("a message is JSON, with no member twice"))?;
    let Value::Object(members) = value else { return Err(wrong("a message is a JSON object")) };
    let kind = match members.get("type").and_then(Value::as_str) {
        Some("new") => Kind::New,
        Some("update") => Kind::Update,
        Some("out") => Kind::Out,
        Some("reset") => Kind::Reset,
        Some(_) | None => return Err(wrong("the types of messages are new, update, out and reset")),
    };
    Ok((kind, members))
}

fn text(members: &mut Map<String, Value>, name: &'static str) -> Result<String, DecodeError> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => Err(DecodeError(format!("{name} is a text"))),
    }
}

fn wrong(sentence: &'static str) -> DecodeError {
    DecodeError(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section by section what Pyaiot gateways, clients and nodes may not say.
    #[test]
    fn what_is_no_message_is_refused_in_a_few_words() {
        let garbage = "x".repeat(200);
        let frames: [&[u8]; 16] = [
            b"",
            b"hello",
            garbage.as_bytes(),
            b"\xff\xfe",
            b"null",
            b"3",
            b"[1]",
            b"\"new\"",
            b"{}",
            br#"{"data":"x"}"#,
            br#"{"type":"foo","uid":"1"}"#,
            br#"{"type":3,"uid":"1"}"#,
            br#"{"type":"new","uid":7}"#,
            br#"{"type":"update","uid":"1","endpoint":"led"}"#,
            br#"{"type":"update"}"#,
            br#"{"type":"new","type":"out","uid":"1"}"#,
        ];
        for frame in frames {
            let gateway = from_gateway(frame).expect_err("is refused").0;
            assert!(gateway.len() <= REASON_BYTES_MAX, "{gateway}");
            if !frame.starts_with(br#"{"type":"new","uid""#) {
                let client = from_client(frame).expect_err("is refused").0;
                assert!(client.len() <= REASON_BYTES_MAX, "{client}");
            }
        }
    }

    #[test]
    fn what_would_stop_a_gateway_is_never_made() {
        assert_eq!(
            command("1234", "led", "1").map_err(|e| e.0),
            Ok(r#"{"data":{"endpoint":"led","payload":"1","uid":"1234"},"type":"update"}"#.to_owned())
        );
        assert!(command("1234", "ribot", "1:2:3\n").is_ok());
        for (uid, endpoint, payload) in [
            ("1234", "led", "ä"),
            ("1234", "led", "\0"),
            ("1234", "l d", "1"),
            ("1234", "", "1"),
            ("", "led", "1"),
            ("ü", "led", "1"),
        ] {
            assert!(command(uid, endpoint, payload).is_err(), "{uid} {endpoint} {payload}");
        }
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(command("1234", "js", &long).is_err());
    }

    #[test]
    fn clients_say_two_things_and_nothing_that_stops_a_gateway() {
        let said = |text: &str| from_client(text.as_bytes()).map_err(|error| error.0);
        let hello = r#"{"type": "new", "data": "client"}"#;
        assert_eq!(said(hello), Ok(FromClient::New { results: false }));
        let update = r#"{"type":"update","data":{"uid":"1","endpoint":"led","payload":"1"}}"#;
        let (uid, endpoint, payload) = ("1".to_owned(), "led".to_owned(), "1".to_owned());
        assert_eq!(said(update), Ok(FromClient::Update { uid, endpoint, payload }));
        for bad in [
            r#"{"type":"update"}"#,
            r#"{"type":"update","data":"x"}"#,
            r#"{"type":"out","uid":"1"}"#,
            r#"{"type":"reset"}"#,
            r#"{"type":"update","data":{"uid":"1","endpoint":"led","payload":1}}"#,
            r#"{"type":"update","data":{"uid":"1","endpoint":"led","payload":"1","more":1}}"#,
        ] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }
}
