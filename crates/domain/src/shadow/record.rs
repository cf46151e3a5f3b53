//! What is kept of a shadow, and how an update changes it.

use serde_json::{Map, Value};

use super::update::{Part, Patch};
use super::{
    Delta, EXPIRES_IN_RANGE, PAUSES, Refusal, STATE_BYTES_MAX, ShadowName, TAGS_BYTES_MAX, TOLD_AT_ONCE,
    Update, tree,
};
use crate::change::Actor;
use crate::id::DeviceId;
use crate::time::{Span, Time};

/// A shadow as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Whose.
    pub device: DeviceId,
    /// Its name; `None` is the device's one without a name.
    pub name: Option<ShadowName>,
    /// What people want.
    pub desired: Section,
    /// What the device says.
    pub reported: Section,
    /// What the hub notes; never sent to a device.
    pub tags: Map<String, Value>,
    /// One more with every accepted update; 0 if it never was.
    pub version: i64,
    /// When it changed.
    pub updated_at: Time,
    /// It was deleted; its version is remembered.
    pub is_deleted: bool,
    /// When desired values end.
    pub expiry: Expiry,
    /// How often the device was told what it does not report.
    pub told: Told,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// Values, and when each came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// The values.
    pub values: Map<String, Value>,
    /// The same tree with milliseconds since 1970 for each leaf.
    pub times: Map<String, Value>,
}

/// When desired values end: a tree with milliseconds since 1970 for each leaf that does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expiry(pub Map<String, Value>);

/// How often a device was told what it does not report since somebody last wished for something, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// How often.
    pub times: i64,
    /// When last.
    pub at: Time,
    /// It reported something else too soon after that: when it is told again.
    pub again_at: Option<Time>,
}

/// One revision of a shadow, for its history.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Larger for later ones.
    pub revision: i64,
    /// The version that began with it.
    pub version: i64,
    /// When.
    pub at: Time,
    /// Who made it.
    pub actor: Actor,
    /// What was desired then.
    pub desired: Map<String, Value>,
    /// What was reported then.
    pub reported: Map<String, Value>,
    /// The shadow was deleted.
    pub is_deleted: bool,
}

impl Shadow {
    /// One that does not exist yet.
    pub fn none(device: DeviceId, name: Option<ShadowName>) -> Self {
        Self {
            device,
            name,
            desired: Section::default(),
            reported: Section::default(),
            tags: Map::new(),
            version: 0,
            updated_at: Time(0),
            is_deleted: false,
            expiry: Expiry::default(),
            told: Told::default(),
            revision: 0,
        }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.revision > 0 && !self.is_deleted
    }

    /// What is desired and not reported.
    pub fn delta_state(&self) -> Map<String, Value> {
        tree::difference(&self.desired.values, &self.reported.values)
    }

    /// What the device is to be told; `None` if it reports all that is desired.
    pub fn delta(&self) -> Option<Delta> {
        let state = self.delta_state();
        let times = tree::like(&self.desired.times, &state);
        let Self { name, version, updated_at, .. } = self;
        let delta =
            Delta { shadow: name.clone(), version: *version, at: *updated_at, state, times, is_again: false };
        (!delta.state.is_empty()).then_some(delta)
    }

    /// When something is to be done about it.
    pub fn deadline(&self) -> Option<Time> {
        tree::earliest(&self.expiry.0).map(Time).into_iter().chain(self.told.again_at).min()
    }

    /// The desired values that have ended, as a patch that takes them away.
    pub(super) fn ended(&self, now: Time) -> Option<Map<String, Value>> {
        let ended = tree::until(&self.expiry.0, now.0);
        (!ended.is_empty()).then_some(ended)
    }

    pub(super) fn revision_by(&self, actor: &Actor) -> Revision {
        let Self { revision, version, updated_at, desired, reported, is_deleted, .. } = self;
        Revision {
            revision: *revision,
            version: *version,
            at: *updated_at,
            actor: actor.clone(),
            desired: desired.values.clone(),
            reported: reported.values.clone(),
            is_deleted: *is_deleted,
        }
    }

    /// Merges what is wanted.
    pub(super) fn apply(&mut self, update: &Update, now: Time) -> Result<(), Refusal> {
        let ends = match update.expires_in {
            Some(span) if span < EXPIRES_IN_RANGE.0 || span > EXPIRES_IN_RANGE.1 => {
                return Err(Refusal::InvalidExpiry);
            }
            span => span.map_or(Value::Null, |span| (now + span).0.into()),
        };
        match &update.state {
            Patch::Clear => {
                (self.desired, self.reported) = (Section::default(), Section::default());
                self.expiry = Expiry::default();
            }
            Patch::Parts { desired, reported } => {
                match desired {
                    Part::Untouched => {}
                    Part::Removed => self.expiry = Expiry::default(),
                    Part::Merged(patch) => tree::merge(&mut self.expiry.0, &tree::leaves(patch, &ends)),
                }
                self.desired.apply(desired, now);
                self.reported.apply(reported, now);
            }
        }
        if let Some(tags) = &update.tags {
            tree::merge(&mut self.tags, tags);
        }
        if tree::size(&self.desired.values) + tree::size(&self.reported.values) > STATE_BYTES_MAX
            || tree::size(&self.tags) > TAGS_BYTES_MAX
        {
            return Err(Refusal::TooLarge);
        }
        (self.updated_at, self.is_deleted) = (now, false);
        self.revision += 1;
        Ok(())
    }
}

impl Section {
    fn apply(&mut self, part: &Part, now: Time) {
        match part {
            Part::Untouched => {}
            Part::Removed => *self = Self::default(),
            Part::Merged(patch) => {
                tree::merge(&mut self.values, patch);
                tree::merge_times(&mut self.times, patch, now);
            }
        }
    }
}

impl Told {
    /// Whether the device is told now that the shadow changed. A new wish is told at once; a device that goes on
    /// reporting something else is told again after longer and longer pauses.
    pub(super) fn ask(&mut self, differs: bool, is_new_wish: bool, now: Time) -> bool {
        if !differs {
            *self = Self::default();
            return false;
        }
        if is_new_wish {
            self.times = 0;
        }
        let due = self.at + self.pause();
        if self.times > 0 && due > now {
            self.again_at = Some(due);
            return false;
        }
        *self = Self { times: self.times + 1, at: now, again_at: None };
        true
    }

    fn pause(self) -> Span {
        match self.times - TOLD_AT_ONCE {
            ..0 => Span(0),
            doublings => Span((PAUSES.0.0 << doublings.min(20)).min(PAUSES.1.0)),
        }
    }
}
