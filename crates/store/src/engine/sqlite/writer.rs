//! The thread that writes: it takes everything that waits, runs each transaction in a savepoint of its own
//! inside one SQLite transaction, commits once (one fsync) and answers all: group commit.
//!
//! If the group as a whole cannot be written, each transaction is tried alone, so that an error reaches only
//! those it concerns. The thread lives on whatever happens.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::mpsc;

use super::reserve::Reserve;
use super::statement::{bind, collect, prepared};
use super::{Deed, meaning};
use crate::StoreError;
use crate::engine::row::Row;
use crate::engine::{Done, Outcome, Statement, Transaction};

/// So many parameters end a group: about 10,000 points, some 20 ms.
const GROUP_VALUES_MAX: usize = 80_000;

/// What the writer is asked.
pub(super) enum Job {
    Write { transaction: Transaction, done: Done },
    Run(Deed),
}

struct Waiter {
    transaction: Transaction,
    done: Done,
}

/// Why the group as a whole cannot be written.
struct Broken(StoreError);

pub(super) fn run(
    connection: &Connection,
    mut jobs: mpsc::Receiver<Job>,
    commits: &AtomicU64,
    reserve: &Reserve,
) {
    let mut is_broken = false;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = Vec::new();
        let mut deeds = Vec::new();
        let mut weight = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Run(deed) => deeds.push(deed),
                Job::Write { transaction, done } => {
                    weight += transaction.statements.iter().map(|s| s.values.len()).sum::<usize>();
                    group.push(Waiter { transaction, done });
                }
            }
            next = if weight < GROUP_VALUES_MAX { jobs.try_recv().ok() } else { None };
        }
        if !group.is_empty() {
            let was_broken = std::mem::replace(&mut is_broken, write(connection, group, commits, reserve));
            if was_broken && !is_broken {
                tracing::info!("the database can be written again");
            } else if is_broken && !was_broken {
                tracing::error!("the database cannot be written: nothing new is accepted until it can");
            }
        }
        for deed in deeds {
            deed(connection);
        }
    }
}

/// Returns whether the database could not be written for somebody.
fn write(connection: &Connection, group: Vec<Waiter>, commits: &AtomicU64, reserve: &Reserve) -> bool {
    let transactions: Vec<&Transaction> = group.iter().map(|waiter| &waiter.transaction).collect();
    let mut is_broken = false;
    match attempt(connection, &transactions, commits) {
        Ok(outcomes) => {
            for (waiter, outcome) in group.into_iter().zip(outcomes) {
                (waiter.done)(outcome);
            }
        }
        Err(Broken(error)) => {
            tracing::debug!(%error, waiting = group.len(), "a group of writes is tried one by one");
            if error == StoreError::Full {
                make_room(connection, reserve);
            }
            for waiter in group {
                let outcome = match attempt(connection, &[&waiter.transaction], commits) {
                    Ok(mut outcomes) => outcomes.pop().unwrap_or(Err(error.clone())),
                    Err(Broken(error)) => {
                        is_broken = true;
                        Err(error)
                    }
                };
                (waiter.done)(outcome);
            }
        }
    }
    is_broken
}

/// Moves the log into the database, so that its space can be used again.
fn make_room(connection: &Connection, reserve: &Reserve) {
    reserve.release();
    let moved = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
    reserve.hold();
    if let Err(error) = moved {
        tracing::debug!(%error, "the log could not be moved into the database");
    }
}

fn attempt(
    connection: &Connection,
    transactions: &[&Transaction],
    commits: &AtomicU64,
) -> Result<Vec<Outcome>, Broken> {
    let outcomes = attempt_inside(connection, transactions);
    if outcomes.is_err() && !connection.is_autocommit() {
        // If even this fails, the next begin says so.
        drop(plain(connection, "rollback"));
    }
    if outcomes.is_ok() {
        commits.fetch_add(1, Ordering::Relaxed);
    }
    outcomes
}

fn attempt_inside(connection: &Connection, transactions: &[&Transaction]) -> Result<Vec<Outcome>, Broken> {
    plain(connection, "begin immediate")?;
    let mut outcomes = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        plain(connection, "savepoint one")?;
        let outcome = perform(connection, transaction);
        if let Err(error) = &outcome {
            if connection.is_autocommit() || !concerns_one(error) {
                return Err(Broken(error.clone()));
            }
            plain(connection, "rollback to one")?;
        }
        plain(connection, "release one")?;
        outcomes.push(outcome);
    }
    plain(connection, "commit")?;
    Ok(outcomes)
}

/// Whether an error says something of this transaction, not of the database.
fn concerns_one(error: &StoreError) -> bool {
    match error {
        StoreError::Conflict { .. } | StoreError::Taken { .. } => true,
        StoreError::Full
        | StoreError::Unavailable(_)
        | StoreError::Newer { .. }
        | StoreError::Foreign
        | StoreError::Unfinished
        | StoreError::Damaged { .. } => false,
    }
}

fn plain(connection: &Connection, sql: &'static str) -> Result<(), Broken> {
    let run = || connection.prepare_cached(sql)?.raw_execute();
    run().map(drop).map_err(|error| Broken(meaning(error)))
}

fn perform(connection: &Connection, transaction: &Transaction) -> Outcome {
    let mut rows = Vec::new();
    for statement in &transaction.statements {
        perform_one(connection, statement, &mut rows)?;
    }
    Ok(rows)
}

fn perform_one(
    connection: &Connection,
    statement: &Statement,
    rows: &mut Vec<Row>,
) -> Result<(), StoreError> {
    let refused = |error| refused(statement, error);
    let mut prepared = prepared(connection, &statement.sql).map_err(refused)?;
    let returns = prepared.column_count() > 0;
    let runs = statement.values.len().checked_div(statement.width).unwrap_or(1);
    for run in 0..runs {
        let from = run * statement.width;
        bind(&mut prepared, &statement.values[from..from + statement.width]).map_err(refused)?;
        let touched = if returns {
            let found = collect(&mut prepared).map_err(refused)?;
            let count = found.len();
            rows.extend(found);
            count
        } else {
            prepared.raw_execute().map_err(refused)?
        };
        if let Some(what) = statement.guards
            && touched == 0
        {
            return Err(StoreError::Conflict { what });
        }
    }
    Ok(())
}

fn refused(statement: &Statement, error: rusqlite::Error) -> StoreError {
    if let rusqlite::Error::SqliteFailure(code, _) = &error
        && code.code == ErrorCode::ConstraintViolation
    {
        let is_unique = code.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE;
        return match statement.unique {
            Some(field) if is_unique => StoreError::Taken { field },
            _ => StoreError::Conflict { what: statement.guards.unwrap_or("record") },
        };
    }
    meaning(error)
}
