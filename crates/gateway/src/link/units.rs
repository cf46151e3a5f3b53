//! The units that a gateway reaches, on its own disk: it goes on with them after a restart while the link is cut.

use motehub_protocol::link::{decode, encode};

use super::RemoteHub;
use crate::units::Unit;

/// Under which name they are kept.
const NOTE: &str = "units";

impl RemoteHub {
    /// Keeps which units there are.
    pub async fn keep_units(&self, units: &Vec<Unit>) {
        let kept = self.shared.settings.notes.set_note(NOTE, Some(encode(units).to_vec())).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "which units there are cannot be kept");
        }
    }

    /// The units that there were when the hub last said it; none if it never did, or in another version.
    pub async fn kept_units(&self) -> Vec<Unit> {
        let kept = self.shared.settings.notes.note(NOTE).await;
        kept.ok().flatten().and_then(|bytes| decode(&bytes).ok()).unwrap_or_default()
    }
}
