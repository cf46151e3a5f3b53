//! The workers of a hub: each does its own rounds until it is stopped.

use motehub_gateway::hub::Arrival;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::housekeeping;
use crate::app::App;
use crate::flows::{self, Errand};
use crate::{
    activity_file, commands, inbox, ingest, live, presence, pusher, retention, rollouts, rules, shadows,
    usage, webhooks,
};

/// Starts all of them.
pub(super) fn spawn(
    app: &App,
    workers: &TaskTracker,
    offered: Receiver<Arrival>,
    errands: Receiver<Errand>,
    stop: &CancellationToken,
) {
    workers.spawn(presence::run(app.clone(), stop.clone()));
    workers.spawn(ingest::run(app.clone(), offered, stop.clone()));
    workers.spawn(inbox::run(app.clone(), stop.clone()));
    workers.spawn(rollouts::run(app.clone(), stop.clone()));
    workers.spawn(commands::run(app.clone(), stop.clone()));
    workers.spawn(flows::plan::run(app.clone(), stop.clone()));
    workers.spawn(flows::pass::run(app.clone(), stop.clone()));
    workers.spawn(flows::tell::run(app.clone(), stop.clone()));
    workers.spawn(flows::reach::run(app.clone(), errands, stop.clone()));
    workers.spawn(webhooks::run(app.clone(), stop.clone()));
    workers.spawn(rules::run(app.clone(), stop.clone()));
    workers.spawn(rules::run_deeds(app.clone(), stop.clone()));
    workers.spawn(shadows::run(app.clone(), stop.clone()));
    workers.spawn(retention::run(app.clone(), stop.clone()));
    workers.spawn(usage::run(app.clone(), stop.clone()));
    workers.spawn(activity_file::run(app.clone(), stop.clone()));
    workers.spawn(live::run(app.clone(), stop.clone()));
    workers.spawn(pusher::feed::run(app.clone(), stop.clone()));
    workers.spawn(housekeeping::run(app.clone(), stop.clone()));
}
