//! The nodes of the hub: who they are, how much each has to do, and what is wrong between them.

use axum::extract::State;
use motehub_domain::time::Time;
use motehub_store::Node;
use serde::Serialize;

use utoipa::ToSchema;

use super::extract::rfc3339;
use super::problem::ApiError;
use crate::app::App;
use crate::cluster::bus::BusState;
use crate::cluster::{Trouble, heart};

/// How much a node has to do; what it has not said yet is missing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeFigures {
    /// Open connections of MQTT clients.
    connections: Option<u64>,
    /// Messages that clients published, a second.
    messages_per_second: Option<f64>,
    /// Points of telemetry stored during the last minute.
    points_per_minute: Option<u64>,
    /// The load of its machine in the last minute.
    load: Option<f64>,
    /// What its process has of the memory, in bytes.
    memory_bytes: Option<u64>,
    /// How many changes its live pages are behind the store.
    lag_changes: Option<u64>,
}

/// One `motehub serve` of the hub.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeDto {
    /// Its name.
    name: String,
    /// Of the program.
    version: String,
    /// Whether it was seen in the last seconds.
    alive: bool,
    /// Whether it answers this request.
    this: bool,
    /// Whether it ends, and takes nothing any more.
    draining: bool,
    /// When it started.
    started_at: String,
    /// When it last said that it lives; missing if it ended in good order.
    seen_at: Option<String>,
    /// Where it serves the API.
    address: String,
    figures: NodeFigures,
    /// Which work it does for all.
    work: Vec<String>,
}

/// Something that a person should see to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeTrouble {
    /// `store_away`, `bus_away` or `clock`.
    code: &'static str,
    /// Since when, if that is known.
    since: Option<String>,
    /// What is known of the reason.
    why: String,
}

/// The nodes of the hub.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeList {
    items: Vec<NodeDto>,
    /// Whether this hub is one node and can have no other as it is set up.
    alone: bool,
    /// Whether the state is in PostgreSQL.
    shared_store: bool,
    /// Whether the bus is there; missing without one.
    bus_here: Option<bool>,
    /// What is wrong at present, as this node sees it.
    troubles: Vec<NodeTrouble>,
}

impl From<Trouble> for NodeTrouble {
    fn from(trouble: Trouble) -> Self {
        Self { code: trouble.code, since: trouble.since.map(rfc3339), why: trouble.why }
    }
}

impl NodeDto {
    fn new(app: &App, node: Node, alive: bool, work: Vec<String>) -> Self {
        let figures = &node.figures;
        let number = |name: &str| figures[name].as_u64();
        Self {
            alive,
            this: node.name == app.cluster.node(),
            draining: alive && figures["is_draining"] == true,
            started_at: rfc3339(node.started_at),
            seen_at: (node.seen_at > Time(0)).then(|| rfc3339(node.seen_at)),
            figures: NodeFigures {
                connections: number("connections"),
                messages_per_second: figures["messages_per_second"].as_f64(),
                points_per_minute: number("points_per_minute"),
                load: figures["load"].as_f64(),
                memory_bytes: number("memory_bytes"),
                lag_changes: number("lag_changes"),
            },
            name: node.name,
            version: node.version,
            address: node.address,
            work,
        }
    }
}

/// The nodes of the hub, by name, those that are gone for less than a day included.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", responses((status = 200, body = NodeList)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<NodeList>, ApiError> {
    let items = match app.store.is_shared() {
        true => several(&app).await?,
        false => {
            let mut me = app.cluster.me();
            (me.started_at, me.seen_at) = (app.started_at, app.now());
            (me.address, me.figures) = (app.addresses().http.to_string(), heart::figures(&app).await?);
            vec![NodeDto::new(&app, me, true, all_work(&app))]
        }
    };
    let bus_here = *app.cluster.bus().state().borrow() == BusState::Here;
    Ok(axum::Json(NodeList {
        items,
        alone: app.cluster.is_alone(),
        shared_store: app.store.is_shared(),
        bus_here: (!app.cluster.is_alone()).then_some(bus_here),
        troubles: app.cluster.troubles().into_iter().map(NodeTrouble::from).collect(),
    }))
}

/// What a hub that is alone does.
fn all_work(app: &App) -> Vec<String> {
    app.cluster.leases().all().map(|work| work.as_str().to_owned()).collect()
}

async fn several(app: &App) -> Result<Vec<NodeDto>, ApiError> {
    let now = app.now() + app.cluster.ahead();
    let leases = app.store.leases().await?;
    let items = app.store.nodes().await?.into_iter().map(|node| {
        let own = leases.iter().filter(|lease| lease.held.holder == node.instance && lease.until >= now);
        let work = match app.cluster.is_alone() && node.name == app.cluster.node() {
            true => all_work(app),
            false => own.map(|lease| lease.held.work.clone()).collect(),
        };
        let alive = heart::is_alive(&node, now);
        NodeDto::new(app, node, alive, work)
    });
    Ok(items.collect())
}
