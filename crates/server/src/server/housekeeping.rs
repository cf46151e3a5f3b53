//! What is to be done from time to time: telemetry merged into its chunks, what has expired removed.

use motehub_domain::command;
use motehub_domain::time::Span;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often telemetry is merged into its chunks.
const MERGE_EVERY: Span = Span::minutes(1);
/// How often logins that have expired are removed.
const SWEEP_EVERY: Span = Span::minutes(60);
/// How many old commands are removed each time.
const COMMANDS_SWEPT: usize = 1000;

/// Moves telemetry from the hot table into its chunks, a step at a time, and removes logins that have expired.
pub(super) async fn run(app: App, shutdown: CancellationToken) {
    let mut sweep_at = app.now();
    loop {
        if app.now() >= sweep_at {
            sweep_at = app.now() + SWEEP_EVERY;
            if let Err(error) = app.store.sweep_logins(app.now()).await {
                tracing::error!(%error, "expired logins could not be removed");
            }
            if let Err(error) = app.store.sweep_invitations(app.now()).await {
                tracing::error!(%error, "expired invitations could not be removed");
            }
            if let Err(error) = app.store.sweep_commands(app.now() - command::KEPT, COMMANDS_SWEPT).await {
                tracing::error!(%error, "old commands could not be removed");
            }
        }
        let next = app.now() + MERGE_EVERY;
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = app.store.merge_wanted() => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = app.store.merge(app.now()).await {
            tracing::error!(%error, "telemetry could not be merged into its chunks");
        }
    }
}
