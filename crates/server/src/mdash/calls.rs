//! Calls to devices: the method in the address, its parameters in the body, its answer as it is.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::message::Outcome;
use serde_json::Value;

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::Caller;
use super::devices::known;
use crate::commands::{NoAnswer, WAIT};

/// An error of a device that is no HTTP status is answered with this one.
const STATUS_OF_OTHERS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// Calls a method of a device and waits for its answer.
pub(super) async fn call(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path((id, method)): Path<(String, String)>,
    Body(params): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let device = known(&front.app, &id).await?;
    match front.app.ask_device(&device, &method, params, WAIT, &caller.actor()).await {
        Ok(Outcome::Done(result)) => Ok(axum::Json(result.unwrap_or_default())),
        Ok(Outcome::Failed(why)) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        Ok(Outcome::Refused { code, message }) => {
            let status = u16::try_from(code).ok().filter(|code| (400..600).contains(code));
            let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(STATUS_OF_OTHERS);
            Err(Refusal { status, code, message })
        }
        Err(NoAnswer::Away) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the device is offline")),
        Err(NoAnswer::Late) => {
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "the device did not answer in time"))
        }
        Err(NoAnswer::Failure(failure)) => Err(failure.into()),
    }
}
