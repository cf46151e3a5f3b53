//! Rules: when something happens, and a condition holds, for how long, then actions.

pub(crate) mod replay;

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::alarm::{Alarm, AlarmState};
use motehub_domain::id::RuleId;
use motehub_domain::rejection::Rejection;
use motehub_domain::rule::{self, Rule, Words};
use motehub_domain::time::Time;
use motehub_store::{AlarmQuery, FiringQuery, FiringView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Page, Query, id, rfc3339, time};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;
use crate::rules::Trouble;

/// Most alarms of one rule that are cleared with it: no rule has more, as it has one for a device.
const ALARMS_MAX: usize = 1_000_000;

/// A rule as people and programs write it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleDocument {
    /// Unique without regard to case, 1 to 80 characters.
    name: String,
    /// For people.
    #[serde(default)]
    description: String,
    /// Whether it is on.
    #[serde(default)]
    enabled: bool,
    /// Which devices it looks at, by what they are; all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<String>,
    /// At what it looks, exactly one of: `{"metric": "temperature"}`, `{"state": "reported.lamp.on"}`,
    /// `{"absence": {"metric": "temperature", "for_s": 600}}`, `{"presence": "offline"}`,
    /// `{"schedule": {"cron": "0 7 * * 1-5", "zone": "+01:00"}}`, `{"schedule": {"every_s": 3600}}`,
    /// `{"event": "button"}`.
    #[schema(value_type = Object)]
    when: Value,
    /// What must be true then, in CEL, such as `value > 30`.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    /// For how many seconds that must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_s: Option<i64>,
    /// When it is over again, in CEL; when the condition is false if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// What it does, 1 to 10 of: `{"alarm": {"severity", "message"}}`, `{"desired": {"path", "value"}}`,
    /// `{"command": {"name", "arguments"}}`, `{"webhook": ID}`, `{"mail": {"to", "subject", "text"}}`,
    /// `{"publish": {"topic", "payload"}}`.
    #[schema(value_type = Vec<Object>)]
    actions: Vec<Value>,
    /// For how many seconds it does not fire again for the same device.
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_s: Option<i64>,
}

/// A rule, and how it is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
pub(crate) struct RuleDto {
    /// Its id.
    id: String,
    /// What it is and does.
    #[serde(flatten)]
    #[schema(inline)]
    document: RuleDocument,
    /// Since when it is on; a rule that is changed begins anew.
    enabled_at: Option<String>,
    /// How often it fired, as far as that is kept.
    firings: i64,
    /// When it fired last.
    fired_at: Option<String>,
    /// How often something went wrong since the hub started.
    errors: u64,
    /// What, the last time.
    last_error: Option<String>,
    /// When.
    last_error_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it was last changed.
    updated_at: String,
}

/// All rules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleList {
    /// By name.
    items: Vec<RuleDto>,
    /// How many there are.
    total: usize,
}

/// What a check found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleChecked {
    /// How many devices it would look at now.
    devices: usize,
}

/// That a rule fired.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Firing)]
pub(crate) struct FiringDto {
    /// Its id.
    id: String,
    /// When.
    at: String,
    /// For which device.
    device: Option<String>,
    /// The name of the device now.
    device_name: Option<String>,
    /// When what it fired for was over.
    ended_at: Option<String>,
    /// Why: what came, since when the condition held, what was to be done.
    #[schema(value_type = Object)]
    trace: Value,
    /// Whether everything was done, or tried.
    done: bool,
    /// What could not be done, and why.
    problems: Vec<String>,
}

/// A part of the firings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FiringList {
    /// The last first.
    items: Vec<FiringDto>,
    /// How many there are.
    total: i64,
}

/// Which firings are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct FiringsQuery {
    /// For a device, by id.
    device: Option<String>,
    /// From then on.
    from: Option<String>,
    /// Before.
    to: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// All rules, by name, and how they are doing.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", responses((status = 200, body = RuleList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<RuleList>, ApiError> {
    let (rules, fired, troubles) =
        (app.store.rules().await?, app.store.last_firings().await?, app.rule_troubles().await);
    let items = rules.iter().map(|rule| shown(rule, &fired, &troubles)).collect::<Result<Vec<_>, _>>()?;
    Ok(axum::Json(RuleList { total: items.len(), items }))
}

