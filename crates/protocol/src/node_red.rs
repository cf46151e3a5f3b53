//! Flows that were drawn in Node-RED, as documents of flows: in the fork of ESP-FIRMWARE, whose nodes have `predicates`
//! and `priorities`, or in stock Node-RED with the nodes of `node-red-contrib-motehub`.
//!
//! A tab becomes a flow. An export with `motehub-flow` nodes is a stock one: those are its flows, and everything that
//! does not belong to one stays in Node-RED.

mod drawing;
mod node;
mod settings;
mod step;

use std::collections::BTreeSet;

use motehub_domain::rejection::Rejection;
use motehub_domain::text;
use serde_json::{Map, Value, json};

use drawing::Drawing;
use node::Node;

/// Largest export in bytes.
pub const EXPORT_BYTES_MAX: usize = 1024 * 1024;
/// Most nodes of an export.
pub const NODES_MAX: usize = 5_000;
/// What a flow is called whose tab has no name.
const NAMELESS: &str = "Node-RED";

/// What became of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Documents with `name`, `description`, `steps`, `wires`, and `boards` and `take_over` where they are said. Names
    /// differ; each graph can be read by [`motehub_domain::flow::graph`]. At least one.
    pub flows: Vec<Value>,
    /// What was left out or means something else than it did.
    pub warnings: Vec<Warning>,
}

/// Something that a person should know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its id in Node-RED.
    pub node: String,
    /// What it is and what became of it.
    pub message: String,
}

/// Reads what Node-RED exports: a list of nodes, or an object with such a list as `flows`.
///
/// # Errors
/// A refusal that names the node: for text that is no such list, for more than [`EXPORT_BYTES_MAX`] or [`NODES_MAX`],
/// and if nothing in it can become a flow.
pub fn read(export: &[u8]) -> Result<Import, Rejection> {
    if export.len() > EXPORT_BYTES_MAX {
        let why = format!("at most {EXPORT_BYTES_MAX} bytes, these are {}: export one tab", export.len());
        return Err(Rejection::too_large("nodes", why));
    }
    let export: Value = serde_json::from_slice(export)
        .map_err(|error| Rejection::invalid("nodes", format!("this is no JSON: {error}")))?;
    let nodes = nodes(&export)?;
    let mut warnings = Vec::new();
    let mut flows = Vec::new();
    let mut names = BTreeSet::new();
    for drawing in drawings(&nodes, &mut warnings) {
        if let Some(mut graph) = drawing.graph(&mut warnings) {
            let name = unused(&drawing.name, &mut names);
            graph.insert("name".into(), json!(name));
            graph.insert("description".into(), json!("Imported from Node-RED."));
            flows.push(Value::Object(graph));
        }
    }
    match flows.is_empty() {
        false => Ok(Import { flows, warnings }),
        true => {
            let last = warnings.last().map(|last| format!(" (node {}: {})", last.node, last.message));
            let why = format!("nothing in them can become a flow{}", last.unwrap_or_default());
            Err(Rejection::invalid("nodes", why))
        }
    }
}

fn nodes(export: &Value) -> Result<Vec<Node<'_>>, Rejection> {
    let list = export.as_array().or_else(|| export.get("flows")?.as_array()).ok_or_else(|| {
        Rejection::invalid("nodes", "a list of nodes is expected, as the export dialog of Node-RED gives it")
    })?;
    if list.len() > NODES_MAX {
        let why = format!("at most {NODES_MAX} nodes, these are {}: export one tab", list.len());
        return Err(Rejection::too_large("nodes", why));
    }
    let nodes = list.iter().enumerate().map(|(at, value)| Node::read(value, at));
    let nodes = nodes.collect::<Result<Vec<Node<'_>>, Rejection>>()?;
    let mut ids = BTreeSet::new();
    match nodes.iter().find(|node| !ids.insert(node.id)) {
        None => Ok(nodes),
        Some(twice) => Err(twice.wrong("id", "there are two nodes with this id")),
    }
}

/// What becomes a flow each, in the order of the export, with the nodes that belong to it.
fn drawings<'a>(nodes: &'a [Node<'a>], warnings: &mut Vec<Warning>) -> Vec<Drawing<'a>> {
    let is_stock = nodes.iter().any(|node| node.kind == "motehub-flow");
    let tab = if is_stock { "motehub-flow" } else { "tab" };
    let mut drawings: Vec<Drawing<'a>> =
        nodes.iter().filter(|node| node.kind == tab).map(Drawing::of).collect();
    let subflows: BTreeSet<&str> =
        nodes.iter().filter(|node| node.kind == "subflow").map(|node| node.id).collect();
    for node in nodes.iter().filter(|node| node.is_drawn()) {
        let place = if is_stock { node.text("flow") } else { node.text("z") };
        let belongs = !is_stock || node.kind.starts_with("motehub-");
        if !belongs || subflows.contains(place) || (is_stock && place.is_empty()) {
            continue;
        }
        match drawings.iter_mut().find(|drawing| drawing.id == place) {
            Some(drawing) => drawing.nodes.push(node),
            None if is_stock => {
                warnings.push(node.warning("left out: the motehub-flow that it belongs to is not exported"));
            }
            // A part of a tab was exported.
            None => drawings.push(Drawing::nameless(place, node)),
        }
    }
    drawings.retain(|drawing| {
        if drawing.is_disabled {
            warnings.push(drawing.warning("left out: it is disabled"));
        }
        !drawing.is_disabled
    });
    drawings
}

/// A name that no flow before has.
fn unused(wanted: &str, names: &mut BTreeSet<String>) -> String {
    let wanted = text::shown(wanted.trim(), text::NAME_CHARS_MAX - 5);
    let wanted = if wanted.is_empty() { NAMELESS.to_owned() } else { wanted };
    let mut name = wanted.clone();
    for number in 2.. {
        if names.insert(name.clone()) {
            break;
        }
        name = format!("{wanted} {number}");
    }
    name
}

/// The members of an object that is made here.
fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
