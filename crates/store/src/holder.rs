//! Which node of the hub has a device's connections, when several nodes are one hub.

use std::collections::HashMap;

use motehub_domain::device::{Device, Holder, Presence};
use motehub_domain::id::{DeviceId, GatewayId};

use crate::device::{device_columns, device_select, reach};
use crate::engine::Statement;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// How many devices one statement looks for.
const DEVICES_PER_READ: usize = 500;

sql! {
    WRITE = "insert into holders (device, node, fence)
        select id, $2, cast($3 as bigint) from devices where id = $1
        on conflict (device) do update set node = excluded.node, fence = excluded.fence
        where holders.fence = excluded.fence - 1";
    HELD = "select device, node, fence from holders where node is not null";
    BEHIND = "select p.device from presence p join holders h on h.device = p.device
        where p.gateway = $1 and p.online = 1 and h.node <> $2";
}

const OF: &str = "select device, node, fence from holders where device";
const SEEN: &str = concat!(
    "select ",
    device_select!(),
    ", p.online, p.unreachable, p.gateway, p.seen_at, p.address
    from devices d left join presence p on p.device = d.id where d.id"
);

pub(crate) fn write(holder: &Holder) -> Statement {
    let Holder { device, node, fence } = holder;
    Statement::new(WRITE, [Value::id(device), node.as_ref().into(), (*fence).into()]).guards("holder")
}

fn holder_of(row: Row) -> Result<Holder, StoreError> {
    let mut columns = Columns::of("holders", row);
    Ok(Holder { device: columns.parsed()?, node: columns.maybe_text()?, fence: columns.integer()? })
}

fn seen_of(row: Row) -> Result<(Device, Option<Presence>), StoreError> {
    let mut columns = Columns::of("presence", row);
    let device = device_columns(&mut columns)?;
    let (online, unreachable) = (columns.maybe_integer()?, columns.maybe_integer()?);
    let (gateway, seen_at, address) = (columns.maybe_parsed()?, columns.maybe_time()?, columns.maybe_text()?);
    let presence = match (online, seen_at, address) {
        (Some(online), Some(seen_at), Some(address)) => {
            let reach = reach(online == 1, unreachable == Some(1));
            Some(Presence { device: device.id, reach, gateway, seen_at, address })
        }
        _ => None,
    };
    Ok((device, presence))
}

impl Store {
    /// All devices that a node holds.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn held(&self) -> Result<Vec<Holder>, StoreError> {
        self.engine().read(HELD, []).await?.into_iter().map(holder_of).collect()
    }

    /// Who holds these devices, as far as anybody ever did.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn holders(&self, devices: &[DeviceId]) -> Result<HashMap<DeviceId, Holder>, StoreError> {
        let mut holders = HashMap::with_capacity(devices.len());
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(OF);
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                let holder = holder_of(row)?;
                holders.insert(holder.device, holder);
            }
        }
        Ok(holders)
    }

    /// The devices that are online behind a gateway at other nodes than this one.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn held_behind(&self, gateway: GatewayId, not_by: &str) -> Result<Vec<DeviceId>, StoreError> {
        let rows = self.engine().read(BEHIND, [Value::id(gateway), not_by.into()]).await?;
        rows.into_iter().map(|row| Columns::of("presence", row).parsed()).collect()
    }

    /// These devices, as far as there are such, and whether each is there.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn presences(
        &self,
        devices: &[DeviceId],
    ) -> Result<Vec<(Device, Option<Presence>)>, StoreError> {
        let mut found = Vec::with_capacity(devices.len());
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(SEEN);
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                found.push(seen_of(row)?);
            }
        }
        Ok(found)
    }
}
