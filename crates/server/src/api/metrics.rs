//! Metrics: what people call them, their units, and how long they are kept.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::metric::{self, Edit, Entry};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Page, Query, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::cluster::Work;
use crate::cluster::ask::Question;
use crate::retention;
use crate::retention::Status;

/// Of so many metrics the list is made.
const METRICS_MAX: usize = 10_000;

/// A metric, or an entry that is for all metrics whose names fit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetricInfo)]
pub(crate) struct MetricInfoDto {
    /// Its name; in an entry for many, `*` stands for any text.
    name: String,
    /// What people call it.
    display_name: Option<String>,
    /// Such as `°C`.
    unit: Option<String>,
    /// How many digits behind the point are shown.
    decimals: Option<u8>,
    /// How many days its points are kept; 0 is for ever.
    points_days: u32,
    /// How many days summaries of its minutes are kept; 0 is for ever.
    minutes_days: u32,
    /// How many days summaries of its hours are kept; 0 is for ever. Those of days are kept for ever.
    hours_days: u32,
    /// How many devices have it.
    devices: usize,
    /// What its own entry says, if it has one.
    own: Option<OwnEntry>,
}

/// What the entry of a metric says; what it does not say, other entries or the settings do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnEntry {
    /// See above.
    display_name: Option<String>,
    /// See above.
    unit: Option<String>,
    /// See above.
    decimals: Option<u8>,
    /// See above.
    points_days: Option<u32>,
    /// See above.
    minutes_days: Option<u32>,
    /// See above.
    hours_days: Option<u32>,
}

/// Known metrics and entries, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricInfoList {
    items: Vec<MetricInfoDto>,
    /// How many there are.
    total: usize,
    /// The worker that removes what is too old.
    retention: RetentionDto,
}

/// How the worker is doing that removes what is too old.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RetentionDto {
    /// `waiting`, `fine` or `failing`.
    state: String,
    /// Why it fails.
    problem: Option<String>,
    /// When it last came to an end.
    ended_at: Option<String>,
    /// When it looks again.
    next_at: Option<String>,
    /// From when it counts: the clock, unless that jumped.
    day: Option<String>,
    /// Points that the last round removed.
    points: u64,
    /// Hours of series whose summaries of minutes the last round removed.
    hours_of_minutes: u64,
    /// Days of series whose summaries of hours the last round removed.
    days_of_hours: u64,
}

/// Which metrics are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsQuery {
    /// A part of the name.
    q: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// What is changed: `null` says nothing any more, what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricEdit {
    /// 1 to 80 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    display_name: Option<Option<String>>,
    /// 1 to 16 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    unit: Option<Option<String>>,
    /// 0 to 9.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u8>)]
    decimals: Option<Option<u8>>,
    /// 1 to 36500 days, or 0 for ever.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    points_days: Option<Option<u32>>,
    /// 1 to 36500 days, or 0 for ever.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    minutes_days: Option<Option<u32>>,
    /// 1 to 36500 days, or 0 for ever.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    hours_days: Option<Option<u32>>,
}

fn given<'d, T: Deserialize<'d>, D: Deserializer<'d>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Known metrics and what is said of them.
#[utoipa::path(get, path = "/api/v1/metrics", tag = "metrics", params(MetricsQuery),
    responses((status = 200, body = MetricInfoList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<MetricsQuery>,
) -> Result<axum::Json<MetricInfoList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let part = query.q.unwrap_or_default().to_lowercase();
    let catalogue = app.catalogue().await?;
    let known = app.store.metrics(&part, METRICS_MAX).await?;
    let mut all: std::collections::BTreeMap<String, usize> =
        known.into_iter().map(|(metric, devices)| (metric.as_str().to_owned(), devices)).collect();
    for entry in catalogue.entries().iter().filter(|entry| entry.name.to_lowercase().contains(&part)) {
        all.entry(entry.name.clone()).or_default();
    }
    let total = all.len();
    let some = all.into_iter().skip(page.offset).take(page.limit);
    let items = some.map(|(name, devices)| info(&app, &catalogue, &name, devices));
    Ok(axum::Json(MetricInfoList { items: items.collect(), total, retention: worker(&app).await }))
}

