//! Units that dial in: known by their greeting, or else by the address that they come from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::line::{Direction, is_allowed};
use motehub_domain::text;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Shared, Word, dial, greeting};

/// How many that are not known yet are heard at once; further ones wait outside.
const STRANGERS_MAX: usize = 64;
/// After an error of the listener, such as no free file, it pauses.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, shutdown: CancellationToken) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let next = async {
            let turn = strangers.clone().acquire_owned().await.expect("because it is never closed");
            (listener.accept().await, turn)
        };
        let Some((accepted, turn)) = shutdown.run_until_cancelled(next).await else { return };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, shutdown) = (shared.clone(), shutdown.clone());
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    let _turn = turn;
                    let _ = shutdown.run_until_cancelled(hear(&shared, stream, peer)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the listener for units took no connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn hear(shared: &Shared, mut stream: TcpStream, peer: SocketAddr) {
    if let Err(rejection) = is_allowed(peer.ip(), &shared.networks) {
        return refused(peer, &rejection.sentence);
    }
    dial::prepare(&stream);
    if shared.has_caller(peer) {
        if !shared.tell_caller(stream, peer) {
            refused(peer, "the unit comes faster than it is served");
        }
        return;
    }
    match greeting::read(&mut stream).await {
        Ok(said) => {
            if !shared.tell_greeter(&said, Direction::Listen, Word::Came(stream, peer)) {
                let said = text::shown(&said, 40);
                refused(peer, &format!("no unit dials in from there, and none greets with {said:?}"));
            }
        }
        Err(why) => refused(peer, &why),
    }
}

fn refused(peer: SocketAddr, why: &str) {
    metrics::counter!("motehub_units_strangers_total").increment(1);
    tracing::info!(%peer, why, "somebody who dialled in is no unit");
}
