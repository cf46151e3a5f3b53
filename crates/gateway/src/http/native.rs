//! The native protocol over HTTP: a device posts what it says, asks for what waits for it (and may wait for it),
//! and fetches artifacts in pieces. Every request carries the credential as a bearer token.

mod polls;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use motehub_domain::shadow::{Deed, Request, Shadow, ShadowName};
use motehub_protocol::native::said::parse_digest;
use motehub_protocol::{Encoding, Identity, Said, native, payload};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::file;
use crate::hub::{Arrival, ConnectionId, Credentials, Hub, Knock, Refusal, Shown, Transport, UplinkError};
use polls::Polls;

/// Largest body of a request, and largest frame of a socket, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest that a request for downlinks may wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Connections of this file are numbered from here on, far from those of MQTT.
const FIRST_CONNECTION: u64 = 1 << 62;
/// How soon a device shall try again when something cannot be stored.
const RETRY_AFTER_SECONDS: &str = "5";

/// The routes. Long polls and sockets end with `shutdown`.
pub fn routes(hub: Arc<dyn Hub>, shutdown: CancellationToken) -> Router {
    let next = AtomicU64::new(FIRST_CONNECTION);
    let door = Arc::new(Door { polls: Polls::default(), hub, next, shutdown });
    Router::new()
        .route("/devices/{id}/downlinks", get(downlinks))
        .route("/devices/{id}/artifacts/{digest}", get(artifact))
        .route("/devices/{id}/ws", get(socket::open))
        .route("/devices/{id}/shadow", get(shadow).post(report))
        .route("/devices/{id}/{kind}", post(say))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(door)
}

/// What the routes share.
pub(super) struct Door {
    pub(super) hub: Arc<dyn Hub>,
    pub(super) shutdown: CancellationToken,
    polls: Polls,
    next: AtomicU64,
}

impl Door {
    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The device behind an id and a bearer token, or the answer why not.
    async fn admitted(
        &self,
        address: SocketAddr,
        transport: Transport,
        id: String,
        headers: &HeaderMap,
    ) -> Result<(Identity, Shown), Problem> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = token.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
        let unknown = || {
            metrics::counter!("motehub_http_device_refused_total", "reason" => "not_admitted").increment(1);
            let detail =
                "send Authorization: Bearer and the credential of the device whose id is in the path";
            Problem(StatusCode::UNAUTHORIZED, "unauthenticated", detail.to_owned())
        };
        let Some(secret) = secret else { return Err(unknown()) };
        let credentials = Credentials::Bearer { id, secret: secret.to_owned() };
        let (shown, answer) = Shown::ask(&*self.hub, Knock { address, transport, credentials }).await;
        match answer {
            Ok(client) => Ok((client.device.ok_or_else(unknown)?, shown)),
            Err(Refusal::BadCredentials | Refusal::NotAllowed) => Err(unknown()),
            Err(Refusal::Unavailable) => Err(Problem::unavailable("it cannot be looked up who you are")),
        }
    }

    /// Takes what a device said; what of it was refused is returned.
    async fn take(
        &self,
        device: &Identity,
        said: Result<Said, String>,
    ) -> Result<Option<String>, UplinkError> {
        let device = device.device;
        let Said { uplink, refused } = match said {
            Ok(said) => said,
            Err(why) => {
                self.hub.refused(device, why.clone()).await;
                return Err(UplinkError::Refused(why));
            }
        };
        let arrival = Arrival { device, uplink, mark: None, again: false };
        let outcome = self.hub.uplink(vec![arrival]).await.into_iter().next();
        outcome.unwrap_or_else(|| Err(UplinkError::Unavailable("the hub gave no answer".to_owned())))?;
        if let Some(why) = &refused {
            self.hub.refused(device, why.clone()).await;
        }
        Ok(refused)
    }
}

/// A body, or why it is none.
type Taken = Result<Bytes, axum::extract::rejection::BytesRejection>;

