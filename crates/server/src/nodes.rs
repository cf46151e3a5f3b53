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
    mqtt: Option<TcpListener>,
    mqtt_sn: Option<nodes::mqtt_sn::Gateway>,
}

/// Where nodes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// By WebSocket.
    pub websocket: Option<SocketAddr>,
    /// By MQTT.
    pub mqtt: Option<SocketAddr>,
    /// By MQTT-SN.
    pub mqtt_sn: Option<SocketAddr>,
}

impl Listeners {
    pub(crate) async fn bind(settings: &settings::Nodes, hub: &Arc<dyn Hub>) -> io::Result<Self> {
        let websocket = match settings.websocket {
            Some(address) => Some(listen::tcp("--nodes-ws", address).await?),
            None => None,
        };
        let mqtt = match settings.mqtt {
            Some(address) => Some(listen::tcp("--nodes-mqtt", address).await?),
            None => None,
        };
        let mqtt_sn = settings.mqtt_sn.map(|address| {
            let bound = nodes::mqtt_sn::Gateway::bind(address, hub.clone(), nodes::Pace::by_topics());
            bound.map_err(|error| listen::about(&format!("--mqtt-sn {address}"), &error))
        });
        Ok(Self { websocket, mqtt, mqtt_sn: mqtt_sn.transpose()? })
    }

    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            websocket: self.websocket.as_ref().map(TcpListener::local_addr).transpose()?,
            mqtt: self.mqtt.as_ref().map(TcpListener::local_addr).transpose()?,
            mqtt_sn: self.mqtt_sn.as_ref().map(nodes::mqtt_sn::Gateway::address),
        })
    }

    /// Serves what is bound, until `shutdown`.
    pub(crate) fn serve(self, hub: &Arc<dyn Hub>, tasks: &TaskTracker, shutdown: &CancellationToken) {
        if let Some(listener) = self.websocket {
            let router = nodes::routes(hub.clone(), nodes::Pace::default(), shutdown.clone());
            let router = router.layer(CatchPanicLayer::custom(panicked));
            tasks.spawn(http::serve(listener, router, hub.clone(), shutdown.clone()));
        }
        if let Some(listener) = self.mqtt {
            let pace = nodes::Pace::by_topics();
            tasks.spawn(nodes::mqtt::serve(listener, hub.clone(), pace, shutdown.clone()));
        }
        if let Some(gateway) = self.mqtt_sn {
            tasks.spawn(gateway.run(shutdown.clone()));
        }
    }
}
