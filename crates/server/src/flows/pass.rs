//! Values on their way: from a board to the steps that take them, on other boards or on the hub, and from the hub to
//! boards. A value is live: what cannot be handed over now is dropped and counted, never kept.

use std::collections::{BTreeSet, HashSet};

use motehub_domain::flow::run::Act;
use motehub_domain::flow::{Kind, Passed, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::message::Downlink;
use motehub_domain::placement::Place;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::{Span, Time};
use motehub_store::Measured;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Errand, Fault, Flows, Running, SEEN_MAX, Table};
use crate::app::App;

/// A value that waited for longer, behind a link that was cut, is not live any more.
const LATE: Span = Span::seconds(10);
/// How long the worker of timers rests if nothing is due.
const REST: Span = Span::minutes(1);

impl App {
    /// A step on a board emitted a value. What is not from the board that runs the step now is dropped: a board that
    /// came back with old code says nothing until it has the new one.
    pub(crate) fn flow_said(&self, device: DeviceId, passed: Passed, at: Time) {
        if self.is_passed_on(device, &passed, at) {
            return;
        }
        let Passed { flow, from, id, value } = passed;
        let now = self.now();
        let mut table = self.flows.table();
        let Some(running) = table.running.get_mut(&flow) else { return dropped("no_flow") };
        if running.layout.places.get(&from) != Some(&Place::Device(device)) {
            return dropped("not_placed_there");
        }
        if now - at > LATE {
            return dropped("late");
        }
        let seen = running.seen.entry(from.clone()).or_default();
        if seen.contains(&(device, id)) {
            return dropped("repeated");
        }
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back((device, id));
        let mut passing = Passing { flows: &self.flows, app: self, now };
        passing.on(running, Place::Device(device), &from, value, Some(id));
        table.moved.insert(flow);
        drop(table);
        self.flows.due.notify_one();
    }

    /// Devices measured something.
    pub(crate) fn flow_measured(&self, measured: &[Measured]) {
        if self.are_passed_on(measured) {
            return;
        }
        let mut table = self.flows.table();
        if table.metrics.is_empty() {
            return;
        }
        let mut emitted = Vec::new();
        for Measured { device, points, .. } in measured {
            for (flow, step, metric) in table.metrics.get(device).into_iter().flatten() {
                let of_it = points.iter().filter(|point| point.metric == *metric);
                emitted.extend(of_it.map(|point| (*flow, step.clone(), plain(&point.value))));
            }
        }
        self.emit(&mut table, emitted);
    }

    /// A device measured something at another node.
    pub(super) fn flow_measured_far(&self, device: DeviceId, metric: &Metric, value: &Value) {
        let mut table = self.flows.table();
        let wants =
            table.metrics.get(&device).into_iter().flatten().filter(|(_, _, wanted)| wanted == metric);
        let emitted = wants.map(|(flow, step, _)| (*flow, step.clone(), value.clone())).collect();
        self.emit(&mut table, emitted);
    }

    /// Something was published to a topic of the broker.
    pub(crate) fn flow_published(&self, topic: &str, payload: &[u8]) {
        let mut table = self.flows.table();
        let mut emitted = Vec::new();
        for running in table.running.values() {
            for step in &running.runner.graph().steps {
                if matches!(&step.kind, Kind::Topic { topic: wanted } if wanted == topic) {
                    let value = serde_json::from_slice(payload)
                        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).into_owned()));
                    emitted.push((running.flow.id, step.id.clone(), value));
                }
            }
        }
        self.emit(&mut table, emitted);
    }

    /// Has the broker tell of the topics that steps on the hub want to hear.
    pub(super) fn tap_topics(&self) {
        let Some(mqtt) = self.mqtt.get() else { return };
        let table = self.flows.table();
        let steps = table.running.values().flat_map(|running| &running.runner.graph().steps);
        let topics = steps.filter_map(|step| match &step.kind {
            Kind::Topic { topic } => Some(topic.as_str().into()),
            _ => None,
        });
        let topics: HashSet<Box<str>> = topics.collect();
        drop(table);
        mqtt.tap(topics);
    }

    fn emit(&self, table: &mut Table, emitted: Vec<(FlowId, StepId, Value)>) {
        if emitted.is_empty() {
            return;
        }
        let now = self.now();
        let mut passing = Passing { flows: &self.flows, app: self, now };
        for (flow, step, value) in emitted {
            let Some(running) = table.running.get_mut(&flow) else { continue };
            let acts = running.runner.emit(&step, value, now);
            passing.act(running, acts);
            table.moved.insert(flow);
        }
        self.flows.due.notify_one();
    }
}

