//! Units, plain TCP devices: those that the hub reaches itself, and those that gateways elsewhere are told of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use motehub_domain::device::{Device, Dialect};
use motehub_domain::effects::Save;
use motehub_domain::id::{DeviceId, GatewayId};
use motehub_domain::line::Through;
use motehub_domain::network::Network;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value};
use motehub_gateway::hub::Hub;
use motehub_gateway::link::{Down, Order};
use motehub_gateway::units::{Unit, Units};
use motehub_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock::Clock;
use crate::gateways::Link;
use crate::server::workers::{self, AtEnd};

/// Most units.
const UNITS_MAX: usize = 10_000;

/// All units, and the tasks of those that the hub reaches itself.
#[derive(Default)]
pub(crate) struct Reached {
    here: OnceLock<Units>,
    all: Mutex<HashMap<DeviceId, Entry>>,
}

struct Entry {
    through: Through,
    unit: Unit,
    /// Of the device: what is older is not heard.
    revision: i64,
}

impl Reached {
    /// From now on units are known and heard, and dialled by the node that does that.
    pub(crate) fn begin(&self, hub: Arc<dyn Hub>, networks: Vec<Network>, clock: Clock) {
        let _ = self.here.set(Units::new(hub, networks, Arc::new(move || clock.now())));
    }

    /// The units that the hub reaches itself.
    pub(crate) fn here(&self) -> Option<&Units> {
        self.here.get()
    }

    /// How many units there are.
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    /// A unit is so now. Returns through what it was and is reached.
    fn note(&self, device: &Device) -> Vec<Through> {
        let Some(line) = &device.line else { return Vec::new() };
        let (through, revision) = (line.through, device.revision);
        let unit = Unit { device: device.id, line: (**line).clone(), silence_max: device.silence_max };
        let mut all = self.all();
        let known = all.get(&device.id);
        if known.is_some_and(|known| known.revision >= revision) {
            return Vec::new();
        }
        let was = known.map(|known| known.through);
        if let Some(here) = self.here() {
            match through {
                Through::Hub => here.know(unit.clone()),
                Through::Gateway(_) | Through::Base => here.forget(device.id),
            }
        }
        all.insert(device.id, Entry { through, unit, revision });
        was.into_iter().chain([through]).collect()
    }

    /// There is no such unit any more. Returns through what it was reached.
    fn drop(&self, device: DeviceId) -> Vec<Through> {
        let gone = self.all().remove(&device);
        if let Some(here) = self.here() {
            here.forget(device);
        }
        gone.map(|entry| entry.through).into_iter().collect()
    }

    /// The units that a gateway reaches.
    fn of(&self, gateway: GatewayId) -> Vec<Unit> {
        let all = self.all();
        let own = all.values().filter(|entry| entry.through == Through::Gateway(gateway));
        own.map(|entry| entry.unit.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<DeviceId, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dials the units that do not dial in until `stop`, or until this node does it no more.
pub(crate) async fn run(app: App, stop: CancellationToken) {
    let Some(units) = app.units.here() else { return };
    workers::read(|| app.know_units(), "which units there are").await;
    let _rest = AtEnd(|| units.rest());
    units.dial(Arc::new(app.clone()));
    stop.cancelled().await;
}

impl App {
    /// Finds the units.
    pub(crate) async fn know_units(&self) -> Result<(), StoreError> {
        let dialect = Value::Text(Dialect::Line.as_str().to_owned());
        let all = Selector::Compare(Field::Known(Known::Dialect), Operator::Equal, dialect);
        for id in self.store.select_ids(&all, self.now(), UNITS_MAX).await? {
            if let Some(device) = self.store.device(id).await? {
                self.units.note(&device);
            }
        }
        Ok(())
    }

    /// These records were written: what of them is about units is told to their tasks, here and elsewhere.
    pub(crate) fn tell_units(&self, saves: &[Save]) {
        let mut touched = Vec::new();
        for save in saves {
            match save {
                Save::Device(device) if device.line.is_some() => touched.extend(self.units.note(device)),
                Save::DeleteDevice(id) => touched.extend(self.units.drop(*id)),
                _ => {}
            }
        }
        let mut gateways: Vec<GatewayId> = touched.into_iter().filter_map(gateway).collect();
        gateways.sort_unstable();
        gateways.dedup();
        for gateway in gateways {
            if let Some(link) = self.gateways.link(gateway) {
                self.tell_units_of(&link);
            }
        }
    }

    /// Tells a gateway which units it reaches: all of them, so that it forgets the others.
    pub(crate) fn tell_units_of(&self, link: &Link) {
        let units = self.units.of(link.gateway);
        let devices: Vec<DeviceId> = units.iter().map(|unit| unit.device).collect();
        self.gateways.look_again(&devices);
        if link.serves == "tcp" {
            link.say(Down::Order(Order::Units(units)));
        }
    }
}

fn gateway(through: Through) -> Option<GatewayId> {
    match through {
        Through::Gateway(gateway) => Some(gateway),
        Through::Hub | Through::Base => None,
    }
}
