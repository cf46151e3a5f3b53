//! Flows that were drawn in Node-RED.

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use motehub_protocol::node_red;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{Drawn, FlowDto, save};
use crate::api::access::Caller;
use crate::api::extract::Query;
use crate::api::problem::{ApiError, Problem};
use crate::app::App;

/// Whether what was read is kept.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// Whether the flows are saved; else they are only shown.
    #[serde(default)]
    save: bool,
}

/// What was read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportedFlows {
    /// As documents, or as flows if they were saved.
    #[schema(value_type = Vec<Object>)]
    flows: Vec<Value>,
    /// What could not be taken over, by node.
    warnings: Vec<ImportWarning>,
}

/// Something that could not be taken over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportWarning {
    /// Id of the node.
    node: String,
    /// What and why.
    message: String,
}

/// Reads flows that Node-RED exported: with the `predicates` and `priorities` of its fork for boards, or with our own
/// nodes.
#[utoipa::path(post, path = "/api/v1/flows/import/node-red", tag = "flows", params(ImportQuery),
    request_body = Vec<Object>,
    responses((status = 200, body = ImportedFlows), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn node_red(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ImportQuery>,
    nodes: Bytes,
) -> Result<axum::Json<ImportedFlows>, ApiError> {
    let node_red::Import { flows, warnings } = node_red::read(&nodes)?;
    let warnings = warnings
        .into_iter()
        .map(|warning| ImportWarning { node: warning.node, message: warning.message })
        .collect();
    let mut shown = Vec::with_capacity(flows.len());
    for document in flows {
        if !query.save {
            shown.push(document);
            continue;
        }
        let drawn: Drawn = serde_json::from_value(document).map_err(|error| no_document(&error))?;
        let flow = save(&app, &caller, &drawn).await?;
        let flow = FlowDto::new(&app, flow, true).await?;
        shown.push(serde_json::to_value(flow).map_err(|error| no_document(&error))?);
    }
    Ok(axum::Json(ImportedFlows { flows: shown, warnings }))
}

fn no_document(error: &serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
}
