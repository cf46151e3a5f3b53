//! Flows: drawn, saved as versions, deployed, stopped. Where their steps run is in [`placement`].

pub(crate) mod import;
pub(crate) mod placement;
pub(crate) mod versions;
mod view;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::flow::{self, Flow, Graph, Words};
use motehub_domain::id::FlowId;
use motehub_domain::placement::Place;
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// A graph of steps that run on boards and on the hub.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Flow)]
pub(crate) struct FlowDto {
    /// Its id.
    id: String,
    /// Unique without regard to case.
    name: String,
    /// For people.
    description: String,
    /// The newest version.
    latest_version: i64,
    /// The version that runs, if one does.
    deployed: Option<i64>,
    /// `running`, `partly` if some step has no place at present, or `stopped`.
    pub(crate) state: &'static str,
    /// How many steps have no place at present.
    pub(crate) unplaced: usize,
    /// How many boards run steps of it.
    pub(crate) devices: usize,
    /// When it was made.
    created_at: String,
    /// When it or its newest version was last changed.
    updated_at: String,
    /// The newest version, where one flow is asked for: `steps`, `wires`, `boards`, `take_over`, `weights`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    graph: Option<Value>,
}

impl FlowDto {
    /// As it is now.
    pub(crate) async fn new(app: &App, flow: Flow, with_graph: bool) -> Result<Self, Failure> {
        let (mut unplaced, mut devices) = (0, 0);
        let layout = match flow.deployed {
            Some(_) => app.store.layout(flow.id).await?,
            None => None,
        };
        if let Some(layout) = layout {
            let version = app.store.flow_version(flow.id, layout.version).await?;
            let steps = version.map_or(0, |version| version.graph.steps.len());
            unplaced = steps.saturating_sub(layout.places.len());
            let mut boards: Vec<&Place> =
                layout.places.values().filter(|place| **place != Place::Hub).collect();
            boards.sort_unstable();
            boards.dedup();
            devices = boards.len();
        }
        let graph = match with_graph {
            true => app.store.flow_version(flow.id, flow.latest_version).await?,
            false => None,
        };
        Ok(Self {
            id: flow.id.to_string(),
            name: flow.name,
            description: flow.description,
            latest_version: flow.latest_version,
            deployed: flow.deployed,
            state: match (flow.deployed, unplaced) {
                (None, _) => "stopped",
                (Some(_), 0) => "running",
                (Some(_), _) => "partly",
            },
            unplaced,
            devices,
            created_at: rfc3339(flow.created_at),
            updated_at: rfc3339(flow.updated_at),
            graph: graph.map(|version| flow::document(&version.graph)),
        })
    }
}

/// A part of the flows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowList {
    /// By name.
    items: Vec<FlowDto>,
    /// How many there are in all.
    total: i64,
}

/// Which flows are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// A part of the name.
    q: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Flows, by name.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", params(ListQuery),
    responses((status = 200, body = FlowList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<FlowList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let text = query.q.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let (flows, total) = app.store.flows(text, page.offset, page.limit).await?;
    let mut items = Vec::with_capacity(flows.len());
    for flow in flows {
        items.push(FlowDto::new(&app, flow, false).await?);
    }
    Ok(axum::Json(FlowList { items, total }))
}

/// A flow as it is drawn. Steps and wires are described in the guide; every mistake names the step and the field.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Drawn {
    /// Unique without regard to case; only for a new flow.
    #[serde(default)]
    pub(super) name: String,
    /// For people; only for a new flow.
    #[serde(default)]
    pub(super) description: String,
    /// What changed in this version.
    #[serde(default)]
    pub(super) comment: String,
    /// The version it was made from; 409 if a newer one was saved meanwhile.
    #[serde(default)]
    pub(super) based_on: Option<i64>,
    /// Only for a check: the flow that is drawn anew, whose own steps are then no load of others.
    #[serde(default)]
    pub(super) flow: Option<String>,
    /// `steps`, `wires`, and perhaps `boards`, `take_over` and `weights`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(super) rest: Map<String, Value>,
}

impl Drawn {
    /// What was drawn.
    pub(super) fn graph(&self) -> Result<Graph, Rejection> {
        flow::graph(&Value::Object(self.rest.clone()))
    }
    /// What is said of it.
    pub(super) fn words(&self) -> Words {
        Words { name: self.name.clone(), description: self.description.clone() }
    }
}

/// Saves a new flow. It does not run yet.
#[utoipa::path(post, path = "/api/v1/flows", tag = "flows", request_body = Drawn,
    responses((status = 201, body = FlowDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<Drawn>,
) -> Result<(StatusCode, axum::Json<FlowDto>), ApiError> {
    let flow = save(&app, &caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(FlowDto::new(&app, flow, true).await?)))
}

/// Saves a new flow.
pub(super) async fn save(app: &App, caller: &Caller, new: &Drawn) -> Result<Flow, ApiError> {
    let (words, graph, actor) = (new.words(), new.graph()?, caller.actor());
    let id: FlowId = random::id(app.now());
    let flow = app
        .attempt(|| async { Ok(flow::create(id, &words, graph.clone(), &new.comment, &actor, app.now())?) })
        .await?;
    Ok(flow)
}

/// One flow with its newest version.
#[utoipa::path(get, path = "/api/v1/flows/{id}", tag = "flows",
    responses((status = 200, body = FlowDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<FlowDto>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    Ok(axum::Json(FlowDto::new(&app, flow, true).await?))
}

/// What changes a flow; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowEdit {
    /// New name.
    name: Option<String>,
    /// New description.
    description: Option<String>,
}

/// Changes name or description. What runs goes on running.
#[utoipa::path(patch, path = "/api/v1/flows/{id}", tag = "flows", request_body = FlowEdit,
    responses((status = 200, body = FlowDto), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<FlowEdit>,
) -> Result<axum::Json<FlowDto>, ApiError> {
    let id = id("flow", &path)?;
    app.attempt(|| async {
        let flow = load(&app, id).await?;
        let words = Words {
            name: edit.name.clone().unwrap_or_else(|| flow.name.clone()),
            description: edit.description.clone().unwrap_or_else(|| flow.description.clone()),
        };
        Ok(((), flow::edit(&flow, &words, &caller.actor(), app.now())?))
    })
    .await?;
    Ok(axum::Json(FlowDto::new(&app, load(&app, id).await?, true).await?))
}

/// Deletes a flow with its versions and its history. One that runs is stopped first.
#[utoipa::path(delete, path = "/api/v1/flows/{id}", tag = "flows",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = id("flow", &path)?;
    let actor = caller.actor();
    if load(&app, id).await?.deployed.is_some() {
        app.stop_flow(id, &actor).await?;
    }
    app.attempt(|| async { Ok(((), flow::delete(&load(&app, id).await?, &actor)?)) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A flow that has to be there.
pub(super) async fn load(app: &App, id: FlowId) -> Result<Flow, Failure> {
    Ok(app.store.flow(id).await?.ok_or_else(|| Rejection::not_found("flow", id))?)
}
