//! Devices: registered things with an identity and a credential.

pub mod board;
mod dialect;
pub mod holder;
mod presence;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::artifact::{Artifact, ArtifactKind, Digest};
use crate::capability;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{DeploymentId, DeviceId, ScriptId};
use crate::line::Line;
use crate::network::Network;
use crate::rejection::Rejection;
use crate::text;
use crate::time::{Span, Time};

pub use dialect::{Dialect, EXTERNAL_ID_BYTES_MAX, is_external_id};
pub use holder::Holder;
pub use presence::{Presence, Reach, presence};

/// How long a device whose firmware says from time to time that it is alive may be silent, if nobody says otherwise.
pub const SILENCE_MAX: Span = Span::seconds(120);
/// The shortest and the longest time that may be said.
pub const SILENCE_MAX_RANGE: (Span, Span) = (Span::seconds(5), Span::days(1));
/// A registered device. What it runs is in [`Software`], whether it is there in [`Presence`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id with us.
    pub id: DeviceId,
    /// For people; need not be unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// How it speaks.
    pub dialect: Dialect,
    /// Its own id, unique in its dialect: the chip id of a NodeMCU board.
    pub external_id: Option<String>,
    /// Sorted.
    pub tags: Vec<String>,
    /// What people say that it can do, sorted. What it announces itself is not here.
    pub capabilities: Vec<String>,
    /// Whether an operator lets it speak without a credential.
    pub unauthenticated_allowed: bool,
    /// From where it may do so; from anywhere if it is not said.
    pub allowed_from: Option<Network>,
    /// How long it may be silent before it counts as gone; [`SILENCE_MAX`] if it is not said. Only for dialects whose
    /// devices say from time to time that they are alive.
    pub silence_max: Option<Span>,
    /// How it is spoken to, if it is a unit; `None` for devices of other dialects.
    pub line: Option<Box<Line>>,
    /// When it was registered.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// What a device runs and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Software {
    /// Whose.
    pub device: DeviceId,
    /// The script that people chose for it last.
    pub active: Option<Artifact>,
    /// What waits for it, with the deployment that says so.
    pub pending: Option<(DeploymentId, Artifact)>,
    /// The script that it runs, as far as its signals tell.
    pub running: Option<Artifact>,
    /// The script that was Done last: the version to return to.
    pub good: Option<Artifact>,
    /// The firmware of ours that it has, as far as it says.
    pub firmware: Option<Artifact>,
    /// When it last took an artifact in full.
    pub fetched_at: Option<Time>,
    /// When it was last woken, or asked and was told yes: it is not woken again right after.
    pub woken_at: Option<Time>,
    /// When it last started, newest last, at most [`crate::rollout::BOOTS_KEPT`].
    pub boots: Vec<Time>,
    /// What is wrong with it, in words for people; `None` if nothing is.
    pub problem: Option<String>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

impl Software {
    /// A device that was never given anything; not stored yet.
    pub fn none(device: DeviceId) -> Self {
        Self {
            device,
            active: None,
            pending: None,
            running: None,
            good: None,
            firmware: None,
            fetched_at: None,
            woken_at: None,
            boots: Vec::new(),
            problem: None,
            revision: 0,
        }
    }
    /// What the device returns to if it is given this artifact and shall be without it again.
    pub fn before(&self, artifact: &Artifact) -> Option<Artifact> {
        match artifact.kind {
            ArtifactKind::Script { .. } => self.running.or(self.good),
            ArtifactKind::Firmware(_) => self.firmware,
        }
    }
}

/// A script that may be activated on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// On which device.
    pub device: DeviceId,
    /// Which script.
    pub script: ScriptId,
}

/// What a person says to register a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// How it speaks.
    pub dialect: Dialect,
    /// Its own id.
    pub external_id: Option<String>,
    /// In any order.
    pub tags: Vec<String>,
    /// How it is spoken to, for a unit.
    pub line: Option<Box<Line>>,
}

