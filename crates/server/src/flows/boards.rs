//! The boards that may run steps: those with an agent of ours, or with a firmware that takes scripts over the air.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use motehub_domain::deployment::Target;
use motehub_domain::device::{Dialect, Software};
use motehub_domain::flow::{Graph, Kind, Limit};
use motehub_domain::id::{DeviceId, FlowId, ScriptId};
use motehub_domain::placement::{Board, Place};
use motehub_domain::script::Language;
use motehub_domain::selector::{Field, Known as Word, Operator, Selector, Value};
use motehub_protocol::flow::Shell;

use crate::api::selectors;
use crate::app::App;
use crate::cluster::Work;
use crate::perform::Failure;

/// Most boards that are considered for one flow.
const BOARDS_MAX: usize = 5_000;
/// Who can run generated code: the agents say that they are agents.
const ABLE: &str = "firmware=motehub-micropython or firmware=motehub-agent or dialect=esp-firmware";

/// What runs a generated program on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Our agent for MicroPython.
    MicroPython,
    /// Our agent for NodeMCU.
    NodeMcu,
    /// The unmodified ESP-FIRMWARE, which knows the board by this.
    EspFirmware(String),
}

impl Runs {
    /// In which language.
    pub(crate) fn language(&self) -> Language {
        match self {
            Self::MicroPython | Self::EspFirmware(_) => Language::Python,
            Self::NodeMcu => Language::Lua,
        }
    }
    /// For whom code is made.
    pub(crate) fn shell(&self) -> Shell<'_> {
        match self {
            Self::MicroPython => Shell::Python,
            Self::NodeMcu => Shell::Lua,
            Self::EspFirmware(key) => Shell::EspFirmware { key },
        }
    }
}

/// A board with what is known of it besides.
pub(crate) struct Known {
    /// As placement sees it.
    pub(crate) board: Board,
    /// As deployments see it.
    pub(crate) target: Target,
    /// What runs its program.
    pub(crate) runs: Runs,
}

/// What a plan supposes besides what is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Supposing<'a> {
    /// That these boards are gone.
    pub(crate) without: &'a [DeviceId],
    /// That nothing was learned yet of how much of this flow boards can hold.
    pub(crate) anew: bool,
}

impl App {
    /// The boards that may run steps of a flow.
    pub(crate) async fn boards_for(
        &self,
        flow: Option<FlowId>,
        graph: &Graph,
        supposing: Supposing<'_>,
    ) -> Result<Vec<Known>, Failure> {
        let able = Selector::parse(ABLE)?;
        let wanted = match &graph.boards {
            Some(text) => Selector::And(Box::new(selectors::read(self, text).await?), Box::new(able)),
            None => able,
        };
        let ids = self.store.select_ids(&wanted, self.now(), BOARDS_MAX).await?;
        let programs = self.store.programs().await?;
        let mut limits = self.store.flow_limits().await?;
        limits.retain(|limit| !(supposing.anew && Some(limit.flow) == flow));
        let mut known = self.known_boards(&ids).await?;
        let now = self.now();
        let running = self.places_of_others(flow).await?;
        {
            let mut table = self.flows.table();
            for Known { board, .. } in &mut known {
                let online = self.is_online(board.id);
                table.boards.insert(board.id);
                table.saw(board.id, online, now);
                board.available = table.watch.is_there(board.id) && !supposing.without.contains(&board.id);
                board.trusted = table.watch.is_trusted(board.id, now);
                board.others = running.iter().filter(|place| **place == Place::Device(board.id)).count();
                let limit = limit(&limits, board.id);
                board.limit = limit.map(|limit| limit.steps);
                let failed = limit.filter(|limit| limit.steps == 0);
                board.refused = failed.map(|limit| format!("its program failed: {}", limit.reason));
            }
        }
        if !graph.take_over {
            for Known { board, target, .. } in &mut known {
                if has_own_script(target, &programs) {
                    let runs = self.script_name(target).await?;
                    board.refused = Some(format!("{runs}, and the flow may not take its place (take_over)"));
                }
            }
        }
        Ok(known)
    }

