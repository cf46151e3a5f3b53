//! Export: points of series, of a device or of a selection, as CSV or NDJSON, a part at a time: years need no more
//! memory than an hour.

use std::collections::VecDeque;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_domain::device::Device;
use motehub_domain::rejection::Rejection;
use motehub_domain::selector::Selector;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::Time;
use motehub_store::{Sample, StoreError};
use serde_json::json;

use super::devices::load;
use super::extract::{Query, id, rfc3339, time};
use super::history::{range, series};
use super::problem::{ApiError, Problem};
use super::selectors;
use crate::app::App;

/// Most devices of one export.
const DEVICES_MAX: usize = 100_000;
/// Most series that are named one by one.
const SERIES_MAX: usize = 1_000;
const CSV_HEAD: &str = "device,name,metric,time,time_ms,arrived_ms,value\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

#[derive(Debug, Default)]
struct Asked {
    format: Option<Format>,
    series: Vec<(Device, Metric)>,
    devices: Vec<Device>,
    selector: Option<Selector>,
    metrics: Vec<String>,
    from: Option<Time>,
    to: Option<Time>,
}

/// What is still to be written.
struct Rest {
    app: App,
    format: Format,
    /// Devices whose series are not known yet, or a series of one.
    items: VecDeque<(Item, Option<Metric>)>,
    /// Only these; all if empty.
    metrics: Vec<String>,
    from: Time,
    to: Time,
    /// Where the present series goes on.
    next: Option<Time>,
    head: &'static str,
}

enum Item {
    Known(Box<Device>),
    Named(motehub_domain::id::DeviceId),
}

