//! Usage: how shipped devices are used, day by day.

use axum::extract::State;
use jiff::Timestamp;
use motehub_domain::rejection::Rejection;
use motehub_domain::usage::{self, Usage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Query;
use super::problem::{ApiError, Problem};
use crate::app::App;

/// Most days of one answer.
const DAYS_MAX: i64 = 400;

/// How the devices were used on a day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageDay {
    /// The day, of UTC, such as `2026-11-28`.
    day: String,
    /// Whether it is over.
    complete: bool,
    /// How many devices there were.
    devices: i64,
    /// How many of them were online, if only for a moment.
    active: i64,
    /// For how many seconds all of them together.
    online_seconds: i64,
    /// How often a boolean that a device reports in its shadow was another than before.
    switches: i64,
    /// How many devices ran which firmware, as they said.
    firmware: Vec<FirmwareCount>,
}

/// Devices with the same firmware.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FirmwareCount {
    /// Its version.
    version: String,
    /// How many devices.
    devices: i64,
}

/// How the devices were used, oldest day first; the last one goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageList {
    items: Vec<UsageDay>,
}

/// Which days are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// How many, today included: 1 to 400, 30 by default.
    days: Option<i64>,
}

impl UsageDay {
    fn new(usage: Usage, complete: bool) -> Self {
        let begin = Timestamp::from_millisecond(usage::begin_of(usage.day).0).unwrap_or_default();
        let firmware = usage.firmware.into_iter();
        Self {
            day: begin.strftime("%Y-%m-%d").to_string(),
            complete,
            devices: usage.devices,
            active: usage.active,
            online_seconds: usage.online.0 / 1000,
            switches: usage.switches,
            firmware: firmware.map(|(version, devices)| FirmwareCount { version, devices }).collect(),
        }
    }
}

/// How the devices were used, day by day.
#[utoipa::path(get, path = "/api/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, body = UsageList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<UsageQuery>,
) -> Result<axum::Json<UsageList>, ApiError> {
    let days = query.days.unwrap_or(30);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Rejection::invalid("days", format!("1 to {DAYS_MAX}")).into());
    }
    let today = usage::day_of(app.now());
    let known = app.store.usage(today - days + 1, today).await?;
    let mut items: Vec<_> = known.into_iter().map(|usage| UsageDay::new(usage, true)).collect();
    items.push(UsageDay::new(app.usage_of(today).await?, false));
    Ok(axum::Json(UsageList { items }))
}