    /// Where the steps of the other flows run.
    async fn places_of_others(&self, but: Option<FlowId>) -> Result<Vec<Place>, Failure> {
        if self.cluster.holds(Work::Flows) {
            return Ok(self.flows.places(but));
        }
        let mut places = Vec::new();
        for flow in self.store.deployed_flows().await?.iter().filter(|flow| Some(flow.id) != but) {
            places.extend(
                self.store.layout(flow.id).await?.into_iter().flat_map(|layout| layout.places.into_values()),
            );
        }
        Ok(places)
    }

    async fn script_name(&self, target: &Target) -> Result<String, Failure> {
        let script = match script_of(&target.software) {
            Some(script) => self.store.script(script).await?,
            None => None,
        };
        Ok(script.map_or_else(|| "it runs a script".to_owned(), |script| format!("it runs {}", script.name)))
    }

    /// What is known of these devices, of those that can run generated code.
    pub(crate) async fn known_boards(&self, ids: &[DeviceId]) -> Result<Vec<Known>, Failure> {
        let firmware: HashMap<DeviceId, String> =
            self.store.reported_words(ids, "firmware").await?.into_iter().collect();
        let mut capabilities = self.store.capabilities_of(ids).await?;
        let mut boards = Vec::with_capacity(ids.len());
        for mut target in self.store.targets(ids).await? {
            let id = target.device.id;
            target.online = self.is_online(id);
            let Some(runs) = runs(&target, firmware.get(&id).map(String::as_str)) else { continue };
            let capabilities: BTreeSet<String> =
                capabilities.remove(&id).unwrap_or_default().into_iter().collect();
            let board = Board {
                id,
                name: target.device.name.clone(),
                languages: vec![runs.language()],
                capabilities,
                available: target.online,
                trusted: true,
                others: 0,
                limit: None,
                refused: None,
            };
            boards.push(Known { board, target, runs });
        }
        Ok(boards)
    }

    /// The devices that steps of a graph name, by the name that they use. A name that no device or more than one has is
    /// left out.
    pub(crate) async fn named(&self, graph: &Graph) -> Result<BTreeMap<String, DeviceId>, Failure> {
        let mut named = BTreeMap::new();
        for step in &graph.steps {
            let (Kind::Metric { device, .. } | Kind::Switch { device, .. } | Kind::Command { device, .. }) =
                &step.kind
            else {
                continue;
            };
            if let Some(id) = self.device_called(device).await? {
                named.insert(device.clone(), id);
            }
        }
        Ok(named)
    }

    async fn device_called(&self, called: &str) -> Result<Option<DeviceId>, Failure> {
        if let Ok(id) = called.parse::<DeviceId>()
            && self.store.device(id).await?.is_some()
        {
            return Ok(Some(id));
        }
        let value = Value::Text(called.to_owned());
        let by_name = Selector::Compare(Field::Known(Word::Name), Operator::Equal, value);
        let found = self.store.select_ids(&by_name, self.now(), 2).await?;
        Ok(match found.as_slice() {
            [one] => Some(*one),
            _ => None,
        })
    }
}

fn runs(target: &Target, firmware: Option<&str>) -> Option<Runs> {
    match firmware {
        Some("motehub-micropython") => Some(Runs::MicroPython),
        Some("motehub-agent") => Some(Runs::NodeMcu),
        _ if target.device.dialect == Dialect::EspFirmware => {
            target.device.external_id.clone().map(Runs::EspFirmware)
        }
        _ => None,
    }
}

/// The script that a board has, or is given.
pub(crate) fn script_of(software: &Software) -> Option<ScriptId> {
    software.active.and_then(|artifact| artifact.script()).map(|(script, _)| script)
}

/// Whether a board runs a script that a person gave it.
fn has_own_script(target: &Target, programs: &BTreeMap<DeviceId, ScriptId>) -> bool {
    script_of(&target.software).is_some_and(|script| programs.get(&target.device.id) != Some(&script))
}

/// The least that a board was found to hold.
fn limit(limits: &[Limit], board: DeviceId) -> Option<&Limit> {
    limits.iter().filter(|limit| limit.device == board).min_by_key(|limit| limit.steps)
}
