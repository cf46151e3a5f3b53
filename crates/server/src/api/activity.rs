//! Activity: every change with who, what, when, before and after.

pub(super) mod stream;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use motehub_domain::change::ChangeKind;
use motehub_domain::rejection::Rejection;
use motehub_store::{ChangeQuery, Recorded};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Page, Query, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;

/// How many changes an export reads at once.
const EXPORT_BATCH: usize = 1000;

/// Who did it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Actor)]
pub(crate) struct ActorDto {
    /// `user`, `token`, `device` or `system`.
    kind: &'static str,
    /// Its name.
    name: String,
}

/// A fact about our own state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
pub(crate) struct ChangeDto {
    /// Its place in the order of all changes.
    seq: i64,
    /// When.
    time: String,
    /// Who did it.
    actor: ActorDto,
    /// What happened.
    kind: &'static str,
    /// What the subject is.
    noun: &'static str,
    /// The subject's id.
    subject: String,
    /// The subject's name then.
    subject_name: String,
    /// The device concerned.
    device: Option<String>,
    /// The changed fields before.
    before: Option<serde_json::Value>,
    /// The changed fields after.
    after: Option<serde_json::Value>,
}

impl From<Recorded> for ChangeDto {
    fn from(recorded: Recorded) -> Self {
        let Recorded { seq, at, change } = recorded;
        Self {
            seq,
            time: rfc3339(at),
            actor: ActorDto { kind: change.actor.kind(), name: change.actor.name().to_owned() },
            kind: change.kind.as_str(),
            noun: change.kind.noun(),
            subject: change.subject,
            subject_name: change.subject_name,
            device: change.device.map(|device| device.to_string()),
            before: change.before,
            after: change.after,
        }
    }
}

/// A change as this API writes it.
pub(crate) fn change(recorded: Recorded) -> serde_json::Value {
    serde_json::to_value(ChangeDto::from(recorded)).unwrap_or_default()
}

/// A change as a line of NDJSON.
pub(crate) fn line(recorded: Recorded) -> String {
    let mut text = serde_json::to_string(&ChangeDto::from(recorded)).unwrap_or_default();
    text.push('\n');
    text
}

/// A part of the activity.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivityList {
    items: Vec<ChangeDto>,
    /// Whether there are older ones.
    more: bool,
}

/// Which changes are wanted.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivityQuery {
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
    /// Before this place in the order.
    before: Option<i64>,
    /// Behind this place in the order.
    after: Option<i64>,
    /// How many at most: 1 to 1000, 50 by default; an export has all by default.
    limit: Option<usize>,
}

impl ActivityQuery {
    fn checked(self, limit: usize, newest_first: bool) -> Result<ChangeQuery, ApiError> {
        let kind = self.kind.map(|text| {
            ChangeKind::parse(&text)
                .ok_or_else(|| Rejection::invalid("kind", "there is no such kind of change"))
        });
        Ok(ChangeQuery {
            kind: kind.transpose()?,
            noun: self.noun,
            subject: self.subject,
            device: self.device.map(|text| id("device", &text)).transpose()?,
            actor: self.actor,
            after: self.after,
            before: self.before,
            limit,
            newest_first,
        })
    }
}

/// Changes, newest first.
#[utoipa::path(get, path = "/api/v1/activity", tag = "activity", params(ActivityQuery),
    responses((status = 200, body = ActivityList), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<ActivityQuery>,
) -> Result<axum::Json<ActivityList>, ApiError> {
    let limit = Page::new(None, query.limit)?.limit;
    let mut changes = app.store.changes(query.checked(limit + 1, true)?).await?;
    let more = changes.len() > limit;
    changes.truncate(limit);
    Ok(axum::Json(ActivityList { items: changes.into_iter().map(ChangeDto::from).collect(), more }))
}

/// All changes that fit, oldest first, one JSON object a line.
#[utoipa::path(get, path = "/api/v1/activity/export", tag = "activity", params(ActivityQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), (status = 400, body = Problem)))]
pub(crate) async fn export(
    State(app): State<App>,
    Query(query): Query<ActivityQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.map(|limit| Page::new(None, Some(limit))).transpose()?;
    let left = limit.map_or(usize::MAX, |page| page.limit);
    let mut first = query.checked(EXPORT_BATCH, false)?;
    // What happens meanwhile is in the next export: this one ends.
    let end = app.store.last_seq().await?.saturating_add(1);
    first.before = Some(first.before.map_or(end, |before| before.min(end)));
    let lines = futures_util::stream::try_unfold((first, left), move |(mut query, left)| {
        let app = app.clone();
        async move {
            query.limit = EXPORT_BATCH.min(left);
            let changes = app.store.changes(query.clone()).await?;
            let Some(last) = changes.last().map(|recorded| recorded.seq) else {
                return Ok::<_, motehub_store::StoreError>(None);
            };
            let left = left.saturating_sub(changes.len());
            query.after = Some(last);
            let mut text = String::new();
            for change in changes {
                text.push_str(&line(change));
            }
            Ok(Some((Bytes::from(text), (query, left))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"activity.ndjson\""),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
