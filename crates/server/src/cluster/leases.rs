//! The leases of this node: which work it does for all.
//!
//! A lease is held for [`TTL`] and renewed with every heartbeat. A holder that cannot renew counts it as lost by its
//! own monotonic clock, a while before anybody else can take it, whatever the clocks of other machines say.

use std::collections::BTreeMap;
use std::time::Duration;

use motehub_domain::time::{Span, Time};
use motehub_store::{Held, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Work;

/// For how long a lease is taken.
pub(crate) const TTL: Span = Span::seconds(6);
/// So long before its end a holder counts a lease as lost.
const MARGIN: Duration = Duration::from_millis(1_500);

/// A lease that this node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) held: Held,
    /// It ends then, unless it is renewed.
    ends_at: Instant,
}

/// What this node holds.
pub(crate) struct Leases {
    own: BTreeMap<Work, watch::Sender<Option<Own>>>,
    /// Something may be free earlier than it would be looked for.
    free: Notify,
}

impl Leases {
    /// Of what this node can do.
    pub(super) fn of(works: impl Iterator<Item = Work>) -> Self {
        Self { own: works.map(|work| (work, watch::channel(None).0)).collect(), free: Notify::new() }
    }

    /// Whether this node holds a lease at this moment.
    pub(crate) fn holds(&self, work: Work) -> bool {
        self.own(work).is_some_and(|own| Instant::now() < own.ends_at)
    }

    /// Whether this very lease is held at this moment.
    pub(crate) fn is_held(&self, held: &Held) -> bool {
        let own = Work::parse(&held.work).and_then(|work| self.own(work));
        own.is_some_and(|own| own.held == *held && Instant::now() < own.ends_at)
    }

    /// What becomes of a lease. None for what this node cannot do.
    pub(crate) fn watch(&self, work: Work) -> Option<watch::Receiver<Option<Own>>> {
        Some(self.own.get(&work)?.subscribe())
    }

    /// All that this node can do.
    pub(crate) fn all(&self) -> impl Iterator<Item = Work> {
        self.own.keys().copied()
    }

    /// The work that this node does.
    pub(crate) fn works(&self) -> Vec<Work> {
        self.all().filter(|work| self.holds(*work)).collect()
    }

    /// A node left: what it did is free.
    pub(crate) fn look(&self) {
        self.free.notify_one();
    }

    /// Until something may be free.
    pub(super) async fn freed(&self) {
        self.free.notified().await;
    }

    fn own(&self, work: Work) -> Option<Own> {
        self.own.get(&work)?.borrow().clone()
    }

    fn set(&self, work: Work, own: Option<Own>) {
        let Some(lease) = self.own.get(&work) else { return };
        let was = lease.send_replace(own.clone());
        match (was, own) {
            (None, Some(own)) => {
                tracing::info!(work = work.as_str(), epoch = own.held.epoch, "this node does it now");
            }
            (Some(_), None) => tracing::warn!(work = work.as_str(), "this node does it no more"),
            _ => {}
        }
    }

    /// Renews what this node holds and takes what nobody holds. `now` is the time of the database.
    pub(super) async fn keep(
        &self,
        store: &Store,
        instance: &str,
        node: &str,
        now: Time,
    ) -> Result<(), StoreError> {
        let (begun, until) = (Instant::now(), now + TTL);
        let ends_at = begun + Duration::from_millis(TTL.0.unsigned_abs()) - MARGIN;
        for work in Work::ALL {
            let Some(own) = self.own(work) else { continue };
            let is_ours = store.renew_lease(&own.held, until).await?;
            self.set(work, is_ours.then_some(Own { ends_at, ..own }));
        }
        let taken: Vec<String> = store
            .leases()
            .await?
            .into_iter()
            .filter(|lease| lease.until >= now && lease.held.holder != instance)
            .map(|lease| lease.held.work)
            .collect();
        for work in self.all() {
            let is_free = !taken.iter().any(|name| name == work.as_str());
            if is_free && self.own(work).is_none() {
                let held = store.take_lease(work.as_str(), instance, node, until, now).await?;
                self.set(work, held.map(|held| Own { held, ends_at }));
            }
        }
        Ok(())
    }

    /// What was not renewed in time is lost.
    pub(super) fn expire(&self) {
        for work in Work::ALL {
            if self.own(work).is_some_and(|own| Instant::now() >= own.ends_at) {
                self.set(work, None);
            }
        }
    }

    /// Gives everything back, for others to take at once.
    pub(super) async fn release(&self, store: &Store) {
        for work in Work::ALL {
            if let Some(own) = self.own(work) {
                self.set(work, None);
                if let Err(error) = store.release_lease(&own.held).await {
                    tracing::warn!(%error, "a lease could not be given back; it ends by itself");
                }
            }
        }
    }
}
