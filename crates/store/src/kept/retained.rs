//! What was retained at any node, for those who follow it.

use std::sync::Arc;

use motehub_domain::kept::Message;

use super::PAGE_ROWS;
use super::rows::{number, retained_of};
use crate::{Store, StoreError};

sql! {
    RETAINED_SINCE = "select topic, payload, properties, qos, expires_at, stamp from mqtt_retained
        where stamp > $1 order by stamp limit $2";
}

impl Store {
    /// What was retained, and what is no longer, with stamps above this one: topic, stamp and message.
    ///
    /// # Errors
    /// If the database cannot be read or is damaged.
    pub async fn retained_since(&self, stamp: u64) -> Result<Vec<(u64, Arc<Message>)>, StoreError> {
        let rows = self.engine().read(RETAINED_SINCE, [number(stamp).into(), PAGE_ROWS.into()]).await?;
        let is_all = rows.len() < PAGE_ROWS as usize;
        let found = rows.into_iter().map(|row| retained_of(row).map(|(stamp, m)| (stamp, Arc::new(m))));
        let mut found: Vec<_> = found.collect::<Result<_, _>>()?;
        // Topics may share a stamp: those of the last one come together, on the next page.
        let last = found.last().map(|(stamp, _)| *stamp).filter(|last| !is_all && *last != found[0].0);
        if let Some(last) = last {
            found.retain(|(stamp, _)| *stamp < last);
        }
        Ok(found)
    }
}
