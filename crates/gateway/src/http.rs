//! Device-facing HTTP, and the accept loop it shares with the product's API.
//!
//! A board that took a download tells nobody. What we can see is its side of the connection: it closes only
//! after it has read our close, so a clean end of the stream behind our own means that it took every byte
//! (ADR 0008). The accept loop watches for that and reports [`Uplink::Fetched`].

mod connection;
mod file;
mod mongoose;
mod native;
mod nodemcu;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use motehub_domain::message::Uplink;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use mongoose::{Lent, Links, Pace, routes as mongoose_routes};
pub use native::routes as native_routes;
pub use nodemcu::routes as nodemcu_routes;

use crate::balancer::Listener;
use crate::hub::{Arrival, Hub};
use connection::{Receipt, Watched};

/// Most connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 20_000;
/// How long a client may take to shake hands, and to send a request head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Largest request head in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long running requests may take after the first signal.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Put into a response's extensions by a handler that wants the connection dropped without an answer: an error
/// page would be taken for a program by the board.
#[derive(Debug, Clone, Copy)]
pub struct Drop;

/// In the extensions of a request over TLS: the certificate that the client showed (DER), which its authority signed.
#[derive(Debug, Clone)]
pub struct Shown(pub Arc<[u8]>);

/// Serves a router on a listener until `shutdown`, then drains.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    hub: Arc<dyn Hub>,
    shutdown: CancellationToken,
) {
    serve_with(listener.into(), None, router, hub, shutdown).await;
}

/// The same over TLS.
pub async fn serve_tls(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    router: Router,
    hub: Arc<dyn Hub>,
    shutdown: CancellationToken,
) {
    serve_with(listener.into(), Some(tls.into()), router, hub, shutdown).await;
}

async fn serve_with(
    Listener { tcp: listener, balancers }: Listener,
    tls: Option<TlsAcceptor>,
    router: Router,
    hub: Arc<dyn Hub>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((mut stream, peer)) => {
                let (tls, router, balancers) = (tls.clone(), router.clone(), balancers.clone());
                let (hub, shutdown) = (hub.clone(), shutdown.clone());
                tasks.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let Ok(peer) = balancers.client_of(&mut stream, peer).await else { return };
                    match tls {
                        Some(tls) => secure_connection(tls, stream, peer, router, hub, shutdown).await,
                        None => one_connection(stream, None, peer, router, hub, shutdown).await,
                    }
                    drop(place);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
    tasks.close();
    let _ = tokio::time::timeout(DRAIN_MAX, tasks.wait()).await;
}

/// Out of file descriptors, most likely: without a pause the loop would spin until some are free.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Shakes hands first.
async fn secure_connection(
    tls: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    hub: Arc<dyn Hub>,
    shutdown: CancellationToken,
) {
    match tokio::time::timeout(HEAD_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let shown = shown.map(|certificate| Shown(certificate.as_ref().into()));
            one_connection(stream, shown, peer, router, hub, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake did not succeed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn one_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shown: Option<Shown>,
    peer: SocketAddr,
    router: Router,
    hub: Arc<dyn Hub>,
    shutdown: CancellationToken,
) {
    let receipt = Receipt::default();
    let answer = {
        let receipt = receipt.clone();
        move |request: hyper::Request<hyper::body::Incoming>| {
            let (router, receipt, shown) = (router.clone(), receipt.clone(), shown.clone());
            async move {
                let mut request: Request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(receipt);
                if let Some(shown) = shown {
                    request.extensions_mut().insert(shown);
                }
                let response: Response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                match response.extensions().get::<Drop>() {
                    Some(Drop) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                    None => Ok(response),
                }
            }
        }
    };
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .title_case_headers(true)
        .serve_connection(
            TokioIo::new(Watched::new(stream, receipt.clone())),
            hyper::service::service_fn(answer),
        )
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    if let Some((device, digest)) = receipt.taken() {
        let arrival = Arrival { device, uplink: Uplink::Fetched { digest }, mark: None, again: false };
        for error in hub.uplink(vec![arrival]).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%device, %error, "a download was taken, but that could not be recorded");
        }
    }
}
