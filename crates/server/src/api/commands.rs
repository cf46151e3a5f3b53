//! Commands: ask, look at, take back.

use std::collections::BTreeMap;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::command::{self, Command, Execution, ExecutionState, Request};
use motehub_domain::id::CommandId;
use motehub_domain::message::Outcome;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Span;
use motehub_store::{CommandView, ExecutionView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::deployments::{Meant, check_seen, resolve};
use super::devices;
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::commands::{NoAnswer, WAIT};
use crate::perform::Failure;

/// What devices are asked to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCommand {
    /// What to do: 1 to 64 letters, digits or the signs `- _ . /`.
    name: String,
    /// With what: any JSON of at most 8 KiB.
    #[serde(default)]
    args: serde_json::Value,
    /// A condition such as `tag=kitchen and online`.
    selector: Option<String>,
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// Id of one device.
    device: Option<String>,
    /// How long it may wait for a device: 1 to 604800, 300 by default.
    expires_in_seconds: Option<i64>,
    /// From the preview of deployments. A selection that changed since is refused.
    token: Option<String>,
}

/// A command that was asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Requested {
    /// Its id.
    pub(super) id: String,
    /// Of how many devices.
    pub(super) devices: usize,
}

/// A command, and how many devices are in each state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Command)]
pub(crate) struct CommandDto {
    id: String,
    name: String,
    args: serde_json::Value,
    /// The selector that picked the devices, if one did.
    selector: Option<String>,
    /// Of how many devices it was asked.
    devices: i64,
    created_by: String,
    created_at: String,
    expires_at: String,
    /// `Queued`, `Sent`, `Done`, `Failed`, `Expired`: how many devices each.
    counts: BTreeMap<&'static str, i64>,
}

/// Commands, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandList {
    items: Vec<CommandDto>,
    total: i64,
}

/// How a command stands at a device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Execution)]
pub(crate) struct ExecutionDto {
    command: String,
    name: String,
    args: serde_json::Value,
    device: String,
    device_name: String,
    /// `Queued`, `Sent`, `Done`, `Failed` or `Expired`.
    state: &'static str,
    /// What the device answered.
    result: Option<serde_json::Value>,
    /// Why it is not as it should be.
    reason: Option<String>,
    /// How often it was said to the device.
    tries: i64,
    created_by: String,
    created_at: String,
    updated_at: String,
    expires_at: String,
}

/// Executions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionList {
    items: Vec<ExecutionDto>,
    total: i64,
}

impl From<Command> for Requested {
    fn from(command: Command) -> Self {
        Self { id: command.id.to_string(), devices: usize::try_from(command.devices).unwrap_or(0) }
    }
}

impl From<CommandView> for CommandDto {
    fn from(CommandView { command, counts }: CommandView) -> Self {
        let Command { id, name, arguments, selector, devices, created_by, created_at, expires_at } = command;
        Self {
            id: id.to_string(),
            name,
            args: arguments,
            selector,
            devices,
            created_by,
            created_at: rfc3339(created_at),
            expires_at: rfc3339(expires_at),
            counts: ExecutionState::ALL.into_iter().map(ExecutionState::as_str).zip(counts).collect(),
        }
    }
}

impl From<ExecutionView> for ExecutionDto {
    fn from(ExecutionView { command, device, execution }: ExecutionView) -> Self {
        let Execution { state, result, reason, tries, updated_at, .. } = execution;
        Self {
            command: command.id.to_string(),
            name: command.name,
            args: command.arguments,
            device: device.id.to_string(),
            device_name: device.name,
            state: state.as_str(),
            result,
            reason,
            tries,
            created_by: command.created_by,
            created_at: rfc3339(command.created_at),
            updated_at: rfc3339(updated_at),
            expires_at: rfc3339(command.expires_at),
        }
    }
}

