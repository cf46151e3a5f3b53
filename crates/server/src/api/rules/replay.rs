//! Rules over what is stored: the firings that they would have made.

use std::collections::HashMap;

use axum::extract::{Path, State};
use motehub_domain::id::DeviceId;
use motehub_domain::rule::{self, Meaning};
use motehub_domain::time::{Span, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Body, RuleDocument, id, members, rfc3339, time, words};
use crate::api::problem::{ApiError, Problem};
use crate::app::App;

/// How many days are replayed if nothing else is said.
const DAYS: i64 = 7;

/// A time: milliseconds since 1970, or RFC 3339.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Moment {
    /// Milliseconds.
    Number(i64),
    /// Either, as text.
    Text(String),
}

impl Moment {
    fn read(self, field: &str) -> Result<Time, ApiError> {
        match self {
            Self::Number(ms) => Ok(Time(ms)),
            Self::Text(text) => time(field, &text),
        }
    }
}

/// Which time is replayed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayWanted {
    /// From when on; the rule begins then.
    #[schema(value_type = Option<String>)]
    from: Option<Moment>,
    /// Until when; until now by default.
    #[schema(value_type = Option<String>)]
    to: Option<Moment>,
    /// Instead of `from`: the last days, 7 by default.
    days: Option<i64>,
}

/// A rule that need not be saved, and which time is replayed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleReplayWanted {
    /// The rule.
    rule: RuleDocument,
    /// From when on; the rule begins then.
    #[schema(value_type = Option<String>)]
    from: Option<Moment>,
    /// Until when; until now by default.
    #[schema(value_type = Option<String>)]
    to: Option<Moment>,
    /// Instead of `from`: the last days, 7 by default.
    days: Option<i64>,
}

/// A firing that would have been.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayedFiring {
    /// When.
    at: String,
    /// For which device.
    device: Option<String>,
    /// The name of the device now.
    device_name: Option<String>,
    /// When what it fired for was over.
    ended_at: Option<String>,
    /// Why.
    #[schema(value_type = Object)]
    trace: Value,
}

/// What a replay found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replay {
    /// From when on.
    from: String,
    /// Until when.
    to: String,
    /// The first 2000 firings, in the order of time.
    firings: Vec<ReplayedFiring>,
    /// How many there are.
    total: usize,
    /// How many devices were looked at.
    devices: usize,
    /// How many points were read.
    points: usize,
    /// How often it could not be decided.
    errors: usize,
    /// Why, the first time.
    error: Option<String>,
    /// What is missing in this answer.
    truncated: Option<String>,
}

/// Replays a rule over what is stored: exactly the firings that it would have made if it had been on. Nothing is done.
#[utoipa::path(post, path = "/api/v1/rules/{id}/replay", tag = "rules", request_body = ReplayWanted,
    responses((status = 200, body = Replay), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn replay(
    State(app): State<App>,
    Path(path): Path<String>,
    Body(wanted): Body<ReplayWanted>,
) -> Result<axum::Json<Replay>, ApiError> {
    let id = id("rule", &path)?;
    let rule = app.store.rule(id).await?.ok_or_else(|| ApiError::not_found("rule", id))?;
    run(&app, &rule.meaning, wanted).await
}

/// Replays a rule that is not saved.
#[utoipa::path(post, path = "/api/v1/rules/replay", tag = "rules", request_body = RuleReplayWanted,
    responses((status = 200, body = Replay), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn try_out(
    State(app): State<App>,
    Body(wanted): Body<RuleReplayWanted>,
) -> Result<axum::Json<Replay>, ApiError> {
    let RuleReplayWanted { rule, from, to, days } = wanted;
    let meaning = rule::meaning(&words(members(&rule))?.document)?;
    app.check_rule(&meaning).await?;
    run(&app, &meaning, ReplayWanted { from, to, days }).await
}

async fn run(app: &App, meaning: &Meaning, wanted: ReplayWanted) -> Result<axum::Json<Replay>, ApiError> {
    let to = wanted.to.map_or_else(|| Ok(app.now()), |at| at.read("to"))?;
    let days = wanted.days.unwrap_or(DAYS).clamp(1, 1_000);
    let from = wanted.from.map_or_else(|| Ok(to - Span::days(days)), |at| at.read("from"))?;
    let found = app.replay(meaning, from, to).await?;
    let names = names(app, found.firings.iter().filter_map(|(firing, _)| firing.device)).await?;
    let shown = |ended: Option<Time>| ended.map(rfc3339);
    let firings = found.firings.into_iter().map(|(firing, ended_at)| ReplayedFiring {
        at: rfc3339(firing.at),
        device: firing.device.map(|device| device.to_string()),
        device_name: firing.device.and_then(|device| names.get(&device).cloned()),
        ended_at: shown(ended_at),
        trace: firing.trace,
    });
    Ok(axum::Json(Replay {
        from: rfc3339(from),
        to: rfc3339(to),
        firings: firings.collect(),
        total: found.total,
        devices: found.devices,
        points: found.points,
        errors: found.errors,
        error: found.error,
        truncated: found.truncated,
    }))
}

async fn names(
    app: &App,
    devices: impl Iterator<Item = DeviceId>,
) -> Result<HashMap<DeviceId, String>, ApiError> {
    let mut names = HashMap::new();
    for device in devices {
        if !names.contains_key(&device)
            && let Some(found) = app.store.device(device).await?
        {
            names.insert(device, found.name);
        }
    }
    Ok(names)
}
