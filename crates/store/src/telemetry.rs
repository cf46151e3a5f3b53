//! The door for telemetry.
//!
//! Points are appended to a hot table in the order they arrive; about once an hour they are merged into one
//! compressed chunk per series and hour, so that a small disk is written little. Reads combine chunks with
//! the hot points, which are mirrored in memory. A point that is in both, or twice in one of them, counts
//! once: equal are points of one series with the same time and value. So merging may stop and begin again at
//! any step.

mod age;
mod chunk;
mod export;
mod history;
mod hot;
mod hours;
mod latest;
mod merge;
mod read;
mod rollup;
mod summary;
mod varint;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::gateway::Taken;
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue};
use motehub_domain::time::Time;
use tokio::sync::{Notify, oneshot};

use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Engine, gone};
use crate::{Store, StoreError, gateway};
pub use age::{Aged, Ages};
use chunk::{Kept, unpack};
pub use history::Bucket;
use hot::{Hot, HotPoint, Series};
use hours::Hours;
use rollup::Horizon;
pub use summary::{Numbers, States, Sum, Summary};

/// Hot points beyond this many bytes of memory are merged before their hour is over. About 190,000 numbers.
const HOT_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Beyond this, who appends waits until points are merged.
const HOT_BYTES_HARD_MAX: usize = 2 * HOT_BYTES_MAX;
/// Most metrics of one device; points of further ones are ignored.
const SERIES_PER_DEVICE_MAX: usize = 1000;
/// Rows of the hot table that are loaded at once.
const ROWS_PER_LOAD: i64 = 10_000;
/// In place of an hour: the checksum of a newest point fits no chunk.
const NEWEST: i64 = i64::MIN;
/// How often an append is tried again because a device of it was deleted meanwhile.
const ATTEMPTS_MAX: usize = 5;

sql! {
    INSERT_SERIES = "insert into series
        (id, device, metric, hours, days, newest, points_from, minutes_from, hours_from)
        select cast($1 as bigint), id, $3, $4, $4, $5, $6, $6, $6 from devices where id = $2
        on conflict (id) do update set metric = excluded.metric";
    INSERT_POINT = "insert into points (id, series, time, arrived, kind, number, words, mark)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    DEVICES = "select id from devices";
    SERIES = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest from series";
    POINTS = "select id, series, time, arrived, kind, number, words, mark from points
        where id > $1 order by id limit $2";
    PARTS = "select body from chunks where hour = $1 and series = $2 and part < $3";
    DELETE_POINTS = "delete from points where id >= $1 and id <= $2";
    WRITE_CHUNK = "insert into chunks (hour, series, part, body) values ($1, $2, $3, $4)
        on conflict (hour, series, part) do update set body = excluded.body";
    WRITE_EXTENT = "update series set hours = $2, days = $3, points_from = $4, minutes_from = $5, hours_from = $6,
        newest = $7 where id = $1";
    WRITE_ROLLUP = "insert into rollups (level, span, series, body) values ($1, $2, $3, $4)
        on conflict (level, span, series) do update set body = excluded.body";
    DELETE_SERIES = "delete from series where id = $1";
}

/// What one message of a device brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Who measured.
    pub device: DeviceId,
    /// When it arrived; points without a time of their own count from it.
    pub arrived: Time,
    /// Identifies the message where the transport can repeat it.
    pub mark: Option<u64>,
    /// Whether the transport says that this may be a repetition. A point whose time depends on the arrival is
    /// skipped then if a recent point of its series has the same mark.
    pub again: bool,
    /// The points.
    pub points: Vec<Point>,
}

/// What became of the points of an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// On disk.
    pub stored: usize,
    /// Skipped: they are there already, by their mark.
    pub repeated: usize,
    /// Of unknown devices, or of more than 1,000 metrics of one device.
    pub ignored: usize,
}

/// A stored point.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub metric: Metric,
    /// When it was measured.
    pub time: Time,
    /// When it arrived.
    pub arrived: Time,
    /// What was measured.
    pub value: PointValue,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Points that left the hot table.
    pub points: usize,
    /// Chunks that were written.
    pub chunks: usize,
    /// Series of deleted devices that were removed.
    pub series_removed: usize,
}

/// The memory of telemetry and the order of its workers.
pub(crate) struct Telemetry {
    hot: Mutex<Hot>,
    merging: tokio::sync::Mutex<()>,
    too_much: Notify,
}

