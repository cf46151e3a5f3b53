//! Connections: who is connected by MQTT, which sessions wait for clients that are away, what the broker holds.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::change::ChangeKind;
use motehub_domain::kept::{self, Principal};
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use motehub_gateway::mqtt::{self, Handle, Listener, LiveView, SessionView, Totals, Version, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Page, Query, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// How many subscriptions of a session are shown.
const SUBSCRIPTIONS_SHOWN: usize = 100;

/// An MQTT session, connected or away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// Its number.
    id: String,
    /// The client identifier.
    client_id: String,
    /// Who it is: a device's or token's name, or "anonymous".
    name: String,
    /// What they are: `device`, `token` or `anonymous`.
    kind: &'static str,
    /// The device, if it is one.
    device: Option<String>,
    /// Whether the client is connected; otherwise the session waits for it.
    connected: bool,
    /// The remote address.
    address: Option<String>,
    /// `tcp`, `tls`, `ws` or `wss`.
    transport: Option<&'static str>,
    /// The MQTT version: `3.1.1` or `5.0`.
    version: Option<&'static str>,
    /// Connected since.
    since: Option<String>,
    /// Seconds between two signs of life of the client; 0 for none.
    keep_alive_seconds: Option<u16>,
    /// How many seconds the session outlives its connection.
    expiry_seconds: u64,
    /// When a session that waits ends.
    ends_at: Option<String>,
    /// What it is subscribed to; at most 100 of them.
    subscriptions: Vec<Subscription>,
    /// How many there are.
    subscription_count: usize,
    /// Messages that were sent to the client and that it has not acknowledged.
    in_flight: usize,
    /// Messages that wait for it.
    queued: usize,
    /// Bytes of those.
    queued_bytes: usize,
    /// Messages for it that were dropped.
    dropped: u64,
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subscription {
    /// The topic filter, with `$share/NAME/` if it is shared.
    filter: String,
    /// Granted quality of service.
    qos: u8,
}

/// What the broker holds and has counted since the hub started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokerTotals {
    /// Open connections.
    connections: usize,
    /// Sessions, connected or away.
    sessions: usize,
    /// Sessions that wait for their clients.
    away: usize,
    /// Subscriptions.
    subscriptions: usize,
    /// Messages that wait or are not acknowledged.
    queued: usize,
    /// Bytes of all that waits for clients, about.
    waiting_bytes: usize,
    /// Retained messages.
    retained: usize,
    /// Messages published by clients.
    messages_in: u64,
    /// Messages sent to clients.
    messages_out: u64,
    /// What was dropped.
    dropped: Dropped,
    /// What was refused.
    refused: Refused,
}

/// Messages that were dropped, by the reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// The queue of the session was full.
    full: u64,
    /// The subscriber does not read fast enough (QoS 0).
    slow: u64,
    /// All queues together were full.
    memory: u64,
    /// Larger than the subscriber takes.
    large: u64,
    /// They expired.
    expired: u64,
    /// The subscriber has no right to them any more.
    rights: u64,
    /// There was no room to retain them.
    retained: u64,
}

/// What was refused, by the reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// Wrong credentials.
    credentials: u64,
    /// Beyond a limit.
    limit: u64,
    /// Publishes, subscriptions and wills without the right to it.
    rights: u64,
    /// Publishes that mean nothing.
    payload: u64,
    /// Publishes that could not be stored.
    unavailable: u64,
    /// Malformed or forbidden packets.
    protocol: u64,
}

/// A part of the sessions, and what the broker holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionList {
    /// By name and client identifier.
    items: Vec<Connection>,
    /// How many match.
    total: usize,
    /// The whole broker.
    broker: BrokerTotals,
}

