//! Flows of a hub of several nodes: one node passes values and runs the steps on the hub. What other nodes hear of
//! boards and metrics they pass on to it by the bus; what they deploy and stop it reads from the store. A value is
//! live: one that is lost on its way is lost.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use motehub_domain::change::Actor;
use motehub_domain::flow::{Kind, Passed, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Time;
use motehub_store::Measured;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::Ordering;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::Table;
use super::pass::plain;
use crate::app::App;
use crate::cluster::Work;
use crate::live::News;
use crate::perform::Failure;

/// The subject of the bus.
const SUBJECT: &str = "flows.heard";
/// How often it is looked whether flows were deployed at another node.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What another node heard.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Heard {
    Said { device: String, flow: String, from: String, id: i64, value: Value, at: i64 },
    Measured { device: String, metric: String, value: Value },
}

/// Clears what runs when this node does it no more: it would go on beside the next one.
pub(super) struct Clears(pub(super) App);

impl Drop for Clears {
    fn drop(&mut self) {
        if !self.0.cluster.is_alone() {
            let mut table = self.0.flows.table();
            let followed = std::mem::take(&mut table.followed);
            let elsewhere = std::mem::take(&mut table.elsewhere);
            *table = Table { followed, elsewhere, ..Table::default() };
        }
    }
}

/// Runs until shutdown, on every node of several.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut heard = app.cluster.bus().subscribe(SUBJECT).await;
    let (mut ticks, mut news) = (interval(LOOK_EVERY), app.live.subscribe());
    loop {
        let looks = tokio::select! {
            message = heard.next() => {
                let Some(message) = message else { return };
                if app.cluster.holds(Work::Flows) && app.heard_far(&message.payload).is_none() {
                    metrics::counter!("motehub_bus_dropped_total", "reason" => "not understood").increment(1);
                }
                false
            }
            item = news.recv() => {
                match item {
                    Ok(News::Changes(changes)) if app.cluster.holds(Work::Flows) => {
                        for recorded in changes.iter() {
                            if let Some(device) = recorded.change.device {
                                app.flows.saw_far(device, recorded.change.kind.as_str(), app.now());
                            }
                        }
                    }
                    Err(RecvError::Closed) => return,
                    _ => {}
                }
                false
            }
            _ = ticks.tick() => true,
            () = app.flows.far.notified() => true,
            () = shutdown.cancelled() => return,
        };
        if looks {
            app.flows.elsewhere.store(true, Ordering::SeqCst);
            app.flows.changed.notify_one();
            if !app.cluster.holds(Work::Flows)
                && let Err(error) = app.learn_metrics().await
            {
                tracing::warn!(%error, "what flows want of this node could not be read");
            }
        }
    }
}

impl super::Flows {
    /// Another node wrote something about flows.
    pub(crate) fn look(&self) {
        self.far.notify_one();
    }

    /// Something became of a board, as the store says.
    fn saw_far(&self, device: DeviceId, kind: &str, now: Time) {
        let mut table = self.table();
        if !table.boards.contains(&device) && !table.uses(device) {
            return;
        }
        match kind {
            "device_online" => table.saw(device, true, now),
            "device_offline" | "device_unreachable" => table.saw(device, false, now),
            _ => return,
        }
        drop(table);
        self.changed.notify_one();
    }
}

impl App {
    /// Passes on what a board said, if another node passes values. Whether it does.
    pub(super) fn is_passed_on(&self, device: DeviceId, passed: &Passed, at: Time) -> bool {
        if self.cluster.holds(Work::Flows) {
            return false;
        }
        self.say_far(&Heard::Said {
            device: device.to_string(),
            flow: passed.flow.to_string(),
            from: passed.from.as_str().to_owned(),
            id: passed.id,
            value: passed.value.clone(),
            at: at.0,
        });
        true
    }

    /// The same for what devices measured.
    pub(super) fn are_passed_on(&self, measured: &[Measured]) -> bool {
        if self.cluster.holds(Work::Flows) {
            return false;
        }
        let wanted = self.flows.table().elsewhere.clone();
        for Measured { device, points, .. } in measured.iter().filter(|it| wanted.contains_key(&it.device)) {
            let of_it = points.iter().filter(|point| wanted[device].contains(&point.metric));
            for point in of_it {
                self.say_far(&Heard::Measured {
                    device: device.to_string(),
                    metric: point.metric.as_str().to_owned(),
                    value: plain(&point.value),
                });
            }
        }
        true
    }

    fn say_far(&self, heard: &Heard) {
        self.cluster.bus().publish(SUBJECT, serde_json::to_vec(heard).unwrap_or_default());
    }

    fn heard_far(&self, payload: &[u8]) -> Option<()> {
        match serde_json::from_slice(payload).ok()? {
            Heard::Said { device, flow, from, id, value, at } => {
                let (flow, from) = (flow.parse::<FlowId>().ok()?, StepId::parse(&from).ok()?);
                self.flow_said(device.parse().ok()?, Passed { flow, from, id, value }, Time(at));
            }
            Heard::Measured { device, metric, value } => {
                let (device, metric): (DeviceId, Metric) =
                    (device.parse().ok()?, Metric::parse(&metric).ok()?);
                self.flow_measured_far(device, &metric, &value);
            }
        }
        Some(())
    }

    /// What flows want to know of devices that may be connected here.
    async fn learn_metrics(&self) -> Result<(), Failure> {
        let mut wanted: HashMap<DeviceId, BTreeSet<Metric>> = HashMap::new();
        for flow in self.store.deployed_flows().await? {
            let Some(layout) = self.store.layout(flow.id).await? else { continue };
            let Some(version) = self.store.flow_version(flow.id, layout.version).await? else { continue };
            let named = self.named(&version.graph).await?;
            for step in &version.graph.steps {
                if let Kind::Metric { device, metric } = &step.kind
                    && let Some(id) = named.get(device)
                {
                    wanted.entry(*id).or_default().insert(metric.clone());
                }
            }
        }
        self.flows.table().elsewhere = wanted;
        Ok(())
    }

    /// Runs what was deployed at another node, and ends what was stopped there.
    pub(super) async fn follow_store(&self) -> Result<(), Failure> {
        let _turn = self.flows.planning.lock().await;
        let deployed = self.store.deployed_flows().await?;
        let mut titles = Vec::new();
        let ended: Vec<(FlowId, String)> = {
            let table = self.flows.table();
            let gone = table.running.values().filter(|it| !deployed.iter().any(|flow| flow.id == it.flow.id));
            gone.map(|it| (it.flow.id, format!("{} stopped", it.flow.name))).collect()
        };
        for (id, title) in ended {
            self.flows.end(id);
            titles.push(title);
        }
        for flow in deployed {
            let Some(layout) = self.store.layout(flow.id).await? else { continue };
            let is_known = self.flows.table().running.get(&flow.id).is_some_and(|it| it.layout == layout);
            if is_known {
                continue;
            }
            let Some(version) = self.store.flow_version(flow.id, layout.version).await? else { continue };
            titles.push(format!("{} v{}", flow.name, layout.version));
            self.go(flow, layout, &version.graph).await?;
        }
        if !titles.is_empty() {
            self.tap_topics();
            self.give_programs(&titles.join(", "), &Actor::System).await?;
        }
        Ok(())
    }
}
