//! Telemetry in a database that several processes write: what is hot and what was measured last is asked there, and
//! this process keeps only which number a series has.
//!
//! Hot points lie in one partition for each hour of their arrival, so that the times that devices say do not matter. To
//! be merged a partition is closed: what is on its way then goes into another. When all of it is in chunks it is
//! dropped, so that no row is ever deleted. Nothing here keeps two processes from merging the same points: who comes
//! second finds that a series was written meanwhile, and looks at it again.

mod append;
pub(super) mod ask;
mod ripe;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;
use tokio::sync::Notify;

pub(super) use ripe::{Progress, dropped};

use super::locked;
use super::rollup::{Extent, SeriesRow};
use crate::StoreError;
use crate::engine::row::Value;
use crate::engine::{Engine, Outcome, Statement, Transaction};

/// Hot points beyond this many bytes of the database are merged before their hour is over. About ten million.
const HOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Devices whose series are kept in mind; more are all forgotten, and asked for again.
const DEVICES_KEPT: usize = 200_000;
/// Series that one statement gives.
const SERIES_PER_READ: usize = 10_000;
/// Most hours of arrival whose partition is kept in mind.
const HOURS_KEPT: usize = 100;

sql! {
    DEVICES = "select d.id, s.id, s.metric from devices d left join series s on s.device = d.id
        where d.id in {each:$1}";
    INSERT_SERIES = "insert into series (device, metric, hours, days, newest, points_from, minutes_from, hours_from)
        select id, $2, $3, $3, $3, $4, $4, $4 from devices where id = $1
        on conflict (device, metric) do update set metric = excluded.metric returning id, device, metric";
    CLOSED = "select hour from point_hours where hour >= $1 and closed = 1 order by hour limit $2";
    OPEN = "select points_open($1)";
    CLOSE = "select points_close($1)";
    DROP = "select points_drop($1, $2)";
    INSERT_POINT = "insert into points (hour, series, time, arrived, kind, number, words, mark)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    COPIED = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
        cast(xmin as text) from series s where device is not null and octet_length(newest) > 0
        and not exists (select 1 from latest l where l.series = s.id) order by id limit $1";
    WRITE_LATEST = "insert into latest (series, device, metric, time, arrived, kind, number, words)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (series) do update set time = excluded.time, arrived = excluded.arrived, kind = excluded.kind,
        number = excluded.number, words = excluded.words where excluded.time >= latest.time";
    HOT = "select p.series, p.time, p.arrived, p.kind, p.number, p.words
        from series s join points p on p.series = s.id where s.device = $1 and p.time >= $2 and p.time < $3";
    HOT_OF = "select p.series, p.time, p.arrived, p.kind, p.number, p.words
        from series s join points p on p.series = s.id
        where s.device = $1 and s.metric = $4 and p.time >= $2 and p.time < $3";
    SERIES = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
        cast(xmin as text) from series where device = $1";
    SERIES_OF = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
        cast(xmin as text) from series where device = $1 and metric = $2";
    ONE_SERIES = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
        cast(xmin as text) from series where id = $1";
    DROPPED = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
        cast(xmin as text) from series where device is null limit 1";
    WRITE_EXTENT = "update series set hours = $2, days = $3, points_from = $4, minutes_from = $5, hours_from = $6,
        newest = $7 where id = $1 and cast(xmin as text) = $8";
    ENDS = "select min(time), max(time) from points where series = $1";
    ALL_SERIES = "select id, metric from series where device is not null and id > $1 order by id limit $2";
    LATEST = "select metric, time, arrived, kind, number, words from latest where device = $1 order by metric";
    METRICS_OF = "select metric from series where device = $1 order by metric";
    METRICS = "select metric, count(*) from series where device is not null and lower(metric) like $1 escape '\\'
        group by metric order by metric limit $2";
    METRIC_NAMES = "select distinct metric from latest order by metric limit $1";
    LAST_ARRIVAL = "select max(arrived) from points";
    HOURS = "select hour from point_hours where hour < $1 or closed = 1 or $2 = 1 order by hour";
    HOT_BYTES = "select cast(coalesce(sum(pg_total_relation_size(inhrelid)), 0) as bigint) from pg_inherits
        where inhparent = cast('points' as regclass)";
    RIPE_SERIES = "select series, count(*) from points where hour = $1 and series > $2
        group by series order by series limit $3";
    RIPE_POINTS = "select series, time, arrived, kind, number, words from points
        where hour = $1 and series > $2 and series <= $3";
}

