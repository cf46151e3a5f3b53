//! What is wanted of a shadow, checked, and the refusals with the codes and sentences of AWS.

use serde_json::{Map, Value};
use thiserror::Error;

use super::{LEVELS_MAX, Revision, SHADOWS_MAX, STATE_BYTES_MAX, Shadow, ShadowName, TOKEN_BYTES_MAX, tree};
use crate::device::Device;
use crate::rejection::{Rejection, RejectionKind};
use crate::time::Span;

/// A change of a shadow.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What becomes of the values.
    pub state: Patch,
    /// What becomes of the tags; devices have no say in them.
    pub tags: Option<Map<String, Value>>,
    /// The version it is about; with another one nothing is changed.
    pub version: Option<i64>,
    /// Comes back in the answer.
    pub token: Option<String>,
    /// For how long the desired values of this update hold; for ever if it is not said.
    pub expires_in: Option<Span>,
}

/// What becomes of the values.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// All are taken away.
    Clear,
    /// Each part by itself.
    Parts {
        /// What becomes of what people want.
        desired: Part,
        /// What becomes of what the device says.
        reported: Part,
    },
}

/// What becomes of desired or reported.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Nothing.
    Untouched,
    /// It is taken away.
    Removed,
    /// These are merged into it, leaf by leaf; null takes one away.
    Merged(Map<String, Value>),
}

/// Why something asked of a shadow is not done, with the code and the sentence of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is no JSON, or names something twice.
    #[error("Invalid JSON")]
    InvalidJson,
    /// There is no state in it.
    #[error("Missing required node: state")]
    MissingState,
    /// The state is something else.
    #[error("State node must be an object")]
    StateNotObject,
    /// Desired is something else.
    #[error("Desired node must be an object")]
    DesiredNotObject,
    /// Reported is something else.
    #[error("Reported node must be an object")]
    ReportedNotObject,
    /// The version is no whole number.
    #[error("Invalid version")]
    InvalidVersion,
    /// The client token is no text, or too long.
    #[error("Invalid clientToken")]
    InvalidToken,
    /// It is nested too deep.
    #[error("JSON contains too many levels of nesting; maximum is {LEVELS_MAX}")]
    TooDeep,
    /// The state has a section that is not known, or a null in an array.
    #[error("State contains an invalid node: '{0}'")]
    InvalidNode(String),
    /// The time limit is too short or too long.
    #[error("expires_in_seconds is 1 to 31622400")]
    InvalidExpiry,
    /// The tags are something else.
    #[error("Tags node must be an object")]
    TagsNotObject,
    /// The name of a shadow is none.
    #[error("Invalid shadow name")]
    InvalidName,
    /// Nobody known asks.
    #[error("Unauthorized")]
    Unauthorized,
    /// Whoever asks may not.
    #[error("Forbidden")]
    Forbidden,
    /// There is no such device.
    #[error("Thing not found")]
    NoThing,
    /// There is no such shadow.
    #[error("No shadow exists with name: '{0}'")]
    NoShadow(String),
    /// The version is another one by now.
    #[error("Version conflict")]
    VersionConflict,
    /// It is too large, by itself or together with what is there.
    #[error("The payload exceeds the maximum size allowed")]
    TooLarge,
    /// It is no UTF-8.
    #[error("Unsupported documented encoding; supported encoding is UTF-8")]
    Encoding,
    /// The device has as many shadows as it may have.
    #[error("a device has at most {SHADOWS_MAX} shadows")]
    TooManyShadows,
    /// Too much is asked at once.
    #[error("Too many requests")]
    TooManyRequests,
    /// It cannot be stored at present.
    #[error("Internal service failure")]
    Internal,
}

impl Refusal {
    /// The code of AWS, which is an HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::StateNotObject
            | Self::DesiredNotObject
            | Self::ReportedNotObject
            | Self::InvalidVersion
            | Self::InvalidToken
            | Self::TooDeep
            | Self::InvalidNode(_)
            | Self::InvalidExpiry
            | Self::TagsNotObject
            | Self::InvalidName
            | Self::TooManyShadows => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NoThing | Self::NoShadow(_) => 404,
            Self::VersionConflict => 409,
            Self::TooLarge => 413,
            Self::Encoding => 415,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
        }
    }

    /// There is no shadow of this name; the one without a name is called as its device.
    pub fn no_shadow(name: Option<&ShadowName>, device: &Device) -> Self {
        let own = || device.external_id.clone().unwrap_or_else(|| device.id.to_string());
        Self::NoShadow(name.map_or_else(own, |name| name.as_str().to_owned()))
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let (kind, code) = match refusal.code() {
            403 | 401 => (RejectionKind::Forbidden, "forbidden"),
            404 => (RejectionKind::NotFound, "not_found"),
            409 => (RejectionKind::Conflict, "version_conflict"),
            413 => (RejectionKind::TooLarge, "too_large"),
            _ => (RejectionKind::Invalid, "invalid"),
        };
        let hint = match &refusal {
            Refusal::VersionConflict => ": it changed meanwhile, read it again".to_owned(),
            Refusal::TooLarge => {
                format!(": desired and reported have at most {STATE_BYTES_MAX} bytes together")
            }
            Refusal::MissingState => r#": as in {"state":{"desired":{"on":true}}}"#.to_owned(),
            _ => String::new(),
        };
        Self { kind, code, sentence: format!("shadow: {refusal}{hint}"), position: None }
    }
}

