//! What is known of series without reading chunks: which there are, where they have chunks, what is hot, and what
//! was measured last. The embedded engine has all of it in memory; in a shared database it is asked for.
//!
//! Points go from the hot table into chunks and never back, so whoever looks here first and reads chunks then misses
//! none; what is seen in both counts once.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::id::DeviceId;
use motehub_domain::selector;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::Time;

use super::chunk::Kept;
use super::hot::{Hot, Series};
use super::rollup::Extent;
use super::shared::ask;
use super::{Memory, Sample, Telemetry};
use crate::engine::query::Query;
use crate::selector::valued;
use crate::{Store, StoreError};

/// What is seen of a series.
pub(super) struct Look {
    pub(super) id: i64,
    pub(super) metric: Metric,
    pub(super) extent: Extent,
    /// The hot points of the range, in any order.
    pub(super) hot: Vec<Kept>,
}

/// What the latest value of a metric is compared with; without, there only has to be one.
pub(crate) type Comparison<'c> = Option<(selector::Operator, &'c selector::Value)>;

impl Store {
    /// The series of a device (of one metric, or all), and their hot points with times in `from..to`.
    pub(super) async fn look(
        &self,
        device: DeviceId,
        metric: Option<&str>,
        from: i64,
        to: i64,
    ) -> Result<Vec<Look>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().look(device, metric, from, to)),
            Memory::Shared(_) => ask::look(self.engine(), device, metric, from, to).await,
        }
    }

    /// Where a series has chunks and roll-ups; `None` if there is none.
    pub(super) async fn extent_of(&self, id: i64) -> Result<Option<Extent>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().series.get(&id).map(Extent::of)),
            Memory::Shared(_) => ask::extent_of(self.engine(), id).await,
        }
    }

    /// The same of a metric of a device, and the times of its first and its last hot point.
    pub(super) async fn ends(
        &self,
        device: DeviceId,
        metric: &str,
    ) -> Result<Option<(Extent, Option<(i64, i64)>)>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().ends(device, metric)),
            Memory::Shared(_) => ask::ends(self.engine(), device, metric).await,
        }
    }

    /// All series of devices.
    pub(super) async fn all_series(&self) -> Result<Vec<(i64, Metric)>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                let hot = own.hot();
                let known = hot.series.iter().filter(|(_, series)| series.device.is_some());
                Ok(known.map(|(id, series)| (*id, series.metric.clone())).collect())
            }
            Memory::Shared(_) => ask::all_series(self.engine()).await,
        }
    }

    /// The newest point of each metric of a device, by metric.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn latest(&self, device: DeviceId) -> Result<Vec<Sample>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().latest(device)),
            Memory::Shared(_) => ask::latest(self.engine(), device).await,
        }
    }

    /// The metrics of a device, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn metrics_of(&self, device: DeviceId) -> Result<Vec<Metric>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                let hot = own.hot();
                Ok(hot.devices.get(&device).map(|all| all.keys().cloned().collect()).unwrap_or_default())
            }
            Memory::Shared(_) => ask::metrics_of(self.engine(), device).await,
        }
    }

    /// The metrics whose name contains a text in lower case, and how many devices have each; of very many the
    /// first by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn metrics(&self, contains: &str, limit: usize) -> Result<BTreeMap<Metric, usize>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().metrics(contains, limit)),
            Memory::Shared(_) => ask::metrics(self.engine(), contains, limit).await,
        }
    }

    /// The names of all metrics that have a value, each once, sorted; `limit` at most.
    pub(crate) async fn metric_names(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().metric_names(limit)),
            Memory::Shared(_) => ask::metric_names(self.engine(), limit).await,
        }
    }

    /// When the last point arrived of those that are not in chunks yet.
    pub(crate) async fn last_arrival(&self) -> Result<Option<Time>, StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => Ok(own.hot().last_arrival()),
            Memory::Shared(_) => ask::last_arrival(self.engine()).await,
        }
    }
}

impl Telemetry {
    /// Adds a condition on `d` (devices): what it measured last of a metric.
    pub(crate) fn measured(&self, query: &mut Query, metric: &str, wanted: Comparison<'_>) {
        match &self.memory {
            Memory::Own(own) => {
                query.push("d.id").among_many(&own.hot().compared(metric, wanted).0);
            }
            Memory::Shared(_) => measured(query, metric, wanted),
        }
    }

