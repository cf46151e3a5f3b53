//! The names that are in use, of which selectors can be made.

use crate::engine::row::Columns;
use crate::{Store, StoreError};

sql! {
    TAGS = "select distinct tag from device_tags order by tag limit $1";
    CAPABILITIES = "select distinct capability from device_capabilities order by capability limit $1";
    SCRIPTS = "select name from scripts where id not in (select script from programs)
        order by name_key limit $1";
    ATTRIBUTES = "select distinct name from reported order by name limit $1";
}

/// Names that are in use, each sort sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Tags of devices.
    pub tags: Vec<String>,
    /// Capabilities of devices, assigned or announced.
    pub capabilities: Vec<String>,
    /// Names of scripts of the library.
    pub scripts: Vec<String>,
    /// Metrics that devices measured.
    pub metrics: Vec<String>,
    /// Attributes that devices reported of themselves.
    pub attributes: Vec<String>,
}

impl Store {
    /// The names that are in use, at most `limit` of each sort.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn words(&self, limit: usize) -> Result<Words, StoreError> {
        Ok(Words {
            tags: self.names(TAGS, limit).await?,
            capabilities: self.names(CAPABILITIES, limit).await?,
            scripts: self.names(SCRIPTS, limit).await?,
            metrics: self.metric_names(limit).await?,
            attributes: self.names(ATTRIBUTES, limit).await?,
        })
    }

    async fn names(&self, sql: &'static str, limit: usize) -> Result<Vec<String>, StoreError> {
        let rows = self.engine().read(sql, [limit.into()]).await?;
        rows.into_iter().map(|row| Columns::of("names", row).text()).collect()
    }
}
