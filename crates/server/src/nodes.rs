//! The listeners for nodes of the Pyaiot family that come by themselves and have no credential. Each is off unless it
//! is asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use motehub_gateway::hub::Hub;
use motehub_gateway::{http, nodes};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use crate::server::{listen, panicked};
use crate::settings;

/// The sockets, as far as they are bound.
pub(crate) struct Listeners {
    websocket: Option<TcpListener>,
}

/// Where nodes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// By WebSocket.
    pub websocket: Option<SocketAddr>,
}

impl Listeners {
    pub(crate) async fn bind(settings: &settings::Nodes) -> io::Result<Self> {
        let websocket = match settings.websocket {
            Some(address) => Some(listen::tcp("--nodes-ws", address).await?),
            None => None,
        };
        Ok(Self { websocket })
    }

    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses { websocket: self.websocket.as_ref().map(TcpListener::local_addr).transpose()? })
    }

    /// Serves what is bound, until `shutdown`.
    pub(crate) fn serve(self, hub: &Arc<dyn Hub>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        if let Some(listener) = self.websocket {
            let router = nodes::routes(hub.clone(), nodes::Pace::default(), shutdown.clone());
            let router = router.layer(CatchPanicLayer::custom(panicked));
            tasks.spawn(http::serve(listener, router, hub.clone(), shutdown.clone()));
        }
    }
}
