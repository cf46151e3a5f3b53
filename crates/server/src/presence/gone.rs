//! Devices of nodes that are gone. Most of them come back at another node within seconds, and nobody needs to know that
//! they were away; those that do not within [`GRACE`] are gone too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use motehub_domain::device::Reach;
use motehub_domain::id::DeviceId;
use motehub_domain::time::{Span, Time};
use motehub_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::{BATCH_MAX, Dirty, From, keep};
use crate::app::App;
use crate::perform::Failure;

/// How long the devices of a node that is gone have to come back.
pub(crate) const GRACE: Span = Span::seconds(15);
/// How often it is looked which nodes are gone.
const LOOK_EVERY: Span = Span::seconds(2);

/// Runs until shutdown. A hub that is alone counts all devices as gone when it starts.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut missing: BTreeMap<Arc<str>, Time> = BTreeMap::new();
    // What this node had when it ended last is not here, however soon it is back.
    missing.insert(app.cluster.node().into(), app.now());
    loop {
        tokio::select! {
            () = app.clock.sleep_until(app.now() + LOOK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = look(&app, &mut missing).await {
            tracing::warn!(%error, "devices of a node that is gone could not be counted as gone; trying again");
        }
    }
}

async fn look(app: &App, missing: &mut BTreeMap<Arc<str>, Time>) -> Result<(), Failure> {
    let own: Arc<str> = app.cluster.node().into();
    let alive: BTreeSet<Arc<str>> = app.cluster.others().iter().map(|node| node.as_str().into()).collect();
    let holders = app.elsewhere.counts();
    missing.retain(|node, _| *node == own || (!alive.contains(node) && holders.contains_key(node)));
    for node in holders.keys().filter(|node| !alive.contains(*node) && **node != own) {
        // One that left, or was gone already when this node came, is missed from now on.
        let since = app.cluster.gone_since(node).filter(|since| app.now() - *since < GRACE);
        missing.entry(node.clone()).or_insert(since.unwrap_or(app.now()).min(app.now()));
    }
    // One node is enough, whichever: if two do it, the second finds it done.
    let is_first = alive.first().is_none_or(|first| own < *first);
    let gone =
        missing.iter().filter(|(node, since)| app.now() - **since >= GRACE && (**node == own || is_first));
    let gone: Vec<Arc<str>> = gone.map(|(node, _)| node.clone()).collect();
    for node in gone {
        while count_as_gone(app, &node).await? {}
        missing.remove(&node);
    }
    Ok(())
}

/// A batch of the devices of a node. Whether there were some.
async fn count_as_gone(app: &App, node: &str) -> Result<bool, Failure> {
    let mut devices: Vec<DeviceId> = app.elsewhere.of(node, usize::MAX);
    devices.retain(|device| !app.connections.is_here(*device));
    devices.truncate(BATCH_MAX);
    if devices.is_empty() {
        return Ok(false);
    }
    let went = |device: &DeviceId| {
        let from = From::Node(node.into());
        Dirty { device: *device, address: None, reach: Reach::Offline, gateway: None, from }
    };
    let batch = devices.iter().map(went).collect();
    let done = match keep::effects(app, batch).await {
        Ok(effects) => app.perform(effects).await,
        Err(error) => Err(error),
    };
    match done {
        // Some came back meanwhile: what is known of them is read anew.
        Ok(()) | Err(Failure::Store(StoreError::Conflict { .. })) => {}
        Err(error) => return Err(error),
    }
    app.read_holders(&devices).await?;
    Ok(true)
}
