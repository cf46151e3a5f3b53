//! What an import from IoT base comes to, row by row: what is made, what is here already and stays as it is, what is
//! wrong.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use motehub_domain::dashboard::{self, Editor};
use motehub_domain::device::{self, Dialect, Registration};
use motehub_domain::effects::Effects;
use motehub_domain::id::DeviceId;
use motehub_domain::line::{self, Kind, Line, Parser};
use motehub_domain::network::Network;
use motehub_domain::telemetry::{self, Metric, Point, PointValue, When};
use motehub_domain::time::{Span, Time};
use motehub_protocol::line::VALUE;
use serde_json::json;

use super::IotBaseReport;
use super::file::{self, Entry, File};
use super::page::{self, Placed};
use crate::api::extract::rfc3339;
use crate::api::import::entry::{EntryError, Imported, NAMED_MAX, Outcome};
use crate::{random, secrets};

/// By this tag all that was imported is found.
const TAG: &str = "iot-base";
/// What was not active there has this one too.
const INACTIVE: &str = "inactive";

/// What is here already, as far as the file speaks of it.
pub(super) struct Here {
    /// Units by their external ids.
    pub(super) by_uuid: HashMap<String, device::Device>,
    /// Units by where they are.
    pub(super) by_ip: HashMap<IpAddr, device::Device>,
    /// Where units may be.
    pub(super) networks: Vec<Network>,
    /// How many dashboards there are.
    pub(super) dashboards: i64,
    /// Whether that of IoT base is among them.
    pub(super) has_page: bool,
}

/// What is to be done.
pub(super) struct Planned {
    pub(super) report: IotBaseReport,
    pub(super) effects: Effects,
    pub(super) histories: HashMap<DeviceId, Vec<Point>>,
}

/// Decides about each row.
pub(super) fn plan(file: File, here: Here, editor: &Editor, now: Time) -> Planned {
    let metric = Metric::parse(VALUE).expect("because it is a name");
    let (effects, histories, report) = (Vec::new(), HashMap::new(), IotBaseReport::default());
    let (placed, seen) = (HashMap::new(), HashSet::new());
    let mut plan = Plan { here, editor, now, metric, placed, seen, effects, histories, report };
    for Entry { name, read } in file.units {
        let judged = read.and_then(|unit| plan.unit(unit));
        plan.note("device", name, judged);
    }
    let mut states = plan.states(file.states);
    let are_all_read = file.devices.iter().all(|entry| entry.read.is_ok());
    for Entry { name, read } in file.devices {
        let judged = read.and_then(|device| {
            let history = states.remove(&device.id).unwrap_or_default();
            plan.device(&device, history)
        });
        plan.note("device", name, judged);
    }
    // The states of a device that cannot be read have no mistake of their own.
    if are_all_read {
        for device in states.into_keys() {
            plan.note(
                "states",
                format!("of device {device}"),
                Err("there is no such row of devices".to_owned()),
            );
        }
    }
    plan.page(file.blocks);
    plan.report.points = plan.histories.values().map(Vec::len).sum();
    let effects = plan.effects.into_iter().fold(Effects::none(), Effects::and);
    Planned { report: plan.report, effects, histories: plan.histories }
}

struct Plan<'a> {
    here: Here,
    editor: &'a Editor,
    now: Time,
    metric: Metric,
    /// Devices by how the file calls them.
    placed: HashMap<String, Placed>,
    /// Addresses and uuids that the file had already.
    seen: HashSet<String>,
    effects: Vec<Effects>,
    histories: HashMap<DeviceId, Vec<Point>>,
    report: IotBaseReport,
}

/// What comes of an entry, with a remark; or what is wrong with it.
type Judged = Result<(Outcome, String), String>;
/// What a device was, and when.
type History = Vec<(Time, PointValue)>;

