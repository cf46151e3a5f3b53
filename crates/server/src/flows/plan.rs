//! The planner: it decides where steps run when a person deploys a flow and when boards come, go or fail.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use motehub_domain::change::Actor;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::flow::{self, Flow, Graph, Layout, Limit, StepId};
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::placement::{self, Board, Place, Placement};
use motehub_domain::rejection::Rejection;
use motehub_domain::time::{Span, Time};
use tokio_util::sync::CancellationToken;

use super::boards::{Known, Supposing};
use super::far::Clears;
use crate::app::App;
use crate::cluster::Work;
use crate::deadlines;
use crate::perform::Failure;

/// How often it is looked whether anything was missed.
const LOOK_EVERY: Span = Span::minutes(1);
/// For how long after the start of the hub boards that ran steps may be away before their steps move: all of them come
/// back at once, but not in one moment.
const COMING_BACK: Span = Span::seconds(30);
/// Most causes that are named.
const CAUSES_MAX: usize = 3;

/// Where steps would run, and the boards that were compared.
pub(crate) struct Planned {
    /// Of which version.
    pub(crate) version: i64,
    /// What was drawn.
    pub(crate) graph: Graph,
    /// Where its steps run.
    pub(crate) placement: Placement,
    /// The boards that were compared.
    pub(crate) boards: Vec<Known>,
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let _clears = Clears(app.clone());
    if let Err(error) = app.load_flows().await {
        tracing::error!(%error, "the flows that run could not be loaded");
    }
    deadlines::keep(&app, "flows", &app.flows.changed, shutdown, round).await;
}

/// Plans anew if something changed and has settled. Returns when to look again.
async fn round(app: &App) -> Result<Time, Failure> {
    if app.flows.elsewhere.swap(false, Ordering::SeqCst) {
        app.follow_store().await?;
    }
    let now = app.now();
    let settled_at = app.started_at + COMING_BACK;
    if now < settled_at && app.are_boards_missing() {
        return Ok(settled_at);
    }
    let due = {
        let mut table = app.flows.table();
        let known = table.taking.len();
        table.taking.retain(|_, until| *until > now);
        if table.taking.len() < known {
            // Those that took too long may be gone.
            table.watch.disturb(now);
        }
        table.watch.due()
    };
    if due.is_some_and(|due| due <= now) {
        app.plan_again().await?;
    }
    let due = {
        let table = app.flows.table();
        table.watch.due().into_iter().chain(table.taking.values().copied().min()).min()
    };
    Ok(due.unwrap_or(now + LOOK_EVERY).max(now + Span(1)).min(now + LOOK_EVERY))
}

impl App {
    /// The flows that run, after a start. Their boards may be away still: they have a while to come back.
    async fn load_flows(&self) -> Result<(), Failure> {
        let programs = self.store.programs().await?;
        self.flows.table().programs = programs;
        for flow in self.store.deployed_flows().await? {
            let Some(layout) = self.store.layout(flow.id).await? else { continue };
            let Some(version) = self.store.flow_version(flow.id, layout.version).await? else { continue };
            self.go(flow, layout, &version.graph).await?;
        }
        self.flows.table().watch.disturb(self.now());
        Ok(())
    }

    /// Whether a board that runs steps has not come back since the hub started.
    fn are_boards_missing(&self) -> bool {
        let table = self.flows.table();
        let mut places = table.running.values().flat_map(|running| running.layout.places.values());
        places.any(|place| matches!(place, Place::Device(device) if !table.came.contains(device)))
    }

    pub(super) async fn go(&self, flow: Flow, layout: Layout, graph: &Graph) -> Result<(), Failure> {
        let named = self.named(graph).await?;
        self.flows.run(flow, layout, graph, named, self.now());
        self.tap_topics();
        Ok(())
    }

