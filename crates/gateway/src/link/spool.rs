//! What waits while the link is down: on the gateway's own disk, so that devices are answered. Acknowledged means on
//! disk here too.
//!
//! One thread writes and reads; what waits for it at the same time shares one fsync. Rows have numbers that never come
//! again, and the hub remembers the highest that it stored: what is sent twice is stored once.

mod identity;
mod segments;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use motehub_domain::id::DeviceId;
use motehub_domain::message::Uplink;
use motehub_domain::telemetry::Metric;
use motehub_domain::time::Span;
use motehub_protocol::link::{decode, encode};
use tokio::sync::{mpsc, oneshot, watch};

use super::remote::Clock;
use super::{Lane, Stamped};
use crate::hub::UplinkError;
use segments::Segments;

pub(super) use segments::Row;

/// The smallest spool, in bytes.
pub const BYTES_MIN: u64 = 1024 * 1024;
/// A file of a lane is at most this large, and at most an eighth of the lane.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// Measurements have so many of four parts of the spool; the rest is for everything else.
const MEASURED_PARTS: u64 = 3;
/// How many batches wait for the disk; further ones wait before it.
const JOBS_MAX: usize = 1_024;
/// How many batches share one fsync.
const GROUP_MAX: usize = 256;
/// Of how many series the newest value is said before what came earlier.
const NEWEST_MAX: usize = 20_000;

/// What happens to a spool that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The oldest messages are dropped.
    DropOldest,
    /// New messages are not taken: a device that wants an acknowledgement sends them again later.
    RefuseNewest,
}

/// A spool and its bounds.
pub struct SpoolSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// Most bytes on disk, [`BYTES_MIN`] at least.
    pub bytes_max: u64,
    /// What is older is dropped; `None` for never.
    pub age_max: Option<Span>,
    /// When it is full.
    pub full: Full,
}

/// How a spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows that wait, by lane.
    pub(super) rows: [u64; 2],
    /// Bytes on disk.
    pub(super) bytes: u64,
    /// Rows that were dropped, or not taken because it was full, since the start.
    pub(super) dropped: u64,
}

impl Counts {
    /// Rows of a lane.
    pub(super) fn of(&self, lane: Lane) -> u64 {
        self.rows[lane as usize]
    }
}

/// A spool that is open.
pub struct Spool {
    jobs: mpsc::Sender<Job>,
    counts: watch::Receiver<Counts>,
    numbers: Arc<AtomicU64>,
    id: u64,
    /// The newest values that wait, with the whole message.
    newest: Mutex<HashMap<(DeviceId, Metric), Bytes>>,
    _lock: File,
}

enum Job {
    Append(Lane, Vec<Row>, oneshot::Sender<Result<(), UplinkError>>),
    Read(Lane, usize, u64, oneshot::Sender<Vec<Row>>),
    Delivered(Lane, u64, oneshot::Sender<()>),
}

