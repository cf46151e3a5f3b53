//! The embedded engine: SQLite in one file, in WAL mode, every commit fsynced.
//!
//! One thread writes (see `writer`), a few threads read. A second process may write meanwhile; the busy
//! timeout covers it. In memory there is one connection for everything.

mod reserve;
mod statement;
mod text;
mod writer;

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::migration::{self, MIGRATIONS, Migration};
use super::row::{Row, Value};
use super::{Done, Transaction, gone};
use crate::StoreError;
use reserve::Reserve;
use statement::{prepared, query};
use writer::Job;

/// How long to wait for another process that writes.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);
/// Most transactions in the queue; callers wait for a place.
const WRITES_QUEUED_MAX: usize = 256;
/// Most reads in the queue; callers wait for a place.
const READS_QUEUED_MAX: usize = 256;
/// Threads that read.
const READERS: usize = 3;
/// Prepared statements that each connection keeps.
const STATEMENTS_KEPT: usize = 256;
/// Marks our files: "Mote".
const APPLICATION_ID: i64 = 0x4d6f_7465;
/// Pages of the log after which they are moved into the database. More spare the disk, fewer spare space.
/// It must fit into the reserve.
const CHECKPOINT_PAGES: i64 = 400;
/// The log file is cut to this size when it can be.
const LOG_BYTES_KEPT: i64 = 4 * 1024 * 1024;

/// The highest number that was given out of a table that is counted up.
pub(super) const COUNTED: &str = "select seq from sqlite_sequence where name = $1";
/// Counts on from a number: where none was given out yet, and where one was.
pub(super) const COUNT_FROM: [&str; 2] = [
    "insert into sqlite_sequence (name, seq) select $1, $2 from sqlite_schema
        where type = 'table' and name = $1 and sql like '%autoincrement%'
        and not exists (select 1 from sqlite_sequence where name = $1)",
    "update sqlite_sequence set seq = $2 where name = $1 and seq < $2",
];

/// What a thread does with its connection.
type Deed = Box<dyn FnOnce(&Connection) + Send>;

/// The embedded engine.
pub(crate) struct Sqlite {
    writes: Option<mpsc::Sender<Job>>,
    /// `None` in memory, where the writer's connection is the only one.
    reads: Option<mpsc::Sender<Deed>>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

/// A place in the writer's queue.
pub(crate) struct Slot(mpsc::OwnedPermit<Job>);

impl Slot {
    pub(crate) fn write(self, transaction: Transaction, done: Done) {
        self.0.send(Job::Write { transaction, done });
    }
}

impl Sqlite {
    /// Opens, migrates and starts the threads. Without a path the database is in memory.
    pub(crate) async fn open(path: Option<&Path>) -> Result<Self, StoreError> {
        let path = path.map(Path::to_owned);
        let file = path.clone();
        let opened = tokio::task::spawn_blocking(move || open_writer(file.as_deref()));
        let reserve = Reserve::beside(path.as_deref());
        let writer = opened.await.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        let commits = Arc::new(AtomicU64::new(0));
        let (writes, jobs) = mpsc::channel(WRITES_QUEUED_MAX);
        let counter = Arc::clone(&commits);
        let writer = Some(spawn("store-writer", move || writer::run(&writer, jobs, &counter, &reserve))?);

        let mut reads = None;
        let mut readers = Vec::new();
        if let Some(path) = path {
            let (sender, deeds) = mpsc::channel::<Deed>(READS_QUEUED_MAX);
            let deeds = Arc::new(Mutex::new(deeds));
            for _ in 0..READERS {
                let connection = open_reader(&path)?;
                let deeds = Arc::clone(&deeds);
                readers.push(spawn("store-reader", move || run_reader(&connection, &deeds))?);
            }
            reads = Some(sender);
        }
        Ok(Self { writes: Some(writes), reads, readers, writer, commits })
    }

    pub(crate) async fn slot(&self) -> Result<Slot, StoreError> {
        let writes = self.writes.clone().ok_or_else(gone)?;
        writes.reserve_owned().await.map(Slot).map_err(|_| gone())
    }

    pub(crate) async fn read(
        &self,
        sql: Cow<'static, str>,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.on_reader(move |connection| query(connection, &sql, &values)).await
    }

    /// What two statements read, of the same moment.
    pub(crate) async fn read_both(
        &self,
        (first, first_values): (String, Vec<Value>),
        (second, second_values): (String, Vec<Value>),
    ) -> Result<(Vec<Row>, Vec<Row>), StoreError> {
        self.on_reader(move |connection| {
            let _moment = connection.unchecked_transaction()?;
            Ok((query(connection, &first, &first_values)?, query(connection, &second, &second_values)?))
        })
        .await
    }