    /// Where the steps of a version would run now.
    pub(crate) async fn planned(
        &self,
        flow: Option<FlowId>,
        version: i64,
        graph: Graph,
        supposing: Supposing<'_>,
    ) -> Result<Planned, Failure> {
        let boards = self.boards_for(flow, &graph, supposing).await?;
        let before = match flow {
            Some(id) => self.store.layout(id).await?.map(|layout| layout.places).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let compared: Vec<Board> = boards.iter().map(|known| known.board.clone()).collect();
        let placement = placement::place(&graph, &compared, &before);
        Ok(Planned { version, graph, placement, boards })
    }

    /// Runs a version of a flow, on the boards that are there.
    pub(crate) async fn deploy_flow(
        &self,
        id: FlowId,
        version: i64,
        actor: &Actor,
    ) -> Result<Planned, Failure> {
        let _turn = self.flows.planning.lock().await;
        let found = self.store.flow_version(id, version).await?;
        let graph = found.ok_or_else(|| Rejection::not_found("version", version))?.graph;
        // A person who deploys wants it tried again on boards that failed before; they are forgotten if it is deployed.
        let supposing = Supposing { anew: true, ..Supposing::default() };
        let planned = self.planned(Some(id), version, graph, supposing).await?;
        planned.placement.complete(&planned.graph).map_err(|rejection| Rejection {
            code: "unplaceable",
            kind: motehub_domain::rejection::RejectionKind::Conflict,
            ..rejection
        })?;
        let places = planned.placement.places();
        let (flow, layout) = self
            .attempt(|| async {
                let flow = self.store.flow(id).await?.ok_or_else(|| Rejection::not_found("flow", id))?;
                let before = self.store.layout(id).await?;
                let effects =
                    flow::deploy(&flow, version, places.clone(), before.as_ref(), actor, self.now());
                let saved = effects.save.iter().fold((flow, before), |(flow, before), save| match save {
                    Save::Flow(flow) => ((**flow).clone(), before),
                    Save::Layout(layout) => (flow, Some((**layout).clone())),
                    _ => (flow, before),
                });
                Ok((saved, effects))
            })
            .await?;
        if !self.cluster.holds(Work::Flows) {
            self.cluster.nudge(Work::Flows);
            return Ok(planned);
        }
        let title = format!("{} v{version}", flow.name);
        if let Some(layout) = layout {
            self.go(flow, layout, &planned.graph).await?;
        }
        self.give_programs(&title, actor).await?;
        Ok(planned)
    }

    /// A flow runs no more; its boards are told.
    pub(crate) async fn stop_flow(&self, id: FlowId, actor: &Actor) -> Result<(), Failure> {
        let _turn = self.flows.planning.lock().await;
        let name = self
            .attempt(|| async {
                let flow = self.store.flow(id).await?.ok_or_else(|| Rejection::not_found("flow", id))?;
                let before = self.store.layout(id).await?;
                let effects = flow::stop(&flow, before.as_ref(), actor, self.now())?;
                Ok((flow.name, effects))
            })
            .await?;
        if !self.cluster.holds(Work::Flows) {
            self.cluster.nudge(Work::Flows);
            return Ok(());
        }
        self.flows.end(id);
        self.tap_topics();
        self.give_programs(&format!("{name} stopped"), actor).await
    }

    /// Looks at all flows that run, and moves what has to move.
    async fn plan_again(&self) -> Result<(), Failure> {
        let _turn = self.flows.planning.lock().await;
        self.learn().await?;
        let running: Vec<(Flow, Layout)> = {
            let table = self.flows.table();
            table.running.values().map(|running| (running.flow.clone(), running.layout.clone())).collect()
        };
        let mut moved = Vec::new();
        let mut cause = String::new();
        for (flow, layout) in running {
            let Some(graph) = self.flows.graph(flow.id) else { continue };
            let planned = self.planned(Some(flow.id), layout.version, graph, Supposing::default()).await?;
            let places = planned.placement.places();
            // Boards that are gone may have been missed only now.
            if cause.is_empty() {
                let causes = std::mem::take(&mut self.flows.table().causes);
                cause = self.in_words(causes).await?;
            }
            if self.lay_out(&flow, &layout, places, &cause, &planned.graph).await? {
                moved.push(flow.name);
            }
        }
        self.flows.table().watch.planned(self.now());
        let title = if moved.is_empty() { cause } else { format!("{}: {cause}", moved.join(", ")) };
        self.give_programs(&title, &Actor::System).await
    }

    async fn lay_out(
        &self,
        flow: &Flow,
        before: &Layout,
        places: BTreeMap<StepId, Place>,
        cause: &str,
        graph: &Graph,
    ) -> Result<bool, Failure> {
        let effects = flow::lay_out(flow, before, places, cause, self.now());
        let layout = effects.save.iter().find_map(|save| match save {
            Save::Layout(layout) => Some((**layout).clone()),
            _ => None,
        });
        let Some(layout) = layout else { return Ok(false) };
        self.perform(effects).await?;
        self.go(flow.clone(), layout, graph).await?;
        Ok(true)
    }

    /// What failed programs teach: out of memory means fewer steps, anything else that the board cannot run them.
    async fn learn(&self) -> Result<(), Failure> {
        let failed: Vec<(DeviceId, String)> = self.flows.table().failed.drain(..).collect();
        let known = self.store.flow_limits().await?;
        let by_board = self.flows.by_board();
        for (device, why) in failed {
            let Some(flows) = by_board.get(&device) else { continue };
            let steps: usize = flows.iter().map(|(_, steps)| steps.len()).sum();
            for (flow, _) in flows {
                let before = known.iter().find(|limit| (limit.flow, limit.device) == (*flow, device));
                let steps = match is_out_of_memory(&why) {
                    true => placement::learn(before.map(|limit| limit.steps), steps),
                    false => 0,
                };
                let limit = Limit { flow: *flow, device, steps, reason: why.clone(), at: self.now() };
                let save = vec![Save::Limit(Box::new(limit))];
                self.perform(Effects { save, ..Effects::none() }).await?;
            }
            self.flows.table().causes.insert(format!("{device} failed: {why}"));
        }
        Ok(())
    }

    /// What happened, with the names of devices for their ids.
    async fn in_words(&self, causes: std::collections::BTreeSet<String>) -> Result<String, Failure> {
        let mut words = Vec::new();
        let more = causes.len().saturating_sub(CAUSES_MAX);
        for cause in causes.into_iter().take(CAUSES_MAX) {
            let (id, what) = cause.split_once(' ').unwrap_or((&cause, ""));
            let device = match id.parse() {
                Ok(id) => self.store.device(id).await?,
                Err(_) => None,
            };
            words.push(format!("{} {what}", device.map_or_else(|| id.to_owned(), |device| device.name)));
        }
        if more > 0 {
            words.push(format!("{more} more"));
        }
        Ok(if words.is_empty() { "boards changed".to_owned() } else { words.join(", ") })
    }
}

/// Whether a program failed because the board has too little memory.
fn is_out_of_memory(why: &str) -> bool {
    let why = why.to_lowercase();
    ["memoryerror", "memory allocation failed", "out of memory", "not enough memory"]
        .iter()
        .any(|sign| why.contains(sign))
}
