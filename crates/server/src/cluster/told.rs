//! Records that were written at one node and that others have in memory: which they are, and how they are read again.
//! What is said is only which; what they are by now is in the store, so that it does not matter what is heard first.

use std::collections::BTreeSet;

use motehub_domain::device::{Holder, Presence, Reach};
use motehub_domain::effects::Save;
use motehub_domain::id::{DeploymentId, DeviceId, ScriptId};
use motehub_protocol::wire;
use motehub_store::StoreError;

use super::words::Word;
use crate::app::App;

/// A record that was written, as far as anybody has something of it in memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Touched {
    /// A device; whether it was registered just now.
    Device(DeviceId, bool),
    /// A device is gone.
    DeviceGone(DeviceId),
    /// What a device can do is otherwise than before.
    Members,
    /// What a device runs.
    Software(DeviceId),
    /// Which script is generated for a device.
    Program(DeviceId, ScriptId),
    /// Which node has a device, by which fence.
    Holder(DeviceId, Option<String>, i64),
    /// Whether a device is online.
    Presence(DeviceId, bool),
    /// The task of a device.
    Task(DeploymentId, DeviceId),
    /// Keys of Pyaiot gateways.
    PyaiotKeys,
    /// Pusher apps.
    PusherApps,
    /// Knocks.
    Knocks,
}

wire! {
    enum Touched {
        0 = Device(device, is_new),
        1 = DeviceGone(device),
        2 = Members,
        3 = Software(device),
        4 = Program(device, script),
        5 = Holder(device, node, fence),
        6 = Presence(device, is_online),
        7 = Task(deployment, device),
        8 = PyaiotKeys,
        9 = PusherApps,
        10 = Knocks,
    }
}

impl Touched {
    /// What others are told of a record.
    fn of(save: &Save) -> Option<Self> {
        Some(match save {
            Save::Device(device) => Self::Device(device.id, device.revision == 1),
            Save::DeleteDevice(device) => Self::DeviceGone(*device),
            Save::Announced(..) | Save::Capability(_) => Self::Members,
            Save::Software(software) => Self::Software(software.device),
            Save::Program(device, script) => Self::Program(*device, *script),
            Save::Holder(Holder { device, node, fence }) => Self::Holder(*device, node.clone(), *fence),
            Save::Presence(Presence { device, reach, .. }) => {
                Self::Presence(*device, *reach == Reach::Online)
            }
            Save::Task(task) => Self::Task(task.deployment, task.device),
            Save::PyaiotKey(_) | Save::DeletePyaiotKey(_) => Self::PyaiotKeys,
            Save::PusherApp(_) | Save::DeletePusherApp(_) => Self::PusherApps,
            Save::Knock(_) | Save::KnockHeard(_) | Save::DropKnock(_) => Self::Knocks,
            // Who does the work of the hub is told to look at its own; of all else nothing is in memory.
            _ => return None,
        })
    }
}

impl App {
    /// Tells the other nodes which records were written here.
    pub(crate) fn tell_others(&self, saved: &[Save], states_facts: bool) {
        if self.cluster.is_alone() {
            return;
        }
        // Each once, in an order that does not matter: what they are is in the store.
        let touched: BTreeSet<Touched> = saved.iter().filter_map(Touched::of).collect();
        if touched.is_empty() && !states_facts {
            return;
        }
        let touched: Vec<Touched> = touched.into_iter().collect();
        let mut parts = touched.chunks(Word::DEVICES_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        self.say_to_all(&Word::Told(first, states_facts));
        parts.for_each(|part| self.say_to_all(&Word::Told(part.to_vec(), false)));
    }

    /// Another node wrote records: what is in memory of them is told as if they had been written here.
    pub(crate) async fn hear_touched(&self, touched: Vec<Touched>) -> Result<(), StoreError> {
        let now = self.now();
        let mut saved = Vec::new();
        let (mut devices, mut fresh) = (Vec::new(), BTreeSet::new());
        for touched in touched {
            match touched {
                Touched::Device(device, is_new) => {
                    devices.push(device);
                    if is_new {
                        fresh.insert(device);
                    }
                }
                Touched::DeviceGone(device) => saved.push(Save::DeleteDevice(device)),
                Touched::Members => self.flows.members_changed(now),
                Touched::Software(device) if self.cares_what_runs(device) => {
                    saved.push(Save::Software(Box::new(self.store.software(device).await?)));
                }
                Touched::Software(_) => {}
                Touched::Program(device, script) => saved.push(Save::Program(device, script)),
                Touched::Holder(device, node, fence) => {
                    saved.push(Save::Holder(Holder { device, node, fence }));
                }
                Touched::Presence(device, is_online) => {
                    let (reach, address) = (Reach::of(is_online), String::new());
                    saved.push(Save::Presence(Presence {
                        device,
                        reach,
                        gateway: None,
                        seen_at: now,
                        address,
                    }));
                }
                Touched::Task(deployment, device) if self.flows.is_any_running() => {
                    saved.extend(
                        self.store.task(deployment, device).await?.map(|task| Save::Task(Box::new(task))),
                    );
                }
                Touched::Task(..) => {}
                Touched::PyaiotKeys => self.pyaiot.refresh(&self.store).await?,
                Touched::PusherApps => self.pusher.refresh(&self.store).await?,
                Touched::Knocks => self.knocks.are_stale(),
            }
        }
        for (device, _) in self.store.presences(&devices).await? {
            if fresh.contains(&device.id) {
                self.knocks.registered(&device);
            }
            saved.push(Save::Device(Box::new(device)));
        }
        self.tell(&saved, now).await;
        Ok(())
    }

    fn cares_what_runs(&self, device: DeviceId) -> bool {
        self.flows.is_any_running() || self.called.boards().is_some_and(|boards| boards.knows(device))
    }
}