/// Timers of steps on the hub. Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        let due = {
            let table = app.flows.table();
            table.running.values().filter_map(|running| running.runner.due()).min()
        };
        let due = due.unwrap_or_else(|| app.now() + REST);
        tokio::select! {
            () = app.clock.sleep_until(due) => {}
            () = app.flows.due.notified() => continue,
            () = shutdown.cancelled() => return,
        }
        let now = app.now();
        let mut table = app.flows.table();
        let mut moved = Vec::new();
        let mut passing = Passing { flows: &app.flows, app: &app, now };
        for (flow, running) in &mut table.running {
            if running.runner.due().is_some_and(|due| due <= now) {
                let acts = running.runner.tick(now);
                passing.act(running, acts);
                moved.push(*flow);
            }
        }
        table.moved.extend(moved);
    }
}

struct Passing<'a> {
    flows: &'a Flows,
    app: &'a App,
    now: Time,
}

impl Passing<'_> {
    /// A step emitted a value somewhere: it goes to the steps elsewhere that take it.
    fn on(&mut self, running: &mut Running, at: Place, from: &StepId, value: Value, id: Option<i64>) {
        let mut boards = BTreeSet::new();
        let mut is_for_hub = false;
        let targets: Vec<StepId> = running.runner.graph().targets(from).cloned().collect();
        for target in targets {
            let place = running.layout.places.get(&target).copied();
            let is_there = match place {
                Some(Place::Device(device)) => place == Some(at) || self.app.is_online(device),
                Some(Place::Hub) => true,
                None => false,
            };
            let wire = running.wires.entry((from.clone(), target)).or_default();
            if !is_there {
                wire.dropped += 1;
                continue;
            }
            wire.messages += 1;
            wire.last = Some((self.now, value.clone()));
            match place {
                _ if place == Some(at) => {}
                Some(Place::Device(device)) => {
                    boards.insert(device);
                }
                _ => is_for_hub = true,
            }
        }
        if !boards.is_empty() {
            let id = id.unwrap_or_else(|| {
                running.sent += 1;
                running.sent
            });
            let passed = Passed { flow: running.flow.id, from: from.clone(), id, value: value.clone() };
            let downlink = Downlink::Passed(Box::new(passed));
            for board in boards {
                self.app.send(board, &downlink);
            }
        }
        if is_for_hub {
            let acts = running.runner.take(from, value, self.now);
            self.act(running, acts);
        }
    }

    /// Does what came of a value on the hub.
    fn act(&mut self, running: &mut Running, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Emitted(step, value) => self.on(running, Place::Hub, &step, value, None),
                Act::Do(step, value) => {
                    let errand = Errand { flow: running.flow.id, step: step.clone(), value };
                    if self.flows.errands.try_send(errand).is_err() {
                        metrics::counter!("motehub_flow_values_dropped_total", "reason" => "queue_full")
                            .increment(1);
                        running.fault(step, "too much waits: the value was dropped".to_owned(), self.now);
                    }
                }
                Act::Failed(step, why) => running.fault(step, why, self.now),
            }
        }
    }
}

impl Running {
    /// A step could not do something.
    pub(super) fn fault(&mut self, step: StepId, message: String, now: Time) {
        let fault =
            self.errors.entry(step).or_insert_with(|| Fault { message: String::new(), count: 0, at: now });
        (fault.message, fault.count, fault.at) = (message, fault.count + 1, now);
    }
}

fn dropped(reason: &'static str) {
    metrics::counter!("motehub_flow_values_dropped_total", "reason" => reason).increment(1);
}

/// A measured value as flows know values.
pub(super) fn plain(value: &PointValue) -> Value {
    match value {
        PointValue::Number(number) => motehub_domain::expression::number(*number),
        PointValue::Boolean(truth) => Value::Bool(*truth),
        PointValue::Text(text) => Value::String(text.clone()),
        PointValue::Json(text) => serde_json::from_str(text).unwrap_or(Value::Null),
    }
}