/// Makes a rule. It begins to look when it is on.
#[utoipa::path(post, path = "/api/v1/rules", tag = "rules", request_body = RuleDocument,
    responses((status = 201, body = RuleDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(document): Body<RuleDocument>,
) -> Result<(StatusCode, axum::Json<RuleDto>), ApiError> {
    let words = words(members(&document))?;
    app.check_rule(&rule::meaning(&words.document)?).await?;
    let id: RuleId = random::id(app.now());
    app.attempt(|| async {
        let count = app.store.rules().await?.len();
        let (_, effects) = rule::create(id, &words, count, &caller.actor(), app.now())?;
        Ok(((), effects))
    })
    .await?;
    Ok((StatusCode::CREATED, axum::Json(load(&app, id).await?)))
}

/// Checks a rule and saves nothing. The refusal of an expression says in which column the mistake is.
#[utoipa::path(post, path = "/api/v1/rules/check", tag = "rules", request_body = RuleDocument,
    responses((status = 200, body = RuleChecked), (status = 400, body = Problem)))]
pub(crate) async fn check(
    State(app): State<App>,
    Body(document): Body<RuleDocument>,
) -> Result<axum::Json<RuleChecked>, ApiError> {
    let words = words(members(&document))?;
    let devices = app.check_rule(&rule::meaning(&words.document)?).await?;
    Ok(axum::Json(RuleChecked { devices }))
}

/// One rule, and how it is doing.
#[utoipa::path(get, path = "/api/v1/rules/{id}", tag = "rules",
    responses((status = 200, body = RuleDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<RuleDto>, ApiError> {
    Ok(axum::Json(load(&app, id("rule", &path)?).await?))
}

/// Changes a rule: members that are left out stay as they are, null takes one away. If it does something else than
/// before it begins anew, and its alarms are cleared.
#[utoipa::path(patch, path = "/api/v1/rules/{id}", tag = "rules", request_body = RuleDocument,
    responses((status = 200, body = RuleDto), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<Map<String, Value>>,
) -> Result<axum::Json<RuleDto>, ApiError> {
    change(&app, id("rule", &path)?, &caller, &edit).await.map(axum::Json)
}

/// Turns a rule on. It begins to look at what comes from now on.
#[utoipa::path(post, path = "/api/v1/rules/{id}/enable", tag = "rules",
    responses((status = 200, body = RuleDto), (status = 404, body = Problem)))]
pub(crate) async fn enable(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<RuleDto>, ApiError> {
    let edit = Map::from_iter([("enabled".to_owned(), true.into())]);
    change(&app, id("rule", &path)?, &caller, &edit).await.map(axum::Json)
}

/// Turns a rule off. Its alarms are cleared.
#[utoipa::path(post, path = "/api/v1/rules/{id}/disable", tag = "rules",
    responses((status = 200, body = RuleDto), (status = 404, body = Problem)))]
pub(crate) async fn disable(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<RuleDto>, ApiError> {
    let edit = Map::from_iter([("enabled".to_owned(), false.into())]);
    change(&app, id("rule", &path)?, &caller, &edit).await.map(axum::Json)
}

/// Deletes a rule with its firings. Its alarms are cleared and stay as history.
#[utoipa::path(delete, path = "/api/v1/rules/{id}", tag = "rules",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = id("rule", &path)?;
    app.attempt(|| async {
        let rule = app.store.rule(id).await?.ok_or_else(|| Rejection::not_found("rule", id))?;
        let open = open_alarms(&app, id).await?;
        Ok(((), rule::delete(&rule, &open, &caller.actor(), app.now())))
    })
    .await?;
    app.forgive_rule(id);
    Ok(StatusCode::NO_CONTENT)
}

/// When a rule fired, and why, the last time first.
#[utoipa::path(get, path = "/api/v1/rules/{id}/firings", tag = "rules", params(FiringsQuery),
    responses((status = 200, body = FiringList), (status = 404, body = Problem)))]
pub(crate) async fn firings(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<FiringsQuery>,
) -> Result<axum::Json<FiringList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let rule = id("rule", &path)?;
    if app.store.rule(rule).await?.is_none() {
        return Err(ApiError::not_found("rule", rule));
    }
    let wanted = FiringQuery {
        rule: Some(rule),
        device: query.device.map(|text| id("device", &text)).transpose()?,
        from: query.from.map(|text| time("from", &text)).transpose()?,
        to: query.to.map(|text| time("to", &text)).transpose()?,
        offset: page.offset,
        limit: page.limit,
    };
    let (views, total) = app.store.firings(&wanted).await?;
    Ok(axum::Json(FiringList { items: views.into_iter().map(FiringDto::from).collect(), total }))
}

