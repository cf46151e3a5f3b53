//! Reading telemetry: hot points first, then chunks hour by hour from the newest, until there is enough.

use std::collections::HashMap;

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Time;

use super::Sample;
use super::chunk::{Kept, unpack};
use super::hours::hour_of;
use super::known::Look;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Value};
use crate::{Store, StoreError};

/// Hours that the first statement fetches; each further one fetches twice as many.
const HOURS_PER_READ: usize = 4;
const HOURS_PER_READ_MAX: usize = 128;
const SERIES_PER_READ: usize = 250;
/// So many points in memory are no reason yet to throw the older ones away.
const FOUND_MIN: usize = 10_000;

const CHUNKS: &str = "select hour, series, body from chunks where hour";

/// A point and its series.
type Found = (i64, Kept);

/// What is read of which series.
struct Wanted {
    metrics: HashMap<i64, Metric>,
    from: i64,
    to: i64,
    limit: usize,
    /// With so many points it is known what the answer is: one more than the limit, to know whether there are
    /// more; or just the limit.
    enough: usize,
}

impl Store {
    /// The newest `limit` points of a device (of one metric, or of all) with times in `from..to`, oldest
    /// first, and whether there are more in that range.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names a chunk of the range that is not what was written; other ranges are
    /// readable.
    pub async fn telemetry(
        &self,
        device: DeviceId,
        metric: Option<&str>,
        from: Time,
        to: Time,
        limit: usize,
    ) -> Result<(Vec<Sample>, bool), StoreError> {
        let enough = limit.saturating_add(1);
        let wanted = Wanted { metrics: HashMap::new(), from: from.0, to: to.0, limit, enough };
        self.find(device, metric, wanted).await
    }

    async fn find(
        &self,
        device: DeviceId,
        metric: Option<&str>,
        mut wanted: Wanted,
    ) -> Result<(Vec<Sample>, bool), StoreError> {
        let mut found = Vec::new();
        let mut hours = HoursLeft { runs: Vec::new() };
        let (first, last) = (hour_of(wanted.from), hour_of(wanted.to.saturating_sub(1)));
        for Look { id, metric, extent, hot } in self.look(device, metric, wanted.from, wanted.to).await? {
            wanted.metrics.insert(id, metric);
            found.extend(hot.into_iter().map(|kept| (id, kept)));
            hours.runs.extend(extent.hours.within(first, last));
        }
        let mut step = HOURS_PER_READ;
        wanted.cut(&mut found);
        loop {
            let some = hours.take(step);
            if some.first().is_none_or(|newest| wanted.is_enough(&found, *newest)) {
                return Ok(wanted.finish(found));
            }
            let damage = self.read_hours(&wanted, &some, &mut found).await?;
            wanted.cut(&mut found);
            if let Some((hour, series)) = damage
                && !wanted.is_enough(&found, hour)
            {
                let metric = wanted.metrics.get(&series).map_or("", Metric::as_str);
                return Err(damaged_chunk(device, metric, hour));
            }
            step = (step * 2).min(HOURS_PER_READ_MAX);
        }
    }

    /// Reads the chunks of some hours. Returns the hour and series of the newest chunk that is damaged.
    async fn read_hours(
        &self,
        wanted: &Wanted,
        hours: &[i64],
        found: &mut Vec<Found>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let mut damage = None;
        let ids: Vec<i64> = wanted.metrics.keys().copied().collect();
        for some in ids.chunks(SERIES_PER_READ) {
            let mut query = Query::new(CHUNKS);
            query.among(hours.iter().map(|hour| Value::Integer(*hour)));
            query.push(" and series").among(some.iter().map(|id| Value::Integer(*id)));
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("chunks", row);
                let (hour, series, body) = (columns.integer()?, columns.integer()?, columns.bytes()?);
                let Some(points) = unpack(series, hour, &body) else {
                    damage = damage.max(Some((hour, series)));
                    continue;
                };
                found.extend(points.into_iter().filter(|kept| wanted.has(kept)).map(|kept| (series, kept)));
                if found.len() > wanted.limit.saturating_mul(4).saturating_add(FOUND_MIN) {
                    wanted.cut(found);
                }
            }
        }
        Ok(damage)
    }
}

pub(super) fn damaged_chunk(device: impl std::fmt::Display, metric: &str, hour: i64) -> StoreError {
    StoreError::damaged(format!("the telemetry of device {device}, metric {metric}, hour {hour} since 1970"))
}

impl Wanted {
    fn has(&self, kept: &Kept) -> bool {
        kept.time >= self.from && kept.time < self.to
    }

    /// Sorts, removes repetitions, and all but the newest that are needed.
    fn cut(&self, found: &mut Vec<Found>) {
        found.sort_by(|(one_series, one), (other_series, other)| {
            let same_point = one_series.cmp(other_series).then_with(|| one.compare(other));
            one.time.cmp(&other.time).then(same_point).then(one.arrived.cmp(&other.arrived))
        });
        found.dedup_by(|next, kept| next.0 == kept.0 && next.1.compare(&kept.1).is_eq());
        let extra = found.len().saturating_sub(self.enough);
        drop(found.drain(..extra));
    }

    /// Whether nothing of this hour or of earlier ones is needed. `found` is cut.
    fn is_enough(&self, found: &[Found], hour: i64) -> bool {
        found.len() >= self.enough && found.first().is_some_and(|(_, oldest)| hour_of(oldest.time) > hour)
    }

    fn finish(self, mut found: Vec<Found>) -> (Vec<Sample>, bool) {
        self.cut(&mut found);
        let extra = found.len().saturating_sub(self.limit);
        drop(found.drain(..extra));
        found.sort_by_key(|(series, kept)| (kept.time, kept.arrived, *series));
        let samples = found.into_iter().filter_map(|(series, kept)| {
            let metric = self.metrics.get(&series)?;
            Some(Sample::of(metric, kept))
        });
        (samples.collect(), extra > 0)
    }
}

/// Hours of several series that are still to be read.
struct HoursLeft {
    runs: Vec<(i64, i64)>,
}

impl HoursLeft {
    /// The next hours, newest first, each once.
    fn take(&mut self, count: usize) -> Vec<i64> {
        let mut hours = Vec::new();
        while hours.len() < count {
            let Some(newest) = self.runs.iter().map(|run| run.1).max() else { break };
            hours.push(newest);
            for run in &mut self.runs {
                run.1 = run.1.min(newest - 1);
            }
            self.runs.retain(|run| run.0 <= run.1);
        }
        hours
    }
}
