//! The activity as server-sent events, for scripts: every change as it happens, from where the reader was.
//!
//! What is sent is read from the store, not from memory: a reader that reads slowly or comes again later misses
//! nothing, and nothing is kept for it meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_domain::access::Permission;
use motehub_domain::rejection::Rejection;
use motehub_store::{ChangeQuery, Recorded, StoreError};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::{ActivityQuery, line};
use crate::api::access;
use crate::api::extract::Query;
use crate::api::problem::{ApiError, Problem};
use crate::app::App;
use crate::live::News;

/// Most readers at once.
pub(crate) const STREAMS_MAX: usize = 200;
/// How many changes are read at once.
const BATCH_MAX: usize = 200;
/// How often a sign of life is sent and the rights of the reader are looked at.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Which changes are wanted, and from where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// Of a kind.
    kind: Option<String>,
    /// About a noun.
    noun: Option<String>,
    /// About a subject, by id.
    subject: Option<String>,
    /// That concern a device.
    device: Option<String>,
    /// By an actor, by name.
    actor: Option<String>,
    /// Behind this place in the order; `Last-Event-ID` counts more. Without both, from now on.
    after: Option<i64>,
}

/// Changes as server-sent events, oldest first, for as long as the reader stays. `id` is the place in the order, with
/// which a reader that comes again goes on (`Last-Event-ID`); `data` is a change as in the list. If the hub has other
/// data than the reader knows (it was restored), an event `reset` comes first.
#[utoipa::path(get, path = "/api/v1/activity/stream", tag = "activity", params(StreamQuery),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn stream(
    State(app): State<App>,
    Extension(shutdown): Extension<CancellationToken>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = app.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{STREAMS_MAX} readers are here already: try again later");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    })?;
    let StreamQuery { kind, noun, subject, device, actor, after } = query;
    let wanted = ActivityQuery { kind, noun, subject, device, actor, ..ActivityQuery::default() };
    let mut wanted = wanted.checked(BATCH_MAX, false)?;
    let news = app.live.subscribe();
    let last = app.store.last_seq().await?;
    let from = last_event_id(&headers)?.or(after).unwrap_or(last);
    wanted.after = Some(from.min(last));
    let mut first = String::from("retry: 2000\n\n");
    if from > last {
        first.push_str(&format!("id: {last}\nevent: reset\ndata: {{\"seq\":{last}}}\n\n"));
    }
    let ready = VecDeque::from([Bytes::from(first)]);
    let reader = Reader { app, shutdown, headers, wanted, news, ready, may_have_more: true, _place: place };
    let events = futures_util::stream::try_unfold(reader, Reader::next);
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Body::from_stream(events)).into_response())
}

struct Reader {
    app: App,
    shutdown: CancellationToken,
    /// With which the reader proved who it is.
    headers: HeaderMap,
    wanted: ChangeQuery,
    news: broadcast::Receiver<News>,
    ready: VecDeque<Bytes>,
    may_have_more: bool,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next piece, or none when the stream is over.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some((piece, self)));
            }
            if self.may_have_more {
                self.read().await?;
            } else if !self.wait().await {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let changes = self.app.store.changes(self.wanted.clone()).await?;
        self.may_have_more = changes.len() == BATCH_MAX;
        if let Some(last) = changes.last() {
            self.wanted.after = Some(last.seq);
            self.ready.push_back(changes.into_iter().map(event).collect::<String>().into());
        }
        Ok(())
    }

    /// Waits until there may be more, or a sign of life is due. False when the stream is over.
    async fn wait(&mut self) -> bool {
        let alive_at = Instant::now() + ALIVE_EVERY;
        loop {
            let looks = tokio::select! {
                news = self.news.recv() => match news {
                    Ok(News::Changes(changes)) => {
                        self.may_have_more = true;
                        changes.iter().any(concerns_callers)
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.may_have_more = true;
                        true
                    }
                    Ok(_) => continue,
                    Err(RecvError::Closed) => return false,
                },
                () = sleep_until(alive_at) => {
                    self.ready.push_back(Bytes::from_static(b": alive\n\n"));
                    true
                }
                () = self.shutdown.cancelled() => return false,
            };
            return !looks || self.may_still_see().await;
        }
    }

    /// A token may have been revoked, a user disabled or given another role meanwhile.
    async fn may_still_see(&self) -> bool {
        let caller = access::caller(&self.app, &Method::GET, &self.headers).await;
        caller.is_ok_and(|caller| caller.must(Permission::See).is_ok())
    }
}

fn concerns_callers(recorded: &Recorded) -> bool {
    matches!(recorded.change.kind.noun(), "user" | "token" | "login")
}

fn event(recorded: Recorded) -> String {
    let seq = recorded.seq;
    format!("id: {seq}\ndata: {}\n", line(recorded))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Rejection> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let seq = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Rejection::invalid("Last-Event-ID", "the id of an event that was sent here: a number");
    seq.ok_or_else(wrong).map(Some)
}
