//! Devices as mDash shows them.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use motehub_domain::device::{self, Device, Dialect, Edit, Registration};
use motehub_domain::kept::Principal;
use motehub_domain::rejection::Rejection;
use motehub_store::{DeviceQuery, DeviceView};
use serde_json::{Value, json};

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::Caller;
use crate::api::rfc3339;
use crate::app::App;
use crate::{random, secrets};

/// How many devices are read at once, and how many are listed: mDash knows no pages.
const PAGE: usize = 500;
const LISTED_MAX: usize = 10_000;
/// When something never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// All devices that the caller sees.
pub(super) async fn list(State(front): State<Arc<Front>>) -> Result<axum::Json<Vec<Value>>, Refusal> {
    let mut listed = Vec::new();
    loop {
        let query = DeviceQuery { offset: listed.len(), limit: PAGE, ..DeviceQuery::default() };
        let (views, _) = front.app.store.devices(query).await?;
        let count = views.len();
        listed.extend(views.iter().map(shown));
        if count < PAGE || listed.len() >= LISTED_MAX {
            return Ok(axum::Json(listed));
        }
    }
}

/// One device.
pub(super) async fn get(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Refusal> {
    view(&front.app, &known(&front.app, &id).await?).await.map(axum::Json)
}

/// Registers a device with a new id and token, which is shown only now.
pub(super) async fn create(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let (app, id) = (&front.app, random::hex24());
    let name = body["name"].as_str().map_or_else(|| format!("Light {}", &id[..6]), str::to_owned);
    let registration = Registration {
        name,
        description: String::new(),
        dialect: Dialect::Mongoose,
        external_id: Some(id),
        tags: Vec::new(),
    };
    let token = random::hex24();
    let now = app.now();
    let digest = secrets::digest(&token);
    let made = device::register(random::id(now), &registration, digest, &caller.actor(), now)?;
    let (device, effects) = made;
    app.perform(effects).await?;
    let mut shown = view(app, &device).await?;
    shown["token"] = json!(token);
    Ok(axum::Json(shown))
}

/// Changes a device: its name.
pub(super) async fn change(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let id = known(app, &id).await?.id;
    let name = body["name"].as_str().map(str::to_owned);
    let edit = Edit { name, ..Edit::default() };
    let edited = app.attempt(|| async {
        let device = app.store.device(id).await?.ok_or_else(|| Rejection::not_found("device", id))?;
        Ok(device::edit(&device, &edit, &caller.actor())?)
    });
    view(app, &edited.await?).await.map(axum::Json)
}

/// Deletes a device.
pub(super) async fn delete(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<axum::Json<bool>, Refusal> {
    let app = &front.app;
    let device = known(app, &id).await?;
    app.perform(device::delete(&device, &caller.actor())).await?;
    app.connections.disconnect(device.id);
    if let Some(mqtt) = app.mqtt.get() {
        mqtt.forget_principal(&Principal::Device(device.id));
    }
    Ok(axum::Json(true))
}

/// The device with this id, its own or ours. Ids are looked up and never become part of an address.
pub(super) async fn known(app: &App, id: &str) -> Result<Device, Refusal> {
    if let Ok(id) = id.parse()
        && let Some(device) = app.store.device(id).await?
    {
        return Ok(device);
    }
    let found = app.store.devices_by_external_id(id).await?;
    let by_dialect = |dialect: Dialect| found.iter().find(|device| device.dialect == dialect);
    let device = by_dialect(Dialect::Mongoose).or_else(|| found.first());
    device.cloned().ok_or_else(|| Refusal::not_found("there is no such device"))
}

async fn view(app: &App, device: &Device) -> Result<Value, Refusal> {
    let view = app.store.device_view(device.id).await?;
    view.as_ref().map(shown).ok_or_else(|| Refusal::not_found("there is no such device"))
}

/// A device without its token, which nobody needs who did not register it.
fn shown(view: &DeviceView) -> Value {
    let DeviceView { device, presence, .. } = view;
    let seen_at = presence.as_ref().map_or_else(|| NEVER.to_owned(), |presence| rfc3339(presence.seen_at));
    json!({
        "id": name_of(device),
        "name": device.name,
        "shared_with": "",
        "online": presence.as_ref().is_some_and(|presence| presence.online),
        "created_at": rfc3339(device.created_at),
        "last_seen": seen_at,
    })
}

/// The id by which mDash knows a device: its own if it has one.
pub(super) fn name_of(device: &Device) -> String {
    device.external_id.clone().unwrap_or_else(|| device.id.to_string())
}
