//! History: series of one or several devices over a range, in buckets that are the same for all of them.

use axum::extract::State;
use motehub_domain::device::Device;
use motehub_domain::metric::Catalogue;
use motehub_domain::rejection::Rejection;
use motehub_domain::telemetry::{Metric, TIME_AHEAD_MAX, TIME_MIN, bucket_width};
use motehub_domain::time::{Span, Time};
use motehub_store::Bucket;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::devices::load;
use super::extract::{Query, id, time};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// Buckets by default.
const BUCKETS_DEFAULT: usize = 500;
/// Most buckets: more cannot be told apart on any screen.
const BUCKETS_MAX: usize = 5_000;
/// Most series of one request.
const SERIES_MAX: usize = 50;

/// Series in buckets. A bucket begins at a multiple of the width since 1970; those without points are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// The range begins here, in milliseconds since 1970.
    from: i64,
    /// The range ends before this.
    to: i64,
    /// The width of a bucket in milliseconds.
    width: i64,
    /// In the order in which they were asked for.
    series: Vec<HistorySeries>,
}

/// One series: lists of the same length, with an item for each bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistorySeries {
    /// Id of the device.
    device: String,
    /// Its name.
    device_name: String,
    /// The metric's name.
    metric: String,
    /// What people call the metric.
    display_name: Option<String>,
    /// Its unit.
    unit: Option<String>,
    /// How many digits behind the point are shown.
    decimals: Option<u8>,
    /// When the bucket begins, in milliseconds since 1970.
    start: Vec<i64>,
    /// How many points it has.
    count: Vec<u64>,
    /// When its first point was measured.
    first: Vec<i64>,
    /// When its last point was measured.
    last: Vec<i64>,
    /// The least of its numbers; `null` if it has none.
    min: Vec<Option<f64>>,
    /// The greatest of its numbers.
    max: Vec<Option<f64>>,
    /// The average of its numbers.
    avg: Vec<Option<f64>>,
    /// The sum of its numbers; `null` also if it is greater than any number.
    sum: Vec<Option<f64>>,
    /// The newest value; of long texts the beginning.
    #[schema(value_type = Vec<Value>)]
    value: Vec<Value>,
    /// How often a value that is no number differed from the one before it; `null` where all are numbers.
    changes: Vec<Option<u64>>,
}

/// What was asked of telemetry, whichever way.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) series: Vec<(Device, Metric)>,
    pub(super) from: Option<Time>,
    pub(super) to: Option<Time>,
    pub(super) buckets: Option<usize>,
}

