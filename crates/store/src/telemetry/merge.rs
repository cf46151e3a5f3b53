//! Merging: hot points become chunks, in steps short enough that appends hardly wait.
//!
//! First all chunks are written, series by series, so that each is written once, and with them the roll-ups of
//! their hours; then the rows leave the hot table, whole pages at a time. In between, points are in both, which
//! readers do not notice. A chunk that is found damaged is left as it is; new points of its hour go into a
//! further part.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use motehub_domain::time::Time;
use tokio::sync::oneshot;

use super::chunk::{Kept, pack, tidy, unpack};
use super::hours::{HOUR_MS, hour_of};
use super::read::damaged_chunk;
use super::rollup::{self, Extent, Level, minutes_of, summed};
use super::{DELETE_POINTS, DELETE_SERIES, Merged, PARTS, WRITE_CHUNK, WRITE_EXTENT, WRITE_ROLLUP};
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction, gone};
use crate::{Store, StoreError};

/// A step ends with the series that brings it to so many bytes of points.
const STEP_BYTES: usize = 512 * 1024;
/// Most series of a step.
const STEP_SERIES_MAX: usize = 500;
/// Rows that leave the hot table at once.
const STEP_ROWS: i64 = 5_000;
/// Hours of a deleted device's series that are removed at once.
const STEP_HOURS: usize = 200;
/// A part of a chunk is full with so many points or bytes of points; then another part begins.
const PART_POINTS_MAX: usize = 16_384;
const PART_BYTES_MAX: usize = 2 * 1024 * 1024;

const LAST_PARTS: &str = "select c.series, c.part, c.body from chunks c where c.part = (select max(m.part)
    from chunks m where m.hour = c.hour and m.series = c.series) and c.hour = ";
const DELETE_CHUNKS: &str = "delete from chunks where hour";

/// Points to merge, by hour and series.
type Groups = BTreeMap<(i64, i64), Vec<Kept>>;

/// What is on disk for an hour of a series: the number of its last part, and its points if they are readable.
type LastParts = HashMap<(i64, i64), (i64, Option<Vec<Kept>>)>;

impl Store {
    /// Moves what arrived in hours that are over from the hot table into chunks, or everything if the hot
    /// table has become large, and removes the telemetry of deleted devices. The shell calls this about once
    /// a minute and when [`Store::merge_wanted`] resolves.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]: nothing is lost, the next call begins again.
    pub async fn merge(&self, now: Time) -> Result<Merged, StoreError> {
        let _one_at_a_time = self.telemetry_state().merging.lock().await;
        let mut merged = Merged::default();
        let ripe = self.telemetry_state().hot().ripe(now.0);
        if let Some(last_row) = ripe {
            self.merge_rows(last_row, &mut merged).await?;
        }
        self.remove_dropped(&mut merged).await?;
        Ok(merged)
    }

    /// Merges everything if a condition still holds when it is this caller's turn.
    pub(super) async fn merge_while(&self, condition: impl Fn() -> bool) -> Result<(), StoreError> {
        let _one_at_a_time = self.telemetry_state().merging.lock().await;
        let ripe = if condition() { self.telemetry_state().hot().ripe(i64::MAX) } else { None };
        match ripe {
            Some(last_row) => self.merge_rows(last_row, &mut Merged::default()).await,
            None => Ok(()),
        }
    }

    async fn merge_rows(&self, last_row: i64, merged: &mut Merged) -> Result<(), StoreError> {
        for step in self.steps(last_row) {
            merged.chunks += self.merge_step(&step, last_row).await?;
        }
        let first_row = self.telemetry_state().hot().first_row;
        let mut row = first_row;
        while row <= last_row {
            let end = last_row.min(row + STEP_ROWS - 1);
            let delete = Statement::new(DELETE_POINTS, [row.into(), end.into()]);
            self.engine().write(vec![delete].into()).await?;
            row = end + 1;
        }
        merged.points += usize::try_from(last_row + 1 - first_row).unwrap_or(0);
        self.telemetry_state().hot().forget(last_row);
        Ok(())
    }

