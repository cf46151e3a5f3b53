//! Webhooks: addresses outside to which changes are posted, signed.

pub(super) mod deliveries;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::effects::Effects;
use motehub_domain::id::WebhookId;
use motehub_domain::rejection::Rejection;
use motehub_domain::webhook::{self, Description, Recipient, Webhook};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use super::selectors;
use crate::app::App;
use crate::perform::Failure;
use crate::random;
use crate::webhooks::{ping, sign};

/// An address outside to which changes are posted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookDto {
    /// Its id.
    id: String,
    /// Unique without regard to case.
    name: String,
    /// Where is posted to.
    url: String,
    /// Kinds of changes that it wants, or their beginnings such as `device_*`; without one only rules deliver to it.
    changes: Vec<String>,
    /// Only changes that concern devices of this selector.
    devices: Option<String>,
    /// Whether it is delivered to.
    enabled: bool,
    /// Why the hub disabled it, if it did.
    disabled_because: Option<String>,
    /// How many deliveries wait.
    waiting: i64,
    /// How many of those that were taken are kept.
    delivered: i64,
    /// How many dead letters there are.
    dead: i64,
    /// When it was made.
    created_at: String,
}

/// All webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    /// By name.
    items: Vec<WebhookDto>,
    /// How many there are.
    total: usize,
}

/// What makes a webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Unique without regard to case, 1 to 80 characters.
    name: String,
    /// An address with `http://` or `https://`, without a password.
    url: String,
    /// Kinds of changes, or beginnings such as `device_*`; `*` is any. Without one only rules deliver to it.
    #[serde(default)]
    changes: Vec<String>,
    /// Only changes that concern devices of this selector.
    devices: Option<String>,
}

/// What changes a webhook; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookEdit {
    /// New name.
    name: Option<String>,
    /// New address; what waits goes there.
    url: Option<String>,
    /// New wishes.
    changes: Option<Vec<String>>,
    /// New selector; an empty one is none.
    devices: Option<String>,
    /// Whether it is delivered to. While it is not, what waits stays and nothing is added.
    enabled: Option<bool>,
}

/// With what the posts of a webhook are signed. It is shown once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookSecret {
    /// The webhook's id.
    id: String,
    /// `whsec_…`, as the libraries of Standard Webhooks take it.
    secret: String,
}

/// What came of a ping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookPing {
    /// Whether it was taken.
    taken: bool,
    /// The HTTP status; without one no answer came.
    status: Option<i64>,
    /// The beginning of the answer, or why there was none.
    answer: String,
}

/// All webhooks, by name.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", responses((status = 200, body = WebhookList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<WebhookList>, ApiError> {
    let mut items = Vec::new();
    for webhook in app.store.webhooks().await? {
        items.push(shown(&app, webhook).await?);
    }
    Ok(axum::Json(WebhookList { total: items.len(), items }))
}

/// Makes a webhook.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = WebhookSecret), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewWebhook>,
) -> Result<(StatusCode, axum::Json<WebhookSecret>), ApiError> {
    let NewWebhook { name, url, changes, devices } = new;
    let words = Description { name, url, changes, devices };
    readable(&app, &words).await?;
    let id: WebhookId = random::id(app.now());
    let made = app
        .attempt(|| async {
            let webhooks = app.store.webhooks().await?;
            let after = app.store.last_seq().await?;
            Ok(webhook::create(id, &words, &webhooks, after, &caller.actor(), app.now())?)
        })
        .await?;
    let secret = WebhookSecret { id: made.id.to_string(), secret: sign::secret(&app, &made) };
    Ok((StatusCode::CREATED, axum::Json(secret)))
}

