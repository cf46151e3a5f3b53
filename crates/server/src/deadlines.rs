//! Workers behind what has a deadline: they sleep until the next one, or until they are told that one is new.

use motehub_domain::time::{Span, Time};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::perform::Failure;

/// How often a worker looks even if no deadline is known, and how long it rests after an error.
const REST: Span = Span::minutes(1);

/// Does rounds until shutdown. A round looks at what is due, and says when to look again.
pub(crate) async fn keep(
    app: &App,
    of: &'static str,
    changed: &Notify,
    shutdown: CancellationToken,
    round: impl AsyncFn(&App) -> Result<Time, Failure>,
) {
    loop {
        let next = match round(app).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, of, "what is due could not be looked at");
                app.now() + REST
            }
        };
        tokio::select! {
            () = app.clock.sleep_until(next) => {}
            () = changed.notified() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// When to look again after a round that read `now` once: what fell due during it is due at once in the next.
pub(crate) fn next_round(now: Time, is_full: bool, deadline: Option<Time>) -> Time {
    if is_full {
        return now;
    }
    deadline.unwrap_or(now + REST).max(now + Span(1)).min(now + REST)
}
