//! What is known of telemetry in memory: devices, their series, and the points that are not in chunks yet.
//!
//! The points are a mirror of the hot table: only what is committed is here, so what a reader sees is on
//! disk. Memory can be thrown away; `Own::load` builds it again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::Time;

use super::append::{Places, Stored, place};
use super::chunk::{Kept, kind_of};
use super::hours::{Hours, hour_of};
use super::own::{INSERT_POINT, INSERT_SERIES};
use super::rollup::Horizon;
use super::{HOT_BYTES_MAX, Measured, SERIES_PER_DEVICE_MAX};
use crate::engine::row::Value;
use crate::engine::{Statement, Transaction};

/// Parameters of one row of the hot table.
const POINT_WIDTH: usize = 8;

/// A point in the hot table.
#[derive(Debug, Clone)]
pub(super) struct HotPoint {
    pub(super) row: i64,
    pub(super) mark: Option<u64>,
    /// From when points without a time of their own count.
    pub(super) came: i64,
    pub(super) kept: Kept,
}

/// The points of one metric of one device.
#[derive(Debug)]
pub(super) struct Series {
    /// `None` once the device is deleted; then its chunks wait to be removed.
    pub(super) device: Option<DeviceId>,
    pub(super) metric: Metric,
    /// The hours that have chunks.
    pub(super) hours: Hours,
    /// The days that have roll-ups.
    pub(super) days: Hours,
    pub(super) horizon: Horizon,
    /// Whether its row is known to be on disk.
    pub(super) stored: bool,
    pub(super) hot: Vec<HotPoint>,
    /// The newest point of all that are on disk; `None` if there was never one.
    pub(super) newest: Option<Kept>,
}

/// Points on their way to disk.
pub(super) type Batch = Vec<(i64, HotPoint)>;

/// See the file.
#[derive(Debug, Default)]
pub(super) struct Hot {
    pub(super) devices: HashMap<DeviceId, BTreeMap<Metric, i64>>,
    pub(super) series: HashMap<i64, Series>,
    /// Series of deleted devices.
    pub(super) dropped: Vec<i64>,
    /// Rows below this one are gone.
    pub(super) first_row: i64,
    pub(super) next_row: i64,
    pub(super) next_series: i64,
    /// Bytes of memory that the hot points take, about.
    pub(super) bytes: usize,
    /// Row and hour of arrival: up to this row, points arrived in this hour.
    arrivals: VecDeque<(i64, i64)>,
    /// By their first row.
    pending: BTreeMap<i64, Batch>,
}

/// A batch that was given its rows.
pub(super) struct Prepared {
    pub(super) transaction: Transaction,
    pub(super) first_row: i64,
    pub(super) stored: Stored,
}

impl Series {
    pub(super) fn new(device: Option<DeviceId>, metric: Metric) -> Self {
        Self {
            device,
            metric,
            hours: Hours::default(),
            days: Hours::default(),
            horizon: Horizon::default(),
            stored: false,
            hot: Vec::new(),
            newest: None,
        }
    }

    fn push(&mut self, point: HotPoint) {
        if self.newest.as_ref().is_none_or(|newest| newest.time <= point.kept.time) {
            self.newest = Some(point.kept.clone());
        }
        self.hot.push(point);
    }
}

impl Hot {
    /// Gives points their series and rows, and says how to write them.
    pub(super) fn prepare(&mut self, measured: &[Measured], at: Option<Time>) -> Prepared {
        let first_row = self.next_row;
        let (mut batch, stored) = place(self, measured, at);
        let mut values = Vec::with_capacity(batch.len() * POINT_WIDTH);
        for (series, point) in &mut batch {
            point.row = self.next_row;
            self.next_row += 1;
            row_values(*series, point, &mut values);
        }
        let mut transaction = Transaction::default();
        if !batch.is_empty() {
            if let Some(statement) = self.unstored_series(&batch) {
                transaction.push(statement);
            }
            transaction.push(Statement::many(INSERT_POINT, POINT_WIDTH, values));
            self.pending.insert(first_row, batch);
        }
        Prepared { transaction, first_row, stored }
    }

    fn unstored_series(&self, batch: &Batch) -> Option<Statement> {
        let mut ids: Vec<i64> = batch.iter().map(|(series, _)| *series).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut values = Vec::new();
        for id in ids {
            if let Some(series) = self.series.get(&id).filter(|series| !series.stored)
                && let Some(device) = series.device
            {
                values.extend([
                    id.into(),
                    Value::id(device),
                    series.metric.as_str().into(),
                    Value::Bytes(series.hours.to_bytes()),
                    Value::Bytes(Vec::new()),
                    Horizon::default().points.into(),
                ]);
            }
        }
        (!values.is_empty()).then(|| Statement::many(INSERT_SERIES, 6, values).guards("device"))
    }

