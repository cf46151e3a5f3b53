//! Has the hub keep what the broker wants kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use motehub_domain::kept::Batch;
use tokio_util::sync::CancellationToken;

use super::connection::Shared;

/// The pause before a batch that could not be kept is tried again.
const KEEP_AGAIN: Duration = Duration::from_millis(500);

/// Has the hub keep what the broker wants kept, one batch after the other, for ever if need be: nothing of it is
/// acknowledged before. Ends when the gateway is over and everything is kept.
pub(super) async fn keep(shared: Arc<Shared>, is_over: CancellationToken) {
    loop {
        if let (Some((number, batch)), _) = shared.call(None, |broker, _, _| broker.take_notes()) {
            let lost = keep_batch(&shared, &batch).await;
            shared.call_aside(|broker, now, out| {
                if !lost.is_empty() {
                    broker.lose(now, &lost, out);
                }
                broker.kept(now, number, out);
            });
            shared.carry.kept(number);
        } else if is_over.is_cancelled() {
            return;
        } else {
            tokio::select! {
                () = shared.keep.notified() => {}
                () = is_over.cancelled() => {}
            }
        }
    }
}

/// Gives the sessions that other nodes have taken.
async fn keep_batch(shared: &Shared, batch: &Batch) -> BTreeSet<u64> {
    let held = || shared.look(|broker, _| broker.kept_serials());
    if batch.is_empty() {
        return BTreeSet::new();
    }
    let mut is_failing = false;
    loop {
        match shared.hub.keep(batch, &held).await {
            Ok(lost) => {
                if is_failing {
                    tracing::info!("what MQTT clients must not lose can be stored again");
                }
                return lost;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(%error, "what clients must not lose cannot be stored: nothing is acknowledged");
                }
                tokio::time::sleep(KEEP_AGAIN).await;
            }
        }
    }
}