impl From<FiringView> for FiringDto {
    fn from(FiringView { record, device_name }: FiringView) -> Self {
        Self {
            id: record.id.to_string(),
            at: rfc3339(record.at),
            device: record.device.map(|device| device.to_string()),
            device_name,
            ended_at: record.ended_at.map(rfc3339),
            trace: record.trace,
            done: record.done,
            problems: record.problems,
        }
    }
}

/// The members of a document.
pub(super) fn members(document: &RuleDocument) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// What a person says, apart from what the rule does.
pub(super) fn words(mut members: Map<String, Value>) -> Result<Words, Rejection> {
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Rejection::invalid(name, "a text is expected")),
    };
    let (name, description) = (text("name")?, text("description")?);
    let enabled = match members.remove("enabled") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(truth)) => truth,
        Some(_) => return Err(Rejection::invalid("enabled", "true or false is expected")),
    };
    Ok(Words { name, description, enabled, document: Value::Object(members) })
}

async fn change(
    app: &App,
    id: RuleId,
    caller: &Caller,
    edit: &Map<String, Value>,
) -> Result<RuleDto, ApiError> {
    app.attempt(|| async {
        let rule = app.store.rule(id).await?.ok_or_else(|| Rejection::not_found("rule", id))?;
        let mut all = flat(&rule);
        for (name, value) in edit {
            match value {
                Value::Null => drop(all.remove(name)),
                value => drop(all.insert(name.clone(), value.clone())),
            }
        }
        let words = words(all)?;
        app.check_rule(&rule::meaning(&words.document)?).await?;
        let open = open_alarms(app, id).await?;
        let (_, effects) = rule::edit(&rule, &words, &open, &caller.actor(), app.now())?;
        Ok(((), effects))
    })
    .await?;
    app.forgive_rule(id);
    load(app, id).await
}

fn flat(rule: &Rule) -> Map<String, Value> {
    let mut all = rule.document.as_object().cloned().unwrap_or_default();
    all.insert("name".to_owned(), rule.name.as_str().into());
    all.insert("description".to_owned(), rule.description.as_str().into());
    all.insert("enabled".to_owned(), rule.is_enabled().into());
    all
}

async fn open_alarms(app: &App, rule: RuleId) -> Result<Vec<Alarm>, Failure> {
    let states = vec![AlarmState::Raised, AlarmState::Acknowledged];
    let wanted = AlarmQuery { states, rule: Some(rule), limit: ALARMS_MAX, ..AlarmQuery::default() };
    Ok(app.store.alarms(&wanted).await?.0.into_iter().map(|view| view.alarm).collect())
}

async fn load(app: &App, id: RuleId) -> Result<RuleDto, ApiError> {
    let rule = app.store.rule(id).await?.ok_or_else(|| ApiError::not_found("rule", id))?;
    shown(&rule, &app.store.last_firings().await?, &app.rule_troubles().await)
}

fn shown(
    rule: &Rule,
    fired: &HashMap<RuleId, (i64, Time)>,
    troubles: &HashMap<RuleId, Trouble>,
) -> Result<RuleDto, ApiError> {
    let document = serde_json::from_value(Value::Object(flat(rule)));
    let document = document.map_err(|_| Rejection::invalid("rule", "its document cannot be read"))?;
    let (fired, trouble) = (fired.get(&rule.id), troubles.get(&rule.id));
    Ok(RuleDto {
        id: rule.id.to_string(),
        document,
        enabled_at: rule.enabled_at.map(rfc3339),
        firings: fired.map_or(0, |(count, _)| *count),
        fired_at: fired.map(|(_, at)| rfc3339(*at)),
        errors: trouble.map_or(0, |trouble| trouble.count),
        last_error: trouble.map(|trouble| trouble.message.clone()),
        last_error_at: trouble.map(|trouble| rfc3339(trouble.at)),
        created_at: rfc3339(rule.created_at),
        updated_at: rfc3339(rule.updated_at),
    })
}
