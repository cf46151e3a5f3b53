//! Groups: selectors with a name, and who their members are now.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::group::{self, Description, Group};
use motehub_domain::id::GroupId;
use motehub_domain::rejection::Rejection;
use motehub_domain::selector::Selector;
use motehub_store::DeviceQuery;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::devices::DeviceList;
use super::extract::{Body, Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// A selector with a name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Group)]
pub(crate) struct GroupDto {
    /// Its id.
    id: String,
    /// Unique without regard to case.
    name: String,
    /// For people.
    description: String,
    /// Who its members are.
    selector: String,
    /// How many devices are members now; none if the selector names a group that is gone.
    members: Option<i64>,
    /// When it was made.
    created_at: String,
}

/// All groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupList {
    /// By name.
    items: Vec<GroupDto>,
    /// How many there are.
    total: usize,
}

/// What makes a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    /// Unique without regard to case, 1 to 80 characters.
    name: String,
    /// A condition such as `tag=kitchen and not online`.
    selector: String,
    /// For people.
    #[serde(default)]
    description: String,
}

/// What changes a group; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupEdit {
    /// New name.
    name: Option<String>,
    /// New condition.
    selector: Option<String>,
    /// New description.
    description: Option<String>,
}

/// Which members are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberQuery {
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// All groups, by name, with how many members each has now.
#[utoipa::path(get, path = "/api/v1/groups", tag = "groups", responses((status = 200, body = GroupList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<GroupList>, ApiError> {
    let groups = app.store.groups().await?;
    let mut items = Vec::with_capacity(groups.len());
    for group in &groups {
        items.push(shown(&app, group, &groups).await?);
    }
    Ok(axum::Json(GroupList { total: items.len(), items }))
}

/// Makes a group.
#[utoipa::path(post, path = "/api/v1/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = GroupDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewGroup>,
) -> Result<(StatusCode, axum::Json<GroupDto>), ApiError> {
    let words = Description { name: new.name, description: new.description, selector: new.selector };
    let id: GroupId = random::id(app.now());
    let made = app
        .attempt(|| async {
            let groups = app.store.groups().await?;
            Ok(group::create(id, &words, &groups, &caller.actor(), app.now())?)
        })
        .await?;
    let groups = app.store.groups().await?;
    Ok((StatusCode::CREATED, axum::Json(shown(&app, &made, &groups).await?)))
}

/// One group.
#[utoipa::path(get, path = "/api/v1/groups/{id}", tag = "groups",
    responses((status = 200, body = GroupDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<GroupDto>, ApiError> {
    let (group, groups) = load(&app, id("group", &path)?).await?;
    Ok(axum::Json(shown(&app, &group, &groups).await?))
}

/// Changes a group. One that other groups name keeps its name.
#[utoipa::path(patch, path = "/api/v1/groups/{id}", tag = "groups", request_body = GroupEdit,
    responses((status = 200, body = GroupDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(edit): Body<GroupEdit>,
) -> Result<axum::Json<GroupDto>, ApiError> {
    let id = id("group", &path)?;
    app.attempt(|| async {
        let (group, groups) = load(&app, id).await?;
        let words = Description {
            name: edit.name.clone().unwrap_or_else(|| group.name.clone()),
            description: edit.description.clone().unwrap_or_else(|| group.description.clone()),
            selector: edit.selector.clone().unwrap_or_else(|| group.selector.clone()),
        };
        Ok(((), group::edit(&group, &words, &groups, &caller.actor())?))
    })
    .await?;
    get(State(app.clone()), Path(path)).await
}

/// Deletes a group that no other group names. Its members stay as they are.
#[utoipa::path(delete, path = "/api/v1/groups/{id}", tag = "groups",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (group, groups) = load(&app, id("group", &path)?).await?;
    app.perform(group::delete(&group, &groups, &caller.actor())?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The devices that are members of a group now, by name.
#[utoipa::path(get, path = "/api/v1/groups/{id}/members", tag = "groups", params(MemberQuery),
    responses((status = 200, body = DeviceList), (status = 404, body = Problem)))]
pub(crate) async fn members(
    State(app): State<App>,
    Path(path): Path<String>,
    Query(query): Query<MemberQuery>,
) -> Result<axum::Json<DeviceList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let (group, groups) = load(&app, id("group", &path)?).await?;
    let selector = Some(group::expand(&Selector::parse(&group.selector)?, &groups)?);
    let (offset, limit, now) = (page.offset, page.limit, app.now());
    let (views, total) =
        app.store.devices(DeviceQuery { selector, now, offset, limit, ..DeviceQuery::default() }).await?;
    Ok(axum::Json(DeviceList::new(views, total)))
}

async fn load(app: &App, id: GroupId) -> Result<(Group, Vec<Group>), Failure> {
    let groups = app.store.groups().await?;
    let group = groups.iter().find(|group| group.id == id).cloned();
    Ok((group.ok_or_else(|| Rejection::not_found("group", id))?, groups))
}

async fn shown(app: &App, group: &Group, groups: &[Group]) -> Result<GroupDto, ApiError> {
    let expanded = Selector::parse(&group.selector).and_then(|selector| group::expand(&selector, groups));
    let members = match expanded {
        Ok(selector) => Some(app.store.count_devices(&selector, app.now()).await?),
        Err(_) => None,
    };
    Ok(GroupDto {
        id: group.id.to_string(),
        name: group.name.clone(),
        description: group.description.clone(),
        selector: group.selector.clone(),
        members,
        created_at: rfc3339(group.created_at),
    })
}
