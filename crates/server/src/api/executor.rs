//! `POST /request.php`: the trigger of IoT Executor, for programs that use it; with a token.

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use motehub_domain::device::Dialect;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::access::Caller;
use super::device_scripts::{Activation, activate};
use super::extract::Body;
use super::problem::ApiError;
use crate::app::App;

/// What is asked: a script for a board.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ExecutorRequest {
    /// The script's number or id.
    #[schema(value_type = String)]
    mutationid: Option<Value>,
    /// The board's chip id.
    #[schema(value_type = String)]
    nodeid: Option<Value>,
}

/// What is answered, in the two keys that its callers know.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutorAnswer {
    /// The HTTP status.
    status: u16,
    /// What happened.
    status_message: String,
}

/// Activates an assigned script on a board.
#[utoipa::path(post, path = "/request.php", tag = "executor", request_body = ExecutorRequest,
    responses((status = 200, body = ExecutorAnswer), (status = 400, body = ExecutorAnswer),
        (status = 404, body = ExecutorAnswer)))]
pub(crate) async fn request(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Body<ExecutorRequest>, ApiError>,
) -> Response {
    let Ok(Body(ExecutorRequest { mutationid: Some(script), nodeid: Some(board) })) = body else {
        return answer(StatusCode::BAD_REQUEST, "send JSON with mutationid and nodeid".to_owned());
    };
    let (script, board) = (text(&script), text(&board));
    match trigger(&app, caller, &script, &board).await {
        Ok(()) => answer(StatusCode::OK, format!("Sent instruction for update on node {board}")),
        Err(error) => {
            let (status, detail) = error.into_parts();
            answer(status, detail)
        }
    }
}

async fn trigger(app: &App, caller: Caller, script: &str, board: &str) -> Result<(), ApiError> {
    let found = app.store.devices_by_external_id(board).await?;
    let device = found.into_iter().find(|device| device.dialect == Dialect::Nodemcu);
    let device =
        device.ok_or_else(|| ApiError::not_found("node", board.chars().take(20).collect::<String>()))?;
    let known = match script.parse::<i64>() {
        Ok(number) => app.store.script_by_number(number).await?,
        Err(_) => match script.parse() {
            Ok(id) => app.store.script(id).await?,
            Err(_) => None,
        },
    };
    let known =
        known.ok_or_else(|| ApiError::not_found("mutation", script.chars().take(40).collect::<String>()))?;
    let assigned = app.store.assignments(device.id).await?;
    if !assigned.iter().any(|(assigned, _)| assigned.id == known.id) {
        return Err(ApiError::not_found("assignment of mutation", format!("{script} to node {board}")));
    }
    let wanted = Activation::newest(known.id);
    let device = axum::extract::Path(device.id.to_string());
    let _ = activate(State(app.clone()), Extension(caller), device, Body(wanted)).await?;
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn answer(status: StatusCode, status_message: String) -> Response {
    (status, axum::Json(ExecutorAnswer { status: status.as_u16(), status_message })).into_response()
}
