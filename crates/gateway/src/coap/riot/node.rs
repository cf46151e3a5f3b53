//! One node: where it is, and how far it is known.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

use motehub_domain::id::{CommandId, DeviceId};
use motehub_protocol::coap::link::Link;

use crate::nodes::Values;

/// How far it is with finding out what a node has.
#[derive(Debug)]
pub(super) enum Discovery {
    /// It has not begun, or was broken off.
    Wanted,
    /// It goes on: these resources are asked next.
    Running(VecDeque<Resource>),
    /// All is known.
    Done,
}

/// A resource of its list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    /// The segments of its path.
    pub(super) path: Vec<String>,
    /// Whether the node tells of changes by itself (`;obs`, RFC 7641).
    pub(super) is_observable: bool,
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
    /// Its resources, as it lists them.
    pub(super) links: Vec<Link>,
    /// Something that is desired could not be said to it.
    pub(super) is_owed: bool,
    /// Commands that it was told and has not answered.
    pub(super) orders: HashSet<CommandId>,
    /// When something is due with it, as it is scheduled.
    pub(super) due_ms: Option<u64>,
    /// What its resources say.
    pub(super) values: Values,
    has_announced: bool,
    announced_ms: u64,
    silence_ms: u64,
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
            links: Vec::new(),
            is_owed: false,
            orders: HashSet::new(),
            due_ms: None,
            values: Values::default(),
            has_announced: false,
            announced_ms: now_ms,
            silence_ms,
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
        self.values.restart();
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
        self.values.report_at().map_or(gone, |report| gone.min(report))
    }
}
