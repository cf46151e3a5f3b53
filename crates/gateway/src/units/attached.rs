//! Whether a unit is there, as the hub is told, and what the hub says to it.

use std::net::SocketAddr;
use std::sync::Arc;

use motehub_domain::id::DeviceId;
use motehub_domain::message::Downlink;
use tokio::sync::mpsc;

use super::Shared;
use crate::hub::{Connection, ConnectionId, Hub, Transport};

/// How many downlinks wait for a unit; further ones are dropped and said again later.
const DOWNLINKS_MAX: usize = 2 * motehub_domain::line::QUEUE_MAX;

/// The presence of one unit.
pub(super) struct Attached {
    shared: Arc<Shared>,
    hub: Arc<dyn Hub>,
    device: DeviceId,
    now: Option<(ConnectionId, SocketAddr, mpsc::Receiver<Downlink>)>,
}

impl Attached {
    pub(super) fn new(shared: Arc<Shared>, hub: Arc<dyn Hub>, device: DeviceId) -> Self {
        Self { shared, hub, device, now: None }
    }

    /// It is there, at this address; the hub says what waits for it.
    pub(super) async fn at(&mut self, address: SocketAddr) {
        if self.now.as_ref().is_some_and(|(_, was, _)| *was == address) {
            return;
        }
        let before = self.now.take();
        let (sender, downlinks) = mpsc::channel(DOWNLINKS_MAX);
        let id = self.shared.next_connection();
        let (device, transport) = (self.device, Transport::Line);
        self.hub.attach(Connection { id, device, address, transport, silence_max: None }, sender).await;
        self.now = Some((id, address, downlinks));
        if let Some((id, _, _)) = before {
            self.hub.detach(id).await;
        }
        self.hub.listens(device).await;
    }

    /// It is gone.
    pub(super) async fn gone(&mut self) {
        if let Some((id, _, _)) = self.now.take() {
            self.hub.detach(id).await;
        }
    }

    /// Whether it is there, as far as is known.
    pub(super) fn is_there(&self) -> bool {
        self.now.is_some()
    }

    /// What the hub says; `None` when it ended the connection. Never, while the unit is not there.
    pub(super) async fn said(&mut self) -> Option<Downlink> {
        let said = match &mut self.now {
            Some((_, _, downlinks)) => downlinks.recv().await,
            None => std::future::pending().await,
        };
        if said.is_none() {
            self.now = None;
        }
        said
    }
}
