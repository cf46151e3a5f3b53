//! Devices: register, look at, change, delete, and their credentials.

pub(crate) mod list;
mod runs;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::device::{self, Device, Dialect, Edit, Reach, Registration};
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::network::Network;
use motehub_domain::rejection::Rejection;
use motehub_domain::share::Share;
use motehub_domain::time::Span;
use motehub_gateway::link::Order;
use motehub_store::DeviceView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::credentials::{CredentialShared, RotationDto};
use super::extract::{Body, id, rfc3339};
use super::firmware::FirmwareRef;
use super::problem::{ApiError, Problem};
use super::reports::{QuarantineDto, ReportDto};
use super::shared::{DeviceAsSeen, SharedDevice};
use super::units::{LineDto, LineEdit, line_edit};
use crate::app::App;
use crate::random;
use crate::secrets;

pub(crate) use runs::{PendingRef, ScriptRef};

/// A device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Device)]
pub(crate) struct DeviceDto {
    /// Its id.
    id: String,
    /// For people.
    name: String,
    /// For people.
    description: String,
    /// How it speaks: `nodemcu`, `native`, `micropython`, `mongoose`, `riot`, `esp-firmware` or `line`.
    dialect: &'static str,
    /// Its own id, such as a chip id.
    external_id: Option<String>,
    /// Sorted.
    tags: Vec<String>,
    /// Capabilities that people assigned to it, sorted.
    capabilities: Vec<String>,
    /// Capabilities that it announced, sorted.
    announced: Vec<String>,
    /// Whether it has a live connection.
    online: bool,
    /// `online`, `offline`, or `unreachable`: the link to its gateway is lost.
    reach: &'static str,
    /// The gateway elsewhere through which it came last, if it was one.
    gateway: Option<String>,
    /// When it was last heard.
    last_seen: Option<String>,
    /// Where a unit is, by its settings; else from which address the device was last heard.
    address: Option<String>,
    /// How a unit is spoken to.
    line: Option<LineDto>,
    /// Whether it has a credential.
    has_credential: bool,
    /// Whether an operator lets it speak without a credential.
    unauthenticated_allowed: bool,
    /// From which address or network it may do so; from anywhere if it is not said.
    allowed_from: Option<String>,
    /// How long it may be silent before it counts as gone, where its dialect has a use for that.
    silence_max_seconds: Option<i64>,
    /// `ok`, `pending`, `failing` or `waiting_for_script`.
    state: &'static str,
    /// What is wrong, in words.
    problem: Option<String>,
    /// The script that people chose for it.
    active: Option<ScriptRef>,
    /// The script that it runs.
    running: Option<ScriptRef>,
    /// The firmware of ours that it says it runs.
    firmware: Option<FirmwareRef>,
    /// What waits for it.
    pending: Option<PendingRef>,
    /// The rotation of its credential that goes on.
    rotation: Option<RotationDto>,
    /// Its credential was used from two addresses at once; a new credential ends this warning.
    credential_shared: Option<CredentialShared>,
    /// What it last said of itself; only for one device.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<ReportDto>,
    /// The versions that are not given to it any more; only for one device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantined: Vec<QuarantineDto>,
    /// When it was registered.
    created_at: String,
    /// Send it back with a change to be told if somebody else was faster.
    revision: i64,
}

