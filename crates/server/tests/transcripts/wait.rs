//! Waiting for a fact with a deadline: the only place here that pauses.

use std::time::{Duration, Instant};

/// How long a fact or an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before the product is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until it is as wanted; the error is what was seen last.
pub(crate) fn until(mut look: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if seen.is_ok() || Instant::now() >= deadline {
            return seen;
        }
        std::thread::sleep(PAUSE);
    }
}
