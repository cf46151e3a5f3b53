//! Which devices are there. Presence is keyed by connection, so a take-over never shows a device offline; what
//! changed is written in batches by one worker ([`keep`]), so that ten thousand devices may come back at once. Of
//! several nodes each knows its own connections, and which other node has a device's ([`elsewhere`]).

pub(crate) mod elsewhere;
mod gone;
mod keep;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::credential::{self, Stay};
use motehub_domain::device::Reach;
use motehub_domain::id::{DeviceId, GatewayId};
use motehub_domain::message::Downlink;
use motehub_domain::time::{Span, Time};
use motehub_gateway::hub::{Connection, ConnectionId, Transport};
use motehub_gateway::link::{Down, Order};
use tokio::sync::{Notify, mpsc};

use crate::gateways;

pub(crate) use gone::run as run_gone;
pub(crate) use keep::{run, tell_all_anew, tell_anew, tell_who_came};

/// How many devices' presence is written in one transaction.
const BATCH_MAX: usize = 500;

/// The live connections of devices.
#[derive(Default)]
pub(crate) struct Connections {
    table: Mutex<Table>,
    changed: Notify,
    /// How often somebody was disconnected.
    endings: AtomicU64,
}

#[derive(Default)]
struct Table {
    links: HashMap<DeviceId, Vec<Link>>,
    owners: HashMap<ConnectionId, DeviceId>,
    /// Devices whose presence is to be written.
    dirty: HashSet<DeviceId>,
    /// Devices heard since "last seen" was last written.
    heard: HashSet<DeviceId>,
    /// The last address of devices that went.
    left_from: HashMap<DeviceId, SocketAddr>,
    /// Devices that were connected behind a gateway whose link is lost.
    unreachable: HashMap<DeviceId, GatewayId>,
    /// Devices that their gateway, which is linked here, does not have.
    settled: HashMap<DeviceId, GatewayId>,
}

struct Link {
    id: ConnectionId,
    address: SocketAddr,
    transport: Transport,
    since: Time,
    silence_max: Option<Span>,
    way: Way,
}

/// How something gets to a connection.
enum Way {
    /// To a gateway in this process.
    Here(mpsc::Sender<Downlink>),
    /// Over the link of a gateway, which knows the connection by this number.
    Behind(Arc<gateways::Link>, ConnectionId),
}

/// A device whose presence is to be written.
struct Dirty {
    device: DeviceId,
    address: Option<SocketAddr>,
    reach: Reach,
    /// `None` if that is as it was.
    gateway: Option<Option<GatewayId>>,
    /// From whom it went, if it did.
    from: From,
}

/// From whom a device went.
enum From {
    /// From this node.
    Here,
    /// From a node that is gone.
    Node(Arc<str>),
    /// From a gateway that is linked here, through whatever node it was linked before.
    Gateway(GatewayId),
}

impl Connections {
    /// A device's connection begins.
    pub(crate) fn attach(&self, connection: &Connection, downlinks: mpsc::Sender<Downlink>, now: Time) {
        self.enter(connection, Way::Here(downlinks), now);
    }

    /// A device's connection begins behind a gateway, which knows it by the number `theirs`.
    pub(crate) fn attach_behind(
        &self,
        link: &Arc<gateways::Link>,
        theirs: ConnectionId,
        connection: &Connection,
        now: Time,
    ) {
        self.enter(connection, Way::Behind(link.clone(), theirs), now);
    }

    fn enter(&self, connection: &Connection, way: Way, now: Time) {
        let mut table = self.table();
        let Connection { id, address, transport, silence_max, .. } = *connection;
        let link = Link { id, address, transport, since: now, silence_max, way };
        table.unreachable.remove(&connection.device);
        table.settled.remove(&connection.device);
        table.links.entry(connection.device).or_default().push(link);
        table.owners.insert(connection.id, connection.device);
        table.dirty.insert(connection.device);
        drop(table);
        self.changed.notify_one();
    }

