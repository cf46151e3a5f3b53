//! Claiming: the code that is printed with a device, the press of its button, and giving the device back.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use motehub_domain::artifact::Digest;
use motehub_domain::effects::Effects;
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::person::User;
use motehub_domain::rejection::Rejection;
use motehub_domain::share::{self, Gift, Invitation, PRESS_WITHIN};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Body, Query, id};
use super::login::{Guess, Ticket};
use super::problem::{ApiError, Problem};
use super::shared::SharedDevice;
use super::shares::loaded;
use crate::app::App;
use crate::cluster::words::Word;
use crate::perform::Failure;
use crate::{codes, random};

/// A code, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Code {
    /// Four times four letters and digits, to be typed in any case, with or without the dashes.
    code: String,
    /// Opens the phone app with the code.
    link: String,
    /// The link as a QR code, in SVG.
    qr: String,
    /// When it stops; never if null.
    expires_at: Option<String>,
}

/// Under which address customers reach the hub.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressQuery {
    /// Such as `https://lights.example`; the one that was called if left out.
    address: Option<String>,
}

/// How a customer claims a device: by its code, or by a press of its button.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// The code of a device or an invitation, as it is printed, or the link of its QR code.
    code: Option<String>,
    /// Instead: the id that is printed on the device. Its button is to be pressed within a minute then.
    device: Option<String>,
}

/// What a customer got.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Claimed {
    /// The device.
    device: SharedDevice,
}

/// What a customer is to do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Asked {
    /// Press the button of the device within so many seconds.
    press_within_seconds: i64,
}

impl Code {
    /// A new code with its digest.
    pub(crate) fn new(
        address: Option<&str>,
        headers: &HeaderMap,
        expires_at: Option<String>,
    ) -> Result<(Self, Digest), ApiError> {
        let code = codes::new();
        let link = codes::link(&codes::address(address, headers)?, &code);
        let digest = codes::digest(&code).expect("because it is a code");
        Ok((Self { qr: codes::qr(&link)?, code, link, expires_at }, digest))
    }
}

/// Makes the claim code of a device; the one before it stops. The code is shown only now: print it.
#[utoipa::path(post, path = "/api/v1/devices/{id}/claim-code", tag = "shares", params(AddressQuery),
    responses((status = 201, body = Code), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn claim_code(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<AddressQuery>,
    headers: HeaderMap,
) -> Result<(StatusCode, axum::Json<Code>), ApiError> {
    let device = id("device", &path)?;
    let (code, digest) = Code::new(query.address.as_deref(), &headers, None)?;
    app.attempt(|| async {
        let (device, shares) = loaded(&app, device).await?;
        let (now, actor) = (app.now(), caller.actor());
        Ok(((), share::claim_code(random::id(now), digest, &device, &shares, &actor, now)?))
    })
    .await?;
    Ok((StatusCode::CREATED, axum::Json(code)))
}

/// Claims a device by its code, or uses an invitation to one. Or asks for a device whose button is to be pressed
/// within a minute; whether there is such a device, and whether it has an owner, is not told.
#[utoipa::path(post, path = "/api/v1/claims", tag = "shares", request_body = Claim,
    responses((status = 200, body = Claimed), (status = 202, body = Asked), (status = 400, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem)))]
pub(crate) async fn claim(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(caller): Extension<Caller>,
    Body(claim): Body<Claim>,
) -> Result<Response, ApiError> {
    let user = caller.customer().ok_or_else(ApiError::unauthenticated)?;
    let ticket = admit(&app, &caller.name, peer)?;
    match (claim.code, claim.device) {
        (Some(code), None) => {
            let device = by_code(&app, user, &code).await?;
            app.guessed_right(Guess::Code, ticket);
            Ok(axum::Json(Claimed { device }).into_response())
        }
        (None, Some(label)) => {
            if let Some(device) = labelled(&app, label.trim()).await? {
                app.claims.ask(device, user, app.now());
                app.say_to_all(&Word::Claims(device, user));
            }
            let asked = Asked { press_within_seconds: PRESS_WITHIN.0 / 1000 };
            Ok((StatusCode::ACCEPTED, axum::Json(asked)).into_response())
        }
        (None, None) | (Some(_), Some(_)) => {
            Err(Rejection::invalid("code", "send either the code or the device").into())
        }
    }
}

/// Gives a device back: all shares, private names and invitations end. Returns a claim code for who has it next.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/claim", tag = "shares", params(AddressQuery),
    responses((status = 200, body = Code), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn release(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<AddressQuery>,
    headers: HeaderMap,
) -> Result<axum::Json<Code>, ApiError> {
    let device = id("device", &path)?;
    let (code, digest) = Code::new(query.address.as_deref(), &headers, None)?;
    app.attempt(|| async {
        let (device, shares) = loaded(&app, device).await?;
        let now = app.now();
        Ok(((), share::release(&device, &shares, (random::id(now), digest), &caller.actor(), now)?))
    })
    .await?;
    Ok(axum::Json(code))
}

/// Lets a guess go on, or refuses it for a while. It counts for the account and for the address.
pub(crate) fn admit<'a>(app: &'a App, name: &str, peer: SocketAddr) -> Result<Ticket<'a>, ApiError> {
    app.admit_guess(Guess::Code, name, peer.ip()).map_err(|seconds| {
        metrics::counter!("motehub_claims_throttled_total").increment(1);
        let detail = format!("too many tries: wait {seconds} seconds and try again");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", detail).retry_after(seconds)
    })
}

/// The invitation of a code; one answer for a code that never was, was used, or has expired.
pub(crate) async fn invitation(app: &App, typed: &str) -> Result<Invitation, Failure> {
    let found = match codes::digest(typed) {
        Some(digest) => app.store.invitation_by_digest(digest).await?,
        None => None,
    };
    let found = found.filter(|invitation| !invitation.has_expired(app.now()));
    Ok(found.ok_or_else(|| Rejection::invalid("code", "this code is wrong, used or expired"))?)
}

/// What a person gets by an invitation.
pub(crate) async fn redeemed(app: &App, invitation: &Invitation, user: &User) -> Result<Effects, Failure> {
    let Some(device) = invitation.gift.device() else {
        return Ok(share::redeem(invitation, user, None, app.now())?);
    };
    let (device, shares) = loaded(app, device).await?;
    Ok(share::redeem(invitation, user, Some((&device, &shares)), app.now())?)
}

async fn by_code(app: &App, user: UserId, typed: &str) -> Result<SharedDevice, ApiError> {
    let device = app.attempt(|| async {
        let invitation = invitation(app, typed).await?;
        let user = app.store.user(user).await?.ok_or_else(|| Rejection::not_found("customer", user))?;
        let device = match invitation.gift {
            Gift::Claim(device) | Gift::Share(device, ..) => device,
            Gift::Account => {
                let why = "this invitation makes an account, and you have one";
                return Err(Rejection::conflict("conflict", why).into());
            }
        };
        Ok((device, redeemed(app, &invitation, &user).await?))
    });
    let device = device.await?;
    let share = app.store.share(device, user).await?;
    let share = share.ok_or_else(|| ApiError::not_found("device", device))?;
    SharedDevice::load(app, share).await
}

/// The device with this on its label: its id with us or its own, if only one device has it.
async fn labelled(app: &App, label: &str) -> Result<Option<DeviceId>, ApiError> {
    if let Ok(id) = label.parse::<DeviceId>() {
        return Ok(app.store.device(id).await?.map(|device| device.id));
    }
    let found = app.store.devices_by_external_id(label).await?;
    Ok(match found.as_slice() {
        [device] => Some(device.id),
        _ => None,
    })
}
