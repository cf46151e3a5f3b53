//! Migrations: numbered, forward only, each with a checksum. The engine runs what is missing in one
//! transaction.
//!
//! Column types that engines write differently stand in braces: `{key}` a number that rows are ordered by on
//! disk, `{serial}` a key that the engine counts up, `{bytes}` bytes, `{real}` a 64-bit float. A migration
//! that was released is never edited: add another.

use sha2::{Digest as _, Sha256};

use super::row::{Row, Value};
use crate::StoreError;

/// One step of the format of the database.
pub(crate) struct Migration {
    /// From 1, without gaps.
    pub(crate) number: i64,
    /// Statements, each ended by a semicolon.
    pub(crate) text: &'static str,
    /// What follows on the embedded engine.
    pub(crate) embedded: &'static str,
    /// What follows where several processes write.
    pub(crate) shared: &'static str,
}

/// Every migration, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    text: include_str!("../../migrations/0001_start.sql"),
    embedded: include_str!("../../migrations/0001_embedded.sql"),
    shared: include_str!("../../migrations/0001_shared.sql"),
}];

/// The table that says which migrations a database has.
pub(crate) const CREATE: &str =
    "create table if not exists migrations (number bigint primary key, checksum text not null)";
/// What a database has.
pub(crate) const APPLIED: &str = "select number, checksum from migrations order by number";
/// Notes that a database has one more.
pub(crate) const APPLY: &str = "insert into migrations (number, checksum) values ($1, $2)";
/// Writes, and changes nothing.
pub(crate) const TOUCH: &str = "update migrations set checksum = checksum where number = 1";

impl Migration {
    /// SHA-256 of the texts, in hexadecimal digits: the same on every engine.
    pub(crate) fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for text in [self.text, self.embedded, self.shared] {
            hash.update(text);
        }
        motehub_domain::artifact::Digest(hash.finalize().into()).to_string()
    }
}

/// What the notes of a database say.
pub(crate) fn notes(rows: Vec<Row>) -> Result<Vec<(i64, String)>, StoreError> {
    let note = |row: Row| match row.as_slice() {
        [Value::Integer(number), Value::Text(checksum)] => Ok((*number, checksum.clone())),
        _ => Err(StoreError::damaged("the table of migrations")),
    };
    rows.into_iter().map(note).collect()
}

/// Which migrations are missing; an error if the database is newer than the program, or was made by others.
pub(crate) fn missing(
    known: &'static [Migration],
    applied: &[(i64, String)],
) -> Result<&'static [Migration], StoreError> {
    let newest = known.last().map_or(0, |migration| migration.number);
    if let Some((found, _)) = applied.last()
        && *found > newest
    {
        return Err(StoreError::Newer { found: *found, known: newest });
    }
    for (migration, (number, checksum)) in known.iter().zip(applied) {
        if migration.number != *number || migration.checksum() != *checksum {
            return Err(StoreError::damaged(format!("the note of migration {number}")));
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known_and_what_is_newer_is_refused() {
        let have = |number: i64| (number, MIGRATIONS[0].checksum());
        assert_eq!(missing(MIGRATIONS, &[]).map(<[_]>::len), Ok(MIGRATIONS.len()));
        let newest = MIGRATIONS.last().unwrap().number;
        let newer = StoreError::Newer { found: newest + 1, known: newest };
        assert_eq!(missing(MIGRATIONS, &[have(1), (newest + 1, String::new())]).err(), Some(newer.clone()));
        let message = newer.to_string();
        assert!(message.contains(&newest.to_string()) && message.contains(&(newest + 1).to_string()));
    }

    #[test]
    fn an_edited_migration_is_found() {
        let edited = [(1, "00".to_owned())];
        assert!(matches!(missing(MIGRATIONS, &edited), Err(StoreError::Damaged { .. })));
    }
}
