//! A whole installation from one store into another, between engines in either direction.
//!
//! Tables are copied in the order in which they refer to each other, each in the order of its key, in batches of one
//! transaction. How far each is stands in the target (table `copying`), so that a copy that was cut off goes on where
//! it was; while anything stands there, the target is not opened as a store. At the end both sides are read once more,
//! and their rows and digests compared.

mod digest;
mod table;

use motehub_domain::time::Time;

use crate::engine::row::{Columns, Value};
use crate::engine::{Engine, Statement, Transaction};
use crate::{Store, StoreError, StoreUrl};
use digest::Summed;
use table::{TABLES, Table};

/// In the table of progress, for the copy as a whole: how far the source was.
const WHOLE: &str = "";

sql! {
    PROGRESS = "select name, source, place, rows from copying order by name";
    NOTE = "insert into copying (name, source, place, rows) values ($1, $2, $3, $4)
        on conflict (name) do update set place = excluded.place, rows = excluded.rows";
    FINISH = "delete from copying";
    LAST_CHANGE = "select coalesce(max(seq), 0) from changes";
}

/// Why nothing was copied, or not all; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// One of the stores cannot be used.
    #[error("{store}: {why}")]
    Store {
        /// Its URL.
        store: String,
        /// What it says.
        why: StoreError,
    },
    /// Source and target are the same, or one of them ends with this process.
    #[error(
        "{0} cannot be copied to itself, and memory not at all: name two stores, such as sqlite:FILE and postgres://…"
    )]
    Same(String),
    /// There is something in the target.
    #[error("{0} holds data already: name an empty database")]
    NotEmpty(String),
    /// A copy of something else was begun in the target.
    #[error("a copy of {begun} was begun in {target}: go on with that, or name an empty database")]
    Other {
        /// The target.
        target: String,
        /// The other source.
        begun: String,
    },
    /// Somebody wrote into the source.
    #[error(
        "{0} was written since the copy was begun: stop every hub that uses it, empty the target and begin again"
    )]
    Written(String),
    /// What was read back is not what was written.
    #[error(
        "table {table} is not the same on both sides: stop every hub that uses them, empty the target and begin again"
    )]
    Differs {
        /// Which.
        table: &'static str,
    },
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// Which table.
    pub table: &'static str,
    /// Rows of it that are in the target.
    pub rows: i64,
    /// Whether they are being compared, after all was copied.
    pub compared: bool,
    /// Whether the table is done.
    pub done: bool,
}

/// A table that is the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Which.
    pub table: &'static str,
    /// Its rows.
    pub rows: i64,
    /// SHA-256 of them all, in hexadecimal digits.
    pub digest: String,
}

/// The two sides of a copy.
struct Transfer<'t> {
    from: Side<'t>,
    to: Side<'t>,
}

struct Side<'t> {
    url: &'t StoreUrl,
    engine: &'t Engine,
}

/// How far a table is, or in the note of the whole how far the source was when it began.
#[derive(Default)]
struct Place {
    source: String,
    /// The key of the last row that is there, if any.
    key: Vec<Value>,
    rows: i64,
}

/// Copies everything from one store to another, which is empty or has a copy of this one that was cut off. No hub may
/// use either meanwhile. Returns what is the same on both sides: everything.
///
/// # Errors
/// See [`TransferError`]. Afterwards the target can be gone on with, but not be used.
pub async fn transfer(
    from: &StoreUrl,
    to: &StoreUrl,
    mut progress: impl FnMut(Transferred) + Send,
) -> Result<Vec<Compared>, TransferError> {
    if from == to || [from, to].contains(&&StoreUrl::Memory) {
        return Err(TransferError::Same(from.to_string()));
    }
    let said = |url: &StoreUrl| {
        let store = url.to_string();
        move |why| TransferError::Store { store, why }
    };
    // As a store: it is one that is whole, and has its points in chunks before they are copied.
    let source = Store::open(from).await.map_err(said(from))?;
    source.merge(Time(i64::MAX)).await.map_err(said(from))?;
    let target = Engine::open(to).await.map_err(said(to))?;
    let from = Side { url: from, engine: source.engine() };
    let transfer = Transfer { from, to: Side { url: to, engine: &target } };
    let compared = transfer.run(&mut progress).await?;
    drop(source);
    Ok(compared)
}

/// Whether a copy into this database was begun and not finished.
pub(crate) async fn is_unfinished(engine: &Engine) -> Result<bool, StoreError> {
    Ok(!engine.read(PROGRESS, []).await?.is_empty())
}