impl From<DeviceView> for DeviceDto {
    fn from(view: DeviceView) -> Self {
        let DeviceView { device, software, presence, has_credential, open_task, rotation, shared, .. } = view;
        let state = match (
            &software.problem,
            open_task,
            software.running.or(software.active).or(software.firmware),
        ) {
            (Some(_), _, _) => "failing",
            (None, Some(_), _) => "pending",
            (None, None, None) => "waiting_for_script",
            (None, None, Some(_)) => "ok",
        };
        let waits = software.pending.zip(open_task).map(|((deployment, artifact), task_state)| PendingRef {
            script: artifact.script().map(|(script, _)| script.to_string()),
            name: view.pending_name.clone().unwrap_or_default(),
            version: artifact.script().map(|(_, version)| version),
            firmware: artifact.firmware().zip(view.pending_firmware).map(|(id, (version, platform))| {
                FirmwareRef::new(id, [view.pending_name.unwrap_or_default(), version, platform])
            }),
            deployment: deployment.to_string(),
            task_state: task_state.as_str(),
        });
        let line = device.line.as_deref().map(LineDto::of);
        let own_address = line.as_ref().and_then(|line| line.address());
        let heard_at = presence.as_ref().map(|presence| presence.address.clone());
        let reach = presence.as_ref().map_or(Reach::Offline, |presence| presence.reach);
        Self {
            id: device.id.to_string(),
            name: device.name,
            description: device.description,
            dialect: device.dialect.as_str(),
            external_id: device.external_id,
            tags: device.tags,
            capabilities: device.capabilities,
            announced: view.announced.clone(),
            online: reach == Reach::Online,
            reach: reach.as_str(),
            gateway: presence
                .as_ref()
                .and_then(|presence| presence.gateway)
                .map(|gateway| gateway.to_string()),
            last_seen: presence.as_ref().map(|presence| rfc3339(presence.seen_at)),
            address: own_address.or(heard_at).filter(|address| !address.is_empty()),
            line,
            has_credential,
            unauthenticated_allowed: device.unauthenticated_allowed,
            allowed_from: device.allowed_from.map(|network| network.to_string()),
            silence_max_seconds: device.silence_max.map(|span| span.0 / 1000),
            state,
            problem: software.problem,
            active: software.active.and_then(|artifact| ScriptRef::new(artifact, view.active_name)),
            running: software.running.and_then(|artifact| ScriptRef::new(artifact, view.running_name)),
            firmware: software
                .firmware
                .and_then(|artifact| artifact.firmware())
                .zip(view.firmware)
                .map(|(id, words)| FirmwareRef::new(id, words)),
            pending: waits,
            rotation: rotation.map(RotationDto::from),
            credential_shared: shared.map(CredentialShared::from),
            report: None,
            quarantined: Vec::new(),
            created_at: rfc3339(device.created_at),
            revision: device.revision,
        }
    }
}

/// A part of the devices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceList {
    items: Vec<DeviceDto>,
    /// How many there are in all.
    total: i64,
}

impl DeviceList {
    /// Of views, and how many there are in all.
    pub(crate) fn new(views: Vec<DeviceView>, total: i64) -> Self {
        Self { items: views.into_iter().map(DeviceDto::from).collect(), total }
    }
}

/// What registers a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDevice {
    /// 1 to 80 characters.
    name: String,
    /// `nodemcu`, `native`, `micropython`, `mongoose`, `riot`, `esp-firmware` or `line`.
    dialect: String,
    /// Its own id: the chip id of a NodeMCU board, in decimal digits, or the uid of a RIOT node.
    external_id: Option<String>,
    /// Where a unit is, `host:port`; without a port 8888.
    address: Option<String>,
    /// How a unit is spoken to, where that is not as usual.
    line: Option<LineEdit>,
    /// For people.
    #[serde(default)]
    description: String,
    /// Letters, digits and `_ - . :`.
    #[serde(default)]
    tags: Vec<String>,
}

/// A registered device with its credential, which is shown only now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registered {
    #[serde(flatten)]
    device: DeviceDto,
    /// For the path prefix `/d/<credential>` and as the MQTT password.
    credential: String,
}

impl Registered {
    /// A device with its new credential.
    pub(crate) fn new(device: DeviceDto, credential: String) -> Self {
        Self { device, credential }
    }
}

/// Registers a device.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = NewDevice,
    responses((status = 201, body = Registered), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewDevice>,
) -> Result<(StatusCode, axum::Json<Registered>), ApiError> {
    let now = app.now();
    let dialect = Dialect::parse(&new.dialect)?;
    let NewDevice { name, external_id, description, tags, .. } = new;
    let line = app.new_line(dialect, new.address, new.line)?;
    let registration = Registration { name, description, dialect, external_id, tags, line };
    let credential = random::secret();
    let digest = secrets::digest(&credential);
    let (device, effects) = device::register(random::id(now), &registration, digest, &caller.actor(), now)?;
    app.perform(effects).await?;
    let device = view(&app, device.id).await?;
    Ok((StatusCode::CREATED, axum::Json(Registered { device, credential })))
}

/// One device. A customer sees less of it than the vendor does.
#[utoipa::path(get, path = "/api/v1/devices/{id}", tag = "devices",
    responses((status = 200, body = DeviceAsSeen), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    share: Option<Extension<Share>>,
    Path(path): Path<String>,
) -> Result<axum::Json<DeviceAsSeen>, ApiError> {
    let id = id("device", &path)?;
    Ok(axum::Json(match share {
        Some(Extension(share)) => DeviceAsSeen::Customer(Box::new(SharedDevice::load(&app, share).await?)),
        None => DeviceAsSeen::Staff(Box::new(view(&app, id).await?)),
    }))
}

