//! Telemetry of a device: the newest values and ranges.

use axum::extract::{Extension, Path, State};
use motehub_domain::rejection::Rejection;
use motehub_domain::share::Share;
use motehub_domain::telemetry::PointValue;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::devices::load;
use super::extract::{Query, id, time};
use super::history::{self, Asked, History};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// Points of a range by default.
const POINTS_DEFAULT: usize = 1000;
/// Most points of a range.
const POINTS_MAX: usize = 100_000;

/// The newest value of a metric.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricDto {
    /// The metric's name.
    metric: String,
    /// When it was measured, in milliseconds since 1970.
    time: i64,
    /// A number, boolean, text or JSON.
    value: serde_json::Value,
    /// `number`, `boolean`, `text` or `json`.
    kind: &'static str,
}

/// The newest values of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricList {
    items: Vec<MetricDto>,
}

/// The newest value of each metric; for a customer, of those that came since the device is shared.
#[utoipa::path(get, path = "/api/v1/devices/{id}/metrics", tag = "telemetry",
    responses((status = 200, body = MetricList), (status = 404, body = Problem)))]
pub(crate) async fn metrics(
    State(app): State<App>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
) -> Result<axum::Json<MetricList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let mut latest = app.store.latest(device.id).await?;
    latest.retain(|sample| share.as_ref().is_none_or(|share| share.shows(sample.time)));
    let items = latest.into_iter().map(|sample| MetricDto {
        metric: sample.metric.as_str().to_owned(),
        time: sample.time.0,
        kind: kind(&sample.value),
        value: sample.value.to_json(),
    });
    Ok(axum::Json(MetricList { items: items.collect() }))
}

/// Which points are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeQuery {
    /// One metric; all by default.
    metric: Option<String>,
    /// From this time on: milliseconds since 1970 or RFC 3339.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// How many at most: 1 to 100000, 1000 by default; the newest of the range.
    limit: Option<usize>,
    /// Instead of points, at most so many buckets: 2 to 5000.
    buckets: Option<String>,
}

/// Points or buckets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PointsOrBuckets {
    /// Points, without `buckets`.
    Points(PointList),
    /// With `buckets`.
    Buckets(History),
}

/// A point.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointDto {
    /// The metric's name.
    metric: String,
    /// When it was measured, in milliseconds since 1970.
    time: i64,
    /// When it arrived, in milliseconds since 1970.
    arrived: i64,
    /// A number, boolean, text or JSON.
    value: serde_json::Value,
}

/// Points of a range, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PointList {
    items: Vec<PointDto>,
    /// Whether the range has older points than these.
    more: bool,
}

/// Points of a range: the newest `limit` of them, oldest first. Or, with `buckets`, what is known of all of them. For a
/// customer the range begins when the device was shared.
#[utoipa::path(get, path = "/api/v1/devices/{id}/telemetry", tag = "telemetry", params(RangeQuery),
    responses((status = 200, body = PointsOrBuckets), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn range(
    State(app): State<App>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
    Query(query): Query<RangeQuery>,
) -> Result<axum::Json<PointsOrBuckets>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let since = share.map(|Extension(share)| share.created_at);
    if let Some(text) = query.buckets {
        let buckets = Some(history::buckets(&text)?);
        let series = history::metrics_of(&app, &device, query.metric.as_deref()).await?;
        let from = query.from.map(|text| time("from", &text)).transpose()?.max(since);
        let to = query.to.map(|text| time("to", &text)).transpose()?;
        let told = history::told(&app, Asked { series, from, to, buckets }).await?;
        return Ok(axum::Json(PointsOrBuckets::Buckets(told)));
    }
    let from = query.from.map_or(Ok(Time(i64::MIN)), |text| time("from", &text))?;
    let from = since.map_or(from, |since| from.max(since));
    let to = query.to.map_or(Ok(Time(i64::MAX)), |text| time("to", &text))?;
    let limit = query.limit.unwrap_or(POINTS_DEFAULT);
    if !(1..=POINTS_MAX).contains(&limit) {
        return Err(Rejection::invalid("limit", format!("1 to {POINTS_MAX}")).into());
    }
    let (samples, more) = app.store.telemetry(device.id, query.metric.as_deref(), from, to, limit).await?;
    let items = samples.into_iter().map(|sample| PointDto {
        metric: sample.metric.as_str().to_owned(),
        time: sample.time.0,
        arrived: sample.arrived.0,
        value: sample.value.to_json(),
    });
    Ok(axum::Json(PointsOrBuckets::Points(PointList { items: items.collect(), more })))
}

fn kind(value: &PointValue) -> &'static str {
    match value {
        PointValue::Number(_) => "number",
        PointValue::Boolean(_) => "boolean",
        PointValue::Text(_) => "text",
        PointValue::Json(_) => "json",
    }
}
