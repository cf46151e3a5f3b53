//! The library of capabilities, what devices have, and what they reported of themselves.

use std::collections::HashMap;

use motehub_domain::capability::{Capability, Usage};
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::PointValue;

use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::selector::stored;
use crate::{Store, StoreError};

/// How many devices one statement asks for.
const DEVICES_PER_READ: usize = 500;

sql! {
    WRITE = "insert into capabilities (name, description) values ($1, $2)
        on conflict (name) do update set description = excluded.description";
    DELETE = "delete from capabilities where name = $1";
    /// Everything that is described, had or required, with how much it is used.
    LIBRARY = "select n.name, c.description,
        (select count(*) from device_capabilities a where a.capability = n.name and a.source = 'assigned'),
        (select count(*) from device_capabilities a where a.capability = n.name and a.source = 'announced'),
        (select count(*) from requirements q where q.capability = n.name)
        from (select name from capabilities union select capability from device_capabilities
            union select capability from requirements) as n
        left join capabilities c on c.name = n.name order by n.name limit $1";
    DESCRIBED = "select name, description from capabilities order by name";
    DELETE_OF = "delete from device_capabilities where device = $1 and source = $2";
    INSERT_OF = "insert into device_capabilities (device, capability, source) values ($1, $2, $3)";
    DELETE_REPORTED = "delete from reported where device = $1";
    INSERT_REPORTED = "insert into reported (device, name, kind, number, words) values ($1, $2, $3, $4, $5)
        on conflict (device, name) do nothing";
}

const REPORTED_WORDS: &str = "select device, words from reported where words is not null and name = ";
const HAD: &str = "select distinct device, capability from device_capabilities where device";
const ANNOUNCED: &str =
    "select device, capability from device_capabilities where source = 'announced' and device";

pub(crate) fn write(capability: &Capability) -> Statement {
    Statement::new(WRITE, [(&capability.name).into(), (&capability.description).into()])
}

pub(crate) fn delete(name: &str) -> Statement {
    Statement::new(DELETE, [name.into()])
}

/// Replaces the capabilities that a device has from one source.
pub(crate) fn write_of(device: DeviceId, source: &str, names: &[String], transaction: &mut Transaction) {
    transaction.push(Statement::new(DELETE_OF, [Value::id(device), source.into()]));
    if !names.is_empty() {
        let values = names.iter().flat_map(|name| [Value::id(device), name.into(), source.into()]);
        transaction.push(Statement::many(INSERT_OF, 3, values.collect()));
    }
}

/// Replaces what a device reported of itself. Of two attributes with one name the first stays.
pub(crate) fn write_reported(
    device: DeviceId,
    attributes: &[(String, PointValue)],
    transaction: &mut Transaction,
) {
    transaction.push(Statement::new(DELETE_REPORTED, [Value::id(device)]));
    let mut values = Vec::with_capacity(attributes.len() * 5);
    for (name, value) in attributes {
        if let Some((kind, number, words)) = stored(value) {
            values.extend([Value::id(device), name.into(), kind.into(), number.into(), words.into()]);
        }
    }
    if !values.is_empty() {
        transaction.push(Statement::many(INSERT_REPORTED, 5, values));
    }
}

fn entry_of(row: Row) -> Result<(Capability, Usage), StoreError> {
    let mut columns = Columns::of("capabilities", row);
    let name = columns.text()?;
    let description = columns.maybe_text()?.unwrap_or_default();
    let usage =
        Usage { assigned: columns.integer()?, announced: columns.integer()?, required: columns.integer()? };
    Ok((Capability { name, description }, usage))
}

impl Store {
    /// The capabilities that were described, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn library(&self) -> Result<Vec<Capability>, StoreError> {
        let read = |row| {
            let mut columns = Columns::of("capabilities", row);
            Ok(Capability { name: columns.text()?, description: columns.text()? })
        };
        self.engine().read(DESCRIBED, []).await?.into_iter().map(read).collect()
    }

    /// Every capability that is described, that a device has or that a script requires, by name, and how much it is
    /// used; `limit` at most.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn capabilities(&self, limit: usize) -> Result<Vec<(Capability, Usage)>, StoreError> {
        self.engine().read(LIBRARY, [limit.into()]).await?.into_iter().map(entry_of).collect()
    }

    /// What each of these devices can do, assigned or announced; those that can do nothing are left out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn capabilities_of(
        &self,
        devices: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Vec<String>>, StoreError> {
        self.capabilities_by(HAD, devices).await
    }

    /// What each of these devices announced that it can do; those that announced nothing are left out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn announced_by(
        &self,
        devices: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Vec<String>>, StoreError> {
        self.capabilities_by(ANNOUNCED, devices).await
    }

    /// What each of these devices reported under a name in words; those that reported nothing are left out.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn reported_words(
        &self,
        devices: &[DeviceId],
        name: &str,
    ) -> Result<Vec<(DeviceId, String)>, StoreError> {
        let mut all = Vec::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(REPORTED_WORDS);
            query.bind(name).push(" and device").among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("reported", row);
                all.push((columns.parsed()?, columns.text()?));
            }
        }
        Ok(all)
    }

    async fn capabilities_by(
        &self,
        sql: &'static str,
        devices: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Vec<String>>, StoreError> {
        let mut all: HashMap<DeviceId, Vec<String>> = HashMap::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(sql);
            query.among(some.iter().map(Value::id)).push(" order by device, capability");
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("device_capabilities", row);
                all.entry(columns.parsed()?).or_default().push(columns.text()?);
            }
        }
        Ok(all)
    }
}
