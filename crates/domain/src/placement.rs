//! Placement: which board runs which step of a flow, and why. What a step requires is hard; among the boards that can
//! run it, the best score wins. What runs stays where it is, unless it has to move or gains clearly more than a move
//! costs.

mod plan;
mod room;
mod watch;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::{Graph, StepId};
use crate::id::DeviceId;
use crate::rejection::Rejection;
use crate::script::Language;

pub use watch::{HOLD_MAX, HOLD_MIN, SETTLE, Watch};

/// Most candidates that are told of a step: the best ones.
pub const CANDIDATES_MAX: usize = 50;

/// A device that may run steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// In which languages it runs generated code.
    pub languages: Vec<Language>,
    /// What it can do.
    pub capabilities: BTreeSet<String>,
    /// Whether it is there.
    pub available: bool,
    /// Whether it has been there long enough to be counted on. If not, it keeps what it runs, and gets only what no
    /// other board can run.
    pub trusted: bool,
    /// How many steps of other flows it runs.
    pub others: usize,
    /// The most steps of all flows that it can hold, if that was [`learn`]ed.
    pub limit: Option<usize>,
    /// Why it may not be used, if it may not: it runs a person's script, it was banned.
    pub refused: Option<String>,
}

/// Where a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the hub.
    Hub,
    /// On a board.
    Device(DeviceId),
}

/// Where all steps of a flow run.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Each step, in the order of the graph.
    pub steps: Vec<Placed>,
}

/// Where a step runs, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Which step.
    pub step: StepId,
    /// Where; nowhere if no board can run it and the hub cannot either.
    pub place: Option<Place>,
    /// The reason, for people.
    pub why: String,
    /// The boards that were compared, the best first, then those that cannot run it; at most [`CANDIDATES_MAX`]. None
    /// for steps that belong on the hub.
    pub candidates: Vec<Candidate>,
}

/// What spoke for and against a board.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Which board.
    pub board: DeviceId,
    /// How well it suits the step.
    pub parts: Score,
    /// Why it cannot run the step, for people, if it cannot.
    pub obstacle: Option<String>,
}

/// How well a board suits a step: the parts, each with its weight already in it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Preferred capabilities that it has.
    pub priorities: f64,
    /// How little it runs.
    pub load: f64,
    /// How little else it can do.
    pub specificity: f64,
    /// Neighbours of the step that it runs.
    pub neighbourhood: f64,
    /// That it runs the step already.
    pub stickiness: f64,
}

impl Score {
    /// The sum.
    pub fn total(&self) -> f64 {
        self.priorities + self.load + self.specificity + self.neighbourhood + self.stickiness
    }
    /// The sum as a whole number, so that what differs only in rounding is the same.
    fn rounded(&self) -> i64 {
        rounded(self.total())
    }
}

/// In billionths.
#[expect(clippy::cast_possible_truncation, reason = "weights are at most 10")]
fn rounded(score: f64) -> i64 {
    (score * 1e9).round() as i64
}

/// How boards are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Of the share of preferred capabilities that the board has.
    pub priorities: f64,
    /// Of one over the number of steps it would have.
    pub load: f64,
    /// Of the share of its capabilities that the step requires: boards that can do more are kept for others.
    pub specificity: f64,
    /// Of the share of the step's neighbours that run on the same board: they reach each other without a message.
    pub neighbourhood: f64,
    /// Of running where it runs already; with 0, every plan begins anew.
    pub stickiness: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { priorities: 0.5, load: 0.4, specificity: 0.1, neighbourhood: 0.2, stickiness: 0.5 }
    }
}

impl Weights {
    /// Each with its name.
    pub fn named_mut(&mut self) -> [(&'static str, &mut f64); 5] {
        [
            ("priorities", &mut self.priorities),
            ("load", &mut self.load),
            ("specificity", &mut self.specificity),
            ("neighbourhood", &mut self.neighbourhood),
            ("stickiness", &mut self.stickiness),
        ]
    }
}

/// Decides where the steps of a flow run. `before`: where they run now; empty to begin anew.
///
/// 1. What runs on a board that is still there and may still run it stays.
/// 2. All others get a board in the order of the graph, each the one with the best score; of equals, the first by name.
///    For a step that finds no room, steps that are more flexible make room. What no board can run and the hub can, if
///    it requires nothing of a board, the hub runs.
/// 3. If nothing had to move, a step moves that gains more than [`Weights::stickiness`] elsewhere.
///
/// The same arguments give the same placement, in whatever order the boards are; and the result, given as `before`,
/// gives itself.
pub fn place(graph: &Graph, boards: &[Board], before: &BTreeMap<StepId, Place>) -> Placement {
    plan::Plan::new(graph, boards, before).make()
}

/// What is known of the limit of a board that ran out of memory with so many steps of all flows on it: one less, and
/// never more than was known. A limit is about a board and the code it was given; it is forgotten only on purpose.
pub fn learn(known: Option<usize>, steps: usize) -> usize {
    known.unwrap_or(usize::MAX).min(steps.saturating_sub(1))
}

impl Placement {
    /// Where each step runs that runs somewhere.
    pub fn places(&self) -> BTreeMap<StepId, Place> {
        let placed = self.steps.iter().filter_map(|step| Some((step.step.clone(), step.place?)));
        placed.collect()
    }

    /// Every step runs somewhere.
    ///
    /// # Errors
    /// Which step does not, and which of its requirements is not met.
    pub fn complete(&self, graph: &Graph) -> Result<(), Rejection> {
        let Some(unplaced) = self.steps.iter().find(|step| step.place.is_none()) else { return Ok(()) };
        let field = match graph.step(&unplaced.step) {
            Some(step) if step.runs_on.is_some() => "runs_on",
            Some(step) if !step.requires.is_empty() => "requires",
            Some(step) if step.kind.language().is_some() => "language",
            _ => "kind",
        };
        Err(Rejection::invalid(&format!("steps.{}.{field}", unplaced.step), unplaced.why.as_str()))
    }
}

#[cfg(test)]
mod tests;