impl Spool {
    /// Opens the spool of a gateway of this hub, or makes one.
    ///
    /// # Errors
    /// A sentence: another program has it, it belongs to another hub, or the disk refuses.
    pub fn open(settings: SpoolSettings, hub: &str, clock: Clock) -> Result<Self, String> {
        let folder = &settings.folder;
        let about = |error: io::Error| format!("the spool {}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(about)?;
        let lock = identity::lock(folder).map_err(about)?;
        let segment_bytes = SEGMENT_BYTES.min(settings.bytes_max / 32).max(4096);
        let is_empty = identity::is_empty(folder).map_err(about)?;
        let (id, first) = identity::begin(folder, hub, is_empty).map_err(about)?;
        let mut newest = HashMap::new();
        let mut open = |lane: Lane| {
            Segments::open(&folder.join(lane.as_str()), segment_bytes, |row| {
                if lane == Lane::Measured
                    && let Ok(said) = decode::<Stamped>(&row.body)
                {
                    note_newest(&mut newest, &said, &row.body);
                }
            })
        };
        let lanes = [open(Lane::Said).map_err(about)?, open(Lane::Measured).map_err(about)?];
        let numbers = Arc::new(AtomicU64::new(first));
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let mut keeper = Keeper { lanes, settings, clock, numbers: numbers.clone(), dropped: 0 };
        let (told, counts) = watch::channel(keeper.counts());
        let named = thread::Builder::new().name("spool".to_owned());
        named.spawn(move || keeper.run(queue, &told)).map_err(|error| error.to_string())?;
        Ok(Self { jobs, counts, numbers, id, newest: Mutex::new(newest), _lock: lock })
    }

    /// Which spool it is: numbers of another one mean nothing.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// How it is.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Resolves when something waits in a lane.
    pub(super) async fn has_some(&self, lane: Lane) {
        let mut counts = self.counts.clone();
        if counts.wait_for(|counts| counts.of(lane) > 0).await.is_err() {
            // The thread is gone, which happens only at the end.
            std::future::pending::<()>().await;
        }
    }

    /// Rows with numbers, for what is said to the hub before it is on disk.
    pub(super) fn numbered(&self, said: &[Stamped]) -> Vec<Row> {
        let number = || self.numbers.fetch_add(1, Ordering::Relaxed);
        said.iter().map(|said| Row { number: number(), at: said.at, body: encode(said) }).collect()
    }

    /// Keeps rows; all of them are on disk when this returns without an error.
    pub(super) async fn keep(&self, lane: Lane, rows: Vec<Row>) -> Result<(), UplinkError> {
        let (answer, done) = oneshot::channel();
        let closed = || UplinkError::Unavailable("the spool of this gateway is closed".to_owned());
        self.jobs.send(Job::Append(lane, rows, answer)).await.map_err(|_| closed())?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Keeps measurements; they are on disk when this returns without an error.
    pub(super) async fn keep_measured(&self, said: &[Stamped]) -> Result<(), UplinkError> {
        // Numbers are given where they are written, so that they ascend there.
        let rows: Vec<Row> =
            said.iter().map(|said| Row { number: 0, at: said.at, body: encode(said) }).collect();
        let bodies: Vec<Bytes> = rows.iter().map(|row| row.body.clone()).collect();
        self.keep(Lane::Measured, rows).await?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().zip(&bodies).for_each(|(said, body)| note_newest(&mut newest, said, body));
        Ok(())
    }

    /// The first rows that wait in a lane.
    pub(super) async fn read(&self, lane: Lane, rows_max: usize, bytes_max: u64) -> Vec<Row> {
        let (answer, rows) = oneshot::channel();
        let _ = self.jobs.send(Job::Read(lane, rows_max, bytes_max, answer)).await;
        rows.await.unwrap_or_default()
    }

    /// What was read last, up to this number, is at the hub.
    pub(super) async fn delivered(&self, lane: Lane, number: u64) {
        let (answer, done) = oneshot::channel();
        let _ = self.jobs.send(Job::Delivered(lane, number, answer)).await;
        let _ = done.await;
    }

    /// The messages with the newest values that wait, each once; they are given only once.
    pub(super) fn take_newest(&self) -> Vec<Stamped> {
        let newest = std::mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner));
        let messages: HashMap<*const u8, Bytes> =
            newest.into_values().map(|body| (body.as_ptr(), body)).collect();
        messages.into_values().filter_map(|body| decode(&body).ok()).collect()
    }
}

fn note_newest(newest: &mut HashMap<(DeviceId, Metric), Bytes>, said: &Stamped, body: &Bytes) {
    let Uplink::Telemetry(points) = &said.arrival.uplink else { return };
    for point in points {
        let series = (said.arrival.device, point.metric.clone());
        if newest.len() < NEWEST_MAX || newest.contains_key(&series) {
            newest.insert(series, body.clone());
        }
    }
}

/// What the thread has.
struct Keeper {
    lanes: [Segments; 2],
    settings: SpoolSettings,
    clock: Clock,
    numbers: Arc<AtomicU64>,
    dropped: u64,
}

