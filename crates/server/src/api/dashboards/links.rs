//! Public links of dashboards: made, listed, withdrawn.

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use motehub_domain::dashboard::{self, PublicLink};
use motehub_domain::id::PublicLinkId;
use motehub_domain::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::access::Caller;
use super::super::extract::{Body, id, rfc3339};
use super::super::problem::{ApiError, Problem};
use super::{editor, load};
use crate::app::App;
use crate::{codes, random, secrets};

/// A link by which anybody sees a dashboard; its secret is not kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublicLink)]
pub(crate) struct PublicLinkDto {
    /// Its id.
    id: String,
    /// For whom it is.
    label: String,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: String,
    /// When it stops; never if null.
    expires_at: Option<String>,
    /// When somebody last looked by it, to the minute.
    last_used_at: Option<String>,
}

impl From<PublicLink> for PublicLinkDto {
    fn from(link: PublicLink) -> Self {
        Self {
            id: link.id.to_string(),
            label: link.label,
            created_by: link.created_by,
            created_at: rfc3339(link.created_at),
            expires_at: link.expires_at.map(rfc3339),
            last_used_at: link.last_used_at.map(rfc3339),
        }
    }
}

/// The public links of a dashboard.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublicLinkList {
    /// The oldest first.
    items: Vec<PublicLinkDto>,
}

/// What makes a public link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLink {
    /// For whom it is: 1 to 80 characters.
    label: String,
    /// After how many seconds it stops; never if it is left out.
    expires_in_s: Option<i64>,
}

/// A new public link, whose secret is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkMade {
    #[serde(flatten)]
    link: PublicLinkDto,
    /// Stands behind `/#/public/` in the address of the page.
    secret: String,
    /// The address of the page, at the address by which the hub was called.
    address: String,
    /// The address as a QR code, in SVG.
    qr: String,
}

/// The public links of a dashboard, the oldest first, also those that have expired.
#[utoipa::path(get, path = "/api/v1/dashboards/{id}/links", tag = "dashboards",
    responses((status = 200, body = PublicLinkList), (status = 404, body = Problem)))]
pub(crate) async fn list_links(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<PublicLinkList>, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    let links = app.store.public_links(dashboard.id).await?;
    Ok(axum::Json(PublicLinkList { items: links.into_iter().map(PublicLinkDto::from).collect() }))
}

/// Makes a link by which anybody sees the dashboard and changes nothing.
#[utoipa::path(post, path = "/api/v1/dashboards/{id}/links", tag = "dashboards", request_body = NewLink,
    responses((status = 201, body = LinkMade), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(crate) async fn make_link(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewLink>,
) -> Result<(StatusCode, axum::Json<LinkMade>), ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    let secret = random::secret();
    // The secret is behind `#`, which browsers do not send: it is in no log.
    let address = format!("{}/#/public/{secret}", codes::address(None, &headers)?);
    let qr = codes::qr(&address)?;
    let (id, digest) = (random::id(app.now()), secrets::digest(&secret));
    let good_for = new.expires_in_s.map(Span::seconds);
    let made = app.attempt(|| async {
        let links = app.store.public_links(dashboard.id).await?;
        let words = (new.label.as_str(), good_for);
        Ok(dashboard::make_link(id, &dashboard, words, digest, &links, &editor(&caller), app.now())?)
    });
    let made = LinkMade { link: made.await?.into(), secret, address, qr };
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Withdraws a public link: nobody sees the dashboard by it any more, and pages that show it end.
#[utoipa::path(delete, path = "/api/v1/dashboards/{id}/links/{link}", tag = "dashboards",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn withdraw_link(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((path, link)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let dashboard = load(&app, &caller, &path).await?;
    let wanted: PublicLinkId = id("public link", &link)?;
    let found = app.store.public_links(dashboard.id).await?.into_iter().find(|link| link.id == wanted);
    let found = found.ok_or_else(|| ApiError::not_found("public link", wanted))?;
    app.perform(dashboard::withdraw_link(&dashboard, &found, &editor(&caller))?).await?;
    Ok(StatusCode::NO_CONTENT)
}
