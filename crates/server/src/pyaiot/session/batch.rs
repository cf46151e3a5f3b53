//! Frames that are taken together: what one device says in them becomes few arrivals, in the order that it has.

use std::collections::HashMap;

use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_gateway::hub::Arrival;
use motehub_protocol::riot::Heard;

/// How many points of a device are put together; a text has fewer than a thousand numbers in it.
const POINTS_MAX: usize = 200;

/// What a batch of frames comes to.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) arrivals: Vec<Arrival>,
    pub(super) heard: HashMap<DeviceId, Heard>,
    pub(super) frames: Vec<String>,
}

impl Batch {
    pub(super) fn push(&mut self, device: DeviceId, uplink: Uplink) {
        self.arrivals.push(Arrival { device, uplink, mark: None, again: false });
    }

    /// What a device said so far comes before what follows.
    pub(super) fn close(&mut self, device: DeviceId) {
        for uplink in self.heard.remove(&device).unwrap_or_default().uplinks() {
            self.push(device, uplink);
        }
    }

    /// A message has a bounded number of points, and a shadow a bounded size.
    pub(super) fn close_if_large(&mut self, device: DeviceId) {
        let is_large = |heard: &Heard| heard.points.len() >= POINTS_MAX;
        if self.heard.get(&device).is_some_and(is_large) {
            self.close(device);
        }
    }

    pub(super) fn close_all(&mut self) {
        let devices: Vec<DeviceId> = self.heard.keys().copied().collect();
        devices.into_iter().for_each(|device| self.close(device));
    }
}
