//! Which other node of the hub has a device's connections. It is in memory, out of the store and of what nodes tell
//! each other, so that what is said to a device finds its way without a question: 100,000 devices take a few
//! megabytes, and a bus with as many subjects would have to be told all of them again whenever it comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::command::ExecutionState;
use motehub_domain::deployment::TaskState;
use motehub_domain::device::Holder;
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use motehub_domain::time::{Span, Time};
use motehub_gateway::link::Order;
use motehub_store::StoreError;

use crate::app::App;
use crate::cluster::words::Word;

/// How long it is remembered that something could not be said to a device, which may be on its way to another node.
const MISSED_FOR: Span = Span::seconds(30);
/// Of how many devices that is remembered.
const MISSED_MAX: usize = 10_000;

/// Who has which device, the own node included.
#[derive(Default)]
pub(crate) struct Elsewhere(Mutex<Table>);

#[derive(Default)]
struct Table {
    holders: HashMap<DeviceId, Held>,
    /// How often the store was read.
    reads: u64,
    /// Devices that were nowhere when something was to be said to them.
    missed: HashMap<DeviceId, Time>,
}

#[derive(Clone, PartialEq)]
struct Held {
    /// None while nobody has it: what comes late is known by the fence.
    node: Option<Arc<str>>,
    fence: i64,
    /// How often the store had been read when this was heard.
    reads: u64,
}

/// What follows from a device being somewhere else than before.
#[derive(Debug, PartialEq, Eq)]
enum Follows {
    Nothing,
    /// Something was to be said to it meanwhile.
    Missed,
}

impl Elsewhere {
    /// The node that has a device, this one included.
    pub(crate) fn holder(&self, device: DeviceId) -> Option<Arc<str>> {
        self.table().holders.get(&device)?.node.clone()
    }

