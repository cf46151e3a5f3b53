//! The memory of the embedded engine: the hot table is mirrored in it, and it gives rows and series their numbers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use motehub_domain::gateway::Taken;
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::PointValue;
use motehub_domain::time::Time;
use tokio::sync::{Notify, oneshot};

use super::append::{Stored, known};
use super::chunk::Kept;
use super::hot::{Hot, HotPoint, Series};
use super::rollup::{Extent, SeriesRow};
use super::{HOT_BYTES_HARD_MAX, HOT_BYTES_MAX, Measured, locked};
use crate::engine::row::{Columns, Row, Value};
use crate::engine::{Engine, Outcome, Statement, Transaction, gone};
use crate::{StoreError, gateway};

/// How often an append is tried because a device of it was deleted meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// Rows of the hot table that are loaded at once.
const ROWS_PER_LOAD: i64 = 10_000;

sql! {
    pub(super) INSERT_SERIES = "insert into series
        (id, device, metric, hours, days, newest, points_from, minutes_from, hours_from)
        select cast($1 as bigint), id, $3, $4, $4, $5, $6, $6, $6 from devices where id = $2
        on conflict (id) do update set metric = excluded.metric";
    pub(super) INSERT_POINT = "insert into points (id, series, time, arrived, kind, number, words, mark)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    pub(super) DELETE_POINTS = "delete from points where id >= $1 and id <= $2";
    DEVICES = "select id from devices";
    SERIES = "select id, device, metric, hours, days, points_from, minutes_from, hours_from, newest from series";
    POINTS = "select id, series, time, arrived, kind, number, words, mark from points
        where id > $1 order by id limit $2";
    WRITE_EXTENT = "update series set hours = $2, days = $3, points_from = $4, minutes_from = $5, hours_from = $6,
        newest = $7 where id = $1";
}

/// See the file.
pub(super) struct Own {
    hot: Mutex<Hot>,
    too_much: Notify,
}

impl Own {
    /// Builds the memory from the tables.
    pub(super) async fn load(engine: &Engine) -> Result<Self, StoreError> {
        let mut hot = Hot::default();
        for row in engine.read(DEVICES, []).await? {
            hot.devices.insert(Columns::of("devices", row).parsed()?, Default::default());
        }
        for row in engine.read(SERIES, []).await? {
            load_series(&mut hot, row)?;
        }
        let mut last = i64::MIN;
        loop {
            let rows = engine.read(POINTS, [last.into(), ROWS_PER_LOAD.into()]).await?;
            let Some(Value::Integer(newest)) = rows.last().and_then(|row| row.first()) else { break };
            last = *newest;
            if hot.next_row == 0
                && let Some(Value::Integer(first)) = rows.first().and_then(|row| row.first())
            {
                hot.first_row = *first;
            }
            for row in rows {
                load_point(&mut hot, row)?;
            }
        }
        let loaded = Self { hot: Mutex::new(hot), too_much: Notify::new() };
        if loaded.hot().bytes > HOT_BYTES_MAX {
            loaded.too_much.notify_one();
        }
        Ok(loaded)
    }

