//! Credentials of devices: the present one, those of a rotation that goes on, and what was noticed of them.

use motehub_domain::artifact::Digest;
use motehub_domain::credential::{NEXT_MAX, Rotation};
use motehub_domain::device::Device;
use motehub_domain::id::DeviceId;
use motehub_domain::time::Time;

use crate::device::{device_columns, device_select};
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// How many devices one statement looks for.
const DEVICES_PER_READ: usize = 500;

const ROTATIONS: &str = "select device, started_at, sent_at from rotations where device";
const WITH_CREDENTIAL: &str = "select device from credentials where device";

sql! {
    WRITE = "insert into credentials (device, digest) values ($1, $2)
        on conflict (device) do update set digest = excluded.digest, shared_at = null, shared_from = null";
    DELETE = "delete from credentials where device = $1";
    END_ROTATION = "delete from rotations where device = $1";
    WRITE_ROTATION = "insert into rotations (device, started_at, sent_at) values ($1, $2, $3)
        on conflict (device) do update set started_at = excluded.started_at, sent_at = excluded.sent_at";
    WRITE_NEXT = "insert into next_credentials (digest, device, made_at) values ($1, $2, $3)";
    DROP_NEXT = "delete from next_credentials where device = $1 and digest not in (
        select n.digest from next_credentials n where n.device = $1 order by n.made_at desc, n.digest limit $2)";
    SHARED = "update credentials set shared_at = $2, shared_from = $3 where device = $1";

    BY_CREDENTIAL = concat!(
        "select ", device_select!(),
        " from credentials c join devices d on d.id = c.device where c.digest = $1");
    BY_NEXT = concat!(
        "select ", device_select!(),
        " from next_credentials n join devices d on d.id = n.device where n.digest = $1");
    CREDENTIAL = "select digest from credentials where device = $1";
    NEXT = "select digest from next_credentials where device = $1 order by made_at desc, digest";
}

/// A new credential ends a rotation that went on.
pub(crate) fn write(device: DeviceId, digest: Option<Digest>, transaction: &mut Transaction) {
    transaction.push(match digest {
        Some(digest) => Statement::new(WRITE, [Value::id(device), Value::id(digest)]).unique("credential"),
        None => Statement::new(DELETE, [Value::id(device)]),
    });
    transaction.push(Statement::new(END_ROTATION, [Value::id(device)]));
}

pub(crate) fn write_rotation(rotation: &Rotation) -> Statement {
    let Rotation { device, started_at, sent_at } = rotation;
    Statement::new(WRITE_ROTATION, [Value::id(device), (*started_at).into(), (*sent_at).into()])
}

pub(crate) fn write_next(device: DeviceId, digest: Digest, at: Time, transaction: &mut Transaction) {
    let values = [Value::id(digest), Value::id(device), at.into()];
    transaction.push(Statement::new(WRITE_NEXT, values).unique("credential"));
    transaction.push(Statement::new(DROP_NEXT, [Value::id(device), NEXT_MAX.into()]));
}

pub(crate) fn shared(device: DeviceId, at: Time, from: &str) -> Statement {
    Statement::new(SHARED, [Value::id(device), at.into(), from.into()])
}

impl Store {
    /// The device whose credential has this digest.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn device_by_credential(&self, digest: Digest) -> Result<Option<Device>, StoreError> {
        self.engine().read_one(BY_CREDENTIAL, [Value::id(digest)]).await?.map(device_of).transpose()
    }

    /// The device that was sent a secret with this digest and has not used it yet.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn device_by_next_credential(&self, digest: Digest) -> Result<Option<Device>, StoreError> {
        self.engine().read_one(BY_NEXT, [Value::id(digest)]).await?.map(device_of).transpose()
    }

    /// The digest of a device's credential; `None` if it has none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn credential(&self, device: DeviceId) -> Result<Option<Digest>, StoreError> {
        let row = self.engine().read_one(CREDENTIAL, [Value::id(device)]).await?;
        row.map(|row| Columns::of("credentials", row).digest()).transpose()
    }

    /// The digests of what a device was sent in a rotation and has not used yet, the newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn next_credentials(&self, device: DeviceId) -> Result<Vec<Digest>, StoreError> {
        let rows = self.engine().read(NEXT, [Value::id(device)]).await?;
        rows.into_iter().map(|row| Columns::of("next_credentials", row).digest()).collect()
    }

    /// The rotations that go on for some devices.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn rotations(&self, devices: &[DeviceId]) -> Result<Vec<Rotation>, StoreError> {
        let mut rotations = Vec::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(ROTATIONS);
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("rotations", row);
                let device = columns.parsed()?;
                rotations.push(Rotation {
                    device,
                    started_at: columns.time()?,
                    sent_at: columns.maybe_time()?,
                });
            }
        }
        Ok(rotations)
    }

    /// Which of some devices have a credential.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn with_credential(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>, StoreError> {
        let mut found = Vec::new();
        for some in devices.chunks(DEVICES_PER_READ) {
            let mut query = Query::new(WITH_CREDENTIAL);
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                found.push(Columns::of("credentials", row).parsed()?);
            }
        }
        Ok(found)
    }
}

fn device_of(row: Row) -> Result<Device, StoreError> {
    device_columns(&mut Columns::of("devices", row))
}