impl Transfer<'_> {
    async fn run(
        &self,
        progress: &mut (dyn FnMut(Transferred) + Send),
    ) -> Result<Vec<Compared>, TransferError> {
        self.begin().await?;
        for table in TABLES.iter() {
            let place = self.to.place(table.name).await?.unwrap_or_default();
            self.copy(table, place, progress).await?;
        }
        for table in TABLES.iter() {
            if let Some(column) = table.counted {
                let counted = self.from.engine.counted(table.name, column).await;
                let counted = counted.map_err(|why| self.from.says(why))?;
                let set = self.to.engine.count_from(table.name, column, counted).await;
                set.map_err(|why| self.to.says(why))?;
            }
        }
        let mut compared = Vec::new();
        for table in TABLES.iter() {
            let one = self.from.digest(table, &mut |_| {}).await?;
            let mut say =
                |rows| progress(Transferred { table: table.name, rows, compared: true, done: false });
            let other = self.to.digest(table, &mut say).await?;
            if one != other {
                self.unwritten().await?;
                return Err(TransferError::Differs { table: table.name });
            }
            progress(Transferred { table: table.name, rows: one.rows, compared: true, done: true });
            compared.push(Compared { table: table.name, rows: one.rows, digest: one.digest });
        }
        self.unwritten().await?;
        self.to.write(vec![Statement::new(FINISH, [])]).await?;
        Ok(compared)
    }

    /// Notes in the target what is copied; an error if it is not the place for that.
    async fn begin(&self) -> Result<(), TransferError> {
        if let Some(whole) = self.to.place(WHOLE).await? {
            if whole.source != self.from.url.to_string() {
                let target = self.to.url.to_string();
                return Err(TransferError::Other { target, begun: whole.source });
            }
            return self.unwritten().await;
        }
        for table in TABLES.iter() {
            if !self.to.read(table.select(true), vec![Value::Integer(1)]).await?.is_empty() {
                return Err(TransferError::NotEmpty(self.to.url.to_string()));
            }
        }
        let last = self.from.last_change().await?;
        self.to.write(vec![self.note(WHOLE, &[Value::Integer(last)], 0)]).await
    }

    /// An error if the source was written since the copy was begun.
    async fn unwritten(&self) -> Result<(), TransferError> {
        let begun = self.to.place(WHOLE).await?.unwrap_or_default();
        match begun.key.as_slice() {
            [Value::Integer(last)] if *last == self.from.last_change().await? => Ok(()),
            _ => Err(TransferError::Written(self.from.url.to_string())),
        }
    }

    fn note(&self, name: &'static str, key: &[Value], rows: i64) -> Statement {
        let value = |value: &Value| match value {
            Value::Integer(number) => serde_json::Value::from(*number),
            Value::Text(text) => serde_json::Value::from(text.as_str()),
            Value::Null | Value::Real(_) | Value::Bytes(_) => serde_json::Value::Null,
        };
        let place = serde_json::Value::from(key.iter().map(value).collect::<Vec<_>>()).to_string();
        Statement::new(NOTE, [name.into(), self.from.url.to_string().into(), place.into(), rows.into()])
    }

    async fn copy(
        &self,
        table: &Table,
        mut place: Place,
        progress: &mut (dyn FnMut(Transferred) + Send),
    ) -> Result<(), TransferError> {
        let insert = table.insert();
        loop {
            let rows = self.from.behind(table, &place.key).await?;
            let Some(last) = rows.last() else { break };
            place.key = table.key_places().filter_map(|at| last.get(at).cloned()).collect();
            place.rows += i64::try_from(rows.len()).unwrap_or(0);
            let values: Vec<Value> = rows.into_iter().flatten().collect();
            let rows = Statement::many_of(insert.clone(), table.columns.len(), values);
            self.to.write(vec![rows, self.note(table.name, &place.key, place.rows)]).await?;
            progress(Transferred { table: table.name, rows: place.rows, compared: false, done: false });
        }
        progress(Transferred { table: table.name, rows: place.rows, compared: false, done: true });
        Ok(())
    }
}

impl Side<'_> {
    fn says(&self, why: StoreError) -> TransferError {
        TransferError::Store { store: self.url.to_string(), why }
    }

    async fn read(&self, sql: String, values: Vec<Value>) -> Result<Vec<Vec<Value>>, TransferError> {
        self.engine.read_text(sql, values).await.map_err(|why| self.says(why))
    }

    async fn write(&self, statements: Vec<Statement>) -> Result<(), TransferError> {
        self.engine.write(Transaction { statements }).await.map(drop).map_err(|why| self.says(why))
    }

    /// The next rows behind a place.
    async fn behind(&self, table: &Table, key: &[Value]) -> Result<Vec<Vec<Value>>, TransferError> {
        let mut values = key.to_vec();
        values.push(table.batch().into());
        self.read(table.select(key.is_empty()), values).await
    }

    /// What is noted of a table, or of the whole.
    async fn place(&self, name: &str) -> Result<Option<Place>, TransferError> {
        for row in self.read(PROGRESS.to_owned(), Vec::new()).await? {
            if row.first() == Some(&Value::from(name)) {
                return place(row).map(Some).map_err(|why| self.says(why));
            }
        }
        Ok(None)
    }

    async fn last_change(&self) -> Result<i64, TransferError> {
        let row = self.read(LAST_CHANGE.to_owned(), Vec::new()).await?.into_iter().next().unwrap_or_default();
        Columns::of("changes", row).integer().map_err(|why| self.says(why))
    }

    async fn digest(
        &self,
        table: &Table,
        say: &mut (dyn FnMut(i64) + Send),
    ) -> Result<Summed, TransferError> {
        let mut sum = digest::Sum::default();
        let mut key: Vec<Value> = Vec::new();
        loop {
            let rows = self.behind(table, &key).await?;
            let Some(last) = rows.last() else { return Ok(sum.end()) };
            key = table.key_places().filter_map(|at| last.get(at).cloned()).collect();
            rows.iter().for_each(|row| sum.add(row));
            say(sum.rows());
        }
    }
}

fn place(row: Vec<Value>) -> Result<Place, StoreError> {
    let mut columns = Columns::of("copying", row);
    let (_, source, key) = (columns.text()?, columns.text()?, columns.json()?);
    let key = key.as_array().into_iter().flatten().map(|value| match value.as_i64() {
        Some(number) => Value::Integer(number),
        None => Value::from(value.as_str().unwrap_or_default()),
    });
    Ok(Place { source, key: key.collect(), rows: columns.integer()? })
}
