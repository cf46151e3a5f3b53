//! The engine for several nodes: PostgreSQL, which other processes read and write at the same time.
//!
//! Two tasks write (see `lane`), a few connections read, and one more asks whether the server is there (see `server`).
//! The connections that read are a list and a semaphore: a pool of a library would have to be told the same about a
//! server that is away, and decide about it a second time.

mod bind;
mod connection;
mod lane;
mod meaning;
mod migrate;
mod server;
mod text;
mod tls;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use motehub_domain::time::{Span, Time};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::row::{Row, Value};
use super::{Done, Transaction, gone};
use crate::StoreError;
use crate::url::PostgresUrl;
use connection::{Connection, Source};
use lane::{Job, Lane};
use meaning::Trouble;
use server::Server;

/// Most transactions in the queue of a lane; callers wait for a place.
const WRITES_QUEUED_MAX: usize = 256;
/// Connections that read.
const READERS: usize = 4;
/// The server's clock, in milliseconds since 1970.
const CLOCK: &str = "select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)";

/// The highest number that was given out of a column that is counted up.
pub(super) const COUNTED: &str =
    "select pg_sequence_last_value(cast(pg_get_serial_sequence($1, $2) as regclass))";
/// Counts on from a number.
pub(super) const COUNT_FROM: &str =
    "select setval(cast(pg_get_serial_sequence($1, $2) as regclass), cast($3 as bigint))";

/// The engine for several nodes.
pub(crate) struct Postgres {
    server: Arc<Server>,
    orderly: mpsc::Sender<Job>,
    free: mpsc::Sender<Job>,
    /// A place for each connection that may read, and those that rest.
    places: Semaphore,
    resting: Mutex<Vec<Connection>>,
    commits: Arc<AtomicU64>,
}

/// What a connection that reads is asked.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Prepare(&'a str),
    Read(&'a str, &'a [Value]),
    /// Two statements, of the same moment.
    ReadBoth(&'a (String, Vec<Value>), &'a (String, Vec<Value>)),
}

impl Ask<'_> {
    async fn of(self, connection: &mut Connection) -> Result<(Vec<Row>, Vec<Row>), Trouble> {
        match self {
            Self::Prepare(sql) => connection.prepared(sql).await.map(|_| Default::default()),
            Self::Read(sql, values) => Ok((connection.query(sql, values).await?, Vec::new())),
            Self::ReadBoth(first, second) => connection.query_both(first, second).await,
        }
    }
}

/// A place in the queue of a lane.
pub(crate) struct Slot(mpsc::OwnedPermit<Job>);

impl Slot {
    pub(crate) fn write(self, transaction: Transaction, done: Done) {
        self.0.send(Job::Write { transaction, done });
    }
}

impl Postgres {
    /// Connects, migrates and starts the tasks, on the runtime that calls.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, StoreError> {
        let source = Arc::new(Source::new(url)?);
        let mut connection = source.connect().await?;
        migrate::migrate(&mut connection).await?;
        let server = Arc::new(Server::watch(source, connection));
        let commits = Arc::new(AtomicU64::new(0));
        let lane = |is_orderly| {
            let (queue, jobs) = mpsc::channel(WRITES_QUEUED_MAX);
            let server = Arc::clone(&server);
            let commits = Arc::clone(&commits);
            let lane = Lane { server, is_orderly, connection: None, commits, committing: false };
            tokio::spawn(lane.run(jobs));
            queue
        };
        let (orderly, free) = (lane(true), lane(false));
        let resting = Mutex::default();
        Ok(Self { server, orderly, free, places: Semaphore::new(READERS), resting, commits })
    }

    /// A place in the queue of the lane where all nodes write one after the other.
    pub(crate) async fn slot(&self) -> Result<Slot, StoreError> {
        self.slot_in(&self.orderly).await
    }

    /// A place in the queue of the other lane.
    pub(crate) async fn free_slot(&self) -> Result<Slot, StoreError> {
        self.slot_in(&self.free).await
    }

    async fn slot_in(&self, lane: &mpsc::Sender<Job>) -> Result<Slot, StoreError> {
        self.server.here()?;
        let place = self.server.meanwhile(lane.clone().reserve_owned()).await?;
        place.map(Slot).map_err(|_| gone())
    }

    pub(crate) async fn read(
        &self,
        sql: Cow<'static, str>,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.ask(Ask::Read(&sql, &values)).await?.0)
    }

    pub(crate) async fn prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        self.ask(Ask::Prepare(sql)).await.map(drop)
    }

    /// What two statements read, of the same moment.
    pub(crate) async fn read_both(
        &self,
        first: (String, Vec<Value>),
        second: (String, Vec<Value>),
    ) -> Result<(Vec<Row>, Vec<Row>), StoreError> {
        self.ask(Ask::ReadBoth(&first, &second)).await
    }

    /// Asks one of the connections that read; once more if it was lost while it rested.
    async fn ask(&self, what: Ask<'_>) -> Result<(Vec<Row>, Vec<Row>), StoreError> {
        self.server.here()?;
        let place = self.server.meanwhile(self.places.acquire()).await?;
        let _place = place.map_err(|_| gone())?;
        loop {
            let rested = self.resting().pop();
            let is_new = rested.is_none();
            let mut connection = match rested {
                Some(connection) => connection,
                None => self.server.connect().await?,
            };
            match self.server.meanwhile(what.of(&mut connection)).await? {
                Err(Trouble::Lost(error)) => {
                    self.server.doubt();
                    if is_new {
                        return Err(error);
                    }
                }
                done => {
                    self.resting().push(connection);
                    return done.map_err(Trouble::into_error);
                }
            }
        }
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PostgreSQL looks after its own files; this only asks whether it reads them.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.read(Cow::Borrowed(super::migration::APPLIED), Vec::new()).await.map(drop)
    }

    /// How far the server's clock is ahead of `now`.
    pub(crate) async fn ahead(&self, now: Time) -> Result<Span, StoreError> {
        // The first answer may have waited for a connection.
        self.read(Cow::Borrowed(CLOCK), Vec::new()).await?;
        let asked = Instant::now();
        let rows = self.read(Cow::Borrowed(CLOCK), Vec::new()).await?;
        let half_way = i64::try_from(asked.elapsed().as_millis() / 2).unwrap_or_default();
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(there)) => Ok(Span(there - now.0 - half_way)),
            _ => Err(StoreError::Unavailable("PostgreSQL does not say its time".to_owned())),
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) async fn hold_writer(&self) -> Result<std::sync::mpsc::Sender<()>, StoreError> {
        let (holder, held) = std::sync::mpsc::channel::<()>();
        let mut ends = Vec::new();
        for lane in [&self.orderly, &self.free] {
            let Slot(place) = self.slot_in(lane).await?;
            let (begin, begun) = oneshot::channel();
            let (end, until) = oneshot::channel();
            place.send(Job::Hold { begun: begin, until });
            begun.await.map_err(|_| gone())?;
            ends.push(end);
        }
        std::thread::spawn(move || {
            // An error is what is waited for: the other end was dropped.
            held.recv().unwrap_or_default();
            drop(ends);
        });
        Ok(holder)
    }
}
