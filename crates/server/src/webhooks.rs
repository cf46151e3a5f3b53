//! Outgoing webhooks: every change that a webhook wants becomes a delivery, and deliveries are posted in their order.
//!
//! What was read of the changes is noted in the same transaction as the deliveries that came of it: a hub that ends
//! in the middle loses none and repeats none. Each recipient has a line of its own, so that nobody waits for another.

mod line;
pub(crate) mod sign;

pub(crate) use line::payload;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::DeviceId;
use motehub_domain::time::{Span, Time};
use motehub_domain::webhook::{Answer, Delivery, DeliveryState, Recipient, Webhook};
use motehub_store::{ChangeQuery, Recorded, StoreError};
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::app::App;
use crate::live::News;
use crate::perform::Failure;
use crate::random;

/// The note of the last change that was looked at.
const CURSOR: &str = "webhooks/seq";
/// How many changes are looked at in one transaction.
const BATCH_MAX: usize = 500;
/// The cursor is noted at least so often, counted in changes, also when nobody wanted any.
const NOTED_EVERY: i64 = 5_000;
/// How long a post may take to end when the hub does.
const END_MAX: Duration = Duration::from_secs(1);
/// How often it is looked for what other nodes wrote.
const LOOK_EVERY: Span = Span::minutes(1);
/// How long to rest when the store does not answer.
const REST: Span = Span::seconds(5);

/// What the worker is told: when it is the turn of a recipient.
#[derive(Default)]
pub(crate) struct Webhooks {
    due: Mutex<HashMap<Recipient, Time>>,
    changed: Notify,
    /// Something may wait that another node wrote.
    elsewhere: AtomicBool,
}

impl Webhooks {
    /// These records were written.
    pub(crate) fn tell(&self, saved: &[Save]) {
        for save in saved {
            match save {
                Save::Delivery(delivery) => {
                    if let DeliveryState::Waiting(at) = delivery.state {
                        self.is_due(delivery.to, at);
                    }
                }
                Save::Webhook(webhook) => self.is_due(Recipient::Webhook(webhook.id), Time(0)),
                _ => {}
            }
        }
    }

    /// Another node wrote something about deliveries.
    pub(crate) fn look(&self) {
        self.elsewhere.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Something may wait for a recipient from then on.
    fn is_due(&self, to: Recipient, at: Time) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = due.entry(to).or_insert(at);
        *earliest = at.min(*earliest);
        drop(due);
        self.changed.notify_one();
    }

    /// Takes those whose turn it is and that have no line running; and when the next turn is.
    fn take(&self, running: &HashSet<Recipient>, now: Time) -> (Vec<Recipient>, Option<Time>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = due.iter().filter(|(to, at)| **at <= now && !running.contains(to)).map(|(to, _)| *to);
        let ready: Vec<Recipient> = idle.collect();
        for to in &ready {
            due.remove(to);
        }
        let next = due.iter().filter(|(to, _)| !running.contains(to)).map(|(_, at)| *at).min();
        (ready, next)
    }
}

/// Posts a `ping` to a webhook, signed as everything is, and says what it answered.
pub(crate) async fn ping(app: &App, webhook: &Webhook) -> Answer {
    let ping = Delivery::new(random::id(app.now()), webhook.id, "ping", json!({}), app.now());
    line::post(app, webhook, &ping).await
}

/// Runs until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    tokio::join!(read(&app, &shutdown), deliver(&app, &shutdown));
}

