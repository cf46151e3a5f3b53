//! Shadows of devices, as mDash shows them, with their tags; and the values of chosen keys over time.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use motehub_domain::device::Device;
use motehub_domain::shadow::{self, Deed, Request, Shadow, Update};
use serde_json::{Map, Value, json};

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::Caller;
use super::devices::{known, name_of};
use crate::app::App;

/// How many values of a key are given.
const VALUES_MAX: usize = 100;
/// How many devices are asked for their values at once.
const DEVICES_MAX: usize = 200;

/// The shadow of a device; an empty one if it was never written.
pub(super) async fn get(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let device = known(app, &id).await?;
    let found = app.store.shadow(device.id, None).await?.filter(Shadow::exists);
    Ok(axum::Json(document(&found.unwrap_or_else(|| Shadow::none(device.id, None)))))
}

/// Changes the shadow of a device.
pub(super) async fn change(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let device = known(&front.app, &id).await?;
    Ok(axum::Json(document(&update(&front.app, &device, &caller, body).await?)))
}

/// Changes the shadow of a device by an update as mDash has it.
pub(super) async fn update(
    app: &App,
    device: &Device,
    caller: &Caller,
    mut body: Value,
) -> Result<Shadow, Refusal> {
    if let Value::Object(members) = &mut body {
        if members.get("version").is_some_and(|version| version.as_i64() == Some(0)) {
            members.remove("version");
        }
        if !members.contains_key("state") && members.contains_key("tags") {
            members.insert("state".to_owned(), json!({}));
        }
        if let Some(Value::Object(state)) = members.get_mut("state") {
            state.remove("delta");
        }
        members.retain(|name, _| ["state", "tags", "version"].contains(&name.as_str()));
    }
    let update = Update::of(body)?;
    let request = Request { shadow: None, deed: Deed::Update(Box::new(update)) };
    let mut turn = app.shadows.line_up(device.id);
    turn.comes().await;
    Ok(app.on_shadow(device.id, &request, Some(&caller.actor())).await??)
}

/// A shadow with its tags.
pub(super) fn document(shadow: &Shadow) -> Value {
    let mut document = shadow::document(shadow, None, shadow.updated_at);
    document["tags"] = Value::Object(shadow.tags.clone());
    document
}

/// The values that one device reported of the keys that its tags say are to be saved, newest first.
pub(super) async fn data(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Refusal> {
    let device = known(&front.app, &id).await?;
    Ok(axum::Json(values(&front.app, &device).await?))
}

/// The same of all devices, by their ids.
pub(super) async fn all_data(State(front): State<Arc<Front>>) -> Result<axum::Json<Value>, Refusal> {
    let query = motehub_store::DeviceQuery { limit: DEVICES_MAX, ..motehub_store::DeviceQuery::default() };
    let (views, _) = front.app.store.devices(query).await?;
    let mut all = Map::new();
    for view in views {
        all.insert(name_of(&view.device), values(&front.app, &view.device).await?);
    }
    Ok(axum::Json(Value::Object(all)))
}

async fn values(app: &App, device: &Device) -> Result<Value, Refusal> {
    let Some(shadow) = app.store.shadow(device.id, None).await? else { return Ok(json!({})) };
    let keys = saved_keys(&shadow.tags);
    if keys.is_empty() {
        return Ok(json!({}));
    }
    let revisions = app.store.shadow_revisions(device.id, None, None, shadow::REVISIONS_KEPT).await?;
    let mut values = Map::new();
    for key in keys {
        let at = |tree: &Map<String, Value>| {
            let (first, rest) =
                key.split_once('.').map_or((key.as_str(), None), |(first, rest)| (first, Some(rest)));
            let path = rest.into_iter().flat_map(|rest| rest.split('.'));
            path.fold(tree.get(first), |at, name| at?.get(name)).cloned()
        };
        let mut points: Vec<Value> = Vec::new();
        for revision in revisions.iter().rev() {
            let Some(value) = at(&revision.reported) else { continue };
            if points.last().is_none_or(|last| last["value"] != value) {
                points.push(json!({ "timestamp": revision.at.0.div_euclid(1000), "value": value }));
            }
        }
        points.reverse();
        points.truncate(VALUES_MAX);
        values.insert(key, Value::Array(points));
    }
    Ok(Value::Object(values))
}

/// `tags.save`: a list of keys, or a text with commas between them.
fn saved_keys(tags: &Map<String, Value>) -> Vec<String> {
    let texts: Vec<&str> = match tags.get("save") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.split(',').collect(),
        _ => Vec::new(),
    };
    texts.into_iter().map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}
