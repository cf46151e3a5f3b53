//! Merging: hot points become chunks, in steps short enough that appends hardly wait.
//!
//! First all chunks are written, series by series, so that each is written once, and with them the roll-ups of
//! their hours; then the rows leave the hot table, whole pages at a time. In between, points are in both, which
//! readers do not notice. A chunk that is found damaged is left as it is; new points of its hour go into a
//! further part.

use std::collections::{BTreeMap, HashMap};

use motehub_domain::time::Time;

use super::chunk::{Kept, pack, tidy, unpack};
use super::hours::{HOUR_MS, hour_of};
use super::read::damaged_chunk;
use super::ripe::Due;
use super::rollup::{self, Extent, Level, minutes_of, summed};
use super::{DELETE_SERIES, Memory, Merged, PARTS, WRITE_CHUNK, WRITE_ROLLUP};
use crate::engine::query::Query;
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Statement, Transaction};
use crate::{Store, StoreError};

/// How often a step is begun again because somebody else wrote one of its series.
const CONFLICTS_MAX: usize = 100;
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
        self.merge_ripe(now.0, &mut merged).await?;
        self.remove_dropped(&mut merged).await?;
        Ok(merged)
    }

    /// Resolves when there are so many hot points that [`Store::merge`] should be called before its time.
    pub async fn merge_wanted(&self) {
        match &self.telemetry_state().memory {
            Memory::Own(own) => own.too_much().await,
            Memory::Shared(shared) => shared.too_much().await,
        }
    }

    /// For tests: so many bytes of hot points in a shared database are much.
    #[doc(hidden)]
    pub fn limit_hot(&self, bytes: u64) {
        match &self.telemetry_state().memory {
            Memory::Own(_) => {}
            Memory::Shared(shared) => shared.limit_hot(bytes),
        }
    }

    /// Merges everything if a condition still holds when it is this caller's turn.
    pub(super) async fn merge_while(&self, condition: impl Fn() -> bool) -> Result<(), StoreError> {
        let _one_at_a_time = self.telemetry_state().merging.lock().await;
        if condition() {
            self.merge_ripe(i64::MAX, &mut Merged::default()).await?;
        }
        Ok(())
    }

    async fn merge_ripe(&self, now_ms: i64, merged: &mut Merged) -> Result<(), StoreError> {
        for mut ripe in self.ripe(now_ms).await? {
            let mut conflicts = 0;
            loop {
                let due = self.due(&mut ripe).await?;
                if due.is_empty() {
                    break;
                }
                match self.merge_step(due).await {
                    Ok(chunks) => merged.chunks += chunks,
                    Err(StoreError::Conflict { .. }) if conflicts < CONFLICTS_MAX && ripe.again() => {
                        conflicts += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            merged.points += self.forget(ripe).await?;
        }
        Ok(())
    }

    async fn merge_step(&self, due: Vec<Due>) -> Result<usize, StoreError> {
        let mut groups = Groups::new();
        let mut extents: HashMap<i64, Extent> = HashMap::new();
        for Due { id, extent, points } in due {
            extents.insert(id, extent);
            for kept in points {
                groups.entry((hour_of(kept.time), id)).or_default().push(kept);
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
            transaction.push(Statement::many(WRITE_CHUNK, 4, values).distinct());
        }
        if !rows.is_empty() {
            transaction
                .push(Statement::many(WRITE_ROLLUP, 4, rows.into_iter().flatten().collect()).distinct());
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

    /// Writes, and with it what there is of each series from then on.
    pub(super) async fn write_telemetry(
        &self,
        transaction: Transaction,
        extents: HashMap<i64, Extent>,
    ) -> Result<Vec<Row>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => own.write(self.engine(), transaction, extents).await,
            Memory::Shared(shared) => shared.write(self.engine(), transaction, extents).await,
        }
    }

    async fn remove_dropped(&self, merged: &mut Merged) -> Result<(), StoreError> {
        while let Some((id, extent)) = self.dropped().await? {
            for some in extent.all_hours().chunks(STEP_HOURS) {
                let mut query = Query::new(DELETE_CHUNKS);
                query.among(some.iter().map(|hour| Value::Integer(*hour)));
                query.push(" and series = ").bind(id);
                self.engine().write_freely(vec![Statement::from(query)].into()).await?;
            }
            let days = extent.all_days();
            for some in days.chunks(STEP_HOURS / 24) {
                let hours: Vec<i64> = some.iter().flat_map(|day| day * 24..(day + 1) * 24).collect();
                let mut blocks: Vec<i64> = some.iter().map(|day| Level::Day.span_of(*day)).collect();
                blocks.dedup();
                let levels = [(Level::Minute, &hours[..]), (Level::Hour, some), (Level::Day, &blocks)];
                let delete = levels.map(|(level, spans)| rollup::deletion(level, spans, id));
                self.engine().write_freely(delete.to_vec().into()).await?;
            }
            self.engine().write_freely(vec![Statement::new(DELETE_SERIES, [id.into()])].into()).await?;
            self.forget_dropped(id);
            merged.series_removed += 1;
        }
        Ok(())
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
