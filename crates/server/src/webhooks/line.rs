//! The line of one recipient: its deliveries one after the other, for as long as one is due.

use motehub_domain::change::Actor;
use motehub_domain::effects::Effects;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use motehub_domain::webhook::delivery::tried;
use motehub_domain::webhook::{self, Answer, Delivery, DeliveryState, Recipient, Webhook};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{REST, sign};
use crate::api::rfc3339;
use crate::app::App;
use crate::outside::Post;
use crate::perform::Failure;
use crate::random;

/// Delivers until nothing is due. Returns when something may be.
pub(super) async fn run(app: &App, to: Recipient, shutdown: &CancellationToken) -> Option<Time> {
    while !shutdown.is_cancelled() {
        match step(app, to).await {
            Ok(Step::Done) => {}
            Ok(Step::Later(next)) => return next,
            Err(error) => {
                tracing::error!(%error, %to, "a delivery could not be looked at");
                return Some(app.now() + REST);
            }
        }
    }
    None
}

enum Step {
    /// One was tried: look for the next.
    Done,
    /// Nothing is due before then.
    Later(Option<Time>),
}

async fn step(app: &App, to: Recipient) -> Result<Step, Failure> {
    let webhook = match to {
        Recipient::Webhook(id) => match app.store.webhook(id).await? {
            Some(webhook) if webhook.enabled => Some(webhook),
            _ => return Ok(Step::Later(None)),
        },
        Recipient::Mail => None,
    };
    let Some(delivery) = app.store.next_delivery(to).await? else { return Ok(Step::Later(None)) };
    match delivery.state {
        DeliveryState::Waiting(at) if at <= app.now() => {}
        state => return Ok(Step::Later(Some(state.at()))),
    }
    let answer = match &webhook {
        Some(webhook) => post(app, webhook, &delivery).await,
        None => match &app.mailer {
            Some(mailer) => mailer.send(&delivery).await,
            // It waits until a mail server is set.
            None => return Ok(Step::Later(None)),
        },
    };
    let outcome = if answer.is_good() { "taken" } else { "not_taken" };
    metrics::counter!("motehub_deliveries_total", "outcome" => outcome).increment(1);
    let chance = random::bytes::<1>()[0];
    let kept = app.attempt(|| async {
        // It may have been deleted with its webhook meanwhile, or the webhook edited.
        let gone = || Rejection::not_found("delivery", delivery.id);
        let delivery = app.store.delivery(delivery.id).await?.ok_or_else(gone)?;
        let mut effects = tried(&delivery, answer.clone(), chance, app.now());
        if answer.is_gone()
            && let Recipient::Webhook(id) = to
        {
            effects = effects.and(closed(app.store.webhook(id).await?));
        }
        Ok(((), effects))
    });
    match kept.await {
        Ok(()) | Err(Failure::Rejected(_)) => Ok(Step::Done),
        Err(error) => Err(error),
    }
}

/// It answered that it is gone for good: nothing is sent there until a person says otherwise.
fn closed(webhook: Option<Webhook>) -> Effects {
    let because = "it answered 410: it is gone for good";
    webhook.map_or_else(Effects::none, |webhook| webhook::disable(&webhook, Some(because), &Actor::System))
}

/// The body of a delivery: what happened, and what is said about it.
pub(crate) fn payload(delivery: &Delivery) -> Value {
    let mut payload = delivery.body.clone();
    payload["id"] = json!(delivery.id.to_string());
    payload["event"] = json!(delivery.event);
    payload["at"] = json!(rfc3339(delivery.created_at));
    payload
}

/// Posts something to a webhook, signed.
pub(super) async fn post(app: &App, webhook: &Webhook, delivery: &Delivery) -> Answer {
    let body = payload(delivery).to_string();
    let headers = sign::headers(app, webhook, &delivery.id.to_string(), &body, app.now());
    app.outside().post(Post { url: webhook.url.clone(), body, headers }).await
}
