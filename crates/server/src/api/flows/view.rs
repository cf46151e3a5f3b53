//! How placements are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use motehub_domain::flow::{Layout, StepId};
use motehub_domain::id::DeviceId;
use motehub_domain::placement::{Candidate, Place, Placed, Placement};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::extract::rfc3339;
use crate::app::App;
use crate::flows::boards::Known;
use crate::flows::doing::Doing;
use crate::flows::plan::Planned;
use crate::perform::Failure;

/// Where a step runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaceDto {
    /// Whether it is the hub.
    hub: bool,
    /// Else the id of the board,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// and its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The parts of a score, each with its weight already in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScoreDto {
    /// Preferred capabilities that the board has.
    priorities: f64,
    /// How little it runs.
    load: f64,
    /// How little else it can do.
    specificity: f64,
    /// Neighbours of the step that it runs.
    neighbourhood: f64,
    /// That it runs the step already.
    stickiness: f64,
}

/// A board that was compared.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CandidateDto {
    /// Its id.
    device: String,
    /// Its name.
    name: String,
    /// Whether it is there.
    online: bool,
    /// What spoke for it; none if something stands against it.
    parts: Option<ScoreDto>,
    /// The sum.
    total: Option<f64>,
    /// What stands against it.
    obstacle: Option<String>,
    /// Whether it runs the step.
    chosen: bool,
}

/// A step and where it runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlacedDto {
    /// Its id.
    step: String,
    /// What it does.
    kind: &'static str,
    /// Where it runs; nowhere at present if there is none.
    place: Option<PlaceDto>,
    /// Why, for people.
    why: String,
    /// The boards that were compared, the best first.
    candidates: Vec<CandidateDto>,
}

/// A board and what it carries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BoardDto {
    /// Its id.
    device: String,
    /// Its name.
    name: String,
    /// Whether it is there.
    online: bool,
    /// The steps of this flow that it runs.
    steps: Vec<String>,
    /// How many steps of other flows.
    steps_of_others: usize,
    /// The most steps that it was found to hold.
    limit: Option<usize>,
    /// What it said is free of its memory, in bytes.
    free_memory_bytes: Option<i64>,
    /// How far it is with its program.
    task: Option<BoardTask>,
    /// SHA-256 of its program.
    digest: Option<String>,
    /// Size of its program.
    size_bytes: Option<i64>,
}

/// How far a board is with its program.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BoardTask {
    /// Of the deployment's task.
    state: &'static str,
    /// Why it stands so.
    reason: Option<String>,
}

/// A wire and what passed along it since the hub started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WireDto {
    /// The step that emits.
    from: String,
    /// The step that takes.
    to: String,
    /// Whether it leads from one place to another; within a board nothing is sent, and nothing counted.
    crosses: bool,
    /// How many values were handed over.
    messages: u64,
    /// How many were not.
    dropped: u64,
    /// When the last one passed.
    last_at: Option<String>,
    /// What it was.
    #[schema(value_type = Option<Object>)]
    last_value: Option<Value>,
}

/// What a step could not do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FaultDto {
    /// Which step.
    step: String,
    /// Why, the last time.
    message: String,
    /// How often.
    count: u64,
    /// When last.
    last_at: String,
}

/// Where the steps of a flow run, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Placement)]
pub(crate) struct PlacementDto {
    /// Of which version.
    version: i64,
    /// Whether every step has a place, and every board runs its program.
    settled: bool,
    /// In the order in which they were drawn.
    steps: Vec<PlacedDto>,
    /// The boards that run steps, and those that might.
    boards: Vec<BoardDto>,
    /// In the order in which they were drawn.
    wires: Vec<WireDto>,
    /// What steps on the hub could not do.
    errors: Vec<FaultDto>,
}

/// Where steps run or would run, and how they are doing.
pub(super) async fn shown(app: &App, planned: Planned, doing: Doing) -> Result<PlacementDto, Failure> {
    let Planned { version, graph, placement, boards } = planned;
    let names = names(app, &boards, &placement).await?;
    let places = placement.places();
    let mut carried = Vec::new();
    for known in &boards {
        carried.push(board(app, known, &places).await?);
    }
    let is_all_placed = placement.steps.iter().all(|placed| placed.place.is_some());
    let is_busy = |board: &BoardDto| !board.steps.is_empty() && board.task.is_some();
    let settled = is_all_placed && !carried.iter().any(is_busy);
    let Doing { wires, errors } = doing;
    let wires = graph.wires.iter().map(|wire| {
        let known = wires.get(&(wire.from.clone(), wire.to.clone())).cloned().unwrap_or_default();
        let (last_at, last_value) = known.last.map(|(at, value)| (rfc3339(at), value)).unzip();
        WireDto {
            from: wire.from.to_string(),
            to: wire.to.to_string(),
            crosses: places.get(&wire.from) != places.get(&wire.to),
            messages: known.messages,
            dropped: known.dropped,
            last_at,
            last_value,
        }
    });
    let errors = errors.into_iter().map(|(step, fault)| FaultDto {
        step: step.to_string(),
        message: fault.message,
        count: fault.count,
        last_at: rfc3339(fault.at),
    });
    let steps = placement.steps.into_iter().map(|placed| {
        let kind = graph.step(&placed.step).map_or("", |step| step.kind.as_str());
        step(placed, kind, &names)
    });
    Ok(PlacementDto {
        version,
        settled,
        steps: steps.collect(),
        wires: wires.collect(),
        errors: errors.collect(),
        boards: carried,
    })
}