    /// A batch is on disk, or is not.
    pub(super) fn settle(&mut self, first_row: i64, is_stored: bool) {
        let Some(batch) = self.pending.remove(&first_row).filter(|_| is_stored) else { return };
        for (id, point) in batch {
            if let Some(series) = self.series.get_mut(&id) {
                series.stored = true;
            }
            self.mirror(id, point);
        }
    }

    /// Takes a row of the hot table into memory.
    pub(super) fn mirror(&mut self, series: i64, point: HotPoint) {
        let hour = hour_of(point.kept.arrived);
        match self.arrivals.back_mut() {
            Some(last) if last.1 == hour => last.0 = point.row,
            _ => self.arrivals.push_back((point.row, hour)),
        }
        self.next_row = self.next_row.max(point.row + 1);
        if let Some(series) = self.series.get_mut(&series).filter(|series| series.device.is_some()) {
            self.bytes += point.kept.weight();
            series.push(point);
        }
    }

    /// The row up to which everything may be merged: what arrived in hours that are over, or all if it is
    /// much.
    pub(super) fn ripe(&self, now_ms: i64) -> Option<i64> {
        if self.bytes > HOT_BYTES_MAX {
            return self.arrivals.back().map(|last| last.0);
        }
        let hour = hour_of(now_ms);
        self.arrivals.iter().take_while(|arrival| arrival.1 < hour).last().map(|arrival| arrival.0)
    }

    /// The rows up to this one are in chunks and no longer in the hot table.
    pub(super) fn forget(&mut self, last_row: i64) {
        for series in self.series.values_mut() {
            let bytes = &mut self.bytes;
            series.hot.retain(|point| {
                let stays = point.row > last_row;
                if !stays {
                    *bytes = bytes.saturating_sub(point.kept.weight());
                }
                stays
            });
            if series.hot.is_empty() {
                series.hot = Vec::new();
            }
        }
        while self.arrivals.front().is_some_and(|arrival| arrival.0 <= last_row) {
            self.arrivals.pop_front();
        }
        self.first_row = last_row + 1;
    }

    /// Devices that are there now, and devices that are not there any more.
    pub(super) fn devices_changed(&mut self, appeared: &[DeviceId], vanished: &[DeviceId]) {
        for device in appeared {
            self.devices.entry(*device).or_default();
        }
        for device in vanished {
            self.drop_device(*device);
        }
    }

    /// A device is deleted: its points are gone for readers at once.
    fn drop_device(&mut self, device: DeviceId) {
        for id in self.devices.remove(&device).unwrap_or_default().into_values() {
            if let Some(series) = self.series.get_mut(&id) {
                let weight: usize = series.hot.iter().map(|point| point.kept.weight()).sum();
                self.bytes = self.bytes.saturating_sub(weight);
                series.hot = Vec::new();
                series.newest = None;
                series.device = None;
                self.dropped.push(id);
            }
        }
    }
}

impl Places for Hot {
    fn series_of(&mut self, device: DeviceId, metric: &Metric) -> Option<i64> {
        let metrics = self.devices.get_mut(&device)?;
        if let Some(series) = metrics.get(metric) {
            return Some(*series);
        }
        if metrics.len() >= SERIES_PER_DEVICE_MAX {
            return None;
        }
        let id = self.next_series;
        self.next_series += 1;
        metrics.insert(metric.clone(), id);
        self.series.insert(id, Series::new(Some(device), metric.clone()));
        Some(id)
    }

    fn has_mark(&self, series: i64, mark: u64) -> bool {
        let hot = self.series.get(&series).map(|series| series.hot.as_slice()).unwrap_or_default();
        hot.iter().rev().any(|point| point.mark == Some(mark))
    }

    fn pending_arrival(&self, _: DeviceId, series: i64, mark: u64) -> Option<Time> {
        let mut pending = self.pending.values().flatten();
        let found = pending.find(|(id, point)| *id == series && point.mark == Some(mark));
        found.map(|(_, point)| Time(point.came))
    }
}

fn row_values(series: i64, point: &HotPoint, values: &mut Vec<Value>) {
    let (number, words) = columns_of(&point.kept.value);
    values.extend([
        point.row.into(),
        series.into(),
        point.kept.time.into(),
        point.kept.arrived.into(),
        i64::from(kind_of(&point.kept.value)).into(),
        number,
        words,
        point.mark.map(u64::cast_signed).into(),
    ]);
}

/// A value in its columns number and words.
pub(super) fn columns_of(value: &PointValue) -> (Value, Value) {
    match value {
        PointValue::Number(number) => ((*number).into(), Value::Null),
        PointValue::Boolean(truth) => (f64::from(u8::from(*truth)).into(), Value::Null),
        PointValue::Text(text) | PointValue::Json(text) => (Value::Null, text.into()),
    }
}
