//! Notes: small values under a key, for settings of the product itself and for what gateways keep.

use crate::engine::Statement;
use crate::engine::row::{Columns, Value};
use crate::{Store, StoreError};

/// Most notes that one call returns.
const NOTES_MAX: i64 = 100_000;

sql! {
    WRITE = "insert into notes (name, body) values ($1, $2)
        on conflict (name) do update set body = excluded.body";
    DELETE = "delete from notes where name = $1";
    ONE = "select body from notes where name = $1";
    RANGE = "select name, body from notes where name >= $1 and name < $2 order by name limit $3";
}

pub(crate) fn write(key: &str, body: Option<&[u8]>) -> Statement {
    match body {
        Some(body) => Statement::new(WRITE, [key.into(), Value::Bytes(body.to_vec())]),
        None => Statement::new(DELETE, [key.into()]),
    }
}

impl Store {
    /// The note under a key.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn note(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.engine().read_one(ONE, [key.into()]).await?;
        row.map(|row| Columns::of("notes", row).bytes()).transpose()
    }

    /// All notes whose keys begin with a text, ordered by key; at most 100,000.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn notes(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let end = format!("{prefix}\u{10ffff}");
        let values = [prefix.into(), end.into(), NOTES_MAX.into()];
        let rows = self.engine().read(RANGE, values).await?;
        let notes = rows.into_iter().map(|row| {
            let mut columns = Columns::of("notes", row);
            Ok((columns.text()?, columns.bytes()?))
        });
        notes.filter(|note| note.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))).collect()
    }
}