impl Plan<'_> {
    fn note(&mut self, kind: &'static str, name: String, judged: Judged) {
        let report = &mut self.report;
        match judged {
            Ok((outcome, detail)) => {
                match (outcome, kind) {
                    (Outcome::Made, "device") => report.made.devices += 1,
                    (Outcome::Made, _) => report.made.dashboards += 1,
                    (Outcome::Known | Outcome::LeftOut, _) => report.known += 1,
                }
                report.entries_total += 1;
                if report.entries.len() < NAMED_MAX {
                    report.entries.push(Imported { kind, name, outcome, detail });
                }
            }
            Err(detail) => {
                report.errors_total += 1;
                if report.errors.len() < NAMED_MAX {
                    report.errors.push(EntryError { kind, name, detail });
                }
            }
        }
    }

    /// A unit that is known by its address, with its last value.
    fn unit(&mut self, unit: file::Unit) -> Judged {
        let ip = unit.address.ip().ok_or("ip: it is no address")?;
        if !self.seen.insert(ip.to_string()) {
            return Err("another unit of the file has this address".to_owned());
        }
        let value = unit.last.as_ref().map(|(_, value)| value);
        let is_updatable = value.is_some_and(|value| !matches!(value, PointValue::Number(_)));
        let history: History = unit.last.into_iter().filter_map(|(at, value)| Some((at?, value))).collect();
        if let Some(known) = self.here.by_ip.get(&ip) {
            let (id, name) = (known.id, known.name.clone());
            self.history(id, history)?;
            return Ok((Outcome::Known, format!("is here, as {name:?}")));
        }
        line::is_allowed(ip, &self.here.networks).map_err(|rejection| rejection.sentence)?;
        let line = Line { kind: kind(is_updatable), ..Line::at(unit.address) };
        let made = self.register(format!("Unit {ip}"), None, vec![TAG.to_owned()], line, history)?;
        Ok((Outcome::Made, format!("{:?}, {}", made.name, told(is_updatable))))
    }

    /// A device that is known by its uuid, with its history.
    fn device(&mut self, given: &file::Device, history: History) -> Judged {
        if !self.seen.insert(given.uuid.clone()) {
            return Err("another device of the file has this uuid".to_owned());
        }
        let place =
            |id: DeviceId, name: &str| Placed { id, name: name.to_owned(), is_updatable: given.is_updatable };
        if let Some(known) = self.here.by_uuid.get(&given.uuid) {
            let placed = place(known.id, &known.name);
            let detail = format!("is here, as {:?}", known.name);
            self.history(placed.id, history)?;
            self.placed.insert(given.id.clone(), placed);
            return Ok((Outcome::Known, detail));
        }
        let is_text = history.iter().any(|(_, value)| !matches!(value, PointValue::Number(_)));
        // Where it is was never written down: until somebody says so, it may dial in with its uuid as greeting.
        let settings = json!({ "direction": "listen", "greeting": given.uuid });
        let line = Line {
            kind: kind(given.is_updatable),
            parser: if is_text { Parser::Text } else { Parser::Number },
            ..Line::from_json(&settings).map_err(|rejection| rejection.sentence)?
        };
        let mut tags = vec![TAG.to_owned()];
        tags.extend((!given.is_active).then(|| INACTIVE.to_owned()));
        let points = history.len();
        let made = self.register(given.name.clone(), Some(given.uuid.clone()), tags, line, history)?;
        self.placed.insert(given.id.clone(), place(made.id, &made.name));
        let detail = format!(
            "{:?}, {}, {points} points; its address is not in the file: set it, with the direction dial",
            made.name,
            told(given.is_updatable)
        );
        Ok((Outcome::Made, detail))
    }

    fn register(
        &mut self,
        name: String,
        external_id: Option<String>,
        tags: Vec<String>,
        line: Line,
        history: History,
    ) -> Result<device::Device, String> {
        let description = String::new();
        let (dialect, line) = (Dialect::Line, Some(Box::new(line)));
        let registration = Registration { name, description, dialect, external_id, tags, line };
        let (id, credential) = (random::id(self.now), secrets::digest(random::secret()));
        let made = device::register(id, &registration, credential, &self.editor.actor, self.now);
        let (device, effects) = made.map_err(|rejection| rejection.sentence)?;
        self.history(device.id, history)?;
        self.effects.push(effects);
        Ok(device)
    }

    /// Times there are whole seconds: values within one keep their order, a millisecond apart.
    fn history(&mut self, device: DeviceId, mut history: History) -> Result<(), String> {
        history.sort_by_key(|(at, _)| *at);
        if let Some((at, _)) = history.iter().find(|(at, _)| !telemetry::is_plausible(*at, self.now)) {
            return Err(format!("it has a value of {}, which is before 2000 or ahead of time", rfc3339(*at)));
        }
        let mut last: Option<Time> = None;
        let points = history.into_iter().map(|(at, value)| {
            let at = last.map_or(at, |last| at.max(last + Span(1)));
            last = Some(at);
            Point { metric: self.metric.clone(), time: When::At(at), value }
        });
        self.histories.entry(device).or_default().extend(points);
        Ok(())
    }

    /// The good states by the device that the file names.
    fn states(&mut self, states: Vec<Entry<file::State>>) -> HashMap<String, History> {
        let mut all: HashMap<String, History> = HashMap::new();
        for Entry { name, read } in states {
            match read {
                Ok(state) => all.entry(state.device).or_default().push((state.at, state.value)),
                Err(why) => self.note("states", format!("of device {name}"), Err(why)),
            }
        }
        all
    }

    /// The dashboard, if the file has blocks of it.
    fn page(&mut self, blocks: Vec<Entry<file::Block>>) {
        if blocks.is_empty() {
            return;
        }
        let mut good = Vec::with_capacity(blocks.len());
        for Entry { name, read } in blocks {
            match read {
                Ok(block) => good.push(block),
                Err(why) => self.note("dashboard", format!("block of device {name}"), Err(why)),
            }
        }
        if self.here.has_page {
            return self.note("dashboard", page::NAME.to_owned(), Ok((Outcome::Known, "is here".to_owned())));
        }
        good.sort_by_key(|block| block.order);
        let mut devices = Vec::with_capacity(good.len());
        for file::Block { device, .. } in good {
            match self.placed.get(&device) {
                Some(placed) => devices.push(placed.clone()),
                None => {
                    let why = "there is no such good row of devices".to_owned();
                    self.note("dashboard", format!("block of device {device}"), Err(why));
                }
            }
        }
        let judged = self.new_page(&devices);
        self.note("dashboard", page::NAME.to_owned(), judged);
    }

    fn new_page(&mut self, devices: &[Placed]) -> Judged {
        let document = dashboard::document(&page::document(devices)).map_err(|wrong| wrong.sentence)?;
        let (id, count) = (random::id(self.now), self.here.dashboards);
        let made = dashboard::create(id, document, true, count, self.editor, self.now);
        let (made, effects) = made.map_err(|rejection| rejection.sentence)?;
        self.effects.push(effects);
        Ok((Outcome::Made, format!("{} blocks, shared", made.document.blocks.len())))
    }
}

fn kind(is_updatable: bool) -> Kind {
    if is_updatable { Kind::Update } else { Kind::Read }
}

fn told(is_updatable: bool) -> &'static str {
    if is_updatable { "told what is desired" } else { "read" }
}
