//! What people do with flows: save, deploy, stop, delete; and what follows when boards come and go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Flow, FlowVersion, Graph, Layout, StepId};
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::FlowId;
use crate::placement::Place;
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

/// What a person says of a flow besides its graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
}

impl Words {
    fn checked(&self) -> Result<Self, Rejection> {
        Ok(Self {
            name: text::name("name", &self.name)?,
            description: text::description("description", &self.description)?,
        })
    }
}

/// A new flow with its first version. It does not run yet.
pub fn create(
    id: FlowId,
    words: &Words,
    graph: Graph,
    comment: &str,
    actor: &Actor,
    now: Time,
) -> Result<(Flow, Effects), Rejection> {
    let Words { name, description } = words.checked()?;
    let flow = Flow {
        id,
        name,
        description,
        latest_version: 1,
        deployed: None,
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let version = version(&flow, graph, comment, actor, now)?;
    let after = json!({ "version": 1, "steps": version.graph.steps.len() });
    let change = fact(ChangeKind::FlowSaved, &flow, actor, None, Some(after));
    let save = vec![Save::Flow(Box::new(flow.clone())), Save::FlowVersion(Box::new(version))];
    Ok((flow, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Changes a flow's words.
pub fn edit(flow: &Flow, words: &Words, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let Words { name, description } = words.checked()?;
    if name == flow.name && description == flow.description {
        return Ok(Effects::none());
    }
    let edited = Flow { name, description, updated_at: now, revision: flow.revision + 1, ..flow.clone() };
    let before = json!({ "name": flow.name, "description": flow.description });
    let after = json!({ "name": edited.name, "description": edited.description });
    let change = fact(ChangeKind::FlowEdited, &edited, actor, Some(before), Some(after));
    Ok(Effects { save: vec![Save::Flow(Box::new(edited))], changes: vec![change], ..Effects::none() })
}

/// Saves a new version behind the newest one. What runs goes on running.
pub fn save_version(
    flow: &Flow,
    graph: Graph,
    comment: &str,
    based_on: Option<i64>,
    actor: &Actor,
    now: Time,
) -> Result<(Flow, Effects), Rejection> {
    if let Some(based_on) = based_on
        && based_on != flow.latest_version
    {
        return Err(Rejection::conflict(
            "stale",
            format!("version {} was saved meanwhile: look at it and save again", flow.latest_version),
        ));
    }
    let latest_version = flow.latest_version + 1;
    let flow = Flow { latest_version, updated_at: now, revision: flow.revision + 1, ..flow.clone() };
    let version = version(&flow, graph, comment, actor, now)?;
    let after = json!({
        "version": flow.latest_version, "steps": version.graph.steps.len(), "comment": version.comment,
    });
    let change = fact(ChangeKind::FlowSaved, &flow, actor, None, Some(after));
    let save = vec![Save::Flow(Box::new(flow.clone())), Save::FlowVersion(Box::new(version))];
    Ok((flow, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// A version runs from now on, in these places. What was learned of how much boards can hold is forgotten.
pub fn deploy(
    flow: &Flow,
    version: i64,
    places: BTreeMap<StepId, Place>,
    before: Option<&Layout>,
    actor: &Actor,
    now: Time,
) -> Effects {
    let deployed = Flow { deployed: Some(version), revision: flow.revision + 1, ..flow.clone() };
    let was = flow.deployed.map(|version| json!({ "version": version }));
    let change = fact(ChangeKind::FlowDeployed, flow, actor, was, Some(json!({ "version": version })));
    let layout = next_layout(flow, before, version, places, format!("deployed by {}", actor.name()), now);
    let save =
        vec![Save::Flow(Box::new(deployed)), Save::ForgetLimits(flow.id), Save::Layout(Box::new(layout))];
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// The flow runs nowhere from now on.
///
/// # Errors
/// If it does not run.
pub fn stop(flow: &Flow, before: Option<&Layout>, actor: &Actor, now: Time) -> Result<Effects, Rejection> {
    let Some(version) = flow.deployed else {
        return Err(Rejection::conflict("conflict", "the flow does not run"));
    };
    let stopped = Flow { deployed: None, revision: flow.revision + 1, ..flow.clone() };
    let was = json!({ "version": version });
    let change = fact(ChangeKind::FlowStopped, flow, actor, Some(was), None);
    let cause = format!("stopped by {}", actor.name());
    let layout = next_layout(flow, before, version, BTreeMap::new(), cause, now);
    let save = vec![Save::Flow(Box::new(stopped)), Save::Layout(Box::new(layout))];
    Ok(Effects { save, changes: vec![change], ..Effects::none() })
}

/// The steps of a running flow run elsewhere, because of something. Nothing if they run where they ran.
pub fn lay_out(
    flow: &Flow,
    before: &Layout,
    places: BTreeMap<StepId, Place>,
    cause: &str,
    now: Time,
) -> Effects {
    if before.places == places && flow.deployed == Some(before.version) {
        return Effects::none();
    }
    let layout = next_layout(flow, Some(before), before.version, places, cause.to_owned(), now);
    let moved = moves(before, &layout);
    let after = json!({ "cause": cause, "moved": moved.len(), "steps": moved });
    let change = fact(ChangeKind::FlowPlaced, flow, &Actor::System, None, Some(after));
    Effects { save: vec![Save::Layout(Box::new(layout))], changes: vec![change], ..Effects::none() }
}

/// Deletes a flow that does not run, with its versions and its history.
///
/// # Errors
/// If it runs.
pub fn delete(flow: &Flow, actor: &Actor) -> Result<Effects, Rejection> {
    if flow.deployed.is_some() {
        return Err(Rejection::conflict("in_use", "the flow runs: stop it first"));
    }
    let before = json!({ "name": flow.name, "version": flow.latest_version });
    let change = fact(ChangeKind::FlowDeleted, flow, actor, Some(before), None);
    Ok(Effects { save: vec![Save::DeleteFlow(flow.id)], changes: vec![change], ..Effects::none() })
}

/// The steps that run elsewhere than before.
pub fn moves<'a>(before: &'a Layout, after: &'a Layout) -> Vec<&'a str> {
    let ids = before.places.keys().chain(after.places.keys());
    let mut moved: Vec<&str> =
        ids.filter(|id| before.places.get(*id) != after.places.get(*id)).map(StepId::as_str).collect();
    moved.sort_unstable();
    moved.dedup();
    moved
}

fn next_layout(
    flow: &Flow,
    before: Option<&Layout>,
    version: i64,
    places: BTreeMap<StepId, Place>,
    cause: String,
    now: Time,
) -> Layout {
    let number = before.map_or(1, |before| before.number + 1);
    Layout { flow: flow.id, number, version, at: now, cause, places }
}

fn version(
    flow: &Flow,
    graph: Graph,
    comment: &str,
    actor: &Actor,
    now: Time,
) -> Result<FlowVersion, Rejection> {
    Ok(FlowVersion {
        flow: flow.id,
        version: flow.latest_version,
        author: actor.name().to_owned(),
        created_at: now,
        comment: text::description("comment", comment)?,
        graph,
    })
}

fn fact(kind: ChangeKind, flow: &Flow, actor: &Actor, before: Option<Value>, after: Option<Value>) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: flow.id.to_string(),
        subject_name: flow.name.clone(),
        device: None,
        before,
        after,
    }
}
