//! Frames of the WebSocket: JSON objects with an `event`. What a client says is read here, and what it is told is
//! written. The data of an event is always a JSON *string*: older clients fail on anything else.

use serde_json::{Map, Value, json};

use super::{DATA_BYTES_MAX, EVENT_BYTES_MAX};
use crate::DecodeError;

/// What the events of clients begin with.
const CLIENT_PREFIX: &str = "client-";
/// Most bytes of the id of a member of a presence channel, and of what it says of itself.
const MEMBER_ID_BYTES_MAX: usize = 128;
const MEMBER_INFO_BYTES_MAX: usize = 1024;
/// Most bytes of a signature with its key.
const AUTH_BYTES_MAX: usize = 512;

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    /// It wants to hear something.
    Ping,
    /// It heard.
    Pong,
    /// It wants to hear a channel.
    Subscribe {
        /// Which; not yet read.
        channel: String,
        /// `key:signature`, where one is needed.
        auth: Option<String>,
        /// Who it is, on a presence channel, as it was signed.
        channel_data: Option<String>,
    },
    /// It wants to hear no more of a channel.
    Unsubscribe {
        /// Which; not yet read.
        channel: String,
    },
    /// It says something to the others of a channel.
    Event {
        /// Its name, which begins with `client-`.
        event: String,
        /// To whom; not yet read.
        channel: String,
        /// What, as a text.
        data: String,
    },
}

/// Reads a frame; the error is a sentence for `pusher:error`.
pub fn from_client(text: &str) -> Result<FromClient, DecodeError> {
    let wrong = |why: &str| DecodeError(why.to_owned());
    let frame: Value =
        serde_json::from_str(text).map_err(|error| DecodeError(format!("not JSON: {error}")))?;
    let Value::Object(mut frame) = frame else { return Err(wrong("a frame is a JSON object with an event")) };
    let Some(Value::String(event)) = frame.remove("event") else {
        return Err(wrong("event: its name is missing, or is no text"));
    };
    match event.as_str() {
        "pusher:ping" => Ok(FromClient::Ping),
        "pusher:pong" => Ok(FromClient::Pong),
        "pusher:subscribe" => {
            let mut data = members(frame.remove("data"))?;
            let auth = text_of(&mut data, "auth")?;
            if auth.as_ref().is_some_and(|auth| auth.len() > AUTH_BYTES_MAX) {
                return Err(wrong("data.auth: it is far shorter"));
            }
            let channel_data = text_of(&mut data, "channel_data")?;
            Ok(FromClient::Subscribe { channel: channel_of(&mut data)?, auth, channel_data })
        }
        "pusher:unsubscribe" => {
            let mut data = members(frame.remove("data"))?;
            Ok(FromClient::Unsubscribe { channel: channel_of(&mut data)? })
        }
        event_name if event_name.starts_with(CLIENT_PREFIX) => client_event(event, frame),
        _ => Err(DecodeError(format!(
            "event: {} is nothing that a client says; its own events begin with {CLIENT_PREFIX}",
            motehub_domain::text::shown(&event, 60)
        ))),
    }
}

fn client_event(event: String, mut frame: Map<String, Value>) -> Result<FromClient, DecodeError> {
    if event.len() > EVENT_BYTES_MAX {
        return Err(DecodeError(format!("event: a name has at most {EVENT_BYTES_MAX} bytes")));
    }
    let data = match frame.remove("data") {
        Some(Value::String(text)) => text,
        None => "{}".to_owned(),
        Some(other) => other.to_string(),
    };
    if data.len() > DATA_BYTES_MAX {
        return Err(DecodeError(format!("data: an event has at most {DATA_BYTES_MAX} bytes")));
    }
    Ok(FromClient::Event { event, channel: channel_of(&mut frame)?, data })
}

/// Data is an object; some clients write that as a text.
fn members(data: Option<Value>) -> Result<Map<String, Value>, DecodeError> {
    let data = match data {
        Some(Value::String(text)) => serde_json::from_str(&text).ok(),
        other => other,
    };
    match data {
        Some(Value::Object(members)) => Ok(members),
        _ => Err(DecodeError("data: an object with a channel is expected".to_owned())),
    }
}

