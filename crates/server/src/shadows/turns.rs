//! One after the other, in the order they came: a row for each thing of which only one may be done at once. Who has a
//! place waits until those before it are done; a place is given up by dropping it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

/// With so many rows, those in which nobody stands are forgotten.
const ROWS_MAX: usize = 1_024;

/// The rows: of each the end of the last one in it.
pub(crate) struct Turns<K>(Mutex<HashMap<K, oneshot::Receiver<()>>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A place in a row.
pub(crate) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped with the place, which is what the next in the row waits for.
    _end: oneshot::Sender<()>,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Takes a place in a row.
    pub(super) fn line_up(&self, key: &K) -> Turn {
        self.line_up_all([key.clone()]).remove(key).expect("because a place was taken")
    }

    /// Takes a place in several rows at once: so nobody waits for somebody who waits for it.
    pub(super) fn line_up_all(&self, keys: impl IntoIterator<Item = K>) -> HashMap<K, Turn> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= ROWS_MAX {
            rows.retain(|_, last| matches!(last.try_recv(), Err(TryRecvError::Empty)));
        }
        let mut places = HashMap::new();
        for key in keys {
            places.entry(key.clone()).or_insert_with(|| {
                let (end, last) = oneshot::channel();
                Turn { before: rows.insert(key, last), _end: end }
            });
        }
        places
    }
}

impl Turn {
    /// Waits for it. It is over when the place is dropped.
    pub(crate) async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            // An error is what is awaited: the one before has given up its place.
            let _ = before.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waits_for_those_before_it_in_its_row() {
        let turns = Turns::default();
        let take = |key: &'static str| turns.line_up(&key);
        let (mut first, mut second, mut other) = (take("a"), take("a"), take("b"));
        other.comes().await;
        first.comes().await;
        let waiting = tokio::spawn(async move { second.comes().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(take("a"));
        take("a").comes().await;
    }
}
