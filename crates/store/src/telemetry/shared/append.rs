//! Appending where others append too: the database gives series their numbers, and refuses what changed meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use motehub_domain::gateway::Taken;
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, When};
use motehub_domain::time::Time;
use tokio::sync::oneshot;

use super::{
    CLOSED, DEVICES, DEVICES_KEPT, HOURS_KEPT, INSERT_POINT, INSERT_SERIES, Known, OPEN, Shared, WRITE_LATEST,
};
use crate::engine::query::Query;
use crate::engine::row::{Columns, Value};
use crate::engine::{Engine, Statement, Transaction, gone};
use crate::telemetry::append::{Places, Stored, place};
use crate::telemetry::chunk::{Kept, kind_of};
use crate::telemetry::hot::{HotPoint, columns_of};
use crate::telemetry::hours::hour_of;
use crate::telemetry::rollup::Horizon;
use crate::telemetry::{Measured, SERIES_PER_DEVICE_MAX};
use crate::{StoreError, gateway};

/// How often an append is tried because a device of it was deleted, or a partition closed, meanwhile.
const ATTEMPTS_MAX: usize = 20;
/// Columns of a hot point, and of what was measured last.
pub(super) const WIDTH: usize = 8;
/// Marks that one statement asks for.
const MARKS_PER_READ: usize = 250;
/// The partitions of all hours are named by numbers of 32 bits.
pub(super) const HOUR_MAX: i64 = i32::MAX as i64 - 1;

/// When messages with a mark arrived first.
type Arrivals = HashMap<(DeviceId, u64), i64>;

/// Marked messages on their way; dropped when it is known whether their points are on disk.
struct Pending {
    shared: Arc<Shared>,
    messages: Vec<(DeviceId, u64)>,
}

/// What is known of series and messages while points are placed.
struct View<'k> {
    known: &'k Known,
    /// Series and marks of recent points.
    marks: HashSet<(i64, u64)>,
    /// When messages arrived first that were on their way when this append began.
    pending: HashMap<(DeviceId, u64), i64>,
}

impl Shared {
    /// Stores points.
    pub(in crate::telemetry) async fn append(
        self: &Arc<Self>,
        engine: &Engine,
        measured: &[Measured],
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<Stored, StoreError> {
        let mut attempts = 1;
        loop {
            // Before anything is waited for: who comes behind this finds it.
            let (before, pending) = self.begin(measured);
            self.meet(engine, measured).await?;
            self.meet_series(engine, measured).await?;
            let marks = self.marks(engine, measured, &before).await?;
            match self.append_once(engine, measured, (taken, at), (before, marks), pending).await {
                Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    self.doubt(measured);
                }
                stored => return stored,
            }
        }
    }

    async fn append_once(
        self: &Arc<Self>,
        engine: &Engine,
        measured: &[Measured],
        (taken, at): (Option<&Taken>, Option<Time>),
        (before, marks): (Arrivals, HashSet<(i64, u64)>),
        pending: Pending,
    ) -> Result<Stored, StoreError> {
        let (placed, stored) =
            place(&mut View { known: &self.known(), marks, pending: before }, measured, at);
        let mut transaction = Transaction::default();
        let mut bytes = 0;
        let mut used = BTreeMap::new();
        if !placed.is_empty() {
            let (hours, opened) = self.hours(engine, &placed).await?;
            transaction.statements.extend(opened);
            bytes = placed.iter().map(|(_, point)| point.kept.weight() as u64).sum();
            transaction.push(points(&placed, &hours));
            transaction.push(self.latest(measured, &placed));
            used = hours;
        }
        transaction.statements.extend(taken.map(gateway::taken));
        if transaction.statements.is_empty() {
            return Ok(stored);
        }
        let (answer, outcome) = oneshot::channel();
        let done = move |outcome| {
            drop(pending);
            drop(answer.send(outcome));
        };
        engine.free_slot().await?.write(transaction, Box::new(done));
        outcome.await.unwrap_or_else(|_| Err(gone()))?;
        self.remember(used);
        let limit = self.hot_bytes_max.load(Ordering::Relaxed);
        if self.came.fetch_add(bytes, Ordering::Relaxed) + bytes > limit {
            self.came.store(0, Ordering::Relaxed);
            self.too_much.notify_one();
        }
        Ok(stored)
    }

    /// Notes which marked messages are on their way now, and gives those that were before.
    fn begin(self: &Arc<Self>, measured: &[Measured]) -> (HashMap<(DeviceId, u64), i64>, Pending) {
        let mut known = self.known();
        let mut before = HashMap::new();
        let mut messages = Vec::new();
        for message in measured {
            let Some(mark) = message.mark else { continue };
            let key = (message.device, mark);
            match known.pending.get(&key) {
                Some(arrived) if message.again => drop(before.insert(key, *arrived)),
                _ => {
                    known.pending.insert(key, message.arrived.0);
                    messages.push(key);
                }
            }
        }
        (before, Pending { shared: Arc::clone(self), messages })
    }

