//! What is between a gateway and its hub: a wire that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Whole.
    Whole,
    /// What the gateway says arrives; what the hub answers does not.
    Deaf,
    /// Cut: connections end, and none is made.
    Cut,
}

/// A wire before a hub; it ends when it is dropped.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    state: watch::Sender<Wire>,
    heard: Heard,
}

/// What gateways said over a cable.
type Heard = Arc<Mutex<Vec<u8>>>;

impl Cable {
    /// A whole one.
    pub(crate) async fn to(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, states) = watch::channel(Wire::Whole);
        let heard = Heard::default();
        let ear = heard.clone();
        tokio::spawn(async move {
            let states = Arc::new(states);
            loop {
                let mut ended = (*states).clone();
                let gateway = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    // The sender is dropped with the cable.
                    _ = async { while ended.changed().await.is_ok() {} } => return,
                };
                let is_whole = *states.borrow() == Wire::Whole;
                if is_whole && let Ok(hub) = TcpStream::connect(hub).await {
                    tokio::spawn(carry(gateway, hub, (*states).clone(), ear.clone()));
                }
            }
        });
        Self { address, state, heard }
    }

    /// Everything that gateways said over it, byte for byte.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }

    /// Changes it.
    pub(crate) fn set(&self, wire: Wire) {
        self.state.send_replace(wire);
    }
}

async fn is_cut(state: &mut watch::Receiver<Wire>) {
    let _ = state.wait_for(|wire| *wire == Wire::Cut).await;
}

async fn carry(mut gateway: TcpStream, mut hub: TcpStream, mut state: watch::Receiver<Wire>, ear: Heard) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let now = state.clone();
    loop {
        let passed = tokio::select! {
            () = is_cut(&mut state) => return,
            read = gateway.read(&mut up) => match read {
                Ok(count @ 1..) => {
                    ear.lock().unwrap().extend(&up[..count]);
                    hub.write_all(&up[..count]).await
                }
                Ok(0) | Err(_) => return,
            },
            read = hub.read(&mut down) => {
                let is_whole = *now.borrow() == Wire::Whole;
                match read {
                    Ok(count @ 1..) if is_whole => gateway.write_all(&down[..count]).await,
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => return,
                }
            }
        };
        if passed.is_err() {
            return;
        }
    }
}
