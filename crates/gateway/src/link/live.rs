//! A link while it lives: questions go out with numbers, answers come back in any order.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use motehub_protocol::link::{self, Wire};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Question, Up};
use crate::hub::UplinkError;

/// How many questions may be on their way; further ones wait.
pub(super) const UNDER_WAY_MAX: usize = 256;
/// How many may be on their way in all, with those that must not wait because their order matters.
const ORDERED_MAX: usize = 4 * UNDER_WAY_MAX;

/// The link is lost, or was before it was asked. Whether the question arrived is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// What is answered while there is no link.
pub(super) fn unlinked() -> UplinkError {
    UplinkError::Unavailable("this gateway has no link to its hub".to_owned())
}

/// A live link.
pub(super) struct Live {
    frames: mpsc::UnboundedSender<Bytes>,
    places: Semaphore,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    next: u64,
    /// `None` when the link is over.
    answers: Option<HashMap<u64, oneshot::Sender<Bytes>>>,
}

/// An answer that is on its way.
pub(super) struct Coming(Option<oneshot::Receiver<Bytes>>);

impl Live {
    /// A link whose frames are taken from the other end of `frames`, which is bounded by the questions on their way.
    pub(super) fn new(frames: mpsc::UnboundedSender<Bytes>) -> Self {
        let pending = Pending { next: 0, answers: Some(HashMap::new()) };
        Self { frames, places: Semaphore::new(UNDER_WAY_MAX), pending: Mutex::new(pending) }
    }

    /// Asks when it is its turn, and waits for the answer.
    pub(super) async fn ask<T: Wire>(&self, question: Question) -> Result<T, Lost> {
        let _place = self.places.acquire().await.map_err(|_| Lost)?;
        self.begin(question).answer().await
    }

    /// Asks at once: questions begun one after the other arrive in this order.
    pub(super) fn begin(&self, question: Question) -> Coming {
        let mut pending = self.pending();
        let id = pending.next;
        pending.next += 1;
        let Some(answers) = pending.answers.as_mut().filter(|answers| answers.len() < ORDERED_MAX) else {
            return Coming(None);
        };
        let (answer, coming) = oneshot::channel();
        answers.insert(id, answer);
        // While the table is held, so that they go out in the order of their numbers.
        let sent = self.frames.send(link::encode(&Up::Ask { id, question }));
        Coming(sent.is_ok().then_some(coming))
    }

    /// An answer came.
    pub(super) fn answered(&self, id: u64, answer: Bytes) {
        let asker = self.pending().answers.as_mut().and_then(|answers| answers.remove(&id));
        if let Some(asker) = asker {
            let _ = asker.send(answer);
        }
    }

    /// The link is over: nobody waits any longer.
    pub(super) fn is_over(&self) {
        self.places.close();
        self.pending().answers = None;
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coming {
    /// Waits for it.
    pub(super) async fn answer<T: Wire>(self) -> Result<T, Lost> {
        let answer = self.0.ok_or(Lost)?.await.map_err(|_| Lost)?;
        link::decode(&answer).map_err(|error| {
            tracing::error!(%error, "the hub gave an answer that cannot be read");
            Lost
        })
    }
}
