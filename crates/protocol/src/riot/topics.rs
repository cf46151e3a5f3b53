//! The topics of MQTT nodes, in MQTT and in MQTT-SN: a node says `node/check` now and then, and the values of its
//! resources as JSON with a `value`; it is told plain texts.

use serde_json::Value;

use super::{VALUE_BYTES_MAX, is_name};
use crate::payload::{self, Encoding};
use crate::{DecodeError, pyaiot};

/// Every node is asked here for its `node/check`, without a payload.
pub const CHECK_TOPIC: &str = "gateway/check";
/// How often that is, in milliseconds; some nodes say `node/check` only then.
pub const CHECK_EVERY_MS: u64 = 30_000;
/// What a node is asked at its `discover` topic: which resources it has.
pub const RESOURCES: &str = "resources";
/// And then: the value of each.
pub const VALUES: &str = "values";
/// Most names that a node says it has.
const NAMES_MAX: usize = 64;

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromNode {
    /// It is there, and is called so.
    Check {
        /// Its id.
        id: String,
    },
    /// It has these resources.
    Resources {
        /// Its id.
        id: String,
        /// Their names.
        names: Vec<String>,
    },
    /// One of them has a value.
    Value {
        /// Its id.
        id: String,
        /// Which.
        resource: String,
        /// What, as text.
        text: String,
    },
}

impl FromNode {
    /// Of which node it is.
    pub fn id(&self) -> &str {
        match self {
            Self::Check { id } | Self::Resources { id, .. } | Self::Value { id, .. } => id,
        }
    }
}

/// The id in a topic that nodes publish to, `None` within for `node/check`; `None` if they do not.
pub fn publisher(topic: &str) -> Option<Option<&str>> {
    if topic == "node/check" {
        return Some(None);
    }
    let (id, rest) = topic.strip_prefix("node/")?.split_once('/')?;
    (is_id(id) && is_name(rest) && !rest.contains(['/', '+', '#'])).then_some(Some(id))
}

/// Reads what a node published; `None` if the topic is none of theirs.
pub fn published(topic: &str, payload: &[u8]) -> Option<Result<FromNode, DecodeError>> {
    let id = publisher(topic)?;
    Some(match id {
        None => check(payload),
        Some(id) => match topic.rsplit('/').next().unwrap_or_default() {
            "resources" => resources(payload).map(|names| FromNode::Resources { id: id.to_owned(), names }),
            // A node that says `check` of itself by its own topic says nothing that is not known.
            "check" => Ok(FromNode::Check { id: id.to_owned() }),
            resource => value(payload).map(|text| FromNode::Value {
                id: id.to_owned(),
                resource: resource.to_owned(),
                text,
            }),
        },
    })
}

/// The id in a filter that nodes subscribe to, `None` within for `gateway/check`; `None` if they do not.
pub fn subscriber(filter: &str) -> Option<Option<&str>> {
    if filter == CHECK_TOPIC {
        return Some(None);
    }
    let (id, rest) = filter.strip_prefix("gateway/")?.split_once('/')?;
    let is_one = match rest {
        "discover" | "#" | "+/set" => true,
        _ => rest.strip_suffix("/set").is_some_and(|name| is_name(name) && !name.contains(['/', '+', '#'])),
    };
    (is_id(id) && is_one).then_some(Some(id))
}

/// Where a node is asked what it has.
pub fn discover_topic(id: &str) -> String {
    format!("gateway/{id}/discover")
}

/// Where a resource of a node is set.
pub fn set_topic(id: &str, resource: &str) -> String {
    format!("gateway/{id}/{resource}/set")
}

fn is_id(text: &str) -> bool {
    motehub_domain::device::is_external_id(text)
}

fn check(payload: &[u8]) -> Result<FromNode, DecodeError> {
    let json = payload::decode(Encoding::Json, "node/check", payload)?;
    match json.get("id").and_then(Value::as_str).filter(|id| is_id(id)) {
        Some(id) => Ok(FromNode::Check { id: id.to_owned() }),
        None => Err(DecodeError(
            "node/check has {\"id\": ID}, with 1 to 64 letters, digits or the signs - _ . :".to_owned(),
        )),
    }
}

fn resources(payload: &[u8]) -> Result<Vec<String>, DecodeError> {
    let json = payload::decode(Encoding::Json, "a list of resources", payload)?;
    let wrong = || DecodeError(format!("a list of resources has at most {NAMES_MAX} names"));
    let names = json.as_array().filter(|names| names.len() <= NAMES_MAX).ok_or_else(wrong)?;
    let name = |name: &Value| name.as_str().filter(|name| is_name(name)).map(str::to_owned);
    names.iter().map(name).collect::<Option<_>>().ok_or_else(wrong)
}

fn value(payload: &[u8]) -> Result<String, DecodeError> {
    let json = payload::decode(Encoding::Json, "a value", payload)?;
    let value = json.get("value").ok_or_else(|| DecodeError("say {\"value\": VALUE}".to_owned()))?;
    let text = pyaiot::data_text(value);
    if text.len() > VALUE_BYTES_MAX {
        return Err(DecodeError(format!("a value has at most {VALUE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_publish_is_read() {
        let said = |topic: &str, payload: &str| published(topic, payload.as_bytes()).map(|said| said.ok());
        let id = || "mqtt-7".to_owned();
        assert_eq!(said("node/check", r#"{"id": "mqtt-7"}"#), Some(Some(FromNode::Check { id: id() })));
        let names = ["board", "led"].map(str::to_owned).to_vec();
        let resources = FromNode::Resources { id: id(), names };
        assert_eq!(said("node/mqtt-7/resources", r#"["board","led"]"#), Some(Some(resources)));
        for payload in [r#"{"value": "21.4°C"}"#, r#"{"value": "21.4\u00b0C"}"#] {
            let (resource, text) = ("temperature".to_owned(), "21.4°C".to_owned());
            let value = FromNode::Value { id: id(), resource, text };
            assert_eq!(said("node/mqtt-7/temperature", payload), Some(Some(value)), "{payload}");
        }
        let wrong = [
            ("node/check", "{}"),
            ("node/check", r#"{"id": 7}"#),
            ("node/check", r#"{"id": "a/b"}"#),
            ("node/check", ""),
            ("node/mqtt-7/resources", r#"{"board":1}"#),
            ("node/mqtt-7/resources", "[1]"),
            ("node/mqtt-7/led", "1"),
            ("node/mqtt-7/led", r#"{"led":1}"#),
        ];
        for (topic, payload) in wrong {
            assert_eq!(said(topic, payload), Some(None), "{topic} {payload}");
        }
        for topic in
            ["node/mqtt-7", "node/mqtt-7/a/b", "node//led", "devices/a/b", "gateway/check", "node/+/led"]
        {
            assert_eq!(said(topic, "{}"), None, "{topic}");
        }
    }

    #[test]
    fn what_nodes_subscribe_to_is_known_with_whose_it_is() {
        let own =
            ["gateway/mqtt-7/discover", "gateway/mqtt-7/led/set", "gateway/mqtt-7/#", "gateway/mqtt-7/+/set"];
        for filter in own {
            assert_eq!(subscriber(filter), Some(Some("mqtt-7")), "{filter}");
        }
        assert_eq!(subscriber("gateway/check"), Some(None));
        for filter in
            ["#", "gateway/#", "gateway/+/discover", "gateway/mqtt-7/led", "node/check", "gateway//discover"]
        {
            assert_eq!(subscriber(filter), None, "{filter}");
        }
    }
}
