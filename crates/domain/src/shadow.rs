//! The shadow: a document of a device with what people want (desired) and what the device says (reported). What is
//! desired and not reported is the delta; the device is told of it until it agrees.
//!
//! A device has one shadow without a name and any number of named ones. The rules are those of the AWS IoT Device
//! Shadow service, so that its device SDKs work unmodified; tags and time limits are our own and never reach a
//! device.

mod document;
mod record;
mod tree;
mod update;

use serde_json::{Map, Value, json};

use crate::change::{Actor, Change, ChangeKind};
use crate::device::Device;
use crate::effects::{Effects, Save};
use crate::id::DeviceId;
use crate::message::Downlink;
use crate::time::{Span, Time};

pub use document::{accepted, deleted, delta_document, document, rejected};
pub use record::{Expiry, Revision, Section, Shadow, Told};
pub use tree::{at_path, difference, is_equal, nested, patch};
pub use update::{Part, Patch, Refusal, Update};

/// Largest document in bytes: the JSON of desired and reported. Metadata and tags do not count.
pub const STATE_BYTES_MAX: usize = 8 * 1024;
/// Largest tags in bytes of JSON.
pub const TAGS_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of members within desired and reported.
pub const LEVELS_MAX: usize = 6;
/// Longest client token in bytes.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Longest name of a shadow in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most shadows of a device.
pub const SHADOWS_MAX: usize = 64;
/// How many revisions of a shadow are kept.
pub const REVISIONS_KEPT: usize = 1_000;
/// The shortest and longest time limit of a desired value.
pub const EXPIRES_IN_RANGE: (Span, Span) = (Span::seconds(1), Span::days(366));
/// How often a device that reports something else is told the same without a pause.
pub const TOLD_AT_ONCE: i64 = 3;
/// The first and the longest pause after that; each is twice as long as the one before.
pub const PAUSES: (Span, Span) = (Span::seconds(1), Span::minutes(5));

/// The name of a named shadow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShadowName(String);

impl ShadowName {
    /// 1 to 64 letters, digits and the signs `- _ :`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.to_owned()))
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is asked of a shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Of the named one; `None` is the one without a name.
    pub shadow: Option<ShadowName>,
    /// What.
    pub deed: Deed,
}

/// What may be asked of a shadow. A client token comes back in the answer, so that the asker knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// To read it.
    Get(Option<String>),
    /// To change it.
    Update(Box<Update>),
    /// To delete it.
    Delete(Option<String>),
}

/// What a device is told: desired values that it has not reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// Of the named shadow; `None` is the one without a name.
    pub shadow: Option<ShadowName>,
    /// The version of the shadow.
    pub version: i64,
    /// When that became so.
    pub at: Time,
    /// The values.
    pub state: Map<String, Value>,
    /// When each of them was desired.
    pub times: Map<String, Value>,
    /// It was said before, and is now said to a device that begins to listen.
    pub is_again: bool,
}

/// What is published about a shadow, for everybody who may hear it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// Of which device.
    pub device: DeviceId,
    /// The device's own id.
    pub external_id: Option<String>,
    /// Of the named shadow; `None` is the one without a name.
    pub shadow: Option<ShadowName>,
    /// What it is about.
    pub saying: Saying,
    /// What is said.
    pub payload: Value,
}

/// The kinds of what is published about a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// It was changed.
    UpdateAccepted,
    /// Something is desired and not reported.
    Delta,
    /// What it was before a change, and what it is now.
    Documents,
    /// It was deleted.
    DeleteAccepted,
}

impl Spoken {
    /// About a shadow of a device.
    pub fn about(device: &Device, shadow: Option<&ShadowName>, saying: Saying, payload: Value) -> Self {
        let (shadow, external_id) = (shadow.cloned(), device.external_id.clone());
        Self { device: device.id, external_id, shadow, saying, payload }
    }
}

