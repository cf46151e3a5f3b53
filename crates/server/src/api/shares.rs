//! Shares of a device: who has it, with whom the owner shares it, and what a customer calls it.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::device::Device;
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::rejection::Rejection;
use motehub_domain::share::{self, Right, Share};
use motehub_store::Shared;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::devices::load;
use super::extract::{Body, id, rfc3339, time};
use super::problem::{ApiError, Problem};
use super::shared::{RightName, SharedDevice};
use crate::app::App;
use crate::perform::Failure;

/// A customer's right to a device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Share)]
pub(crate) struct ShareDto {
    /// Id of the customer.
    user: String,
    /// The customer's name.
    user_name: String,
    /// What the customer may do.
    right: RightName,
    /// When it ends by itself.
    until: Option<String>,
    /// Whether it has ended.
    ended: bool,
    /// What the customer calls the device, if the vendor may see it.
    name: Option<String>,
    /// Who gave it.
    created_by: String,
    /// Since when.
    created_at: String,
}

/// Who shares a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShareList {
    /// By name.
    items: Vec<ShareDto>,
}

/// With whom a device is shared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewShare {
    /// The customer's name.
    user: String,
    /// `view` or `control`.
    right: String,
    /// When it ends by itself: milliseconds since 1970 or RFC 3339; never if left out.
    until: Option<String>,
}

/// What a customer calls a device; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrivateName {
    /// 1 to 80 characters; an empty text takes the name away.
    name: Option<String>,
    /// Whether the vendor may see it.
    name_shown: Option<bool>,
}

/// Reads what a customer may be given.
pub(crate) fn right(text: &str) -> Result<Right, Rejection> {
    Right::parse(text).ok_or_else(|| Rejection::invalid("right", "a right is view or control"))
}

/// Who shares a device, by name, those whose time has passed among them.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shares", tag = "shares",
    responses((status = 200, body = ShareList), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<ShareList>, ApiError> {
    let (_, shares) = found(&app, id("device", &path)?).await?;
    let now = app.now();
    let items = shares.into_iter().map(|Shared { share, user_name }| ShareDto {
        user: share.user.to_string(),
        user_name,
        right: share.right.into(),
        ended: share.has_ended(now),
        until: share.until.map(rfc3339),
        name: share.name.filter(|_| share.name_shown),
        created_by: share.created_by,
        created_at: rfc3339(share.created_at),
    });
    Ok(axum::Json(ShareList { items: items.collect() }))
}

/// Shares a device with a customer, or changes the share that the customer has.
#[utoipa::path(post, path = "/api/v1/devices/{id}/shares", tag = "shares", request_body = NewShare,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
pub(crate) async fn give(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(new): Body<NewShare>,
) -> Result<StatusCode, ApiError> {
    let device = id("device", &path)?;
    let (right, actor) = (right(&new.right)?, caller.actor());
    let until = new.until.as_deref().map(|text| time("until", text)).transpose()?;
    let customer = app.store.user_by_name(new.user.trim()).await?;
    let customer = customer.filter(|user| !user.role.is_staff() && !user.disabled);
    let customer = customer
        .ok_or_else(|| Rejection::invalid("user", "there is no customer of this name: send an invitation"))?;
    app.attempt(|| async {
        let (device, shares) = loaded(&app, device).await?;
        Ok(((), share::give(&device, &customer, right, until, &shares, &actor, app.now())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a customer's share of a device.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/shares/{user}", tag = "shares",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, user)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (device, user) = (id("device", &path)?, id("customer", &user)?);
    end(&app, device, user, &caller).await
}

/// Changes what the customer calls a device, and whether the vendor may see it.
#[utoipa::path(patch, path = "/api/v1/devices/{id}/share", tag = "shares", request_body = PrivateName,
    responses((status = 200, body = SharedDevice), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(crate) async fn rename(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
    Body(wanted): Body<PrivateName>,
) -> Result<axum::Json<SharedDevice>, ApiError> {
    let (device, user) = (id("device", &path)?, own(share)?.user);
    let renamed = app.attempt(|| async {
        let device = load(&app, device).await?;
        let share = app.store.share(device.id, user).await?;
        let share = share.ok_or_else(|| Rejection::not_found("device", device.id))?;
        let name = wanted.name.as_deref();
        Ok(share::rename(&device, &share, name, wanted.name_shown, &caller.actor())?)
    });
    let share = renamed.await?;
    Ok(axum::Json(SharedDevice::load(&app, share).await?))
}

/// The customer leaves a device that somebody else owns.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/share", tag = "shares",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn leave(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let user = own(share)?.user;
    end(&app, id("device", &path)?, user, &caller).await
}

/// A device with all its shares.
pub(crate) async fn loaded(app: &App, id: DeviceId) -> Result<(Device, Vec<Share>), Failure> {
    let (device, shares) = found(app, id).await?;
    Ok((device, shares.into_iter().map(|shared| shared.share).collect()))
}

async fn found(app: &App, id: DeviceId) -> Result<(Device, Vec<Shared>), Failure> {
    Ok((load(app, id).await?, app.store.shares_of(id).await?))
}

async fn end(app: &App, device: DeviceId, user: UserId, caller: &Caller) -> Result<StatusCode, ApiError> {
    app.attempt(|| async {
        let (device, shares) = found(app, device).await?;
        let shared = shares.into_iter().find(|shared| shared.share.user == user);
        let Shared { share, user_name } = shared.ok_or_else(|| Rejection::not_found("share of", user))?;
        Ok(((), share::revoke(&device, &share, &user_name, &caller.actor())?))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The share by which a customer came; the vendor has none.
fn own(share: Option<Extension<Share>>) -> Result<Share, Rejection> {
    let share = share.map(|Extension(share)| share);
    share.ok_or_else(|| Rejection::forbidden("this is for customers: you have no share of this device"))
}
