//! Flows that run: where their steps are, what passes along their wires, and the steps that the hub runs itself.
//!
//! [`plan`] decides where steps run when boards come and go, [`programs`] gives boards their generated code, [`pass`]
//! carries values between boards and the hub, [`reach`] does what steps on the hub want of the world.

pub(crate) mod boards;
pub(crate) mod doing;
pub(crate) mod far;
pub(crate) mod pass;
pub(crate) mod plan;
pub(crate) mod programs;
pub(crate) mod reach;
pub(crate) mod tell;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use motehub_domain::deployment::{Task, TaskState};
use motehub_domain::device::{Presence, Reach};
use motehub_domain::effects::Save;
use motehub_domain::flow::run::Runner;
use motehub_domain::flow::{Flow, Graph, Kind, Layout, StepId};
use motehub_domain::id::{DeviceId, FlowId, ScriptId};
use motehub_domain::placement::{Place, Watch};
use motehub_domain::report::Event;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::{Span, Time};
use tokio::sync::{Notify, mpsc};

use doing::{Doing, Fault, Wire};
pub(crate) use reach::Errand;

/// How many numbers of values are remembered of each step, to know repeats.
const SEEN_MAX: usize = 16;
/// How many errands of steps on the hub may wait; further values are dropped and counted.
const ERRANDS_MAX: usize = 1_000;
/// How long a board may be away while it takes a program.
const TAKING_MAX: Span = Span::seconds(15);
/// How agents call it when a step had too little memory.
const OUT_OF_MEMORY: &str = "out_of_memory";
/// How many deployments that ended badly may wait for the planner.
const FAILED_MAX: usize = 1_000;

/// All flows that run.
pub(crate) struct Flows {
    table: Mutex<Table>,
    /// One plan at a time.
    planning: tokio::sync::Mutex<()>,
    /// Something changed that a plan depends on.
    changed: Notify,
    /// A timer of a step may be due earlier than was known.
    due: Notify,
    errands: mpsc::Sender<Errand>,
    /// Another node wrote something about flows.
    far: Notify,
    /// The planner is to read what runs from the store.
    elsewhere: AtomicBool,
}

#[derive(Default)]
struct Table {
    running: BTreeMap<FlowId, Running>,
    watch: Watch,
    /// Boards that were compared for a flow. Other devices that come and go are of no account.
    boards: BTreeSet<DeviceId>,
    /// Boards that take a program: they restart meanwhile, and are not gone. Until when they may.
    taking: BTreeMap<DeviceId, Time>,
    /// Boards that were there since the hub started.
    came: BTreeSet<DeviceId>,
    /// The script of each board that was generated for it.
    programs: BTreeMap<DeviceId, ScriptId>,
    /// Boards on which a program failed, with the reason.
    failed: VecDeque<(DeviceId, String)>,
    /// What happened since the last plan, for people.
    causes: BTreeSet<String>,
    /// Who wants to know what of which device is measured.
    metrics: HashMap<DeviceId, Vec<(FlowId, StepId, Metric)>>,
    /// What the node that passes values wants to know of which device is measured, if that is another one.
    elsewhere: HashMap<DeviceId, BTreeSet<Metric>>,
    /// Whose wires somebody looks at, and how many look.
    followed: BTreeMap<FlowId, usize>,
    /// Whose wires moved since it was last told.
    moved: BTreeSet<FlowId>,
}

/// A flow that runs.
struct Running {
    flow: Flow,
    layout: Layout,
    runner: Runner,
    /// Devices that steps name, by the name that they use.
    named: BTreeMap<String, DeviceId>,
    wires: BTreeMap<(StepId, StepId), Wire>,
    seen: BTreeMap<StepId, VecDeque<(DeviceId, i64)>>,
    /// The number of the last value that the hub sent.
    sent: i64,
    errors: BTreeMap<StepId, Fault>,
}

