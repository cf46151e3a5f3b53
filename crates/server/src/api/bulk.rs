//! Bulk actions: one deed on many devices, after a look at whom it hits, in batches, with progress.
//!
//! Who is hit is fixed when the action begins. The work goes on if the caller goes away; if the hub stops in the
//! middle, what was done stays done, and doing it again does the rest.

mod action;

use std::convert::Infallible;

use axum::body::{Body as Sent, Bytes};
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use motehub_domain::bulk::{DEVICES_MAX, Deed};
use motehub_domain::change::Actor;
use motehub_domain::device::Device;
use motehub_domain::effects::Effects;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::topic::TopicRights;
use motehub_gateway::link::Order;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use utoipa::ToSchema;

use action::{Act, BulkAction, Work, act};

use super::access::Caller;
use super::credentials;
use super::deployments::{self, Meant, NewDeployment};
use super::extract::Body;
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;

/// How many devices are written in one transaction.
const BATCH: usize = 100;
/// How many devices a preview names.
const SHOWN: usize = 20;
/// How many refusals are told.
const REFUSALS_SHOWN: usize = 20;
/// How many lines of progress may wait for a slow reader; further ones are left out.
const LINES_MAX: usize = 16;
/// How many bulk actions may be at work at a time.
pub(crate) const AT_ONCE_MAX: usize = 2;

/// A bulk action: on whom, and what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bulk {
    /// A condition such as `tag=kitchen and online`.
    selector: Option<String>,
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// What is done to each.
    action: BulkAction,
    /// From the preview. A selection that changed since is refused. Needed with a selector.
    token: Option<String>,
}

/// Whom a bulk action would hit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkPreview {
    /// How many devices are selected.
    count: usize,
    /// The names of the first 20, in order.
    names: Vec<String>,
    /// Of these, how many are online.
    online: usize,
    /// For a deployment: how many lack what the script requires or have another platform, and are left out.
    left_out: usize,
    /// Stands for exactly these devices: send it with the action.
    token: String,
}

/// A device to which it could not be done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BulkRefusal {
    /// Id of the device.
    device: String,
    /// Its name.
    name: String,
    /// Why.
    reason: String,
}

impl BulkRefusal {
    /// It could not be done to this device.
    pub(super) fn new(device: Device, why: Rejection) -> Self {
        Self { device: device.id.to_string(), name: device.name, reason: why.sentence }
    }
}

/// One line of progress; the last one has `end`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct BulkProgress {
    /// How many devices were looked at.
    done: usize,
    /// Of how many.
    total: usize,
    /// How many were changed. The others were so already, or are gone.
    changed: usize,
    /// How many were refused.
    refused: usize,
    /// The first 20 refusals, in the last line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<BulkRefusal>,
    /// The deployment that was begun, in the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// The command that was sent, in the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// Why it stopped before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether this is the last line.
    end: bool,
}

/// Whom a bulk action would hit. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/devices/bulk/preview", tag = "devices", request_body = Bulk,
    responses((status = 200, body = BulkPreview), (status = 400, body = Problem)))]
pub(crate) async fn bulk_preview(
    State(app): State<App>,
    Body(bulk): Body<Bulk>,
) -> Result<axum::Json<BulkPreview>, ApiError> {
    let Bulk { selector, devices, action, .. } = bulk;
    let meant = Meant::new(selector, devices);
    let ids = resolve(&app, &meant).await?;
    let left_out = match act(action, meant.selector.as_deref())? {
        Act::Deploy(order) => order.left_out(&app, &ids).await?,
        Act::Command(_) | Act::InBatches(_) => 0,
    };
    let mut names = Vec::new();
    for target in app.store.targets(&ids[..ids.len().min(SHOWN)]).await? {
        names.push(target.device.name);
    }
    let online = ids.iter().filter(|id| app.is_online(**id)).count();
    Ok(axum::Json(BulkPreview { count: ids.len(), names, online, left_out, token: deployments::token(&ids) }))
}

