//! From when somebody was looked up until the hub knows of the connection, it cannot be ended. Whether it was to be
//! ended in between is seen to here, for connections that go on without showing anything again.

use tokio::sync::mpsc;

use super::{Client, Connection, Hub, Knock, Refusal};
use motehub_domain::message::Downlink;

/// What somebody showed, and how often somebody had been ended before it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    knock: Knock,
    endings: u64,
}

impl Shown {
    /// Asks the hub who knocks.
    pub(crate) async fn ask(hub: &dyn Hub, knock: Knock) -> (Self, Result<Client, Refusal>) {
        let shown = Self { knock: knock.clone(), endings: hub.endings() };
        (shown, hub.authenticate(knock).await)
    }

    /// The connection begins. If what was shown is not good any more, it is over at once, as if the hub had ended it.
    pub(crate) async fn attach(
        self,
        hub: &dyn Hub,
        connection: Connection,
        downlinks: mpsc::Sender<Downlink>,
    ) {
        let Connection { id, device, .. } = connection;
        hub.attach(connection, downlinks).await;
        if hub.endings() == self.endings {
            return;
        }
        let answer = hub.authenticate(self.knock).await;
        if answer.ok().and_then(|client| client.device).is_none_or(|identity| identity.device != device) {
            hub.detach(id).await;
        }
    }
}
