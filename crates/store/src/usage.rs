//! How devices are used: what is kept of each day, and what it is made of.

use std::collections::HashSet;

use motehub_domain::id::DeviceId;
use motehub_domain::time::{Span, Time};
use motehub_domain::usage::{Came, Usage};
use serde_json::{Map, Value as Json, json};

use crate::engine::Statement;
use crate::engine::row::{Columns, Row};
use crate::{Store, StoreError};

sql! {
    WRITE = "insert into usage_days (day, devices, active, online_ms, switches, firmware)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (day) do update set devices = excluded.devices, active = excluded.active,
        online_ms = excluded.online_ms, switches = excluded.switches, firmware = excluded.firmware";
    DAYS = "select day, devices, active, online_ms, switches, firmware from usage_days
        where day >= $1 and day < $2 order by day";
    LAST = "select max(day) from usage_days";
    FIRST_AT = "select min(at) from changes";
    ONLINE = "select device from presence where online = 1";
    CAME = "select device, at, kind from changes
        where at >= $1 and kind in ('device_online', 'device_offline', 'device_unreachable')
        and device is not null order by seq";
    REPORTS = "select r.reported, (select p.reported from shadow_revisions p where p.device = r.device
        and p.name = '' and p.revision < r.revision order by p.revision desc limit 1)
        from shadow_revisions r where r.at >= $1 and r.at < $2 and r.name = '' limit $3";
    FIRMWARE = "select coalesce(version, firmware), count(*) from reports
        where coalesce(version, firmware) is not null group by coalesce(version, firmware)
        order by count(*) desc, coalesce(version, firmware)";
}

pub(crate) fn write(usage: &Usage) -> Statement {
    let firmware: Vec<Json> = usage.firmware.iter().map(|(version, count)| json!([version, count])).collect();
    let values = [
        usage.day.into(),
        usage.devices.into(),
        usage.active.into(),
        usage.online.0.into(),
        usage.switches.into(),
        Json::from(firmware).to_string().into(),
    ];
    Statement::new(WRITE, values)
}

fn usage_of(row: Row) -> Result<Usage, StoreError> {
    let mut columns = Columns::of("usage_days", row);
    let (day, devices, active) = (columns.integer()?, columns.integer()?, columns.integer()?);
    let (online, switches) = (Span(columns.integer()?), columns.integer()?);
    let firmware = serde_json::from_str(&columns.text()?)
        .map_err(|_| StoreError::damaged(format!("the firmware of day {day}")))?;
    Ok(Usage { day, devices, active, online, switches, firmware })
}

fn came_of(row: Row) -> Result<Came, StoreError> {
    let mut columns = Columns::of("changes", row);
    let (device, at) = (columns.parsed()?, columns.time()?);
    Ok(Came { device, at, online: columns.text()? == "device_online" })
}

impl Store {
    /// What is kept of the days from one to before another, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn usage(&self, from: i64, to: i64) -> Result<Vec<Usage>, StoreError> {
        self.engine().read(DAYS, [from.into(), to.into()]).await?.into_iter().map(usage_of).collect()
    }

    /// The last day of which something is kept.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn last_usage(&self) -> Result<Option<i64>, StoreError> {
        let row = self.engine().read_one(LAST, []).await?;
        row.map_or(Ok(None), |row| Columns::of("usage_days", row).maybe_integer())
    }

    /// When the oldest change was made.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn first_change(&self) -> Result<Option<Time>, StoreError> {
        let row = self.engine().read_one(FIRST_AT, []).await?;
        row.map_or(Ok(None), |row| Columns::of("changes", row).maybe_time())
    }

    /// The devices that are online.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn online(&self) -> Result<HashSet<DeviceId>, StoreError> {
        let rows = self.engine().read(ONLINE, []).await?;
        rows.into_iter().map(|row| Columns::of("presence", row).parsed()).collect()
    }

    /// Which devices came and went since a moment, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn came(&self, since: Time) -> Result<Vec<Came>, StoreError> {
        self.engine().read(CAME, [since.into()]).await?.into_iter().map(came_of).collect()
    }

    /// What devices reported between two moments, each with what was reported before it; at most `limit`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn reports_between(
        &self,
        from: Time,
        to: Time,
        limit: usize,
    ) -> Result<Vec<(Map<String, Json>, Map<String, Json>)>, StoreError> {
        let rows = self.engine().read(REPORTS, [from.into(), to.into(), limit.into()]).await?;
        let pair = |row| {
            let mut columns = Columns::of("shadow_revisions", row);
            let (after, before) = (columns.maybe_json()?, columns.maybe_json()?);
            let map =
                |json: Option<Json>| json.and_then(|json| json.as_object().cloned()).unwrap_or_default();
            Ok((map(before), map(after)))
        };
        rows.into_iter().map(pair).collect()
    }

    /// How many devices say that they run which firmware, by its version; most first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn firmware_versions(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = self.engine().read(FIRMWARE, []).await?;
        let counted = |row| {
            let mut columns = Columns::of("reports", row);
            Ok((columns.text()?, columns.integer()?))
        };
        rows.into_iter().map(counted).collect()
    }
}
