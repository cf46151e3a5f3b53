//! Alarms: what rules raised, seen and cleared by people.

use axum::extract::{Extension, Path, State};
use motehub_domain::alarm::{self, AlarmState};
use motehub_domain::id::AlarmId;
use motehub_domain::rejection::Rejection;
use motehub_store::{AlarmQuery, AlarmView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use super::selectors;
use crate::app::App;

/// What a rule raised.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub(crate) struct AlarmDto {
    /// Its id.
    id: String,
    /// The rule that raised it; it may be gone.
    rule: String,
    /// The name of the rule then.
    rule_name: String,
    /// For which device; none if it is about no device.
    device: Option<String>,
    /// The name of the device now.
    device_name: Option<String>,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    /// What is the matter.
    message: String,
    /// `raised`, `acknowledged` or `cleared`.
    state: &'static str,
    /// When it was raised.
    raised_at: String,
    /// When somebody acknowledged it.
    acknowledged_at: Option<String>,
    /// Who.
    acknowledged_by: Option<String>,
    /// When it was cleared.
    cleared_at: Option<String>,
    /// By whom: the name of the rule itself, or of a person.
    cleared_by: Option<String>,
    /// The value that the rule looked at when it raised the alarm.
    value: Option<serde_json::Value>,
}

impl From<AlarmView> for AlarmDto {
    fn from(AlarmView { alarm, device_name }: AlarmView) -> Self {
        Self {
            id: alarm.id.to_string(),
            rule: alarm.rule.to_string(),
            rule_name: alarm.rule_name,
            device: alarm.device.map(|device| device.to_string()),
            device_name,
            severity: alarm.severity.as_str(),
            message: alarm.message,
            state: alarm.state.as_str(),
            raised_at: rfc3339(alarm.raised_at),
            acknowledged_at: alarm.acknowledged_at.map(rfc3339),
            acknowledged_by: alarm.acknowledged_by,
            cleared_at: alarm.cleared_at.map(rfc3339),
            cleared_by: alarm.cleared_by,
            value: alarm.value,
        }
    }
}

impl AlarmDto {
    /// Without who acknowledged and cleared it, for those who have no account.
    pub(crate) fn without_people(self) -> Self {
        Self { acknowledged_by: None, cleared_by: None, ..self }
    }
}

/// A part of the alarms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlarmList {
    /// The last raised first.
    items: Vec<AlarmDto>,
    /// How many there are.
    total: i64,
}

/// Which alarms are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmsQuery {
    /// In one of these states, separated by commas: `raised`, `acknowledged`, `cleared`.
    state: Option<String>,
    /// Of a device, by id.
    device: Option<String>,
    /// Of the devices of a selector.
    selector: Option<String>,
    /// Of a rule, by id.
    rule: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Alarms, the last raised first.
#[utoipa::path(get, path = "/api/v1/alarms", tag = "alarms", params(AlarmsQuery),
    responses((status = 200, body = AlarmList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<AlarmsQuery>,
) -> Result<axum::Json<AlarmList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let words = query.state.iter().flat_map(|text| text.split(',')).map(str::trim);
    let state = |word: &str| {
        AlarmState::parse(word).ok_or_else(|| {
            Rejection::invalid("state", "raised, acknowledged or cleared, separated by commas")
        })
    };
    let wanted = AlarmQuery {
        states: words.filter(|word| !word.is_empty()).map(state).collect::<Result<_, _>>()?,
        device: query.device.map(|text| id("device", &text)).transpose()?,
        devices: match query.selector {
            Some(text) => Some(selectors::read(&app, &text).await?),
            None => None,
        },
        rule: query.rule.map(|text| id("rule", &text)).transpose()?,
        id: None,
        now: app.now(),
        offset: page.offset,
        limit: page.limit,
    };
    let (views, total) = app.store.alarms(&wanted).await?;
    Ok(axum::Json(AlarmList { items: views.into_iter().map(AlarmDto::from).collect(), total }))
}

/// One alarm.
#[utoipa::path(get, path = "/api/v1/alarms/{id}", tag = "alarms",
    responses((status = 200, body = AlarmDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<AlarmDto>, ApiError> {
    Ok(axum::Json(load(&app, id("alarm", &path)?).await?.into()))
}

/// Somebody has seen an alarm and takes care of it.
#[utoipa::path(post, path = "/api/v1/alarms/{id}/acknowledge", tag = "alarms",
    responses((status = 200, body = AlarmDto), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<AlarmDto>, ApiError> {
    let id = id("alarm", &path)?;
    app.attempt(|| async {
        let view = app.store.alarm(id).await?.ok_or_else(|| Rejection::not_found("alarm", id))?;
        Ok(((), alarm::acknowledge(&view.alarm, &caller.actor(), app.now())?))
    })
    .await?;
    Ok(axum::Json(load(&app, id).await?.into()))
}

/// An alarm is over, whatever its rule says. It is raised again when the rule fires again.
#[utoipa::path(post, path = "/api/v1/alarms/{id}/clear", tag = "alarms",
    responses((status = 200, body = AlarmDto), (status = 404, body = Problem)))]
pub(crate) async fn clear(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<AlarmDto>, ApiError> {
    let id = id("alarm", &path)?;
    app.attempt(|| async {
        let view = app.store.alarm(id).await?.ok_or_else(|| Rejection::not_found("alarm", id))?;
        Ok(((), alarm::clear(&view.alarm, &caller.actor(), app.now())))
    })
    .await?;
    Ok(axum::Json(load(&app, id).await?.into()))
}

async fn load(app: &App, id: AlarmId) -> Result<AlarmView, ApiError> {
    app.store.alarm(id).await?.ok_or_else(|| ApiError::not_found("alarm", id))
}
