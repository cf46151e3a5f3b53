//! Deliveries of a webhook, or of mail where the id is `mail`: what waits, what was taken, and the dead letters, which
//! can be sent again.

use axum::extract::{Extension, Path, State};
use motehub_domain::effects::Effects;
use motehub_domain::rejection::Rejection;
use motehub_domain::webhook::delivery::{self, WAITING_MAX};
use motehub_domain::webhook::{Delivery, Recipient, Stage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::access::Caller;
use crate::api::extract::{Page, Query, id, rfc3339};
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::webhooks::payload;

/// How many dead letters are sent again in one transaction.
const RESENT_AT_ONCE: usize = 500;

/// Something that was to be posted or mailed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryDto {
    /// Its id, the same in all tries.
    id: String,
    /// The kind of the change, a word of a rule, or `mail`.
    event: String,
    /// `waiting`, `delivered` or `dead`.
    state: &'static str,
    /// Since when; for one that waits, when it is tried next.
    at: String,
    /// How often it was tried.
    tries: i64,
    /// What it was answered last: the HTTP status, or the code of SMTP.
    status: Option<i64>,
    /// The beginning of the last answer, or why there was none.
    answer: Option<String>,
    /// When it was put in.
    created_at: String,
}

/// A delivery with what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WholeDelivery {
    #[serde(flatten)]
    delivery: DeliveryDto,
    /// What is posted.
    body: serde_json::Value,
}

/// A part of the deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    /// Those that wait in their order, others the newest first.
    items: Vec<DeliveryDto>,
    /// How many are in this state.
    total: i64,
}

/// Which deliveries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryQuery {
    /// `waiting` by default, `delivered` or `dead`.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// How many were sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resent {
    /// So many wait again.
    resent: usize,
}

/// Deliveries of a webhook in one state.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks", params(DeliveryQuery),
    responses((status = 200, body = DeliveryList), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn list_deliveries(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<DeliveryQuery>,
) -> Result<axum::Json<DeliveryList>, ApiError> {
    let (to, _) = recipient(&app, &path).await?;
    let page = Page::new(query.offset, query.limit)?;
    let stage = match query.state.as_deref() {
        None => Stage::Waiting,
        Some(text) => {
            Stage::parse(text).ok_or_else(|| Rejection::invalid("state", "waiting, delivered or dead"))?
        }
    };
    let newest_first = stage != Stage::Waiting;
    let (found, total) = app.store.deliveries(to, stage, newest_first, page.offset, page.limit).await?;
    Ok(axum::Json(DeliveryList { items: found.iter().map(DeliveryDto::from).collect(), total }))
}

/// One delivery with what it says.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries/{delivery}", tag = "webhooks",
    responses((status = 200, body = WholeDelivery), (status = 404, body = Problem)))]
pub(crate) async fn delivery(
    State(app): State<App>,
    Path((path, delivery)): Path<(String, String)>,
) -> Result<axum::Json<WholeDelivery>, ApiError> {
    let (to, _) = recipient(&app, &path).await?;
    let found = load(&app, to, &delivery).await?;
    Ok(axum::Json(WholeDelivery { delivery: DeliveryDto::from(&found), body: payload(&found) }))
}

/// Sends a dead letter again, with its id, behind all that wait.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/deliveries/{delivery}/resend", tag = "webhooks",
    responses((status = 200, body = Resent), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn resend(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, delivery)): Path<(String, String)>,
) -> Result<axum::Json<Resent>, ApiError> {
    let (to, name) = recipient(&app, &path).await?;
    let found = load(&app, to, &delivery).await?;
    again(&app, &caller, to, &name, &[found]).await?;
    Ok(axum::Json(Resent { resent: 1 }))
}

/// Sends all dead letters of a webhook again, in their order, as far as there is room for them to wait.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/deliveries/resend", tag = "webhooks",
    responses((status = 200, body = Resent), (status = 404, body = Problem)))]
pub(crate) async fn resend_all(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<Resent>, ApiError> {
    let (to, name) = recipient(&app, &path).await?;
    let waiting = usize::try_from(app.store.delivery_counts(to).await?.waiting).unwrap_or(0);
    let (mut room, mut resent) = (WAITING_MAX.saturating_sub(waiting), 0);
    while room > 0 {
        let (dead, _) = app.store.deliveries(to, Stage::Dead, false, 0, RESENT_AT_ONCE.min(room)).await?;
        if dead.is_empty() {
            break;
        }
        again(&app, &caller, to, &name, &dead).await?;
        (room, resent) = (room.saturating_sub(dead.len()), resent + dead.len());
    }
    Ok(axum::Json(Resent { resent }))
}

async fn again(
    app: &App,
    caller: &Caller,
    to: Recipient,
    name: &str,
    dead: &[Delivery],
) -> Result<(), ApiError> {
    let mut effects = Effects::none();
    for one in dead {
        effects = effects.and(delivery::resend(one, app.now())?);
    }
    effects.changes.push(delivery::resent(to, name, dead.len(), &caller.actor()));
    Ok(app.perform(effects).await?)
}

/// Whose deliveries are meant, and the name for people.
async fn recipient(app: &App, path: &str) -> Result<(Recipient, String), ApiError> {
    let to: Recipient = path.parse().or_else(|_| id("webhook", path).map(Recipient::Webhook))?;
    let name = match to {
        Recipient::Mail => "mail".to_owned(),
        Recipient::Webhook(id) => {
            let webhook = app.store.webhook(id).await?;
            webhook.ok_or_else(|| ApiError::not_found("webhook", id))?.name
        }
    };
    Ok((to, name))
}

async fn load(app: &App, to: Recipient, path: &str) -> Result<Delivery, ApiError> {
    let id = id("delivery", path)?;
    let found = app.store.delivery(id).await.map_err(Failure::from)?;
    found.filter(|delivery| delivery.to == to).ok_or_else(|| ApiError::not_found("delivery", id))
}

impl From<&Delivery> for DeliveryDto {
    fn from(delivery: &Delivery) -> Self {
        let answer = delivery.answer.as_ref();
        Self {
            id: delivery.id.to_string(),
            event: delivery.event.clone(),
            state: delivery.state.stage().as_str(),
            at: rfc3339(delivery.state.at()),
            tries: delivery.tries,
            status: answer.and_then(|answer| answer.status),
            answer: answer.map(|answer| answer.text.clone()),
            created_at: rfc3339(delivery.created_at),
        }
    }
}
