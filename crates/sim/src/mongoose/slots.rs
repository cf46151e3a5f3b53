//! The two slots for firmware of a light, and which of them it starts.

use serde_json::{Value, json};

use super::call::{Answer, fault};
use super::zip::Manifest;

/// The code of a call that came at the wrong time.
const CODE_STATE: i64 = -1;

/// The slots and the record that says which one to start.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    firmware: [Manifest; 2],
    active: usize,
    is_committed: bool,
    commit_timeout_s: u64,
}

impl Slots {
    /// What the factory wrote.
    pub(super) fn factory(firmware: Manifest) -> Self {
        Self { firmware: [firmware.clone(), firmware], active: 0, is_committed: true, commit_timeout_s: 0 }
    }

    /// What is started.
    pub(super) fn running(&self) -> &Manifest {
        &self.firmware[self.active]
    }

    /// Which slot is started.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// Whether what is started stays.
    pub(super) fn is_committed(&self) -> bool {
        self.is_committed
    }

    /// How long what is started may run before somebody commits it; `None` if it stays.
    pub(super) fn commit_within_s(&self) -> Option<u64> {
        (!self.is_committed).then_some(self.commit_timeout_s)
    }

    /// Writes new firmware, which is started next. Without a time-out it stays.
    pub(super) fn install(&mut self, firmware: Manifest, commit_timeout_s: u64) {
        self.active = 1 - self.active;
        self.firmware[self.active] = firmware;
        self.is_committed = commit_timeout_s == 0;
        self.commit_timeout_s = commit_timeout_s;
    }

    /// `OTA.Commit`.
    pub(super) fn commit(&mut self) -> Answer {
        if self.is_committed {
            return fault(CODE_STATE, "already committed");
        }
        self.is_committed = true;
        Ok(Value::Null)
    }

    /// `OTA.Revert`, and what the watchdog does.
    pub(super) fn revert(&mut self) -> Answer {
        if self.is_committed {
            return fault(CODE_STATE, "already committed");
        }
        self.active = 1 - self.active;
        self.is_committed = true;
        Ok(Value::Null)
    }

    /// `OTA.GetBootState`.
    pub(super) fn boot_state(&self) -> Value {
        let revert = if self.is_committed { self.active } else { 1 - self.active };
        let timeout = if self.is_committed { 0 } else { self.commit_timeout_s };
        json!({
            "active_slot": self.active, "is_committed": self.is_committed, "revert_slot": revert,
            "commit_timeout": timeout,
        })
    }
}
