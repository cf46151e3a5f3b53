//! An original base of the IoT base family as the way to units: it puts what they say to a webhook, and is told by
//! `private-requests` what to give them. Nothing comes back of that: a unit counts as told when its base was.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::Save;
use motehub_domain::id::DeviceId;
use motehub_domain::line::{Line, Through};
use motehub_domain::selector::{Field, Known, Operator, Selector, Value as SelectorValue};
use motehub_gateway::hub::ConnectionId;
use motehub_protocol::line::Reader;
use motehub_store::StoreError;
use tokio::sync::watch;

use crate::app::App;

/// Connections of units behind bases are numbered from here on, far from those of the others.
const FIRST_CONNECTION: u64 = 0x59 << 56;
/// Most units behind bases.
const UNITS_MAX: usize = 10_000;

/// A unit behind a base.
pub(super) struct Unit {
    pub(super) device: DeviceId,
    pub(super) address: IpAddr,
    pub(super) line: Line,
    pub(super) reader: Reader,
    revision: i64,
}

/// All units behind bases. They are in memory: each reading asks for one.
pub(crate) struct Units {
    all: Mutex<HashMap<DeviceId, Arc<Unit>>>,
    next: AtomicU64,
    changed: watch::Sender<()>,
}

impl Default for Units {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
            changed: watch::Sender::default(),
        }
    }
}

impl Units {
    /// These records were written.
    pub(super) fn tell(&self, save: &Save) {
        match save {
            Save::Device(device) => self.note(device),
            Save::DeleteDevice(id) => self.forget(*id),
            _ => {}
        }
    }

    fn forget(&self, device: DeviceId) {
        if self.all().remove(&device).is_some() {
            self.changed.send_replace(());
        }
    }

    fn note(&self, device: &Device) {
        let mut all = self.all();
        if all.get(&device.id).is_some_and(|known| known.revision >= device.revision) {
            return;
        }
        match unit(device) {
            Some(unit) => drop(all.insert(device.id, Arc::new(unit))),
            None if all.remove(&device.id).is_some() => {}
            None => return,
        }
        self.changed.send_replace(());
    }

    /// The unit with an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<Arc<Unit>> {
        let all = self.all();
        let there = all.values().filter(|unit| unit.address == address);
        there.min_by_key(|unit| (!unit.line.reads(), unit.device)).cloned()
    }

    /// Those that are told something.
    pub(super) fn told(&self) -> Vec<Arc<Unit>> {
        self.all().values().cloned().collect()
    }

    /// Says when units come, go or change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Unit>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device as a unit behind a base, if it is one. A base knows its units by their addresses alone.
fn unit(device: &Device) -> Option<Unit> {
    let line = device.line.as_deref().filter(|line| line.through == Through::Base)?;
    let address = line.address.as_ref()?.ip()?;
    let reader = Reader::new(line).ok()?;
    Some(Unit { device: device.id, address, line: line.clone(), reader, revision: device.revision })
}

impl App {
    /// Finds the units behind bases, at the start of the hub.
    pub(crate) async fn know_units_of_bases(&self) -> Result<(), StoreError> {
        let dialect = SelectorValue::Text(Dialect::Line.as_str().to_owned());
        let all = Selector::Compare(Field::Known(Known::Dialect), Operator::Equal, dialect);
        for id in self.store.select_ids(&all, self.now(), UNITS_MAX).await? {
            if let Some(device) = self.store.device(id).await? {
                self.pusher.units.note(&device);
            }
        }
        Ok(())
    }
}
