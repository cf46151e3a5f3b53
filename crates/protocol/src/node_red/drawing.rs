//! What one flow is made of: the steps that its nodes become, and the wires between them.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::flow;
use serde_json::{Map, Value, json};

use super::node::Node;
use super::step::{self, Step};
use super::{NAMELESS, Warning, members};

/// Longest id of a step that is made of the id of a node, in bytes: there is room for a number behind it.
const ID_BYTES_MAX: usize = 27;

/// A tab, or the node of a flow, with the nodes that belong to it.
pub(super) struct Drawing<'a> {
    pub(super) id: &'a str,
    pub(super) name: String,
    pub(super) is_disabled: bool,
    boards: &'a str,
    take_over: bool,
    /// The tab itself, if it is in the export.
    tab: Option<&'a Node<'a>>,
    pub(super) nodes: Vec<&'a Node<'a>>,
}

impl<'a> Drawing<'a> {
    /// One without nodes yet.
    pub(super) fn of(tab: &'a Node<'a>) -> Self {
        let name = [tab.text("name"), tab.text("label")].into_iter().find(|name| !name.trim().is_empty());
        Self {
            id: tab.id,
            name: name.unwrap_or(NAMELESS).to_owned(),
            is_disabled: tab.truth("disabled"),
            boards: tab.text("boards").trim(),
            take_over: tab.truth("takeOver"),
            tab: Some(tab),
            nodes: Vec::new(),
        }
    }
    /// One whose tab is not in the export, with its first node.
    pub(super) fn nameless(id: &'a str, first: &'a Node<'a>) -> Self {
        let name = NAMELESS.to_owned();
        Self { id, name, is_disabled: false, boards: "", take_over: false, tab: None, nodes: vec![first] }
    }
    /// Something that a person should know of it.
    pub(super) fn warning(&self, why: impl AsRef<str>) -> Warning {
        match self.tab {
            Some(tab) => tab.warning(why),
            None => Warning { node: self.id.to_owned(), message: format!("tab: {}", why.as_ref()) },
        }
    }

    /// The graph, if there is one that can work.
    pub(super) fn graph(&self, warnings: &mut Vec<Warning>) -> Option<Map<String, Value>> {
        let mut steps: Vec<(&Node<'_>, Step)> = Vec::new();
        for node in self.nodes.iter().copied() {
            if node.truth("d") {
                warnings.push(node.warning("left out: it is disabled"));
                continue;
            }
            match step::read(node, step_id(node.id, &steps)) {
                Ok(step) => {
                    warnings.extend(step.notes.iter().map(|note| node.warning(note)));
                    steps.push((node, step));
                }
                Err(why) => warnings.push(node.warning(format!("left out: {why}"))),
            }
        }
        let mut wires = self.wires(&steps, warnings);
        drop_unconnected(&mut steps, &mut wires, warnings);
        count_wires(&steps, &wires, warnings);
        if steps.is_empty() {
            return None;
        }
        let wires: Vec<Value> = wires.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
        let steps: Vec<Value> = steps.into_iter().map(|(_, step)| Value::Object(step.fields)).collect();
        let mut document = members(json!({ "steps": steps, "wires": wires }));
        if !self.boards.is_empty() {
            document.insert("boards".into(), json!(self.boards));
        }
        if self.take_over {
            document.insert("take_over".into(), json!(true));
        }
        let document = Value::Object(document);
        match flow::graph(&document) {
            Ok(_) => Some(members(document)),
            Err(refusal) => {
                warnings.push(self.warning(format!("left out: {}", refusal.sentence)));
                None
            }
        }
    }

    /// From step to step, each once, in the order in which they are drawn.
    fn wires(&self, steps: &[(&Node<'_>, Step)], warnings: &mut Vec<Warning>) -> Vec<(String, String)> {
        let known: BTreeMap<&str, &Step> = steps.iter().map(|(node, step)| (node.id, step)).collect();
        let drawn: BTreeSet<&str> = self.nodes.iter().map(|node| node.id).collect();
        let mut wires = Vec::new();
        let mut seen = BTreeSet::new();
        for (node, from) in steps {
            let mut leads_away = false;
            for target in node.wires.iter().flatten().filter(|_| from.kind.has_output()) {
                leads_away |= !drawn.contains(target);
                let to = known.get(target).filter(|to| to.kind.has_input());
                let wire = to.map(|to| (from.id.clone(), to.id.clone()));
                wires.extend(wire.filter(|wire| seen.insert(wire.clone())));
            }
            if leads_away {
                let why =
                    "a wire leads out of its flow and is left out: use motehub-out, or publish and mqtt in";
                warnings.push(node.warning(why));
            }
        }
        wires
    }
}

/// Steps that nothing leads to are no steps, and then those that only they led to.
fn drop_unconnected(
    steps: &mut Vec<(&Node<'_>, Step)>,
    wires: &mut Vec<(String, String)>,
    warnings: &mut Vec<Warning>,
) {
    loop {
        let fed: BTreeSet<&str> = wires.iter().map(|(_, to)| to.as_str()).collect();
        let is_loose = |step: &Step| step.kind.has_input() && !fed.contains(step.id.as_str());
        let loose: BTreeSet<String> =
            steps.iter().filter(|(_, step)| is_loose(step)).map(|(_, step)| step.id.clone()).collect();
        if loose.is_empty() {
            return;
        }
        steps.retain(|(node, step)| {
            let is_loose = loose.contains(&step.id);
            if is_loose {
                warnings.push(node.warning("left out: no wire of another step leads to it"));
            }
            !is_loose
        });
        wires.retain(|(from, _)| !loose.contains(from));
    }
}

/// The fork's `and` waits for as many topics as it is told; ours for all its wires.
fn count_wires(steps: &[(&Node<'_>, Step)], wires: &[(String, String)], warnings: &mut Vec<Warning>) {
    for (node, step) in steps.iter().filter(|(node, _)| node.kind == "and") {
        let lead_here = wires.iter().filter(|(_, to)| *to == step.id).count();
        if let Some(count) = node.number("count").filter(|count| *count != lead_here as f64) {
            let why =
                format!("it was to wait for {count} wires; it waits for all that lead to it, {lead_here}");
            warnings.push(node.warning(why));
        }
    }
}

/// An id for the step that a node becomes: the letters and digits of the node's own, and a number if that is taken.
fn step_id(id: &str, steps: &[(&Node<'_>, Step)]) -> String {
    let plain: String =
        id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(ID_BYTES_MAX).collect();
    let plain = if plain.is_empty() { "step".to_owned() } else { plain };
    let mut wanted = plain.clone();
    for number in 2.. {
        if !steps.iter().any(|(_, step)| step.id == wanted) {
            break;
        }
        wanted = format!("{plain}_{number}");
    }
    wanted
}