    async fn on_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deed = move |connection: &Connection| read(connection).map_err(meaning);
        let Some(reads) = &self.reads else { return self.on_writer(deed).await };
        let (answer, result) = oneshot::channel();
        let deed: Deed = Box::new(move |connection| drop(answer.send(deed(connection))));
        reads.send(deed).await.map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let rows = self.read(Cow::Borrowed("pragma quick_check(5)"), Vec::new()).await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Text(word)) if word == "ok" => Ok(()),
            Some(Value::Text(what)) => Err(StoreError::damaged(format!("the database ({what})"))),
            _ => Err(StoreError::damaged("the database")),
        }
    }

    pub(crate) async fn limit_pages(&self, pages: i64) -> Result<(), StoreError> {
        self.on_writer(move |connection| {
            connection.pragma_update(None, "max_page_count", pages).map_err(meaning)
        })
        .await
    }

    pub(crate) async fn hold_writer(&self) -> Result<std::sync::mpsc::Sender<()>, StoreError> {
        let (holder, held) = std::sync::mpsc::channel();
        let Slot(place) = self.slot().await?;
        let (begin, begun) = oneshot::channel();
        place.send(Job::Run(Box::new(move |_| {
            // Whoever asked may be gone already.
            let _ = begin.send(());
            // An error is what is waited for: the other end was dropped.
            held.recv().unwrap_or_default();
        })));
        begun.await.map_err(|_| gone())?;
        Ok(holder)
    }

    pub(crate) async fn prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        self.on_writer(move |connection| prepared(connection, sql).map(drop).map_err(meaning)).await
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    async fn on_writer<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, result) = oneshot::channel();
        let deed: Deed = Box::new(move |connection| drop(answer.send(deed(connection))));
        let Slot(place) = self.slot().await?;
        place.send(Job::Run(deed));
        result.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Sqlite {
    /// The threads finish what is queued and close their connections before this returns; the writer last,
    /// since only it can move the log into the database.
    fn drop(&mut self) {
        self.reads = None;
        self.readers.drain(..).for_each(wait_for);
        self.writes = None;
        self.writer.take().into_iter().for_each(wait_for);
    }
}

fn wait_for(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the database ended by a panic");
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn run_reader(connection: &Connection, deeds: &Mutex<mpsc::Receiver<Deed>>) {
    loop {
        let deed = deeds.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match deed {
            Some(deed) => deed(connection),
            None => return,
        }
    }
}

fn open_writer(path: Option<&Path>) -> Result<Connection, StoreError> {
    let reserve = Reserve::beside(path);
    reserve.release_if_full();
    let connection = match path {
        None => Connection::open_in_memory(),
        Some(path) => {
            create_private(path)?;
            Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )
        }
    }
    .map_err(meaning)?;
    connection.busy_timeout(BUSY_MAX).map_err(meaning)?;
    refuse_foreign(&connection)?;
    let settings = [
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("foreign_keys", "on"),
        ("temp_store", "memory"),
        ("cache_size", "-16000"),
    ];
    for (name, value) in settings {
        connection.pragma_update(None, name, value).map_err(meaning)?;
    }
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(meaning)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT).map_err(meaning)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    if !missing_migrations(&connection)?.is_empty() {
        migrate(&connection)?;
    }
    touch(&connection);
    reserve.hold();
    Ok(connection)
}

/// Writes a little while there is space for it: SQLite takes the space for its shared memory at the first
/// write, and a process that finds no space for that when the disk is full is killed by the kernel.
fn touch(connection: &Connection) {
    let touched = query(connection, migration::TOUCH, &[])
        .and_then(|_| query(connection, "pragma wal_checkpoint(truncate)", &[]));
    if let Err(error) = touched {
        tracing::warn!(%error, "the database was opened and cannot be written");
    }
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(meaning)?;
    connection.busy_timeout(BUSY_MAX).map_err(meaning)?;
    connection.pragma_update(None, "temp_store", "memory").map_err(meaning)?;
    connection.pragma_update(None, "cache_size", "-4000").map_err(meaning)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// Makes the file, readable by its owner alone, if it is not there; SQLite's other files take its rights
/// over.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Err(StoreError::Full),
        Err(error) => Err(StoreError::Unavailable(format!("open {}: {error}", path.display()))),
    }
}

fn refuse_foreign(connection: &Connection) -> Result<(), StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let is_ours = number("pragma application_id").map_err(foreign)? == APPLICATION_ID;
    let is_empty = number("select count(*) from sqlite_schema").map_err(foreign)? == 0;
    if is_ours || is_empty { Ok(()) } else { Err(StoreError::Foreign) }
}

/// What is missing in a database of ours; an error if it is another's, or newer.
pub(super) fn known_format(connection: &Connection) -> Result<&'static [Migration], StoreError> {
    refuse_foreign(connection)?;
    let missing = missing_migrations(connection)?;
    // One without any is empty, and nobody's.
    if missing.len() == MIGRATIONS.len() { Err(StoreError::Foreign) } else { Ok(missing) }
}

fn foreign(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Foreign,
        _ => meaning(error),
    }
}

fn migrate(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("begin immediate").map_err(meaning)?;
    let migrated = migrate_inside(connection);
    let end = if migrated.is_ok() { "commit" } else { "rollback" };
    let ended = connection.execute_batch(end).map_err(meaning);
    migrated.and(ended)
}

fn migrate_inside(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(meaning)?;
    connection.execute_batch(migration::CREATE).map_err(meaning)?;
    // Asked again inside the transaction: another process may have been here.
    for migration in missing_migrations(connection)? {
        for text in [migration.text, migration.embedded] {
            connection.execute_batch(&text::migration(text)).map_err(meaning)?;
        }
        let note = [Value::Integer(migration.number), Value::Text(migration.checksum())];
        query(connection, migration::APPLY, &note).map_err(meaning)?;
    }
    Ok(())
}

fn missing_migrations(connection: &Connection) -> Result<&'static [Migration], StoreError> {
    const EXISTS: &str = "select 1 from sqlite_schema where type = 'table' and name = 'migrations'";
    let exists = !query(connection, EXISTS, &[]).map_err(meaning)?.is_empty();
    let applied =
        if exists { query(connection, migration::APPLIED, &[]).map_err(meaning)? } else { Vec::new() };
    migration::missing(MIGRATIONS, &migration::notes(applied)?)
}

/// What an error of SQLite means for the caller.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn meaning(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::damaged(format!("the database ({error})"))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}
