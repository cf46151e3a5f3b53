//! Connections: who is connected by MQTT, which sessions wait for clients that are away, what the broker holds;
//! at all nodes of the hub.

mod nodes;
mod shown;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::change::ChangeKind;
use motehub_domain::kept;
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::extract::{Page, Query};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::cluster::ask::Question;
pub(crate) use nodes::Sessions;
use shown::{BrokerTotals, Connection};

/// A part of the sessions, and what the brokers hold.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ConnectionList {
    /// By node, name and client identifier.
    items: Vec<Connection>,
    /// How many match.
    total: usize,
    /// The whole broker; of all nodes that were asked.
    broker: BrokerTotals,
    /// The nodes of the hub that live.
    nodes: Vec<String>,
    /// Those of them that did not answer: what they have is missing here.
    silent: Vec<String>,
}

/// Which sessions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those whose client identifier, name or address contains this.
    q: Option<String>,
    /// `connected` or `away`; both by default.
    state: Option<String>,
    /// Those of this node of the hub; of all by default.
    node: Option<String>,
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
    let wanted = Sessions {
        is_connected,
        search: query.q.unwrap_or_default(),
        offset: page.offset,
        limit: page.limit,
    };
    Ok(axum::Json(nodes::list(&app, wanted, query.node.as_deref()).await?))
}

/// One MQTT session.
#[utoipa::path(get, path = "/api/v1/connections/{id}", tag = "connections",
    responses((status = 200, body = Connection), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(app): State<App>,
    Path(path): Path<String>,
) -> Result<axum::Json<Connection>, ApiError> {
    Ok(axum::Json(find(&app, &path).await?.1))
}

/// Ends the connection of a client. It may come back at once; what waits for it stays.
#[utoipa::path(post, path = "/api/v1/connections/{id}/disconnect", tag = "connections",
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn disconnect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (serial, found) = find(&app, &path).await?;
    if !found.connected {
        return Err(Rejection::conflict("not_connected", "this client is not connected").into());
    }
    state(&app, ChangeKind::ClientDisconnected, serial, &found, &caller).await?;
    nodes::order(&app, &found.node, &Question::Disconnect(serial)).await
}

/// Forgets a session with its subscriptions and all that waits for it, and ends its connection.
#[utoipa::path(delete, path = "/api/v1/connections/{id}", tag = "connections",
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (serial, found) = find(&app, &path).await?;
    state(&app, ChangeKind::SessionForgotten, serial, &found, &caller).await?;
    nodes::order(&app, &found.node, &Question::Forget(serial)).await
}

async fn state(
    app: &App,
    kind: ChangeKind,
    serial: u64,
    found: &Connection,
    caller: &Caller,
) -> Result<(), ApiError> {
    let device = found.device.as_ref().and_then(|device| device.parse().ok());
    app.perform(kept::administered(kind, serial, device, &found.client_id, &caller.actor())).await?;
    Ok(())
}

async fn find(app: &App, path: &str) -> Result<(u64, Connection), ApiError> {
    let missing = || ApiError::not_found("connection", path.chars().take(40).collect::<String>());
    let serial = path.parse().map_err(|_| missing())?;
    Ok((serial, nodes::find(app, serial).await?.ok_or_else(missing)?))
}
