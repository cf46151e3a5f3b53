//! Reading a series from its beginning, a part at a time, so that whoever exports years needs little memory; and
//! which series there are.

use std::collections::BTreeMap;

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Time;

use super::Sample;
use super::chunk::{Kept, tidy, unpack};
use super::hours::{HOUR_MS, hour_of};
use super::read::damaged_chunk;
use super::rollup::{numbers, padded};
use crate::engine::query::Query;
use crate::engine::row::Columns;
use crate::{Store, StoreError};

/// A part ends with the hours that bring it to so many points.
const PART_POINTS: usize = 5_000;
/// Hours that one statement fetches.
const HOURS_PER_READ: usize = 8;

const CHUNKS: &str = "select hour, body from chunks where hour";

impl Store {
    /// The first points of a series with times in `from..to`, in the order of time, and where to go on; `None`
    /// if these are all.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names a chunk that is not what was written.
    pub async fn telemetry_part(
        &self,
        device: DeviceId,
        metric: &Metric,
        from: Time,
        to: Time,
    ) -> Result<(Vec<Sample>, Option<Time>), StoreError> {
        let mut hot: BTreeMap<i64, Vec<Kept>> = BTreeMap::new();
        let (series, mut hours) = {
            let memory = self.telemetry_state().hot();
            let id = memory.devices.get(&device).and_then(|metrics| metrics.get(metric)).copied();
            let Some((id, series)) = id.and_then(|id| Some((id, memory.series.get(&id)?))) else {
                return Ok((Vec::new(), None));
            };
            for kept in series.hot.iter().map(|point| &point.kept) {
                if kept.time >= from.0 && kept.time < to.0 {
                    hot.entry(hour_of(kept.time)).or_default().push(kept.clone());
                }
            }
            (id, numbers(&series.hours, hour_of(from.0), hour_of(to.0.saturating_sub(1))))
        };
        hours.extend(hot.keys());
        hours.sort_unstable();
        hours.dedup();
        let mut samples = Vec::new();
        for some in hours.chunks(HOURS_PER_READ) {
            let mut query = Query::new(CHUNKS);
            query.among(padded(some)).push(" and series = ").bind(series);
            let mut points: BTreeMap<i64, Vec<Kept>> = BTreeMap::new();
            for row in self.engine().ask(query).await? {
                let mut columns = Columns::of("chunks", row);
                let hour = columns.integer()?;
                let part = unpack(series, hour, &columns.bytes()?);
                let part = part.ok_or_else(|| damaged_chunk(device, metric.as_str(), hour))?;
                points.entry(hour).or_default().extend(part);
            }
            for hour in some {
                let mut all = points.remove(hour).unwrap_or_default();
                all.extend(hot.remove(hour).unwrap_or_default());
                tidy(&mut all);
                all.retain(|kept| kept.time >= from.0 && kept.time < to.0);
                samples.extend(all.into_iter().map(|kept| Sample {
                    metric: metric.clone(),
                    time: Time(kept.time),
                    arrived: Time(kept.arrived),
                    value: kept.value,
                }));
                if samples.len() >= PART_POINTS {
                    let next = Time(hour.saturating_add(1).saturating_mul(HOUR_MS));
                    return Ok((samples, (next < to && hours.last() != Some(hour)).then_some(next)));
                }
            }
        }
        Ok((samples, None))
    }

    /// The metrics of a device, by name.
    pub fn metrics_of(&self, device: DeviceId) -> Vec<Metric> {
        let memory = self.telemetry_state().hot();
        memory.devices.get(&device).map(|metrics| metrics.keys().cloned().collect()).unwrap_or_default()
    }

    /// The metrics whose name contains a text in lower case, and how many devices have each; of very many the
    /// first by name.
    pub fn metrics(&self, contains: &str, limit: usize) -> BTreeMap<Metric, usize> {
        let memory = self.telemetry_state().hot();
        let mut found: BTreeMap<Metric, usize> = BTreeMap::new();
        for metric in memory.devices.values().flat_map(BTreeMap::keys) {
            match found.get_mut(metric) {
                Some(devices) => *devices += 1,
                None if metric.as_str().to_lowercase().contains(contains) => {
                    found.insert(metric.clone(), 1);
                    if found.len() > limit {
                        found.pop_last();
                    }
                }
                None => {}
            }
        }
        found
    }
}