/// Points of series, devices or a selection over a range: for each series from the oldest to the newest.
#[utoipa::path(get, path = "/api/v1/telemetry/export", tag = "telemetry", params(
    ("format" = String, Query, description = "csv or ndjson"),
    ("series" = Option<Vec<String>>, Query, description = "DEVICE:METRIC, an id and the name of a metric; repeatable"),
    ("device" = Option<Vec<String>>, Query, description = "id of a device; repeatable"),
    ("selector" = Option<String>, Query, description = "which devices"),
    ("metric" = Option<Vec<String>>, Query, description = "only these metrics of the devices; repeatable"),
    ("from" = Option<String>, Query, description = "milliseconds since 1970 or RFC 3339; by default the first point"),
    ("to" = Option<String>, Query, description = "before this time; by default to the last point"),
), responses((status = 200, body = String, content_type = "text/csv"), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub(crate) async fn export(
    State(app): State<App>,
    Query(fields): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let asked = asked(&app, fields).await?;
    let format = asked.format.ok_or_else(|| Rejection::invalid("format", "say csv or ndjson"))?;
    let (from, to) = range(&app, asked.from, asked.to)?;
    let mut items: VecDeque<(Item, Option<Metric>)> = VecDeque::new();
    items.extend(
        asked.series.into_iter().map(|(device, metric)| (Item::Known(Box::new(device)), Some(metric))),
    );
    items.extend(asked.devices.into_iter().map(|device| (Item::Known(Box::new(device)), None)));
    if let Some(selector) = asked.selector {
        let ids = app.store.select_ids(&selector, app.now(), DEVICES_MAX).await?;
        items.extend(ids.into_iter().map(|id| (Item::Named(id), None)));
    } else if items.is_empty() {
        return Err(Rejection::invalid(
            "selector",
            "say which: series, device or selector (all: every device)",
        )
        .into());
    }
    let (head, kind, name) = match format {
        Format::Csv => (CSV_HEAD, "text/csv; charset=utf-8", "telemetry.csv"),
        Format::Ndjson => ("", "application/x-ndjson", "telemetry.ndjson"),
    };
    let rest = Rest { app, format, items, metrics: asked.metrics, from, to, next: None, head };
    let parts = futures_util::stream::try_unfold(rest, |mut rest| async move {
        let part = rest.part().await;
        if let Err(error) = &part {
            tracing::error!(%error, "an export of telemetry was cut off");
        }
        Ok::<_, StoreError>(part?.map(|part| (part, rest)))
    });
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

async fn asked(app: &App, fields: Vec<(String, String)>) -> Result<Asked, ApiError> {
    let mut asked = Asked::default();
    for (name, text) in fields {
        match name.as_str() {
            "format" => {
                asked.format = match text.as_str() {
                    "csv" => Some(Format::Csv),
                    "ndjson" => Some(Format::Ndjson),
                    _ => return Err(Rejection::invalid("format", "csv or ndjson").into()),
                };
            }
            "series" => asked.series.push(series(app, &text).await?),
            "device" => asked.devices.push(load(app, id("device", &text)?).await?),
            "selector" => asked.selector = Some(selectors::read(app, &text).await?),
            "metric" => asked.metrics.push(text),
            "from" => asked.from = Some(time("from", &text)?),
            "to" => asked.to = Some(time("to", &text)?),
            _ => {
                let all = "there are format, series, device, selector, metric, from and to";
                return Err(Rejection::invalid("query", format!("{name}: {all}")).into());
            }
        }
        if asked.series.len() + asked.devices.len() + asked.metrics.len() > SERIES_MAX {
            return Err(Rejection::invalid("series", format!("at most {SERIES_MAX}: use a selector")).into());
        }
    }
    Ok(asked)
}

impl Rest {
    /// The next part of the text; `None` at the end.
    async fn part(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut text = std::mem::take(&mut self.head).to_owned();
        while text.is_empty() {
            match self.items.pop_front() {
                None => return Ok(None),
                Some((Item::Known(device), Some(metric))) => {
                    let from = self.next.take().unwrap_or(self.from);
                    let (samples, next) =
                        self.app.store.telemetry_part(device.id, &metric, from, self.to).await?;
                    for sample in &samples {
                        self.write(&device, sample, &mut text);
                    }
                    if next.is_some() {
                        self.next = next;
                        self.items.push_front((Item::Known(device), Some(metric)));
                    }
                }
                Some((Item::Known(device), None)) => {
                    for metric in self.app.store.metrics_of(device.id).await?.into_iter().rev() {
                        if self.metrics.is_empty() || self.metrics.iter().any(|name| name == metric.as_str())
                        {
                            self.items.push_front((Item::Known(device.clone()), Some(metric)));
                        }
                    }
                }
                Some((Item::Named(id), metric)) => {
                    // One that was deleted meanwhile has nothing to tell.
                    if let Some(device) = self.app.store.device(id).await? {
                        self.items.push_front((Item::Known(Box::new(device)), metric));
                    }
                }
            }
        }
        Ok(Some(Bytes::from(text)))
    }

    fn write(&self, device: &Device, sample: &Sample, text: &mut String) {
        let (metric, time, arrived) = (sample.metric.as_str(), sample.time.0, sample.arrived.0);
        match self.format {
            Format::Ndjson => {
                let line = json!({
                    "device": device.id.to_string(), "name": device.name, "metric": metric, "time": time,
                    "arrived": arrived, "value": sample.value.to_json(),
                });
                text.push_str(&line.to_string());
                text.push('\n');
            }
            Format::Csv => {
                // Writing to a text cannot fail.
                let _ = write!(text, "{},", device.id);
                field(&device.name, text);
                text.push(',');
                field(metric, text);
                let _ = write!(text, ",{},{time},{arrived},", rfc3339(sample.time));
                match &sample.value {
                    PointValue::Text(value) | PointValue::Json(value) => field(value, text),
                    value @ (PointValue::Number(_) | PointValue::Boolean(_)) => {
                        let _ = write!(text, "{}", value.to_json());
                    }
                }
                text.push_str("\r\n");
            }
        }
    }
}

/// A field of CSV as RFC 4180 has it.
fn field(value: &str, text: &mut String) {
    if value.contains([',', '"', '\n', '\r']) {
        text.push('"');
        text.push_str(&value.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(value);
    }
}
