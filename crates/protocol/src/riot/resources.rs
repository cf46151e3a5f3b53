//! Nodes that are a set of resources, however they are reached: what is said of several at once becomes few uplinks,
//! and what is desired of one is a text to write to it.

use std::collections::HashMap;

use motehub_domain::capability;
use motehub_domain::id::CommandId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::report::{self, Announcement, Event, WORD_BYTES_MAX};
use motehub_domain::shadow::{Deed, Part, Patch, Request, Update};
use motehub_domain::telemetry::{Metric, Point};
use serde_json::{Map, Value};

use super::{meaning, points, quantity, said, value};
use crate::DecodeError;

/// Larger texts are not in the shadow, which has room for little.
const REPORTED_BYTES_MAX: usize = 1_024;
/// Deepest nesting of what is; a shadow takes one level more.
const LEVELS_MAX: usize = 5;

/// Resources that say what a node is, beside its board and its version.
const ATTRIBUTES: [&str; 5] = ["name", "os", "mcu", "vendor", "position"];

/// What a node said, of one resource or of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// What it reports, by resource.
    pub reported: Map<String, Value>,
    /// What it measured.
    pub points: Vec<Point>,
    /// In which units.
    pub units: Vec<(Metric, String)>,
}

impl Heard {
    /// The node said this of a resource.
    ///
    /// # Errors
    /// If the text is too long.
    pub fn add(&mut self, resource: &str, text: &str) -> Result<(), DecodeError> {
        let text = value(resource, text.as_bytes())?;
        let meaning = meaning(&text);
        // Names and the like are reported; they are no measurements.
        if !meaning.is_string() {
            self.points.extend(points(resource, &meaning));
        }
        if let (Some((_, Some(unit))), Ok(metric)) = (quantity(&text), Metric::parse(resource)) {
            self.units.push((metric, unit.to_owned()));
        }
        if let Some(meaning) = reported(&text, meaning) {
            self.reported.insert(resource.to_owned(), meaning);
        }
        Ok(())
    }

    /// As uplinks.
    pub fn uplinks(self) -> Vec<Uplink> {
        let Self { reported, points, units } = self;
        let telemetry = (!points.is_empty()).then_some(Uplink::Telemetry(points));
        let units = units.into_iter().map(|(metric, unit)| Uplink::Unit { metric, unit });
        let report = (!reported.is_empty()).then(|| reporting(reported));
        telemetry.into_iter().chain(units).chain(report).collect()
    }
}

/// What the shadow is told of a text and its meaning; `None` if it is too large for it.
pub fn reported(text: &str, meaning: Value) -> Option<Value> {
    let fits = is_storable(&meaning, LEVELS_MAX);
    let meaning = if fits { meaning } else { Value::String(text.to_owned()) };
    (text.len() <= REPORTED_BYTES_MAX).then_some(meaning)
}

/// In a shadow null takes away, and nesting has an end.
fn is_storable(json: &Value, levels: usize) -> bool {
    match json {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_storable(item, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|item| is_storable(item, levels - 1)),
    }
}

/// The node started again: what it reported before counts no more, so that it is told anew what is desired.
pub fn restarted() -> Vec<Uplink> {
    let event = Event { name: "reset".to_owned(), data: Value::Null, time: None };
    vec![Uplink::Event(event), cleared()]
}

/// The shadow is told what is so now.
pub fn reporting(news: Map<String, Value>) -> Uplink {
    reports(Part::Merged(news))
}

/// Nothing is known of the resources of a node any more.
pub fn cleared() -> Uplink {
    reports(Part::Removed)
}

fn reports(reported: Part) -> Uplink {
    let state = Patch::Parts { desired: Part::Untouched, reported };
    let update = Update { state, tags: None, version: None, token: None, expires_in: None };
    Uplink::Shadow(Request { shadow: None, deed: Deed::Update(Box::new(update)) })
}

/// What a node is, by what its resources said; `None` if that means nothing.
pub fn introduction(values: &HashMap<String, String>) -> Option<Announcement> {
    let word = |name: &str| {
        let text = report::clean(values.get(name)?, WORD_BYTES_MAX / 4);
        Some(text).filter(|text| !text.is_empty())
    };
    let mut capabilities: Vec<String> =
        values.keys().filter_map(|name| capability::name(name).ok()).collect();
    capabilities.sort();
    capabilities.truncate(report::CAPABILITIES_MAX);
    let attributes: Map<String, Value> = ATTRIBUTES
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), Value::String(report::clean(values.get(name)?, 64)))))
        .collect();
    Some(Announcement {
        model: word("board"),
        version: word("version"),
        capabilities,
        attributes: report::attributes(attributes).ok()?,
        ..Announcement::default()
    })
}

/// A text that is to be written to a resource of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Of which.
    pub resource: String,
    /// As people wrote it: a node that says the same text has what is desired.
    pub value: Value,
    /// The command that asks for it; without one it is desired in the shadow.
    pub command: Option<CommandId>,
}

impl Write {
    /// The text.
    pub fn text(&self) -> String {
        said(&self.value)
    }
}

/// A downlink as what is to be written.
pub fn writes(downlink: &Downlink) -> Vec<Write> {
    let write = |resource: &str, value: &Value, command| {
        let resource = resource.strip_prefix('/').unwrap_or(resource).to_owned();
        Write { resource, value: value.clone(), command }
    };
    match downlink {
        Downlink::Command(order) => vec![write(&order.name, &order.arguments, Some(order.id))],
        Downlink::Delta(delta) if delta.shadow.is_none() => {
            delta.state.iter().map(|(name, value)| write(name, value, None)).collect()
        }
        // A node knows one shadow, and nothing else of what may be said to a device.
        Downlink::Delta(_)
        | Downlink::Shadow(_)
        | Downlink::Offer(_)
        | Downlink::Cancel(_)
        | Downlink::Commit(_)
        | Downlink::Revert(_)
        | Downlink::Credential(_)
        | Downlink::Passed(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_of_many_resources_is_few_uplinks() {
        let mut heard = Heard::default();
        let said = [("name", "Node 7"), ("temperature", "23.4°C\0\0"), ("led", "led:1"), ("imu", "[1,2]")];
        for (resource, text) in said {
            heard.add(resource, text).expect("is short");
        }
        assert!(heard.add("js", &"x".repeat(5000)).is_err());
        let reported = json!({ "name": "Node 7", "temperature": 23.4, "led": 1, "imu": [1, 2] });
        assert_eq!(Value::Object(heard.reported.clone()), reported);
        let metrics: Vec<&str> = heard.points.iter().map(|point| point.metric.as_str()).collect();
        assert_eq!(metrics, ["temperature", "led", "imu"]);
        let units: Vec<&str> = heard.units.iter().map(|(_, unit)| unit.as_str()).collect();
        assert_eq!(units, ["°C"]);
        assert_eq!(heard.uplinks().len(), 3);
        assert!(Heard::default().uplinks().is_empty());
        let mut odd = Heard::default();
        for (resource, text) in [("hole", "[null]"), ("deep", "[[[[[[1]]]]]]"), ("long", &"x".repeat(2000))] {
            odd.add(resource, text).expect("is short");
        }
        let reported = json!({ "hole": "[null]", "deep": "[[[[[[1]]]]]]" });
        assert_eq!(Value::Object(odd.reported), reported, "a shadow would refuse them otherwise");
    }
}
