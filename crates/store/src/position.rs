//! Devices that say where they are.

use motehub_domain::device::Reach;
use motehub_domain::id::DeviceId;
use motehub_domain::position::{Position, REPORTED_AS};
use serde_json::Value as Json;

use crate::device::reach;
use crate::engine::row::{Columns, Row};
use crate::{Store, StoreError};

sql! {
    ALL = "select d.id, d.name, coalesce(p.online, 0), coalesce(p.unreachable, 0), s.reported
        from shadows s join devices d on d.id = s.device left join presence p on p.device = s.device
        where s.name = '' and s.is_deleted = 0 and s.reported like '%\"position\":%'
        order by d.name_key, d.id limit $1";
}

/// A device and where it says that it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Which device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub reach: Reach,
    /// Where.
    pub position: Position,
}

fn placed(row: Row) -> Result<Option<Placed>, StoreError> {
    let mut columns = Columns::of("positions", row);
    let (device, name) = (columns.parsed()?, columns.text()?);
    let reach = reach(columns.integer()? != 0, columns.integer()? != 0);
    let reported: Json = columns.json()?;
    let position = reported.get(REPORTED_AS).and_then(Position::read);
    Ok(position.map(|position| Placed { device, name, reach, position }))
}

impl Store {
    /// The devices that report a position, by name; of so many at most, and whether there are more.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn positions(&self, limit: usize) -> Result<(Vec<Placed>, bool), StoreError> {
        let rows = self.engine().read(ALL, [(limit + 1).into()]).await?;
        let has_more = rows.len() > limit;
        let all: Result<Vec<_>, _> = rows.into_iter().take(limit).map(placed).collect();
        Ok((all?.into_iter().flatten().collect(), has_more))
    }
}
