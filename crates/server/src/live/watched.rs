//! Who watches what: readers at this node, and those at other nodes as far as these have said so.
//!
//! Nothing is sent that nobody looks at. What another node's readers watch is forgotten unless it is said again.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use motehub_domain::id::{DeviceId, FlowId};
use motehub_protocol::wire;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many devices and flows a node says that it watches; if they are more, it says that it watches all devices.
const SAID_MAX: usize = 2_000;
/// How long it holds what another node said.
pub(crate) const SAID_FOR: Duration = Duration::from_secs(35);
/// Of how many nodes it is remembered.
const NODES_MAX: usize = 64;

/// What the readers of a node watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    /// Everything of these devices.
    pub(crate) devices: Vec<DeviceId>,
    /// The shadows and the logs of all devices.
    pub(crate) all: bool,
    /// The points and the shadows of all devices.
    pub(crate) points: bool,
    /// The wires of these flows.
    pub(crate) flows: Vec<FlowId>,
}

wire! {
    struct Watch { devices, all, points, flows }
}

/// Who watches what.
#[derive(Default)]
pub(crate) struct Watched {
    own: RwLock<Own>,
    others: RwLock<HashMap<String, Other>>,
    /// Readers here watch something else than before.
    pub(crate) changed: Notify,
}

/// How many readers here watch what.
#[derive(Default)]
struct Own {
    devices: HashMap<DeviceId, usize>,
    all: usize,
    points: usize,
}

/// What readers elsewhere watch.
struct Other {
    devices: HashSet<DeviceId>,
    flows: HashSet<FlowId>,
    all: bool,
    points: bool,
    until: Instant,
}

/// Somebody watches all devices.
pub(crate) struct AllWatched<'a>(&'a Watched);

impl Drop for AllWatched<'_> {
    fn drop(&mut self) {
        self.0.write(|own| own.all -= 1);
    }
}