/// Says something of a metric, or of all whose names fit.
#[utoipa::path(patch, path = "/api/v1/metrics/{name}", tag = "metrics", request_body = MetricEdit,
    responses((status = 200, body = MetricInfoDto), (status = 400, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(wanted): Body<MetricEdit>,
) -> Result<axum::Json<MetricInfoDto>, ApiError> {
    let MetricEdit { display_name, unit, decimals, points_days, minutes_days, hours_days } = wanted;
    let wanted = Edit { display_name, unit, decimals, points_days, minutes_days, hours_days };
    let edited = app.attempt(|| async {
        let catalogue = app.catalogue().await?;
        Ok(metric::edit(&name, &wanted, &catalogue, &caller.actor())?)
    });
    let entry = edited.await?;
    let catalogue = app.catalogue().await?;
    let devices = app.store.metrics(&entry.name.to_lowercase(), METRICS_MAX).await?;
    let devices = devices.into_iter().find(|(metric, _)| metric.as_str() == entry.name);
    Ok(axum::Json(info(&app, &catalogue, &entry.name, devices.map_or(0, |(_, devices)| devices))))
}

/// Removes what was said of a metric.
#[utoipa::path(delete, path = "/api/v1/metrics/{name}", tag = "metrics",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let removed = app.attempt(|| async {
        let catalogue = app.catalogue().await?;
        let entry = catalogue.entries().iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| {
            motehub_domain::rejection::Rejection::not_found(
                "entry of metric",
                name.chars().take(70).collect::<String>(),
            )
        })?;
        Ok(((), metric::remove(entry, &caller.actor())))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

fn info(app: &App, catalogue: &metric::Catalogue, name: &str, devices: usize) -> MetricInfoDto {
    let entry = catalogue.of(name);
    let ages = retention::ages(&entry, app.settings.keep);
    let days = |age: Option<motehub_domain::time::Span>| {
        age.map_or(0, |age| u32::try_from(age.0 / motehub_domain::time::Span::days(1).0).unwrap_or(0))
    };
    let own = catalogue.entries().iter().find(|entry| entry.name == name);
    MetricInfoDto {
        name: entry.name,
        display_name: entry.display_name,
        unit: entry.unit,
        decimals: entry.decimals,
        points_days: days(ages.points),
        minutes_days: days(ages.minutes),
        hours_days: days(ages.hours),
        devices,
        own: own.cloned().map(OwnEntry::from),
    }
}

impl From<Entry> for OwnEntry {
    fn from(entry: Entry) -> Self {
        Self {
            display_name: entry.display_name,
            unit: entry.unit,
            decimals: entry.decimals,
            points_days: entry.points_days,
            minutes_days: entry.minutes_days,
            hours_days: entry.hours_days,
        }
    }
}

/// How the worker is doing, at whatever node that is.
async fn worker(app: &App) -> RetentionDto {
    let own = || RetentionDto::of(app.retention.status());
    match app.cluster.holds(Work::Upkeep) {
        true => own(),
        false => app.ask_who_knows(&Question::Retention).await.unwrap_or_else(own),
    }
}

impl RetentionDto {
    pub(crate) fn of(status: Status) -> Self {
        let state = match (&status.problem, status.ended_at) {
            (Some(_), _) => "failing",
            (None, Some(_)) => "fine",
            (None, None) => "waiting",
        };
        Self {
            state: state.to_owned(),
            problem: status.problem,
            ended_at: status.ended_at.map(rfc3339),
            next_at: status.next_at.map(rfc3339),
            day: status.day.map(rfc3339),
            points: status.last.points,
            hours_of_minutes: status.last.minutes,
            days_of_hours: status.last.hours,
        }
    }
}
