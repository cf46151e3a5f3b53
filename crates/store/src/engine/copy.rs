//! Copies of the embedded engine's database: out of one that is in use, and back into an empty place.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::sqlite::{BUSY_MAX, known_format, meaning};
use crate::StoreError;
use crate::backup::Attached;

/// Pages that are copied between two words about the progress: 4 MiB.
const STEP_PAGES: i32 = 1024;

/// In the copy only.
const CREATE: &str =
    "create table backup_files (path text primary key, mode bigint not null, body blob not null)";
const INSERT: &str = "insert into backup_files (path, mode, body) values (?1, ?2, ?3)";
const FILES: &str = "select path, mode, body from backup_files order by path";
const DROP: &str = "drop table backup_files";
const LAST_SEQ: &str = "select coalesce(max(seq), 0) from changes";

/// Copies a database as it is now to an empty file, with small files; gives the place of the last change in it.
/// Nothing is synced: the caller does that once.
pub(crate) fn out(
    database: &Path,
    attached: &[Attached],
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<i64, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(database, flags).map_err(|error| named(database, error))?;
    source.busy_timeout(BUSY_MAX).map_err(meaning)?;
    known_format(&source)?;
    // The reading transaction holds the moment: however long the copy takes, it is of now.
    source.execute_batch("pragma query_only = on; begin").map_err(meaning)?;
    let last_seq = source.query_row(LAST_SEQ, [], |row| row.get(0)).map_err(meaning)?;
    let mut copied = Connection::open_with_flags(into, flags).map_err(|error| named(into, error))?;
    copied.execute_batch("pragma journal_mode = off; pragma synchronous = off").map_err(meaning)?;
    {
        let backup = Backup::new(&source, &mut copied).map_err(meaning)?;
        loop {
            let step = backup.step(STEP_PAGES).map_err(meaning)?;
            let (left, all) = (backup.progress().remaining, backup.progress().pagecount);
            progress(u64::try_from(all - left).unwrap_or_default(), u64::try_from(all).unwrap_or_default());
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(StoreError::Unavailable("the database is locked".to_owned())),
            }
        }
    }
    source.execute_batch("rollback").map_err(meaning)?;
    copied.execute_batch("pragma journal_mode = off; begin").map_err(meaning)?;
    copied.execute_batch(CREATE).map_err(meaning)?;
    for file in attached {
        copied.execute(INSERT, params![file.path, file.mode, file.body]).map_err(meaning)?;
    }
    copied.execute_batch("commit").map_err(meaning)?;
    copied.close().map_err(|(_, error)| meaning(error))?;
    Ok(last_seq)
}

/// Checks the database of a copy, takes the small files out of it and makes it one of ours again.
pub(crate) fn back(database: &Path) -> Result<(i64, Vec<Attached>), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(meaning)?;
    known_format(&connection)?;
    let word = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let found = connection.query_row("pragma integrity_check(1)", [], word).map_err(meaning)?;
    if found != "ok" {
        return Err(StoreError::damaged(format!("the database of the backup ({found})")));
    }
    let last_seq = connection.query_row(LAST_SEQ, [], |row| row.get(0)).map_err(meaning)?;
    let mut attached = Vec::new();
    let mut statement = connection.prepare(FILES).map_err(meaning)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(meaning)? {
        let file = || -> rusqlite::Result<Attached> {
            Ok(Attached { path: row.get(0)?, mode: row.get(1)?, body: row.get(2)? })
        };
        attached.push(file().map_err(meaning)?);
    }
    drop(rows);
    drop(statement);
    connection.execute_batch(DROP).map_err(meaning)?;
    connection.close().map_err(|(_, error)| meaning(error))?;
    Ok((last_seq, attached))
}

/// Whether a database has the newest format that this program knows.
pub(crate) fn is_current(database: &Path) -> Result<bool, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(|error| named(database, error))?;
    connection.busy_timeout(BUSY_MAX).map_err(meaning)?;
    Ok(known_format(&connection)?.is_empty())
}

fn named(path: &Path, error: rusqlite::Error) -> StoreError {
    match meaning(error) {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", path.display())),
        other => other,
    }
}