impl Flows {
    /// No flow yet, and the end of the queue of errands for [`reach::run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Errand>) {
        let (errands, end) = mpsc::channel(ERRANDS_MAX);
        let flows = Self {
            table: Mutex::default(),
            planning: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            due: Notify::new(),
            errands,
            far: Notify::new(),
            elsewhere: AtomicBool::new(false),
        };
        (flows, end)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save], now: Time) {
        let mut table = self.table();
        for save in saved {
            if let Save::Program(device, script) = save {
                table.programs.insert(*device, *script);
            }
        }
        if table.running.is_empty() {
            return;
        }
        let told: Vec<bool> = saved.iter().map(|save| table.told(save, now)).collect();
        drop(table);
        if told.contains(&true) {
            self.changed.notify_one();
        }
    }

    /// Something happened at a board: an agent says when a step had too little memory for a value.
    pub(crate) fn happened(&self, device: DeviceId, event: &Event, now: Time) {
        let mut table = self.table();
        if event.name == OUT_OF_MEMORY && table.failed.len() < FAILED_MAX && table.uses(device) {
            table.failed.push_back((device, "out of memory while a step ran".to_owned()));
            table.watch.disturb(now);
            drop(table);
            self.changed.notify_one();
        }
    }

    /// How a flow is doing that runs here.
    pub(crate) fn doing(&self, flow: FlowId) -> Doing {
        let table = self.table();
        let doing =
            |running: &Running| Doing { wires: running.wires.clone(), errors: running.errors.clone() };
        table.running.get(&flow).map(doing).unwrap_or_default()
    }

    /// Somebody looks at the wires of other flows than before.
    pub(crate) fn follow(&self, before: Option<FlowId>, after: Option<FlowId>) {
        let mut table = self.table();
        if let Some(after) = after {
            *table.followed.entry(after).or_insert(0) += 1;
            table.moved.insert(after);
        }
        if let Some(before) = before
            && let Some(count) = table.followed.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                table.followed.remove(&before);
            }
        }
    }

    /// Whether any flow runs here.
    pub(crate) fn is_any_running(&self) -> bool {
        !self.table().running.is_empty()
    }

    /// Devices, or what they can do, may be others than before.
    pub(crate) fn members_changed(&self, now: Time) {
        let mut table = self.table();
        if !table.running.is_empty() {
            table.watch.disturb(now);
            drop(table);
            self.changed.notify_one();
        }
    }

    /// The flows whose wires somebody here looks at.
    pub(crate) fn followed(&self) -> Vec<FlowId> {
        self.table().followed.keys().copied().collect()
    }

    /// The steps that run, by board.
    fn by_board(&self) -> BTreeMap<DeviceId, Vec<(FlowId, BTreeSet<StepId>)>> {
        let table = self.table();
        let mut boards: BTreeMap<DeviceId, Vec<(FlowId, BTreeSet<StepId>)>> = BTreeMap::new();
        for (flow, running) in &table.running {
            let mut of_flow: BTreeMap<DeviceId, BTreeSet<StepId>> = BTreeMap::new();
            for (step, place) in &running.layout.places {
                if let Place::Device(device) = place {
                    of_flow.entry(*device).or_default().insert(step.clone());
                }
            }
            for (device, steps) in of_flow {
                boards.entry(device).or_default().push((*flow, steps));
            }
        }
        boards
    }

    /// Where the steps of flows run, but for one.
    fn places(&self, but: Option<FlowId>) -> Vec<Place> {
        let table = self.table();
        let others = table.running.values().filter(|running| Some(running.flow.id) != but);
        others.flat_map(|running| running.layout.places.values().copied()).collect()
    }

    /// The graph of a flow that runs.
    fn graph(&self, flow: FlowId) -> Option<Graph> {
        self.table().running.get(&flow).map(|running| running.runner.graph().clone())
    }

    /// A flow runs from now on, or elsewhere than before.
    fn run(&self, flow: Flow, layout: Layout, graph: &Graph, named: BTreeMap<String, DeviceId>, now: Time) {
        let here = layout.places.iter().filter(|(_, place)| **place == Place::Hub);
        let here: BTreeSet<StepId> = here.map(|(step, _)| step.clone()).collect();
        let mut table = self.table();
        let known = table.running.remove(&flow.id).filter(|known| *known.runner.graph() == *graph);
        let running = match known {
            Some(mut known) => {
                known.runner.place(here, now);
                Running { flow, layout, named, ..known }
            }
            None => Running {
                runner: Runner::new(graph.clone(), here, now),
                wires: BTreeMap::new(),
                seen: BTreeMap::new(),
                // Numbers of another start of the hub are not given out again.
                sent: now.0,
                errors: BTreeMap::new(),
                flow,
                layout,
                named,
            },
        };
        table.moved.insert(running.flow.id);
        table.running.insert(running.flow.id, running);
        table.index();
        drop(table);
        self.due.notify_one();
    }

    /// A flow runs no more.
    fn end(&self, flow: FlowId) {
        let mut table = self.table();
        table.running.remove(&flow);
        table.index();
    }
}