/// `GET /devices/<id>/shadow?name=<name>`; one that does not exist is empty and has the version 0.
async fn shadow(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (device, _) = door.admitted(peer, Transport::Http, id, &headers).await?;
    let name = query.as_deref().and_then(|query| query.strip_prefix("name=")).map(ShadowName::parse);
    let wrong = || {
        let detail = "name: 1 to 64 letters, digits or - _ :".to_owned();
        Problem(StatusCode::BAD_REQUEST, "invalid", detail)
    };
    let request =
        Request { shadow: name.map(|name| name.ok_or_else(wrong)).transpose()?, deed: Deed::Get(None) };
    let found = door.hub.shadow(device.device, request.clone()).await;
    let found = found.map_err(|error| Problem::unavailable(&error.to_string()))?;
    let shadow = found.unwrap_or_else(|_| Shadow::none(device.device, request.shadow));
    Ok(answer(&headers, &native::document(&shadow)))
}

/// `POST /devices/<id>/shadow`.
async fn report(
    state: State<Arc<Door>>,
    peer: ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Taken,
) -> Result<Response, Problem> {
    say(state, peer, Path((id, "shadow".to_owned())), headers, body).await
}

/// `POST /devices/<id>/<kind>`.
async fn say(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((id, kind)): Path<(String, String)>,
    headers: HeaderMap,
    body: Taken,
) -> Result<Response, Problem> {
    let (device, _) = door.admitted(peer, Transport::Http, id, &headers).await?;
    let body = body.map_err(|_| {
        let detail = format!("a message has at most {BODY_BYTES_MAX} bytes");
        Problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let encoding = Encoding::of(content_type.unwrap_or_default());
    let said = native::uplink(&kind, encoding, &body).ok_or_else(|| {
        let detail = format!("the kinds of messages are {}", native::UPLINKS.join(", "));
        Problem(StatusCode::NOT_FOUND, "not_found", detail)
    })?;
    match door.take(&device, said.map_err(|error| error.to_string())).await {
        Ok(None) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Some(refused)) => Ok(answer(&headers, &json!({ "refused": refused }))),
        Err(UplinkError::Refused(why)) => Err(Problem(StatusCode::BAD_REQUEST, "invalid", why)),
        Err(error @ UplinkError::Unavailable(_)) => Err(Problem::unavailable(&error.to_string())),
    }
}

/// `GET /devices/<id>/downlinks?wait=<seconds>`.
async fn downlinks(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (device, shown) = door.admitted(peer, Transport::Http, id, &headers).await?;
    let wait = match query.as_deref() {
        None | Some("") => Some(0),
        Some(query) => query.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok()),
    };
    let wait = wait.map(Duration::from_secs).filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
        let detail = format!("wait: 0 to {} seconds", WAIT_MAX.as_secs());
        Problem(StatusCode::BAD_REQUEST, "invalid", detail)
    })?;
    let waiting = polls::wait(&door, peer, (&device, shown), wait).await?;
    let said = waiting.iter().filter_map(|downlink| native::downlink(&device, downlink));
    let mut items: Vec<Value> = said
        .map(|(kind, mut payload)| {
            payload["kind"] = kind.into();
            payload
        })
        .collect();
    items.dedup();
    Ok(answer(&headers, &json!({ "items": items })))
}

/// `GET /devices/<id>/artifacts/<digest>`, in whole or a range of it.
async fn artifact(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((id, text)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (device, _) = door.admitted(peer, Transport::Http, id, &headers).await?;
    let unknown = || {
        let detail = "nothing with this digest is meant for this device".to_owned();
        Problem(StatusCode::NOT_FOUND, "not_found", detail)
    };
    let digest = parse_digest(&text).ok_or_else(unknown)?;
    let found = door.hub.artifact_size(device.device, digest).await;
    let size = found.map_err(|error| Problem::unavailable(&error.to_string()))?.ok_or_else(unknown)?;
    Ok(file::answer(door.hub.clone(), digest, size, &headers))
}

fn answer(headers: &HeaderMap, value: &Value) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = Encoding::of(accepts.unwrap_or_default());
    ([(header::CONTENT_TYPE, encoding.content_type())], payload::encode(encoding, value)).into_response()
}

/// An error as `application/problem+json` (RFC 9457): status, stable code, and a sentence.
#[derive(Debug)]
pub(super) struct Problem(pub(super) StatusCode, pub(super) &'static str, pub(super) String);

impl Problem {
    fn unavailable(why: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{why}; send it again later"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, code, detail) = self;
        let title = status.canonical_reason().unwrap_or_default();
        let body = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "code": code, "detail": detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, body.to_string()).into_response();
        let extra = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS)),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}
