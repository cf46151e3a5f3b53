//! Credentials of devices: issued, revoked, and rotated over the air.

use std::collections::{HashMap, HashSet};

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::change::Actor;
use motehub_domain::credential::{self, Rotation};
use motehub_domain::deployment::Target;
use motehub_domain::device;
use motehub_domain::effects::Effects;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::bulk::BulkRefusal;
use super::devices::{DeviceDto, disconnect, load, view};
use super::extract::{id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;
use crate::secrets;

/// A rotation that goes on: the device has not used its new credential yet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rotation)]
pub(crate) struct RotationDto {
    /// `waiting` for the device to come, or `sent` and not used yet.
    state: &'static str,
    /// When a person asked for it.
    started_at: String,
    /// When a new secret was sent last.
    sent_at: Option<String>,
}

impl From<Rotation> for RotationDto {
    fn from(rotation: Rotation) -> Self {
        Self {
            state: if rotation.sent_at.is_some() { "sent" } else { "waiting" },
            started_at: rfc3339(rotation.started_at),
            sent_at: rotation.sent_at.map(rfc3339),
        }
    }
}

/// One credential that was used from two addresses at once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialShared {
    /// When that was noticed last.
    at: String,
    /// The addresses, with commas.
    addresses: String,
}

impl From<(Time, String)> for CredentialShared {
    fn from((at, addresses): (Time, String)) -> Self {
        Self { at: rfc3339(at), addresses }
    }
}

/// A credential, which is shown only now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Credential {
    /// For the path prefix `/d/<credential>` and as the MQTT password.
    credential: String,
}

/// Gives a device a new credential; the former one stops at once.
#[utoipa::path(post, path = "/api/v1/devices/{id}/credential", tag = "devices",
    responses((status = 200, body = Credential), (status = 404, body = Problem)))]
pub(crate) async fn issue_credential(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<Credential>, ApiError> {
    let credential = random::secret();
    set_credential(&app, &path, Some(&credential), &caller.actor()).await?;
    Ok(axum::Json(Credential { credential }))
}

/// Revokes a device's credential and disconnects it.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/credential", tag = "devices",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn revoke_credential(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    set_credential(&app, &path, None, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a device proves over DTLS who it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoapKey {
    /// Its identity; its external id is good too.
    identity: String,
    /// The pre-shared key, as text.
    key: String,
}

/// The key of a device for CoAP over DTLS. It belongs to the credential: a new credential has another key.
#[utoipa::path(get, path = "/api/v1/devices/{id}/coap-key", tag = "devices",
    responses((status = 200, body = CoapKey), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn coap_key(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<CoapKey>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    if !device.dialect.speaks_native() {
        let sentence = "keys for CoAP are for devices that speak the native protocol";
        return Err(Rejection::conflict("wrong_dialect", sentence).into());
    }
    let Some(credential) = app.store.credential(device.id).await? else {
        let sentence = "the key belongs to a credential: issue one first";
        return Err(Rejection::conflict("no_credential", sentence).into());
    };
    let key = app.access_keys.coap_key_of(device.id, credential);
    Ok(axum::Json(CoapKey { identity: device.id.to_string(), key }))
}

async fn set_credential(app: &App, path: &str, secret: Option<&str>, actor: &Actor) -> Result<(), ApiError> {
    let device = load(app, id("device", path)?).await?;
    app.perform(device::set_credential(&device, secret.map(secrets::digest), actor)).await?;
    disconnect(app, device.id);
    Ok(())
}

/// Gives a device a new credential over the air. The old one is valid until the device has used the new one.
#[utoipa::path(post, path = "/api/v1/devices/{id}/credential/rotate", tag = "devices",
    responses((status = 200, body = DeviceDto), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn rotate_credential(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<DeviceDto>, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    let has_credential = app.store.credential(device.id).await?.is_some();
    let ongoing = app.store.rotations(&[device.id]).await?.pop();
    let effects = credential::rotate(&device, has_credential, ongoing.as_ref(), &caller.actor(), app.now())?;
    app.perform(effects).await?;
    app.tell_rotations(&[device.id]).await;
    Ok(axum::Json(view(&app, device.id).await?))
}

/// Begins rotations of some devices. Returns for how many one begins now, and who cannot be given a new credential.
pub(super) async fn rotate_some(
    app: &App,
    devices: &[DeviceId],
    actor: &Actor,
) -> Result<(usize, Vec<BulkRefusal>), Failure> {
    let having: HashSet<DeviceId> = app.store.with_credential(devices).await?.into_iter().collect();
    let ongoing = app.store.rotations(devices).await?;
    let ongoing: HashMap<DeviceId, Rotation> = ongoing.into_iter().map(|one| (one.device, one)).collect();
    let (mut begun, mut refusals, mut effects) = (0, Vec::new(), Effects::none());
    for Target { device, .. } in app.store.targets(devices).await? {
        let (has, ongoing) = (having.contains(&device.id), ongoing.get(&device.id));
        match credential::rotate(&device, has, ongoing, actor, app.now()) {
            Ok(more) => {
                begun += usize::from(!more.is_empty());
                effects = effects.and(more);
            }
            Err(rejection) => refusals.push(BulkRefusal::new(device, rejection)),
        }
    }
    app.perform(effects).await?;
    app.tell_rotations(devices).await;
    Ok((begun, refusals))
}
