//! What is in memory of records that other nodes write too: it is read again now and then, and what was written here
//! meanwhile is not lost by that.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use motehub_store::StoreError;

/// Something in memory that is also in the store.
pub(crate) struct Mirror<T> {
    value: Mutex<T>,
    /// How often records of it were written here. Raised while the value is locked.
    changes: AtomicU64,
    reading: tokio::sync::Mutex<()>,
}

impl<T> Mirror<T> {
    /// As it is in the store.
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changes: AtomicU64::new(0), reading: tokio::sync::Mutex::default() }
    }

    /// The value, locked: hold it only for a moment.
    pub(crate) fn look(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to have it follow what was just written here.
    pub(crate) fn change(&self) -> MutexGuard<'_, T> {
        let value = self.look();
        self.changes.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// Until this is dropped, it is not read again.
    pub(crate) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Reads it again, and once more as often as something was written here meanwhile, which may not be in what was
    /// read. One reads after the other, so that what was read first is not taken last.
    ///
    /// # Errors
    /// If it cannot be read; the value stays as it is.
    pub(crate) async fn refresh<R, U, F>(
        &self,
        read: impl Fn() -> F,
        take: impl FnOnce(&mut T, R) -> U,
    ) -> Result<U, StoreError>
    where
        F: Future<Output = Result<R, StoreError>>,
    {
        let _reading = self.hold().await;
        loop {
            let changes = self.changes.load(Ordering::Relaxed);
            let found = read().await?;
            let mut value = self.look();
            if self.changes.load(Ordering::Relaxed) == changes {
                return Ok(take(&mut value, found));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    fn replace(value: &mut Vec<&'static str>, found: Vec<&'static str>) {
        *value = found;
    }

    #[tokio::test]
    async fn what_is_written_while_it_is_read_stays() {
        let keys = Mirror::new(vec!["one", "two"]);
        let store = RefCell::new(vec!["one", "two"]);
        let read = || {
            let found = store.borrow().clone();
            if store.borrow().contains(&"two") {
                // It is revoked, and another one is made, behind what was read.
                *store.borrow_mut() = vec!["one", "three"];
                keys.change().retain(|key| *key != "two");
                keys.change().push("three");
            }
            std::future::ready(Ok(found))
        };
        keys.refresh(read, replace).await.expect("because it can be read");
        assert_eq!(*keys.look(), ["one", "three"]);
    }

    #[tokio::test]
    async fn of_two_who_read_the_first_does_not_end_last() {
        let keys = Mirror::new(vec!["one"]);
        let (sender, answer) = oneshot::channel();
        let answer = RefCell::new(Some(answer));
        let slow = || {
            let answer = answer.borrow_mut().take();
            async { Ok(answer.expect("because it is read once").await.expect("because it is sent")) }
        };
        let mut first = pin!(keys.refresh(slow, replace));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = pin!(keys.refresh(|| std::future::ready(Ok(vec!["newer"])), replace));
        assert!(second.as_mut().now_or_never().is_none());
        sender.send(vec!["older"]).expect("because it is awaited");
        first.await.expect("because it can be read");
        second.await.expect("because it can be read");
        assert_eq!(*keys.look(), ["newer"]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_stays() {
        let keys = Mirror::new(vec!["one"]);
        let away = || std::future::ready(Err(StoreError::Unavailable("away".to_owned())));
        assert!(keys.refresh(away, replace).await.is_err());
        assert_eq!(*keys.look(), ["one"]);
    }
}