impl Table {
    /// Whether a board runs steps.
    fn uses(&self, device: DeviceId) -> bool {
        let at = Place::Device(device);
        self.running.values().any(|running| running.layout.places.values().any(|place| *place == at))
    }

    /// A record was written. Whether the planner should look.
    fn told(&mut self, save: &Save, now: Time) -> bool {
        match save {
            Save::Presence(Presence { device, reach, .. }) => {
                if !self.boards.contains(device) && !self.uses(*device) {
                    return false;
                }
                self.saw(*device, *reach == Reach::Online, now);
            }
            Save::DeleteDevice(device) => {
                self.boards.remove(device);
                self.came.remove(device);
                self.watch.forget(*device, now);
                self.watch.disturb(now);
            }
            Save::Device(_) | Save::Announced(..) | Save::Capability(_) => self.watch.disturb(now),
            // A person gave a board that runs steps another script.
            Save::Software(software)
                if self.uses(software.device)
                    && boards::script_of(software)
                        .is_some_and(|script| !self.is_program(software.device, script)) =>
            {
                self.causes.insert(format!("{} was given another script", software.device));
                self.watch.disturb(now);
            }
            Save::Task(task) => return self.task_moved(task, now),
            _ => return false,
        }
        true
    }

    /// A board is further with something that it was given. Whether the planner should look.
    fn task_moved(&mut self, task: &Task, now: Time) -> bool {
        let device = task.device;
        if !task.artifact.script().is_some_and(|(script, _)| self.is_program(device, script)) {
            return false;
        }
        match task.state {
            TaskState::Fetching | TaskState::Applying => {
                self.taking.insert(device, now + TAKING_MAX);
                true
            }
            TaskState::Failed if self.failed.len() < FAILED_MAX && self.uses(device) => {
                self.taking.remove(&device);
                self.failed.push_back((device, task.reason.clone().unwrap_or_default()));
                self.watch.disturb(now);
                true
            }
            _ => {
                self.taking.remove(&device);
                false
            }
        }
    }

    /// Whether a script was generated for a board.
    fn is_program(&self, device: DeviceId, script: ScriptId) -> bool {
        self.programs.get(&device) == Some(&script)
    }

    /// Whether a board is there.
    fn saw(&mut self, device: DeviceId, is_there: bool, now: Time) {
        let is_there = is_there || self.taking.get(&device).is_some_and(|until| now < *until);
        if self.watch.is_there(device) != is_there && (is_there || self.uses(device)) {
            let cause = if is_there { "came" } else { "went away" };
            self.causes.insert(format!("{device} {cause}"));
        }
        if is_there {
            self.came.insert(device);
        }
        self.watch.saw(device, is_there, now);
    }

    fn index(&mut self) {
        self.metrics.clear();
        for running in self.running.values() {
            for step in &running.runner.graph().steps {
                if let Kind::Metric { device, metric } = &step.kind
                    && let Some(id) = running.named.get(device)
                {
                    let wanted = (running.flow.id, step.id.clone(), metric.clone());
                    self.metrics.entry(*id).or_default().push(wanted);
                }
            }
        }
    }
}
