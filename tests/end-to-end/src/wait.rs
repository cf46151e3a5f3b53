//! Waiting for facts. The only place that sleeps.

use std::time::{Duration, Instant};

/// How long a fact may take on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits until `fact` gives something.
pub fn until<T>(what: &str, fact: impl FnMut() -> Option<T>) -> T {
    until_within(WAIT_MAX, what, fact)
}

/// Waits until `fact` gives something, for a span.
///
/// # Panics
/// When the span is over.
pub fn until_within<T>(span: Duration, what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(start.elapsed() < span, "waited {span:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Waits until something holds, or for a span; whether it held.
pub fn waited(span: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() >= span {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    true
}
