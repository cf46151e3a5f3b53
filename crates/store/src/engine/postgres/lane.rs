//! A task that writes: it takes everything that waits as one transaction, commits once and answers all, as the embedded
//! engine does. There are two in each process, with a connection each.
//!
//! The orderly lane takes a lock at the begin of each group, so that over all nodes one group of state is written after
//! the other: what was numbered earlier is visible earlier, and transactions do not lock each other out. The free lane
//! takes none; what goes there must not care about order.
//!
//! A group is first tried plainly, everything sent before anything is awaited. If something of it is refused, it is
//! done again with a savepoint around each transaction; if the group as a whole cannot be written, one by one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, Error};

use super::bind::{Bound, collect};
use super::connection::Connection;
use super::meaning::Trouble;
use super::server::Server;
use crate::StoreError;
use crate::engine::row::{Row, Value};
use crate::engine::{Done, Outcome, Statement, Transaction};

/// So many parameters end a group: about 10,000 points.
const GROUP_VALUES_MAX: usize = 80_000;
/// So much is sent before something is awaited. (`join_all` begins with so many in their order.)
const SENT_MAX: usize = 24;
/// How often something is tried whose failure may be over at once.
const TRIES: usize = 3;
/// The lock of all nodes' orderly lanes: "Mote".
const BEGIN_ORDERLY: &str = "begin; select pg_advisory_xact_lock(1299150949, 0)";
const BEGIN_FREELY: &str = "begin";
const ROLLBACK: &str = "rollback";
const COMMIT: &str = "commit";
const SAVEPOINT: &str = "savepoint one";
const NEXT_SAVEPOINT: &str = "release one; savepoint one";
const BACK_TO_SAVEPOINT: &str = "rollback to one";

/// What a lane is asked.
pub(super) enum Job {
    Write {
        transaction: Transaction,
        done: Done,
    },
    /// Says when it begins, and then waits until the other end of `until` is dropped; for tests.
    Hold {
        begun: oneshot::Sender<()>,
        until: oneshot::Receiver<()>,
    },
}

/// See the file.
pub(super) struct Lane {
    pub(super) server: Arc<Server>,
    pub(super) is_orderly: bool,
    pub(super) connection: Option<Connection>,
    pub(super) commits: Arc<AtomicU64>,
    /// Whether a commit was sent that is not answered.
    pub(super) committing: bool,
}

/// One execution of a statement: for one row of parameters, or for all at once.
struct Run<'a> {
    of: &'a Statement,
    prepared: tokio_postgres::Statement,
    values: Vec<Vec<&'a Value>>,
    at_once: bool,
}

/// What a transaction needs to be run, or why it cannot be.
type Plan<'a> = Result<Vec<Run<'a>>, StoreError>;

/// Something that was sent.
type Flight<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Trouble>> + Send + 'a>>;

