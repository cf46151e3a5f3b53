//! Keys of Pyaiot gateways.

use motehub_domain::artifact::Digest;
use motehub_domain::id::PyaiotKeyId;
use motehub_domain::pyaiot::{Fernet, Key};
use motehub_domain::time::{Span, Time};

use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

sql! {
    INSERT = "insert into pyaiot_keys (id, name, fernet, secret, devices, token_age_max, created_at, last_used_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing";
    DELETE = "delete from pyaiot_keys where id = $1";
    USED = "update pyaiot_keys set last_used_at = $2 where id = $1";
    ALL = "select id, name, fernet, secret, devices, token_age_max, created_at, last_used_at from pyaiot_keys
        order by name";
}

pub(crate) fn write(key: &Key) -> Statement {
    let values = [
        Value::id(key.id),
        (&key.name).into(),
        Value::id(Digest(key.fernet.0)),
        Value::id(key.secret),
        key.devices.as_deref().into(),
        key.token_age_max.map(|age| age.0).into(),
        key.created_at.into(),
        key.last_used_at.into(),
    ];
    Statement::new(INSERT, values).guards("key of Pyaiot gateways").unique("name")
}

pub(crate) fn delete(id: PyaiotKeyId) -> Statement {
    Statement::new(DELETE, [Value::id(id)])
}

pub(crate) fn used(id: PyaiotKeyId, at: Time) -> Statement {
    Statement::new(USED, [Value::id(id), at.into()])
}

fn key_of(row: Row) -> Result<Key, StoreError> {
    let mut columns = Columns::of("pyaiot_keys", row);
    Ok(Key {
        id: columns.parsed()?,
        name: columns.text()?,
        fernet: Fernet(columns.digest()?.0),
        secret: columns.digest()?,
        devices: columns.maybe_text()?,
        token_age_max: columns.maybe_integer()?.map(Span),
        created_at: columns.time()?,
        last_used_at: columns.maybe_time()?,
    })
}

impl Store {
    /// All keys of Pyaiot gateways, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn pyaiot_keys(&self) -> Result<Vec<Key>, StoreError> {
        self.engine().read(ALL, []).await?.into_iter().map(key_of).collect()
    }
}