impl Update {
    /// Reads `{"state":{"desired":{…},"reported":{…}},"version":…,"clientToken":…}`; from people also `tags` and
    /// `expires_in_seconds`.
    pub fn of(value: Value) -> Result<Self, Refusal> {
        let Value::Object(mut members) = value else { return Err(Refusal::InvalidJson) };
        let token = token(&mut members)?;
        let version = match members.remove("version") {
            None | Some(Value::Null) => None,
            Some(version) => Some(version.as_i64().filter(|it| *it >= 0).ok_or(Refusal::InvalidVersion)?),
        };
        let state = match members.remove("state") {
            None => return Err(Refusal::MissingState),
            Some(Value::Null) => Patch::Clear,
            Some(Value::Object(state)) => parts(state)?,
            Some(_) => return Err(Refusal::StateNotObject),
        };
        let tags = match members.remove("tags") {
            None | Some(Value::Null) => None,
            Some(Value::Object(tags)) => Some(tags),
            Some(_) => return Err(Refusal::TagsNotObject),
        };
        let expires_in = match members.remove("expires_in_seconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(Span::seconds(seconds.as_i64().ok_or(Refusal::InvalidExpiry)?)),
        };
        Ok(Self { state, tags, version, token, expires_in })
    }

    /// The same from a device: it has no tags and no time limits.
    pub fn from_device(value: Value) -> Result<Self, Refusal> {
        Ok(Self { tags: None, expires_in: None, ..Self::of(value)? })
    }

    /// What was desired at a revision is desired again; if the shadow changes meanwhile, nothing is done.
    pub fn restoring(now: &Shadow, then: &Revision) -> Self {
        let patch = tree::patch(&now.desired.values, &then.desired);
        Self { version: Some(now.version), ..Self::ending(patch) }
    }

    /// Desired values and nothing else.
    pub(super) fn ending(ended: Map<String, Value>) -> Self {
        let state = Patch::Parts { desired: Part::Merged(ended), reported: Part::Untouched };
        Self { state, tags: None, version: None, token: None, expires_in: None }
    }

    /// Whether it says what is desired.
    pub(super) fn wishes(&self) -> bool {
        matches!(&self.state, Patch::Parts { desired, .. } if *desired != Part::Untouched)
    }

    /// What it wants, for the activity log.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let mut summary = Map::new();
        match &self.state {
            Patch::Clear => drop(summary.insert("state".to_owned(), Value::Null)),
            Patch::Parts { desired, reported } => {
                for (name, part) in [("desired", desired), ("reported", reported)] {
                    summary.extend(part.value().map(|value| (name.to_owned(), value)));
                }
            }
        }
        summary.extend(self.tags.clone().map(|tags| ("tags".to_owned(), Value::Object(tags))));
        summary
    }
}

impl Part {
    /// As it is written; `None` if it is not mentioned.
    pub(super) fn value(&self) -> Option<Value> {
        match self {
            Self::Untouched => None,
            Self::Removed => Some(Value::Null),
            Self::Merged(patch) => Some(Value::Object(patch.clone())),
        }
    }
}

/// Takes the client token out of a request.
pub(super) fn token(members: &mut Map<String, Value>) -> Result<Option<String>, Refusal> {
    match members.remove("clientToken") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.len() <= TOKEN_BYTES_MAX => Ok(Some(token)),
        Some(_) => Err(Refusal::InvalidToken),
    }
}

fn parts(mut state: Map<String, Value>) -> Result<Patch, Refusal> {
    let desired = part(state.remove("desired"), Refusal::DesiredNotObject)?;
    let reported = part(state.remove("reported"), Refusal::ReportedNotObject)?;
    match state.into_iter().next() {
        None => Ok(Patch::Parts { desired, reported }),
        Some((name, _)) => Err(Refusal::InvalidNode(name)),
    }
}

fn part(value: Option<Value>, otherwise: Refusal) -> Result<Part, Refusal> {
    let patch = match value {
        None => return Ok(Part::Untouched),
        Some(Value::Null) => return Ok(Part::Removed),
        Some(Value::Object(patch)) => patch,
        Some(_) => return Err(otherwise),
    };
    let patch = Value::Object(patch);
    if tree::levels(&patch) > LEVELS_MAX {
        return Err(Refusal::TooDeep);
    }
    let Value::Object(patch) = patch else { return Err(otherwise) };
    match tree::null_in_array(&patch) {
        Some(name) => Err(Refusal::InvalidNode(name.to_owned())),
        None if tree::size(&patch) > STATE_BYTES_MAX => Err(Refusal::TooLarge),
        None => Ok(Part::Merged(patch)),
    }
}
