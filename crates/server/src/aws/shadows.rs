//! Shadows of things: the requests and documents are those of the topics of AWS.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use motehub_domain::shadow::{self, Deed, Shadow, ShadowName};
use motehub_protocol::shadow::request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Front;
use super::answer::{self, Refusal};
use super::caller::Caller;

/// How many names a page has at most, and if nobody says.
const PAGE_MAX: usize = 100;
const PAGE_USUAL: usize = 25;

/// Which shadow.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    name: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    page_size: Option<usize>,
    next_token: Option<String>,
}

/// `GetThingShadow`.
pub(super) async fn get(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(thing): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Refusal> {
    perform(&front, &caller, &thing, which?.0, "get", &[]).await
}

/// `UpdateThingShadow`.
pub(super) async fn update(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(thing): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
    body: Bytes,
) -> Result<Response, Refusal> {
    perform(&front, &caller, &thing, which?.0, "update", &body).await
}

/// `DeleteThingShadow`.
pub(super) async fn delete(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(thing): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Refusal> {
    perform(&front, &caller, &thing, which?.0, "delete", &[]).await
}

/// Does what is asked, when it is its turn.
async fn perform(
    front: &Front,
    caller: &Caller,
    thing: &str,
    which: Which,
    verb: &str,
    body: &[u8],
) -> Result<Response, Refusal> {
    let app = &front.app;
    let device = caller.thing(front, thing).await?;
    let (token, request) = request(verb, which.name.as_deref(), body);
    let done = match (request, device) {
        (Err(refusal), _) => Err(refusal),
        (Ok(_), None) => Err(shadow::Refusal::NoThing),
        (Ok(request), Some(device)) => {
            let mut turn = app.shadows.line_up(device);
            turn.comes().await;
            let done = app.on_shadow(device, &request, Some(&caller.actor())).await?;
            done.map(|shadow| document(&shadow, &request.deed, app.now()))
        }
    };
    Ok(match done {
        Ok(document) => axum::Json(document).into_response(),
        Err(refusal) => answer::rejected(&refusal, token.as_deref(), app.now()),
    })
}

fn document(shadow: &Shadow, deed: &Deed, now: motehub_domain::time::Time) -> Value {
    match deed {
        Deed::Get(token) => shadow::document(shadow, token.as_deref(), now),
        Deed::Update(update) => shadow::accepted(shadow, update, shadow.updated_at),
        Deed::Delete(token) => shadow::deleted(shadow.version, token.as_deref(), now),
    }
}

/// `ListNamedShadowsForThing`: the names, page by page. A thing that nobody knows has none.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(thing): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<axum::Json<Value>, Refusal> {
    let Query(Page { page_size, next_token }) = page?;
    let size = page_size.unwrap_or(PAGE_USUAL);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(Refusal::invalid(format!("pageSize is 1 to {PAGE_MAX}")));
    }
    let after = next_token
        .map(|token| ShadowName::parse(&token).ok_or_else(|| Refusal::invalid("Invalid nextToken")));
    let after = after.transpose()?;
    let shadows = match caller.thing(&front, &thing).await? {
        Some(device) => front.app.store.shadows(device).await?,
        None => Vec::new(),
    };
    let mut names: Vec<ShadowName> =
        shadows.into_iter().filter(Shadow::exists).filter_map(|it| it.name).collect();
    names.sort();
    names.retain(|name| after.as_ref().is_none_or(|after| name > after));
    let is_last = names.len() <= size;
    names.truncate(size);
    let results: Vec<&str> = names.iter().map(ShadowName::as_str).collect();
    let mut answer = json!({ "results": results, "timestamp": front.app.now().0.div_euclid(1000) });
    if let Some(last) = results.last().filter(|_| !is_last) {
        answer["nextToken"] = json!(last);
    }
    Ok(axum::Json(answer))
}
