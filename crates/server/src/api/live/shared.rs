//! What a customer's live connection shows: each device that is shared with it, whenever something about it is
//! different, and that it is gone when the share has ended. Changes themselves are the vendor's.

use std::collections::HashMap;

use motehub_domain::change::ChangeKind;
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::shadow::Shadow;
use motehub_domain::share::Share;
use motehub_domain::time::Time;
use motehub_store::Recorded;
use serde_json::json;

use super::{Over, Reader};
use crate::api::shared::SharedDevice;

/// A customer who reads.
pub(super) struct Customer {
    user: UserId,
    shares: HashMap<DeviceId, Share>,
    /// What was shown last.
    shown: HashMap<DeviceId, SharedDevice>,
}

impl Customer {
    /// Who has been shown nothing yet.
    pub(super) fn new(user: UserId) -> Self {
        Self { user, shares: HashMap::new(), shown: HashMap::new() }
    }

    /// Whether all of these devices are shared with it.
    pub(super) fn sees(&self, devices: &[DeviceId]) -> bool {
        devices.iter().all(|device| self.shares.contains_key(device))
    }

    /// Whether it may see what a device measured at a time.
    pub(super) fn may_see(&self, device: DeviceId, time: Time) -> bool {
        self.shares.get(&device).is_some_and(|share| share.shows(time))
    }
}

impl Reader {
    /// Shows all devices of the customer.
    pub(super) async fn show_all(&mut self) -> Result<(), Over> {
        let Some(customer) = &mut self.customer else { return Ok(()) };
        let shares = self.app.store.shares_with(customer.user, self.app.now()).await.map_err(|_| Over)?;
        let before: Vec<DeviceId> = customer.shares.keys().copied().collect();
        customer.shares = shares.into_iter().map(|share| (share.device, share)).collect();
        let devices: Vec<DeviceId> = customer.shares.keys().copied().collect();
        self.app.live.watch(&before, &devices);
        self.drop_ended().await?;
        self.show(devices).await
    }

    /// Shows the devices that changes are about, or all if shares themselves changed.
    pub(super) async fn show_changed(&mut self, changes: &[Recorded]) -> Result<(), Over> {
        if changes.iter().any(concerns_shares) {
            return self.show_all().await;
        }
        let mut devices: Vec<DeviceId> =
            changes.iter().filter_map(|recorded| recorded.change.device).collect();
        devices.sort_unstable();
        devices.dedup();
        self.show(devices).await
    }

    /// Shows the devices whose shadows changed: somebody waits for the lamp.
    pub(super) async fn show_shadows(&mut self, shadows: &[Shadow]) -> Result<(), Over> {
        self.show(shadows.iter().map(|shadow| shadow.device).collect()).await
    }

    /// The connection is over: nobody waits for the shadows of the customer's devices any more.
    pub(super) fn unfollow(&mut self) {
        let Some(customer) = self.customer.take() else { return };
        let devices: Vec<DeviceId> = customer.shares.into_keys().collect();
        self.app.live.watch(&devices, &[]);
    }

    /// Says which devices are gone because their shares have ended, and shows nothing more of them.
    pub(super) async fn drop_ended(&mut self) -> Result<(), Over> {
        let Some(customer) = &mut self.customer else { return Ok(()) };
        let now = self.app.now();
        let ended = customer.shares.values().filter(|share| share.has_ended(now));
        let ended: Vec<DeviceId> = ended.map(|share| share.device).collect();
        customer.shares.retain(|device, _| !ended.contains(device));
        self.app.live.watch(&ended, &[]);
        let is_gone = |device: &DeviceId| !customer.shares.contains_key(device);
        let gone: Vec<DeviceId> = customer.shown.keys().copied().filter(is_gone).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut watched = self.watched.clone();
        watched.retain(|device| !gone.contains(device));
        self.app.live.watch(&self.watched, &watched);
        self.watched = watched;
        for device in &gone {
            customer.shown.remove(device);
            let dropped = self.held.remove(device).map_or(0, |points| points.len());
            self.held_points -= dropped;
        }
        let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
        self.send(json!({ "gone": gone })).await
    }

    /// Shows those of some devices that are shared with the customer and are not as they were shown last.
    async fn show(&mut self, devices: Vec<DeviceId>) -> Result<(), Over> {
        let Some(customer) = &mut self.customer else { return Ok(()) };
        let mut fresh = Vec::new();
        for device in devices {
            let Some(share) = customer.shares.get(&device) else { continue };
            let Ok(now) = SharedDevice::load(&self.app, share.clone()).await else { continue };
            if customer.shown.get(&device) != Some(&now) {
                customer.shown.insert(device, now.clone());
                fresh.push(now);
            }
        }
        if fresh.is_empty() { Ok(()) } else { self.send(json!({ "devices": fresh })).await }
    }
}

/// Whether it may be about what is shared with whom.
fn concerns_shares(recorded: &Recorded) -> bool {
    let kind = recorded.change.kind;
    matches!(kind.noun(), "share" | "user") || kind == ChangeKind::DeviceDeleted
}
