//! Flows: graphs of steps joined by wires. A person draws one; [`crate::placement`] decides which board runs which of
//! its steps, and the hub runs the others.
//!
//! A step has one output. Every value that it emits goes along each wire that leaves it; a step that takes values takes
//! them from all wires that lead to it.

mod check;
mod read;
pub mod run;
mod settings;
mod step;
#[cfg(test)]
mod tests;
mod verb;
mod write;

use std::collections::BTreeMap;

use crate::id::{DeviceId, FlowId};
use crate::placement::{Place, Weights};
use crate::time::Time;

pub use check::sources;
pub use read::graph;
pub use settings::{Average, Compare, Debounce, Operand, Operator, Rule, Sensor};
pub use step::{Kind, Step, StepId, Wanted, Where};
pub use verb::{Words, create, delete, deploy, edit, lay_out, moves, save_version, stop};
pub use write::document;

/// Most steps of one flow.
pub const STEPS_MAX: usize = 200;
/// Most wires of one flow.
pub const WIRES_MAX: usize = 1_000;
/// Longest document of a flow in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Longest value that is passed along a wire, as JSON in bytes: what a small board can take.
pub const VALUE_BYTES_MAX: usize = 1_024;

/// What a person drew, and where it may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// In the order in which they were drawn. Ids are unique.
    pub steps: Vec<Step>,
    /// Between steps that exist; no two are the same, and they lead in no circle.
    pub wires: Vec<Wire>,
    /// Which boards may run steps, as a selector; all that can if it is not said.
    pub boards: Option<String>,
    /// Whether steps may take the place of a script that a person gave a board.
    pub take_over: bool,
    /// How boards are compared.
    pub weights: Weights,
}

/// A way for values from one step to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wire {
    /// The step that emits.
    pub from: StepId,
    /// The step that takes.
    pub to: StepId,
}

/// A flow as it is kept. Its graph is in its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Its id.
    pub id: FlowId,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// The newest version, from 1.
    pub latest_version: i64,
    /// The version that runs, if one does.
    pub deployed: Option<i64>,
    /// When it was made.
    pub created_at: Time,
    /// When it or its newest version was last changed.
    pub updated_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// One immutable version of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowVersion {
    /// Of which flow.
    pub flow: FlowId,
    /// From 1, without gaps.
    pub version: i64,
    /// The name of whoever saved it.
    pub author: String,
    /// When it was saved.
    pub created_at: Time,
    /// What changed, in the author's words; may be empty.
    pub comment: String,
    /// What was drawn.
    pub graph: Graph,
}

/// Where the steps of a flow run, from a moment on until the next layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Of which flow.
    pub flow: FlowId,
    /// From 1, without gaps; the last one holds.
    pub number: i64,
    /// Of which version.
    pub version: i64,
    /// From when on.
    pub at: Time,
    /// Why, in words for people: `deployed by ada`, `bench-2 went away`.
    pub cause: String,
    /// Where each step runs. A step that is not here runs nowhere.
    pub places: BTreeMap<StepId, Place>,
}

/// How many steps of a flow a board was found to hold at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Of which flow.
    pub flow: FlowId,
    /// Which board.
    pub device: DeviceId,
    /// So many steps, of all flows together.
    pub steps: usize,
    /// How that was found out, in words for people.
    pub reason: String,
    /// When.
    pub at: Time,
}

/// A value on its way from a step to steps elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// Of which flow.
    pub flow: FlowId,
    /// The step that emitted it.
    pub from: StepId,
    /// A number that this board or hub gives no other value of this step: a repeat is known by it.
    pub id: i64,
    /// What was emitted.
    pub value: serde_json::Value,
}

impl Graph {
    /// A step by its id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }
    /// The steps that take what a step emits, in the order of the wires.
    pub fn targets<'a>(&'a self, of: &'a StepId) -> impl Iterator<Item = &'a StepId> {
        self.wires.iter().filter(move |wire| wire.from == *of).map(|wire| &wire.to)
    }
    /// The steps whose values a step takes, in the order of the wires.
    pub fn sources<'a>(&'a self, of: &'a StepId) -> impl Iterator<Item = &'a StepId> {
        self.wires.iter().filter(move |wire| wire.to == *of).map(|wire| &wire.from)
    }
}

/// The name under which the values of a step travel between boards and the hub: `<flow>/<step>`.
pub fn wire_name(flow: FlowId, from: &StepId) -> String {
    format!("{flow}/{from}")
}

/// Flow and step of such a name.
pub fn read_wire_name(text: &str) -> Option<(FlowId, StepId)> {
    let (flow, step) = text.split_once('/')?;
    Some((flow.parse().ok()?, StepId::parse(step).ok()?))
}