/// Does something to many devices. The answer is a line of JSON for every 100 devices; the last has `end`.
#[utoipa::path(post, path = "/api/v1/devices/bulk", tag = "devices", request_body = Bulk,
    responses((status = 200, body = BulkProgress, content_type = "application/x-ndjson"),
        (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn bulk(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(bulk): Body<Bulk>,
) -> Result<Response, ApiError> {
    let Bulk { selector, devices, action, token: expected } = bulk;
    let is_selected = selector.is_some();
    let meant = Meant::new(selector, devices);
    let ids = resolve(&app, &meant).await?;
    if ids.is_empty() {
        return Err(
            Rejection::invalid("devices", "no device is meant: name some, or widen the selector").into()
        );
    }
    if is_selected && expected.is_none() {
        let why = "send the token of POST /api/v1/devices/bulk/preview, so that you hit whom you saw";
        return Err(Rejection::invalid("token", why).into());
    }
    deployments::check_seen(&ids, expected.as_deref())?;
    let work = match act(action, meant.selector.as_deref())? {
        Act::Deploy(order) => {
            let order = NewDeployment { selector: meant.selector, ..*order };
            let begun = deployments::start(&app, &caller, order, ids.clone()).await?;
            let deployment = Some(begun.id);
            return Ok(at_once(ids.len(), begun.total, |last| BulkProgress { deployment, ..last }));
        }
        Act::Command(request) => {
            let given = app.give_command(&request, &ids, &caller.actor()).await?;
            let command = Some(given.id.to_string());
            let devices = usize::try_from(given.devices).unwrap_or(0);
            return Ok(at_once(ids.len(), devices, |last| BulkProgress { command, ..last }));
        }
        Act::InBatches(work) => work,
    };
    let Ok(permit) = app.bulk.clone().try_acquire_owned() else {
        let why = format!("{AT_ONCE_MAX} bulk actions are at work already: wait until one ends");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", why).retry_after(5));
    };
    let (told, mut lines_told) = mpsc::channel::<Bytes>(LINES_MAX);
    // In a task of its own: it ends whether or not anybody listens.
    tokio::spawn(run(app, ids, work, caller.actor(), told, permit));
    let stream = futures_util::stream::poll_fn(move |context| {
        lines_told.poll_recv(context).map(|line| line.map(Ok::<_, Infallible>))
    });
    Ok(lines(Sent::from_stream(stream)))
}

fn lines(body: Sent) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn line(progress: &BulkProgress) -> Bytes {
    let mut text = serde_json::to_string(progress).unwrap_or_default();
    text.push('\n');
    Bytes::from(text)
}

/// The answer to what was done in one stroke.
fn at_once(total: usize, changed: usize, with: impl FnOnce(BulkProgress) -> BulkProgress) -> Response {
    let last = BulkProgress { done: total, total, changed, end: true, ..BulkProgress::default() };
    lines(Sent::from(line(&with(last))))
}

async fn resolve(app: &App, meant: &Meant) -> Result<Vec<DeviceId>, ApiError> {
    let ids = deployments::resolve(app, meant).await?;
    if ids.len() > DEVICES_MAX {
        let why = format!("at most {DEVICES_MAX} devices at once: narrow the selector");
        return Err(Rejection::too_large("devices", why).into());
    }
    Ok(ids)
}

async fn run(
    app: App,
    ids: Vec<DeviceId>,
    work: Work,
    actor: Actor,
    told: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    let mut progress = BulkProgress { total: ids.len(), ..BulkProgress::default() };
    for batch in ids.chunks(BATCH) {
        let outcome = match &work {
            Work::Deed(deed) => one_batch(&app, batch, deed, &actor).await,
            Work::Rotate => credentials::rotate_some(&app, batch, &actor).await,
        };
        match outcome {
            Ok((changed, refusals)) => {
                progress.done += batch.len();
                progress.changed += changed;
                progress.refused += refusals.len();
                let room = REFUSALS_SHOWN.saturating_sub(progress.refusals.len());
                progress.refusals.extend(refusals.into_iter().take(room));
            }
            Err(failure) => {
                progress.error = Some(ApiError::from(failure).into_parts().1);
                break;
            }
        }
        let so_far = BulkProgress { refusals: Vec::new(), ..progress.clone() };
        // A slow reader misses lines; nobody waits for it.
        let _ = told.try_send(line(&so_far));
    }
    progress.end = true;
    tracing::info!(
        done = progress.done,
        changed = progress.changed,
        refused = progress.refused,
        "a bulk action ended"
    );
    let _ = told.send(line(&progress)).await;
}

/// Returns how many devices were changed, and who was refused.
async fn one_batch(
    app: &App,
    batch: &[DeviceId],
    deed: &Deed,
    actor: &Actor,
) -> Result<(usize, Vec<BulkRefusal>), Failure> {
    let (changed, refusals) = app
        .attempt(|| async {
            let mut all = Effects::none();
            let (mut changed, mut refusals) = (Vec::new(), Vec::new());
            for target in app.store.targets(batch).await? {
                let device = target.device;
                match deed.apply(&device, actor) {
                    Ok(effects) if effects.is_empty() => {}
                    Ok(effects) => {
                        all = all.and(effects);
                        changed.push(device.id);
                    }
                    Err(refused) => refusals.push(BulkRefusal::new(device, refused)),
                }
            }
            Ok(((changed, refusals), all))
        })
        .await?;
    match deed {
        Deed::Tag(_) | Deed::Untag(_) => app.rights_changed(&changed).await,
        Deed::Delete => {
            for id in &changed {
                app.order(&Order::Rights(*id, TopicRights::default()));
                app.order(&Order::Disconnect(*id));
            }
        }
        Deed::AddCapabilities(_) | Deed::RemoveCapabilities(_) => {}
    }
    Ok((changed.len(), refusals))
}