/// What a person wants changed; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// New name.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New tags, all of them.
    pub tags: Option<Vec<String>>,
    /// New capabilities, all of them.
    pub capabilities: Option<Vec<String>>,
    /// New external id.
    pub external_id: Option<String>,
    /// Whether it may speak without a credential.
    pub unauthenticated_allowed: Option<bool>,
    /// From where it may do so; the inner `None` is from anywhere.
    pub allowed_from: Option<Option<Network>>,
    /// How long it may be silent; the inner `None` is the usual time.
    pub silence_max: Option<Option<Span>>,
    /// Settings of a unit that change, as in [`Line::with`].
    pub line: Map<String, Value>,
}

/// Registers a device with the digest of its first credential.
pub fn register(
    id: DeviceId,
    request: &Registration,
    credential: Digest,
    actor: &Actor,
    now: Time,
) -> Result<(Device, Effects), Rejection> {
    let device = Device {
        id,
        name: text::name("name", &request.name)?,
        description: text::description("description", &request.description)?,
        dialect: request.dialect,
        external_id: request.dialect.external_id(request.external_id.as_deref())?,
        tags: text::tags(&request.tags)?,
        capabilities: request.dialect.capabilities(),
        unauthenticated_allowed: false,
        allowed_from: None,
        silence_max: None,
        line: of_dialect(request)?,
        created_at: now,
        revision: 1,
    };
    let after = json!({
        "name": device.name, "dialect": device.dialect.as_str(), "external_id": device.external_id,
        "tags": device.tags, "line": device.line.as_ref().map(|line| line.to_json()),
    });
    let change = fact(ChangeKind::DeviceRegistered, &device, actor, None, Some(after));
    let save = vec![Save::Device(Box::new(device.clone())), Save::Credential(id, Some(credential))];
    Ok((device, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// A unit has settings of its own, and other devices have none.
fn of_dialect(request: &Registration) -> Result<Option<Box<Line>>, Rejection> {
    match (request.dialect, &request.line) {
        (Dialect::Line, Some(line)) => Ok(Some(Box::new(line.as_ref().clone().checked()?))),
        (Dialect::Line, None) => {
            Err(Rejection::invalid("address", "say where the unit is, such as 192.168.1.20:8888"))
        }
        (_, Some(_)) => Err(not_a_unit()),
        (_, None) => Ok(None),
    }
}

fn not_a_unit() -> Rejection {
    Rejection::invalid("address", "only devices of the dialect line are known by an address: leave it out")
}

/// Changes a device. Returns it as it is then; nothing is written if nothing differs.
pub fn edit(device: &Device, edit: &Edit, actor: &Actor) -> Result<(Device, Effects), Rejection> {
    let mut edited = device.clone();
    if let Some(name) = &edit.name {
        edited.name = text::name("name", name)?;
    }
    if let Some(description) = &edit.description {
        edited.description = text::description("description", description)?;
    }
    if let Some(tags) = &edit.tags {
        edited.tags = text::tags(tags)?;
    }
    if let Some(capabilities) = &edit.capabilities {
        edited.capabilities = capability::names(capabilities)?;
    }
    if let Some(id) = &edit.external_id {
        edited.external_id = device.dialect.external_id(Some(id))?;
    }
    if let Some(allowed) = edit.unauthenticated_allowed {
        edited.unauthenticated_allowed = allowed;
    }
    if let Some(from) = edit.allowed_from {
        edited.allowed_from = from;
    }
    if let Some(silence_max) = edit.silence_max {
        let (least, most) = SILENCE_MAX_RANGE;
        if silence_max.is_some_and(|silence| silence < least || silence > most) {
            return Err(Rejection::invalid("silence_max_seconds", "5 seconds to a day"));
        }
        edited.silence_max = silence_max;
    }
    if !edit.line.is_empty() {
        let line = device.line.as_ref().ok_or_else(not_a_unit)?;
        edited.line = Some(Box::new(line.with(&edit.line)?));
    }
    edited.check_openness()?;
    let (before, after) = difference(&described(device), &described(&edited));
    if after.is_empty() {
        return Ok((edited, Effects::none()));
    }
    edited.revision += 1;
    let change = fact(ChangeKind::DeviceEdited, &edited, actor, Some(before.into()), Some(after.into()));
    let effects = Effects {
        save: vec![Save::Device(Box::new(edited.clone()))],
        changes: vec![change],
        ..Effects::none()
    };
    Ok((edited, effects))
}

impl Device {
    /// Whether it may speak without a credential from an address.
    pub fn is_open_to(&self, address: IpAddr) -> bool {
        self.unauthenticated_allowed && self.allowed_from.is_none_or(|network| network.contains(address))
    }

    /// Some prove nothing of themselves: where they speak from is all that tells them from others.
    pub(crate) fn check_openness(&self) -> Result<(), Rejection> {
        let needs_address = self.dialect.is_known_by_address() && self.unauthenticated_allowed;
        match needs_address && self.allowed_from.is_none() {
            true => Err(Rejection::invalid(
                "allowed_from",
                "say from which address or network the device speaks, such as fd00:1::/64: it proves nothing else",
            )),
            false => Ok(()),
        }
    }
}

/// Deletes a device and all that belongs to it.
pub fn delete(device: &Device, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::DeviceDeleted, device, actor, Some(described(device).into()), None);
    Effects { save: vec![Save::DeleteDevice(device.id)], changes: vec![change], ..Effects::none() }
}

/// Gives a device a new credential; the former one stops at once. `None` revokes it.
pub fn set_credential(device: &Device, credential: Option<Digest>, actor: &Actor) -> Effects {
    let kind = match credential {
        Some(_) => ChangeKind::CredentialIssued,
        None => ChangeKind::CredentialRevoked,
    };
    let change = fact(kind, device, actor, None, None);
    Effects { save: vec![Save::Credential(device.id, credential)], changes: vec![change], ..Effects::none() }
}

/// Assigns a script to a device, so that a manager may activate it.
pub fn assign(device: &Device, script: ScriptId, script_name: &str, actor: &Actor) -> Effects {
    let after = json!({ "script": script.to_string(), "name": script_name });
    let change = fact(ChangeKind::ScriptAssigned, device, actor, None, Some(after));
    let save = vec![Save::Assign(Assignment { device: device.id, script })];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// Takes an assignment back; what runs goes on running.
pub fn unassign(device: &Device, script: ScriptId, script_name: &str, actor: &Actor) -> Effects {
    let before = json!({ "script": script.to_string(), "name": script_name });
    let change = fact(ChangeKind::ScriptUnassigned, device, actor, Some(before), None);
    let save = vec![Save::Unassign(Assignment { device: device.id, script })];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A message of a device was refused: stated as a fact, so that its owner can see why nothing arrives.
pub fn uplink_refused(device: &Device, why: &str) -> Effects {
    let after = json!({ "reason": why });
    let actor = Actor::Device(device.name.clone());
    let change = fact(ChangeKind::UplinkRefused, device, &actor, None, Some(after));
    Effects { save: Vec::new(), changes: vec![change], ..Effects::none() }
}

/// A fact about a device.
pub(crate) fn fact(
    kind: ChangeKind,
    device: &Device,
    actor: &Actor,
    before: Option<Value>,
    after: Option<Value>,
) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: device.id.to_string(),
        subject_name: device.name.clone(),
        device: Some(device.id),
        before,
        after,
    }
}

fn described(device: &Device) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), json!(device.name));
    map.insert("description".into(), json!(device.description));
    map.insert("tags".into(), json!(device.tags));
    map.insert("capabilities".into(), json!(device.capabilities));
    map.insert("external_id".into(), json!(device.external_id));
    map.insert("unauthenticated_allowed".into(), json!(device.unauthenticated_allowed));
    map.insert("allowed_from".into(), json!(device.allowed_from.map(|network| network.to_string())));
    map.insert("silence_max_ms".into(), json!(device.silence_max.map(|span| span.0)));
    if let Some(line) = &device.line {
        map.insert("line".into(), line.to_json());
    }
    map
}

pub(crate) fn difference(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> (Map<String, Value>, Map<String, Value>) {
    let differs = |key: &String| before.get(key) != after.get(key);
    let pick = |map: &Map<String, Value>| {
        map.iter().filter(|(key, _)| differs(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    (pick(before), pick(after))
}