fn channel_of(members: &mut Map<String, Value>) -> Result<String, DecodeError> {
    text_of(members, "channel")?.ok_or_else(|| DecodeError("channel: its name is missing".to_owned()))
}

fn text_of(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, DecodeError> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(DecodeError(format!("{name}: a text is expected"))),
    }
}

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Who it is; one that is connected twice is one member.
    pub id: String,
    /// What it says of itself; null if nothing.
    pub info: Value,
}

impl Member {
    /// Reads `channel_data`.
    pub fn parse(channel_data: &str) -> Result<Self, DecodeError> {
        let wrong = || {
            DecodeError(format!(
                "channel_data: a JSON object with a user_id of 1 to {MEMBER_ID_BYTES_MAX} bytes, and a user_info \
                 of at most {MEMBER_INFO_BYTES_MAX}"
            ))
        };
        let mut data: Map<String, Value> = serde_json::from_str(channel_data).map_err(|_| wrong())?;
        let id = match data.remove("user_id") {
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err(wrong()),
        };
        let info = data.remove("user_info").unwrap_or_default();
        let is_small = |info: &Value| info.is_null() || info.to_string().len() <= MEMBER_INFO_BYTES_MAX;
        let is_id = (1..=MEMBER_ID_BYTES_MAX).contains(&id.len());
        if is_id && is_small(&info) { Ok(Self { id, info }) } else { Err(wrong()) }
    }
}

/// The first frame.
pub fn established(socket_id: &str, activity_timeout_s: u64) -> String {
    let data = json!({ "socket_id": socket_id, "activity_timeout": activity_timeout_s });
    json!({ "event": "pusher:connection_established", "data": data.to_string() }).to_string()
}

/// Something was wrong. Without a code the connection stays as it is.
pub fn error(code: Option<u16>, message: &str) -> String {
    json!({ "event": "pusher:error", "data": { "code": code, "message": message } }).to_string()
}

/// Asks whether the client hears.
pub fn ping() -> String {
    json!({ "event": "pusher:ping", "data": "{}" }).to_string()
}

/// Answers the same question.
pub fn pong() -> String {
    json!({ "event": "pusher:pong", "data": "{}" }).to_string()
}

/// A channel is heard from now on; on a presence channel with those who are there.
pub fn subscribed<'a>(channel: &str, members: Option<impl Iterator<Item = (&'a str, &'a Value)>>) -> String {
    let data = match members {
        None => json!({}),
        Some(members) => {
            let hash: Map<String, Value> = members.map(|(id, info)| (id.to_owned(), info.clone())).collect();
            let ids: Vec<&String> = hash.keys().collect();
            json!({ "presence": { "count": ids.len(), "ids": ids, "hash": hash } })
        }
    };
    let event = "pusher_internal:subscription_succeeded";
    json!({ "event": event, "channel": channel, "data": data.to_string() }).to_string()
}

/// A channel may not be heard.
pub fn not_subscribed(channel: &str, kind: &str, why: &str, status: u16) -> String {
    let data = json!({ "type": kind, "error": why, "status": status });
    json!({ "event": "pusher:subscription_error", "channel": channel, "data": data }).to_string()
}

/// Somebody came to a presence channel.
pub fn member_added(channel: &str, member: &Member) -> String {
    let data = json!({ "user_id": member.id, "user_info": member.info });
    json!({ "event": "pusher_internal:member_added", "channel": channel, "data": data.to_string() })
        .to_string()
}

/// Somebody left it.
pub fn member_removed(channel: &str, id: &str) -> String {
    let data = json!({ "user_id": id });
    json!({ "event": "pusher_internal:member_removed", "channel": channel, "data": data.to_string() })
        .to_string()
}

