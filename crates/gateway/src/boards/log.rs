//! What boards log: one JSON object per connection, without an end of line, as Logstash takes it. Only boards that are
//! called are heard, by their address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_protocol::esp_firmware::{self, LOG_BYTES_MAX};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Boards;
use crate::hub::Arrival;

/// Most connections at once; further ones are turned away.
const CONNECTIONS_MAX: usize = 64;
/// How long a board may take to say something: it connects anew for each line.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// For how long nobody is let in after that failed.
const PAUSE: Duration = Duration::from_millis(50);

impl Boards {
    /// Takes what boards log until `shutdown`.
    pub async fn take_logs(self, listener: TcpListener, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (Some(device), Ok(place)) = (self.at(peer.ip()), places.clone().try_acquire_owned()) else {
                refused(peer, "unknown");
                continue;
            };
            let boards = self.clone();
            tasks.spawn(async move {
                boards.take_log(stream, peer, device).await;
                drop(place);
            });
        }
        tasks.close();
        let _ = timeout(READ_WITHIN, tasks.wait()).await;
    }

    async fn take_log(&self, stream: TcpStream, peer: SocketAddr, device: DeviceId) {
        let mut said = Vec::new();
        // One byte more than is taken, so that what is too large is known.
        let limit = LOG_BYTES_MAX as u64 + 1;
        let read = timeout(READ_WITHIN, stream.take(limit).read_to_end(&mut said)).await;
        let is_whole = matches!(read, Ok(Ok(_)));
        match esp_firmware::log(&said) {
            Ok(line) => {
                let uplink = Uplink::Log(vec![line]);
                self.0.hub.offer(vec![Arrival { device, uplink, mark: None, again: false }]);
            }
            Err(_) if !is_whole => refused(peer, "broken_off"),
            Err(error) => {
                refused(peer, "malformed");
                self.0.hub.refused(device, error.to_string()).await;
            }
        }
    }

    /// Which board is called at an address.
    fn at(&self, address: IpAddr) -> Option<DeviceId> {
        let address = address.to_canonical();
        let known = self.known();
        known.boards.iter().find(|(_, board)| board.address.ip() == address).map(|(device, _)| *device)
    }
}

fn refused(peer: SocketAddr, reason: &'static str) {
    tracing::debug!(%peer, reason, "a line for a log was not taken");
    metrics::counter!("motehub_boards_lines_refused_total", "reason" => reason).increment(1);
}
