//! Dashboards: made, saved, copied, deleted. What their blocks show is in [`view`], who sees them without an account in
//! [`links`] and [`public`].

pub(crate) mod links;
pub(crate) mod public;
pub(crate) mod view;

use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::access::Permission;
use motehub_domain::dashboard::{self, Dashboard, Editor};
use motehub_domain::id::UserId;
use motehub_domain::rejection::Rejection;
use motehub_store::DashboardEntry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Proof};
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// A page made of blocks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dashboard)]
pub(crate) struct DashboardDto {
    /// Its id.
    id: String,
    /// Need not be unique.
    name: String,
    /// For people.
    description: String,
    /// Whether all people of the vendor see it, not only its owner.
    shared: bool,
    /// The name of its owner; null if a program made it or the owner is gone.
    owner: Option<String>,
    /// Whether it is the caller's.
    mine: bool,
    /// Whether the caller may change it.
    may_edit: bool,
    /// How many blocks it has.
    blocks: usize,
    /// When it was last saved.
    updated_at: String,
    /// How often it was saved; to be sent back when it is saved again.
    revision: i64,
    /// What it shows, as the guide describes it; where one dashboard is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    document: Option<Value>,
}

/// A part of the dashboards.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DashboardList {
    /// By name.
    items: Vec<DashboardDto>,
    /// How many there are in all.
    total: i64,
}

impl DashboardDto {
    /// As a caller sees it, with its document.
    async fn new(app: &App, caller: &Caller, dashboard: Dashboard) -> Result<Self, Failure> {
        let owner = match dashboard.owner {
            Some(owner) => app.store.user(owner).await?.map(|user| user.name),
            None => None,
        };
        let editor = editor(caller);
        Ok(Self {
            id: dashboard.id.to_string(),
            shared: dashboard.is_shared,
            owner,
            mine: editor.user.is_some() && dashboard.owner == editor.user,
            may_edit: dashboard.is_edited_by(&editor),
            blocks: dashboard.document.blocks.len(),
            updated_at: rfc3339(dashboard.updated_at),
            revision: dashboard.revision,
            name: dashboard.document.name,
            description: dashboard.document.description,
            document: Some(dashboard.document.source),
        })
    }

    fn listed(caller: &Caller, entry: DashboardEntry) -> Self {
        let editor = editor(caller);
        let (owner, name) = entry.owner.unzip();
        let mine = editor.user.is_some() && owner == editor.user;
        Self {
            id: entry.id.to_string(),
            name: entry.name,
            description: entry.description,
            shared: entry.is_shared,
            owner: name,
            mine,
            may_edit: mine || editor.may_build,
            blocks: usize::try_from(entry.blocks).unwrap_or(0),
            updated_at: rfc3339(entry.updated_at),
            revision: entry.revision,
            document: None,
        }
    }
}

/// The person behind a request, if it is one.
pub(super) fn user(caller: &Caller) -> Option<UserId> {
    match caller.proof {
        Proof::Login { user, .. } => Some(user),
        Proof::Token => None,
    }
}

/// Who wants to change a dashboard.
pub(super) fn editor(caller: &Caller) -> Editor {
    let may_build = caller.role.may(Permission::Build);
    Editor { actor: caller.actor(), user: user(caller), may_build }
}

/// A dashboard that has to be there and that the caller sees. One that is kept by somebody else does not exist.
pub(super) async fn load(app: &App, caller: &Caller, path: &str) -> Result<Dashboard, ApiError> {
    let found = app.store.dashboard(id("dashboard", path)?).await?;
    let found = found.filter(|dashboard| dashboard.is_seen_by(user(caller)));
    found.ok_or_else(|| ApiError::not_found("dashboard", path))
}

/// Which part is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// The caller's dashboards and the shared ones, by name.
#[utoipa::path(get, path = "/api/v1/dashboards", tag = "dashboards", params(PageQuery),
    responses((status = 200, body = DashboardList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<DashboardList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let (entries, total) = app.store.dashboards(user(&caller), page.offset, page.limit).await?;
    let items = entries.into_iter().map(|entry| DashboardDto::listed(&caller, entry)).collect();
    Ok(axum::Json(DashboardList { items, total }))
}

/// What makes a dashboard.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDashboard {
    /// Its document, as it is exported: `format`, `name`, `description`, `blocks`.
    #[schema(value_type = Object)]
    pub(crate) document: Value,
    /// Whether all people of the vendor see it; what a token makes is always shared.
    #[serde(default)]
    pub(crate) shared: bool,
}

