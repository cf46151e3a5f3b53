//! What the blocks of a dashboard show now.

use std::collections::HashMap;

use motehub_domain::alarm::AlarmState;
use motehub_domain::dashboard::{Binding, Block, Kind, Reading};
use motehub_domain::device::Reach;
use motehub_domain::id::{DeviceId, FlowId};
use motehub_domain::position::{Position, REPORTED_AS};
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow::{self, Shadow};
use motehub_store::{AlarmQuery, DeviceView, Sample};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{DEVICES_MAX, bound};
use crate::api::{AlarmDto, FlowDto, selectors};
use crate::app::App;
use crate::perform::Failure;

/// Most alarms in a block.
const ALARMS_MAX: usize = 100;

/// What a block shows now; what its kind has no use for is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct BlockData {
    /// The devices that it is bound to, by name; at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) devices: Option<Vec<ShownDevice>>,
    /// How many it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<usize>,
    /// Alarms that are not cleared, the last raised first; at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alarms: Option<Vec<AlarmDto>>,
    /// How a flow is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<ShownFlow>,
    /// Why it shows nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// A device in a block.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ShownDevice {
    /// Its id.
    #[serde(skip)]
    pub(crate) device: DeviceId,
    pub(crate) id: String,
    pub(crate) name: String,
    /// `online`, `offline`, or `unreachable`: the link to its gateway is lost.
    pub(crate) reach: &'static str,
    /// What is read of it; null if there is nothing.
    pub(crate) value: Value,
    /// When that came, in milliseconds since 1970.
    pub(crate) at: Option<i64>,
    /// What is desired at the path of a block that sets something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) desired: Option<Value>,
    /// Degrees to the north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latitude: Option<f64>,
    /// Degrees to the east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longitude: Option<f64>,
    /// The columns of a table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cells: Vec<Cell>,
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Cell {
    /// Null if there is nothing.
    pub(crate) value: Value,
    /// When it came, in milliseconds since 1970.
    pub(crate) at: Option<i64>,
}

/// How a flow is doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ShownFlow {
    id: String,
    name: String,
    /// `running`, `partly` if some step has no place at present, or `stopped`.
    state: &'static str,
    /// How many steps have no place at present.
    unplaced: usize,
    /// How many boards run steps of it.
    devices: usize,
}

impl BlockData {
    /// Without the names of people, for those who have no account.
    pub(crate) fn without_people(mut self) -> Self {
        let alarms = self.alarms.take();
        self.alarms = alarms.map(|alarms| alarms.into_iter().map(AlarmDto::without_people).collect());
        self
    }
}

/// What a block shows now. What is wrong with one is said in its place, the others show.
pub(crate) async fn shown(app: &App, block: &Block) -> Result<BlockData, Failure> {
    let tried = match &block.kind {
        Kind::Flow(id) => flow(app, *id).await,
        Kind::Alarms(selector) => alarms(app, selector.as_deref()).await,
        Kind::Image | Kind::Text => Ok(BlockData::default()),
        kind => devices(app, kind).await,
    };
    match tried {
        Err(Failure::Rejected(Rejection { sentence, .. })) => {
            Ok(BlockData { error: Some(sentence), ..BlockData::default() })
        }
        other => other,
    }
}

async fn devices(app: &App, kind: &Kind) -> Result<BlockData, Failure> {
    let (mut views, mut total) = (Vec::new(), 0);
    for of in kind.bindings() {
        let (more, count) = bound(app, &of, DEVICES_MAX).await?;
        if more.is_empty() && matches!(of, Binding::Device(_)) {
            return Err(Rejection::conflict(
                "not_found",
                "the device is gone: bind the block to another one",
            )
            .into());
        }
        total += count;
        views.extend(more);
    }
    views.truncate(DEVICES_MAX);
    let seen = Seen::load(app, kind, &views).await?;
    let devices = views.into_iter().map(|view| seen.device(kind, view)).collect();
    Ok(BlockData { devices: Some(devices), total: Some(total), ..BlockData::default() })
}

/// What devices measured last and what their shadows say, as far as a block asks.
struct Seen {
    latest: HashMap<DeviceId, Vec<Sample>>,
    shadows: HashMap<DeviceId, Shadow>,
}

