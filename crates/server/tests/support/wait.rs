//! Waiting for a fact with a deadline. The only place of these tests that sleeps.

use std::future::Future;
use std::time::Duration;

/// How long a fact may take on a busy machine.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Asks until there is what a test waits for.
pub(super) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut fact: impl FnMut() -> F) -> T {
    let waited = tokio::time::timeout(WAIT_MAX, async {
        loop {
            if let Some(value) = fact().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
