//! Where the steps of a flow run, why, what passes between them, and how that was before.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::{LayoutList, Names, PlacementDto, board_of, layout_dto, shown};
use super::{Drawn, load};
use crate::api::access::Caller;
use crate::api::extract::{Body, Page, Query, id};
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::flows::boards::Supposing;
use crate::flows::doing::Doing;

/// A flow that would be placed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checked {
    /// True; a mistake is answered as a problem.
    ok: bool,
    /// Where its steps would run now.
    plan: PlacementDto,
}

/// Whether a flow can be drawn so, and where its steps would run now. Nothing is saved.
#[utoipa::path(post, path = "/api/v1/flows/check", tag = "flows", request_body = Drawn,
    responses((status = 200, body = Checked), (status = 400, body = Problem)))]
pub(crate) async fn check(
    State(app): State<App>,
    Body(drawn): Body<Drawn>,
) -> Result<axum::Json<Checked>, ApiError> {
    let flow = drawn.flow.as_deref().map(|text| id("flow", text)).transpose()?;
    let planned = app.planned(flow, 0, drawn.graph()?, Supposing::default()).await?;
    Ok(axum::Json(Checked { ok: true, plan: shown(&app, planned, Doing::default()).await? }))
}

/// What is tried.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    /// Which version; the newest by default.
    version: Option<i64>,
    /// Ids of boards that are supposed to be gone.
    #[serde(default)]
    without: Vec<String>,
}

/// Where the steps of a version would run now, or without some boards. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/flows/{id}/dry-run", tag = "flows", request_body = Trial,
    responses((status = 200, body = PlacementDto), (status = 404, body = Problem)))]
pub(crate) async fn dry_run(
    State(app): State<App>,
    Path(path): Path<String>,
    Body(trial): Body<Trial>,
) -> Result<axum::Json<PlacementDto>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    let number = trial.version.unwrap_or(flow.latest_version);
    let version = app.store.flow_version(flow.id, number).await?;
    let version = version.ok_or_else(|| Rejection::not_found("version", number))?;
    let without: Vec<DeviceId> =
        trial.without.iter().map(|text| id("device", text)).collect::<Result<_, _>>()?;
    let supposing = Supposing { without: &without, ..Supposing::default() };
    let planned = app.planned(Some(flow.id), number, version.graph, supposing).await?;
    Ok(axum::Json(shown(&app, planned, Doing::default()).await?))
}

/// Which version runs from now on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployed {
    /// The newest by default; an older one rolls back.
    version: Option<i64>,
}

/// Places the steps of a version on boards and gives them their programs. 409 `unplaceable` names the step and what it
/// requires if some step has no place.
#[utoipa::path(post, path = "/api/v1/flows/{id}/deploy", tag = "flows", request_body = Deployed,
    responses((status = 200, body = PlacementDto), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn deploy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<Deployed>,
) -> Result<axum::Json<PlacementDto>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    let version = wanted.version.unwrap_or(flow.latest_version);
    let planned = app.deploy_flow(flow.id, version, &caller.actor()).await?;
    let doing = app.flow_doing(flow.id).await;
    Ok(axum::Json(shown(&app, planned, doing).await?))
}

/// The flow runs nowhere from now on; its boards are told to stop.
#[utoipa::path(post, path = "/api/v1/flows/{id}/stop", tag = "flows",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.stop_flow(id("flow", &path)?, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the steps run now, with the boards that were compared. Of a flow that does not run: where they would run.
#[utoipa::path(get, path = "/api/v1/flows/{id}/placement", tag = "flows",
    responses((status = 200, body = PlacementDto), (status = 404, body = Problem)))]
pub(crate) async fn placement(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<PlacementDto>, ApiError> {
    let flow = load(&app, id("flow", &path)?).await?;
    let number = flow.deployed.unwrap_or(flow.latest_version);
    let version = app.store.flow_version(flow.id, number).await?;
    let version = version.ok_or_else(|| Rejection::not_found("version", number))?;
    let mut planned = app.planned(Some(flow.id), number, version.graph, Supposing::default()).await?;
    if flow.deployed.is_some()
        && let Some(layout) = app.store.layout(flow.id).await?
    {
        // What is, and not what the next plan would make of it.
        for placed in &mut planned.placement.steps {
            placed.place = layout.places.get(&placed.step).copied();
        }
    }
    let doing = app.flow_doing(flow.id).await;
    Ok(axum::Json(shown(&app, planned, doing).await?))
}

/// Which layouts are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayoutQuery {
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// How the steps were placed, newest first, each time with its cause and what moved. The last 500 are kept.
#[utoipa::path(get, path = "/api/v1/flows/{id}/placements", tag = "flows", params(LayoutQuery),
    responses((status = 200, body = LayoutList), (status = 404, body = Problem)))]
pub(crate) async fn placements(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<LayoutQuery>,
) -> Result<axum::Json<LayoutList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let flow = load(&app, id("flow", &path)?).await?;
    // One more: what moved is seen from the layout before.
    let (layouts, total) = app.store.layouts(flow.id, page.offset, page.limit + 1).await?;
    let ids: BTreeSet<DeviceId> =
        layouts.iter().flat_map(|layout| layout.places.values()).filter_map(board_of).collect();
    let mut names = Names::new();
    for id in ids {
        if let Some(device) = app.store.device(id).await? {
            names.insert(id, (device.name, app.is_online(id)));
        }
    }
    let empty = BTreeMap::new();
    let items = layouts.iter().enumerate().take(page.limit).map(|(at, layout)| {
        let before = layouts.get(at + 1).map_or(&empty, |layout| &layout.places);
        layout_dto(layout, before, &names)
    });
    Ok(axum::Json(LayoutList { items: items.collect(), total }))
}

/// The generated code of a board.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Program {
    /// `python` or `lua`.
    language: &'static str,
    /// What was generated, of all flows on the board.
    source: String,
    /// SHA-256 of it.
    digest: String,
    /// Size of it.
    size_bytes: i64,
}

/// The program that was generated for a board that runs steps of the flow.
#[utoipa::path(get, path = "/api/v1/flows/{id}/programs/{device}", tag = "flows",
    responses((status = 200, body = Program), (status = 404, body = Problem)))]
pub(crate) async fn program(
    State(app): State<App>,
    Path((path, device)): Path<(String, String)>,
) -> Result<axum::Json<Program>, ApiError> {
    load(&app, id("flow", &path)?).await?;
    let device: DeviceId = id("device", &device)?;
    let missing = || ApiError::not_found("program of device", device);
    let script = app.store.programs().await?.remove(&device).ok_or_else(missing)?;
    let target = app.store.target(device).await?.ok_or_else(missing)?;
    let active =
        target.software.active.filter(|artifact| artifact.script().is_some_and(|(id, _)| id == script));
    let active = active.ok_or_else(missing)?;
    let script = app.store.script(script).await?.ok_or_else(missing)?;
    let bytes = app.store.artifact(active.digest).await?.ok_or_else(missing)?;
    Ok(axum::Json(Program {
        language: script.language.as_str(),
        source: String::from_utf8_lossy(&bytes).into_owned(),
        digest: active.digest.to_string(),
        size_bytes: active.size_bytes,
    }))
}
