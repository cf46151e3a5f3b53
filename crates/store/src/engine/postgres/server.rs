//! Whether the server is there. One task asks it again and again; as soon as it does not answer, everybody who waits
//! for it is told, and whoever comes meanwhile is told at once: nobody hangs because of a server that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::connection::{Connection, Source};
use crate::StoreError;

/// How often the server is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take. A server that is only busy answers sooner.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// After a failure it is asked again so soon, and each time twice as late, up to `ASK_EVERY`.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// See the file.
pub(super) struct Server {
    pub(super) source: Arc<Source>,
    /// Why it is away, if it is.
    away: watch::Receiver<Option<StoreError>>,
    doubted: Arc<Notify>,
    asking: JoinHandle<()>,
}

impl Server {
    /// Begins to ask, on a connection of its own.
    pub(super) fn watch(source: Arc<Source>, connection: Connection) -> Self {
        let (told, away) = watch::channel(None);
        let doubted = Arc::new(Notify::new());
        let asking = tokio::spawn(ask(Arc::clone(&source), connection, told, Arc::clone(&doubted)));
        Self { source, away, doubted, asking }
    }

    /// An error if it is away.
    pub(super) fn here(&self) -> Result<(), StoreError> {
        self.away.borrow().clone().map_or(Ok(()), Err)
    }

    /// Does something with the server, as long as it is there.
    pub(super) async fn meanwhile<T>(&self, deed: impl Future<Output = T>) -> Result<T, StoreError> {
        let mut away = self.away.clone();
        let gone = async {
            match away.wait_for(Option::is_some).await {
                Ok(why) => why.clone().unwrap_or_else(crate::engine::gone),
                Err(_) => crate::engine::gone(),
            }
        };
        tokio::select! {
            done = deed => Ok(done),
            why = gone => Err(why),
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        self.here()?;
        let connected = self.meanwhile(self.source.connect()).await?;
        if connected.is_err() {
            self.doubt();
        }
        connected
    }

    /// Somebody lost a connection: it is asked now.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

async fn ask(
    source: Arc<Source>,
    connection: Connection,
    told: watch::Sender<Option<StoreError>>,
    doubted: Arc<Notify>,
) {
    let mut connection = Some(connection);
    let mut pause = ASK_EVERY;
    loop {
        // An error says that the time is over.
        let _ = tokio::time::timeout(pause, doubted.notified()).await;
        let asked = Instant::now();
        let answered = tokio::time::timeout(ANSWER_MAX, answer(&source, &mut connection)).await;
        let late = || StoreError::Unavailable(format!("PostgreSQL at {} does not answer", source.url));
        match answered.unwrap_or_else(|_| Err(late())) {
            Ok(()) => {
                pause = ASK_EVERY;
                if told.send_replace(None).is_some() {
                    tracing::info!("PostgreSQL is there again");
                }
            }
            Err(error) => {
                connection = None;
                if told.borrow().is_none() {
                    tracing::error!(%error, "PostgreSQL is away: nothing new is accepted until it is there");
                    pause = RETRY_MIN;
                } else {
                    pause = (pause * 2).min(ASK_EVERY).max(RETRY_MIN);
                }
                tracing::debug!(%error, took_ms = asked.elapsed().as_millis(), "PostgreSQL did not answer");
                told.send_replace(Some(error));
            }
        }
    }
}

/// Asks on the connection there is, or else on a new one.
async fn answer(source: &Source, connection: &mut Option<Connection>) -> Result<(), StoreError> {
    if let Some(old) = connection.as_ref()
        && !old.is_closed()
        && old.client.simple_query("").await.is_ok()
    {
        return Ok(());
    }
    *connection = None;
    let new = source.connect().await?;
    *connection = Some(new);
    Ok(())
}
