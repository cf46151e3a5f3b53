//! The workers of a hub: each does its own rounds until it is stopped. What only one node may do runs under a lease, on
//! the node that holds it.

use std::time::Duration;

use motehub_domain::effects::Save;
use motehub_gateway::hub::Arrival;
use motehub_store::{Held, StoreError};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::housekeeping;
use crate::app::App;
use crate::cluster::bus::Heard;
use crate::cluster::leases::Own;
use crate::cluster::{Work, heart};
use crate::flows::{self, Errand};
use crate::{
    activity_file, boards, cluster, commands, inbox, ingest, live, presence, pusher, retention, rollouts,
    rules, shadows, units, usage, webhooks,
};

/// How soon the store is read again that could not be.
const AGAIN: Duration = Duration::from_millis(500);

/// Starts all of them.
pub(super) fn spawn(
    app: &App,
    workers: &TaskTracker,
    offered: Receiver<Arrival>,
    errands: Receiver<Errand>,
    stop: &CancellationToken,
) {
    // What every node does: it has what only it knows, such as its connections.
    workers.spawn(heart::run(app.clone(), stop.clone()));
    workers.spawn(cluster::hear::run(app.clone(), stop.clone()));
    workers.spawn(pusher::elsewhere::run(app.clone(), stop.clone()));
    workers.spawn(presence::run(app.clone(), stop.clone()));
    workers.spawn(presence::run_gone(app.clone(), stop.clone()));
    workers.spawn(ingest::run(app.clone(), offered, stop.clone()));
    workers.spawn(inbox::run(app.clone(), stop.clone()));
    workers.spawn(live::run(app.clone(), stop.clone()));
    workers.spawn(pusher::feed::run(app.clone(), stop.clone()));
    workers.spawn(flows::tell::run(app.clone(), stop.clone()));
    workers.spawn(flows::reach::run(app.clone(), errands, stop.clone()));
    workers.spawn(hear(app.clone(), stop.clone()));
    workers.spawn(rules::run_far(app.clone(), stop.clone()));
    workers.spawn(flows::far::run(app.clone(), stop.clone()));
    // What one node does for all. Each begins with what is in the store.
    let lead = Lead { app, workers, stop };
    lead.lead(Work::Rollouts, rollouts::run);
    lead.lead(Work::Commands, commands::run);
    lead.lead(Work::Commands, shadows::run);
    lead.lead(Work::Flows, flows::plan::run);
    lead.lead(Work::Flows, flows::pass::run);
    lead.lead(Work::Webhooks, webhooks::run);
    lead.lead(Work::Rules, rules::run);
    lead.lead(Work::Rules, rules::run_deeds);
    lead.lead(Work::Upkeep, retention::run);
    lead.lead(Work::Upkeep, usage::run);
    lead.lead(Work::Upkeep, housekeeping::run);
    lead.lead(Work::ActivityFile, activity_file::run);
    lead.lead(Work::Boards, boards::run);
    lead.lead(Work::Units, units::run);
}

struct Lead<'a> {
    app: &'a App,
    workers: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Lead<'_> {
    /// Runs a worker while this node holds the lease of its work. When it is lost the worker is dropped at once, at
    /// whatever it waits for; what it still had on its way to the store is refused there.
    fn lead<F>(&self, work: Work, run: impl Fn(App, CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (app, stop) = (self.app.clone(), self.stop.clone());
        if app.cluster.is_alone() {
            self.workers.spawn(run(app, stop));
            return;
        }
        let Some(mut lease) = app.cluster.leases().watch(work) else { return };
        self.workers.spawn(async move {
            loop {
                let held = tokio::select! {
                    held = gained(&mut lease) => held,
                    () = stop.cancelled() => return,
                };
                let Some(held) = held else { return };
                tokio::select! {
                    () = lost(&mut lease, &held) => continue,
                    () = run(app.under(held.clone()), stop.clone()) => {}
                }
                // It ended, or has nothing to do here, such as where no activity file is set.
                tokio::select! {
                    () = lost(&mut lease, &held) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }
}

/// Does something when a worker ends, also when it is dropped because its lease is lost.
pub(crate) struct AtEnd<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Reads something that a worker needs before it can begin, however long that takes.
pub(crate) async fn read<F: Future<Output = Result<(), StoreError>>>(
    mut read: impl FnMut() -> F,
    what: &str,
) {
    while let Err(error) = read().await {
        tracing::warn!(%error, what, "the store was not read; trying again");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn gained(lease: &mut watch::Receiver<Option<Own>>) -> Option<Held> {
    let own = lease.wait_for(Option::is_some).await.ok()?;
    own.as_ref().map(|own| own.held.clone())
}

async fn lost(lease: &mut watch::Receiver<Option<Own>>, held: &Held) {
    let _ = lease.wait_for(|own| own.as_ref().is_none_or(|own| own.held != *held)).await;
}

/// Other nodes say that there is something to do for whoever does it.
async fn hear(app: App, stop: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut heard: Heard = app.cluster.bus().subscribe("work.*").await;
    loop {
        let message = tokio::select! {
            message = heard.next() => message,
            () = stop.cancelled() => return,
        };
        let Some(message) = message else { return };
        let Some(work) = message.subject().strip_prefix("work.").and_then(Work::parse) else { continue };
        match message.payload.as_ref() {
            b"free" => app.cluster.leases().look(),
            own if own.strip_prefix(b"look ") == Some(app.cluster.node().as_bytes()) => {}
            _ if matches!(work, Work::Rules | Work::Flows) || app.cluster.holds(work) => app.look(work),
            _ => {}
        }
    }
}

impl App {
    /// Something is to be done of this work that another node wrote.
    fn look(&self, work: Work) {
        match work {
            Work::Rollouts => self.rollouts.look(),
            Work::Commands => {
                self.commands.look();
                self.shadows.look();
            }
            Work::Webhooks => self.webhooks.look(),
            Work::Rules => self.rules.look(),
            Work::Flows => self.flows.look(),
            // These look by themselves, or hear of changes by the live feed.
            Work::Upkeep | Work::ActivityFile | Work::Boards | Work::Units => {}
        }
    }

    /// These records were written here: whoever does the work that follows from them looks at once.
    pub(crate) fn tell_holders(&self, saved: &[Save]) {
        if self.cluster.is_alone() {
            return;
        }
        for work in saved.iter().filter_map(work_of).collect::<std::collections::BTreeSet<_>>() {
            self.cluster.nudge(work);
        }
    }
}

/// Who has something to do when this is written.
fn work_of(save: &Save) -> Option<Work> {
    match save {
        Save::Task(_) => Some(Work::Rollouts),
        Save::Execution(it) if it.deadline.is_some() => Some(Work::Commands),
        Save::Shadow(..) => Some(Work::Commands),
        Save::Delivery(_) | Save::Webhook(_) => Some(Work::Webhooks),
        Save::Rule(_) | Save::DeleteRule(_) | Save::Device(_) | Save::DeleteDevice(_) => Some(Work::Rules),
        Save::Flow(_) | Save::Layout(_) => Some(Work::Flows),
        Save::Group(_) | Save::DeleteGroup(_) | Save::Announced(..) => Some(Work::Rules),
        _ => None,
    }
}
