//! What is looked at and done once when a database is opened: is the server one that we can use, is the database ours,
//! and has it the newest format? Migrations run in one transaction under a lock; other nodes wait for it.

use super::connection::Connection;
use super::meaning::Trouble;
use super::text;
use crate::StoreError;
use crate::engine::migration::{self, MIGRATIONS, Migration};
use crate::engine::row::Value;

/// The oldest major version that is known to work.
const VERSION_MIN: i64 = 14;
/// Of the lock under which migrations run: "Mote" and a number.
const LOCK: &str = "select pg_advisory_lock(1299150949, 1)";
const UNLOCK: &str = "select pg_advisory_unlock(1299150949, 1)";
/// Says that a table of migrations is ours.
const MARK: &str = "comment on table migrations is 'Motehub'";
const SERVER: &str = "select cast(current_setting('server_version_num') as bigint), current_setting('server_version'), \
    current_setting('server_encoding'), current_setting('fsync'), current_setting('synchronous_commit'), \
    coalesce(cast(current_schema() as text), '')";
/// How many tables are there that no extension brought, and whether ours is one of them.
const TABLES: &str = "select count(*), \
    coalesce(max(case when c.relname = 'migrations' and obj_description(c.oid, 'pg_class') = 'Motehub' \
        then 1 else 0 end), 0) \
    from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = cast(current_schema() as regnamespace) \
    and not exists (select 1 from pg_depend d where d.objid = c.oid and d.deptype = 'e')";

pub(super) async fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    fit(connection).await?;
    if missing(connection).await?.is_empty() {
        return Ok(());
    }
    // Another node may migrate for as long as it takes.
    run(connection, "set lock_timeout = 0").await?;
    run(connection, LOCK).await?;
    let migrated = migrate_locked(connection).await;
    run(connection, UNLOCK).await?;
    run(connection, "set lock_timeout = '5s'").await?;
    migrated
}

/// Refuses a server with which we could not keep what we promise.
async fn fit(connection: &mut Connection) -> Result<(), StoreError> {
    let rows = read(connection, SERVER).await?;
    let Some(
        [
            Value::Integer(number),
            Value::Text(version),
            Value::Text(encoding),
            Value::Text(fsync),
            Value::Text(sync),
            Value::Text(schema),
        ],
    ) = rows.first().map(Vec::as_slice)
    else {
        return Err(StoreError::Unavailable("PostgreSQL does not say which version it is".to_owned()));
    };
    let why = match () {
        () if *number < VERSION_MIN * 10_000 => {
            format!("the server is PostgreSQL {version}, and {VERSION_MIN} or newer is needed: upgrade it")
        }
        () if encoding != "UTF8" => {
            format!(
                "the database has the encoding {encoding}: make one with createdb --encoding=UTF8 --template=template0"
            )
        }
        () if sync != "on" => format!("synchronous_commit is {sync} and cannot be switched on"),
        () if schema.is_empty() => {
            "no schema of the search_path exists: create one, or set search_path".to_owned()
        }
        () => {
            if fsync != "on" {
                tracing::warn!(
                    "PostgreSQL runs with fsync = off: what was acknowledged is lost when its machine fails"
                );
            }
            return Ok(());
        }
    };
    Err(StoreError::Unavailable(why))
}

async fn migrate_locked(connection: &mut Connection) -> Result<(), StoreError> {
    run(connection, "begin").await?;
    let migrated = migrate_inside(connection).await;
    let ended = run(connection, if migrated.is_ok() { "commit" } else { "rollback" }).await;
    migrated.and(ended)
}

async fn migrate_inside(connection: &mut Connection) -> Result<(), StoreError> {
    // Asked again behind the lock: another node may have been here.
    let missing = missing(connection).await?;
    if missing.len() == MIGRATIONS.len() {
        run(connection, &text::migration(migration::CREATE)).await?;
        run(connection, MARK).await?;
    }
    for migration in missing {
        for text in [migration.text, migration.shared] {
            run(connection, &text::migration(text)).await?;
        }
        let note = [Value::Integer(migration.number), Value::Text(migration.checksum())];
        connection.query(migration::APPLY, &note).await.map_err(Trouble::into_error)?;
    }
    Ok(())
}

async fn missing(connection: &mut Connection) -> Result<&'static [Migration], StoreError> {
    let tables = read(connection, TABLES).await?;
    let applied = match tables.first().map(Vec::as_slice) {
        Some([Value::Integer(0), _]) => Vec::new(),
        Some([_, Value::Integer(1)]) => read(connection, migration::APPLIED).await?,
        _ => return Err(StoreError::Foreign),
    };
    migration::missing(MIGRATIONS, &migration::notes(applied)?)
}

async fn read(
    connection: &mut Connection,
    sql: &'static str,
) -> Result<Vec<crate::engine::row::Row>, StoreError> {
    connection.query(sql, &[]).await.map_err(Trouble::into_error)
}

async fn run(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.client.batch_execute(sql).await.map_err(|error| Trouble::of(&error).into_error())
}
