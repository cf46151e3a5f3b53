//! What a bulk action is, and how it is done: at once, or in batches.

use motehub_domain::bulk::Deed;
use motehub_domain::command::{self, Request};
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Span;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::deployments::NewDeployment;

/// What is done to each device.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum BulkAction {
    /// Add tags.
    Tag {
        /// Letters, digits and `_ - . :`.
        tags: Vec<String>,
    },
    /// Take tags away.
    Untag {
        /// Which.
        tags: Vec<String>,
    },
    /// Assign capabilities.
    AddCapabilities {
        /// Lower-case letters, digits and `. _ -`.
        capabilities: Vec<String>,
    },
    /// Take assigned capabilities away.
    RemoveCapabilities {
        /// Which.
        capabilities: Vec<String>,
    },
    /// Delete the devices with their telemetry.
    Delete,
    /// Deploy a script or a firmware.
    Deploy {
        /// Id of the script, if it is one.
        script: Option<String>,
        /// Which version of the script; the newest by default.
        version: Option<i64>,
        /// Id of the firmware, if it is one.
        firmware: Option<String>,
        /// How long a board must run it without trouble: 5 to 3600, 30 by default.
        health_window_seconds: Option<i64>,
    },
    /// Send a command.
    Command {
        /// What to do: 1 to 64 letters, digits or the signs `- _ . /`.
        name: String,
        /// With what: any JSON of at most 8 KiB.
        #[serde(default)]
        args: serde_json::Value,
        /// How long it may wait for a device: 1 to 604800, 300 by default.
        expires_in_seconds: Option<i64>,
    },
    /// Give the devices new credentials over the air. The old one is valid until a device has used the new one.
    Rotate,
}

/// What is done in batches.
pub(super) enum Work {
    /// It changes devices one by one.
    Deed(Deed),
    /// It begins rotations of credentials.
    Rotate,
}

/// What an action comes down to.
pub(super) enum Act {
    /// A deployment.
    Deploy(Box<NewDeployment>),
    /// A command.
    Command(Request),
    /// A hundred devices at a time.
    InBatches(Work),
}

/// What is to be done.
///
/// # Errors
/// For what could be done to no device at all.
pub(super) fn act(action: BulkAction, selector: Option<&str>) -> Result<Act, Rejection> {
    let deed = match action {
        BulkAction::Deploy { script, version, firmware, health_window_seconds } => {
            let order =
                NewDeployment { script, version, firmware, health_window_seconds, ..Default::default() };
            return Ok(Act::Deploy(Box::new(order)));
        }
        BulkAction::Command { name, args: arguments, expires_in_seconds } => {
            let expires_in = expires_in_seconds.map(Span::seconds);
            let request = Request { name, arguments, selector: selector.map(str::to_owned), expires_in };
            command::check(&request)?;
            return Ok(Act::Command(request));
        }
        BulkAction::Rotate => return Ok(Act::InBatches(Work::Rotate)),
        BulkAction::Tag { tags } => Deed::Tag(tags),
        BulkAction::Untag { tags } => Deed::Untag(tags),
        BulkAction::AddCapabilities { capabilities } => Deed::AddCapabilities(capabilities),
        BulkAction::RemoveCapabilities { capabilities } => Deed::RemoveCapabilities(capabilities),
        BulkAction::Delete => Deed::Delete,
    };
    Ok(Act::InBatches(Work::Deed(deed.checked()?)))
}