/// Which sessions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those whose client identifier, name or address contains this.
    q: Option<String>,
    /// `connected` or `away`; both by default.
    state: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// MQTT sessions, connected and away.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connections", params(ListQuery),
    responses((status = 200, body = ConnectionList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<ConnectionList>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let is_connected = match query.state.as_deref() {
        None => None,
        Some("connected") => Some(true),
        Some("away") => Some(false),
        Some(_) => return Err(Rejection::invalid("state", "it is connected or away").into()),
    };
    let search = query.q.unwrap_or_default();
    let mqtt = broker(&app)?;
    let wanted = Wanted { is_connected, search, offset: page.offset, limit: page.limit };
    let (views, total) = mqtt.sessions(&wanted);
    let items = views.into_iter().map(Connection::from).collect();
    let broker = BrokerTotals::new(mqtt.totals(), &mqtt.counters());
    Ok(axum::Json(ConnectionList { items, total, broker }))
}

/// One MQTT session.
#[utoipa::path(get, path = "/api/v1/connections/{id}", tag = "connections",
    responses((status = 200, body = Connection), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<Connection>, ApiError> {
    Ok(axum::Json(view(&app, &path)?.into()))
}

/// Ends the connection of a client. It may come back at once; what waits for it stays.
#[utoipa::path(post, path = "/api/v1/connections/{id}/disconnect", tag = "connections",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn disconnect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let view = view(&app, &path)?;
    if view.connection.is_none() {
        return Err(Rejection::conflict("not_connected", "this client is not connected").into());
    }
    state(&app, ChangeKind::ClientDisconnected, &view, &caller).await?;
    broker(&app)?.disconnect_session(view.serial);
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a session with its subscriptions and all that waits for it, and ends its connection.
#[utoipa::path(delete, path = "/api/v1/connections/{id}", tag = "connections",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let view = view(&app, &path)?;
    state(&app, ChangeKind::SessionForgotten, &view, &caller).await?;
    broker(&app)?.remove_session(view.serial);
    Ok(StatusCode::NO_CONTENT)
}

async fn state(app: &App, kind: ChangeKind, view: &SessionView, caller: &Caller) -> Result<(), ApiError> {
    let actor = caller.actor();
    app.perform(kept::administered(kind, view.serial, &view.principal, &view.client_id, &actor)).await?;
    Ok(())
}

fn broker(app: &App) -> Result<&Handle, ApiError> {
    let unavailable =
        || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the hub is starting: try again");
    app.mqtt.get().ok_or_else(unavailable)
}

fn view(app: &App, path: &str) -> Result<SessionView, ApiError> {
    let missing = || ApiError::not_found("connection", path.chars().take(40).collect::<String>());
    let serial = path.parse().map_err(|_| missing())?;
    broker(app)?.session(serial).ok_or_else(missing)
}

impl From<SessionView> for Connection {
    fn from(view: SessionView) -> Self {
        let (kind, device) = match view.principal {
            Principal::Device(device) => ("device", Some(device.to_string())),
            Principal::Token(_) => ("token", None),
            Principal::Anonymous => ("anonymous", None),
        };
        let live = view.connection;
        let of = |of: fn(&LiveView) -> &'static str| live.as_ref().map(of);
        Self {
            id: view.serial.to_string(),
            client_id: view.client_id,
            name: view.name,
            kind,
            device,
            connected: live.is_some(),
            address: live.as_ref().map(|live| live.address.to_string()),
            transport: of(transport),
            version: of(version),
            since: live.as_ref().map(|live| moment(live.since)),
            keep_alive_seconds: live.as_ref().map(|live| live.keep_alive_s),
            expiry_seconds: view.expiry_ms / 1000,
            ends_at: view.ends_at.map(moment),
            subscription_count: view.subscriptions.len(),
            subscriptions: view
                .subscriptions
                .into_iter()
                .take(SUBSCRIPTIONS_SHOWN)
                .map(|(filter, qos)| Subscription { filter, qos })
                .collect(),
            in_flight: view.in_flight,
            queued: view.queued,
            queued_bytes: view.queued_bytes,
            dropped: view.dropped,
        }
    }
}

impl BrokerTotals {
    fn new(totals: Totals, counters: &mqtt::Counters) -> Self {
        Self {
            connections: totals.connections,
            sessions: totals.sessions,
            away: totals.away,
            subscriptions: totals.subscriptions,
            queued: totals.queued,
            waiting_bytes: totals.waiting_bytes,
            retained: totals.retained,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            dropped: Dropped {
                full: counters.dropped_full,
                slow: counters.dropped_slow,
                memory: counters.dropped_memory,
                large: counters.dropped_large,
                expired: counters.dropped_expired,
                rights: counters.dropped_rights,
                retained: counters.dropped_retained,
            },
            refused: Refused {
                credentials: counters.refused_credentials,
                limit: counters.refused_limit,
                rights: counters.refused_rights,
                payload: counters.refused_payload,
                unavailable: counters.refused_unavailable,
                protocol: counters.refused_protocol,
            },
        }
    }
}

fn transport(live: &LiveView) -> &'static str {
    match live.listener {
        Listener::Tcp => "tcp",
        Listener::Tls => "tls",
        Listener::WebSocket => "ws",
        Listener::WebSocketTls => "wss",
    }
}

fn version(live: &LiveView) -> &'static str {
    match live.version {
        Version::V3 => "3.1.1",
        Version::V5 => "5.0",
    }
}

fn moment(ms: u64) -> String {
    rfc3339(Time(i64::try_from(ms).unwrap_or(i64::MAX)))
}
