//! Shadows of devices: read, change, delete.

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::{self, Deed, Part, Patch, Refusal, Request, Shadow, ShadowName, Update};
use motehub_domain::share::Share;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// A shadow, as documents of AWS are, with what only people see.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Shadow)]
pub(crate) struct ShadowDto {
    /// Null for the one without a name.
    name: Option<String>,
    #[schema(value_type = ShadowParts)]
    state: Value,
    /// The same trees with `{"timestamp": seconds}` for each leaf.
    #[schema(value_type = ShadowParts)]
    metadata: Value,
    /// What the hub and people note; never sent to a device.
    #[schema(value_type = Object)]
    tags: Map<String, Value>,
    /// When desired values end: the tree of those that do, with milliseconds since 1970.
    #[schema(value_type = Object)]
    expiry: Map<String, Value>,
    /// One more with every update.
    version: i64,
    /// When it changed, in seconds since 1970.
    timestamp: i64,
    updated_at: String,
}

/// Each is left out if it is empty.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what a document has")]
pub(crate) struct ShadowParts {
    /// What people want.
    #[schema(value_type = Option<Object>)]
    desired: Option<Value>,
    /// What the device says.
    #[schema(value_type = Option<Object>)]
    reported: Option<Value>,
    /// What is desired and not reported.
    #[schema(value_type = Option<Object>)]
    delta: Option<Value>,
}

/// A change of a shadow: what is given is merged leaf by leaf, null takes a member away, an array is replaced whole.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes the body, which is read by a stricter reader")]
pub(crate) struct ShadowUpdate {
    /// `desired`, `reported` or both, or null to take away all.
    #[schema(value_type = Object)]
    state: Value,
    /// Merged like the state.
    #[schema(value_type = Option<Object>)]
    tags: Option<Value>,
    /// The version it is about; with another one nothing is changed (409).
    version: Option<i64>,
    /// For how long the desired values of this update hold: 1 to 31622400; for ever if it is left out.
    expires_in_seconds: Option<i64>,
}

/// A shadow in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowEntry {
    /// Null for the one without a name.
    name: Option<String>,
    version: i64,
    /// Whether something is desired and not reported.
    is_pending: bool,
    updated_at: String,
}

/// The shadows of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowList {
    items: Vec<ShadowEntry>,
}

/// Which shadow.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowQuery {
    /// Of a named one; the one without a name if it is left out.
    name: Option<String>,
}

impl ShadowQuery {
    pub(super) fn name(self) -> Result<Option<ShadowName>, ApiError> {
        shadow_name(self.name.as_deref())
    }
}

/// Reads the name of a shadow.
pub(super) fn shadow_name(text: Option<&str>) -> Result<Option<ShadowName>, ApiError> {
    let wrong =
        || Rejection::invalid("name", "a shadow's name has 1 to 64 letters, digits or the signs - _ :");
    text.map(|text| ShadowName::parse(text).ok_or_else(|| wrong().into())).transpose()
}

