//! One connection to a unit: only to an address inside the networks that are allowed, whatever its name resolves to.

use std::net::SocketAddr;
use std::time::Duration;

use motehub_domain::line::{Address, is_allowed};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Shared;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a name may take to be resolved.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;
/// How long a connection is silent before its other end is asked whether it is there, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(20), Duration::from_secs(5), 4);
/// After so long without a word of the other end that it has what was said, a connection is over.
const UNHEARD_MAX: Duration = Duration::from_secs(20);

/// The addresses at which a unit may be dialled.
///
/// # Errors
/// With a sentence, if there is none.
pub(super) async fn addresses(shared: &Shared, address: &Address) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> = match address.ip() {
        Some(ip) => vec![SocketAddr::new(ip, address.port)],
        None => match timeout(RESOLVE_MAX, lookup_host((address.host(), address.port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(format!("the name {} is not known here", address.host())),
        },
    };
    let mut refused = None;
    let allowed = found.into_iter().filter(|address| match is_allowed(address.ip(), &shared.networks) {
        Ok(()) => true,
        Err(rejection) => {
            refused = Some(rejection.sentence);
            false
        }
    });
    let allowed: Vec<SocketAddr> = allowed.take(ADDRESSES_MAX).collect();
    match allowed.is_empty() {
        true => {
            metrics::counter!("motehub_units_addresses_refused_total").increment(1);
            Err(refused.unwrap_or_else(|| format!("the name {} has no address", address.host())))
        }
        false => Ok(allowed),
    }
}

/// Connects.
///
/// # Errors
/// With a sentence, if nobody answers in time.
pub(super) async fn connect(shared: &Shared, address: SocketAddr) -> Result<TcpStream, String> {
    let _turn = shared.dials.acquire().await.expect("because it is never closed");
    let stream = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("{address} does not take a connection: {error}")),
        Err(_) => {
            let seconds = CONNECT_MAX.as_secs();
            return Err(format!("{address} did not answer within {seconds} seconds: is the unit on?"));
        }
    };
    prepare(&stream);
    Ok(stream)
}

/// A connection whose other end is gone without a word is found out.
pub(super) fn prepare(stream: &TcpStream) {
    let (after, every, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(times);
    let socket = SockRef::from(stream);
    let set = socket.set_tcp_keepalive(&keepalive);
    let set = set.and_then(|()| socket.set_tcp_user_timeout(Some(UNHEARD_MAX)));
    if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
        tracing::debug!(%error, "a connection of a unit could not be set up as it should be");
    }
}
