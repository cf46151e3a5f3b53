//! Keys of Pyaiot gateways: made or imported, listed with the gateways that came in by them, revoked.

use std::sync::atomic::Ordering;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::id::PyaiotKeyId;
use motehub_domain::pyaiot;
use motehub_domain::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use super::selectors;
use crate::app::App;
use crate::pyaiot::{KeyFile, Link};
use crate::random;

/// A key of Pyaiot gateways; what is in its file is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PyaiotKey {
    /// Its id.
    id: String,
    /// Unique.
    name: String,
    /// A selector of the devices that its gateways may speak for; all of the riot dialect if null.
    devices: Option<String>,
    /// How old a token may be; each serves once then. Any age if null.
    token_age_max_seconds: Option<i64>,
    /// When it was added.
    created_at: String,
    /// When a gateway last came in with it, to the minute.
    last_used_at: Option<String>,
    /// Those that are here.
    gateways: Vec<PyaiotGateway>,
}

/// A Pyaiot gateway that is here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PyaiotGateway {
    /// From where.
    address: String,
    /// Since when.
    connected_at: String,
    /// For how many devices it speaks.
    devices: usize,
    /// How many of its nodes are no devices that it may speak for.
    unknown_nodes: usize,
    /// Whether it does what it is told, as far as is known; if not, restart it.
    listens: bool,
}

impl From<&Link> for PyaiotGateway {
    fn from(link: &Link) -> Self {
        Self {
            address: link.address.ip().to_canonical().to_string(),
            connected_at: rfc3339(link.since),
            devices: link.devices.load(Ordering::Relaxed),
            unknown_nodes: link.strangers.load(Ordering::Relaxed),
            listens: link.listens.load(Ordering::Relaxed),
        }
    }
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PyaiotKeyList {
    /// By name.
    items: Vec<PyaiotKey>,
    /// How many there are.
    total: usize,
}

/// What makes a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPyaiotKey {
    /// 1 to 80 characters, unique.
    name: String,
    /// The text of a key file that gateways have already; a new one is made if left out.
    file: Option<String>,
    /// A selector of the devices that its gateways may speak for; all of the riot dialect if left out.
    devices: Option<String>,
    /// How old a token may be, 10 to 86400; each serves once then. Any age if left out, as in Pyaiot.
    token_age_max_seconds: Option<i64>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub(crate) struct PyaiotKeyCreated {
    /// Its id.
    id: String,
    /// The key file for the gateways, `~/.pyaiot/keys`, which is shown only now; null if it was given.
    file: Option<String>,
}

/// All keys of Pyaiot gateways.
#[utoipa::path(get, path = "/api/v1/pyaiot-keys", tag = "pyaiot_keys",
    responses((status = 200, body = PyaiotKeyList), (status = 403, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<PyaiotKeyList>, ApiError> {
    let here = app.pyaiot.here();
    let shown = |key: pyaiot::Key| PyaiotKey {
        id: key.id.to_string(),
        name: key.name,
        devices: key.devices,
        token_age_max_seconds: key.token_age_max.map(|age| age.0 / 1000),
        created_at: rfc3339(key.created_at),
        last_used_at: key.last_used_at.map(rfc3339),
        gateways: here.iter().filter(|link| link.key == key.id).map(|link| (&**link).into()).collect(),
    };
    let items: Vec<PyaiotKey> = app.store.pyaiot_keys().await?.into_iter().map(shown).collect();
    Ok(axum::Json(PyaiotKeyList { total: items.len(), items }))
}

/// Adds a key for Pyaiot gateways: a new one, or one that they have.
#[utoipa::path(post, path = "/api/v1/pyaiot-keys", tag = "pyaiot_keys", request_body = NewPyaiotKey,
    responses((status = 201, body = PyaiotKeyCreated), (status = 400, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewPyaiotKey>,
) -> Result<(StatusCode, axum::Json<PyaiotKeyCreated>), ApiError> {
    let is_given = new.file.is_some();
    let file = new.file.as_deref().map_or_else(|| Ok(KeyFile::generate()), KeyFile::parse)?;
    let (fernet, secret) = file.kept();
    if let Some(devices) = new.devices.as_deref().filter(|text| !text.trim().is_empty()) {
        selectors::read(&app, devices).await?;
    }
    let key = pyaiot::Key {
        id: random::id(app.now()),
        name: new.name,
        fernet,
        secret,
        devices: new.devices,
        token_age_max: new.token_age_max_seconds.map(|age| Span::seconds(age.clamp(0, 1_000_000))),
        created_at: app.now(),
        last_used_at: None,
    };
    let made = app.attempt(|| async {
        let keys = app.store.pyaiot_keys().await?;
        Ok(pyaiot::add(&key, &keys, &caller.actor())?)
    });
    let id = made.await?.id.to_string();
    Ok((StatusCode::CREATED, axum::Json(PyaiotKeyCreated { id, file: (!is_given).then(|| file.text()) })))
}

/// Revokes a key: its gateways are cut off at once.
#[utoipa::path(delete, path = "/api/v1/pyaiot-keys/{id}", tag = "pyaiot_keys",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: PyaiotKeyId = id("key", &path)?;
    let keys = app.store.pyaiot_keys().await?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(|| ApiError::not_found("key", id))?;
    app.perform(pyaiot::revoke(key, &caller.actor())).await?;
    Ok(StatusCode::NO_CONTENT)
}