/// Names of boards, and whether they are there.
pub(super) type Names = HashMap<DeviceId, (String, bool)>;

async fn names(app: &App, boards: &[Known], placement: &Placement) -> Result<Names, Failure> {
    let named =
        boards.iter().map(|known| (known.board.id, (known.board.name.clone(), known.board.available)));
    let mut names: Names = named.collect();
    for placed in &placement.steps {
        if let Some(Place::Device(id)) = placed.place
            && !names.contains_key(&id)
        {
            let name = app.store.device(id).await?.map_or_else(|| id.to_string(), |device| device.name);
            names.insert(id, (name, app.is_online(id)));
        }
    }
    Ok(names)
}

fn step(placed: Placed, kind: &'static str, names: &Names) -> PlacedDto {
    let at = placed.place;
    let candidate = |candidate: Candidate| {
        let (name, online) = names.get(&candidate.board).cloned().unwrap_or_default();
        let is_able = candidate.obstacle.is_none();
        let parts = candidate.parts;
        CandidateDto {
            device: candidate.board.to_string(),
            name,
            online,
            total: is_able.then(|| parts.total()),
            parts: is_able.then_some(ScoreDto {
                priorities: parts.priorities,
                load: parts.load,
                specificity: parts.specificity,
                neighbourhood: parts.neighbourhood,
                stickiness: parts.stickiness,
            }),
            obstacle: candidate.obstacle,
            chosen: at == Some(Place::Device(candidate.board)),
        }
    };
    PlacedDto {
        step: placed.step.to_string(),
        kind,
        place: at.map(|place| place_dto(place, names)),
        why: placed.why,
        candidates: placed.candidates.into_iter().map(candidate).collect(),
    }
}

fn place_dto(place: Place, names: &Names) -> PlaceDto {
    match place {
        Place::Hub => PlaceDto { hub: true, device: None, name: None },
        Place::Device(id) => PlaceDto {
            hub: false,
            device: Some(id.to_string()),
            name: names.get(&id).map(|(name, _)| name.clone()),
        },
    }
}

async fn board(app: &App, known: &Known, places: &BTreeMap<StepId, Place>) -> Result<BoardDto, Failure> {
    let id = known.board.id;
    let here = places.iter().filter(|(_, place)| **place == Place::Device(id));
    let here: Vec<String> = here.map(|(step, _)| step.to_string()).collect();
    let report = if here.is_empty() { None } else { app.store.report(id).await? };
    let active = known.target.software.active.filter(|_| !here.is_empty());
    Ok(BoardDto {
        device: id.to_string(),
        name: known.board.name.clone(),
        online: known.target.online,
        steps: here,
        steps_of_others: known.board.others,
        limit: known.board.limit,
        free_memory_bytes: report.and_then(|report| report.announcement.free_memory),
        task: known
            .target
            .open
            .as_ref()
            .map(|task| BoardTask { state: task.state.as_str(), reason: task.reason.clone() }),
        digest: active.map(|artifact| artifact.digest.to_string()),
        size_bytes: active.map(|artifact| artifact.size_bytes),
    })
}

/// A step that runs elsewhere than before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Move {
    /// Which step.
    step: String,
    /// Where it ran.
    from: Option<PlaceDto>,
    /// Where it runs.
    to: Option<PlaceDto>,
}

/// That steps were placed, once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LayoutDto {
    /// When.
    at: String,
    /// Why, for people.
    cause: String,
    /// Of which version.
    version: i64,
    /// What moved.
    moves: Vec<Move>,
}

/// How steps were placed before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LayoutList {
    /// Newest first.
    pub(super) items: Vec<LayoutDto>,
    /// How many are kept.
    pub(super) total: i64,
}

/// The board of a place.
pub(super) fn board_of(place: &Place) -> Option<DeviceId> {
    match place {
        Place::Device(id) => Some(*id),
        Place::Hub => None,
    }
}

/// How steps were placed once.
pub(super) fn layout_dto(layout: &Layout, before: &BTreeMap<StepId, Place>, names: &Names) -> LayoutDto {
    let ids: BTreeSet<&StepId> = before.keys().chain(layout.places.keys()).collect();
    let moves = ids.into_iter().filter(|id| before.get(*id) != layout.places.get(*id)).map(|id| Move {
        step: id.to_string(),
        from: before.get(id).map(|place| place_dto(*place, names)),
        to: layout.places.get(id).map(|place| place_dto(*place, names)),
    });
    LayoutDto {
        at: rfc3339(layout.at),
        cause: layout.cause.clone(),
        version: layout.version,
        moves: moves.collect(),
    }
}
