//! Devices as mDash shows them.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use motehub_domain::access::Permission;
use motehub_domain::device::{self, Device, Dialect, Edit, Reach, Registration};
use motehub_domain::kept::Principal;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::Shadow;
use motehub_domain::share::{Right, Share};
use motehub_gateway::link::Order;
use motehub_store::{DeviceQuery, DeviceView, Shared};
use serde_json::{Value, json};

use super::answer::{Body, Refusal};
use super::caller::{Caller, USER_PREFIX};
use super::{Front, shadows, users};
use crate::api::rfc3339;
use crate::app::App;
use crate::{random, secrets};

/// How many devices are read at once, and how many are listed: mDash knows no pages.
const PAGE: usize = 500;
const LISTED_MAX: usize = 10_000;
/// What is said of a device that is not there, or not for the caller.
const UNKNOWN: &str = "there is no such device";
/// When something never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// All devices that the caller sees.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
) -> Result<axum::Json<Vec<Value>>, Refusal> {
    let app = &front.app;
    let mut listed = Vec::new();
    if caller.is_customer() {
        let shares = match caller.user {
            Some(user) => app.store.shares_with(user, app.now()).await?,
            None => Vec::new(),
        };
        for share in shares {
            if let Some(view) = app.store.device_view(share.device).await? {
                listed.push(for_customer(shown(app, &view).await?, &share));
            }
        }
        return Ok(axum::Json(listed));
    }
    loop {
        let query = DeviceQuery { offset: listed.len(), limit: PAGE, ..DeviceQuery::default() };
        let (views, _) = app.store.devices(query).await?;
        for view in &views {
            listed.push(for_staff(app, shown(app, view).await?, &view.device).await?);
        }
        if views.len() < PAGE || listed.len() >= LISTED_MAX {
            return Ok(axum::Json(listed));
        }
    }
}

/// One device.
pub(super) async fn get(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let device = known(app, &id).await?;
    if !caller.is_customer() {
        return view(app, &device).await.map(axum::Json);
    }
    let share = match caller.user {
        Some(user) => app.store.share(device.id, user).await?.filter(|share| !share.has_ended(app.now())),
        None => None,
    };
    let share = share.ok_or_else(|| Refusal::not_found(UNKNOWN))?;
    let view = app.store.device_view(device.id).await?;
    let view = view.ok_or_else(|| Refusal::not_found(UNKNOWN))?;
    Ok(axum::Json(for_customer(shown(app, &view).await?, &share)))
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
        line: None,
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

/// Changes a device: its name; or pairs it with a user of the original app, whose name for it that is then.
pub(super) async fn change(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let device = known(app, &id).await?;
    let id = device.id;
    let name = body["name"].as_str().map(str::to_owned);
    if let Some(user) = body["shared_with"].as_str().filter(|user| !user.trim().is_empty()) {
        users::pair(app, &caller, &device, user, name.as_deref()).await?;
        let mut shown = view(app, &device).await?;
        shown["name"] = json!(name.unwrap_or(device.name));
        return Ok(axum::Json(shown));
    }
    if let Some(update) = body.get("shadow") {
        caller.must(Permission::Operate)?;
        shadows::update(app, &device, &caller, update.clone()).await?;
    }
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
    app.disconnect(device.id);
    app.order(&Order::Forget(Principal::Device(device.id)));
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
    device.cloned().ok_or_else(|| Refusal::not_found(UNKNOWN))
}

async fn view(app: &App, device: &Device) -> Result<Value, Refusal> {
    let view = app.store.device_view(device.id).await?;
    let view = view.ok_or_else(|| Refusal::not_found(UNKNOWN))?;
    for_staff(app, shown(app, &view).await?, device).await
}

/// With whose it is and who else sees it; what they call it is theirs.
async fn for_staff(app: &App, mut shown: Value, device: &Device) -> Result<Value, Refusal> {
    let shares = app.store.shares_of(device.id).await?;
    let id = |shared: &Shared| format!("{USER_PREFIX}{}", shared.user_name);
    let owner = shares.iter().find(|shared| shared.share.right == Right::Owner);
    shown["user_id"] = json!(owner.map(id));
    shown["shared_with"] = json!(shares.iter().map(id).collect::<Vec<_>>().join(","));
    Ok(shown)
}

/// By the name that the customer gave it.
fn for_customer(mut shown: Value, share: &Share) -> Value {
    if let Some(name) = &share.name {
        shown["name"] = json!(name);
    }
    shown
}

/// A device without its token, which nobody needs who did not register it.
async fn shown(app: &App, view: &DeviceView) -> Result<Value, Refusal> {
    let DeviceView { device, presence, .. } = view;
    let shadow = app.store.shadow(device.id, None).await?.filter(Shadow::exists);
    let mut shadow = shadows::document(&shadow.unwrap_or_else(|| Shadow::none(device.id, None)));
    // Where mDash has what a device says of its firmware; here that is its report.
    if let Some(report) = app.store.report(device.id).await? {
        let said = report.announcement;
        shadow["state"]["reported"]["ota"] = json!({
            "app": said.firmware, "arch": said.model, "fw_version": said.version,
            "fw_id": said.attributes.get("build"), "mac": said.attributes.get("mac"), "device_id": name_of(device),
        });
    }
    let seen_at = presence.as_ref().map_or_else(|| NEVER.to_owned(), |presence| rfc3339(presence.seen_at));
    Ok(json!({
        "id": name_of(device),
        "name": device.name,
        "online": presence.as_ref().is_some_and(|presence| presence.reach == Reach::Online),
        "shadow": shadow,
        "created_at": rfc3339(device.created_at),
        "last_seen": seen_at,
    }))
}

/// The id by which mDash knows a device: its own if it has one.
pub(super) fn name_of(device: &Device) -> String {
    device.external_id.clone().unwrap_or_else(|| device.id.to_string())
}
