//! What a device runs and what waits for it, as the API shows it.

use motehub_domain::artifact::Artifact;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::firmware::FirmwareRef;

/// A version of a script.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ScriptRef {
    /// Id of the script.
    pub(crate) script: String,
    /// Its name.
    pub(crate) name: String,
    /// Which version.
    pub(crate) version: i64,
}

/// What waits for a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PendingRef {
    /// Id of the script, if it is one.
    pub(super) script: Option<String>,
    /// Its name.
    pub(super) name: String,
    /// Which version of the script.
    pub(super) version: Option<i64>,
    /// The firmware, if it is one.
    pub(super) firmware: Option<FirmwareRef>,
    /// The deployment that says so.
    pub(super) deployment: String,
    /// How far it is.
    pub(super) task_state: &'static str,
}

impl ScriptRef {
    /// Of an artifact, with the script's name; `None` if it is of no script.
    pub(crate) fn new(artifact: Artifact, name: Option<String>) -> Option<Self> {
        let (script, version) = artifact.script()?;
        Some(Self { script: script.to_string(), name: name.unwrap_or_default(), version })
    }
}
