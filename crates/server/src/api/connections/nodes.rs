//! The sessions of all nodes as one list: each node says its own.

use axum::http::StatusCode;
use motehub_gateway::mqtt::{Handle, Wanted};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ConnectionList;
use super::shown::{BrokerTotals, Connection};
use crate::api::problem::ApiError;
use crate::app::App;
use crate::cluster::ask::Question;

/// What an answer may have besides its sessions, in bytes.
const AROUND_BYTES: usize = 8 * 1024;

/// Which sessions of a node are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sessions {
    pub(super) is_connected: Option<bool>,
    pub(super) search: String,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// What a node says of its sessions: some of them, how many match, and what its broker holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    items: Vec<Connection>,
    total: usize,
    broker: BrokerTotals,
}

/// The sessions that are wanted, of all nodes or of one.
pub(super) async fn list(
    app: &App,
    wanted: Sessions,
    only: Option<&str>,
) -> Result<ConnectionList, ApiError> {
    let (mut skip, mut left) = (wanted.offset, wanted.limit);
    let mut list = ConnectionList::default();
    for (node, counted) in counted(app, &wanted).await? {
        list.nodes.push(node.clone());
        if only.is_some_and(|only| only != node) {
            continue;
        }
        let Some(Part { total, broker, .. }) = counted else {
            list.silent.push(node);
            continue;
        };
        list.total += total;
        list.broker.add(&broker);
        let limit = total.saturating_sub(skip).min(left);
        list.items.extend(some(app, &node, Sessions { offset: skip, limit, ..wanted.clone() }).await?);
        (skip, left) = (skip.saturating_sub(total), left - limit);
    }
    Ok(list)
}

/// How many sessions each node has, by the names of the nodes.
async fn counted(app: &App, wanted: &Sessions) -> Result<Vec<(String, Option<Part>)>, ApiError> {
    let none = Sessions { offset: 0, limit: 0, ..wanted.clone() };
    let own = app.sessions_here(&none)?;
    let mut all = app.ask_others(&Question::Sessions(none)).await;
    all.push((app.cluster.node().to_owned(), Some(own)));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all)
}

/// Sessions of one node. One answer may have only some of them.
async fn some(app: &App, node: &str, mut wanted: Sessions) -> Result<Vec<Connection>, ApiError> {
    if node == app.cluster.node() {
        return Ok(app.sessions_here(&wanted)?.items);
    }
    let mut found = Vec::new();
    while wanted.limit > 0 {
        let part: Option<Part> = app.ask_node(node, &Question::Sessions(wanted.clone())).await;
        let items = part.ok_or_else(|| silent(node))?.items;
        if items.is_empty() {
            break;
        }
        (wanted.offset, wanted.limit) =
            (wanted.offset + items.len(), wanted.limit.saturating_sub(items.len()));
        found.extend(items);
    }
    Ok(found)
}

/// One session, whichever node has it.
pub(super) async fn find(app: &App, serial: u64) -> Result<Option<Connection>, ApiError> {
    if let Some(own) = app.session_here(serial)? {
        return Ok(Some(own));
    }
    let mut missing = Ok(None);
    for (node, answer) in app.ask_others::<Option<Connection>>(&Question::Session(serial)).await {
        match answer {
            Some(Some(found)) => return Ok(Some(found)),
            Some(None) => {}
            None => missing = Err(silent(&node)),
        }
    }
    missing
}

/// Has the node that has a session do something about it.
pub(super) async fn order(app: &App, node: &str, order: &Question) -> Result<StatusCode, ApiError> {
    if node == app.cluster.node() {
        app.answer_node(order.clone());
    } else {
        app.ask_node::<Value>(node, order).await.ok_or_else(|| silent(node))?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn silent(node: &str) -> ApiError {
    let detail = format!("the node {node} does not answer: try again");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
}

impl App {
    /// Some of the sessions of this node, as they fit into one answer to another node.
    pub(crate) fn sessions_for_a_node(&self, wanted: &Sessions) -> Option<Part> {
        let mut part = self.sessions_here(wanted).ok()?;
        part.fit(self.cluster.bus().payload_max());
        Some(part)
    }

    fn sessions_here(&self, wanted: &Sessions) -> Result<Part, ApiError> {
        let mqtt = self.broker_here()?;
        let Sessions { is_connected, search, offset, limit } = wanted.clone();
        let (views, total) = mqtt.sessions(&Wanted { is_connected, search, offset, limit });
        let items = views.into_iter().map(|view| Connection::new(view, self.cluster.node())).collect();
        Ok(Part { items, total, broker: BrokerTotals::new(mqtt.totals(), &mqtt.counters()) })
    }

    /// A session of this node by its number.
    pub(crate) fn session_here(&self, serial: u64) -> Result<Option<Connection>, ApiError> {
        let found = self.broker_here()?.session(serial);
        Ok(found.map(|view| Connection::new(view, self.cluster.node())))
    }

    fn broker_here(&self) -> Result<&Handle, ApiError> {
        let detail = "the hub is starting: try again";
        let unavailable = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        self.mqtt.get().ok_or_else(unavailable)
    }
}

impl Part {
    /// Leaves sessions out at the end until it is no larger, but one.
    fn fit(&mut self, bytes_max: usize) {
        let mut room = bytes_max.saturating_sub(AROUND_BYTES);
        let fitting = self.items.iter().take_while(|item| {
            let bytes = json!(item).to_string().len() + 1;
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        let fitting = fitting.count().max(1);
        self.items.truncate(fitting);
    }
}
