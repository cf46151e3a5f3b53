//! One link: frames in, answers and downlinks out, until it is lost or cut.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use motehub_domain::gateway::PublicKey;
use motehub_domain::id::GatewayId;
use motehub_gateway::hub::ConnectionId;
use motehub_gateway::link::{Down, SILENCE_MAX, Up};
use motehub_protocol::link;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Link, WAITING_MAX};
use crate::app::App;

/// How many questions of a gateway are worked on at once; further ones wait in its socket.
const UNDER_WAY_MAX: usize = 1_024;
/// How long a frame may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// A gateway that proved itself.
pub(super) struct Came {
    pub(super) gateway: GatewayId,
    pub(super) key: PublicKey,
    pub(super) address: IpAddr,
    pub(super) spool: u64,
    pub(super) serves: String,
    pub(super) program: String,
}

/// A link that is served.
pub(super) struct Session {
    socket: WebSocket,
    says: mpsc::Receiver<Down>,
    peer: Arc<Peer>,
}

/// The gateway at the other end, for whoever answers its questions.
pub(super) struct Peer {
    pub(super) app: App,
    pub(super) link: Arc<Link>,
    /// The connections of its devices: its numbers and ours.
    pub(super) connections: Mutex<HashMap<ConnectionId, ConnectionId>>,
    /// By which it proved itself.
    pub(super) key: PublicKey,
    /// Which spool it has.
    pub(super) spool: u64,
    /// Whether it was looked up for this link how far each lane is taken: another node may have had the one before.
    pub(super) looked_up: [AtomicBool; 2],
}

/// The link is over, for this reason.
struct Over(String);

type Answering<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = (u64, Bytes)> + Send + 'a>>>;

impl Session {
    /// A link begins; it takes the place of the one that the gateway had.
    pub(super) fn begin(app: App, socket: WebSocket, came: Came) -> Self {
        let Came { gateway, key, address, spool, serves, program } = came;
        let (sender, says) = mpsc::channel(WAITING_MAX);
        let link = Arc::new(Link {
            gateway,
            address,
            since: app.now(),
            serves,
            program,
            says: sender,
            cut: CancellationToken::new(),
            why: Mutex::default(),
            heard: Mutex::default(),
            allowed: Mutex::default(),
        });
        app.enter_gateway(&link);
        let peer = Arc::new(Peer {
            app,
            link,
            connections: Mutex::default(),
            key,
            spool,
            looked_up: Default::default(),
        });
        Self { socket, says, peer }
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let Self { mut socket, mut says, peer } = self;
        let (app, link) = (peer.app.clone(), peer.link.clone());
        app.gateway_linked(&link).await;
        app.tell_units_of(&link);
        let over = tokio::select! {
            over = serve(&peer, &mut socket, &mut says) => over,
            () = link.cut.cancelled() => Over(reason(&link)),
            () = shutdown.cancelled() => Over("the hub stops".to_owned()),
        };
        let refused = Down::Refused { why: over.0.clone() };
        let _ = timeout(Duration::from_secs(1), send(&mut socket, &refused)).await;
        drop(socket);
        app.gateways.leave(&link);
        app.gateway_lost(&link, &over.0).await;
    }
}

fn reason(link: &Link) -> String {
    let why = link.why.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    why.clone().unwrap_or_default()
}

async fn serve(peer: &Arc<Peer>, socket: &mut WebSocket, says: &mut mpsc::Receiver<Down>) -> Over {
    let mut answering: Answering<'_> = FuturesUnordered::new();
    let mut heard_at = Instant::now();
    let welcome = match peer.welcome().await {
        Ok(Some(welcome)) => welcome,
        Ok(None) => return Over("its key was revoked".to_owned()),
        Err(error) => return Over(format!("the hub cannot read what it knows: {error}")),
    };
    if let Err(over) = send(socket, &welcome).await {
        return over;
    }
    loop {
        let may_read = answering.len() < UNDER_WAY_MAX;
        let said = tokio::select! {
            message = socket.recv(), if may_read => {
                heard_at = Instant::now();
                let frame = match message {
                    Some(Ok(Message::Binary(bytes))) => link::decode(&bytes),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => {
                        return Over("the connection ended".to_owned());
                    }
                };
                match frame {
                    Ok(Up::Ask { id, question }) => {
                        let answer = peer.answer(question);
                        answering.push(Box::pin(async move { (id, answer.await) }));
                        continue;
                    }
                    Ok(Up::Beat(status)) => {
                        peer.link.hear(status, peer.app.now());
                        peer.app.say_link(&peer.link);
                        Down::Beat
                    }
                    Ok(Up::Proof { .. }) => return Over("it proves itself twice".to_owned()),
                    Err(error) => return Over(error.to_string()),
                }
            }
            Some((id, answer)) = answering.next(), if !answering.is_empty() => Down::Answer { id, answer },
            Some(down) = says.recv() => down,
            () = tokio::time::sleep_until(heard_at + SILENCE_MAX), if may_read => {
                return Over("it is silent".to_owned());
            }
        };
        if let Err(over) = send(socket, &said).await {
            return over;
        }
    }
}

async fn send(socket: &mut WebSocket, down: &Down) -> Result<(), Over> {
    match timeout(WRITE_MAX, socket.send(Message::Binary(link::encode(down)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Over("the connection ended".to_owned())),
        Err(_) => Err(Over("it takes nothing any more".to_owned())),
    }
}
