//! A hub that runs in this process.

use std::net::SocketAddr;
use std::path::Path;

use motehub_server::{Addresses, Clock, Nodes, Pusher, Pyaiot, Server, Settings};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// It runs until it is dropped.
pub(super) struct Served {
    pub(super) addresses: Addresses,
    pub(super) setup_code: String,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    /// If it runs apart from the test, so that it can end as a machine that dies.
    runtime: Option<Runtime>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Served {
    pub(super) async fn start(settings: Settings) -> Self {
        let server = Server::bind(settings).await.unwrap();
        let addresses = server.addresses();
        let link = server.setup_link().unwrap();
        let setup_code = link.split_once('#').unwrap().1.to_owned();
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let running = Some(tokio::spawn(async move {
            let _ = server.run(ends).await;
        }));
        Self { addresses, setup_code, shutdown, running, runtime: None }
    }

    /// The same on threads of its own; or why it does not start.
    pub(super) async fn start_apart(settings: Settings) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let bound = runtime.spawn(Server::bind(settings)).await.unwrap();
        let server = match bound {
            Ok(server) => server,
            Err(why) => {
                runtime.shutdown_background();
                return Err(why.to_string());
            }
        };
        let addresses = server.addresses();
        let link = server.setup_link().unwrap_or_default();
        let setup_code = link.split_once('#').unwrap_or_default().1.to_owned();
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let running = Some(runtime.spawn(async move {
            let _ = server.run(ends).await;
        }));
        Ok(Self { addresses, setup_code, shutdown, running, runtime: Some(runtime) })
    }

    /// Ends it, and waits until it has written everything.
    pub(super) async fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }
}

/// Everything listens on a free port.
pub(super) fn settings(data: &Path, clock: &Clock) -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        store: servers::store_of(data).parse().unwrap(),
        nodes: Nodes { websocket: Some(free), ..Nodes::default() },
        mdash: Some(free),
        aws: Some(free),
        pyaiot: Pyaiot { address: Some(free), ..Pyaiot::default() },
        pusher: Pusher {
            address: Some(free),
            origins: vec!["http://page.example".to_owned()],
            ..Pusher::default()
        },
        webhook_networks: vec![motehub_domain::network::Network::of([127, 0, 0, 1].into())],
        clock: clock.clone(),
        ..Settings::in_folder(data)
    }
}
