//! The waist: all that the rest of the store knows of a database.
//!
//! An engine reads (`read`) and writes transactions (`slot`, then `write`). The same SQL text runs on every
//! engine: `$1` placeholders bound by number, no engine functions; `{each:$1}` stands for the texts of a JSON
//! array, as a subquery. To add an engine, add one file and one variant.
//!
//! Where several processes write, state is written in one order over all of them (`slot`), and what needs no order
//! beside it (`free_slot`): points, what the broker keeps.

pub(crate) mod copy;
pub(crate) mod migration;
mod postgres;
pub(crate) mod query;
pub(crate) mod row;
mod sqlite;

use std::borrow::Cow;

use motehub_domain::time::{Span, Time};
use tokio::sync::oneshot;

use crate::{StoreError, StoreUrl};
use postgres::Postgres;
use query::Query;
use row::{Row, Value};
use sqlite::Sqlite;

/// The engines.
pub(crate) enum Engine {
    /// Embedded, in one file.
    Sqlite(Sqlite),
    /// A server that several processes use.
    Postgres(Postgres),
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
    /// Whether no two runs are of the same row: an insert that replaces rows can be done for all at once then.
    pub(crate) distinct: bool,
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

/// Called with the outcome as soon as it is known, by the engine's writer: it must be short and not block.
pub(crate) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// A place in the bounded queue of writes. Who holds one can hand in a transaction without waiting.
pub(crate) enum Slot {
    /// Of the embedded engine.
    Sqlite(sqlite::Slot),
    /// Of a lane of the engine for several nodes.
    Postgres(postgres::Slot),
}

impl Statement {
    pub(crate) fn new(sql: &'static str, values: impl Into<Vec<Value>>) -> Self {
        let values = values.into();
        let width = values.len();
        Self { sql: Cow::Borrowed(sql), values, width, guards: None, distinct: false, unique: None }
    }

    /// Many runs of one statement, each with `width` parameters.
    pub(crate) fn many(sql: &'static str, width: usize, values: Vec<Value>) -> Self {
        Self { sql: Cow::Borrowed(sql), values, width, guards: None, distinct: false, unique: None }
    }

    /// The same for a text that is put together.
    pub(crate) fn many_of(sql: String, width: usize, values: Vec<Value>) -> Self {
        Self { sql: Cow::Owned(sql), values, width, guards: None, distinct: false, unique: None }
    }

    pub(crate) fn guards(mut self, what: &'static str) -> Self {
        self.guards = Some(what);
        self
    }

    pub(crate) fn distinct(mut self) -> Self {
        self.distinct = true;
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
        Self { sql: Cow::Owned(sql), values, width, guards: None, distinct: false, unique: None }
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
    /// Opens or creates the database, and migrates it.
    pub(crate) async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        match url {
            StoreUrl::Sqlite(path) => Sqlite::open(Some(path)).await.map(Self::Sqlite),
            StoreUrl::Memory => Sqlite::open(None).await.map(Self::Sqlite),
            StoreUrl::Postgres(url) => Postgres::open(url).await.map(Self::Postgres),
        }
    }