/// Changes a shadow, or makes it. `others` is how many other shadows the device has.
pub fn update(
    device: &Device,
    before: &Shadow,
    others: usize,
    update: &Update,
    actor: &Actor,
    now: Time,
) -> Result<(Shadow, Effects), Refusal> {
    if update.version.is_some_and(|version| version != before.version) {
        return Err(Refusal::VersionConflict);
    }
    if before.revision == 0 && others >= SHADOWS_MAX {
        return Err(Refusal::TooManyShadows);
    }
    let mut shadow = before.clone();
    shadow.apply(update, now)?;
    shadow.version += 1;
    let changes_wish = shadow.desired.values != before.desired.values;
    let is_wish = changes_wish || update.wishes() && !matches!(actor, Actor::Device(_));
    let is_told = shadow.told.ask(!shadow.delta_state().is_empty(), is_wish, now);
    let about = |saying, payload| Spoken::about(device, shadow.name.as_ref(), saying, payload);
    let mut effects = Effects::none();
    effects.say.push(about(Saying::UpdateAccepted, document::accepted(&shadow, update, now)));
    effects = effects.and(if is_told { tell(device, &shadow) } else { Effects::none() });
    let documents = document::documents(before, &shadow, update.token.as_deref(), now);
    effects.say.push(about(Saying::Documents, documents));
    // What a device reports is in its shadow's history; the activity log would be full of it.
    if changes_wish || !matches!(actor, Actor::Device(_)) {
        effects.changes.push(fact(ChangeKind::ShadowUpdated, device, &shadow, actor, update.summary()));
    }
    let is_same = (&before.desired.values, &before.reported.values, &before.tags)
        == (&shadow.desired.values, &shadow.reported.values, &shadow.tags);
    let kept = (!is_same).then(|| shadow.revision_by(actor));
    effects.save.push(Save::Shadow(Box::new(shadow.clone()), kept.map(Box::new)));
    Ok((shadow, effects))
}

/// Deletes a shadow. Its version goes on from where it was if it is made again.
pub fn delete(
    device: &Device,
    before: &Shadow,
    token: Option<&str>,
    actor: &Actor,
    now: Time,
) -> Result<Effects, Refusal> {
    if !before.exists() {
        return Err(Refusal::no_shadow(before.name.as_ref(), device));
    }
    let empty = Shadow::none(device.id, before.name.clone());
    let shadow = Shadow {
        version: before.version,
        revision: before.revision + 1,
        updated_at: now,
        is_deleted: true,
        ..empty
    };
    let payload = document::deleted(before.version, token, now);
    let said = Spoken::about(device, shadow.name.as_ref(), Saying::DeleteAccepted, payload);
    let change = fact(ChangeKind::ShadowDeleted, device, &shadow, actor, Map::new());
    let kept = shadow.revision_by(actor);
    let save = vec![Save::Shadow(Box::new(shadow), Some(Box::new(kept)))];
    Ok(Effects { save, changes: vec![change], say: vec![said], ..Effects::none() })
}

/// The device begins to listen: it is told what it may have missed.
pub fn came(shadow: &Shadow) -> Effects {
    let delta = shadow.delta().map(|delta| Delta { is_again: true, ..delta });
    let send = delta.map(|delta| (shadow.device, Downlink::Delta(Box::new(delta))));
    Effects { send: send.into_iter().collect(), ..Effects::none() }
}

/// A deadline passed: desired values end, or a device that reports something else is told again. The shell calls this
/// when [`Shadow::deadline`] is reached.
pub fn elapsed(device: &Device, before: Shadow, now: Time) -> Effects {
    if let Some(ended) = before.ended(now) {
        let ended = Update::ending(ended);
        // What only takes away is refused for no reason of its own.
        return update(device, &before, 0, &ended, &Actor::System, now)
            .map_or_else(|_| Effects::none(), |it| it.1);
    }
    if before.told.again_at.is_none_or(|at| at > now) {
        return Effects::none();
    }
    let mut shadow = before;
    shadow.revision += 1;
    let is_told = shadow.told.ask(!shadow.delta_state().is_empty(), false, now);
    let effects = if is_told { tell(device, &shadow) } else { Effects::none() };
    Effects { save: vec![Save::Shadow(Box::new(shadow), None)], ..effects }
}

fn tell(device: &Device, shadow: &Shadow) -> Effects {
    let Some(delta) = shadow.delta() else { return Effects::none() };
    let payload = document::delta_document(&delta);
    let said = Spoken::about(device, shadow.name.as_ref(), Saying::Delta, payload);
    Effects { send: vec![(device.id, Downlink::Delta(Box::new(delta)))], say: vec![said], ..Effects::none() }
}

fn fact(
    kind: ChangeKind,
    device: &Device,
    shadow: &Shadow,
    actor: &Actor,
    mut after: Map<String, Value>,
) -> Change {
    if let Some(name) = &shadow.name {
        after.insert("shadow".to_owned(), json!(name.as_str()));
    }
    after.insert("version".to_owned(), json!(shadow.version));
    Change {
        actor: actor.clone(),
        kind,
        subject: device.id.to_string(),
        subject_name: device.name.clone(),
        device: Some(device.id),
        before: None,
        after: Some(Value::Object(after)),
    }
}

#[cfg(test)]
mod tests;