impl Keeper {
    fn run(&mut self, mut queue: mpsc::Receiver<Job>, told: &watch::Sender<Counts>) {
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            let mut appended = Vec::new();
            let mut answers: Vec<Box<dyn FnOnce()>> = Vec::new();
            self.expire();
            while let Some(job) = next {
                match job {
                    Job::Append(lane, rows, answer) => appended.push((self.append(lane, rows), answer)),
                    Job::Read(lane, rows_max, bytes_max, answer) => {
                        let rows = self.read(lane, rows_max, bytes_max);
                        answers.push(Box::new(move || drop(answer.send(rows))));
                    }
                    Job::Delivered(lane, number, answer) => {
                        self.lanes[lane as usize].delivered(number);
                        answers.push(Box::new(move || {
                            let _ = answer.send(());
                        }));
                    }
                }
                let is_full = appended.len() + answers.len() >= GROUP_MAX;
                next = if is_full { None } else { queue.try_recv().ok() };
            }
            let synced = self.lanes.iter_mut().try_for_each(Segments::sync);
            if let Err(error) = &synced {
                tracing::error!(%error, "the spool cannot be written: nothing new is acknowledged");
                self.lanes.iter_mut().for_each(Segments::undo);
            }
            told.send_replace(self.counts());
            for (outcome, answer) in appended {
                let _ = answer.send(match &synced {
                    Ok(()) => outcome,
                    Err(error) => Err(unavailable(error)),
                });
            }
            answers.into_iter().for_each(|answer| answer());
        }
    }

    fn append(&mut self, lane: Lane, rows: Vec<Row>) -> Result<(), UplinkError> {
        let size: u64 = rows.iter().map(Row::size).sum();
        if !self.has_room(lane, size) {
            self.dropped += rows.len() as u64;
            let why = "the spool of this gateway is full, and it has no link to its hub";
            return Err(UplinkError::Unavailable(why.to_owned()));
        }
        for mut row in rows {
            if row.number == 0 {
                row.number = self.numbers.fetch_add(1, Ordering::Relaxed);
            }
            if let Err(error) = self.lanes[lane as usize].append(&row) {
                tracing::error!(%error, "the spool cannot be written: nothing new is acknowledged");
                self.lanes[lane as usize].undo();
                return Err(unavailable(&error));
            }
        }
        Ok(())
    }

    /// Whether so many bytes more may be kept; makes room, if that is how it is set.
    fn has_room(&mut self, lane: Lane, size: u64) -> bool {
        let parts = match lane {
            Lane::Said => 4 - MEASURED_PARTS,
            Lane::Measured => MEASURED_PARTS,
        };
        let most = self.settings.bytes_max / 4 * parts;
        let segments = &mut self.lanes[lane as usize];
        while self.settings.full == Full::DropOldest && segments.rows() > 0 && segments.bytes() + size > most
        {
            let dropped = segments.drop_first();
            tracing::warn!(
                dropped,
                lane = lane.as_str(),
                "the spool is full: its oldest messages are dropped"
            );
            self.dropped += dropped;
        }
        segments.bytes() + size <= most
    }

    fn expire(&mut self) {
        let Some(age_max) = self.settings.age_max else { return };
        let before = (self.clock)() - age_max;
        for segments in &mut self.lanes {
            let dropped = segments.expire(before);
            if dropped > 0 {
                tracing::warn!(dropped, "messages in the spool are too old and are dropped");
                self.dropped += dropped;
            }
        }
    }

    fn read(&mut self, lane: Lane, rows_max: usize, bytes_max: u64) -> Vec<Row> {
        let segments = &mut self.lanes[lane as usize];
        loop {
            match segments.read(rows_max, bytes_max) {
                Ok(rows) if rows.is_empty() && segments.rows() > 0 => {
                    let dropped = segments.drop_first();
                    tracing::error!(dropped, "a file of the spool is damaged: the rest of it is lost");
                    self.dropped += dropped;
                }
                Ok(rows) => return rows,
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be read");
                    return Vec::new();
                }
            }
        }
    }

    fn counts(&self) -> Counts {
        let [said, measured] = &self.lanes;
        Counts {
            rows: [said.rows(), measured.rows()],
            bytes: said.bytes() + measured.bytes(),
            dropped: self.dropped,
        }
    }
}

fn unavailable(error: &io::Error) -> UplinkError {
    UplinkError::Unavailable(format!("the disk of this gateway: {error}"))
}

#[cfg(test)]
mod tests;
