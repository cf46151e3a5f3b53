//! What is stated about commands.

use serde_json::{Value, json};

use super::{Command, Execution, ExecutionState};
use crate::change::{Actor, Change, ChangeKind};
use crate::device::{self, Device};

/// A fact about a command.
pub(super) fn fact(kind: ChangeKind, command: &Command, actor: &Actor, after: Option<Value>) -> Change {
    let (subject, subject_name) = (command.id.to_string(), command.name.clone());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before: None, after }
}

/// That a command changed its state at a device.
pub(super) fn moved(
    command: &Command,
    device: &Device,
    is: &Execution,
    was: Option<ExecutionState>,
) -> Change {
    let before = was.map(|was| json!({ "state": was.as_str() }));
    let after = json!({ "state": is.state.as_str(), "reason": is.reason, "name": command.name });
    let mut change = device::fact(ChangeKind::CommandMoved, device, &Actor::System, before, Some(after));
    change.subject = command.id.to_string();
    change
}