impl Watched {
    /// A reader watches the shadows and the logs of all devices for as long as it keeps this.
    pub(super) fn all(&self) -> AllWatched<'_> {
        self.write(|own| own.all += 1);
        AllWatched(self)
    }

    /// A reader begins to watch the points and the shadows of all devices, or ends.
    pub(super) fn points_of_all(&self, begins: bool) {
        self.write(|own| match begins {
            true => own.points += 1,
            false => own.points -= 1,
        });
    }

    /// A reader watches other devices than before.
    pub(super) fn devices(&self, before: &[DeviceId], after: &[DeviceId]) {
        if before == after {
            return;
        }
        self.write(|own| {
            for device in after {
                *own.devices.entry(*device).or_insert(0) += 1;
            }
            for device in before {
                if let Some(count) = own.devices.get_mut(device) {
                    *count -= 1;
                    if *count == 0 {
                        own.devices.remove(device);
                    }
                }
            }
        });
    }

    fn write(&self, change: impl FnOnce(&mut Own)) {
        change(&mut self.own.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// What readers here watch, for other nodes. Flows are the caller's.
    pub(crate) fn said(&self, flows: Vec<FlowId>) -> Watch {
        let own = self.own();
        let is_much = own.devices.len() > SAID_MAX;
        Watch {
            devices: if is_much { Vec::new() } else { own.devices.keys().copied().collect() },
            all: own.all > 0 || is_much,
            points: own.points > 0 || is_much,
            flows: flows.into_iter().take(SAID_MAX).collect(),
        }
    }

    /// Readers at another node watch this from now on. Gives the devices that they did not watch before.
    pub(crate) fn hear(&self, node: &str, watch: Watch, now: Instant) -> Vec<DeviceId> {
        let mut others = self.others_mut();
        others.retain(|_, other| other.until > now);
        if watch == Watch::default() || (others.len() >= NODES_MAX && !others.contains_key(node)) {
            others.remove(node);
            return Vec::new();
        }
        let before = others.get(node);
        let is_fresh = |device: &DeviceId| before.is_none_or(|before| !before.devices.contains(device));
        let fresh = watch.devices.iter().copied().filter(is_fresh).collect();
        let Watch { devices, all, points, flows } = watch;
        let other = Other {
            devices: devices.into_iter().collect(),
            flows: flows.into_iter().collect(),
            all,
            points,
            until: now + SAID_FOR,
        };
        others.insert(node.to_owned(), other);
        fresh
    }

    /// What was said too long ago is forgotten.
    pub(crate) fn forget_old(&self, now: Instant) {
        self.others_mut().retain(|_, other| other.until > now);
    }

    /// Whether anybody watches the points of a device, for many devices.
    pub(super) fn points(&self) -> impl Fn(DeviceId) -> bool + '_ {
        let (own, others) = (self.own(), self.others());
        move |device| {
            own.points > 0
                || own.devices.contains_key(&device)
                || others.values().any(|other| other.watches_points(device))
        }
    }

    /// Whether anybody watches the shadows and the logs of a device, for many devices.
    pub(super) fn rest(&self) -> impl Fn(DeviceId) -> bool + '_ {
        let (own, others) = (self.own(), self.others());
        move |device| {
            own.all > 0
                || own.points > 0
                || own.devices.contains_key(&device)
                || others.values().any(|other| other.watches_rest(device))
        }
    }

    /// Whether anybody watches anything of devices.
    pub(super) fn is_any(&self) -> bool {
        let own = self.own();
        !own.devices.is_empty() || own.all > 0 || own.points > 0 || !self.others().is_empty()
    }

    /// For each other node, what is made of whether it watches the points, and the rest, of a device.
    pub(super) fn for_others<T>(
        &self,
        part: impl Fn(&dyn Fn(DeviceId) -> bool, &dyn Fn(DeviceId) -> bool) -> Option<T>,
    ) -> Vec<(String, T)> {
        let others = self.others();
        let parts = others.iter().filter_map(|(node, other)| {
            let part = part(&|device| other.watches_points(device), &|device| other.watches_rest(device))?;
            Some((node.clone(), part))
        });
        parts.collect()
    }

    /// The other nodes where somebody follows a flow.
    pub(super) fn following(&self, flow: FlowId) -> Vec<String> {
        let others = self.others();
        others.iter().filter(|(_, other)| other.flows.contains(&flow)).map(|(node, _)| node.clone()).collect()
    }

    /// Whether somebody at another node follows a flow.
    pub(crate) fn is_followed_elsewhere(&self, flow: FlowId) -> bool {
        self.others().values().any(|other| other.flows.contains(&flow))
    }

    fn own(&self) -> RwLockReadGuard<'_, Own> {
        self.own.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> RwLockReadGuard<'_, HashMap<String, Other>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, Other>> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Other {
    fn watches_points(&self, device: DeviceId) -> bool {
        self.points || self.devices.contains(&device)
    }

    fn watches_rest(&self, device: DeviceId) -> bool {
        self.all || self.points || self.devices.contains(&device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u128) -> DeviceId {
        DeviceId::from_parts(1, number)
    }

    #[test]
    fn what_is_watched_elsewhere_is_forgotten_unless_it_is_said_again() {
        let (here, there) = (Watched::default(), Watched::default());
        let now = Instant::now();
        there.devices(&[], &[device(1)]);
        let hear = |now| here.hear("b", there.said(Vec::new()), now);
        assert_eq!([hear(now), hear(now)], [vec![device(1)], vec![]], "fresh, and then known");
        assert_eq!((here.points()(device(1)), here.points()(device(2))), (true, false));
        let parts = here.for_others(|points, _| points(device(1)).then_some(1));
        assert_eq!(parts, [("b".to_owned(), 1)]);
        here.forget_old(now + SAID_FOR);
        assert!(!here.is_any());
        here.hear("b", there.said(Vec::new()), now);
        there.devices(&[device(1)], &[]);
        here.hear("b", there.said(Vec::new()), now);
        assert!(!here.is_any(), "nobody looks any more");
    }

    #[test]
    fn who_watches_very_many_devices_watches_all() {
        let watched = Watched::default();
        let many: Vec<DeviceId> = (0..=SAID_MAX as u128).map(device).collect();
        watched.devices(&[], &many);
        let all = Watch { all: true, points: true, ..Watch::default() };
        assert_eq!(watched.said(Vec::new()), all);
        let rest = |watched: &Watched| watched.rest()(device(1_000_000));
        assert!(!rest(&watched));
        watched.hear("b", all, Instant::now());
        assert!(rest(&watched));
    }
}
