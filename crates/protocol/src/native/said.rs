//! What a device says in the native protocol, beside telemetry: `announce`, `event`, `log` and `task`.

use motehub_domain::artifact::Digest;
use motehub_domain::rejection::Rejection;
use motehub_domain::report::{
    self, ANNOUNCEMENT_BYTES_MAX, Announcement, Crash, EVENT_BYTES_MAX, Event, LOG_CHARS_MAX,
    LOG_LINES_PER_MESSAGE_MAX, Level, LogLine, Progress, REASON_CHARS_MAX, Running, TRACEBACK_CHARS_MAX,
    TaskReport, WORD_BYTES_MAX,
};
use motehub_domain::time::Time;
use serde_json::{Map, Value};

use crate::{DecodeError, telemetry};

/// The version of the protocol.
pub const PROTOCOL: i64 = 1;
/// What stands before a digest.
const DIGEST_PREFIX: &str = "sha256:";

/// `{"protocol":1,"model":…,"firmware":…,"version":…,"capabilities":[…],"free_memory":…,"running":…,…}`.
pub(super) fn announcement(value: Value) -> Result<Announcement, DecodeError> {
    if value.to_string().len() > ANNOUNCEMENT_BYTES_MAX {
        // A list that is far too long is named rather than the size it gives the whole.
        if let Some(Value::Array(list)) = value.get("capabilities") {
            capabilities(list)?;
        }
        return Err(DecodeError(format!("an announcement has at most {ANNOUNCEMENT_BYTES_MAX} bytes")));
    }
    let mut fields = Fields::of("an announcement", value)?;
    match fields.take("protocol").as_i64() {
        Some(PROTOCOL) => {}
        Some(other) => {
            return Err(DecodeError(format!("protocol: {other} is not known; this hub speaks {PROTOCOL}")));
        }
        None => return Err(DecodeError("protocol: say which, as in {\"protocol\":1}".to_owned())),
    }
    let attributes = match fields.take("attributes") {
        Value::Null => Map::new(),
        Value::Object(given) => report::attributes(given).map_err(refused)?,
        _ => return Err(DecodeError("attributes: an object of texts, numbers and booleans".to_owned())),
    };
    let running = match fields.take_known("running") {
        None => None,
        Some(Value::Null) => Some(Running::Nothing),
        Some(value) => Some(Running::Artifact(digest("running", &value)?)),
    };
    let capabilities = match fields.take("capabilities") {
        // A script engine that has one kind of table writes an empty list as an empty object.
        Value::Object(none) if none.is_empty() => Vec::new(),
        Value::Null => Vec::new(),
        Value::Array(list) => capabilities(&list)?,
        _ => return Err(DecodeError("capabilities: a list of words".to_owned())),
    };
    Ok(Announcement {
        model: fields.word("model")?,
        firmware: fields.word("firmware")?,
        version: fields.word("version")?,
        reset: fields.word("reset")?,
        capabilities,
        free_memory: fields.number("free_memory")?,
        running,
        safe_mode: fields.truth("safe_mode")?,
        attributes,
    })
}

fn capabilities(list: &[Value]) -> Result<Vec<String>, DecodeError> {
    report::count_capabilities(list.len()).map_err(refused)?;
    let words: Option<Vec<String>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    let words = words.ok_or_else(|| DecodeError("capabilities: a list of words".to_owned()))?;
    report::capabilities(&words).map_err(refused)
}

