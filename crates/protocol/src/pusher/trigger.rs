//! What a program asks to be published by the HTTP API: one event for some channels, or a batch of events.

use serde_json::{Map, Value};

use super::channel::Channel;
use super::{DATA_BYTES_MAX, EVENT_BYTES_MAX};
use crate::DecodeError;

/// Most channels of one event.
const CHANNELS_MAX: usize = 100;
/// Most events of a batch.
const BATCH_MAX: usize = 10;

/// An event to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// What it says.
    pub data: String,
    /// Where; at least one.
    pub channels: Vec<Channel>,
    /// The socket that is not told.
    pub except: Option<String>,
    /// What the program wants to know of the channels.
    pub info: Option<String>,
}

/// Why nothing is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is not what it should be.
    Wrong(String),
    /// It is too large.
    TooLarge(String),
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Wrong(error.0)
    }
}

/// Reads the body of `POST /apps/{id}/events`.
pub fn one(body: &[u8]) -> Result<Trigger, Refused> {
    trigger(object(body)?)
}

/// Reads the body of `POST /apps/{id}/batch_events`.
pub fn batch(body: &[u8]) -> Result<Vec<Trigger>, Refused> {
    let Some(Value::Array(events)) = object(body)?.remove("batch") else {
        return Err(wrong("batch: a list of events is expected"));
    };
    if events.len() > BATCH_MAX {
        return Err(Refused::TooLarge(format!("batch: at most {BATCH_MAX} events")));
    }
    let events = events.into_iter().map(|event| match event {
        Value::Object(members) => trigger(members),
        _ => Err(wrong("batch: each event is an object")),
    });
    events.collect()
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::Wrong(format!("the body is a JSON object: {error}")))
}

fn trigger(mut members: Map<String, Value>) -> Result<Trigger, Refused> {
    let name = text(&mut members, "name")?.ok_or_else(|| wrong("name: the name of the event is missing"))?;
    if name.is_empty() || name.len() > EVENT_BYTES_MAX {
        return Err(Refused::Wrong(format!("name: 1 to {EVENT_BYTES_MAX} bytes")));
    }
    let data = text(&mut members, "data")?.ok_or_else(|| wrong("data: what the event says is missing"))?;
    if data.len() > DATA_BYTES_MAX {
        return Err(Refused::TooLarge(format!("data: at most {DATA_BYTES_MAX} bytes")));
    }
    let channels = match (text(&mut members, "channel")?, members.remove("channels")) {
        (Some(channel), None) => vec![Channel::parse(&channel)?],
        (None, Some(Value::Array(names))) if names.len() <= CHANNELS_MAX => {
            let parse = |name: &Value| Channel::parse(name.as_str().unwrap_or_default());
            names.iter().map(parse).collect::<Result<Vec<_>, _>>()?
        }
        (None, Some(Value::Array(_))) => {
            return Err(Refused::Wrong(format!("channels: at most {CHANNELS_MAX}")));
        }
        _ => return Err(wrong("channels: give channel, a text, or channels, a list of texts")),
    };
    if channels.is_empty() {
        return Err(wrong("channels: give at least one"));
    }
    let (except, info) = (text(&mut members, "socket_id")?, text(&mut members, "info")?);
    Ok(Trigger { name, data, channels, except, info })
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Refused> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::Wrong(format!("{name}: a text is expected"))),
    }
}

fn wrong(why: &str) -> Refused {
    Refused::Wrong(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_the_libraries_write_it() {
        let read = one(br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#).unwrap();
        assert_eq!((read.name.as_str(), read.data.as_str()), ("foo", r#"{"some":"data"}"#));
        assert_eq!((read.channels.len(), read.except, read.info), (1, None, None));
        let read =
            one(br#"{"name":"a","channel":"b","data":"c","socket_id":"1.2","info":"user_count"}"#).unwrap();
        assert_eq!((read.except.as_deref(), read.info.as_deref()), (Some("1.2"), Some("user_count")));
        let two = batch(
            br#"{"batch":[{"name":"a","channel":"b","data":"c"},{"name":"a","channel":"d","data":"c"}]}"#,
        );
        assert_eq!(two.unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_published_is_named() {
        let channels = vec!["\"a\""; 101].join(",");
        let (many, large) = (
            format!(r#"{{"name":"a","data":"b","channels":[{channels}]}}"#),
            format!(r#"{{"name":"a","data":"{}","channel":"b"}}"#, "x".repeat(10_241)),
        );
        for (body, part) in [
            ("", "JSON"),
            ("[]", "JSON"),
            ("{}", "name"),
            (r#"{"name":"a","channel":"b"}"#, "data"),
            (r#"{"name":"a","channel":"b","data":{"x":1}}"#, "data"),
            (r#"{"name":"a","data":"b"}"#, "channels"),
            (r#"{"name":"a","data":"b","channels":[]}"#, "at least one"),
            (r#"{"name":"a","data":"b","channels":["a b"]}"#, "channel"),
            (&many, "at most 100"),
        ] {
            let Err(Refused::Wrong(why)) = one(body.as_bytes()) else { panic!("{body}") };
            assert!(why.contains(part), "{why}");
        }
        assert!(matches!(one(large.as_bytes()), Err(Refused::TooLarge(_))));
        let eleven = [r#"{"name":"a","channel":"b","data":"c"}"#; 11].join(",");
        assert!(matches!(batch(format!(r#"{{"batch":[{eleven}]}}"#).as_bytes()), Err(Refused::TooLarge(_))));
        assert!(batch(b"{}").is_err());
    }
}
