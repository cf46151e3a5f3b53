//! The latest value per device and metric, for selectors: it is in memory anyway, so appending pays nothing for it.

use std::collections::BTreeSet;

use motehub_domain::telemetry::{Metric, PointValue};

use super::hot::Hot;

/// Devices by what they measured last.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Those whose latest value satisfies the comparison.
    pub(crate) holds: Vec<String>,
    /// The others that have a value.
    pub(crate) fails: Vec<String>,
}

/// Compares the latest value of a metric on every device that ever measured it.
pub(super) fn compared(hot: &Hot, metric: &str, holds: impl Fn(&PointValue) -> bool) -> Compared {
    let mut compared = Compared::default();
    let Ok(metric) = Metric::parse(metric) else { return compared };
    for (device, metrics) in &hot.devices {
        let series = metrics.get(&metric).and_then(|id| hot.series.get(id));
        if let Some(newest) = series.and_then(|series| series.newest.as_ref()) {
            let side = if holds(&newest.value) { &mut compared.holds } else { &mut compared.fails };
            side.push(device.to_string());
        }
    }
    compared
}

/// The names of all metrics that have a value, each once, sorted; `limit` at most.
pub(super) fn metrics(hot: &Hot, limit: usize) -> Vec<String> {
    let mut names: BTreeSet<&Metric> = BTreeSet::new();
    for series in hot.series.values() {
        if series.device.is_some() && series.newest.is_some() {
            names.insert(&series.metric);
        }
    }
    names.into_iter().take(limit).map(|metric| metric.as_str().to_owned()).collect()
}