    /// A connection is over.
    pub(crate) fn detach(&self, id: ConnectionId) {
        let mut table = self.table();
        let Some(device) = table.owners.remove(&id) else { return };
        if let Some(links) = table.links.get_mut(&device) {
            let address = links.iter().find(|link| link.id == id).map(|link| link.address);
            links.retain(|link| link.id != id);
            if links.is_empty() {
                table.links.remove(&device);
                table.left_from.extend(address.map(|address| (device, address)));
            }
        }
        table.dirty.insert(device);
        drop(table);
        self.changed.notify_one();
    }

    /// The link of a gateway is over: its devices are unreachable, unless they are connected elsewhere too.
    pub(crate) fn link_lost(&self, lost: &Arc<gateways::Link>) {
        let mut table = self.table();
        let is_behind = |link: &Link| matches!(&link.way, Way::Behind(link, _) if Arc::ptr_eq(link, lost));
        let mut gone = Vec::new();
        for (device, links) in &mut table.links {
            let before = links.len();
            let address = links.last().map(|link| link.address);
            links.retain(|link| !is_behind(link));
            if links.len() < before {
                gone.push((*device, address.filter(|_| links.is_empty())));
            }
        }
        for (device, address) in gone {
            table.dirty.insert(device);
            if let Some(address) = address {
                table.links.remove(&device);
                table.unreachable.insert(device, lost.gateway);
                table.left_from.insert(device, address);
            }
        }
        let Table { links, owners, .. } = &mut *table;
        owners
            .retain(|id, device| links.get(device).is_some_and(|links| links.iter().any(|it| it.id == *id)));
        drop(table);
        self.changed.notify_one();
    }

    /// A gateway is back and has said which devices are connected: those that were unreachable behind it are offline
    /// if they are not among them. `stored`: what the store says of that.
    pub(crate) fn settled(&self, gateway: GatewayId, stored: Vec<DeviceId>) {
        let mut table = self.table();
        let Table { unreachable, dirty, links, settled, .. } = &mut *table;
        let gone = stored.iter().filter(|device| !links.contains_key(device));
        settled.extend(gone.map(|device| (*device, gateway)));
        unreachable.retain(|device, of| {
            let is_settled = *of == gateway;
            if is_settled {
                dirty.insert(*device);
            }
            !is_settled
        });
        dirty.extend(stored);
        drop(table);
        self.changed.notify_one();
    }

    /// The links of gateways behind which a device is connected.
    pub(crate) fn links_of(&self, device: DeviceId) -> Vec<Arc<gateways::Link>> {
        let table = self.table();
        let links = table.links.get(&device).into_iter().flatten();
        links
            .filter_map(|link| match &link.way {
                Way::Behind(link, _) => Some(link.clone()),
                Way::Here(_) => None,
            })
            .collect()
    }

    /// Whether a device has a live connection to this node.
    pub(crate) fn is_here(&self, device: DeviceId) -> bool {
        self.table().links.contains_key(&device)
    }

    /// Whether a device has a connection here that began before a moment.
    pub(crate) fn is_since_before(&self, device: DeviceId, at: Time) -> bool {
        let table = self.table();
        table.links.get(&device).is_some_and(|links| links.iter().any(|link| link.since < at))
    }

    /// Says something to every connection of a device here. A full queue loses it: it is recomputed from stored state.
    pub(crate) fn send(&self, device: DeviceId, downlink: &Downlink) {
        for link in self.table().links.get(&device).into_iter().flatten() {
            match &link.way {
                Way::Here(downlinks) => {
                    if downlinks.try_send(downlink.clone()).is_err() {
                        metrics::counter!("motehub_downlinks_dropped_total").increment(1);
                    }
                }
                Way::Behind(link, connection) => {
                    link.say(Down::Downlink { connection: *connection, downlink: downlink.clone() });
                }
            }
        }
    }

    /// Wants something of the gateways elsewhere behind which a device is connected.
    pub(crate) fn order(&self, device: DeviceId, order: &Order) {
        for link in self.links_of(device) {
            link.say(Down::Order(order.clone()));
        }
    }