impl Telemetry {
    /// Builds the memory from the tables.
    pub(crate) async fn load(engine: &Engine) -> Result<Self, StoreError> {
        let mut hot = Hot::default();
        for row in engine.read(DEVICES, []).await? {
            hot.devices.insert(Columns::of("devices", row).parsed()?, Default::default());
        }
        for row in engine.read(SERIES, []).await? {
            load_series(&mut hot, row)?;
        }
        let mut last = i64::MIN;
        loop {
            let rows = engine.read(POINTS, [last.into(), ROWS_PER_LOAD.into()]).await?;
            let Some(Value::Integer(newest)) = rows.last().and_then(|row| row.first()) else { break };
            last = *newest;
            if hot.next_row == 0
                && let Some(Value::Integer(first)) = rows.first().and_then(|row| row.first())
            {
                hot.first_row = *first;
            }
            for row in rows {
                load_point(&mut hot, row)?;
            }
        }
        let loaded =
            Self { hot: Mutex::new(hot), merging: tokio::sync::Mutex::default(), too_much: Notify::new() };
        if loaded.hot().bytes > HOT_BYTES_MAX {
            loaded.too_much.notify_one();
        }
        Ok(loaded)
    }

    /// The memory. Nobody holds it across an await.
    fn hot(&self) -> MutexGuard<'_, Hot> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`latest::compared`].
    pub(crate) fn compared(&self, metric: &str, holds: impl Fn(&PointValue) -> bool) -> latest::Compared {
        latest::compared(&self.hot(), metric, holds)
    }

    /// The names of all metrics, each once, sorted; `limit` at most.
    pub(crate) fn metrics(&self, limit: usize) -> Vec<String> {
        latest::metrics(&self.hot(), limit)
    }

    /// When the last point arrived of those that are not in chunks yet.
    pub(crate) fn last_arrival(&self) -> Option<Time> {
        self.hot().last_arrival()
    }

    /// Devices that are there now, and devices that are not there any more.
    pub(crate) fn devices_changed(&self, appeared: &[DeviceId], vanished: &[DeviceId]) {
        let mut hot = self.hot();
        for device in appeared {
            hot.devices.entry(*device).or_default();
        }
        for device in vanished {
            hot.drop_device(*device);
        }
    }
}

fn load_series(hot: &mut Hot, row: Row) -> Result<(), StoreError> {
    let mut columns = Columns::of("series", row);
    let id = columns.integer()?;
    let damaged = || StoreError::damaged(format!("series {id} of the telemetry"));
    let device: Option<DeviceId> = columns.maybe_parsed()?;
    let metric = Metric::parse(&columns.text()?).map_err(|_| damaged())?;
    let hours = Hours::from_bytes(&columns.bytes()?).ok_or_else(damaged)?;
    let days = Hours::from_bytes(&columns.bytes()?).ok_or_else(damaged)?;
    let (points, minutes) = (columns.integer()?, columns.integer()?);
    let horizon = Horizon { points, minutes, hours: columns.integer()? };
    match device {
        Some(device) => drop(hot.devices.entry(device).or_default().insert(metric.clone(), id)),
        None => hot.dropped.push(id),
    }
    let newest = columns.bytes()?;
    let mut known = Series { hours, days, horizon, stored: true, ..Series::new(device, metric) };
    if !newest.is_empty() {
        let points = unpack(id, NEWEST, &newest).ok_or_else(damaged)?;
        known.newest = points.into_iter().next();
    }
    hot.series.insert(id, known);
    hot.next_series = hot.next_series.max(id + 1);
    Ok(())
}

fn load_point(hot: &mut Hot, row: Row) -> Result<(), StoreError> {
    let mut columns = Columns::of("points", row);
    let row = columns.integer()?;
    let damaged = || StoreError::damaged(format!("row {row} of the newest telemetry"));
    let series = columns.integer()?;
    let (time, arrived) = (columns.integer()?, columns.integer()?);
    let (kind, number, words) = (columns.integer()?, columns.maybe_real()?, columns.maybe_text()?);
    let value = match (kind, number, words) {
        (0, Some(number), None) => PointValue::Number(number),
        (1, Some(number), None) => PointValue::Boolean(number != 0.0),
        (2, None, Some(text)) => PointValue::Text(text),
        (3, None, Some(text)) => PointValue::Json(text),
        _ => return Err(damaged()),
    };
    let mark = columns.maybe_integer()?.map(i64::cast_unsigned);
    hot.next_series = hot.next_series.max(series + 1);
    hot.mirror(series, HotPoint { row, mark, came: arrived, kept: Kept { time, arrived, value } });
    Ok(())
}

