//! What pages that look at a flow are told: how its wires move, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use motehub_domain::flow::{Kind, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::time::Time;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Flows;
use crate::app::App;
use crate::live::News;

/// How often pages are told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        for (flow, wires) in app.flows.moved(|flow| app.live.watched.is_followed_elsewhere(flow)) {
            app.show(News::Flow(flow, Arc::new(wires)));
        }
    }
}

impl Flows {
    /// How the wires stand of flows that somebody looks at, as far as they moved.
    fn moved(&self, is_followed_elsewhere: impl Fn(FlowId) -> bool) -> Vec<(FlowId, Value)> {
        let mut table = self.table();
        let moved = std::mem::take(&mut table.moved);
        let is_looked_at = |flow: &FlowId| table.followed.contains_key(flow) || is_followed_elsewhere(*flow);
        let looked_at = moved.into_iter().filter(is_looked_at);
        let wires = looked_at.filter_map(|flow| {
            let wires = table.running.get(&flow)?.wires.iter();
            let wires = wires.map(|((from, to), wire)| {
                let last = wire.last.as_ref().map(|(_, value)| value);
                json!([from.as_str(), to.as_str(), wire.messages, last])
            });
            Some((flow, wires.collect()))
        });
        wires.collect()
    }

    /// Of a step that runs: the name of its flow, what it does, and the device that it names.
    pub(super) fn kind(&self, flow: FlowId, step: &StepId) -> Option<(String, Kind, Option<DeviceId>)> {
        let table = self.table();
        let running = table.running.get(&flow)?;
        let kind = running.runner.graph().step(step)?.kind.clone();
        let device = match &kind {
            Kind::Switch { device, .. } | Kind::Command { device, .. } => running.named.get(device).copied(),
            _ => None,
        };
        Some((running.flow.name.clone(), kind, device))
    }

    /// A step could not do something.
    pub(super) fn fault(&self, flow: FlowId, step: StepId, why: String, now: Time) {
        let mut table = self.table();
        if let Some(running) = table.running.get_mut(&flow) {
            running.fault(step, why, now);
        }
        table.moved.insert(flow);
    }
}