    /// Whether other processes may write too.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) => true,
        }
    }

    /// How far the clock of the database is ahead of `now`.
    pub(crate) async fn ahead(&self, now: Time) -> Result<Span, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Span(0)),
            Self::Postgres(postgres) => postgres.ahead(now).await,
        }
    }

    /// The rows of a constant statement.
    pub(crate) async fn read(
        &self,
        sql: &'static str,
        values: impl Into<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(Cow::Borrowed(sql), values.into()).await,
            Self::Postgres(postgres) => postgres.read(Cow::Borrowed(sql), values.into()).await,
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

    /// The rows of a statement that is put together, as `prepare` and `read` know it.
    pub(crate) async fn read_text(&self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(Cow::Owned(sql), values).await,
            Self::Postgres(postgres) => postgres.read(Cow::Owned(sql), values).await,
        }
    }

    /// The rows of a query.
    pub(crate) async fn ask(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        let (sql, values) = query.into_parts();
        self.read_text(sql, values).await
    }

    /// The rows of a query and the number that another counts, both of the same moment.
    pub(crate) async fn page(&self, list: Query, count: Query) -> Result<(Vec<Row>, i64), StoreError> {
        let (list, count) = (list.into_parts(), count.into_parts());
        let (rows, counted) = match self {
            Self::Sqlite(sqlite) => sqlite.read_both(list, count).await?,
            Self::Postgres(postgres) => postgres.read_both(list, count).await?,
        };
        Ok((rows, number(&counted)))
    }

    /// The highest number that a column ever had which the engine counts up, as far as it knows.
    pub(crate) async fn counted(&self, table: &'static str, column: &'static str) -> Result<i64, StoreError> {
        let highest = format!("select coalesce(max({column}), 0) from {table}");
        let highest = number(&self.read_text(highest, Vec::new()).await?);
        let (sql, values) = match self {
            Self::Sqlite(_) => (sqlite::COUNTED, vec![table.into()]),
            Self::Postgres(_) => (postgres::COUNTED, vec![table.into(), column.into()]),
        };
        Ok(highest.max(number(&self.read(sql, values).await?)))
    }

    /// Has the engine count a column on from a number, if it counts that up.
    pub(crate) async fn count_from(
        &self,
        table: &'static str,
        column: &'static str,
        highest: i64,
    ) -> Result<(), StoreError> {
        if highest == 0 {
            return Ok(());
        }
        match self {
            Self::Sqlite(_) => {
                let statements =
                    sqlite::COUNT_FROM.map(|sql| Statement::new(sql, [table.into(), highest.into()]));
                self.write(statements.to_vec().into()).await.map(drop)
            }
            Self::Postgres(_) => {
                let values = [table.into(), column.into(), highest.into()];
                self.read(postgres::COUNT_FROM, values).await.map(drop)
            }
        }
    }

    /// Waits for a place in the queue of writes: this is where callers feel a slow disk.
    pub(crate) async fn slot(&self) -> Result<Slot, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.slot().await.map(Slot::Sqlite),
            Self::Postgres(postgres) => postgres.slot().await.map(Slot::Postgres),
        }
    }

    /// The same for what needs no order with what other processes write, and holds them up by nothing.
    pub(crate) async fn free_slot(&self) -> Result<Slot, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.slot().await.map(Slot::Sqlite),
            Self::Postgres(postgres) => postgres.free_slot().await.map(Slot::Postgres),
        }
    }

    /// Writes a transaction; it is durable when this returns.
    pub(crate) async fn write(&self, transaction: Transaction) -> Outcome {
        write_in(self.slot().await?, transaction).await
    }

    /// The same, in the free lane (see [`Engine::free_slot`]).
    pub(crate) async fn write_freely(&self, transaction: Transaction) -> Outcome {
        write_in(self.free_slot().await?, transaction).await
    }

    /// Looks for damage in the whole database.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.check().await,
            Self::Postgres(postgres) => postgres.check().await,
        }
    }

    /// Lets the database grow to so many pages at most; for tests of a full disk.
    pub(crate) async fn limit_pages(&self, pages: i64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.limit_pages(pages).await,
            Self::Postgres(_) => Err(StoreError::Unavailable("PostgreSQL has no limit of pages".to_owned())),
        }
    }

    /// Writes nothing until what this returns is dropped; for tests of group commit.
    pub(crate) async fn hold_writer(&self) -> Result<std::sync::mpsc::Sender<()>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.hold_writer().await,
            Self::Postgres(postgres) => postgres.hold_writer().await,
        }
    }

    /// Whether the engine takes this text.
    pub(crate) async fn prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.prepare(sql).await,
            Self::Postgres(postgres) => postgres.prepare(sql).await,
        }
    }

    /// How often the engine made something durable since it was opened.
    pub(crate) fn commits(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.commits(),
            Self::Postgres(postgres) => postgres.commits(),
        }
    }
}

impl Slot {
    /// Hands a transaction in; `done` is called even if nobody waits any more.
    pub(crate) fn write(self, transaction: Transaction, done: Done) {
        match self {
            Self::Sqlite(slot) => slot.write(transaction, done),
            Self::Postgres(slot) => slot.write(transaction, done),
        }
    }
}

/// The number in the only column of the only row; 0 if there is none.
fn number(rows: &[Row]) -> i64 {
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

async fn write_in(slot: Slot, transaction: Transaction) -> Outcome {
    let (answer, outcome) = oneshot::channel();
    let done = move |outcome| drop(answer.send(outcome));
    slot.write(transaction, Box::new(done));
    outcome.await.unwrap_or_else(|_| Err(gone()))
}

/// The engine has ended.
pub(crate) fn gone() -> StoreError {
    StoreError::Unavailable("the database is closed".to_owned())
}