/// Makes a dashboard, also from a file that was exported. Every mistake names the block and the field.
#[utoipa::path(post, path = "/api/v1/dashboards", tag = "dashboards", request_body = NewDashboard,
    responses((status = 201, body = DashboardDto), (status = 400, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewDashboard>,
) -> Result<(StatusCode, axum::Json<DashboardDto>), ApiError> {
    let document = dashboard::document(&new.document)?;
    let editor = editor(&caller);
    let id = random::id(app.now());
    let made = app.attempt(|| async {
        let count = app.store.count_dashboards().await?;
        Ok(dashboard::create(id, document.clone(), new.shared, count, &editor, app.now())?)
    });
    let made = made.await?;
    Ok((StatusCode::CREATED, axum::Json(DashboardDto::new(&app, &caller, made).await?)))
}

/// One dashboard with its document.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}", tag = "dashboards",
    responses((status = 200, body = DashboardDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<DashboardDto>, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    Ok(axum::Json(DashboardDto::new(&app, &caller, dashboard).await?))
}

/// A dashboard anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedDashboard {
    /// All of its document.
    #[schema(value_type = Object)]
    document: Value,
    /// Whether all people of the vendor see it; as before if it is left out.
    shared: Option<bool>,
    /// The revision that it was made from; 409 if somebody saved another one meanwhile.
    revision: i64,
}

/// Saves a dashboard anew.
#[utoipa::path(put, path = "/api/v1/dashboards/{id}", tag = "dashboards", request_body = SavedDashboard,
    responses((status = 200, body = DashboardDto), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn save(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(new): Body<SavedDashboard>,
) -> Result<axum::Json<DashboardDto>, ApiError> {
    let document = dashboard::document(&new.document)?;
    let before = load(&app, &caller, &path).await?;
    let editor = editor(&caller);
    let (shared, revision) = (new.shared, new.revision);
    let (saved, effects) = dashboard::save(&before, document, shared, revision, &editor, app.now())?;
    app.perform(effects).await?;
    Ok(axum::Json(DashboardDto::new(&app, &caller, saved).await?))
}

/// Deletes a dashboard with its public links.
#[utoipa::path(delete, path = "/api/v1/dashboards/{id}", tag = "dashboards",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    app.perform(dashboard::delete(&dashboard, &editor(&caller))?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a copy is called.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CopyOf {
    /// Its name; by default the former with "(copy)" behind it.
    name: Option<String>,
}

/// Makes a copy that is the caller's own.
#[utoipa::path(post, path = "/api/v1/dashboards/{id}/copy", tag = "dashboards", request_body = CopyOf,
    responses((status = 201, body = DashboardDto), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn copy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(words): Body<CopyOf>,
) -> Result<(StatusCode, axum::Json<DashboardDto>), ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    let editor = editor(&caller);
    let id = random::id(app.now());
    let made = app.attempt(|| async {
        let count = app.store.count_dashboards().await?;
        Ok(dashboard::copy(id, &dashboard, words.name.as_deref(), count, &editor, app.now())?)
    });
    let made = made.await?;
    Ok((StatusCode::CREATED, axum::Json(DashboardDto::new(&app, &caller, made).await?)))
}

/// The document of a dashboard as a file, which another hub takes.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}/export", tag = "dashboards",
    responses((status = 200, content_type = "application/json"), (status = 404, body = Problem)))]
pub(crate) async fn export(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let document = load(&app, &caller, &path).await?.document;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = document.name.chars().map(plain).take(60).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.dashboard.json\"")),
    ];
    let text = serde_json::to_string_pretty(&document.source)
        .map_err(|error| Rejection::invalid("document", error.to_string()))?;
    Ok((headers, text).into_response())
}
