//! Partitions that are to be merged: they are closed, given away a few series at a time, and dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use super::append::HOUR_MAX;
use super::ask::point;
use super::{CLOSE, DROP, DROPPED, HOT_BYTES, HOURS, OPEN, RIPE_POINTS, RIPE_SERIES, Shared};
use crate::StoreError;
use crate::engine::query::Query;
use crate::engine::row::Columns;
use crate::engine::{Engine, Statement};
use crate::telemetry::chunk::Kept;
use crate::telemetry::hours::hour_of;
use crate::telemetry::ripe::{Due, Ripe};
use crate::telemetry::rollup::{Extent, SeriesRow, padded};

/// Most series of a step.
const STEP_SERIES_MAX: usize = 250;
/// A step ends with the series that brings it to so many points.
const STEP_POINTS: i64 = 10_000;

const SERIES: &str = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest,
    cast(xmin as text) from series where id";

/// How far a partition is merged.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::telemetry) struct Progress {
    /// The last series; none yet.
    series: Option<i64>,
    points: usize,
}

impl Shared {
    /// The partitions of hours that are over, or of all if they are much, closed.
    pub(in crate::telemetry) async fn ripe(
        &self,
        engine: &Engine,
        now_ms: i64,
    ) -> Result<Vec<Ripe>, StoreError> {
        let next = hour_of(now_ms).saturating_add(1);
        if next < HOUR_MAX && !self.known().hours.contains_key(&next) {
            // Made ahead, so that nobody who appends waits for it.
            let rows = engine.write_freely(vec![Statement::new(OPEN, [next.into()])].into()).await?;
            let row = rows.into_iter().next().unwrap_or_default();
            self.remember(BTreeMap::from([(next, Columns::of("point_hours", row).integer()?)]));
        }
        let row = engine.read_one(HOT_BYTES, []).await?.unwrap_or_default();
        let bytes = Columns::of("points", row).integer()?;
        let is_much = bytes.unsigned_abs() > self.hot_bytes_max.load(Ordering::Relaxed);
        let rows = engine.read(HOURS, [hour_of(now_ms).into(), is_much.into()]).await?;
        let mut ripe = Vec::new();
        for row in rows {
            let hour = Columns::of("point_hours", row).integer()?;
            let rows = engine.write_freely(vec![Statement::new(CLOSE, [hour.into()])].into()).await?;
            let row = rows.into_iter().next().unwrap_or_default();
            // Another node may have dropped it just now.
            if let Some(made) = Columns::of("point_hours", row).maybe_integer()? {
                let (before, after) = (Progress::default(), Progress::default());
                ripe.push(Ripe::Hour { hour, made, before, after });
            }
        }
        Ok(ripe)
    }

    /// The series behind those that are done, and how far it is with them.
    pub(in crate::telemetry) async fn due(
        &self,
        engine: &Engine,
        hour: i64,
        done: Progress,
    ) -> Result<(Vec<Due>, Progress), StoreError> {
        let mut progress = done;
        loop {
            let first = progress.series.unwrap_or(i64::MIN);
            let ids = self.next_series(engine, hour, &mut progress).await?;
            let (Some(last), false) = (progress.series, ids.is_empty()) else {
                return Ok((Vec::new(), progress));
            };
            let mut points: HashMap<i64, Vec<Kept>> = HashMap::new();
            for row in engine.read(RIPE_POINTS, [hour.into(), first.into(), last.into()]).await? {
                let (series, kept) = point(row)?;
                points.entry(series).or_default().push(kept);
            }
            let due = extents(engine, &ids, points).await?;
            // Without any, all of these are of devices that were deleted.
            if !due.is_empty() {
                return Ok((due, progress));
            }
        }
    }

    /// The numbers of the next series that have points in a partition.
    async fn next_series(
        &self,
        engine: &Engine,
        hour: i64,
        progress: &mut Progress,
    ) -> Result<Vec<i64>, StoreError> {
        let after = progress.series.unwrap_or(i64::MIN);
        let mut ids = Vec::new();
        let mut points = 0;
        for row in engine.read(RIPE_SERIES, [hour.into(), after.into(), STEP_SERIES_MAX.into()]).await? {
            let mut columns = Columns::of("points", row);
            let (id, count) = (columns.integer()?, columns.integer()?);
            ids.push(id);
            points += count;
            if points >= STEP_POINTS {
                break;
            }
        }
        progress.series = ids.last().copied().or(progress.series);
        progress.points += usize::try_from(points).unwrap_or_default();
        Ok(ids)
    }

    /// All of a partition is in chunks.
    pub(in crate::telemetry) async fn forget(
        &self,
        engine: &Engine,
        (hour, made): (i64, i64),
        done: Progress,
    ) -> Result<usize, StoreError> {
        engine.write_freely(vec![Statement::new(DROP, [hour.into(), made.into()])].into()).await?;
        Ok(done.points)
    }
}

/// A series of a deleted device.
pub(in crate::telemetry) async fn dropped(engine: &Engine) -> Result<Option<(i64, Extent)>, StoreError> {
    let row = engine.read_one(DROPPED, []).await?;
    row.map(|row| SeriesRow::read(row).map(|series| (series.id, series.extent))).transpose()
}

async fn extents(
    engine: &Engine,
    ids: &[i64],
    mut points: HashMap<i64, Vec<Kept>>,
) -> Result<Vec<Due>, StoreError> {
    let mut query = Query::new(SERIES);
    query.among(padded(ids)).push(" and device is not null");
    let mut due = Vec::new();
    for row in engine.ask(query).await? {
        let SeriesRow { id, mut extent, .. } = SeriesRow::read(row)?;
        let points = points.remove(&id).unwrap_or_default();
        points.iter().for_each(|kept| extent.see(kept));
        due.push(Due { id, extent, points });
    }
    Ok(due)
}
