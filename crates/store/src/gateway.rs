//! Gateways in processes of their own: their keys, which devices showed themselves through them, and up to where what
//! they number is stored.

use motehub_domain::gateway::{Gateway, Taken};
use motehub_domain::id::{DeviceId, GatewayId};
use motehub_domain::time::Time;

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

/// The columns of a gateway, in the order in which [`gateway_of`] reads them.
macro_rules! gateway_select {
    () => {
        "select id, name, key, next_key, selector, created_at, revision, seen_at, address from gateways"
    };
}

sql! {
    INSERT = "insert into gateways (id, name, name_key, key, next_key, selector, created_at, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing";
    UPDATE = "update gateways set name = $2, name_key = $3, key = $4, next_key = $5, selector = $6,
        created_at = $7, revision = $8 where id = $1 and revision = $8 - 1";
    DELETE = "delete from gateways where id = $1";
    SEEN = "update gateways set seen_at = $2, address = $3 where id = $1";
    ALL = concat!(gateway_select!(), " order by name_key");
    ONE = concat!(gateway_select!(), " where id = $1");
    SHOWN = "insert into gateway_devices (gateway, device)
        select g.id, d.id from gateways g, devices d where g.id = $1 and d.id = $2
        on conflict (gateway, device) do nothing";
    HAS_SHOWN = "select 1 from gateway_devices where gateway = $1 and device = $2";
    TAKEN = "insert into gateway_taken (gateway, spool, lane, number)
        select id, cast($2 as bigint), $3, cast($4 as bigint) from gateways where id = $1
        on conflict (gateway, spool, lane) do update set number = excluded.number
        where excluded.number > gateway_taken.number";
    TAKEN_UP_TO = "select number from gateway_taken where gateway = $1 and spool = $2 and lane = $3";
    BEHIND = "select p.gateway, cast(sum(p.online) as bigint), cast(sum(p.unreachable) as bigint) from presence p
        where p.gateway is not null and (p.online = 1 or p.unreachable = 1) group by p.gateway";
    UNREACHABLE = "select device from presence where gateway = $1 and unreachable = 1";
}

/// A gateway, and when and from where its link was last made or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayView {
    /// The gateway.
    pub gateway: Gateway,
    /// When; `None` if it never came.
    pub seen_at: Option<Time>,
    /// From which address.
    pub address: Option<String>,
}

pub(crate) fn write(gateway: &Gateway) -> Statement {
    let values = [
        Value::id(gateway.id),
        (&gateway.name).into(),
        gateway.name.to_lowercase().into(),
        gateway.key.map(|key| key.to_string()).as_ref().into(),
        gateway.next_key.map(|key| key.to_string()).as_ref().into(),
        (&gateway.selector).into(),
        gateway.created_at.into(),
        gateway.revision.into(),
    ];
    let sql = if gateway.revision == 1 { INSERT } else { UPDATE };
    Statement::new(sql, values).guards("gateway").unique("name")
}

pub(crate) fn delete(id: GatewayId) -> Statement {
    Statement::new(DELETE, [Value::id(id)]).guards("gateway")
}

pub(crate) fn seen(id: GatewayId, at: Time, address: &str) -> Statement {
    Statement::new(SEEN, [Value::id(id), at.into(), address.into()])
}

pub(crate) fn shown(id: GatewayId, device: DeviceId) -> Statement {
    Statement::new(SHOWN, [Value::id(id), Value::id(device)])
}

/// Refuses a transaction if so much was taken before: by another node, or when an answer was lost.
pub(crate) fn taken(taken: &Taken) -> Statement {
    taken_up_to(taken).guards("the place in the spool of the gateway")
}

pub(crate) fn taken_up_to(taken: &Taken) -> Statement {
    let Taken { gateway, spool, lane, number } = taken;
    let values =
        [Value::id(*gateway), spool.cast_signed().into(), (*lane).into(), number.cast_signed().into()];
    Statement::new(TAKEN, values)
}

fn gateway_of(row: Row) -> Result<GatewayView, StoreError> {
    let mut columns = Columns::of("gateways", row);
    let gateway = Gateway {
        id: columns.parsed()?,
        name: columns.text()?,
        key: columns.maybe_parsed()?,
        next_key: columns.maybe_parsed()?,
        selector: columns.text()?,
        created_at: columns.time()?,
        revision: columns.integer()?,
    };
    Ok(GatewayView { gateway, seen_at: columns.maybe_time()?, address: columns.maybe_text()? })
}

impl Store {
    /// All gateways, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn gateways(&self) -> Result<Vec<GatewayView>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(gateway_of).collect()
    }

    /// One gateway.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn gateway(&self, id: GatewayId) -> Result<Option<GatewayView>, StoreError> {
        self.engine().read_one(ONE, [Value::id(id)]).await?.map(gateway_of).transpose()
    }

    /// Whether a device showed its own credential through a gateway.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn has_shown(&self, gateway: GatewayId, device: DeviceId) -> Result<bool, StoreError> {
        let found = self.engine().read_one(HAS_SHOWN, [Value::id(gateway), Value::id(device)]).await?;
        Ok(found.is_some())
    }

    /// Up to which number a lane of a spool was taken; 0 if nothing of it was.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn taken(&self, gateway: GatewayId, spool: u64, lane: &str) -> Result<u64, StoreError> {
        let values = [Value::id(gateway), spool.cast_signed().into(), lane.into()];
        let found = self.engine().read_one(TAKEN_UP_TO, values).await?;
        let number = found.map(|row| Columns::of("gateway_taken", row).integer()).transpose()?;
        Ok(number.unwrap_or(0).cast_unsigned())
    }

    /// How many devices are online behind each gateway that has any, and how many unreachable.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn behind_gateways(&self) -> Result<Vec<(GatewayId, i64, i64)>, StoreError> {
        let read = |row| {
            let mut columns = Columns::of("presence", row);
            Ok((columns.parsed()?, columns.integer()?, columns.integer()?))
        };
        self.engine().read(BEHIND, []).await?.into_iter().map(read).collect()
    }

    /// The devices that are unreachable behind a gateway.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn unreachable(&self, gateway: GatewayId) -> Result<Vec<DeviceId>, StoreError> {
        let rows = self.engine().read(UNREACHABLE, [Value::id(gateway)]).await?;
        rows.into_iter().map(|row| Columns::of("presence", row).parsed()).collect()
    }
}
