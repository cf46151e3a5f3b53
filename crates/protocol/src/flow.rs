//! Code for the steps of flows that run on a board: a small script in the board's language that does what
//! [`motehub_domain::flow::run::Runner`] does. Values that others elsewhere take go out under the
//! [`wire_name`] of the step that emits them, with an id that grows; what comes with an id that was among the last
//! eight of its wire is dropped, since it may come twice.
//!
//! A text that an expression makes of a number that is not whole has as many digits as the board writes.

mod blocks;
mod lua;
mod python;

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::expression::{Binary, Function, Node};
use motehub_domain::flow::{Graph, Kind, Step, StepId, wire_name};
use motehub_domain::id::FlowId;
use serde_json::Value;

/// The steps of one flow that run on a board.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Which flow.
    pub flow: FlowId,
    /// All of it.
    pub graph: &'a Graph,
    /// The steps that run on the board.
    pub here: BTreeSet<StepId>,
}

/// A sensor is read this soon after the start, in milliseconds, if not sooner.
const FIRST_MS: i64 = 1000;

/// For which boards code is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell<'a> {
    /// With the agent for NodeMCU.
    Lua,
    /// With the agent for MicroPython.
    Python,
    /// With the unmodified ESP-FIRMWARE: what goes out is published as `{"w": wire, "i": id, "v": value}` to
    /// `flows/<key>/out`, and what comes in is heard on `flows/<key>/in`.
    EspFirmware {
        /// What the board is called in its topics: a level of a topic.
        key: &'a str,
    },
}

/// A script for all steps that run on a board; if there are none, one that does nothing. `capabilities` are the
/// board's.
pub fn program(parts: &[Part<'_>], capabilities: &BTreeSet<String>, shell: Shell<'_>) -> String {
    let wiring = Wiring::of(parts);
    match shell {
        Shell::Lua => lua::program(&wiring, capabilities),
        Shell::Python | Shell::EspFirmware { .. } => python::program(&wiring, capabilities, shell),
    }
}

/// What a board with ESP-FIRMWARE says that it runs: `kind:id` of each step, with blanks between them.
pub fn nodes(parts: &[Part<'_>]) -> String {
    nodes_of(&Wiring::of(parts))
}

fn nodes_of(wiring: &Wiring<'_>) -> String {
    let names = wiring.steps.iter().map(|step| format!("{}:{}", step.step.kind.as_str(), step.step.id));
    names.collect::<Vec<_>>().join(" ")
}

/// What leads where on a board.
struct Wiring<'a> {
    flows: Vec<FlowId>,
    /// In the order of the parts and of the graphs.
    steps: Vec<Here<'a>>,
    /// Names of what emits, here or elsewhere, and who takes it here.
    routes: Vec<(Name<'a>, Vec<Name<'a>>)>,
    /// What others elsewhere take.
    away: Vec<Name<'a>>,
    /// What comes from elsewhere.
    heard: Vec<Name<'a>>,
}

/// A step that runs here.
struct Here<'a> {
    name: Name<'a>,
    step: &'a Step,
    /// How many wires lead to it.
    wires: usize,
}

/// A step on a board: the number of its flow, from 1, and its id.
#[derive(Clone, Copy)]
struct Name<'a> {
    flow: usize,
    id: &'a StepId,
}

impl<'a> Wiring<'a> {
    fn of(parts: &'a [Part<'a>]) -> Self {
        let mut wiring = Self {
            flows: parts.iter().map(|part| part.flow).collect(),
            steps: Vec::new(),
            routes: Vec::new(),
            away: Vec::new(),
            heard: Vec::new(),
        };
        for (at, part) in parts.iter().enumerate() {
            wiring.add(at + 1, part);
        }
        wiring
    }

    fn add(&mut self, flow: usize, part: &'a Part<'a>) {
        let mut targets: BTreeMap<&StepId, (Vec<Name<'a>>, bool)> = BTreeMap::new();
        for wire in &part.graph.wires {
            let (near, far) = targets.entry(&wire.from).or_default();
            match part.here.contains(&wire.to) {
                true => near.push(Name { flow, id: &wire.to }),
                false => *far = true,
            }
        }
        for step in &part.graph.steps {
            let name = Name { flow, id: &step.id };
            let (near, far) = targets.remove(&step.id).unwrap_or_default();
            let is_here = part.here.contains(&step.id);
            if is_here {
                self.steps.push(Here { name, step, wires: part.graph.sources(&step.id).count() });
            }
            if is_here && far {
                self.away.push(name);
            }
            if !near.is_empty() {
                if !is_here {
                    self.heard.push(name);
                }
                self.routes.push((name, near));
            }
        }
    }

    /// What all wires of a flow begin with.
    fn prefix(&self, flow: usize) -> String {
        // The name of a wire without the step.
        let any = StepId::parse("s").expect("because it is a letter");
        let mut name = wire_name(self.flows[flow - 1], &any);
        name.truncate(name.len() - any.as_str().len());
        name
    }

    /// The step that makes a board with these capabilities run out of memory, if there is one.
    fn failing(&self, capabilities: &BTreeSet<String>) -> Option<&Here<'a>> {
        let fails = |here: &&Here<'a>| match &here.step.kind {
            Kind::Failure { tags } => tags.iter().all(|tag| capabilities.contains(tag)),
            _ => false,
        };
        self.steps.iter().find(fails)
    }

    /// Whether some step may emit a value that is too large for a wire.
    fn may_be_big(&self) -> bool {
        self.steps.iter().any(|here| match &here.step.kind {
            Kind::Pass | Kind::Code { .. } => true,
            Kind::Compare(compare) => compare.passes,
            Kind::Expression(expression) => {
                !matches!(known(expression.root()), Some(Known::Number | Known::Truth))
            }
            _ => false,
        })
    }
}

/// Of what kind the worth of a part of an expression is, if it can be said beforehand. A number may be null instead
/// when it became too large; a language's own arithmetic refuses that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Number,
    Text,
    Truth,
}

fn known(node: &Node) -> Option<Known> {
    match node {
        Node::Literal(Value::Number(_)) | Node::Negate(_) => Some(Known::Number),
        Node::Literal(Value::String(_)) => Some(Known::Text),
        Node::Literal(Value::Bool(_)) | Node::Not(_) | Node::Has(..) => Some(Known::Truth),
        Node::Binary(Binary::Add, one, other) => {
            let either = [known(one), known(other)];
            [Known::Number, Known::Text].into_iter().find(|kind| either.contains(&Some(*kind)))
        }
        Node::Binary(Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder, ..) => {
            Some(Known::Number)
        }
        Node::Binary(..) => Some(Known::Truth),
        Node::If(_, yes, no) => known(yes).filter(|kind| known(no) == Some(*kind)),
        Node::Call(Function::String, _) => Some(Known::Text),
        Node::Call(..) => Some(Known::Number),
        Node::More(more) => match *more {},
        Node::Literal(_)
        | Node::Input
        | Node::Member(..)
        | Node::Index(..)
        | Node::List(_)
        | Node::Object(_) => None,
    }
}
