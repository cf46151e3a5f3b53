//! Topic grants: which MQTT topics devices may use beyond their own.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::id::GrantId;
use motehub_domain::person::{self, GrantRequest, Grantee};
use motehub_domain::rejection::Rejection;
use motehub_domain::selector::Selector;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::random;

/// A grant, to one device or to all devices with a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Grant {
    /// Its id.
    id: String,
    /// To this device.
    device: Option<String>,
    /// To all devices with this tag.
    tag: Option<String>,
    /// An MQTT topic filter.
    filter: String,
    /// Whether they may publish there.
    publish: bool,
    /// Whether they may subscribe there.
    subscribe: bool,
}

impl From<person::Grant> for Grant {
    fn from(grant: person::Grant) -> Self {
        let (device, tag) = match grant.grantee {
            Grantee::Device(device) => (Some(device.to_string()), None),
            Grantee::Tag(tag) => (None, Some(tag)),
        };
        let filter = grant.filter.as_str().to_owned();
        Self {
            id: grant.id.to_string(),
            device,
            tag,
            filter,
            publish: grant.publish,
            subscribe: grant.subscribe,
        }
    }
}

/// All grants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantList {
    /// Oldest first.
    items: Vec<Grant>,
    /// How many there are.
    total: usize,
}

/// What adds a grant: exactly one of `device` and `tag`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGrant {
    /// To this device.
    device: Option<String>,
    /// To all devices with this tag.
    tag: Option<String>,
    /// An MQTT topic filter that does not begin with `$`.
    filter: String,
    /// Whether they may publish there.
    #[serde(default)]
    publish: bool,
    /// Whether they may subscribe there.
    #[serde(default)]
    subscribe: bool,
}

/// The id of a new grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantCreated {
    /// Its id.
    id: String,
}

/// All grants.
#[utoipa::path(get, path = "/api/v1/grants", tag = "grants", responses((status = 200, body = GrantList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<GrantList>, ApiError> {
    let items: Vec<Grant> = app.store.grants().await?.into_iter().map(Grant::from).collect();
    Ok(axum::Json(GrantList { total: items.len(), items }))
}

/// Adds a grant; connected devices have it at once.
#[utoipa::path(post, path = "/api/v1/grants", tag = "grants", request_body = NewGrant,
    responses((status = 201, body = GrantCreated), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewGrant>,
) -> Result<(StatusCode, axum::Json<GrantCreated>), ApiError> {
    let NewGrant { device, tag, filter, publish, subscribe } = new;
    let grantee = match (device, tag) {
        (Some(device), None) => Grantee::Device(id("device", &device)?),
        (None, Some(tag)) => Grantee::Tag(tag),
        _ => return Err(Rejection::invalid("device", "a grant is to either a device or a tag").into()),
    };
    let name = name_of(&app, &grantee).await?;
    let grantee_name = name.ok_or_else(|| Rejection::invalid("device", "there is no such device"))?;
    let request = GrantRequest { grantee, grantee_name, filter, publish, subscribe };
    let id: GrantId = random::id(app.now());
    let made = app.attempt(|| async {
        let grants = app.store.grants().await?;
        Ok(person::add_grant(id, &request, &grants, &caller.actor())?)
    });
    let grant = made.await?;
    let id = grant.id.to_string();
    rights_changed(&app, &grant.grantee).await?;
    Ok((StatusCode::CREATED, axum::Json(GrantCreated { id })))
}

/// Takes a grant back; connected devices lose it at once.
#[utoipa::path(delete, path = "/api/v1/grants/{id}", tag = "grants",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: GrantId = id("grant", &path)?;
    let grant = app.store.grant(id).await?.ok_or_else(|| ApiError::not_found("grant", id))?;
    let name = name_of(&app, &grant.grantee).await?.unwrap_or_default();
    app.perform(person::remove_grant(&grant, &name, &caller.actor())).await?;
    rights_changed(&app, &grant.grantee).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The devices that a grant is to have their new rights at once.
async fn rights_changed(app: &App, grantee: &Grantee) -> Result<(), ApiError> {
    let devices = match grantee {
        Grantee::Device(device) => vec![*device],
        Grantee::Tag(tag) => app.store.select_ids(&Selector::tagged(tag), app.now(), usize::MAX).await?,
    };
    app.rights_changed(&devices).await;
    Ok(())
}

/// The name of a grantee; `None` if there is no such device.
async fn name_of(app: &App, grantee: &Grantee) -> Result<Option<String>, ApiError> {
    match grantee {
        Grantee::Device(device) => Ok(app.store.device(*device).await?.map(|device| device.name)),
        Grantee::Tag(tag) => Ok(Some(tag.clone())),
    }
}