impl From<Shadow> for ShadowDto {
    fn from(shadow: Shadow) -> Self {
        let mut document = shadow::document(&shadow, None, shadow.updated_at);
        Self {
            name: shadow.name.map(|name| name.as_str().to_owned()),
            state: document["state"].take(),
            metadata: document["metadata"].take(),
            tags: shadow.tags,
            expiry: shadow.expiry.0,
            version: shadow.version,
            timestamp: shadow.updated_at.0.div_euclid(1000),
            updated_at: rfc3339(shadow.updated_at),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Rejection::from(refusal).into()
    }
}

fn tagged(shadow: Shadow) -> Response {
    let tag = format!("\"{}\"", shadow.version);
    ([(header::ETAG, tag)], axum::Json(ShadowDto::from(shadow))).into_response()
}

/// The shadow of a device, or a named one.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadow", tag = "shadows",
    params(("id" = String, Path), ShadowQuery),
    responses((status = 200, body = ShadowDto), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
    Query(query): Query<ShadowQuery>,
) -> Result<Response, ApiError> {
    let (device, name) = (id("device", &path)?, query.name()?);
    let device = app.store.device(device).await?.ok_or_else(|| ApiError::not_found("device", &path))?;
    let found = app.store.shadow(device.id, name.as_ref()).await?.filter(Shadow::exists);
    let found = found.filter(|_| share.is_none() || name.is_none());
    let found = found.ok_or_else(|| Refusal::no_shadow(name.as_ref(), &device))?;
    Ok(tagged(seen(found, share.is_some())))
}

/// A shadow as a customer sees it: what the hub notes is the vendor's.
fn seen(mut shadow: Shadow, by_customer: bool) -> Shadow {
    if by_customer {
        shadow.tags.clear();
    }
    shadow
}

/// A customer changes what is desired in the one shadow without a name, and nothing else.
fn customers_may(update: &Update, name: Option<&ShadowName>) -> Result<(), ApiError> {
    let wishes = matches!(&update.state, Patch::Parts { reported: Part::Untouched, .. });
    match name.is_none() && wishes && update.tags.is_none() {
        true => Ok(()),
        false => Err(Rejection::forbidden("a customer may change what is desired, and nothing else").into()),
    }
}

/// The shadows of a device, by name, the one without a name first.
#[utoipa::path(get, path = "/api/v1/devices/{id}/shadows", tag = "shadows", params(("id" = String, Path)),
    responses((status = 200, body = ShadowList), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<ShadowList>, ApiError> {
    let device = id("device", &path)?;
    if app.store.device(device).await?.is_none() {
        return Err(ApiError::not_found("device", &path));
    }
    let shadows = app.store.shadows(device).await?.into_iter().filter(Shadow::exists);
    let entry = |shadow: Shadow| ShadowEntry {
        is_pending: shadow.delta().is_some(),
        version: shadow.version,
        updated_at: rfc3339(shadow.updated_at),
        name: shadow.name.map(|name| name.as_str().to_owned()),
    };
    Ok(axum::Json(ShadowList { items: shadows.map(entry).collect() }))
}

/// Changes the shadow of a device, or makes it. The device is told what is desired and not reported. `If-Match` with
/// the ETag of a GET makes sure that nobody changed it meanwhile.
#[utoipa::path(patch, path = "/api/v1/devices/{id}/shadow", tag = "shadows",
    params(("id" = String, Path), ShadowQuery), request_body = ShadowUpdate,
    responses((status = 200, body = ShadowDto), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 412, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
    Query(query): Query<ShadowQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (update, name) = (Update::of(motehub_protocol::shadow::read(&body)?)?, query.name()?);
    if share.is_some() {
        customers_may(&update, name.as_ref())?;
    }
    let request = Request { shadow: name, deed: Deed::Update(Box::new(update)) };
    let changed = perform(&app, &caller, &path, &headers, request).await?;
    Ok(tagged(seen(changed, share.is_some())))
}

/// Deletes the shadow of a device, or a named one. Its version goes on when it is made again.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/shadow", tag = "shadows",
    params(("id" = String, Path), ShadowQuery),
    responses((status = 204), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Query(query): Query<ShadowQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let request = Request { shadow: query.name()?, deed: Deed::Delete(None) };
    perform(&app, &caller, &path, &headers, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does what a person or program asks, when it is its turn.
pub(super) async fn perform(
    app: &App,
    caller: &Caller,
    path: &str,
    headers: &HeaderMap,
    request: Request,
) -> Result<Shadow, ApiError> {
    let device: DeviceId = id("device", path)?;
    let mut turn = app.shadows.line_up(device);
    turn.comes().await;
    if app.store.device(device).await?.is_none() {
        return Err(ApiError::not_found("device", path));
    }
    if let Some(expected) = headers.get(header::IF_MATCH) {
        let found = app.store.shadow(device, request.shadow.as_ref()).await?.filter(Shadow::exists);
        let version = found.map_or(0, |shadow| shadow.version);
        let expected = expected.to_str().unwrap_or_default().trim();
        if expected.trim_matches('"') != version.to_string() && (expected != "*" || version == 0) {
            let detail = format!("the shadow has the version {version} by now: read it again");
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "version_conflict", detail));
        }
    }
    Ok(app.on_shadow(device, &request, Some(&caller.actor())).await??)
}
