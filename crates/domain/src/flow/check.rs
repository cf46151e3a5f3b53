//! Whether a graph can work: every id once, wires between steps that exist and fit, nothing in a circle, nothing loose.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, StepId};
use crate::rejection::Rejection;

/// Checks a graph whose steps were read.
pub(super) fn graph(graph: &Graph) -> Result<(), Rejection> {
    if graph.steps.is_empty() {
        return Err(Rejection::invalid("steps", "a flow has at least one step"));
    }
    let mut ids = BTreeSet::new();
    for step in &graph.steps {
        if !ids.insert(&step.id) {
            return Err(Rejection::invalid(
                &format!("steps.{}", step.id),
                "there are two steps with this id",
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (at, wire) in graph.wires.iter().enumerate() {
        let wrong = |end: &str, why: String| Rejection::invalid(&format!("wires[{at}].{end}"), why);
        let known = |end: &str, id: &StepId| {
            graph
                .step(id)
                .ok_or_else(|| wrong(end, format!("there is no step {id}: draw it, or remove the wire")))
        };
        let (from, to) = (known("from", &wire.from)?, known("to", &wire.to)?);
        if !from.kind.has_output() {
            let why = format!("{} is of the kind {}, which emits nothing", from.id, from.kind.as_str());
            return Err(wrong("from", why));
        }
        if !to.kind.has_input() {
            let why = format!("{} is of the kind {}, which takes nothing", to.id, to.kind.as_str());
            return Err(wrong("to", why));
        }
        if !seen.insert(wire) {
            return Err(wrong("to", format!("there is a wire from {} to {} already", from.id, to.id)));
        }
    }
    for step in &graph.steps {
        if step.kind.has_input() && graph.sources(&step.id).next().is_none() {
            return Err(Rejection::invalid(
                &format!("steps.{}", step.id),
                "no wire leads to it: connect it, or remove it",
            ));
        }
    }
    match circle(graph) {
        None => Ok(()),
        Some(ids) => {
            let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
            Err(Rejection::invalid(
                "wires",
                format!("the steps {} lead in a circle: a value would go round for ever", ids.join(", ")),
            ))
        }
    }
}

/// The steps that are left when those without a wire from one that is left are taken away, again and again.
fn circle(graph: &Graph) -> Option<Vec<&StepId>> {
    let mut waits: BTreeMap<&StepId, usize> =
        graph.steps.iter().map(|step| (&step.id, graph.sources(&step.id).count())).collect();
    let mut free: Vec<&StepId> = waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        waits.remove(id);
        for target in graph.targets(id) {
            if let Some(count) = waits.get_mut(target) {
                *count -= 1;
                if *count == 0 {
                    free.push(target);
                }
            }
        }
    }
    // What only hangs on a circle is not in it.
    let mut left: BTreeSet<&StepId> = waits.into_keys().collect();
    while let Some(loose) =
        left.iter().copied().find(|id| !graph.targets(id).any(|target| left.contains(target)))
    {
        left.remove(loose);
    }
    (!left.is_empty()).then(|| left.into_iter().collect())
}

/// The steps that take nothing, in order.
pub fn sources(graph: &Graph) -> impl Iterator<Item = &super::Step> {
    graph.steps.iter().filter(|step| !step.kind.has_input())
}