    /// The memory. Nobody holds it across an await.
    pub(super) fn hot(&self) -> MutexGuard<'_, Hot> {
        locked(&self.hot)
    }

    /// Whether appending has to wait for a merge.
    pub(super) fn is_full(&self) -> bool {
        self.hot().bytes > HOT_BYTES_HARD_MAX
    }

    /// Resolves when there is so much that it should be merged.
    pub(super) async fn too_much(&self) {
        self.too_much.notified().await;
    }

    /// Stores points; there is room for them.
    pub(super) async fn append(
        self: &Arc<Self>,
        engine: &Engine,
        measured: &[Measured],
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<Stored, StoreError> {
        self.meet(engine, measured).await?;
        let mut attempts = 1;
        loop {
            match self.append_once(engine, measured, taken, at).await {
                Err(StoreError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    self.part(engine, measured).await?;
                }
                stored => return stored,
            }
        }
    }

    async fn append_once(
        self: &Arc<Self>,
        engine: &Engine,
        measured: &[Measured],
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<Stored, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let own = Arc::clone(self);
        let slot = engine.free_slot().await?;
        let stored = {
            let mut hot = self.hot();
            let mut prepared = hot.prepare(measured, at);
            prepared.transaction.statements.extend(taken.map(gateway::taken));
            if prepared.transaction.statements.is_empty() {
                return Ok(prepared.stored);
            }
            // Handed in while the memory is held: rows reach the writer in their order.
            let first_row = prepared.first_row;
            slot.write(
                prepared.transaction,
                Box::new(move |outcome| {
                    let mut hot = own.hot();
                    hot.settle(first_row, outcome.is_ok());
                    // On a full disk nobody is told again and again that a merge, which needs space, is wanted.
                    if outcome.is_ok() && hot.bytes > HOT_BYTES_MAX {
                        own.too_much.notify_one();
                    }
                    drop(hot);
                    drop(answer.send(outcome));
                }),
            );
            prepared.stored
        };
        outcome.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(stored)
    }

    /// Writes and, as soon as it is on disk, says in memory what there is of each series.
    pub(super) async fn write(
        self: &Arc<Self>,
        engine: &Engine,
        mut transaction: Transaction,
        extents: HashMap<i64, Extent>,
    ) -> Outcome {
        if !extents.is_empty() {
            let values = extents.iter().flat_map(|(id, extent)| extent.values(*id));
            transaction.push(Statement::many(WRITE_EXTENT, 7, values.collect()));
        }
        let (answer, outcome) = oneshot::channel();
        let own = Arc::clone(self);
        engine.free_slot().await?.write(
            transaction,
            Box::new(move |outcome| {
                if outcome.is_ok() {
                    let mut hot = own.hot();
                    for (id, extent) in extents {
                        if let Some(series) = hot.series.get_mut(&id) {
                            extent.tell(series);
                        }
                    }
                }
                drop(answer.send(outcome));
            }),
        );
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Learns of devices that another process registered.
    async fn meet(&self, engine: &Engine, measured: &[Measured]) -> Result<(), StoreError> {
        let strangers: HashSet<DeviceId> = {
            let hot = self.hot();
            let devices = measured.iter().map(|message| message.device);
            devices.filter(|device| !hot.devices.contains_key(device)).collect()
        };
        let strangers: Vec<DeviceId> = strangers.into_iter().collect();
        let known = known(engine, &strangers).await?;
        self.hot().devices_changed(&known, &[]);
        Ok(())
    }

    /// Learns of devices that another process deleted.
    async fn part(&self, engine: &Engine, measured: &[Measured]) -> Result<(), StoreError> {
        let devices: HashSet<DeviceId> = measured.iter().map(|message| message.device).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let known = known(engine, &devices).await?;
        let gone: Vec<DeviceId> = devices.into_iter().filter(|device| !known.contains(device)).collect();
        self.hot().devices_changed(&[], &gone);
        Ok(())
    }
}

fn load_series(hot: &mut Hot, row: Row) -> Result<(), StoreError> {
    let SeriesRow { id, device, metric, extent } = SeriesRow::read(row)?;
    match device {
        Some(device) => drop(hot.devices.entry(device).or_default().insert(metric.clone(), id)),
        None => hot.dropped.push(id),
    }
    let mut known = Series::new(device, metric);
    known.newest = extent.newest.clone();
    known.stored = true;
    extent.tell(&mut known);
    hot.series.insert(id, known);
    hot.next_series = hot.next_series.max(id + 1);
    Ok(())
}

fn load_point(hot: &mut Hot, row: Row) -> Result<(), StoreError> {
    let mut columns = Columns::of("points", row);
    let row = columns.integer()?;
    let damaged = || StoreError::damaged(format!("row {row} of the newest telemetry"));
    let series = columns.integer()?;
    let (time, arrived) = (columns.integer()?, columns.integer()?);
    let value = value_of(&mut columns)?.ok_or_else(damaged)?;
    let mark = columns.maybe_integer()?.map(i64::cast_unsigned);
    hot.next_series = hot.next_series.max(series + 1);
    hot.mirror(series, HotPoint { row, mark, came: arrived, kept: Kept { time, arrived, value } });
    Ok(())
}

/// A value by its columns kind, number and words; `None` if they do not fit together.
pub(super) fn value_of(columns: &mut Columns) -> Result<Option<PointValue>, StoreError> {
    let (kind, number, words) = (columns.integer()?, columns.maybe_real()?, columns.maybe_text()?);
    Ok(match (kind, number, words) {
        (0, Some(number), None) => Some(PointValue::Number(number)),
        (1, Some(number), None) => Some(PointValue::Boolean(number != 0.0)),
        (2, None, Some(text)) => Some(PointValue::Text(text)),
        (3, None, Some(text)) => Some(PointValue::Json(text)),
        _ => None,
    })
}