impl Lane {
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut group = Vec::new();
            let mut holds = Vec::new();
            let mut weight = 0;
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Hold { begun, until } => holds.push((begun, until)),
                    Job::Write { transaction, done } => {
                        weight += transaction.statements.iter().map(|s| s.values.len()).sum::<usize>();
                        group.push((transaction, done));
                    }
                }
                next = if weight < GROUP_VALUES_MAX { jobs.try_recv().ok() } else { None };
            }
            if !group.is_empty() {
                self.write(group).await;
            }
            for (begun, until) in holds {
                // Whoever asked may be gone already.
                let _ = begun.send(());
                drop(until.await);
            }
        }
    }

    async fn write(&mut self, group: Vec<(Transaction, Done)>) {
        let (transactions, dones): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let together: Vec<&Transaction> = transactions.iter().collect();
        let outcomes = match self.persist(&together).await {
            Ok(outcomes) => outcomes,
            Err(Trouble::Broken(error)) if transactions.len() > 1 => {
                tracing::debug!(%error, waiting = transactions.len(), "a group of writes is tried one by one");
                let mut outcomes = Vec::new();
                for transaction in &transactions {
                    let alone = self.persist(&[transaction]).await.map_err(Trouble::into_error);
                    outcomes.push(alone.and_then(|mut only| only.pop().unwrap_or(Ok(Vec::new()))));
                }
                outcomes
            }
            Err(trouble) => {
                let error = trouble.into_error();
                transactions.iter().map(|_| Err(error.clone())).collect()
            }
        };
        for (done, outcome) in dones.into_iter().zip(outcomes) {
            done(outcome);
        }
    }

    /// Writes what can be written of a group, and tries again what may succeed then.
    async fn persist(&mut self, group: &[&Transaction]) -> Result<Vec<Outcome>, Trouble> {
        let mut tries = 1;
        loop {
            self.committing = false;
            let server = Arc::clone(&self.server);
            let attempted = server.meanwhile(self.attempt(group)).await;
            let trouble = match attempted.unwrap_or_else(|away| Err(Trouble::Lost(away))) {
                Ok(outcomes) => return Ok(outcomes),
                Err(trouble) => trouble,
            };
            if let Trouble::Lost(_) = &trouble {
                self.connection = None;
                self.server.doubt();
            } else {
                // It was answered: nothing is committed.
                self.committing = false;
                self.roll_back().await;
            }
            let tries_max = match &trouble {
                Trouble::Refused(_) | Trouble::Late(_) => 1,
                Trouble::Broken(StoreError::Full | StoreError::Damaged { .. }) => 1,
                // Whether it was committed is not known: who asked must look, and nothing is done twice.
                Trouble::Lost(_) if self.committing => 1,
                Trouble::Broken(_) if group.len() > 1 => 1,
                Trouble::Lost(_) | Trouble::Broken(_) => TRIES,
            };
            if tries >= tries_max || self.server.here().is_err() {
                return Err(trouble);
            }
            tries += 1;
        }
    }

    async fn roll_back(&mut self) {
        let Some(connection) = &self.connection else { return };
        let server = Arc::clone(&self.server);
        let rolled_back = server.meanwhile(connection.client.batch_execute(ROLLBACK)).await;
        if !matches!(rolled_back, Ok(Ok(()))) {
            self.connection = None;
        }
    }

    async fn attempt(&mut self, group: &[&Transaction]) -> Result<Vec<Outcome>, Trouble> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = Some(self.server.connect().await.map_err(Trouble::Lost)?);
        }
        let Some(connection) = &mut self.connection else { return Ok(Vec::new()) };
        let mut plans = Vec::with_capacity(group.len());
        for transaction in group {
            plans.push(match plan(connection, transaction).await {
                Ok(runs) => Ok(runs),
                Err(Trouble::Refused(error)) => Err(error),
                Err(trouble) => return Err(trouble),
            });
        }
        let begin = if self.is_orderly { BEGIN_ORDERLY } else { BEGIN_FREELY };
        let client = &connection.client;
        let outcomes = match plainly(client, begin, &plans, &mut self.committing).await {
            Err(Trouble::Refused(error)) if plans.len() == 1 => {
                client.batch_execute(ROLLBACK).await.map_err(|error| Trouble::of(&error))?;
                return Ok(vec![Err(error)]);
            }
            Err(Trouble::Refused(_)) => {
                self.committing = false;
                client.batch_execute(ROLLBACK).await.map_err(|error| Trouble::of(&error))?;
                with_savepoints(client, begin, &plans, &mut self.committing).await?
            }
            written => written?,
        };
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(outcomes)
    }
}

/// Prepares the statements of a transaction, before it begins.
async fn plan<'a>(
    connection: &mut Connection,
    transaction: &'a Transaction,
) -> Result<Vec<Run<'a>>, Trouble> {
    let mut runs = Vec::new();
    for statement in &transaction.statements {
        let count = statement.values.len().checked_div(statement.width).unwrap_or(1);
        if count > 1
            && statement.guards.is_none()
            && let Some(prepared) = connection.prepared_many(&statement.sql, statement.distinct).await?
        {
            let column = |at| statement.values.iter().skip(at).step_by(statement.width).collect();
            let values = (0..statement.width).map(column).collect();
            runs.push(Run { of: statement, prepared, values, at_once: true });
            continue;
        }
        let prepared = connection.prepared(&statement.sql).await?;
        for run in 0..count {
            let from = run * statement.width;
            let values = vec![statement.values[from..from + statement.width].iter().collect()];
            runs.push(Run { of: statement, prepared: prepared.clone(), values, at_once: false });
        }
    }
    Ok(runs)
}

