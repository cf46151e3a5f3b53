//! The clock: the system's, or one that a test moves by hand. The only file that reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use motehub_domain::time::{Span, Time};
use tokio::sync::Notify;

/// Tells the time and waits for it.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// A clock that stands still until it is moved.
    Manual(Arc<ManualClock>),
}

/// The state of a clock that is moved by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// A clock that stands at a moment.
    pub fn manual(now: Time) -> Self {
        Self::Manual(Arc::new(ManualClock { now_ms: AtomicI64::new(now.0), moved: Notify::new() }))
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Time {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(clock) => Time(clock.now_ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; a system clock is left alone.
    pub fn advance(&self, span: Span) {
        if let Self::Manual(clock) = self {
            clock.now_ms.fetch_add(span.0, Ordering::SeqCst);
            clock.moved.notify_waiters();
        }
    }

    /// Waits until a moment. A jump of the system's clock makes it late or early by at most a minute.
    pub async fn sleep_until(&self, until: Time) {
        loop {
            match self {
                Self::System => {
                    let left = (until - self.now()).0;
                    let Ok(left) = u64::try_from(left) else { return };
                    if left == 0 {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(left.min(60_000))).await;
                }
                Self::Manual(clock) => {
                    let moved = clock.moved.notified();
                    tokio::pin!(moved);
                    moved.as_mut().enable();
                    if self.now() >= until {
                        return;
                    }
                    moved.await;
                }
            }
        }
    }
}

/// A moment as the number of its milliseconds, for serde.
pub(crate) mod as_number {
    use motehub_domain::time::Time;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        i64::deserialize(from).map(Time)
    }
}