/// An event of a channel; with the member who said it, if it comes from one.
pub fn event(channel: &str, name: &str, data: &str, member: Option<&str>) -> String {
    let mut frame = json!({ "event": name, "channel": channel, "data": data });
    if let Some(id) = member {
        frame["user_id"] = json!(id);
    }
    frame.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_read() {
        let subscribe = |channel: &str, auth: Option<&str>, data: Option<&str>| FromClient::Subscribe {
            channel: channel.to_owned(),
            auth: auth.map(str::to_owned),
            channel_data: data.map(str::to_owned),
        };
        let cases = [
            (r#"{"event": "pusher:ping"}"#, FromClient::Ping),
            (r#"{"event":"pusher:pong","data":{}}"#, FromClient::Pong),
            (r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#, subscribe("news", None, None)),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"private-requests","auth":"k:00"}}"#,
                subscribe("private-requests", Some("k:00"), None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":"{\"channel\":\"presence-a\",\"auth\":\"k:00\",\"channel_data\":\"{}\"}"}"#,
                subscribe("presence-a", Some("k:00"), Some("{}")),
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#,
                FromClient::Unsubscribe { channel: "news".to_owned() },
            ),
            (
                r#"{"event":"client-typed","channel":"private-a","data":{"x":1}}"#,
                FromClient::Event {
                    event: "client-typed".to_owned(),
                    channel: "private-a".to_owned(),
                    data: r#"{"x":1}"#.to_owned(),
                },
            ),
        ];
        for (frame, expected) in cases {
            assert_eq!(from_client(frame), Ok(expected), "{frame}");
        }
    }

    #[test]
    fn what_is_no_frame_is_said_so() {
        let deep = format!(r#"{{"event":{}"#, "[".repeat(5000));
        let long = format!(r#"{{"event":"client-a","channel":"private-a","data":"{}"}}"#, "x".repeat(10_241));
        let cases = [
            ("", "not JSON"),
            ("[]", "JSON object"),
            ("{}", "event"),
            (r#"{"event":5}"#, "event"),
            (r#"{"event":"pusher:subscribe"}"#, "data"),
            (r#"{"event":"pusher:subscribe","data":[1]}"#, "data"),
            (r#"{"event":"pusher:subscribe","data":{"channel":5}}"#, "channel"),
            (r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":{}}}"#, "auth"),
            (r#"{"event":"pusher:nonsense"}"#, "pusher:nonsense"),
            (r#"{"event":"said","channel":"private-a","data":"x"}"#, "client-"),
            (r#"{"event":"client-a","data":"x"}"#, "channel"),
            (&long, "10240"),
            (&deep, "not JSON"),
        ];
        for (frame, part) in cases {
            let error = from_client(frame).expect_err(frame).0;
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn members_say_who_they_are() {
        let member = |text: &str| Member::parse(text).ok();
        let ada = Member { id: "7".to_owned(), info: json!({ "name": "Ada" }) };
        assert_eq!(member(r#"{"user_id":"7","user_info":{"name":"Ada"}}"#), Some(ada.clone()));
        assert_eq!(member(r#"{"user_id":7,"user_info":{"name":"Ada"}}"#), Some(ada));
        let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
        for bad in ["", "[]", "{}", r#"{"user_id":""}"#, r#"{"user_id":{}}"#, long.as_str()] {
            assert_eq!(member(bad), None, "{bad}");
        }
    }

    #[test]
    fn frames_are_those_that_were_captured() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(
            read(&established("123.456", 120)),
            json!({ "event": "pusher:connection_established",
                "data": "{\"activity_timeout\":120,\"socket_id\":\"123.456\"}" })
        );
        let none: Option<std::iter::Empty<(&str, &Value)>> = None;
        assert_eq!(
            read(&subscribed("private-requests", none)),
            json!({ "event": "pusher_internal:subscription_succeeded", "channel": "private-requests", "data": "{}" })
        );
        assert_eq!(
            read(&event("private-units", "App\\Events\\UnitUpdated", "{}", None)),
            json!({ "event": "App\\Events\\UnitUpdated", "channel": "private-units", "data": "{}" })
        );
        assert_eq!(
            read(&error(Some(4001), "no")),
            json!({ "event": "pusher:error",
            "data": { "code": 4001, "message": "no" } })
        );
        let info = json!({ "n": 1 });
        let there = subscribed("presence-a", Some([("b", &info), ("a", &Value::Null)].into_iter()));
        let data = read(read(&there)["data"].as_str().unwrap());
        assert_eq!(
            data,
            json!({ "presence": { "count": 2, "ids": ["a", "b"], "hash": { "a": null, "b": { "n": 1 } } } })
        );
    }
}
