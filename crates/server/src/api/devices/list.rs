//! The list of devices: filtered, sorted and paged for the vendor; what is shared with a customer.

use axum::extract::{Extension, State};
use motehub_domain::rejection::Rejection;
use motehub_store::{DeviceQuery, Sort};
use serde::Deserialize;
use utoipa::IntoParams;

use super::DeviceList;
use crate::api::access::Caller;
use crate::api::extract::{Page, Query};
use crate::api::problem::{ApiError, Problem};
use crate::api::selectors;
use crate::api::shared::{DevicesAsSeen, SharedDeviceList};
use crate::app::App;

/// Which devices are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// A condition such as `tag=kitchen and not online`.
    selector: Option<String>,
    /// A part of the name, external id or a tag, or a whole id.
    q: Option<String>,
    /// `name`, `last_seen` or `state`, with a leading `-` for descending.
    sort: Option<String>,
    /// How many to leave out.
    offset: Option<usize>,
    /// How many at most: 1 to 1000, 50 by default.
    limit: Option<usize>,
}

/// Devices, filtered, sorted and paged. A customer gets those that are shared with it, without conditions: what
/// could be asked about is the vendor's.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(ListQuery),
    responses((status = 200, body = DevicesAsSeen), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<DevicesAsSeen>, ApiError> {
    let page = Page::new(query.offset, query.limit)?;
    let (sort, descending) = sorting(query.sort.as_deref().unwrap_or("name"))?;
    let shared_with = caller.customer();
    if shared_with.is_some() && (query.selector.is_some() || query.q.is_some()) {
        let field = if query.selector.is_some() { "selector" } else { "q" };
        return Err(
            Rejection::invalid(field, "the list of a customer takes no conditions: leave it out").into()
        );
    }
    let selector = query.selector.filter(|text| !text.trim().is_empty());
    let selector = match selector {
        Some(text) => Some(selectors::read(&app, &text).await?),
        None => None,
    };
    let text = query.q.filter(|text| !text.is_empty());
    let now = app.now();
    let Page { offset, limit } = page;
    let wanted = DeviceQuery { selector, now, shared_with, text, sort, descending, offset, limit };
    let (views, total) = app.store.devices(wanted).await?;
    Ok(axum::Json(match shared_with {
        Some(user) => DevicesAsSeen::Customer(SharedDeviceList::new(&app, user, views, total).await?),
        None => DevicesAsSeen::Staff(DeviceList::new(views, total)),
    }))
}

fn sorting(text: &str) -> Result<(Sort, bool), ApiError> {
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    match name {
        "name" => Ok((Sort::Name, descending)),
        "last_seen" => Ok((Sort::LastSeen, descending)),
        "state" => Ok((Sort::State, descending)),
        _ => Err(Rejection::invalid(
            "sort",
            "sort by name, last_seen or state, with a leading - for descending",
        )
        .into()),
    }
}
