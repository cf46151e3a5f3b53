//! One node: where it is, what its resources say, and what of that the hub was told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use motehub_domain::id::{CommandId, DeviceId};
use motehub_domain::message::Uplink;
use motehub_domain::shadow::{Deed, Part, Patch, Request, Update};
use motehub_domain::telemetry::Point;
use motehub_protocol::riot;
use serde_json::{Map, Value};

use super::RESOURCES_MAX;

/// The shadow is told at most this often: some nodes post ten values a second.
const REPORT_EVERY_MS: u64 = 1_000;
/// Larger values are not in the shadow.
const REPORTED_BYTES_MAX: usize = 1_024;

/// How far it is with finding out what a node has.
#[derive(Debug)]
pub(super) enum Discovery {
    /// It has not begun, or was broken off.
    Wanted,
    /// It goes on: these resources are asked next.
    Running(VecDeque<Vec<String>>),
    /// All is known.
    Done,
}

/// A node that is there.
pub(super) struct Node {
    pub(super) device: DeviceId,
    pub(super) uid: String,
    /// From where it announced itself last.
    pub(super) place: SocketAddr,
    /// Whether it did so from the same port before.
    pub(super) is_steady: bool,
    /// Whether it is asked at that port, because it does not answer at the usual one.
    pub(super) is_at_its_port: bool,
    pub(super) discovery: Discovery,
    /// Something that is desired could not be said to it.
    pub(super) is_owed: bool,
    /// Commands that it was told and has not answered.
    pub(super) orders: HashSet<CommandId>,
    /// When something is due with it, as it is scheduled.
    pub(super) due_ms: Option<u64>,
    has_announced: bool,
    announced_ms: u64,
    silence_ms: u64,
    /// What each resource said last.
    values: HashMap<String, String>,
    units: HashSet<String>,
    /// What it was given, as people wrote it: `"1"`, 1 and true are all said as 1.
    given: HashMap<String, Value>,
    /// What the shadow is not told yet.
    news: Map<String, Value>,
    reported_ms: Option<u64>,
}

/// What a value comes to.
pub(super) struct Taken {
    /// To store, if it is a measurement.
    pub(super) point: Option<Point>,
    /// Whether its unit was not known before.
    pub(super) is_unit_new: bool,
}

impl Node {
    pub(super) fn new(
        device: DeviceId,
        uid: String,
        place: SocketAddr,
        silence_ms: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            device,
            uid,
            place,
            is_steady: false,
            is_at_its_port: false,
            discovery: Discovery::Wanted,
            is_owed: false,
            orders: HashSet::new(),
            due_ms: None,
            has_announced: false,
            announced_ms: now_ms,
            silence_ms,
            values: HashMap::new(),
            units: HashSet::new(),
            given: HashMap::new(),
            news: Map::new(),
            reported_ms: None,
        }
    }

    /// It announced itself.
    pub(super) fn announced(&mut self, from: SocketAddr, now_ms: u64) {
        self.is_steady = self.has_announced && self.place == from;
        self.has_announced = true;
        self.place = from;
        self.announced_ms = now_ms;
    }

    /// It has just started: what is known of its resources is not so any more.
    pub(super) fn restart(&mut self) {
        self.values.clear();
        self.news.clear();
        self.given.clear();
        self.reported_ms = None;
        if !matches!(self.discovery, Discovery::Running(..)) {
            self.discovery = Discovery::Wanted;
        }
    }

    pub(super) fn wants_discovery(&self) -> bool {
        matches!(self.discovery, Discovery::Wanted)
    }

    pub(super) fn is_silent(&self, now_ms: u64) -> bool {
        self.announced_ms + self.silence_ms <= now_ms
    }

    /// When something is due: it counts as gone, or the shadow is told.
    pub(super) fn next_moment(&self) -> u64 {
        let gone = self.announced_ms + self.silence_ms;
        match self.reported_ms {
            Some(reported) if !self.news.is_empty() => gone.min(reported + REPORT_EVERY_MS),
            Some(_) | None => gone,
        }
    }

    /// A resource has a value. `None` if it has too many. A text that was not posted is no measurement.
    pub(super) fn take(&mut self, name: &str, text: String, is_posted: bool) -> Option<Taken> {
        let is_new = self.values.get(name) != Some(&text);
        if !self.values.contains_key(name) && self.values.len() >= RESOURCES_MAX {
            return None;
        }
        let meaning = riot::meaning(&text);
        let is_measured = meaning.is_number() || is_posted && is_new || meaning.is_array() && is_new;
        let point = is_measured.then(|| riot::point(name, &meaning)).flatten();
        let has_unit = riot::quantity(&text).is_some_and(|(_, unit)| unit.is_some());
        let is_unit_new = has_unit && self.units.insert(name.to_owned());
        if is_new {
            if text.len() <= REPORTED_BYTES_MAX {
                let given = self.given.get(name).filter(|given| riot::said(given) == text);
                self.news.insert(name.to_owned(), given.cloned().unwrap_or(meaning));
            }
            self.values.insert(name.to_owned(), text);
        }
        Some(Taken { point, is_unit_new })
    }

    /// It took a value that it was given.
    pub(super) fn took(&mut self, name: &str, value: &Value) {
        let is_known = self.values.contains_key(name);
        if is_known || self.values.len() < RESOURCES_MAX {
            self.values.insert(name.to_owned(), riot::said(value));
            self.given.insert(name.to_owned(), value.clone());
        }
        self.news.insert(name.to_owned(), value.clone());
        // Somebody waits to see this.
        self.reported_ms = None;
    }

    /// Whether a resource says this already.
    pub(super) fn says(&self, name: &str, value: &Value) -> bool {
        self.values.get(name).is_some_and(|text| *text == riot::said(value))
    }

    /// What a resource said last.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The names of its resources.
    pub(super) fn resources(&self) -> impl Iterator<Item = &String> {
        self.values.keys()
    }

    /// What the shadow shall be told now.
    pub(super) fn take_report(&mut self, now_ms: u64) -> Option<Uplink> {
        let is_time = self.reported_ms.is_none_or(|reported| reported + REPORT_EVERY_MS <= now_ms);
        if self.news.is_empty() || !is_time {
            return None;
        }
        self.reported_ms = Some(now_ms);
        Some(reports(Part::Merged(std::mem::take(&mut self.news))))
    }
}

/// Nothing is known of the resources of a node any more.
pub(super) fn cleared() -> Uplink {
    reports(Part::Removed)
}

fn reports(reported: Part) -> Uplink {
    let state = Patch::Parts { desired: Part::Untouched, reported };
    let update = Update { state, tags: None, version: None, token: None, expires_in: None };
    Uplink::Shadow(Request { shadow: None, deed: Deed::Update(Box::new(update)) })
}