    /// The series that have points up to a row, in steps.
    fn steps(&self, last_row: i64) -> Vec<Vec<i64>> {
        let hot = self.telemetry_state().hot();
        let mut ids: Vec<(i64, usize)> = Vec::new();
        for (id, series) in &hot.series {
            let ripe = series.hot.iter().filter(|point| point.row <= last_row);
            let weight: usize = ripe.map(|point| point.kept.weight()).sum();
            if weight > 0 {
                ids.push((*id, weight));
            }
        }
        ids.sort_unstable();
        let mut steps: Vec<Vec<i64>> = Vec::new();
        let mut bytes = usize::MAX;
        for (id, weight) in ids {
            match steps.last_mut() {
                Some(step) if bytes < STEP_BYTES && step.len() < STEP_SERIES_MAX => {
                    step.push(id);
                    bytes += weight;
                }
                _ => {
                    steps.push(vec![id]);
                    bytes = weight;
                }
            }
        }
        steps
    }

    async fn merge_step(&self, ids: &[i64], last_row: i64) -> Result<usize, StoreError> {
        let mut groups = Groups::new();
        let mut extents: HashMap<i64, Extent> = HashMap::new();
        {
            let hot = self.telemetry_state().hot();
            for id in ids {
                let Some(series) = hot.series.get(id) else { continue };
                extents.insert(*id, Extent::of(series));
                for point in series.hot.iter().filter(|point| point.row <= last_row) {
                    groups.entry((hour_of(point.kept.time), *id)).or_default().push(point.kept.clone());
                }
            }
        }
        let last_parts = self.last_parts(&groups, &extents).await?;
        let mut values = Vec::new();
        let mut chunks = 0;
        let mut summaries = BTreeMap::new();
        let mut rows = Vec::new();
        for ((hour, series), points) in groups {
            let Some(extent) = extents.get_mut(&series) else { continue };
            let (first, parts) = combine(points, last_parts.get(&(hour, series)));
            if parts.is_empty() {
                continue;
            }
            for (part, points) in (first..).zip(&parts) {
                values.extend([hour.into(), series.into(), part.into(), pack(series, hour, points).into()]);
                chunks += 1;
            }
            extent.add(hour);
            // What is added to an hour whose points are gone is summed up when it goes too.
            if hour >= extent.horizon.points {
                let points = self.whole_hour(hour, series, first, parts).await?;
                let minutes = minutes_of(&points);
                rows.extend(minutes.map(|minutes| rollup::row(Level::Minute, hour, series, &minutes)));
                let sum = summed(&points, HOUR_MS).into_values().next();
                summaries.extend(sum.map(|sum| ((hour, series), sum)));
            }
        }
        rows.extend(self.rolled_up(&summaries, false).await?);
        let mut transaction = Transaction::default();
        if !values.is_empty() {
            transaction.push(Statement::many(WRITE_CHUNK, 4, values));
        }
        if !rows.is_empty() {
            transaction.push(Statement::many(WRITE_ROLLUP, 4, rows.into_iter().flatten().collect()));
        }
        self.write_telemetry(transaction, extents).await?;
        Ok(chunks)
    }

    /// All points of an hour: those of the parts to write, and those on disk before them.
    async fn whole_hour(
        &self,
        hour: i64,
        series: i64,
        first: i64,
        parts: Vec<Vec<Kept>>,
    ) -> Result<Vec<Kept>, StoreError> {
        let mut points = parts.concat();
        if first > 0 {
            for row in self.engine().read(PARTS, [hour.into(), series.into(), first.into()]).await? {
                points.extend(unpack(series, hour, &Columns::of("chunks", row).bytes()?).unwrap_or_default());
            }
            tidy(&mut points);
        }
        Ok(points)
    }