/// Several series over a range, in at most so many buckets.
#[utoipa::path(get, path = "/api/v1/telemetry", tag = "telemetry", params(
    ("series" = Vec<String>, Query, description = "DEVICE:METRIC, id of a device and name of a metric; 1 to 50 times"),
    ("from" = Option<String>, Query, description = "milliseconds since 1970 or RFC 3339; by default the first point"),
    ("to" = Option<String>, Query, description = "before this time; by default to the last point"),
    ("buckets" = Option<usize>, Query, description = "how many at most: 2 to 5000, 500 by default"),
), responses((status = 200, body = History), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn history(
    State(app): State<App>,
    Query(fields): Query<Vec<(String, String)>>,
) -> Result<axum::Json<History>, ApiError> {
    let mut asked = Asked::default();
    for (name, text) in fields {
        match name.as_str() {
            "series" => asked.series.push(series(&app, &text).await?),
            "from" => asked.from = Some(time("from", &text)?),
            "to" => asked.to = Some(time("to", &text)?),
            "buckets" => asked.buckets = Some(buckets(&text)?),
            _ => {
                let sentence = format!("{name}: there are series, from, to and buckets");
                return Err(Rejection::invalid("query", sentence).into());
            }
        }
        if asked.series.len() > SERIES_MAX {
            return Err(Rejection::invalid("series", format!("at most {SERIES_MAX} at once")).into());
        }
    }
    if asked.series.is_empty() {
        return Err(Rejection::invalid("series", "say which: series=DEVICE:METRIC").into());
    }
    Ok(axum::Json(told(&app, asked).await?))
}

pub(super) fn buckets(text: &str) -> Result<usize, ApiError> {
    let number = text.parse().ok().filter(|number| (2..=BUCKETS_MAX).contains(number));
    number.ok_or_else(|| Rejection::invalid("buckets", format!("2 to {BUCKETS_MAX}")).into())
}

/// A series by `DEVICE:METRIC`. An unknown metric has no points yet.
pub(super) async fn series(app: &App, text: &str) -> Result<(Device, Metric), ApiError> {
    let Some((device, metric)) = text.split_once(':') else {
        return Err(Rejection::invalid("series", "write DEVICE:METRIC, such as 01k…:temperature").into());
    };
    let metric = Metric::parse(metric)
        .map_err(|rejection| Rejection::invalid("series", format!("behind the colon: {rejection}")))?;
    Ok((load(app, id("device", device)?).await?, metric))
}

/// The metrics of a device, or the one that is asked for.
pub(super) async fn metrics_of(
    app: &App,
    device: &Device,
    metric: Option<&str>,
) -> Result<Vec<(Device, Metric)>, ApiError> {
    let mut metrics = app.store.metrics_of(device.id).await?;
    metrics.retain(|name| metric.is_none_or(|metric| metric == name.as_str()));
    metrics.truncate(SERIES_MAX);
    Ok(metrics.into_iter().map(|metric| (device.clone(), metric)).collect())
}

/// Refuses a range that ends before it begins, and cuts it to times that points can have.
pub(super) fn range(app: &App, from: Option<Time>, to: Option<Time>) -> Result<(Time, Time), ApiError> {
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Rejection::invalid("to", "the range ends before it begins").into());
    }
    let end = app.now() + TIME_AHEAD_MAX + Span(1);
    let from = from.unwrap_or(TIME_MIN).clamp(TIME_MIN, end);
    Ok((from, to.unwrap_or(end).clamp(from, end)))
}

pub(super) async fn told(app: &App, asked: Asked) -> Result<History, ApiError> {
    let (mut from, mut to) = range(app, asked.from, asked.to)?;
    let mut extents = Vec::with_capacity(asked.series.len());
    for (device, metric) in &asked.series {
        extents.extend(app.store.extent(device.id, metric.as_str()).await?);
    }
    let ends = extents.into_iter().reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
    if let Some((first, last)) = ends {
        from = if asked.from.is_none() { from.max(first).min(to) } else { from };
        to = if asked.to.is_none() { to.min(last + Span(1)).max(from) } else { to };
    }
    let width = bucket_width(from, to, asked.buckets.unwrap_or(BUCKETS_DEFAULT));
    let catalogue = app.catalogue().await?;
    let mut series = Vec::with_capacity(asked.series.len());
    for (device, metric) in asked.series {
        let buckets = app.store.history(device.id, metric.as_str(), from, to, width).await?;
        series.push(HistorySeries::new(&device, &metric, &catalogue, &buckets));
    }
    Ok(History { from: from.0, to: to.0, width, series })
}

impl HistorySeries {
    fn new(device: &Device, metric: &Metric, catalogue: &Catalogue, buckets: &[Bucket]) -> Self {
        let known = catalogue.of(metric.as_str());
        let mut series = Self {
            device: device.id.to_string(),
            device_name: device.name.clone(),
            metric: known.name,
            display_name: known.display_name,
            unit: known.unit,
            decimals: known.decimals,
            start: buckets.iter().map(|bucket| bucket.start.0).collect(),
            count: buckets.iter().map(|bucket| bucket.summary.count).collect(),
            first: buckets.iter().map(|bucket| bucket.summary.first).collect(),
            last: buckets.iter().map(|bucket| bucket.summary.last).collect(),
            min: Vec::new(),
            max: Vec::new(),
            avg: Vec::new(),
            sum: Vec::new(),
            value: buckets.iter().map(|bucket| bucket.summary.newest().to_json()).collect(),
            changes: Vec::new(),
        };
        for Bucket { summary, .. } in buckets {
            let numbers = summary.numbers;
            series.min.push(numbers.map(|numbers| numbers.min));
            series.max.push(numbers.map(|numbers| numbers.max));
            series.avg.push(numbers.map(|numbers| numbers.average()));
            series.sum.push(numbers.and_then(|numbers| numbers.sum.value()));
            series.changes.push(summary.states.as_ref().map(|states| states.changes));
        }
        series
    }
}
