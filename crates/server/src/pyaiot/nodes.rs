//! The nodes of one gateway: which of them are devices, and what they said last.

use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use motehub_domain::device::Dialect;
use motehub_domain::group;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use motehub_domain::pyaiot::Key;
use motehub_domain::selector::{Field, Known, Operator, Selector, Value as SelectorValue};
use motehub_gateway::hub::ConnectionId;
use motehub_store::StoreError;
use tokio::sync::mpsc;

use crate::app::App;
use crate::perform::Failure;

/// Most nodes of one gateway.
const NODES_MAX: usize = 10_000;
/// Of how many resources of a node it is remembered what it said last.
const RESOURCES_MAX: usize = 64;
/// How many downlinks wait for one node; further ones are dropped and said again later.
pub(super) const QUEUE_MAX: usize = 16;

/// One node.
#[derive(Default)]
pub(super) struct Node {
    /// The device that it is, with its connection.
    pub(super) device: Option<(DeviceId, ConnectionId)>,
    /// By resource.
    last: HashMap<String, String>,
}

impl Node {
    /// Whether it says something else of a resource than before.
    pub(super) fn is_news(&mut self, resource: &str, text: &str) -> bool {
        if self.last.get(resource).is_some_and(|last| last == text) {
            return false;
        }
        if self.last.len() < RESOURCES_MAX || self.last.contains_key(resource) {
            self.last.insert(resource.to_owned(), text.to_owned());
        }
        true
    }

    /// What it said counts no more.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }
}

/// Something for a node, or `None` when there will be nothing more.
pub(super) type Said = (String, ConnectionId, Option<Downlink>);

/// All nodes that a gateway announced, by what it calls them.
#[derive(Default)]
pub(super) struct Nodes {
    nodes: HashMap<String, Node>,
    pub(super) downlinks: SelectAll<BoxStream<'static, Said>>,
}

impl Nodes {
    /// A node was announced; `None` if there are too many.
    pub(super) fn announced(&mut self, uid: &str) -> Option<&mut Node> {
        if !self.nodes.contains_key(uid) && self.nodes.len() >= NODES_MAX {
            return None;
        }
        Some(self.nodes.entry(uid.to_owned()).or_default())
    }

    /// A node that was announced.
    pub(super) fn get(&mut self, uid: &str) -> Option<&mut Node> {
        self.nodes.get_mut(uid)
    }

    /// A node is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Option<Node> {
        self.nodes.remove(uid)
    }

    /// All of them are gone.
    pub(super) fn take_all(&mut self) -> Vec<Node> {
        self.nodes.drain().map(|(_, node)| node).collect()
    }

    /// How many are devices, and how many are not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let devices = self.nodes.values().filter(|node| node.device.is_some()).count();
        (devices, self.nodes.len() - devices)
    }

    /// What is said to a node comes out of `downlinks` from now on.
    pub(super) fn listen(&mut self, uid: &str, connection: ConnectionId, queue: mpsc::Receiver<Downlink>) {
        let end = stream::once(std::future::ready((uid.to_owned(), connection, None)));
        let uid = uid.to_owned();
        let said = stream::unfold((queue, uid), move |(mut queue, uid)| async move {
            let downlink = queue.recv().await?;
            Some(((uid.clone(), connection, Some(downlink)), (queue, uid)))
        });
        self.downlinks.push(said.chain(end).boxed());
    }
}

/// The device that a gateway with this key may speak for under this name.
pub(super) async fn device_for(app: &App, key: &Key, name: &str) -> Result<Option<DeviceId>, StoreError> {
    let found = app.store.devices_by_external_id(name).await?;
    let Some(device) = found.into_iter().find(|device| device.dialect == Dialect::Riot) else {
        return Ok(None);
    };
    let Some(devices) = &key.devices else { return Ok(Some(device.id)) };
    let is_it = Selector::Compare(
        Field::Known(Known::Id),
        Operator::Equal,
        SelectorValue::Text(device.id.to_string()),
    );
    let selector = async {
        let selector = Selector::parse(devices)?;
        let groups = app.store.groups().await?;
        Ok::<_, Failure>(group::expand(&selector, &groups)?)
    };
    match selector.await {
        Ok(selector) => {
            let both = Selector::And(Box::new(selector), Box::new(is_it));
            let is_allowed = app.store.count_devices(&both, app.now()).await? > 0;
            Ok(is_allowed.then_some(device.id))
        }
        Err(Failure::Store(error)) => Err(error),
        // A group that it names is gone: nobody is meant any more.
        Err(Failure::Rejected(rejection)) => {
            tracing::warn!(key = key.name, %rejection, "the devices of a key of Pyaiot gateways cannot be told");
            Ok(None)
        }
    }
}
