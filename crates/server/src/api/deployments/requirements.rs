//! Who may be offered a script: devices that have the capabilities it requires.

use std::collections::HashMap;

use motehub_domain::capability;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::script::Script;
use motehub_store::StoreError;

use crate::app::App;

/// The devices that lack something, and what, in words.
pub(crate) async fn lacking(
    app: &App,
    script: &Script,
    devices: &[DeviceId],
) -> Result<HashMap<DeviceId, String>, StoreError> {
    if script.requires.is_empty() {
        return Ok(HashMap::new());
    }
    let had = app.store.capabilities_of(devices).await?;
    let mut lacking = HashMap::new();
    for device in devices {
        let had = had.get(device).map(Vec::as_slice).unwrap_or_default();
        let missing = capability::lacking(&script.requires, had);
        if !missing.is_empty() {
            lacking.insert(*device, capability::lacks(&missing));
        }
    }
    Ok(lacking)
}

/// A selector picked only devices that lack something.
pub(super) fn nobody(script: &Script, count: usize) -> Rejection {
    let required = script.requires.join(", ");
    let why =
        format!("all {count} devices of the selection lack something that the script requires: {required}");
    Rejection::conflict("capability_missing", why)
}
