//! The versions of a flow.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::flow::{self, FlowVersion};
use motehub_domain::rejection::Rejection;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Drawn, FlowDto, load};
use crate::api::access::Caller;
use crate::api::extract::{Body, id, rfc3339};
use crate::api::problem::{ApiError, Problem};
use crate::app::App;

/// Most versions that are listed.
const LISTED_MAX: usize = 500;

/// One immutable version of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowVersionDto {
    /// From 1.
    version: i64,
    /// Who saved it.
    author: String,
    /// When.
    created_at: String,
    /// What changed.
    comment: String,
    /// What was drawn, where one version is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    graph: Option<Value>,
}

impl FlowVersionDto {
    fn new(version: FlowVersion, with_graph: bool) -> Self {
        Self {
            version: version.version,
            author: version.author,
            created_at: rfc3339(version.created_at),
            comment: version.comment,
            graph: with_graph.then(|| flow::document(&version.graph)),
        }
    }
}

/// The versions of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowVersionList {
    /// Newest first, without what was drawn; at most 500.
    items: Vec<FlowVersionDto>,
}

/// The versions of a flow, newest first.
#[utoipa::path(get, path = "/api/v1/flows/{id}/versions", tag = "flows",
    responses((status = 200, body = FlowVersionList), (status = 404, body = Problem)))]
pub(crate) async fn list_versions(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<FlowVersionList>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    let versions = app.store.flow_versions(flow.id, LISTED_MAX).await?;
    let items = versions.into_iter().map(|version| FlowVersionDto::new(version, false)).collect();
    Ok(axum::Json(FlowVersionList { items }))
}

/// Saves a new version. What runs goes on running until the version is deployed.
#[utoipa::path(post, path = "/api/v1/flows/{id}/versions", tag = "flows", request_body = Drawn,
    responses((status = 201, body = FlowDto), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn save_version(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(new): Body<Drawn>,
) -> Result<(StatusCode, axum::Json<FlowDto>), ApiError> {
    let (id, graph, actor) = (id("flow", &path)?, new.graph()?, caller.actor());
    let flow = app
        .attempt(|| async {
            let flow = load(&app, id).await?;
            let (comment, graph) = (new.comment.as_str(), graph.clone());
            Ok(flow::save_version(&flow, graph, comment, new.based_on, &actor, app.now())?)
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(FlowDto::new(&app, flow, true).await?)))
}

/// One version with what was drawn.
#[utoipa::path(get, path = "/api/v1/flows/{id}/versions/{version}", tag = "flows",
    responses((status = 200, body = FlowVersionDto), (status = 404, body = Problem)))]
pub(crate) async fn version(
    State(app): State<App>,
    Path((path, number)): Path<(String, String)>,
) -> Result<axum::Json<FlowVersionDto>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    let missing = || Rejection::not_found("version", number.chars().take(20).collect::<String>());
    let wanted = number.parse().map_err(|_| missing())?;
    let version = app.store.flow_version(flow.id, wanted).await?.ok_or_else(missing)?;
    Ok(axum::Json(FlowVersionDto::new(version, true)))
}