/// What changes a device; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceEdit {
    /// New name.
    name: Option<String>,
    /// New description.
    description: Option<String>,
    /// New tags, all of them.
    tags: Option<Vec<String>>,
    /// New capabilities, all that are assigned; those that it announces stay.
    capabilities: Option<Vec<String>>,
    /// New external id.
    external_id: Option<String>,
    /// Whether it may speak without a credential: a weakness, for boards that cannot be given one.
    unauthenticated_allowed: Option<bool>,
    /// From which address or network it may do so, such as `fd00:1::/64`; empty for anywhere, which no RIOT node may.
    allowed_from: Option<String>,
    /// How long a RIOT node may be silent before it counts as gone, in seconds; 0 for the usual 120.
    silence_max_seconds: Option<i64>,
    /// Where a unit is now, `host:port`. Its history stays.
    address: Option<String>,
    /// What changes of how a unit is spoken to; null is as usual.
    line: Option<LineEdit>,
    /// The revision that the change is based on; 409 if there is a later one.
    revision: Option<i64>,
}

/// Changes a device.
#[utoipa::path(patch, path = "/api/v1/devices/{id}", tag = "devices", request_body = DeviceEdit,
    responses((status = 200, body = DeviceDto), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(wanted): Body<DeviceEdit>,
) -> Result<axum::Json<DeviceDto>, ApiError> {
    let (id, actor) = (id("device", &path)?, caller.actor());
    let DeviceEdit { name, description, tags, capabilities, external_id, unauthenticated_allowed, .. } =
        wanted;
    let (revision, allowed_from) =
        (wanted.revision, wanted.allowed_from.as_deref().map(network).transpose()?);
    let silence_max =
        wanted.silence_max_seconds.map(|seconds| (seconds != 0).then_some(seconds.saturating_mul(1000)));
    let silence_max = silence_max.map(|silence| silence.map(Span));
    let affects_rights = tags.is_some() || external_id.is_some();
    let line = line_edit(wanted.address, wanted.line);
    let edit = Edit {
        name,
        description,
        tags,
        capabilities,
        external_id,
        unauthenticated_allowed,
        allowed_from,
        silence_max,
        line,
    };
    let known_as = load(&app, id).await?.external_id;
    let edited = app.attempt(|| async {
        let device = load(&app, id).await?;
        if revision.is_some_and(|revision| revision != device.revision) {
            return Err(Rejection::conflict(
                "stale",
                "it was changed by somebody else meanwhile: load it again",
            )
            .into());
        }
        let (edited, effects) = device::edit(&device, &edit, &actor)?;
        app.weigh_line(edited.line.as_deref())?;
        Ok((edited, effects))
    });
    let edited = edited.await?;
    if affects_rights {
        app.rights_changed(&[id]).await;
    }
    // A session goes by the name it began with, and a node without a credential by where it speaks from.
    let is_narrower = allowed_from.is_some() || silence_max.is_some();
    if unauthenticated_allowed == Some(false) || is_narrower || edited.external_id != known_as {
        disconnect(&app, id);
    }
    Ok(axum::Json(view(&app, id).await?))
}

/// A network; `None` for anywhere.
fn network(text: &str) -> Result<Option<Network>, Rejection> {
    Some(text.trim())
        .filter(|text| !text.is_empty())
        .map(|text| Network::parse("allowed_from", text))
        .transpose()
}

/// Deletes a device with its telemetry.
#[utoipa::path(delete, path = "/api/v1/devices/{id}", tag = "devices",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = load(&app, id("device", &path)?).await?;
    app.perform(device::delete(&device, &caller.actor())).await?;
    app.disconnect(device.id);
    app.order(&Order::Forget(Principal::Device(device.id)));
    Ok(StatusCode::NO_CONTENT)
}

/// A device, or the refusal that there is none.
pub(crate) async fn load(app: &App, id: DeviceId) -> Result<Device, crate::perform::Failure> {
    Ok(app.store.device(id).await?.ok_or_else(|| Rejection::not_found("device", id))?)
}

/// A device as the API shows it.
pub(crate) async fn view(app: &App, id: DeviceId) -> Result<DeviceDto, ApiError> {
    let view = app.store.device_view(id).await?;
    let mut device = view.map(DeviceDto::from).ok_or_else(|| ApiError::not_found("device", id))?;
    device.report = app.store.report(id).await?.map(ReportDto::from);
    device.quarantined = QuarantineDto::of(app, id).await?;
    Ok(device)
}

/// Ends the connections of a device.
pub(crate) fn disconnect(app: &App, id: DeviceId) {
    app.disconnect(id);
    app.order(&Order::Disconnect(id));
}
