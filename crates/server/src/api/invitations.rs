//! Invitations: codes with which people sign up as customers, and which may give them a share of a device.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use motehub_domain::change::Actor;
use motehub_domain::id::{DeviceId, InvitationId};
use motehub_domain::rejection::Rejection;
use motehub_domain::share::{self, Gift, INVITED_FOR, Invitation};
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::claims::Code;
use super::devices::load;
use super::extract::{Body, id, rfc3339, time};
use super::problem::{ApiError, Problem};
use super::shared::RightName;
use super::shares::{loaded, right};
use crate::app::App;
use crate::random;

/// An open invitation; its code is not kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationDto {
    /// Its id.
    id: String,
    /// What it gives of the device; null for an account alone.
    right: Option<RightName>,
    /// When the share that it gives ends by itself.
    until: Option<String>,
    /// Who made it.
    created_by: String,
    /// When.
    created_at: String,
    /// When it stops; never for a claim code.
    expires_at: Option<String>,
}

impl From<Invitation> for InvitationDto {
    fn from(invitation: Invitation) -> Self {
        let (right, until) = match invitation.gift {
            Gift::Account => (None, None),
            Gift::Claim(_) => (Some(RightName::Owner), None),
            Gift::Share(_, right, until) => (Some(right.into()), until),
        };
        Self {
            id: invitation.id.to_string(),
            right,
            until: until.map(rfc3339),
            created_by: invitation.created_by,
            created_at: rfc3339(invitation.created_at),
            expires_at: invitation.expires_at.map(rfc3339),
        }
    }
}

/// Open invitations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvitationList {
    /// Oldest first.
    items: Vec<InvitationDto>,
    /// How many there are.
    total: usize,
}

/// What makes an invitation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvitation {
    /// When it stops: milliseconds since 1970 or RFC 3339; in 7 days if left out.
    expires_at: Option<String>,
    /// Under which address customers reach the hub; the one that was called if left out.
    address: Option<String>,
}

/// What makes an invitation to a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDeviceInvitation {
    /// `view` or `control`.
    right: String,
    /// When the share ends by itself; never if left out.
    until: Option<String>,
    /// When the invitation stops; in 7 days if left out.
    expires_at: Option<String>,
    /// Under which address customers reach the hub; the one that was called if left out.
    address: Option<String>,
}

/// The open invitations to an account, oldest first.
#[utoipa::path(get, path = "/api/v1/invitations", tag = "invitations",
    responses((status = 200, body = InvitationList), (status = 403, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<InvitationList>, ApiError> {
    listed(&app, None).await
}

/// Invites a person to sign up as a customer. The code is shown only now.
#[utoipa::path(post, path = "/api/v1/invitations", tag = "invitations", request_body = NewInvitation,
    responses((status = 201, body = Code), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(crate) async fn invite(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(new): Body<NewInvitation>,
) -> Result<(StatusCode, axum::Json<Code>), ApiError> {
    made(&app, &headers, Gift::Account, new, &caller.actor()).await
}

/// Takes an invitation to an account back.
#[utoipa::path(delete, path = "/api/v1/invitations/{invitation}", tag = "invitations",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn withdraw(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(invitation): Path<String>,
) -> Result<StatusCode, ApiError> {
    taken_back(&app, None, &invitation, &caller.actor()).await
}

/// The open invitations to a device, oldest first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/invitations", tag = "invitations",
    responses((status = 200, body = InvitationList), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn list_of_device(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<InvitationList>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    listed(&app, Some(device.id)).await
}

/// Invites a person to share a device, who signs up with the invitation if needed. The code is shown only now.
#[utoipa::path(post, path = "/api/v1/devices/{id}/invitations", tag = "invitations",
    request_body = NewDeviceInvitation,
    responses((status = 201, body = Code), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn invite_to_device(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewDeviceInvitation>,
) -> Result<(StatusCode, axum::Json<Code>), ApiError> {
    let until = new.until.as_deref().map(|text| time("until", text)).transpose()?;
    let gift = Gift::Share(id("device", &path)?, right(&new.right)?, until);
    let new = NewInvitation { expires_at: new.expires_at, address: new.address };
    made(&app, &headers, gift, new, &caller.actor()).await
}

/// Takes an invitation to a device back.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/invitations/{invitation}", tag = "invitations",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn withdraw_from_device(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, invitation)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    taken_back(&app, Some(id("device", &path)?), &invitation, &caller.actor()).await
}

async fn listed(app: &App, device: Option<DeviceId>) -> Result<axum::Json<InvitationList>, ApiError> {
    let found = app.store.invitations(device, app.now()).await?;
    let items: Vec<_> = found.into_iter().map(InvitationDto::from).collect();
    Ok(axum::Json(InvitationList { total: items.len(), items }))
}

async fn made(
    app: &App,
    headers: &HeaderMap,
    gift: Gift,
    new: NewInvitation,
    actor: &Actor,
) -> Result<(StatusCode, axum::Json<Code>), ApiError> {
    let expires_at: Option<Time> =
        new.expires_at.as_deref().map(|text| time("expires_at", text)).transpose()?;
    let now = app.now();
    let expires_at = expires_at.unwrap_or(now + INVITED_FOR);
    let (code, digest) = Code::new(new.address.as_deref(), headers, Some(rfc3339(expires_at)))?;
    let invitation = Invitation {
        id: random::id(now),
        digest,
        gift,
        created_by: actor.name().to_owned(),
        created_at: now,
        expires_at: Some(expires_at),
    };
    app.attempt(|| async {
        let open = app.store.invitations(gift.device(), now).await?.len();
        let Some(device) = gift.device() else {
            return Ok(((), share::invite(&invitation, None, open, actor, now)?));
        };
        let (device, shares) = loaded(app, device).await?;
        Ok(((), share::invite(&invitation, Some((&device, &shares)), open, actor, now)?))
    })
    .await?;
    Ok((StatusCode::CREATED, axum::Json(code)))
}

/// Only an invitation of this device, or to an account, is found here.
async fn taken_back(
    app: &App,
    device: Option<DeviceId>,
    invitation: &str,
    actor: &Actor,
) -> Result<StatusCode, ApiError> {
    let invitation: InvitationId = id("invitation", invitation)?;
    app.attempt(|| async {
        let found = app.store.invitation(invitation).await?;
        let found = found.filter(|found| found.gift.device() == device);
        let found = found.ok_or_else(|| Rejection::not_found("invitation", invitation))?;
        let device = match device {
            Some(device) => Some(load(app, device).await?),
            None => None,
        };
        Ok(((), share::withdraw(&found, device.as_ref(), actor)))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