    async fn last_parts(
        &self,
        groups: &Groups,
        extents: &HashMap<i64, Extent>,
    ) -> Result<LastParts, StoreError> {
        let mut by_hour: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (hour, series) in groups.keys() {
            if extents.get(series).is_some_and(|extent| extent.hours.contains(*hour)) {
                by_hour.entry(*hour).or_default().push(*series);
            }
        }
        let mut parts = LastParts::new();
        for (hour, ids) in by_hour {
            let mut query = Query::new(LAST_PARTS);
            query.bind(hour).push(" and c.series").among(ids.into_iter().map(Value::Integer));
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("chunks", row);
                let (series, part, body) = (columns.integer()?, columns.integer()?, columns.bytes()?);
                let points = unpack(series, hour, &body);
                if points.is_none() {
                    let error = damaged_chunk("of series", &series.to_string(), hour);
                    tracing::error!(%error, "a damaged chunk of telemetry is left as it is");
                }
                parts.insert((hour, series), (part, points));
            }
        }
        Ok(parts)
    }

    /// Writes and, as soon as it is on disk, says in memory what there is of each series.
    pub(super) async fn write_telemetry(
        &self,
        mut transaction: Transaction,
        extents: HashMap<i64, Extent>,
    ) -> Result<Vec<Row>, StoreError> {
        if !extents.is_empty() {
            let values = extents.iter().flat_map(|(id, extent)| extent.values(*id));
            transaction.push(Statement::many(WRITE_EXTENT, 7, values.collect()));
        }
        if transaction.statements.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, outcome) = oneshot::channel();
        let telemetry = Arc::clone(self.telemetry_state());
        self.engine().slot().await?.write(
            transaction,
            Box::new(move |outcome| {
                if outcome.is_ok() {
                    let mut hot = telemetry.hot();
                    for (id, extent) in extents {
                        if let Some(series) = hot.series.get_mut(&id) {
                            extent.tell(series);
                        }
                    }
                }
                drop(answer.send(outcome));
            }),
        );
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn remove_dropped(&self, merged: &mut Merged) -> Result<(), StoreError> {
        loop {
            let (id, extent) = {
                let hot = self.telemetry_state().hot();
                let Some(id) = hot.dropped.last().copied() else { return Ok(()) };
                let extent = hot.series.get(&id).map(Extent::of);
                (id, extent.unwrap_or_default())
            };
            for some in extent.all_hours().chunks(STEP_HOURS) {
                let mut query = Query::new(DELETE_CHUNKS);
                query.among(some.iter().map(|hour| Value::Integer(*hour)));
                query.push(" and series = ").bind(id);
                self.engine().write(vec![Statement::from(query)].into()).await?;
            }
            let days = extent.all_days();
            for some in days.chunks(STEP_HOURS / 24) {
                let hours: Vec<i64> = some.iter().flat_map(|day| day * 24..(day + 1) * 24).collect();
                let mut blocks: Vec<i64> = some.iter().map(|day| Level::Day.span_of(*day)).collect();
                blocks.dedup();
                let levels = [(Level::Minute, &hours[..]), (Level::Hour, some), (Level::Day, &blocks)];
                let delete = levels.map(|(level, spans)| rollup::deletion(level, spans, id));
                self.engine().write(delete.to_vec().into()).await?;
            }
            self.engine().write(vec![Statement::new(DELETE_SERIES, [id.into()])].into()).await?;
            let mut hot = self.telemetry_state().hot();
            hot.dropped.retain(|dropped| *dropped != id);
            hot.series.remove(&id);
            merged.series_removed += 1;
        }
    }
}

/// The points of an hour with those on disk: the number of the first part to write, and the parts.
fn combine(mut points: Vec<Kept>, last: Option<&(i64, Option<Vec<Kept>>)>) -> (i64, Vec<Vec<Kept>>) {
    let mut first = 0;
    match last {
        None => {}
        Some((part, None)) => first = part + 1,
        Some((part, Some(stored))) if is_full(stored) => first = part + 1,
        Some((part, Some(stored))) => {
            first = *part;
            points.extend(stored.iter().cloned());
            tidy(&mut points);
            if points == *stored {
                return (first, Vec::new());
            }
        }
    }
    tidy(&mut points);
    let mut parts: Vec<Vec<Kept>> = Vec::new();
    let mut bytes = 0;
    for point in points {
        bytes += point.weight();
        match parts.last_mut() {
            Some(part) if part.len() < PART_POINTS_MAX && bytes < PART_BYTES_MAX => part.push(point),
            _ => {
                bytes = point.weight();
                parts.push(vec![point]);
            }
        }
    }
    (first, parts)
}

fn is_full(points: &[Kept]) -> bool {
    let bytes: usize = points.iter().map(Kept::weight).sum();
    points.len() >= PART_POINTS_MAX || bytes >= PART_BYTES_MAX
}