    /// Ends a device's connections that hang on this table: those over HTTP and WebSocket.
    pub(crate) fn disconnect(&self, device: DeviceId) {
        let table = self.table();
        self.endings.fetch_add(1, Ordering::SeqCst);
        let links = table.links.get(&device).into_iter().flatten();
        let links: Vec<&Link> = links.filter(|link| link.transport != Transport::Mqtt).collect();
        for link in &links {
            if let Way::Behind(link, connection) = &link.way {
                link.say(Down::Ended { connection: *connection });
            }
        }
        let ended: Vec<ConnectionId> = links.iter().map(|link| link.id).collect();
        drop(table);
        ended.into_iter().for_each(|id| self.detach(id));
    }

    /// How often that was done, for any device.
    pub(crate) fn endings(&self) -> u64 {
        self.endings.load(Ordering::SeqCst)
    }

    /// Somebody was to be disconnected who may be about to connect.
    pub(crate) fn count_ending(&self) {
        self.endings.fetch_add(1, Ordering::SeqCst);
    }

    /// A device is at another node now. One that asks over HTTP would be told nothing here any more: it begins anew
    /// when it asks here again.
    fn end_asking(&self, device: DeviceId) {
        let table = self.table();
        let links = table.links.get(&device).into_iter().flatten();
        let asking =
            links.filter(|link| link.transport == Transport::Http && matches!(link.way, Way::Here(_)));
        let ended: Vec<ConnectionId> = asking.map(|link| link.id).collect();
        drop(table);
        ended.into_iter().for_each(|id| self.detach(id));
    }

    /// The devices that are connected from several addresses at once, with those.
    fn at_several_addresses(&self, now: Time) -> Vec<(DeviceId, Vec<IpAddr>)> {
        let table = self.table();
        let several = table.links.iter().filter(|(_, links)| links.len() > 1);
        let stays = |link: &Link| Stay {
            address: link.address.ip().to_canonical(),
            since: link.since,
            silence_max: link.silence_max,
        };
        several
            .filter_map(|(device, links)| {
                let stays: Vec<Stay> = links.iter().map(stays).collect();
                credential::side_by_side(&stays, now).map(|addresses| (*device, addresses))
            })
            .collect()
    }

    /// Devices were heard.
    pub(crate) fn heard(&self, devices: impl Iterator<Item = DeviceId>) {
        self.table().heard.extend(devices);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_dirty(&self) -> Vec<Dirty> {
        let mut table = self.table();
        let devices: Vec<DeviceId> = table.dirty.iter().copied().take(BATCH_MAX).collect();
        let mut taken = Vec::with_capacity(devices.len());
        for device in devices {
            table.dirty.remove(&device);
            let left = table.left_from.remove(&device);
            let from = table.settled.remove(&device).map_or(From::Here, From::Gateway);
            let dirty = match table.links.get(&device).and_then(|links| links.last()) {
                Some(link) => {
                    let gateway = match &link.way {
                        Way::Here(_) => None,
                        Way::Behind(link, _) => Some(link.gateway),
                    };
                    let address = Some(link.address);
                    Dirty { device, address, reach: Reach::Online, gateway: Some(gateway), from }
                }
                None => match table.unreachable.get(&device) {
                    Some(of) => {
                        let gateway = Some(Some(*of));
                        Dirty { device, address: left, reach: Reach::Unreachable, gateway, from }
                    }
                    None => {
                        let reach = Reach::Offline;
                        Dirty { device, address: left, reach, gateway: None, from }
                    }
                },
            };
            taken.push(dirty);
        }
        if !table.dirty.is_empty() {
            self.changed.notify_one();
        }
        taken
    }

    /// What is written of these devices is looked at again.
    pub(crate) fn look_again(&self, devices: impl Iterator<Item = DeviceId>) {
        self.table().dirty.extend(devices);
        self.changed.notify_one();
    }

    /// All devices that have a connection here.
    pub(crate) fn all_here(&self) -> Vec<DeviceId> {
        self.table().links.keys().copied().collect()
    }
}
