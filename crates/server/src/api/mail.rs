//! Mail: whether it can be sent, and sending one. What waits and what was not taken is among the deliveries.

use axum::extract::State;
use axum::http::StatusCode;
use motehub_domain::webhook::{Mail, Recipient};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Body;
use super::problem::{ApiError, Problem};
use crate::app::App;

/// How mail is sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MailState {
    /// The mail server; none if no mail can be sent.
    server: Option<String>,
    /// From whom mails come.
    from: Option<String>,
    /// How many mails wait.
    waiting: i64,
    /// How many of those that were taken are kept.
    delivered: i64,
    /// How many dead letters there are (`/api/v1/webhooks/mail/deliveries`).
    dead: i64,
}

/// A mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMail {
    /// 1 to 20 addresses.
    to: Vec<String>,
    /// One line, at most 200 characters.
    subject: String,
    /// Plain text, at most 64 KiB.
    #[serde(default)]
    text: String,
}

/// A mail that waits to be sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MailQueued {
    /// The id of the delivery.
    id: String,
}

/// Whether and how mail is sent.
#[utoipa::path(get, path = "/api/v1/mail", tag = "mail", responses((status = 200, body = MailState)))]
pub(crate) async fn state(State(app): State<App>) -> Result<axum::Json<MailState>, ApiError> {
    let counts = app.store.delivery_counts(Recipient::Mail).await?;
    let smtp = app.settings.smtp.as_ref();
    Ok(axum::Json(MailState {
        server: smtp.map(|smtp| format!("{}:{}", smtp.host, smtp.port)),
        from: smtp.map(|smtp| smtp.from.clone()),
        waiting: counts.waiting,
        delivered: counts.delivered,
        dead: counts.dead,
    }))
}

/// Sends a mail. It is tried until the mail server takes it, for at most three days.
#[utoipa::path(post, path = "/api/v1/mail", tag = "mail", request_body = NewMail,
    responses((status = 202, body = MailQueued), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn send(
    State(app): State<App>,
    Body(new): Body<NewMail>,
) -> Result<(StatusCode, axum::Json<MailQueued>), ApiError> {
    let NewMail { to, subject, text } = new;
    let id = app.mail(&Mail { to, subject, text }).await?.to_string();
    Ok((StatusCode::ACCEPTED, axum::Json(MailQueued { id })))
}