/// Keeps a line for each recipient for whom something is due.
async fn deliver(app: &App, shutdown: &CancellationToken) {
    while let Err(error) = all_are_due(app).await {
        tracing::error!(%error, "webhooks could not be read");
        tokio::select! {
            () = app.clock.sleep_until(app.now() + REST) => {}
            () = shutdown.cancelled() => return,
        }
    }
    let (mut lines, mut running) = (JoinSet::new(), HashSet::new());
    loop {
        if app.webhooks.elsewhere.swap(false, Ordering::SeqCst)
            && let Err(error) = all_are_due(app).await
        {
            tracing::warn!(%error, "webhooks could not be read; what other nodes wrote is posted later");
        }
        let (ready, next) = app.webhooks.take(&running, app.now());
        let next = match app.cluster.is_alone() {
            true => next,
            false => Some(next.unwrap_or(Time(i64::MAX)).min(app.now() + LOOK_EVERY)),
        };
        for to in ready {
            running.insert(to);
            let (app, shutdown) = (app.clone(), shutdown.clone());
            lines.spawn(async move { (to, line::run(&app, to, &shutdown).await) });
        }
        tokio::select! {
            Some(ended) = lines.join_next() => {
                // A line does not panic; one that did would be missed in `running` and never start again.
                let Ok((to, next)) = ended else { continue };
                running.remove(&to);
                if let Some(at) = next {
                    app.webhooks.is_due(to, at);
                }
            }
            () = app.clock.sleep_until(next.unwrap_or(Time(i64::MAX))) => {
                // What other nodes said may have been lost on its way.
                app.webhooks.elsewhere.store(!app.cluster.is_alone(), Ordering::SeqCst);
            }
            () = app.webhooks.changed.notified() => {}
            () = shutdown.cancelled() => break,
        }
    }
    // What was posted is noted if the answer comes soon; else it is posted again after the start, with the same id.
    let ended = async { while lines.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(END_MAX, ended).await;
}

/// It is the turn of every recipient for whom something may wait.
async fn all_are_due(app: &App) -> Result<(), StoreError> {
    let all = app.store.webhooks().await?;
    app.webhooks.is_due(Recipient::Mail, Time(0));
    all.iter().for_each(|webhook| app.webhooks.is_due(Recipient::Webhook(webhook.id), Time(0)));
    Ok(())
}

/// Reads the changes behind the last ones that were looked at, as they come.
async fn read(app: &App, shutdown: &CancellationToken) {
    let mut news = app.live.subscribe();
    let mut cursor = None;
    loop {
        let more = match look(app, &mut cursor).await {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(%error, "changes could not be looked at for webhooks");
                tokio::select! {
                    () = app.clock.sleep_until(app.now() + REST) => continue,
                    () = shutdown.cancelled() => return,
                }
            }
        };
        if more && !shutdown.is_cancelled() {
            continue;
        }
        loop {
            tokio::select! {
                news = news.recv() => match news {
                    Ok(News::Changes(_)) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                () = shutdown.cancelled() => return,
            }
        }
    }
}

/// What was looked at: in memory, and in the note.
#[derive(Clone, Copy)]
struct Cursor {
    seq: i64,
    noted: i64,
}

/// Looks at one batch. Returns whether there may be more.
async fn look(app: &App, cursor: &mut Option<Cursor>) -> Result<bool, Failure> {
    let at = match *cursor {
        Some(cursor) => cursor,
        None => first(app).await?,
    };
    *cursor = Some(at);
    let query =
        ChangeQuery { after: Some(at.seq), limit: BATCH_MAX, newest_first: false, ..ChangeQuery::default() };
    let changes = app.store.changes(query).await?;
    let Some(seq) = changes.last().map(|recorded| recorded.seq) else { return Ok(false) };
    let mut effects = Effects { save: wanted(app, &changes).await?, ..Effects::none() };
    // Where webhooks themselves changed, what was not wanted before must not be looked at again.
    let must_note = !effects.save.is_empty()
        || seq - at.noted >= NOTED_EVERY
        || changes.iter().any(|recorded| recorded.change.kind.noun() == "webhook");
    let noted = if must_note { seq } else { at.noted };
    if must_note {
        effects.save.push(note(seq));
        app.perform(effects).await?;
    }
    *cursor = Some(Cursor { seq, noted });
    Ok(changes.len() == BATCH_MAX)
}

/// Where to begin: at what was noted, or at the end the first time.
async fn first(app: &App) -> Result<Cursor, Failure> {
    let noted = app.store.note(CURSOR).await?;
    let noted = noted.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
    if let Some(seq) = noted {
        return Ok(Cursor { seq, noted: seq });
    }
    let seq = app.store.last_seq().await?;
    app.perform(Effects { save: vec![note(seq)], ..Effects::none() }).await?;
    Ok(Cursor { seq, noted: seq })
}

fn note(seq: i64) -> Save {
    Save::Note(CURSOR.to_owned(), Some(seq.to_string().into_bytes()))
}

/// The deliveries that some changes make.
async fn wanted(app: &App, changes: &[Recorded]) -> Result<Vec<Save>, Failure> {
    let webhooks = app.store.webhooks().await?;
    let mut made = Vec::new();
    let mut known: HashMap<(usize, DeviceId), bool> = HashMap::new();
    for recorded in changes {
        for (number, webhook) in webhooks.iter().enumerate() {
            // By the order of facts: clocks may say the same for what was before and what came after.
            if recorded.seq <= webhook.after || !webhook.wants(recorded.change.kind) {
                continue;
            }
            let is_chosen = match (&webhook.devices, recorded.change.device) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(selector), Some(device)) => match known.get(&(number, device)) {
                    Some(is_chosen) => *is_chosen,
                    None => {
                        let is_chosen = is_chosen(app, webhook, selector, device).await?;
                        known.insert((number, device), is_chosen);
                        is_chosen
                    }
                },
            };
            if is_chosen {
                let (id, event) = (random::id(recorded.at), recorded.change.kind.as_str());
                let body = json!({ "change": api::change(recorded.clone()) });
                made.push(Save::Delivery(Box::new(Delivery::new(id, webhook.id, event, body, app.now()))));
            }
        }
    }
    Ok(made)
}

async fn is_chosen(app: &App, webhook: &Webhook, text: &str, device: DeviceId) -> Result<bool, Failure> {
    match api::selectors::read(app, text).await {
        Ok(selector) => Ok(app.store.is_selected(device, &selector, app.now()).await?),
        Err(Failure::Rejected(why)) => {
            // Such as a group that was deleted meanwhile.
            tracing::warn!(webhook = webhook.name, %why, "the devices of a webhook cannot be chosen");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