impl Seen {
    async fn load(app: &App, kind: &Kind, views: &[DeviceView]) -> Result<Self, Failure> {
        let readings: Vec<&Reading> = match kind {
            Kind::Value(_, reading) | Kind::Timeline(_, reading, _) => vec![reading],
            Kind::Table(_, columns) => columns.iter().collect(),
            _ => Vec::new(),
        };
        let is_measured = readings.iter().any(|reading| matches!(reading, Reading::Metric(_)))
            || matches!(kind, Kind::Bar(..));
        let is_shadow = |reading: &&Reading| matches!(reading, Reading::Reported(_) | Reading::Desired(_));
        let mut seen = Self { latest: HashMap::new(), shadows: HashMap::new() };
        if is_measured {
            for view in views {
                seen.latest.insert(view.device.id, app.store.latest(view.device.id).await?);
            }
        }
        if readings.iter().any(is_shadow) || matches!(kind, Kind::Act(..) | Kind::Map(_)) {
            let ids: Vec<DeviceId> = views.iter().map(|view| view.device.id).collect();
            let shadows = app.store.plain_shadows(&ids).await?.into_iter().filter(Shadow::exists);
            seen.shadows = shadows.map(|shadow| (shadow.device, shadow)).collect();
        }
        Ok(seen)
    }

    fn device(&self, kind: &Kind, view: DeviceView) -> ShownDevice {
        let id = view.device.id;
        let reach = view.presence.as_ref().map_or(Reach::Offline, |presence| presence.reach);
        let read = |reading: &Reading| self.read(reading, id, reach, &view);
        let mut cells = Vec::new();
        let cell = match kind {
            Kind::Value(_, reading) | Kind::Timeline(_, reading, _) => read(reading),
            Kind::Bar(_, metric, ..) => read(&Reading::Metric(metric.clone())),
            Kind::Act(_, path, _) => read(&Reading::Reported(path.clone())),
            Kind::Table(_, columns) => {
                cells = columns.iter().map(read).collect();
                Cell::none()
            }
            _ => Cell::none(),
        };
        let desired = match kind {
            Kind::Act(_, path, _) => Some(read(&Reading::Desired(path.clone())).value),
            _ => None,
        };
        let position = match kind {
            Kind::Map(_) => self
                .shadows
                .get(&id)
                .and_then(|shadow| shadow.reported.values.get(REPORTED_AS).and_then(Position::read)),
            _ => None,
        };
        ShownDevice {
            device: id,
            id: id.to_string(),
            reach: reach.as_str(),
            value: cell.value,
            at: cell.at,
            desired,
            latitude: position.map(|position| position.latitude),
            longitude: position.map(|position| position.longitude),
            cells,
            name: view.device.name,
        }
    }

    fn read(&self, reading: &Reading, id: DeviceId, reach: Reach, view: &DeviceView) -> Cell {
        match reading {
            Reading::Metric(metric) => {
                let samples = self.latest.get(&id).into_iter().flatten();
                let sample = samples.into_iter().find(|sample| sample.metric == *metric);
                sample.map_or(Cell::none(), |sample| Cell {
                    value: sample.value.to_json(),
                    at: Some(sample.time.0),
                })
            }
            Reading::Presence => Cell {
                value: reach.as_str().into(),
                at: view.presence.as_ref().map(|presence| presence.seen_at.0),
            },
            Reading::Reported(path) | Reading::Desired(path) => {
                let Some(shadow) = self.shadows.get(&id) else { return Cell::none() };
                let section = match reading {
                    Reading::Desired(_) => &shadow.desired,
                    _ => &shadow.reported,
                };
                let value = shadow::at_path(&section.values, path).cloned().unwrap_or_default();
                Cell { value, at: shadow::at_path(&section.times, path).and_then(newest) }
            }
        }
    }
}

impl Cell {
    fn none() -> Self {
        Self { value: Value::Null, at: None }
    }
}

/// The newest time in a tree of times.
fn newest(times: &Value) -> Option<i64> {
    match times {
        Value::Object(members) => members.values().filter_map(newest).max(),
        Value::Array(items) => items.iter().filter_map(newest).max(),
        time => time.as_i64(),
    }
}

async fn alarms(app: &App, selector: Option<&str>) -> Result<BlockData, Failure> {
    let devices = match selector {
        Some(text) => Some(selectors::read(app, text).await?),
        None => None,
    };
    let states = vec![AlarmState::Raised, AlarmState::Acknowledged];
    let wanted = AlarmQuery { states, devices, now: app.now(), limit: ALARMS_MAX, ..AlarmQuery::default() };
    let (alarms, total) = app.store.alarms(&wanted).await?;
    let alarms = Some(alarms.into_iter().map(AlarmDto::from).collect());
    Ok(BlockData { alarms, total: usize::try_from(total).ok(), ..BlockData::default() })
}

async fn flow(app: &App, id: FlowId) -> Result<BlockData, Failure> {
    let gone = || Rejection::conflict("not_found", "the flow is gone: choose another one");
    let flow = app.store.flow(id).await?.ok_or_else(gone)?;
    let name = flow.name.clone();
    let doing = FlowDto::new(app, flow, false).await?;
    let flow = ShownFlow {
        id: id.to_string(),
        name,
        state: doing.state,
        unplaced: doing.unplaced,
        devices: doing.devices,
    };
    Ok(BlockData { flow: Some(flow), ..BlockData::default() })
}
