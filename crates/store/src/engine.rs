//! The waist: all that the rest of the store knows of a database.
//!
//! An engine reads (`read`) and writes transactions (`slot`, then `write`). The same SQL text runs on every
//! engine: `$1` placeholders bound by number, no engine functions; `{each:$1}` stands for the texts of a JSON
//! array, as a subquery. To add an engine, add one file and one variant.

pub(crate) mod copy;
pub(crate) mod migration;
pub(crate) mod query;
pub(crate) mod row;
mod sqlite;

use std::borrow::Cow;
use std::path::Path;

use tokio::sync::oneshot;

use crate::StoreError;
use query::Query;
use row::{Row, Value};
use sqlite::Sqlite;

/// The engines.
pub(crate) enum Engine {
    /// Embedded, in one file.
    Sqlite(Sqlite),
}

/// One statement, run once for each `width` parameters.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
    /// Parameters of one run; 0 if there are none.
    pub(crate) width: usize,
    /// If a run touches no row, somebody else changed this noun meanwhile.
    pub(crate) guards: Option<&'static str>,
    /// What it means if a unique value exists already; a conflict if not given.
    pub(crate) unique: Option<&'static str>,
}

/// Statements that are all done or not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transaction {
    pub(crate) statements: Vec<Statement>,
}

/// What a transaction returned: the rows of all its `returning` statements, in order.
pub(crate) type Outcome = Result<Vec<Row>, StoreError>;

/// Called with the outcome as soon as it is known, on a thread of the engine: it must be short and not block.
pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// A place in the bounded queue of writes. Who holds one can hand in a transaction without waiting.
pub(crate) enum Slot {
    /// Of the embedded engine.
    Sqlite(sqlite::Slot),
}

impl Statement {
    pub(crate) fn new(sql: &'static str, values: impl Into<Vec<Value>>) -> Self {
        let values = values.into();
        let width = values.len();
        Self { sql: Cow::Borrowed(sql), values, width, guards: None, unique: None }
    }

    /// Many runs of one statement, each with `width` parameters.
    pub(crate) fn many(sql: &'static str, width: usize, values: Vec<Value>) -> Self {
        Self { sql: Cow::Borrowed(sql), values, width, guards: None, unique: None }
    }

    pub(crate) fn guards(mut self, what: &'static str) -> Self {
        self.guards = Some(what);
        self
    }

    pub(crate) fn unique(mut self, field: &'static str) -> Self {
        self.unique = Some(field);
        self
    }
}

impl From<Query> for Statement {
    fn from(query: Query) -> Self {
        let (sql, values) = query.into_parts();
        let width = values.len();
        Self { sql: Cow::Owned(sql), values, width, guards: None, unique: None }
    }
}

impl Transaction {
    pub(crate) fn push(&mut self, statement: Statement) {
        self.statements.push(statement);
    }
}

impl From<Vec<Statement>> for Transaction {
    fn from(statements: Vec<Statement>) -> Self {
        Self { statements }
    }
}

impl Engine {
    /// Opens or creates the database in a file.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        Sqlite::open(Some(path)).await.map(Self::Sqlite)
    }

    /// A new database in memory, for tests.
    pub(crate) async fn memory() -> Result<Self, StoreError> {
        Sqlite::open(None).await.map(Self::Sqlite)
    }

    /// The rows of a constant statement.
    pub(crate) async fn read(
        &self,
        sql: &'static str,
        values: impl Into<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(Cow::Borrowed(sql), values.into()).await,
        }
    }

    /// The only row of a constant statement.
    pub(crate) async fn read_one(
        &self,
        sql: &'static str,
        values: impl Into<Vec<Value>>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.read(sql, values).await?.into_iter().next())
    }

    /// The rows of a query.
    pub(crate) async fn ask(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        let (sql, values) = query.into_parts();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(Cow::Owned(sql), values).await,
        }
    }

    /// Waits for a place in the queue of writes: this is where callers feel a slow disk.
    pub(crate) async fn slot(&self) -> Result<Slot, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.slot().await.map(Slot::Sqlite),
        }
    }

    /// Writes a transaction; it is durable when this returns.
    pub(crate) async fn write(&self, transaction: Transaction) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let done = move |outcome| drop(answer.send(outcome));
        self.slot().await?.write(transaction, Box::new(done));
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Looks for damage in the whole database.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.check().await,
        }
    }

    /// Lets the database grow to so many pages at most; for tests of a full disk.
    pub(crate) async fn limit_pages(&self, pages: i64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.limit_pages(pages).await,
        }
    }

    /// Writes nothing until what this returns is dropped; for tests of group commit.
    pub(crate) async fn hold_writer(&self) -> Result<std::sync::mpsc::Sender<()>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.hold_writer().await,
        }
    }

    /// Whether the engine takes this text.
    pub(crate) async fn prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.prepare(sql).await,
        }
    }

    /// How often the engine made something durable since it was opened.
    pub(crate) fn commits(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.commits(),
        }
    }
}

impl Slot {
    /// Hands a transaction in; `done` is called even if nobody waits any more.
    pub(crate) fn write(self, transaction: Transaction, done: Done) {
        match self {
            Self::Sqlite(slot) => slot.write(transaction, done),
        }
    }
}

/// The engine's threads have ended.
pub(crate) fn gone() -> StoreError {
    StoreError::Unavailable("the database is closed".to_owned())
}