    /// The same; or that it never measured it, and something else.
    pub(crate) fn measured_or(
        &self,
        query: &mut Query,
        metric: &str,
        wanted: Comparison<'_>,
        otherwise: impl FnOnce(&mut Query),
    ) {
        match &self.memory {
            Memory::Own(own) => {
                let (mut holds, mut others) = own.hot().compared(metric, wanted);
                query.push("(d.id").among_many(&holds).push(" or (");
                // The list of who measured it is looked at only for devices of which the other thing holds.
                otherwise(query);
                others.append(&mut holds);
                query.push(" and d.id not").among_many(&others);
                query.push("))");
            }
            Memory::Shared(_) => {
                query.push("(");
                measured(query, metric, wanted);
                query.push(" or (");
                otherwise(query);
                query.push(" and not ");
                measured(query, metric, None);
                query.push("))");
            }
        }
    }
}

/// The table of what was measured last says it.
fn measured(query: &mut Query, metric: &str, wanted: Comparison<'_>) {
    query.push("exists (select 1 from latest f where f.device = d.id and f.metric = ").bind(metric);
    if let Some((operator, value)) = wanted {
        valued(query, operator, value);
    }
    query.push(")");
}

impl Hot {
    fn look(&self, device: DeviceId, metric: Option<&str>, from: i64, to: i64) -> Vec<Look> {
        let metrics = self.devices.get(&device).into_iter().flatten();
        let wanted = metrics.filter(|(name, _)| metric.is_none_or(|metric| metric == name.as_str()));
        let look = |(name, id): (&Metric, &i64)| {
            let series = self.series.get(id)?;
            let hot = series.hot.iter().map(|point| &point.kept);
            let hot = hot.filter(|kept| kept.time >= from && kept.time < to).cloned().collect();
            Some(Look { id: *id, metric: name.clone(), extent: Extent::of(series), hot })
        };
        wanted.filter_map(look).collect()
    }

    fn of_metric(&self, device: DeviceId, metric: &str) -> Option<&Series> {
        let id = self.devices.get(&device)?.iter().find(|(name, _)| name.as_str() == metric)?.1;
        self.series.get(id)
    }

    fn ends(&self, device: DeviceId, metric: &str) -> Option<(Extent, Option<(i64, i64)>)> {
        let series = self.of_metric(device, metric)?;
        let times = series.hot.iter().map(|point| point.kept.time);
        Some((Extent::of(series), times.clone().min().zip(times.max())))
    }

    fn latest(&self, device: DeviceId) -> Vec<Sample> {
        let newest = self.devices.get(&device).into_iter().flatten().filter_map(|(metric, id)| {
            let kept = self.series.get(id)?.newest.clone()?;
            Some(Sample::of(metric, kept))
        });
        newest.collect()
    }

    /// Devices whose latest value of a metric satisfies a comparison, and the others that have a value.
    fn compared(&self, metric: &str, wanted: Comparison<'_>) -> (Vec<String>, Vec<String>) {
        let (mut holds, mut others) = (Vec::new(), Vec::new());
        let Ok(metric) = Metric::parse(metric) else { return (holds, others) };
        let is_wanted =
            |point: &PointValue| wanted.is_none_or(|(operator, value)| value.satisfied(operator, point));
        for (device, metrics) in &self.devices {
            let series = metrics.get(&metric).and_then(|id| self.series.get(id));
            if let Some(newest) = series.and_then(|series| series.newest.as_ref()) {
                let side = if is_wanted(&newest.value) { &mut holds } else { &mut others };
                side.push(device.to_string());
            }
        }
        (holds, others)
    }

    fn metrics(&self, contains: &str, limit: usize) -> BTreeMap<Metric, usize> {
        let mut found: BTreeMap<Metric, usize> = BTreeMap::new();
        for metric in self.devices.values().flat_map(BTreeMap::keys) {
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

    fn metric_names(&self, limit: usize) -> Vec<String> {
        let mut names: BTreeSet<&Metric> = BTreeSet::new();
        for series in self.series.values() {
            if series.device.is_some() && series.newest.is_some() {
                names.insert(&series.metric);
            }
        }
        names.into_iter().take(limit).map(|metric| metric.as_str().to_owned()).collect()
    }

    fn last_arrival(&self) -> Option<Time> {
        let points = self.series.values().flat_map(|series| &series.hot);
        points.map(|point| Time(point.kept.arrived)).max()
    }
}

impl Sample {
    pub(super) fn of(metric: &Metric, kept: Kept) -> Self {
        Self { metric: metric.clone(), time: Time(kept.time), arrived: Time(kept.arrived), value: kept.value }
    }
}