/// `{"name":"button","data":…,"ts":…}`.
pub(super) fn event(value: Value) -> Result<Event, DecodeError> {
    let mut fields = Fields::of("an event", value)?;
    let name = fields.word("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| DecodeError("name: an event has a name".to_owned()))?;
    let data = fields.take("data");
    if data.to_string().len() > EVENT_BYTES_MAX {
        return Err(DecodeError(format!("data: at most {EVENT_BYTES_MAX} bytes of JSON")));
    }
    Ok(Event { name, data, time: fields.time()? })
}

/// `{"level":"info","text":…,"ts":…}`, an array of those, or only the text.
pub(super) fn log(value: Value) -> Result<Vec<LogLine>, DecodeError> {
    match value {
        Value::Array(items) if items.is_empty() => Err(DecodeError("there is no line in it".to_owned())),
        Value::Array(items) if items.len() > LOG_LINES_PER_MESSAGE_MAX => {
            Err(DecodeError(format!("a message has at most {LOG_LINES_PER_MESSAGE_MAX} log lines")))
        }
        Value::Array(items) => {
            let lines = items.into_iter().enumerate();
            lines.map(|(i, item)| line(item).map_err(|e| DecodeError(format!("item {i}: {}", e.0)))).collect()
        }
        one => line(one).map(|line| vec![line]),
    }
}

fn line(value: Value) -> Result<LogLine, DecodeError> {
    if let Value::String(text) = &value {
        return Ok(LogLine { level: Level::Info, text: report::clean(text, LOG_CHARS_MAX), time: None });
    }
    let mut fields = Fields::of("a log line", value)?;
    let level = match fields.take("level") {
        Value::Null => Level::Info,
        level => level
            .as_str()
            .and_then(Level::parse)
            .ok_or_else(|| DecodeError("level: one of debug, info, warn and error".to_owned()))?,
    };
    let text = fields.text("text")?.ok_or_else(|| DecodeError("text: a log line has a text".to_owned()))?;
    Ok(LogLine { level, text: report::clean(&text, LOG_CHARS_MAX), time: fields.time()? })
}

/// `{"digest":"sha256:…","state":"Fetching|Applying|Done|Failed","reason":…,"traceback":…,"crashes":…}`.
pub(super) fn task(value: Value) -> Result<TaskReport, DecodeError> {
    let mut fields = Fields::of("the state of a task", value)?;
    let digest = digest("digest", &fields.take("digest"))?;
    let reason = fields.text("reason")?.map(|text| report::clean(&text, REASON_CHARS_MAX));
    let state = fields.take("state");
    let progress = match state.as_str() {
        Some("Fetching") => Progress::Fetching(reason),
        Some("Applying") => Progress::Applying,
        Some("Done") => Progress::Done,
        Some("Failed") => Progress::Failed(Crash {
            reason: reason.unwrap_or_else(|| "the device gave no reason".to_owned()),
            traceback: fields.text("traceback")?.map(|text| report::clean(&text, TRACEBACK_CHARS_MAX)),
            crashes: fields.number("crashes")?,
            safe_mode: fields.truth("safe_mode")?,
        }),
        _ => return Err(DecodeError("state: one of Fetching, Applying, Done and Failed".to_owned())),
    };
    Ok(TaskReport { digest, progress })
}

/// How a digest is written.
pub fn digest_text(digest: Digest) -> String {
    format!("{DIGEST_PREFIX}{digest}")
}

/// Reads `sha256:<64 hexadecimal digits>`.
pub fn parse_digest(text: &str) -> Option<Digest> {
    text.strip_prefix(DIGEST_PREFIX)?.parse().ok()
}

fn digest(field: &str, value: &Value) -> Result<Digest, DecodeError> {
    let wrong = || DecodeError(format!("{field}: sha256: and 64 hexadecimal digits"));
    value.as_str().and_then(parse_digest).ok_or_else(wrong)
}

fn refused(rejection: Rejection) -> DecodeError {
    DecodeError(rejection.sentence)
}

/// The members of an object. Those that nobody asks for are left out of account: a newer agent may say more.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(what: &str, value: Value) -> Result<Self, DecodeError> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(DecodeError(format!("{what} is an object"))),
        }
    }

    /// The member; null if it is not there.
    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or(Value::Null)
    }

    fn take_known(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, DecodeError> {
        match self.take(name) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(DecodeError(format!("{name}: a text"))),
        }
    }

    /// A short text on one line.
    fn word(&mut self, name: &str) -> Result<Option<String>, DecodeError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if text.len() > WORD_BYTES_MAX || text.chars().any(char::is_control) {
            let why = format!("{name}: at most {WORD_BYTES_MAX} bytes without control characters");
            return Err(DecodeError(why));
        }
        Ok(Some(text))
    }

    fn number(&mut self, name: &str) -> Result<Option<i64>, DecodeError> {
        match self.take(name) {
            Value::Null => Ok(None),
            value => {
                let whole = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
                whole.map(Some).ok_or_else(|| DecodeError(format!("{name}: a number")))
            }
        }
    }

    fn truth(&mut self, name: &str) -> Result<bool, DecodeError> {
        match self.take(name) {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(truth),
            _ => Err(DecodeError(format!("{name}: true or false"))),
        }
    }

    fn time(&mut self) -> Result<Option<Time>, DecodeError> {
        match self.take("ts") {
            Value::Null => Ok(None),
            value => telemetry::time(&value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(kind: &str, value: Value) -> String {
        let text = |outcome: Result<String, DecodeError>| outcome.unwrap_or_else(|e| format!("error: {e}"));
        match kind {
            "announce" => text(announcement(value).map(|said| format!("{said:?}"))),
            "event" => text(event(value).map(|said| format!("{said:?}"))),
            "log" => text(log(value).map(|said| format!("{said:?}"))),
            _ => text(task(value).map(|said| format!("{said:?}"))),
        }
    }

    #[test]
    fn what_devices_say_is_understood() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let cases = [
            ("announce", json!({ "protocol": 1 }), "capabilities: []"),
            ("announce", json!({ "protocol": 1, "capabilities": {} }), "capabilities: []"),
            ("announce", json!({ "protocol": 1, "capabilities": ["b", "a", "b"] }), "[\"a\", \"b\"]"),
            ("announce", json!({ "protocol": 1, "running": null }), "Some(Nothing)"),
            ("announce", json!({ "protocol": 1, "running": digest }), "Some(Artifact(abab"),
            ("announce", json!({ "protocol": 1, "free_memory": 31234.0, "tomorrow": [] }), "Some(31234)"),
            ("event", json!({ "name": "button" }), "data: Null, time: None"),
            ("event", json!({ "name": "button", "ts": 1700000000 }), "Time(1700000000000)"),
            ("log", json!("hello"), "Info, text: \"hello\""),
            ("log", json!([{ "level": "warn", "text": "a" }, { "text": "b" }]), "Warn"),
            ("task", json!({ "digest": digest, "state": "Done" }), "Done"),
            ("task", json!({ "digest": digest, "state": "Failed" }), "the device gave no reason"),
            ("task", json!({ "digest": digest, "state": "Failed", "safe_mode": true }), "safe_mode: true"),
        ];
        for (kind, value, expected) in cases {
            let got = outcome(kind, value.clone());
            assert!(!got.starts_with("error") && got.contains(expected), "{kind} {value}: {got}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_the_field() {
        let many: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
        let cases = [
            ("announce", json!([]), "an object"),
            ("announce", json!({}), "protocol: say which"),
            ("announce", json!({ "protocol": 2 }), "2 is not known"),
            ("announce", json!({ "protocol": 1, "capabilities": many }), "10000 were given; at most 64"),
            ("announce", json!({ "protocol": 1, "capabilities": [1] }), "capabilities: a list"),
            ("announce", json!({ "protocol": 1, "capabilities": ["Relay"] }), "small letters"),
            ("announce", json!({ "protocol": 1, "attributes": { "a": [] } }), "\"a\""),
            ("announce", json!({ "protocol": 1, "running": "abc" }), "running: sha256"),
            ("announce", json!({ "protocol": 1, "model": "x".repeat(65) }), "model: at most 64"),
            ("announce", json!({ "protocol": 1, "x": "y".repeat(9000) }), "8192 bytes"),
            ("event", json!({ "data": 1 }), "name"),
            ("event", json!({ "name": "a", "ts": "now" }), "a time is a number"),
            ("event", json!({ "name": "a", "data": "x".repeat(9000) }), "data: at most"),
            ("log", json!([]), "no line"),
            ("log", json!(vec!["x"; 101]), "100 log lines"),
            ("log", json!([{ "level": "loud", "text": "a" }]), "item 0: level"),
            ("log", json!({ "level": "info" }), "text"),
            ("task", json!({ "state": "Done" }), "digest: sha256"),
            (
                "task",
                json!({ "digest": format!("sha256:{}", "a".repeat(64)), "state": "done" }),
                "state: one",
            ),
        ];
        for (kind, value, expected) in cases {
            let got = outcome(kind, value);
            assert!(got.starts_with("error") && got.contains(expected), "{kind} {expected}: {got}");
        }
    }
}
