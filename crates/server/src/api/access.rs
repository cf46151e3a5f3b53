//! Who calls, and may they? One middleware in front of every route; each route names what it needs.

use axum::RequestExt;
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use motehub_domain::access::{Permission, Role};
use motehub_domain::artifact::Digest;
use motehub_domain::change::Actor;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{DeviceId, UserId};
use motehub_domain::person::Token;
use motehub_domain::rejection::Rejection;
use motehub_domain::share::{Right, Share};
use motehub_domain::time::Span;

use super::extract::id;
use super::problem::ApiError;
use crate::app::App;
use crate::perform::Failure;
use crate::secrets;

/// The cookie of a person's login.
pub(crate) const COOKIE_NAME: &str = "motehub_session";
/// What a changing request with a cookie must repeat.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";
/// How exactly "last used" is kept.
const USE_RESOLUTION: Span = Span::minutes(1);

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: anybody.
    Open,
    /// Any caller, also one who must change the password first.
    Known,
    /// A caller with a permission.
    Needs(Permission),
    /// On a route with the `{id}` of a device: a caller with the permission that goes with the right, or a customer
    /// with whom the device is shared with that right. To other customers the device does not exist.
    Shared(Right),
    /// A caller who may see, or a customer: the handler shows a customer only what is shared with it.
    Listed,
    /// A customer.
    Customer,
}

impl Access {
    /// How the API's description writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Known => "known",
            Self::Needs(Permission::See) => "see",
            Self::Needs(Permission::Operate) => "operate",
            Self::Needs(Permission::Build) => "build",
            Self::Needs(Permission::Administer) => "administer",
            Self::Shared(Right::View) => "see or shared to view",
            Self::Shared(Right::Control) => "operate or shared to control",
            Self::Shared(Right::Owner) => "build or owner",
            Self::Listed => "see or shared",
            Self::Customer => "customer",
        }
    }
}

/// The authenticated person or program behind a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Its name.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// How it proved who it is.
    pub(crate) proof: Proof,
}

/// How a caller proved who it is.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// By the cookie of a login.
    Login {
        /// Whose.
        user: UserId,
        /// Of the cookie's secret.
        digest: Digest,
        /// What changing requests repeat.
        csrf: String,
        /// Whether the password must be changed before anything else.
        must_change_password: bool,
    },
    /// By an API token.
    Token,
}

impl Caller {
    /// The caller as the activity log names it.
    pub(crate) fn actor(&self) -> Actor {
        match self.proof {
            Proof::Login { .. } => Actor::User(self.name.clone()),
            Proof::Token => Actor::Token(self.name.clone()),
        }
    }
    /// Who it is, if it is a customer.
    pub(crate) fn customer(&self) -> Option<UserId> {
        match self.proof {
            Proof::Login { user, .. } if !self.role.is_staff() => Some(user),
            Proof::Login { .. } | Proof::Token => None,
        }
    }
    /// Refuses if the caller's role lacks a permission.
    pub(crate) fn must(&self, permission: Permission) -> Result<(), ApiError> {
        match self.role.may(permission) {
            true => Ok(()),
            false => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("your role, {}, may not do this", self.role.as_str()),
            )),
        }
    }
}