impl Store {
    /// Stores what devices measured; all of it is on disk when this returns, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]: send it again later.
    pub async fn append(&self, measured: Vec<Measured>) -> Result<Appended, StoreError> {
        self.append_taken(measured, None).await
    }

    /// The same, and in one transaction with it: up to where what a gateway numbers was taken.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_taken(
        &self,
        measured: Vec<Measured>,
        taken: Option<&Taken>,
    ) -> Result<Appended, StoreError> {
        Ok(self.append_at(measured, taken, None).await?.0)
    }

    /// The same, and `at`: when the hub took it, which is kept as the time of arrival. Points without a time of their
    /// own count from the arrival that their message says. Also says when each point was measured; none for those that
    /// are not stored.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_at(
        &self,
        measured: Vec<Measured>,
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<(Appended, Vec<Option<Time>>), StoreError> {
        self.meet(&measured).await?;
        self.wait_for_room().await?;
        let mut attempts = 1;
        loop {
            match self.append_once(&measured, taken, at).await {
                Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    self.part(&measured).await?;
                }
                appended => return appended,
            }
        }
    }

    async fn append_once(
        &self,
        measured: &[Measured],
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<(Appended, Vec<Option<Time>>), StoreError> {
        let (answer, outcome) = oneshot::channel();
        let telemetry = Arc::clone(self.telemetry_state());
        let slot = self.engine().slot().await?;
        let appended = {
            let mut hot = self.telemetry_state().hot();
            let mut prepared = hot.prepare(measured, at);
            prepared.transaction.statements.extend(taken.map(gateway::taken));
            if prepared.transaction.statements.is_empty() {
                return Ok((prepared.appended, prepared.times));
            }
            // Handed in while the memory is held: rows reach the writer in their order.
            let first_row = prepared.first_row;
            slot.write(
                prepared.transaction,
                Box::new(move |outcome| {
                    let mut hot = telemetry.hot();
                    hot.settle(first_row, outcome.is_ok());
                    // On a full disk nobody is told again and again that a merge, which needs space, is wanted.
                    if outcome.is_ok() && hot.bytes > HOT_BYTES_MAX {
                        telemetry.too_much.notify_one();
                    }
                    drop(hot);
                    drop(answer.send(outcome));
                }),
            );
            (prepared.appended, prepared.times)
        };
        outcome.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(appended)
    }

    /// Resolves when there are so many hot points that [`Store::merge`] should be called before its time.
    pub async fn merge_wanted(&self) {
        self.telemetry_state().too_much.notified().await;
    }

    /// Learns of devices that another process registered.
    async fn meet(&self, measured: &[Measured]) -> Result<(), StoreError> {
        let strangers: HashSet<DeviceId> = {
            let hot = self.telemetry_state().hot();
            let devices = measured.iter().map(|message| message.device);
            devices.filter(|device| !hot.devices.contains_key(device)).collect()
        };
        let strangers: Vec<DeviceId> = strangers.into_iter().collect();
        let known = self.known(&strangers).await?;
        self.telemetry_state().devices_changed(&known, &[]);
        Ok(())
    }

    /// Learns of devices that another process deleted.
    async fn part(&self, measured: &[Measured]) -> Result<(), StoreError> {
        let devices: HashSet<DeviceId> = measured.iter().map(|message| message.device).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let known = self.known(&devices).await?;
        let gone: Vec<DeviceId> = devices.into_iter().filter(|device| !known.contains(device)).collect();
        self.telemetry_state().devices_changed(&[], &gone);
        Ok(())
    }

    async fn known(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>, StoreError> {
        let mut known = Vec::new();
        for some in devices.chunks(500) {
            let mut query = Query::new("select id from devices where id");
            query.among(some.iter().map(Value::id));
            for row in self.engine().ask(query).await? {
                known.push(Columns::of("devices", row).parsed()?);
            }
        }
        Ok(known)
    }

    async fn wait_for_room(&self) -> Result<(), StoreError> {
        let is_full = || self.telemetry_state().hot().bytes > HOT_BYTES_HARD_MAX;
        if is_full() {
            self.merge_while(is_full).await?;
        }
        Ok(())
    }
}