    /// How many devices each node has.
    pub(crate) fn counts(&self) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for node in self.table().holders.values().filter_map(|held| held.node.clone()) {
            *counts.entry(node).or_insert(0) += 1;
        }
        counts
    }

    /// At most so many devices that a node has.
    pub(crate) fn of(&self, node: &str, max: usize) -> Vec<DeviceId> {
        let table = self.table();
        let own = table.holders.iter().filter(|(_, held)| held.node.as_deref() == Some(node));
        own.map(|(device, _)| *device).take(max).collect()
    }

    /// The store will be read: what is heard from now on is newer.
    pub(crate) fn begin_to_read(&self) -> u64 {
        let mut table = self.table();
        table.reads += 1;
        table.reads
    }

    /// Everything, as it is in the store.
    pub(crate) fn refresh(&self, held: Vec<Holder>, reads: u64) {
        let mut table = self.table();
        let mut before = std::mem::take(&mut table.holders);
        for holder in held {
            let device = holder.device;
            let was = before.remove(&device);
            let is = Held { node: holder.node.map(Arc::from), fence: holder.fence, reads };
            let newer = was.filter(|was| was.fence > is.fence);
            table.holders.insert(device, newer.unwrap_or(is));
        }
        table.holders.extend(before.into_iter().filter(|(_, held)| held.reads >= reads));
    }

    /// A device has another holder; nothing follows from what is older than what is known.
    fn hear(&self, holder: &Holder, now: Time) -> Option<Follows> {
        let mut table = self.table();
        let Table { holders, missed, reads } = &mut *table;
        if holders.get(&holder.device).is_some_and(|known| known.fence >= holder.fence) {
            return None;
        }
        let node = holder.node.as_ref().map(|node| {
            // One text for all devices of a node.
            let known = holders.get(&holder.device).and_then(|known| known.node.clone());
            known.filter(|known| **known == **node).unwrap_or_else(|| Arc::from(node.as_str()))
        });
        let is_somewhere = node.is_some();
        holders.insert(holder.device, Held { node, fence: holder.fence, reads: *reads });
        let was_missed =
            is_somewhere && missed.remove(&holder.device).is_some_and(|at| now - at <= MISSED_FOR);
        Some(if was_missed { Follows::Missed } else { Follows::Nothing })
    }

    /// There are no such devices any more.
    fn forget(&self, devices: impl Iterator<Item = DeviceId>) {
        let mut table = self.table();
        devices.for_each(|device| drop(table.holders.remove(&device)));
    }

    /// Something was to be said to a device that is nowhere.
    fn miss(&self, device: DeviceId, now: Time) {
        let mut table = self.table();
        if table.missed.len() >= MISSED_MAX {
            table.missed.retain(|_, at| now - *at <= MISSED_FOR);
        }
        if table.missed.len() < MISSED_MAX {
            table.missed.insert(device, now);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Whether a device has a live connection, to whatever node.
    pub(crate) fn is_online(&self, device: DeviceId) -> bool {
        self.connections.is_here(device) || self.elsewhere(device).is_some()
    }

    /// The other node that has a device.
    pub(crate) fn elsewhere(&self, device: DeviceId) -> Option<Arc<str>> {
        if self.cluster.is_alone() {
            return None;
        }
        self.elsewhere.holder(device).filter(|node| **node != *self.cluster.node())
    }

    /// Says something to a device, wherever it is. What is lost on the way is found in the store again.
    pub(crate) fn send(&self, device: DeviceId, downlink: &Downlink) {
        if self.pass_to_board(device, downlink) {
            return;
        }
        self.connections.send(device, downlink);
        if self.cluster.is_alone() {
            return;
        }
        match self.elsewhere(device) {
            Some(node) => self.say(&node, &Word::Down(device, downlink.clone())),
            None if !self.connections.is_here(device) => self.elsewhere.miss(device, self.now()),
            None => {}
        }
    }

    /// Another node says something to a device that it believes to be here.
    pub(crate) fn send_here(&self, device: DeviceId, downlink: &Downlink) {
        match self.connections.is_here(device) {
            _ if self.pass_to_board(device, downlink) => {}
            true => self.connections.send(device, downlink),
            false => self.is_not_here(device),
        }
    }

    /// A device was looked for here. Who has it looks what waits for it.
    fn is_not_here(&self, device: DeviceId) {
        match self.elsewhere(device) {
            Some(node) => self.say(&node, &Word::Anew(vec![device])),
            None => self.elsewhere.miss(device, self.now()),
        }
    }

    /// Of what was written, some waits for devices that are nowhere: one may be on its way to another node, which had
    /// looked what waits for it before.
    pub(crate) fn miss_waiting(&self, saved: &[Save]) {
        if self.cluster.is_alone() {
            return;
        }
        for save in saved {
            let device = match save {
                Save::Task(task) if task.state == TaskState::Waiting => task.device,
                Save::Execution(execution) if execution.state == ExecutionState::Queued => execution.device,
                _ => continue,
            };
            if !self.connections.is_here(device) {
                self.is_not_here(device);
            }
        }
    }

    /// Ends a device's connections that are not of MQTT, wherever it is.
    pub(crate) fn disconnect(&self, device: DeviceId) {
        self.connections.disconnect(device);
        self.say_to_all(&Word::Disconnect(device));
    }

    /// Wants something of the gateways behind which a device is connected, at whatever node they are linked.
    pub(crate) fn order_about(&self, device: DeviceId, order: &Order) {
        self.connections.order(device, order);
        if let Some(node) = self.elsewhere(device) {
            self.say(&node, &Word::OrderAbout(device, order.clone()));
        }
    }

    /// Other nodes that have these devices by what is in the store look what waits for them.
    pub(crate) async fn look_anew_elsewhere(&self, devices: &[DeviceId]) {
        if self.cluster.is_alone() || devices.is_empty() {
            return;
        }
        let holders = match self.store.holders(devices).await {
            Ok(holders) => holders,
            Err(error) => return tracing::warn!(%error, "who has devices could not be looked up"),
        };
        let mut nodes: HashMap<String, Vec<DeviceId>> = HashMap::new();
        for holder in holders.into_values() {
            if let Some(node) = holder.node.filter(|node| node != self.cluster.node()) {
                nodes.entry(node).or_default().push(holder.device);
            }
        }
        for (node, devices) in nodes {
            for some in devices.chunks(Word::DEVICES_MAX) {
                self.say(&node, &Word::Anew(some.to_vec()));
            }
        }
    }

    /// Reads from the store who has which device. Others may have counted some as gone that are here, while this node
    /// could not be seen.
    pub(crate) async fn refresh_elsewhere(&self) -> Result<(), StoreError> {
        if !self.cluster.is_alone() {
            let reads = self.elsewhere.begin_to_read();
            self.elsewhere.refresh(self.store.held().await?, reads);
            let mut lost = self.connections.all_here();
            lost.retain(|device| self.elsewhere.holder(*device).is_none());
            self.connections.look_again(lost.into_iter());
        }
        Ok(())
    }

    /// Reads the same of some devices.
    pub(crate) async fn read_holders(&self, devices: &[DeviceId]) -> Result<(), StoreError> {
        let holders = self.store.holders(devices).await?;
        self.elsewhere.forget(devices.iter().copied().filter(|device| !holders.contains_key(device)));
        let saved: Vec<Save> = holders.into_values().map(Save::Holder).collect();
        self.tell_elsewhere(&saved);
        Ok(())
    }

    /// These records were written, here or elsewhere.
    pub(crate) fn tell_elsewhere(&self, saved: &[Save]) {
        for save in saved {
            let holder = match save {
                Save::Holder(holder) => holder,
                Save::DeleteDevice(device) => {
                    self.elsewhere.forget(std::iter::once(*device));
                    continue;
                }
                _ => continue,
            };
            let Some(follows) = self.elsewhere.hear(holder, self.now()) else { continue };
            let is_here = self.connections.is_here(holder.device);
            match holder.node.as_deref() {
                Some(node) if node == self.cluster.node() => {}
                // It was taken over: what was said to the connection here since may have come to nothing.
                Some(node) if is_here || follows == Follows::Missed => {
                    self.connections.end_asking(holder.device);
                    self.say(node, &Word::Anew(vec![holder.device]));
                }
                Some(_) => {}
                // It went from the node that had taken it over, and has a connection here still.
                None if is_here => self.connections.look_again(std::iter::once(holder.device)),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    #[test]
    fn what_is_heard_late_does_not_count() {
        let device = DeviceId::from_parts(1, 1);
        let holder = |node: Option<&str>, fence| Holder { device, node: node.map(str::to_owned), fence };
        let elsewhere = Elsewhere::default();
        let at = || elsewhere.holder(device).map(|node| node.to_string());
        elsewhere.hear(&holder(Some("a"), 1), NOW);
        elsewhere.hear(&holder(Some("b"), 3), NOW);
        assert_eq!(elsewhere.hear(&holder(None, 2), NOW), None, "that it went from a is heard last");
        assert_eq!(at().as_deref(), Some("b"));
        elsewhere.refresh(vec![holder(Some("a"), 1)], elsewhere.begin_to_read());
        assert_eq!(at().as_deref(), Some("b"), "it was read before");
        elsewhere.refresh(vec![holder(Some("c"), 4)], elsewhere.begin_to_read());
        assert_eq!((at().as_deref(), elsewhere.of("c", 9)), (Some("c"), vec![device]));
        let reads = elsewhere.begin_to_read();
        elsewhere.hear(&holder(Some("d"), 5), NOW);
        elsewhere.refresh(Vec::new(), reads);
        assert_eq!(at().as_deref(), Some("d"), "it came while the store was read");
        elsewhere.refresh(Vec::new(), elsewhere.begin_to_read());
        assert_eq!((at(), elsewhere.counts().len()), (None, 0));
    }

    #[test]
    fn who_was_missed_is_looked_after_where_it_comes() {
        let elsewhere = Elsewhere::default();
        let came = |number, after| {
            let device = DeviceId::from_parts(1, number);
            let holder = Holder { device, node: Some("b".to_owned()), fence: 1 };
            elsewhere.hear(&holder, NOW + after)
        };
        elsewhere.miss(DeviceId::from_parts(1, 1), NOW);
        elsewhere.miss(DeviceId::from_parts(1, 2), NOW);
        assert_eq!(came(1, Span::seconds(1)), Some(Follows::Missed));
        assert_eq!(
            came(2, Span::seconds(40)),
            Some(Follows::Nothing),
            "it found in the store what waits for it"
        );
        assert_eq!(came(3, Span::seconds(1)), Some(Follows::Nothing));
    }
}