/// Everything in one transaction without savepoints.
async fn plainly(
    client: &Client,
    begin: &'static str,
    plans: &[Plan<'_>],
    committing: &mut bool,
) -> Result<Vec<Outcome>, Trouble> {
    let all = || plans.iter().flatten().flatten();
    // Where every answer counts as long as it is no error, the commit need not wait for the answers.
    let is_sure = all().all(|run| run.of.guards.is_none());
    let mut flights = vec![plain(client, begin)];
    flights.extend(all().map(|run| run.fly(client)));
    if is_sure {
        *committing = true;
        flights.push(plain(client, COMMIT));
    }
    let mut answers = fly(flights).await?.into_iter().skip(1);
    let mut outcomes = Vec::with_capacity(plans.len());
    for plan in plans {
        outcomes.push(match plan {
            Ok(runs) => Ok(answers.by_ref().take(runs.len()).flatten().collect()),
            Err(error) => Err(error.clone()),
        });
    }
    if !is_sure {
        *committing = true;
        plain(client, COMMIT).await?;
    }
    Ok(outcomes)
}

/// The same with a savepoint around each transaction, so that what is refused of one does not hurt the others.
async fn with_savepoints(
    client: &Client,
    begin: &'static str,
    plans: &[Plan<'_>],
    committing: &mut bool,
) -> Result<Vec<Outcome>, Trouble> {
    plain(client, begin).await?;
    let mut outcomes = Vec::with_capacity(plans.len());
    let mut is_first = true;
    for plan in plans {
        let runs = match plan {
            Ok(runs) => runs,
            Err(error) => {
                outcomes.push(Err(error.clone()));
                continue;
            }
        };
        let savepoint = if std::mem::take(&mut is_first) { SAVEPOINT } else { NEXT_SAVEPOINT };
        let mut flights = vec![plain(client, savepoint)];
        flights.extend(runs.iter().map(|run| run.fly(client)));
        outcomes.push(match fly(flights).await {
            Ok(answers) => Ok(answers.into_iter().flatten().collect()),
            Err(Trouble::Refused(error)) => {
                plain(client, BACK_TO_SAVEPOINT).await?;
                Err(error)
            }
            Err(trouble) => return Err(trouble),
        });
    }
    *committing = true;
    plain(client, COMMIT).await?;
    Ok(outcomes)
}

/// Sends, in order, and gives the answers, or the first error.
async fn fly(flights: Vec<Flight<'_>>) -> Result<Vec<Vec<Row>>, Trouble> {
    let mut answers = Vec::with_capacity(flights.len());
    let mut flights = flights.into_iter().peekable();
    while flights.peek().is_some() {
        for answer in join_all(flights.by_ref().take(SENT_MAX)).await {
            answers.push(answer?);
        }
    }
    Ok(answers)
}

fn plain<'a>(client: &'a Client, sql: &'static str) -> Flight<'a> {
    Box::pin(async move {
        client.batch_execute(sql).await.map_err(|error| Trouble::of(&error))?;
        Ok(Vec::new())
    })
}

impl Run<'_> {
    fn fly<'a>(&'a self, client: &'a Client) -> Flight<'a> {
        Box::pin(async move {
            let sent = async {
                let bound = |values: &'a Vec<&'a Value>| values.iter().map(|value| Bound(value));
                let stream = if self.at_once {
                    let columns = self.values.iter().map(|column| bound(column).collect::<Vec<_>>());
                    client.query_raw(&self.prepared, columns).await?
                } else {
                    client
                        .query_raw(&self.prepared, self.values.iter().flat_map(bound).collect::<Vec<_>>())
                        .await?
                };
                collect(stream).await
            };
            let answered: Result<_, Error> = sent.await;
            let (rows, touched) = answered.map_err(|error| Trouble::in_statement(&error, self.of))?;
            match self.of.guards {
                Some(what) if touched == 0 => Err(Trouble::Refused(StoreError::Conflict { what })),
                _ => Ok(rows),
            }
        })
    }
}
