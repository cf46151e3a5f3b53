//! Client certificates of devices, by their digests.

use motehub_domain::artifact::Digest;
use motehub_domain::certificate::Certificate;
use motehub_domain::device::Device;
use motehub_domain::id::DeviceId;

use crate::device::{device_columns, device_select};
use crate::engine::Statement;
use crate::engine::row::{Columns, Row, Value};
use crate::{Store, StoreError};

sql! {
    WRITE = "insert into certificates (digest, device, issued_at, expires_at) values ($1, $2, $3, $4)";
    DELETE = "delete from certificates where digest = $1";
    OF_DEVICE = "select digest, device, issued_at, expires_at from certificates where device = $1
        order by issued_at, digest";
    BY_CERTIFICATE = concat!(
        "select ", device_select!(),
        " from certificates c join devices d on d.id = c.device where c.digest = $1");
}

pub(crate) fn write(certificate: &Certificate) -> Statement {
    let Certificate { digest, device, issued_at, expires_at } = certificate;
    let values = [Value::id(digest), Value::id(device), (*issued_at).into(), (*expires_at).into()];
    Statement::new(WRITE, values)
}

pub(crate) fn delete(digest: Digest) -> Statement {
    Statement::new(DELETE, [Value::id(digest)])
}

fn certificate_of(row: Row) -> Result<Certificate, StoreError> {
    let mut columns = Columns::of("certificates", row);
    Ok(Certificate {
        digest: columns.digest()?,
        device: columns.parsed()?,
        issued_at: columns.time()?,
        expires_at: columns.time()?,
    })
}

impl Store {
    /// The certificates of a device, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn certificates(&self, device: DeviceId) -> Result<Vec<Certificate>, StoreError> {
        self.engine().read(OF_DEVICE, [Value::id(device)]).await?.into_iter().map(certificate_of).collect()
    }

    /// The device that a certificate proves to be.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn device_by_certificate(&self, digest: Digest) -> Result<Option<Device>, StoreError> {
        let row = self.engine().read_one(BY_CERTIFICATE, [Value::id(digest)]).await?;
        row.map(|row| device_columns(&mut Columns::of("devices", row))).transpose()
    }
}