fn listed((views, total): (Vec<ExecutionView>, i64)) -> axum::Json<ExecutionList> {
    axum::Json(ExecutionList { items: views.into_iter().map(ExecutionDto::from).collect(), total })
}

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Commands, newest first.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(PageQuery),
    responses((status = 200, body = CommandList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<CommandList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let (commands, total) = app.store.commands(page.offset, page.limit).await?;
    Ok(axum::Json(CommandList { items: commands.into_iter().map(CommandDto::from).collect(), total }))
}

/// Asks one device, some, or all that a selector picks, to do something. Each answers for itself; those that are
/// away get it when they come, until it expires.
#[utoipa::path(post, path = "/api/v1/commands", tag = "commands", request_body = NewCommand,
    responses((status = 201, body = Requested), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn request(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewCommand>,
) -> Result<(StatusCode, axum::Json<Requested>), ApiError> {
    let devices = match (new.device, new.devices) {
        (Some(device), None) => Some(vec![device]),
        (None, devices) => devices,
        (Some(_), Some(_)) => {
            return Err(Rejection::invalid("devices", "give \"device\" or \"devices\", not both").into());
        }
    };
    let meant = Meant { selector: new.selector, devices };
    let ids = resolve(&app, &meant).await?;
    check_seen(&ids, new.token.as_deref())?;
    let request = Request {
        name: new.name,
        arguments: new.args,
        selector: meant.selector,
        expires_in: new.expires_in_seconds.map(Span::seconds),
    };
    let given = app.give_command(&request, &ids, &caller.actor()).await?;
    Ok((StatusCode::CREATED, axum::Json(given.into())))
}

/// One command.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands",
    responses((status = 200, body = CommandDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<CommandDto>, ApiError> {
    Ok(axum::Json(load(&app, id("command", &path)?).await?.into()))
}

/// Which executions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecutionQuery {
    /// Those in a state.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// How a command stands at each of its devices, by their names.
#[utoipa::path(get, path = "/api/v1/commands/{id}/executions", tag = "commands", params(ExecutionQuery),
    responses((status = 200, body = ExecutionList), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn executions(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<ExecutionQuery>,
) -> Result<axum::Json<ExecutionList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let state = query.state.map(|text| {
        let known = ExecutionState::ALL.map(ExecutionState::as_str).join(", ");
        ExecutionState::parse(&text)
            .ok_or_else(|| Rejection::invalid("state", format!("the states are {known}")))
    });
    let states: Vec<ExecutionState> = state.transpose()?.into_iter().collect();
    let command = load(&app, id("command", &path)?).await?.command.id;
    Ok(listed(app.store.executions(command, &states, page.offset, page.limit).await?))
}

/// Takes a command back from the devices that were not told yet.
#[utoipa::path(post, path = "/api/v1/commands/{id}/cancel", tag = "commands",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (id, actor) = (id("command", &path)?, caller.actor());
    app.attempt(|| async {
        let command = load(&app, id).await?.command;
        let waiting: Vec<_> = app
            .store
            .queued_executions(id)
            .await?
            .into_iter()
            .map(|view| (view.device, view.execution))
            .collect();
        Ok(((), command::cancel(&command, &waiting, &actor, app.now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a device was asked to do, newest first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/commands", tag = "commands", params(PageQuery),
    responses((status = 200, body = ExecutionList), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn of_device(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<ExecutionList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let device = id("device", &path)?;
    if app.store.device(device).await?.is_none() {
        return Err(ApiError::not_found("device", device));
    }
    Ok(listed(app.store.executions_of(device, page.offset, page.limit).await?))
}

async fn load(app: &App, id: CommandId) -> Result<CommandView, Failure> {
    Ok(app.store.command(id).await?.ok_or_else(|| Rejection::not_found("command", id))?)
}

/// What a device is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// The name of a command, or a method of a Mongoose OS device such as `Config.Get`.
    name: String,
    /// Any JSON.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    args: Value,
    /// How long to wait for the answer: 1 to 60; 10 by default.
    wait_seconds: Option<u32>,
}

/// What a device answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswerDto {
    /// Any JSON; null for nothing.
    #[schema(value_type = Option<Object>)]
    result: Value,
}

/// Asks a device that is there to do something, and waits for its answer. It is a command like any other; passwords and
/// tokens in it are not kept.
#[utoipa::path(post, path = "/api/v1/devices/{id}/ask", tag = "commands", params(("id" = String, Path)),
    request_body = Question,
    responses((status = 200, body = AnswerDto), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "it is not there", body = Problem),
        (status = 422, description = "it could not", body = Problem),
        (status = 504, description = "it did not answer in time", body = Problem)))]
pub(crate) async fn ask(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(question): Body<Question>,
) -> Result<axum::Json<AnswerDto>, ApiError> {
    let device = devices::load(&app, id("device", &path)?).await?;
    let wait = match question.wait_seconds {
        None => WAIT,
        Some(seconds @ 1..=60) => Span::seconds(i64::from(seconds)),
        Some(_) => return Err(Rejection::invalid("wait_seconds", "1 to 60").into()),
    };
    let failed = |why: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "device_failed", why);
    match app.ask_device(&device, &question.name, question.args, wait, &caller.actor()).await {
        Ok(Outcome::Done(result)) => Ok(axum::Json(AnswerDto { result: result.unwrap_or_default() })),
        Ok(Outcome::Failed(why)) => Err(failed(why)),
        Ok(Outcome::Refused { code, message }) => Err(failed(format!("{message} (code {code})"))),
        Err(NoAnswer::Away) => {
            Err(Rejection::conflict("offline", "the device is not there: try again later").into())
        }
        Err(NoAnswer::Late) => {
            let why = "the device did not answer in time: whether it did it is not known";
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "no_answer", why))
        }
        Err(NoAnswer::Failure(failure)) => Err(failure.into()),
    }
}
