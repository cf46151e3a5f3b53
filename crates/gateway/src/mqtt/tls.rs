//! TLS in front of MQTT, and the certificate that the client shows in it.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Slot;
use super::connection::Shared;

/// Shakes hands. What the client showed is remembered for its CONNECT.
pub(super) async fn accept(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    shared: Arc<Shared>,
    slot: Slot,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = acceptor.accept(stream).await?;
    if let Some([shown, ..]) = stream.get_ref().1.peer_certificates() {
        shared.call(None, |broker, _, _| broker.came_with(slot, shown));
    }
    Ok(stream)
}
