//! What the blocks of a dashboard show now and showed before, live, and what a person does with those that set
//! something.

use std::collections::BTreeMap;

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use motehub_domain::command::Request;
use motehub_domain::dashboard::{self, Binding, Block, Dashboard, Document, Kind};
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::super::access::Caller;
use super::super::extract::{Body, Query, time};
use super::super::problem::{ApiError, Problem};
use super::load;
use crate::app::App;
use crate::dashboards::data::{BlockData, shown};
use crate::dashboards::history::{self, Asked, BlockHistory};
use crate::dashboards::live::{self, Pass};
use crate::dashboards::{DEVICES_MAX, bound};

/// What all blocks show now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DashboardData {
    /// By the ids of blocks.
    blocks: BTreeMap<String, BlockData>,
}

impl DashboardData {
    /// Of a document.
    pub(super) async fn of(app: &App, document: &Document) -> Result<Self, ApiError> {
        let mut blocks = BTreeMap::new();
        for block in &document.blocks {
            blocks.insert(block.id.clone(), shown(app, block).await?);
        }
        Ok(Self { blocks })
    }

    /// For those who have no account.
    pub(super) fn without_people(self) -> Self {
        let blocks = self.blocks.into_iter().map(|(id, data)| (id, data.without_people()));
        Self { blocks: blocks.collect() }
    }
}

/// What all blocks show now. What is wrong with one is said in its place.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}/data", tag = "dashboards",
    responses((status = 200, body = DashboardData), (status = 404, body = Problem)))]
pub(crate) async fn data(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<DashboardData>, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    Ok(axum::Json(DashboardData::of(&app, &dashboard.document).await?))
}

/// A document that need not be saved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// As it is exported.
    #[schema(value_type = Object)]
    document: Value,
}

/// What the blocks of a document would show now: for whoever builds a dashboard, before it is saved.
#[utoipa::path(post, path = "/api/v1/dashboards/preview", tag = "dashboards", request_body = Draft,
    responses((status = 200, body = DashboardData), (status = 400, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn preview(
    State(app): State<App>,
    Body(draft): Body<Draft>,
) -> Result<axum::Json<DashboardData>, ApiError> {
    let document = dashboard::document(&draft.document)?;
    Ok(axum::Json(DashboardData::of(&app, &document).await?))
}

/// Which range of a block is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeQuery {
    /// From this time on, in milliseconds since 1970 or RFC 3339; by default as long before the end as the block says.
    from: Option<String>,
    /// Before this time; now by default.
    to: Option<String>,
    /// Of a chart: how many points a line has at most, 2 to 2000, 300 by default.
    buckets: Option<usize>,
}

impl RangeQuery {
    fn asked(&self) -> Result<Asked, ApiError> {
        let from = self.from.as_deref().map(|text| time("from", text)).transpose()?;
        let to = self.to.as_deref().map(|text| time("to", text)).transpose()?;
        Ok(Asked { from, to, buckets: self.buckets })
    }
}

/// A block of a document.
fn block<'a>(document: &'a Document, id: &str) -> Result<&'a Block, ApiError> {
    let found = document.blocks.iter().find(|block| block.id == id);
    found.ok_or_else(|| ApiError::not_found("block", id.chars().take(40).collect::<String>()))
}

/// What a block of a dashboard showed over a range.
pub(super) async fn told(
    app: &App,
    dashboard: &Dashboard,
    id: &str,
    query: &RangeQuery,
) -> Result<axum::Json<BlockHistory>, ApiError> {
    let asked = query.asked()?;
    Ok(axum::Json(history::told(app, block(&dashboard.document, id)?, asked).await?))
}

/// What a chart, a bar chart or a timeline showed over a range.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}/blocks/{block}/history", tag = "dashboards", params(RangeQuery),
    responses((status = 200, body = BlockHistory), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn history(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, block)): Path<(String, String)>,
    Query(query): Query<RangeQuery>,
) -> Result<axum::Json<BlockHistory>, ApiError> {
    told(&app, &load(&app, &caller, &path).await?, &block, &query).await
}

/// What changes while somebody looks: a stream of `block`, `points` and `saved`.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}/live", tag = "dashboards",
    responses((status = 200, content_type = "text/event-stream"), (status = 404, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn follow(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Extension(shutdown): Extension<CancellationToken>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    live::answer(app, dashboard, Pass::Caller(headers), shutdown)
}

/// What a person does with a block.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    /// What is desired from now on; a button needs none.
    #[serde(default)]
    value: Value,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acted {
    /// Of how many devices it is desired now, or how many are asked.
    devices: usize,
}

/// Sets what is desired of all devices that a switch, slider, colour or input is bound to, or gives the command of a
/// button.
#[utoipa::path(post, path = "/api/v1/dashboards/{id}/blocks/{block}/act", tag = "dashboards", request_body = Act,
    responses((status = 200, body = Acted), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, id)): Path<(String, String)>,
    Body(act): Body<Act>,
) -> Result<axum::Json<Acted>, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    let (of, selector) = match &block(&dashboard.document, &id)?.kind {
        Kind::Act(of, _, deed) => {
            deed.check(&act.value)?;
            (of, None)
        }
        Kind::Button(Binding::Selector(selector), ..) => {
            (&Binding::Selector(selector.clone()), Some(selector.clone()))
        }
        Kind::Button(of, ..) => (of, None),
        _ => return Err(Rejection::invalid("block", "a block of this kind only shows something").into()),
    };
    let (views, total) = bound(&app, of, DEVICES_MAX).await?;
    if total > DEVICES_MAX {
        let why =
            format!("it is bound to {total} devices, at most {DEVICES_MAX} at once: narrow the selector");
        return Err(Rejection::too_large("selector", why).into());
    }
    let ids: Vec<DeviceId> = views.iter().map(|view| view.device.id).collect();
    if ids.is_empty() {
        return Err(Rejection::conflict("no_devices", "no device is bound to this block").into());
    }
    match &block(&dashboard.document, &id)?.kind {
        Kind::Button(_, name, arguments) => {
            let (name, arguments) = (name.clone(), arguments.clone());
            let request = Request { name, arguments, selector, expires_in: None };
            app.give_command(&request, &ids, &caller.actor()).await?;
        }
        Kind::Act(_, path, _) => {
            for id in &ids {
                app.wish(*id, path, act.value.clone(), &caller.actor()).await?;
            }
        }
        _ => {}
    }
    Ok(axum::Json(Acted { devices: ids.len() }))
}
