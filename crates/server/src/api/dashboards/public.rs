//! A dashboard as somebody without an account sees it, by a public link: everything it shows, and nothing to change.

use axum::extract::{Extension, Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use motehub_domain::dashboard::{Dashboard, PublicLink};
use motehub_domain::effects::{Effects, Save};
use motehub_domain::time::Span;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::super::extract::{Query, rfc3339};
use super::super::problem::{ApiError, Problem};
use super::view::{DashboardData, RangeQuery, told};
use crate::app::App;
use crate::dashboards::history::BlockHistory;
use crate::dashboards::live::{self, Pass};
use crate::secrets;

/// How exactly "last used" is kept.
const USE_RESOLUTION: Span = Span::minutes(1);

/// A dashboard by a public link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublicDashboard {
    name: String,
    description: String,
    /// What it shows; buttons are left out, and the other blocks that set something only show it.
    #[schema(value_type = Object)]
    document: Value,
    /// When the link stops; never if null.
    expires_at: Option<String>,
}

/// The link behind a request, and what is seen by it.
async fn admitted(app: &App, headers: &HeaderMap) -> Result<(PublicLink, Dashboard), ApiError> {
    let secret = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = secret.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    let secret = secret.ok_or_else(ApiError::unauthenticated)?;
    by_digest(app, secrets::digest(secret)).await
}

/// The same, of a link that was admitted before.
pub(crate) async fn by_digest(
    app: &App,
    digest: motehub_domain::artifact::Digest,
) -> Result<(PublicLink, Dashboard), ApiError> {
    let gone = |why: &str| ApiError::new(StatusCode::GONE, "gone", why);
    let link = app.store.public_link(digest).await?;
    let link = link.ok_or_else(|| gone("this link was withdrawn: ask who gave it to you for another one"))?;
    if link.has_expired(app.now()) {
        return Err(gone("this link has expired: ask who gave it to you for another one"));
    }
    let dashboard = app.store.dashboard(link.dashboard).await?;
    let dashboard = dashboard.ok_or_else(|| gone("this dashboard is gone"))?;
    Ok((link, dashboard))
}

/// A dashboard by a public link, whose secret is sent as `Authorization: Bearer SECRET`.
#[utoipa::path(get, path = "/api/v1/public/dashboard", tag = "public",
    responses((status = 200, body = PublicDashboard), (status = 401, body = Problem), (status = 410, body = Problem)))]
pub(crate) async fn dashboard(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<axum::Json<PublicDashboard>, ApiError> {
    let (link, dashboard) = admitted(&app, &headers).await?;
    let now = app.now();
    if link.last_used_at.is_none_or(|at| now - at > USE_RESOLUTION) {
        let save = vec![Save::PublicLinkUsed(link.id, now)];
        app.perform(Effects { save, ..Effects::none() }).await?;
    }
    let mut document = dashboard.document.source;
    if let Some(blocks) = document.get_mut("blocks").and_then(Value::as_array_mut) {
        blocks.retain(|block| block["kind"] != "button");
    }
    Ok(axum::Json(PublicDashboard {
        name: dashboard.document.name,
        description: dashboard.document.description,
        document,
        expires_at: link.expires_at.map(rfc3339),
    }))
}

/// What all blocks show now, by a public link.
#[utoipa::path(get, path = "/api/v1/public/data", tag = "public",
    responses((status = 200, body = DashboardData), (status = 401, body = Problem), (status = 410, body = Problem)))]
pub(crate) async fn data(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<axum::Json<DashboardData>, ApiError> {
    let (_, dashboard) = admitted(&app, &headers).await?;
    Ok(axum::Json(DashboardData::of(&app, &dashboard.document).await?.without_people()))
}

/// What a block showed over a range, by a public link.
#[utoipa::path(get, path = "/api/v1/public/blocks/{block}/history", tag = "public", params(RangeQuery),
    responses((status = 200, body = BlockHistory), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 410, body = Problem)))]
pub(crate) async fn history(
    State(app): State<App>,
    Path(block): Path<String>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<axum::Json<BlockHistory>, ApiError> {
    let (_, dashboard) = admitted(&app, &headers).await?;
    told(&app, &dashboard, &block, &query).await
}

/// What changes while somebody looks by a public link: as the stream of a dashboard.
#[utoipa::path(get, path = "/api/v1/public/live", tag = "public",
    responses((status = 200, content_type = "text/event-stream"), (status = 401, body = Problem),
        (status = 410, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn follow(
    State(app): State<App>,
    Extension(shutdown): Extension<CancellationToken>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (link, dashboard) = admitted(&app, &headers).await?;
    live::answer(app, dashboard, Pass::Link(link.digest), shutdown)
}
