//! Capabilities: the library, and who has and needs them.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::capability::{self, Capability, LIBRARY_MAX, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::Body;
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;

/// How many are listed: those of the library, and as many that are used without a description.
const LISTED_MAX: usize = 2 * LIBRARY_MAX;

/// What a device can do, and how much it is used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Capability)]
pub(crate) struct CapabilityDto {
    /// Lower-case letters, digits and `. _ -`.
    name: String,
    /// For people; empty if it was never described.
    description: String,
    /// So many devices have it assigned.
    assigned: i64,
    /// So many devices announce it.
    announced: i64,
    /// So many scripts require it.
    required: i64,
}

/// Capabilities.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CapabilityList {
    /// By name.
    items: Vec<CapabilityDto>,
    /// How many there are.
    total: usize,
}

/// What describes a capability.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapabilityWords {
    /// For people.
    description: String,
}

/// Every capability that is described, that a device has or that a script requires, by name.
#[utoipa::path(get, path = "/api/v1/capabilities", tag = "capabilities",
    responses((status = 200, body = CapabilityList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<CapabilityList>, ApiError> {
    let all = app.store.capabilities(LISTED_MAX).await?;
    let items: Vec<CapabilityDto> =
        all.into_iter()
            .map(|(Capability { name, description }, Usage { assigned, announced, required })| {
                CapabilityDto { name, description, assigned, announced, required }
            })
            .collect();
    Ok(axum::Json(CapabilityList { total: items.len(), items }))
}

/// Describes a capability in the library, or describes it anew.
#[utoipa::path(put, path = "/api/v1/capabilities/{name}", tag = "capabilities", request_body = CapabilityWords,
    responses((status = 204), (status = 400, body = Problem)))]
pub(crate) async fn describe(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(words): Body<CapabilityWords>,
) -> Result<StatusCode, ApiError> {
    let all = app.store.library().await?;
    let was = all.iter().find(|known| known.name == name);
    app.perform(capability::describe(&name, &words.description, was, all.len(), &caller.actor())?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a capability that nobody uses out of the library.
#[utoipa::path(delete, path = "/api/v1/capabilities/{name}", tag = "capabilities",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let known = app.store.library().await?.into_iter().find(|known| known.name == name);
    let known =
        known.ok_or_else(|| ApiError::not_found("capability", name.chars().take(64).collect::<String>()))?;
    let used =
        app.store.capabilities(LISTED_MAX).await?.into_iter().find(|(other, _)| other.name == known.name);
    let usage = used.map(|(_, usage)| usage).unwrap_or_default();
    let effects = capability::delete(&known, usage, &caller.actor()).map_err(Failure::from)?;
    app.perform(effects).await?;
    Ok(StatusCode::NO_CONTENT)
}