/// One webhook.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "webhooks",
    responses((status = 200, body = WebhookDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<WebhookDto>, ApiError> {
    let webhook = load(&app, id("webhook", &path)?).await?;
    Ok(axum::Json(shown(&app, webhook).await?))
}

/// Changes a webhook, enables or disables it.
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", tag = "webhooks", request_body = WebhookEdit,
    responses((status = 200, body = WebhookDto), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<WebhookEdit>,
) -> Result<axum::Json<WebhookDto>, ApiError> {
    let (id, actor) = (id("webhook", &path)?, caller.actor());
    let old = load(&app, id).await?;
    let is_worded =
        edit.name.is_some() || edit.url.is_some() || edit.changes.is_some() || edit.devices.is_some();
    if is_worded {
        readable(&app, &edited(&old, &edit)).await?;
        app.attempt(|| async {
            let webhooks = app.store.webhooks().await?;
            let webhook = load(&app, id).await?;
            Ok(((), webhook::edit(&webhook, &edited(&webhook, &edit), &webhooks, &actor)?))
        })
        .await?;
    }
    app.attempt(|| async {
        let webhook = load(&app, id).await?;
        let effects = match edit.enabled {
            Some(true) => webhook::enable(&webhook, app.store.last_seq().await?, &actor),
            Some(false) => webhook::disable(&webhook, None, &actor),
            None => Effects::none(),
        };
        Ok(((), effects))
    })
    .await?;
    get(State(app.clone()), Path(path)).await
}

/// Deletes a webhook with its deliveries.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let webhook = load(&app, id("webhook", &path)?).await?;
    app.perform(webhook::delete(&webhook, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook a new secret. The former one signs beside it for a day.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/secret", tag = "webhooks",
    responses((status = 200, body = WebhookSecret), (status = 404, body = Problem)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<WebhookSecret>, ApiError> {
    let id = id("webhook", &path)?;
    let rotated = app
        .attempt(|| async { Ok(webhook::rotate(&load(&app, id).await?, &caller.actor(), app.now())) })
        .await?;
    Ok(axum::Json(WebhookSecret { id: path, secret: sign::secret(&app, &rotated) }))
}

/// Posts a `ping` to a webhook now, also to one that is disabled, and says what it answered.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/ping", tag = "webhooks",
    responses((status = 200, body = WebhookPing), (status = 404, body = Problem)))]
pub(crate) async fn test(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<WebhookPing>, ApiError> {
    let webhook = load(&app, id("webhook", &path)?).await?;
    let answer = ping(&app, &webhook).await;
    let taken = answer.is_good();
    Ok(axum::Json(WebhookPing { taken, status: answer.status, answer: answer.text }))
}

async fn load(app: &App, id: WebhookId) -> Result<Webhook, Failure> {
    Ok(app.store.webhook(id).await?.ok_or_else(|| Rejection::not_found("webhook", id))?)
}

fn edited(webhook: &Webhook, edit: &WebhookEdit) -> Description {
    Description {
        name: edit.name.clone().unwrap_or_else(|| webhook.name.clone()),
        url: edit.url.clone().unwrap_or_else(|| webhook.url.clone()),
        changes: edit.changes.clone().unwrap_or_else(|| webhook.changes.clone()),
        devices: edit.devices.clone().or_else(|| webhook.devices.clone()),
    }
}

/// Refuses a selector that names groups which are not there.
async fn readable(app: &App, words: &Description) -> Result<(), ApiError> {
    match words.devices.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(selectors::read(app, text).await.map(drop)?),
        _ => Ok(()),
    }
}

async fn shown(app: &App, webhook: Webhook) -> Result<WebhookDto, ApiError> {
    let counts = app.store.delivery_counts(Recipient::Webhook(webhook.id)).await?;
    Ok(WebhookDto {
        id: webhook.id.to_string(),
        name: webhook.name,
        url: webhook.url,
        changes: webhook.changes,
        devices: webhook.devices,
        enabled: webhook.enabled,
        disabled_because: webhook.disabled_because,
        waiting: counts.waiting,
        delivered: counts.delivered,
        dead: counts.dead,
        created_at: rfc3339(webhook.created_at),
    })
}
