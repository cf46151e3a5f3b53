//! Reading a series from its beginning, a part at a time, so that whoever exports years needs little memory.

use std::collections::BTreeMap;

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Time;

use super::Sample;
use super::chunk::{Kept, tidy, unpack};
use super::hours::{HOUR_MS, hour_of};
use super::known::Look;
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
        let look = self.look(device, Some(metric.as_str()), from.0, to.0).await?.pop();
        let Some(Look { id: series, extent, hot: points, .. }) = look else { return Ok((Vec::new(), None)) };
        let mut hot: BTreeMap<i64, Vec<Kept>> = BTreeMap::new();
        for kept in points {
            hot.entry(hour_of(kept.time)).or_default().push(kept);
        }
        let mut hours = numbers(&extent.hours, hour_of(from.0), hour_of(to.0.saturating_sub(1)));
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
                samples.extend(all.into_iter().map(|kept| Sample::of(metric, kept)));
                if samples.len() >= PART_POINTS {
                    let next = Time(hour.saturating_add(1).saturating_mul(HOUR_MS));
                    return Ok((samples, (next < to && hours.last() != Some(hour)).then_some(next)));
                }
            }
        }
        Ok((samples, None))
    }
}