/// See the file.
pub(super) struct Shared {
    known: Mutex<Known>,
    /// Bytes of points that this process appended since it last said that they are too much.
    came: AtomicU64,
    /// So many are too much.
    hot_bytes_max: AtomicU64,
    too_much: Notify,
}

/// What this process keeps in mind. All of it can be asked again.
#[derive(Default)]
struct Known {
    /// Devices that are there, and the numbers of their series.
    devices: HashMap<DeviceId, BTreeMap<Metric, i64>>,
    /// When messages with a mark arrived whose points are on their way to disk.
    pending: HashMap<(DeviceId, u64), i64>,
    /// Hours of arrival and the partition where they go.
    hours: BTreeMap<i64, i64>,
}

impl Shared {
    /// Begins, and makes what was measured last of series that were copied from an engine that has no such table.
    pub(super) async fn load(engine: &Engine) -> Result<Self, StoreError> {
        loop {
            let rows = engine.read(COPIED, [SERIES_PER_READ.into()]).await?;
            let series = rows.into_iter().map(SeriesRow::read).collect::<Result<Vec<_>, _>>()?;
            let rows = series.iter().filter_map(|series| {
                let (device, newest) = (series.device?, series.extent.newest.as_ref()?);
                Some(append::latest_row(series.id, device, &series.metric, newest))
            });
            let values: Vec<Value> = rows.flatten().collect();
            if values.is_empty() {
                break;
            }
            let write = Statement::many(WRITE_LATEST, append::WIDTH, values).distinct();
            engine.write_freely(vec![write].into()).await?;
        }
        let known = Mutex::default();
        let hot_bytes_max = AtomicU64::new(HOT_BYTES_MAX);
        Ok(Self { known, came: AtomicU64::new(0), hot_bytes_max, too_much: Notify::new() })
    }

    /// What this process has in mind. Nobody holds it across an await.
    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// Resolves when there may be so much that it should be merged.
    pub(super) async fn too_much(&self) {
        self.too_much.notified().await;
    }

    /// So many bytes of hot points are too much; for tests.
    pub(super) fn limit_hot(&self, bytes: u64) {
        self.hot_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Writes, unless somebody else wrote one of the series meanwhile, which is a conflict.
    pub(super) async fn write(
        &self,
        engine: &Engine,
        mut transaction: Transaction,
        extents: HashMap<i64, Extent>,
    ) -> Outcome {
        if !extents.is_empty() {
            let mut sorted: Vec<(i64, Extent)> = extents.into_iter().collect();
            sorted.sort_unstable_by_key(|(id, _)| *id);
            let mut values = Vec::with_capacity(sorted.len() * 8);
            for (id, extent) in sorted {
                values.extend(extent.values(id));
                values.push(extent.version.into());
            }
            // First, so that who comes second waits for them and not in the middle.
            transaction.statements.insert(0, Statement::many(WRITE_EXTENT, 8, values).guards("series"));
        }
        if transaction.statements.is_empty() {
            return Ok(Vec::new());
        }
        engine.write_freely(transaction).await
    }

    /// Devices that are not there any more.
    pub(super) fn devices_vanished(&self, devices: &[DeviceId]) {
        let mut known = self.known();
        for device in devices {
            known.devices.remove(device);
        }
    }
}