    /// Learns which devices there are, and their series.
    async fn meet(&self, engine: &Engine, measured: &[Measured]) -> Result<(), StoreError> {
        let strangers: HashSet<DeviceId> = {
            let mut known = self.known();
            if known.devices.len() > DEVICES_KEPT {
                known.devices.clear();
            }
            let devices = measured.iter().map(|message| message.device);
            devices.filter(|device| !known.devices.contains_key(device)).collect()
        };
        if strangers.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = strangers.iter().map(ToString::to_string).collect();
        let rows = engine.read(DEVICES, [serde_json::Value::from(ids).to_string().into()]).await?;
        let mut found: HashMap<DeviceId, BTreeMap<Metric, i64>> = HashMap::new();
        for row in rows {
            let mut columns = Columns::of("series", row);
            let metrics = found.entry(columns.parsed()?).or_default();
            if let (Some(id), Some(metric)) = (columns.maybe_integer()?, columns.maybe_text()?) {
                metrics.insert(Metric::parse(&metric).map_err(|_| damaged(id))?, id);
            }
        }
        self.known().devices.extend(found);
        Ok(())
    }

    /// Gives metrics that a device never measured a series.
    async fn meet_series(&self, engine: &Engine, measured: &[Measured]) -> Result<(), StoreError> {
        let mut values = Vec::new();
        {
            let known = self.known();
            let mut fresh: HashMap<DeviceId, BTreeSet<&Metric>> = HashMap::new();
            for message in measured {
                let Some(metrics) = known.devices.get(&message.device) else { continue };
                for metric in message.points.iter().map(|point| &point.metric) {
                    if metrics.contains_key(metric) {
                        continue;
                    }
                    let fresh = fresh.entry(message.device).or_default();
                    if metrics.len() + fresh.len() < SERIES_PER_DEVICE_MAX && fresh.insert(metric) {
                        let begin = Horizon::default().points;
                        values.extend([Value::id(message.device), metric.as_str().into()]);
                        values.extend([Value::Bytes(Vec::new()), begin.into()]);
                    }
                }
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        // Of a device that was deleted meanwhile there is no row.
        let rows = engine.write_freely(vec![Statement::many(INSERT_SERIES, 4, values)].into()).await?;
        let mut known = self.known();
        for row in rows {
            let mut columns = Columns::of("series", row);
            let (id, device) = (columns.integer()?, columns.parsed()?);
            let metric = Metric::parse(&columns.text()?).map_err(|_| damaged(id))?;
            if let Some(metrics) = known.devices.get_mut(&device) {
                metrics.insert(metric, id);
            }
        }
        Ok(())
    }

    /// The series and marks of what is said to be a repetition, as far as they are on disk. What was still on its way
    /// is not looked for: it is written once more, as the same points.
    async fn marks(
        &self,
        engine: &Engine,
        measured: &[Measured],
        pending: &HashMap<(DeviceId, u64), i64>,
    ) -> Result<HashSet<(i64, u64)>, StoreError> {
        let mut wanted: BTreeSet<(i64, u64)> = BTreeSet::new();
        {
            let known = self.known();
            for message in measured.iter().filter(|message| message.again) {
                let (Some(mark), Some(metrics)) = (message.mark, known.devices.get(&message.device)) else {
                    continue;
                };
                if pending.contains_key(&(message.device, mark)) {
                    continue;
                }
                let floating = message.points.iter().filter(|point| matches!(point.time, When::Before(_)));
                wanted.extend(floating.filter_map(|point| metrics.get(&point.metric)).map(|id| (*id, mark)));
            }
        }
        let mut marks = HashSet::new();
        for some in wanted.into_iter().collect::<Vec<_>>().chunks(MARKS_PER_READ) {
            let mut query = Query::new("select distinct series, mark from points where series");
            query.among(some.iter().map(|(id, _)| Value::Integer(*id))).push(" and mark");
            query.among(some.iter().map(|(_, mark)| Value::Integer(mark.cast_signed())));
            for row in engine.ask(query).await? {
                let mut columns = Columns::of("points", row);
                marks.insert((columns.integer()?, columns.integer()?.cast_unsigned()));
            }
        }
        Ok(marks)
    }

    /// The partitions in which points go, by the hour of their arrival, and which of them are opened for that: in the
    /// same transaction, so that nobody closes them in between.
    async fn hours(
        &self,
        engine: &Engine,
        placed: &[(i64, HotPoint)],
    ) -> Result<(BTreeMap<i64, i64>, Vec<Statement>), StoreError> {
        let mut hours = BTreeMap::new();
        let mut opened = Vec::new();
        for hour in placed.iter().map(|(_, point)| partition(point)).collect::<BTreeSet<i64>>() {
            let known = self.known().hours.get(&hour).copied();
            let open = match known {
                Some(open) => open,
                None => {
                    let open = not_closed(engine, hour).await?;
                    opened.push(Statement::new(OPEN, [open.into()]));
                    open
                }
            };
            hours.insert(hour, open);
        }
        Ok((hours, opened))
    }

    /// These partitions were open just now.
    pub(super) fn remember(&self, hours: BTreeMap<i64, i64>) {
        let mut known = self.known();
        if known.hours.len() >= HOURS_KEPT {
            known.hours.clear();
        }
        known.hours.extend(hours);
    }

    /// Something is not as it was: all that an append depends on is asked again.
    fn doubt(&self, measured: &[Measured]) {
        let mut known = self.known();
        known.hours.clear();
        for message in measured {
            known.devices.remove(&message.device);
        }
    }

    /// Writes what was measured last, one row for each series, in their order: so two nodes do not wait for each other.
    fn latest(&self, measured: &[Measured], placed: &[(i64, HotPoint)]) -> Statement {
        let mut newest: BTreeMap<i64, &HotPoint> = BTreeMap::new();
        for (series, point) in placed {
            match newest.get_mut(series) {
                Some(known) if known.kept.time > point.kept.time => {}
                Some(known) => *known = point,
                None => drop(newest.insert(*series, point)),
            }
        }
        let known = self.known();
        let mut names: HashMap<i64, (DeviceId, &Metric)> = HashMap::new();
        for message in measured {
            let metrics = known.devices.get(&message.device);
            for metric in message.points.iter().map(|point| &point.metric) {
                let id = metrics.and_then(|metrics| metrics.get(metric));
                names.extend(id.map(|id| (*id, (message.device, metric))));
            }
        }
        let mut values = Vec::with_capacity(newest.len() * WIDTH);
        for (series, point) in newest {
            let Some((device, metric)) = names.get(&series) else { continue };
            values.extend(latest_row(series, *device, metric, &point.kept));
        }
        Statement::many(WRITE_LATEST, WIDTH, values).distinct()
    }
}

impl Places for View<'_> {
    fn series_of(&mut self, device: DeviceId, metric: &Metric) -> Option<i64> {
        self.known.devices.get(&device)?.get(metric).copied()
    }

    fn has_mark(&self, series: i64, mark: u64) -> bool {
        self.marks.contains(&(series, mark))
    }

    fn pending_arrival(&self, device: DeviceId, _: i64, mark: u64) -> Option<Time> {
        self.pending.get(&(device, mark)).map(|arrived| Time(*arrived))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut known = self.shared.known();
        for message in &self.messages {
            known.pending.remove(message);
        }
    }
}

/// What was measured last of a series, as a row.
pub(super) fn latest_row(series: i64, device: DeviceId, metric: &Metric, kept: &Kept) -> [Value; WIDTH] {
    let (number, words) = columns_of(&kept.value);
    let kind = i64::from(kind_of(&kept.value)).into();
    let (id, metric) = (Value::id(device), metric.as_str().into());
    [series.into(), id, metric, kept.time.into(), kept.arrived.into(), kind, number, words]
}

/// The first hour from this one on whose partition is open or can be made.
async fn not_closed(engine: &Engine, from: i64) -> Result<i64, StoreError> {
    let mut hour = from;
    for row in engine.read(CLOSED, [from.into(), HOURS_KEPT.into()]).await? {
        if Columns::of("point_hours", row).integer()? == hour {
            hour += 1;
        }
    }
    Ok(hour)
}

/// The hour of arrival that decides on the partition.
fn partition(point: &HotPoint) -> i64 {
    hour_of(point.kept.arrived).clamp(-HOUR_MAX, HOUR_MAX)
}

fn points(placed: &[(i64, HotPoint)], hours: &BTreeMap<i64, i64>) -> Statement {
    let mut values = Vec::with_capacity(placed.len() * WIDTH);
    for (series, point) in placed {
        let hour = partition(point);
        let (number, words) = columns_of(&point.kept.value);
        values.extend([hours.get(&hour).copied().unwrap_or(hour).into(), (*series).into()]);
        values.extend([point.kept.time.into(), point.kept.arrived.into()]);
        values.extend([i64::from(kind_of(&point.kept.value)).into(), number, words]);
        values.push(point.mark.map(u64::cast_signed).into());
    }
    Statement::many(INSERT_POINT, WIDTH, values)
}

fn damaged(series: i64) -> StoreError {
    StoreError::damaged(format!("series {series} of the telemetry"))
}
