//! One connection: how it is made, and the statements that are prepared on it.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join4;
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::bind::{Bound, collect, unknown, wider};
use super::meaning::{Trouble, refused};
use super::{text, tls};
use crate::StoreError;
use crate::engine::row::{Row, Value};
use crate::url::PostgresUrl;

/// How long it may take to be connected.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Nothing was heard for so long: the other end is asked whether it is there, and asked again.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASKED_MAX: u32 = 3;
/// What was sent and is not acknowledged for so long is lost.
const SENT_MAX: Duration = Duration::from_secs(8);
/// Prepared statements that a connection keeps. There are about 500 constant ones.
const STATEMENTS_KEPT: usize = 1024;
/// What every session says first: commits are synced, and who is cut off in a transaction does not hold others up.
const SETTINGS: &str = "set synchronous_commit = on; set jit = off; set lock_timeout = '5s'; \
    set idle_in_transaction_session_timeout = '8s'; set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; \
    set tcp_keepalives_count = 3; set tcp_user_timeout = 8000; set client_connection_check_interval = '2s'; \
    set client_min_messages = warning";

/// Around statements that read of one moment.
const BEGIN_MOMENT: &str = "begin isolation level repeatable read read only";
const END_MOMENT: &str = "commit";

/// Where connections come from.
pub(super) struct Source {
    pub(super) url: PostgresUrl,
    config: Config,
    tls: MakeRustlsConnect,
}

/// See the file. Dropped, it is closed, and what it had begun is undone.
pub(super) struct Connection {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    statements: HashMap<String, Statement>,
    /// Of inserts that can be done for many rows at once, the text that does that.
    many: HashMap<String, Option<String>>,
}

impl Source {
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, StoreError> {
        let mut config = url.config.clone();
        config.application_name(config.get_application_name().unwrap_or("motehub").to_owned());
        config.connect_timeout(CONNECT_MAX).tcp_user_timeout(SENT_MAX);
        config.keepalives(true).keepalives_idle(SILENCE_MAX);
        config.keepalives_interval(ASK_AGAIN).keepalives_retries(ASKED_MAX);
        Ok(Self { url: url.clone(), config, tls: tls::connector(url)? })
    }

    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        let late = |_| StoreError::Unavailable(format!("PostgreSQL at {} does not answer", self.url));
        tokio::time::timeout(CONNECT_MAX, self.connect_in_time()).await.map_err(late)?
    }

    async fn connect_in_time(&self) -> Result<Connection, StoreError> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, driven) = connected.map_err(|error| refused(&self.url, &error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = driven.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        let connection = Connection { client, driver, statements: HashMap::new(), many: HashMap::new() };
        connection.client.batch_execute(SETTINGS).await.map_err(|error| refused(&self.url, &error))?;
        Ok(connection)
    }
}

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The statement of a text, prepared once.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let ours = text::statement(sql);
        let mut statement = self.client.prepare(&ours).await.map_err(|error| Trouble::of(&error))?;
        if let Some(types) = wider(&statement) {
            let widened = self.client.prepare_typed(&ours, &types).await;
            statement = widened.map_err(|error| Trouble::of(&error))?;
        }
        if let Some(kind) = unknown(&statement) {
            let why = format!("a statement with a value of type {kind}");
            return Err(Trouble::Refused(StoreError::Unavailable(why)));
        }
        if self.statements.len() >= STATEMENTS_KEPT {
            // The constant ones are soon there again.
            self.statements.clear();
            self.many.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The statement that does all runs of an insert at once, if that can be.
    pub(super) async fn prepared_many(
        &mut self,
        sql: &str,
        distinct: bool,
    ) -> Result<Option<Statement>, Trouble> {
        let made = match self.many.get(sql) {
            Some(made) => made.clone(),
            None => {
                let types: Vec<Type> = self.prepared(sql).await?.params().to_vec();
                let made = text::many(sql, &types, distinct);
                self.many.insert(sql.to_owned(), made.clone());
                made
            }
        };
        match made {
            Some(made) => self.prepared_array(&made).await.map(Some),
            None => Ok(None),
        }
    }

    async fn prepared_array(&mut self, made: &str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.statements.get(made) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(made).await.map_err(|error| Trouble::of(&error))?;
        self.statements.insert(made.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The rows of a statement.
    pub(super) async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        let statement = self.prepared(sql).await?;
        self.rows(&statement, values).await
    }

    /// The rows of two statements as they are at one moment.
    pub(super) async fn query_both(
        &mut self,
        (first, first_values): &(String, Vec<Value>),
        (second, second_values): &(String, Vec<Value>),
    ) -> Result<(Vec<Row>, Vec<Row>), Trouble> {
        let (first, second) = (self.prepared(first).await?, self.prepared(second).await?);
        // All is sent before anything is awaited, in this order. Where a statement is refused, the end is a rollback.
        let (begun, first, second, ended) = join4(
            self.plain(BEGIN_MOMENT),
            self.rows(&first, first_values),
            self.rows(&second, second_values),
            self.plain(END_MOMENT),
        )
        .await;
        begun.and(ended)?;
        Ok((first?, second?))
    }

    async fn plain(&self, sql: &str) -> Result<(), Trouble> {
        self.client.batch_execute(sql).await.map_err(|error| Trouble::of(&error))
    }

    async fn rows(&self, statement: &Statement, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        let read = async {
            let stream = self.client.query_raw(statement, values.iter().map(Bound)).await?;
            Ok::<_, Error>(collect(stream).await?.0)
        };
        read.await.map_err(|error| Trouble::of(&error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
