//! What a deployment brings: a version of a script or a firmware, and who may be offered it.

use std::collections::HashMap;

use motehub_domain::artifact::{Artifact, ArtifactKind};
use motehub_domain::deployment::{Cause, Deployment, Target, Task};
use motehub_domain::firmware::{Firmware, PLATFORM};
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::script::Script;

use super::super::device_scripts::load_script;
use super::super::extract::id;
use super::super::firmware::load_firmware;
use super::super::problem::ApiError;
use super::requirements::lacking;
use super::{artifact_of, title};
use crate::app::App;
use crate::perform::Failure;

/// What a deployment brings.
pub(super) enum Brought {
    /// A script; which version does not matter to who may have it.
    Script(Box<Script>),
    /// A firmware.
    Firmware(Box<Firmware>),
}

impl Brought {
    /// Of a request, which names one of the two.
    pub(super) async fn asked(
        app: &App,
        script: Option<&str>,
        firmware: Option<&str>,
    ) -> Result<Self, ApiError> {
        match (script, firmware) {
            (Some(script), None) => {
                Ok(Self::Script(Box::new(load_script(app, id("script", script)?).await?)))
            }
            (None, Some(firmware)) => {
                Ok(Self::Firmware(Box::new(load_firmware(app, id("firmware", firmware)?).await?)))
            }
            _ => Err(Rejection::invalid("script", "name a script or a firmware, one of them").into()),
        }
    }

    /// What an artifact is of; `None` if that was deleted meanwhile.
    async fn of(app: &App, artifact: Artifact) -> Result<Option<Self>, Failure> {
        Ok(match artifact.kind {
            ArtifactKind::Script { script, .. } => {
                app.store.script(script).await?.map(Box::new).map(Self::Script)
            }
            ArtifactKind::Firmware(firmware) => {
                app.store.firmware(firmware).await?.map(Box::new).map(Self::Firmware)
            }
        })
    }

    /// What devices are given of it, and what that is called.
    pub(super) async fn artifact(
        &self,
        app: &App,
        version: Option<i64>,
    ) -> Result<(Artifact, String), ApiError> {
        match self {
            Self::Script(script) => {
                let version = version.unwrap_or(script.latest_version);
                Ok((artifact_of(app, script, version).await?, title(script, version)))
            }
            Self::Firmware(_) if version.is_some() => {
                Err(Rejection::invalid("version", "a firmware is one version: leave it out").into())
            }
            Self::Firmware(firmware) => Ok((firmware.artifact(), firmware.title())),
        }
    }

    /// The devices that are not offered it, and why, in words.
    pub(super) async fn refused(
        &self,
        app: &App,
        devices: &[DeviceId],
    ) -> Result<HashMap<DeviceId, String>, Failure> {
        match self {
            Self::Script(script) => Ok(lacking(app, script, devices).await?),
            Self::Firmware(firmware) => {
                let reported = app.store.reported_words(devices, PLATFORM).await?;
                let unfit =
                    |(device, platform): (DeviceId, String)| Some((device, firmware.unfit(&platform)?));
                Ok(reported.into_iter().filter_map(unfit).collect())
            }
        }
    }

    /// A selector picked only devices that are not offered it.
    pub(super) fn nobody(&self, count: usize) -> Rejection {
        match self {
            Self::Script(script) => super::requirements::nobody(script, count),
            Self::Firmware(firmware) => Rejection::conflict(
                "wrong_platform",
                format!("none of the {count} devices of the selection is a {}", firmware.label.platform),
            ),
        }
    }
}

/// Those of the devices to try again that may be offered it now.
pub(super) async fn able(
    app: &App,
    deployment: &Deployment,
    mut pairs: Vec<(Target, Task)>,
) -> Result<Vec<(Target, Task)>, Failure> {
    let Cause::Asked(artifact) = deployment.cause else { return Ok(pairs) };
    let Some(brought) = Brought::of(app, artifact).await? else { return Ok(pairs) };
    let devices: Vec<DeviceId> = pairs.iter().map(|(target, _)| target.device.id).collect();
    let refused = brought.refused(app, &devices).await?;
    pairs.retain(|(target, _)| !refused.contains_key(&target.device.id));
    match pairs.is_empty() && !refused.is_empty() {
        true => Err(brought.nobody(refused.len()).into()),
        false => Ok(pairs),
    }
}