/// The middleware of one route.
pub(crate) async fn guard(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if access != Access::Open {
        let caller = caller(&app, request.method(), request.headers()).await?;
        let must_change = matches!(caller.proof, Proof::Login { must_change_password: true, .. });
        if must_change && access != Access::Known {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "password_change_required",
                "change the one-time password first: POST /api/v1/me/password",
            ));
        }
        if let Some(share) = admit(&app, access, &caller, &mut request).await? {
            request.extensions_mut().insert(share);
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// Lets a caller through or refuses. Returns the share by which a customer came.
async fn admit(
    app: &App,
    access: Access,
    caller: &Caller,
    request: &mut Request,
) -> Result<Option<Share>, ApiError> {
    match (access, caller.customer()) {
        (Access::Open | Access::Known, _) | (Access::Listed | Access::Customer, Some(_)) => Ok(None),
        (Access::Needs(permission), _) => caller.must(permission).map(|()| None),
        (Access::Listed, None) => caller.must(Permission::See).map(|()| None),
        (Access::Customer, None) => Err(Rejection::forbidden(
            "this is for customers, who have devices of their own: you see all devices already",
        )
        .into()),
        (Access::Shared(right), None) => caller.must(permission_for(right)).map(|()| None),
        (Access::Shared(right), Some(user)) => shared(app, user, right, request).await.map(Some),
    }
}

/// What a caller of the vendor needs where a customer needs a right.
fn permission_for(right: Right) -> Permission {
    match right {
        Right::View => Permission::See,
        Right::Control => Permission::Operate,
        Right::Owner => Permission::Build,
    }
}

/// The share by which a customer has a right to the device in the path. There is one look-up whether or not there
/// is such a device, and one answer.
async fn shared(app: &App, user: UserId, right: Right, request: &mut Request) -> Result<Share, ApiError> {
    let path = request.extract_parts::<RawPathParams>().await;
    let path = path.map_err(|_| ApiError::not_found("device", ""))?;
    let text = path.iter().find(|(name, _)| *name == "id").map_or("", |(_, value)| value);
    let device: DeviceId = id("device", text)?;
    let share = app.store.share(device, user).await?.filter(|share| !share.has_ended(app.now()));
    let share = share.ok_or_else(|| ApiError::not_found("device", device))?;
    match share.right >= right {
        true => Ok(share),
        false => Err(Rejection::forbidden(format!(
            "this device is shared with you to {}, not more: ask its owner",
            share.right.as_str(),
        ))
        .into()),
    }
}

/// Who calls; refused if nobody known, or if a page of another site makes the browser call.
pub(crate) async fn caller(app: &App, method: &Method, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if let Some(token) = bearer(headers) {
        return by_token(app, token).await;
    }
    let caller = by_cookie(app, headers).await?;
    let is_upgrade = headers.contains_key(UPGRADE);
    if is_upgrade && !is_same_origin(headers, false) {
        return Err(csrf("open the live connection from the dashboard's own address"));
    }
    if !is_upgrade && !matches!(*method, Method::GET | Method::HEAD) {
        let Proof::Login { csrf: expected, .. } = &caller.proof else { return Ok(caller) };
        let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        if sent != Some(expected) || !is_same_origin(headers, true) {
            return Err(csrf("send the header X-CSRF-Token with the value from /api/v1/me"));
        }
    }
    Ok(caller)
}

fn csrf(detail: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "csrf", detail)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

pub(crate) async fn by_token(app: &App, secret: &str) -> Result<Caller, ApiError> {
    let token = app.store.token_by_digest(secrets::digest(secret)).await?;
    let token = token.filter(|token| token.expires_at.is_none_or(|at| at > app.now()));
    let token = token.ok_or_else(ApiError::unauthenticated)?;
    used(app, &token).await?;
    Ok(Caller { name: token.name, role: token.role, proof: Proof::Token })
}

/// A token was used: that is noted, to the minute.
pub(crate) async fn used(app: &App, token: &Token) -> Result<(), Failure> {
    let now = app.now();
    if token.last_used_at.is_none_or(|at| now - at > USE_RESOLUTION) {
        let save = vec![Save::TokenUsed(token.id, now)];
        app.perform(Effects { save, ..Effects::none() }).await?;
    }
    Ok(())
}

/// Who comes with the cookie of a login. Whether the page that sent it is ours is the caller's to ask.
pub(crate) async fn by_cookie(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let digest = secrets::digest(cookie(headers).ok_or_else(ApiError::unauthenticated)?);
    let now = app.now();
    let found = app.store.login(digest).await?;
    let (login, user) = found
        .filter(|(login, user)| !login.has_expired(now) && !user.disabled)
        .ok_or_else(ApiError::unauthenticated)?;
    let csrf = login.csrf.clone();
    if now - login.seen_at > USE_RESOLUTION {
        app.perform(Effects { save: vec![Save::LoginSeen(digest, now)], ..Effects::none() }).await?;
    }
    let must_change_password = user.must_change_password;
    let proof = Proof::Login { user: user.id, digest, csrf, must_change_password };
    Ok(Caller { name: user.name, role: user.role, proof })
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

/// Whether the page that made the browser call is ours: `Origin` names the host that was called.
pub(crate) fn is_same_origin(headers: &HeaderMap, may_be_missing: bool) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return may_be_missing };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_some() && host == origin
}
