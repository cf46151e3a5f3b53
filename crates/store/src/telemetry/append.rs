//! Appending: points get their series and times, and are on disk when the call returns.

use motehub_domain::gateway::Taken;
use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, When};
use motehub_domain::time::Time;

use super::chunk::Kept;
use super::hot::HotPoint;
use super::{Appended, Measured, Memory};
use crate::engine::Engine;
use crate::engine::query::Query;
use crate::engine::row::{Columns, Value};
use crate::{Store, StoreError};

/// Devices that one statement asks for.
const DEVICES_PER_READ: usize = 500;

/// What became of an append, and when each point was measured; none for those that are not stored.
pub(super) type Stored = (Appended, Vec<Option<Time>>);

/// What is asked of each point on its way to the hot table.
pub(super) trait Places {
    /// The series, which may be new; `None` if there can be none.
    fn series_of(&mut self, device: DeviceId, metric: &Metric) -> Option<i64>;

    /// Whether a recent point of the series that is on disk came in this message.
    fn has_mark(&self, series: i64, mark: u64) -> bool;

    /// When this message arrived first, if its point of the series is on its way to disk.
    fn pending_arrival(&self, device: DeviceId, series: i64, mark: u64) -> Option<Time>;
}

/// Gives points their series and times. Rows they have none yet.
pub(super) fn place(
    places: &mut impl Places,
    measured: &[Measured],
    at: Option<Time>,
) -> (Vec<(i64, HotPoint)>, Stored) {
    let mut appended = Appended::default();
    let mut placed = Vec::new();
    let mut times = Vec::with_capacity(measured.iter().map(|message| message.points.len()).sum());
    for message in measured {
        for point in &message.points {
            let Some(series) = places.series_of(message.device, &point.metric) else {
                appended.ignored += 1;
                times.push(None);
                continue;
            };
            let mut arrived = message.arrived;
            if message.again
                && matches!(point.time, When::Before(_))
                && let Some(mark) = message.mark
            {
                if places.has_mark(series, mark) {
                    appended.repeated += 1;
                    times.push(None);
                    continue;
                }
                // Its first sending may still fail, so it is written too, as the same point.
                arrived = places.pending_arrival(message.device, series, mark).unwrap_or(arrived);
            }
            let time = point.time.for_arrival(arrived).0;
            times.push(Some(Time(time)));
            let taken = at.unwrap_or(message.arrived).0;
            let kept = Kept { time, arrived: taken, value: point.value.clone() };
            appended.stored += 1;
            placed.push((series, HotPoint { row: 0, mark: message.mark, came: message.arrived.0, kept }));
        }
    }
    (placed, (appended, times))
}

/// Which of some devices there are.
pub(super) async fn known(engine: &Engine, devices: &[DeviceId]) -> Result<Vec<DeviceId>, StoreError> {
    let mut known = Vec::new();
    for some in devices.chunks(DEVICES_PER_READ) {
        let mut query = Query::new("select id from devices where id");
        query.among(some.iter().map(Value::id));
        for row in engine.ask(query).await? {
            known.push(Columns::of("devices", row).parsed()?);
        }
    }
    Ok(known)
}

impl Store {
    /// Stores what devices measured; all of it is on disk when this returns, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]: send it again later.
    pub async fn append(&self, measured: Vec<Measured>) -> Result<Appended, StoreError> {
        self.append_taken(measured, None).await
    }

    /// The same, and in one transaction with it: up to where what a gateway numbers was taken.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_taken(
        &self,
        measured: Vec<Measured>,
        taken: Option<&Taken>,
    ) -> Result<Appended, StoreError> {
        Ok(self.append_at(measured, taken, None).await?.0)
    }

    /// The same, and `at`: when the hub took it, which is kept as the time of arrival. Points without a time of their
    /// own count from the arrival that their message says. Also says when each point was measured; none for those that
    /// are not stored.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_at(
        &self,
        measured: Vec<Measured>,
        taken: Option<&Taken>,
        at: Option<Time>,
    ) -> Result<(Appended, Vec<Option<Time>>), StoreError> {
        match &self.telemetry_state().memory {
            Memory::Own(own) => {
                if own.is_full() {
                    self.merge_while(|| own.is_full()).await?;
                }
                own.append(self.engine(), &measured, taken, at).await
            }
            Memory::Shared(shared) => shared.append(self.engine(), &measured, taken, at).await,
        }
    }
}
