//! Where gateways come in: they prove by their key who they are, and are told why if they are not let in.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use motehub_domain::gateway::{self, Gateway, PublicKey};
use motehub_gateway::link::{Down, PATH, Up, proof};
use motehub_protocol::link::{self, FRAME_BYTES_MAX, VERSION};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::session::{Came, Session};
use crate::app::App;

/// How long the handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The route. Links end with `shutdown`.
pub(crate) fn routes(app: &App, shutdown: CancellationToken) -> Router {
    Router::new().route(PATH, get(open)).with_state((app.clone(), shutdown))
}

async fn open(
    State((app, shutdown)): State<(App, CancellationToken)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let version = query.as_deref().and_then(|query| query.strip_prefix("version="));
    if version != Some(&VERSION.to_string()) {
        let theirs = version.unwrap_or("an unknown version");
        let sentence = format!(
            "this hub speaks version {VERSION} of the link, the gateway {theirs}: \
             run the same release of motehub on both"
        );
        return (StatusCode::BAD_REQUEST, sentence).into_response();
    }
    let Ok(place) = app.gateways.shaking.clone().try_acquire_owned() else {
        let sentence = "too many gateways come at once: try again in a moment";
        return (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response();
    };
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    upgrade.on_upgrade(move |mut socket| async move {
        let shaken = timeout(HANDSHAKE_MAX, shake_hands(&app, peer, &mut socket)).await;
        drop(place);
        if let Ok(Some(came)) = shaken {
            Session::begin(app, socket, came).run(shutdown).await;
        }
    })
}

/// The gateway that proved itself; `None` if none did, and it was told so.
async fn shake_hands(app: &App, peer: SocketAddr, socket: &mut WebSocket) -> Option<Came> {
    let nonce = proof::challenge()?;
    let challenge = Down::Challenge { hub: app.gateways.hub.clone(), nonce: nonce.to_vec().into() };
    send(socket, &challenge).await?;
    let Some(Ok(Message::Binary(bytes))) = socket.recv().await else { return None };
    let Ok(Up::Proof { gateway, signature, spool, serves, program }) = link::decode(&bytes) else {
        refuse(socket, "the answer to a challenge is a proof").await;
        return None;
    };
    let found = app.store.gateway(gateway).await.map(|view| view.map(|view| view.gateway));
    let known = |gateway: &Gateway| {
        let holds =
            |key: &PublicKey| proof::is_proven(&key.0, &app.gateways.hub, gateway.id, &nonce, &signature);
        [gateway.next_key, gateway.key].into_iter().flatten().find(holds)
    };
    let proven = found.map(|gateway| gateway.and_then(|gateway| known(&gateway).map(|key| (gateway, key))));
    match proven {
        Ok(Some((gateway, key))) => {
            if let Err(error) = app.perform(gateway::proven(&gateway, key)).await {
                tracing::warn!(%error, gateway = gateway.name, "that a gateway has its new key could not be recorded");
                refuse(socket, "the hub cannot record your key at present: try again later").await;
                return None;
            }
            let address = peer.ip().to_canonical();
            Some(Came { gateway: gateway.id, key, address, spool, serves, program })
        }
        Ok(None) => {
            metrics::counter!("motehub_gateways_refused_total").increment(1);
            tracing::warn!(address = %peer.ip(), %gateway, "a gateway did not prove itself");
            let why = "the hub does not know this gateway, or its key was revoked: make a new join file";
            refuse(socket, why).await;
            None
        }
        Err(error) => {
            tracing::warn!(%error, "a gateway could not be looked up");
            refuse(socket, "the hub cannot look up gateways at present: try again later").await;
            None
        }
    }
}

async fn refuse(socket: &mut WebSocket, why: &str) {
    let _ = send(socket, &Down::Refused { why: why.to_owned() }).await;
}

async fn send(socket: &mut WebSocket, down: &Down) -> Option<()> {
    socket.send(Message::Binary(link::encode(down))).await.ok()
}
