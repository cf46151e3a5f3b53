//! The step that a node becomes. One table of types; whatever a step may not be is said by the domain.

use motehub_domain::capability::{CAPABILITIES_MAX, CAPABILITY_BYTES_MAX};
use motehub_domain::flow::{self, Kind, Where};
use serde_json::{Map, Value, json};

use super::members;
use super::node::Node;
use super::settings;

/// What the fork takes for the predicates of a sensor that says none.
const SENSOR_PREDICATES: &[&str] = &["temperature", "humidity", "micropython"];
/// What the fork takes for the priorities of most others.
const PRIORITIES: &[&str] = &["micropython"];
/// The predicate that keeps a node in Node-RED.
const LOCAL: &str = "node-red";

/// A step of a document, and what a person should know of it.
pub(super) struct Step {
    pub(super) id: String,
    pub(super) fields: Map<String, Value>,
    pub(super) kind: Kind,
    pub(super) notes: Vec<String>,
}

/// What a node does: the settings of a step, and what a person should know of them.
pub(super) struct Draft {
    pub(super) settings: Map<String, Value>,
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// Settings as a JSON object.
    pub(super) fn of(settings: Value) -> Self {
        Self { settings: members(settings), notes: Vec::new() }
    }
}

/// Reads a node.
///
/// # Errors
/// Why it cannot be a step.
pub(super) fn read(node: &Node<'_>, id: String) -> Result<Step, String> {
    let Draft { settings: mut fields, mut notes } = draft(node)?;
    fields.insert("id".into(), json!(id));
    if !node.name().is_empty() {
        fields.insert("name".into(), json!(node.name()));
    }
    if let Some((x, y)) = node.at {
        fields.insert("x".into(), json!(x));
        fields.insert("y".into(), json!(y));
    }
    let kind = kind(&id, &fields)?;
    notes.extend(wish(node, &kind, &mut fields));
    let kind = self::kind(&id, &fields)?;
    Ok(Step { id, fields, kind, notes })
}

fn draft(node: &Node<'_>) -> Result<Draft, String> {
    match node.kind {
        "temperature-humidity" => settings::sensor(node),
        "if" => settings::compare(node, "result"),
        "switch" => settings::compare(node, "value"),
        "and" => Ok(settings::and(node)),
        "nothing" | "junction" => Ok(Draft::of(json!({ "kind": "pass" }))),
        "failure" | "motehub-failure" => {
            let tags = capabilities(node.words("tags").unwrap_or_default());
            Ok(Draft::of(json!({ "kind": "failure", "tags": tags })))
        }
        "mqtt in" => settings::topic(node),
        "mqtt out" => settings::publish(node),
        "inject" => settings::timer(node),
        "motehub-source" | "motehub-step" | "motehub-sink" => settings::own(node),
        "motehub-in" => Ok(Draft::of(json!({ "kind": "topic", "topic": settings::bridge(node) }))),
        "motehub-out" => Ok(Draft::of(json!({ "kind": "publish", "topic": settings::bridge(node) }))),
        "debug" => Err("the values of every wire are seen on the page of the flow".into()),
        "registry" | "orchestrator" => Err("the hub knows its boards and places steps by itself".into()),
        subflow if subflow.starts_with("subflow:") => {
            Err("subflows are not taken over: draw its nodes in their place".into())
        }
        own if own.starts_with("motehub-") => Err("it stays in Node-RED".into()),
        _ => Err("there is no step that does this; one of the kinds code, expression or webhook may".into()),
    }
}

/// Where a node wants to run. Returns what a person should know of it.
fn wish(node: &Node<'_>, kind: &Kind, fields: &mut Map<String, Value>) -> Vec<String> {
    let is_own = node.kind.starts_with("motehub-");
    let (requires, prefers) = if is_own {
        (node.words("requires").unwrap_or_default(), node.words("prefers").unwrap_or_default())
    } else {
        let (predicates, priorities) = usual(node.kind);
        let words = |name, usual: &[&'static str]| node.words(name).unwrap_or_else(|| usual.to_vec());
        (words("predicates", predicates), words("priorities", priorities))
    };
    let mut notes = Vec::new();
    let is_local = requires.contains(&LOCAL);
    let (requires, prefers) = (capabilities(requires), capabilities(prefers));
    match kind.runs() {
        Where::Hub => {
            if !requires.is_empty() && !is_local {
                notes.push(format!("it runs on the hub, whatever it requires ({})", requires.join(", ")));
            }
        }
        _ if is_local => match kind.runs() {
            Where::Boards => notes.push("it was to run in Node-RED; such a step runs on boards only".into()),
            Where::Hub | Where::Anywhere => {
                fields.insert("runs_on".into(), json!("hub"));
            }
        },
        Where::Boards | Where::Anywhere => {
            for (name, names) in [("requires", requires), ("prefers", prefers)] {
                if !names.is_empty() {
                    fields.insert(name.into(), json!(names));
                }
            }
        }
    }
    let wanted = node.text("runsOn").trim();
    if is_own && !wanted.is_empty() {
        fields.insert("runs_on".into(), json!(wanted));
    }
    notes
}

/// Predicates and priorities of a node of the fork that says none.
fn usual(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "temperature-humidity" => (SENSOR_PREDICATES, &[]),
        "if" | "and" => (&[], PRIORITIES),
        "failure" => (PRIORITIES, &[]),
        _ => (&[], &[]),
    }
}

/// Names of capabilities as devices have them: lower case, and a dash for every other sign.
fn capabilities(words: Vec<&str>) -> Vec<String> {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') => c,
        _ => '-',
    };
    let names = words.into_iter().filter(|word| !word.trim().is_empty());
    let names = names.map(|word| word.trim().chars().take(CAPABILITY_BYTES_MAX).map(plain).collect());
    names.take(CAPABILITIES_MAX).collect()
}

/// What the domain says of a step alone: its kind, or what is wrong with it.
fn kind(id: &str, fields: &Map<String, Value>) -> Result<Kind, String> {
    let feeder = if id == "feeder" { "feeder2" } else { "feeder" };
    let is_source =
        ["sensor", "metric", "topic", "timer", "failure"].iter().any(|kind| fields["kind"] == *kind);
    let mut wires = Vec::new();
    if !is_source {
        wires.push(json!({ "from": feeder, "to": id }));
    }
    let steps = json!([{ "id": feeder, "kind": "timer", "every_ms": 1000 }, fields]);
    let mut graph = flow::graph(&json!({ "steps": steps, "wires": wires })).map_err(|refusal| {
        let sentence = refusal.sentence;
        sentence.strip_prefix(&format!("steps.{id}.")).map_or(sentence.clone(), str::to_owned)
    })?;
    Ok(graph.steps.remove(1).kind)
}
