//! The door for telemetry.
//!
//! Points are appended to a hot table in the order they arrive; about once an hour they are merged into one
//! compressed chunk per series and hour, so that a small disk is written little. Reads combine chunks with
//! the hot points, which the embedded engine mirrors in memory. A point that is in both, or twice in one of
//! them, counts once: equal are points of one series with the same time and value. So merging may stop and
//! begin again at any step.

mod age;
mod append;
mod chunk;
mod export;
mod history;
mod hot;
mod hours;
mod known;
mod merge;
mod own;
mod read;
mod ripe;
mod rollup;
mod shared;
mod summary;
mod varint;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motehub_domain::id::DeviceId;
use motehub_domain::telemetry::{Metric, Point, PointValue};
use motehub_domain::time::Time;

use crate::StoreError;
use crate::engine::Engine;
pub use age::{Aged, Ages};
pub use history::Bucket;
use own::Own;
use shared::Shared;
pub use summary::{Numbers, States, Sum, Summary};

/// Hot points beyond this many bytes of memory are merged before their hour is over. About 190,000 numbers.
const HOT_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Beyond this, who appends waits until points are merged.
const HOT_BYTES_HARD_MAX: usize = 2 * HOT_BYTES_MAX;
/// Most metrics of one device; points of further ones are ignored.
const SERIES_PER_DEVICE_MAX: usize = 1000;
/// In place of an hour: the checksum of a newest point fits no chunk.
const NEWEST: i64 = i64::MIN;

sql! {
    PARTS = "select body from chunks where hour = $1 and series = $2 and part < $3";
    WRITE_CHUNK = "insert into chunks (hour, series, part, body) values ($1, $2, $3, $4)
        on conflict (hour, series, part) do update set body = excluded.body";
    WRITE_ROLLUP = "insert into rollups (level, span, series, body) values ($1, $2, $3, $4)
        on conflict (level, span, series) do update set body = excluded.body";
    DELETE_SERIES = "delete from series where id = $1";
}

/// The texts that only one kind of engine takes.
pub(crate) fn engine_sql(is_shared: bool) -> &'static [&'static str] {
    if is_shared { shared::SQL } else { own::SQL }
}

/// What one message of a device brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Who measured.
    pub device: DeviceId,
    /// When it arrived; points without a time of their own count from it.
    pub arrived: Time,
    /// Identifies the message where the transport can repeat it.
    pub mark: Option<u64>,
    /// Whether the transport says that this may be a repetition. A point whose time depends on the arrival is
    /// skipped then if a recent point of its series has the same mark.
    pub again: bool,
    /// The points.
    pub points: Vec<Point>,
}

/// What became of the points of an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// On disk.
    pub stored: usize,
    /// Skipped: they are there already, by their mark.
    pub repeated: usize,
    /// Of unknown devices, or of more than 1,000 metrics of one device.
    pub ignored: usize,
}

/// A stored point.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which metric.
    pub metric: Metric,
    /// When it was measured.
    pub time: Time,
    /// When it arrived.
    pub arrived: Time,
    /// What was measured.
    pub value: PointValue,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Points that left the hot table.
    pub points: usize,
    /// Chunks that were written.
    pub chunks: usize,
    /// Series of deleted devices that were removed.
    pub series_removed: usize,
}

/// What is known of telemetry beside its tables, and the order of its workers.
pub(crate) struct Telemetry {
    memory: Memory,
    merging: tokio::sync::Mutex<()>,
}

/// Where it is known which series there are and what is hot.
enum Memory {
    /// In this process, since no other writes: the embedded engine.
    Own(Arc<Own>),
    /// In the database, where others write too.
    Shared(Arc<Shared>),
}

impl Telemetry {
    /// Builds the memory from the tables, if there is one.
    pub(crate) async fn load(engine: &Engine) -> Result<Self, StoreError> {
        let memory = match engine.is_shared() {
            false => Memory::Own(Arc::new(Own::load(engine).await?)),
            true => Memory::Shared(Arc::new(Shared::load(engine).await?)),
        };
        Ok(Self { memory, merging: tokio::sync::Mutex::default() })
    }

    /// Devices that are there now, and devices that are not there any more.
    pub(crate) fn devices_changed(&self, appeared: &[DeviceId], vanished: &[DeviceId]) {
        match &self.memory {
            Memory::Own(own) => own.hot().devices_changed(appeared, vanished),
            Memory::Shared(shared) => shared.devices_vanished(vanished),
        }
    }
}

/// What a mutex holds. Nobody holds it across an await.
fn locked<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
