//! The figures of the first page.

use crate::engine::row::Columns;
use crate::{Store, StoreError};

sql! {
    COUNT = "select
        (select count(*) from devices),
        (select count(*) from presence where online = 1),
        (select count(*) from software where problem is not null),
        (select count(*) from devices d where
            exists (select 1 from tasks t where t.device = d.id and t.is_open = 1)
            or exists (select 1 from software s where s.device = d.id and s.pending_deployment is not null)),
        (select count(*) from devices where unauthenticated_allowed = 1),
        (select count(*) from deployments where state = 'Running')";
}

/// How the fleet stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overview {
    /// Devices.
    pub total: i64,
    /// Devices with a live connection.
    pub online: i64,
    /// Devices with a problem.
    pub failing: i64,
    /// Devices for which something waits or is being applied.
    pub pending: i64,
    /// Devices that may speak without a credential.
    pub unauthenticated: i64,
    /// Deployments with open tasks.
    pub running_deployments: i64,
}

impl Store {
    /// How the fleet stands.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let Some(row) = self.engine().read_one(COUNT, []).await? else { return Ok(Overview::default()) };
        let mut columns = Columns::of("overview", row);
        Ok(Overview {
            total: columns.integer()?,
            online: columns.integer()?,
            failing: columns.integer()?,
            pending: columns.integer()?,
            unauthenticated: columns.integer()?,
            running_deployments: columns.integer()?,
        })
    }
}
