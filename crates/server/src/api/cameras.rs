//! Cameras: where a device says that its picture is, from where it may be fetched, and the picture.

use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::camera::{self, Address, Origin, REPORTED_AS};
use motehub_domain::device::Device;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::devices;
use super::extract::{Body, id};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::cameras::{Picture, fetch};

/// The camera of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Camera {
    /// Where the device says that its picture is: what it reports as `webcam`.
    address: Option<String>,
    /// The origin of that, if it is an address by http or https.
    origin: Option<String>,
    /// From where the picture may be fetched.
    allowed_origin: Option<String>,
    /// Whether that is where it is.
    is_allowed: bool,
}

/// From where the picture of a device may be fetched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraEdit {
    /// `http` or `https`, a host, and perhaps a port, such as `http://10.0.0.7:8080`.
    origin: String,
}

/// Where a device says that its picture is, and from where it may be fetched.
#[utoipa::path(get, path = "/api/v1/devices/{id}/camera", tag = "cameras", params(("id" = String, Path)),
    responses((status = 200, body = Camera), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<Camera>, ApiError> {
    let device = devices::load(&app, id("device", &path)?).await?;
    Ok(axum::Json(shown(&app, &device).await?))
}

/// Allows an origin from which the hub fetches the picture of a device, in the place of the one before.
#[utoipa::path(put, path = "/api/v1/devices/{id}/camera", tag = "cameras", params(("id" = String, Path)),
    request_body = CameraEdit,
    responses((status = 200, body = Camera), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn allow(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<CameraEdit>,
) -> Result<axum::Json<Camera>, ApiError> {
    let device = devices::load(&app, id("device", &path)?).await?;
    let origin = Origin::parse(&wanted.origin)?;
    let was = app.store.camera(device.id).await?;
    app.perform(camera::allow(&device, was.as_ref(), Some(origin), &caller.actor())).await?;
    Ok(axum::Json(shown(&app, &device).await?))
}

/// The picture of a device is fetched no more.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/camera", tag = "cameras", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn forbid(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = devices::load(&app, id("device", &path)?).await?;
    let was = app.store.camera(device.id).await?;
    app.perform(camera::allow(&device, was.as_ref(), None, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The picture of a device as it is now. The hub fetches it, if its origin is allowed.
#[utoipa::path(get, path = "/api/v1/devices/{id}/camera/picture", tag = "cameras", params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "image/jpeg"),
        (status = 404, description = "there is no such device, or it says no address", body = Problem),
        (status = 409, description = "its origin is not allowed", body = Problem),
        (status = 422, description = "the camera gave no picture", body = Problem)))]
pub(crate) async fn picture(State(app): State<App>, Path(path): Path<String>) -> Result<Response, ApiError> {
    let device = devices::load(&app, id("device", &path)?).await?;
    let Some(said) = said(&app, &device).await? else {
        let detail = format!("the device says no address of a picture: it would report it as {REPORTED_AS}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_camera", detail));
    };
    let refused = |detail: String| Err(ApiError::new(StatusCode::CONFLICT, "origin_not_allowed", detail));
    let Some(address) = Address::parse(&said) else {
        return refused("what the device says is no address by http or https: it is not fetched".to_owned());
    };
    if app.store.camera(device.id).await?.as_ref() != Some(&address.origin) {
        let origin = address.origin.as_str();
        return refused(format!(
            "nobody allowed to fetch pictures of this device from {origin}: an engineer can"
        ));
    }
    let Picture { kind, bytes } = fetch(address)
        .await
        .map_err(|detail| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_picture", detail))?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "inline; filename=\"picture\""),
    ];
    Ok((headers, bytes).into_response())
}

async fn shown(app: &App, device: &Device) -> Result<Camera, ApiError> {
    let said = said(app, device).await?;
    let origin = said.as_deref().and_then(Address::parse).map(|address| address.origin);
    let allowed = app.store.camera(device.id).await?;
    let text = |origin: &Origin| origin.as_str().to_owned();
    Ok(Camera {
        is_allowed: origin.is_some() && origin == allowed,
        address: said,
        origin: origin.as_ref().map(text),
        allowed_origin: allowed.as_ref().map(text),
    })
}

/// What a device says of where its picture is.
async fn said(app: &App, device: &Device) -> Result<Option<String>, ApiError> {
    let shadow = app.store.shadow(device.id, None).await?.filter(|shadow| shadow.exists());
    let said = shadow.and_then(|shadow| shadow.reported.values.get(REPORTED_AS)?.as_str().map(str::to_owned));
    Ok(said.filter(|said| !said.is_empty()))
}
