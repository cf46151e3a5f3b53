//! From which origin the picture of a device may be fetched.

use motehub_domain::camera::Origin;
use motehub_domain::id::DeviceId;

use crate::engine::Statement;
use crate::engine::row::{Columns, Value};
use crate::{Store, StoreError};

sql! {
    WRITE = "insert into cameras (device, origin) select id, $2 from devices where id = $1
        on conflict (device) do update set origin = excluded.origin";
    DELETE = "delete from cameras where device = $1";
    ONE = "select origin from cameras where device = $1";
}

pub(crate) fn write(device: DeviceId, origin: Option<&Origin>) -> Statement {
    match origin {
        Some(origin) => Statement::new(WRITE, [Value::id(device), origin.as_str().into()]),
        None => Statement::new(DELETE, [Value::id(device)]),
    }
}

impl Store {
    /// From where the picture of a device may be fetched, if from anywhere.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn camera(&self, device: DeviceId) -> Result<Option<Origin>, StoreError> {
        let Some(row) = self.engine().read_one(ONE, [Value::id(device)]).await? else { return Ok(None) };
        let text = Columns::of("cameras", row).text()?;
        let origin = Origin::parse(&text).map_err(|_| StoreError::damaged(format!("the origin {text:?}")))?;
        Ok(Some(origin))
    }
}
