//! What the resources of one node say, and what of that the hub was told: measurements at once, the shadow now and
//! then.

use std::collections::{HashMap, HashSet};

use motehub_domain::message::Uplink;
use motehub_domain::report::Announcement;
use motehub_domain::telemetry::Point;
use motehub_protocol::riot;
use serde_json::{Map, Value};

/// Most resources of one node.
pub(crate) const RESOURCES_MAX: usize = 64;
/// The shadow is told at most this often: some nodes say ten values a second.
const REPORT_EVERY_MS: u64 = 1_000;

/// The resources of a node.
#[derive(Default)]
pub(crate) struct Values {
    /// What each said last.
    values: HashMap<String, String>,
    units: HashSet<String>,
    /// What it was given, as people wrote it: `"1"`, 1 and true are all said as 1.
    given: HashMap<String, Value>,
    /// What the shadow is not told yet.
    news: Map<String, Value>,
    reported_ms: Option<u64>,
}

/// What a value comes to.
pub(crate) struct Taken {
    /// To store, if it is a measurement.
    pub(crate) points: Vec<Point>,
    /// Whether its unit was not known before.
    pub(crate) is_unit_new: bool,
}

impl Values {
    /// The node has just started: what is known of its resources is not so any more.
    pub(crate) fn restart(&mut self) {
        self.values.clear();
        self.news.clear();
        self.given.clear();
        self.reported_ms = None;
    }

    /// When the shadow is told what is new, if something is.
    pub(crate) fn report_at(&self) -> Option<u64> {
        let reported = self.reported_ms.filter(|_| !self.news.is_empty());
        reported.map(|reported| reported + REPORT_EVERY_MS)
    }

    /// A resource has a value. `None` if there are too many. A text that was not posted is no measurement.
    pub(crate) fn take(&mut self, name: &str, text: String, is_posted: bool) -> Option<Taken> {
        let is_new = self.values.get(name) != Some(&text);
        if !self.values.contains_key(name) && self.values.len() >= RESOURCES_MAX {
            return None;
        }
        let meaning = riot::meaning(&text);
        let is_measured = meaning.is_number() || is_posted && is_new || meaning.is_array() && is_new;
        let points = if is_measured { riot::points(name, &meaning) } else { Vec::new() };
        let has_unit = riot::quantity(&text).is_some_and(|(_, unit)| unit.is_some());
        let is_unit_new = has_unit && self.units.insert(name.to_owned());
        if is_new {
            let given = self.given.get(name).filter(|given| riot::said(given) == text).cloned();
            if let Some(reported) = given.or_else(|| riot::reported(&text, meaning)) {
                self.news.insert(name.to_owned(), reported);
            }
            self.values.insert(name.to_owned(), text);
        }
        Some(Taken { points, is_unit_new })
    }

    /// It took a value that it was given.
    pub(crate) fn took(&mut self, name: &str, value: &Value) {
        let is_known = self.values.contains_key(name);
        if is_known || self.values.len() < RESOURCES_MAX {
            self.values.insert(name.to_owned(), riot::said(value));
        }
        self.give(name, value);
        self.news.insert(name.to_owned(), value.clone());
        // Somebody waits to see this.
        self.reported_ms = None;
    }

    /// It is given a value: when it says the same text, it has what was meant.
    pub(crate) fn give(&mut self, name: &str, value: &Value) {
        if self.given.contains_key(name) || self.given.len() < RESOURCES_MAX {
            self.given.insert(name.to_owned(), value.clone());
        }
    }

    /// Whether a resource says this already.
    pub(crate) fn says(&self, name: &str, value: &Value) -> bool {
        self.values.get(name).is_some_and(|text| *text == riot::said(value))
    }

    /// What the node is, by its resources.
    pub(crate) fn introduction(&self) -> Option<Announcement> {
        riot::introduction(&self.values)
    }

    /// What the shadow shall be told now.
    pub(crate) fn take_report(&mut self, now_ms: u64) -> Option<Uplink> {
        let is_time = self.reported_ms.is_none_or(|reported| reported + REPORT_EVERY_MS <= now_ms);
        if self.news.is_empty() || !is_time {
            return None;
        }
        self.reported_ms = Some(now_ms);
        Some(riot::reporting(std::mem::take(&mut self.news)))
    }
}
