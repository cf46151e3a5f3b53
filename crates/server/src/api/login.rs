//! How people come in: the first run, login, logout, and their own password.

mod password;
pub(crate) mod sign_up;
mod throttle;

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use motehub_domain::artifact::Digest;
use motehub_domain::effects::Effects;
use motehub_domain::id::UserId;
use motehub_domain::person::{self, LOGIN_AGE_MAX, Login, User};
use motehub_domain::rejection::Rejection;
use motehub_domain::text;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{COOKIE_NAME, Caller, Proof};
use super::extract::Body;
use super::problem::{ApiError, Problem};
use super::users::RoleName;
use crate::app::App;
use crate::server::start;
use crate::{random, secrets};
pub(crate) use password::owner as owner_of_password;
pub(crate) use throttle::{Guess, Throttle, Ticket};

/// Whether the hub still waits for its first administrator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SetupNeeded {
    /// If so, open the one-time link that was printed at start.
    needed: bool,
}

/// What makes the first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupRequest {
    /// The one-time code: what stands behind `#` in the link that was printed at start.
    code: String,
    /// 1 to 80 characters.
    name: String,
    /// At least 12 characters, or at least 8 that nobody would guess.
    password: String,
}

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// Compared without case.
    name: String,
    /// The password.
    password: String,
}

/// A change of the caller's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The present password.
    current: String,
    /// At least 12 characters, or at least 8 that nobody would guess.
    new: String,
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// The name.
    name: String,
    /// What the caller may do.
    role: RoleName,
    /// How the caller came in.
    kind: MeKind,
    /// Whether the password must be changed before anything else.
    must_change_password: bool,
    /// What changing requests with the cookie repeat in the header `X-CSRF-Token`; empty for tokens.
    csrf: String,
    /// The place of the newest change that was told so far: a live connection after it tells all that happens to what
    /// is loaded from now on. Customers have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
}

/// How a caller comes in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MeKind {
    /// A person with a login.
    User,
    /// A program with an API token.
    Token,
}

/// Whether the first administrator is still to be made.
#[utoipa::path(get, path = "/api/v1/setup", tag = "login", responses((status = 200, body = SetupNeeded)))]
pub(crate) async fn setup_needed(State(app): State<App>) -> Result<axum::Json<SetupNeeded>, ApiError> {
    Ok(axum::Json(SetupNeeded { needed: app.store.admins().await? == 0 }))
}

/// Makes the first administrator with the one-time code, and logs in.
#[utoipa::path(post, path = "/api/v1/setup", tag = "login", request_body = SetupRequest,
    responses((status = 200, body = Me), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn setup(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(request): Body<SetupRequest>,
) -> Result<Response, ApiError> {
    let ticket = admit(&app, "", peer)?;
    let code = secrets::digest(request.code.trim());
    if !is_setup_code(&app, code).await? {
        return Err(wrong_code(&app, &request.name, peer).await?);
    }
    succeeded(&app, ticket);
    let name = text::name("name", &request.name)?;
    secrets::check_password(&request.password, &name)?;
    let hash = app.throttle.hash(request.password).await?;
    let _alone = app.throttle.one_set_up().await;
    if !is_setup_code(&app, code).await? {
        return Err(wrong_code(&app, &request.name, peer).await?);
    }
    let now = app.now();
    let (secret, login) = new_login(random::id(now), peer, now);
    let made = app.attempt(|| async {
        let users = app.store.users().await?;
        Ok(person::set_up(&name, hash.clone(), login.clone(), &users, now)?)
    });
    let user = made.await?;
    *app.setup.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!(name = user.name, "the first administrator was made");
    Ok(entered(&app, &user, login.csrf, &secret, &headers))
}

/// Logs in with name and password.
#[utoipa::path(post, path = "/api/v1/login", tag = "login", request_body = LoginRequest,
    responses((status = 200, body = Me), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn login(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(request): Body<LoginRequest>,
) -> Result<Response, ApiError> {
    let ticket = admit(&app, &request.name, peer)?;
    if app.store.users().await?.is_empty() {
        let detail = "there is no user yet: open the one-time link that was printed at start";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "setup_required", detail));
    }
    let Some(user) = password::owner(&app, request.name.trim(), request.password).await? else {
        failed(&app, &request.name, peer).await?;
        return Err(bad_login());
    };
    let now = app.now();
    let (secret, login) = new_login(user.id, peer, now);
    let logged_in = app.attempt(|| async {
        let current = app.store.user(user.id).await?;
        let Some(current) =
            current.filter(|current| current.password_hash == user.password_hash && !current.disabled)
        else {
            return Ok((None, Effects::none()));
        };
        let effects = person::log_in(&current, login.clone(), now)?;
        Ok((Some(current), effects))
    });
    let user = logged_in.await?.ok_or_else(bad_login)?;
    succeeded(&app, ticket);
    metrics::counter!("motehub_logins_total", "outcome" => "succeeded").increment(1);
    Ok(entered(&app, &user, login.csrf, &secret, &headers))
}

/// Ends this login.
#[utoipa::path(post, path = "/api/v1/logout", tag = "login",
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(crate) async fn logout(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (user, digest) = login_of(&caller)?;
    app.perform(person::log_out(user, &caller.name, digest)).await?;
    Ok(left(&headers))
}

/// Ends all logins of the caller, on every machine.
#[utoipa::path(post, path = "/api/v1/logout-everywhere", tag = "login",
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(crate) async fn logout_everywhere(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (user, _) = login_of(&caller)?;
    app.perform(person::log_out_everywhere(user, &caller.name)).await?;
    Ok(left(&headers))
}

/// Who the caller is and may do.
#[utoipa::path(get, path = "/api/v1/me", tag = "login",
    responses((status = 200, body = Me), (status = 401, body = Problem)))]
pub(crate) async fn me(State(app): State<App>, Extension(caller): Extension<Caller>) -> axum::Json<Me> {
    let seq = caller.role.is_staff().then(|| app.live.last_seq());
    let (kind, must_change_password, csrf) = match caller.proof {
        Proof::Login { csrf, must_change_password, .. } => (MeKind::User, must_change_password, csrf),
        Proof::Token => (MeKind::Token, false, String::new()),
    };
    axum::Json(Me { name: caller.name, role: caller.role.into(), kind, must_change_password, csrf, seq })
}

/// Changes the caller's password and ends the caller's other logins.
#[utoipa::path(post, path = "/api/v1/me/password", tag = "login", request_body = PasswordChange,
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 429, body = Problem)))]
pub(crate) async fn change_password(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<PasswordChange>,
) -> Result<StatusCode, ApiError> {
    let (_, digest) = login_of(&caller)?;
    let ticket = admit(&app, &caller.name, peer)?;
    let (_, user) = app.store.login(digest).await?.ok_or_else(ApiError::unauthenticated)?;
    if !app.throttle.verify(request.current.clone(), Some(user.password_hash.clone())).await {
        failed(&app, &caller.name, peer).await?;
        return Err(Rejection::invalid("current", "this is not your present password").into());
    }
    succeeded(&app, ticket);
    if request.new == request.current {
        return Err(Rejection::invalid("new", "choose another than the present one").into());
    }
    secrets::check_password(&request.new, &user.name).map_err(about_new)?;
    let hash = app.throttle.hash(request.new).await.map_err(about_new)?;
    let changed = app.attempt(|| async {
        let found = app.store.login(digest).await?;
        let Some((_, current)) = found.filter(|(_, current)| current.password_hash == user.password_hash)
        else {
            return Ok((false, Effects::none()));
        };
        let effects = person::set_password(&current, hash.clone(), false, Some(digest), &caller.actor());
        Ok((true, effects))
    });
    match changed.await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::unauthenticated()),
    }
}

/// Lets a try go on, or refuses it for a while.
pub(crate) fn admit<'a>(app: &'a App, name: &str, peer: SocketAddr) -> Result<Ticket<'a>, ApiError> {
    app.admit_guess(Guess::Password, name, peer.ip()).map_err(|seconds| {
        metrics::counter!("motehub_logins_total", "outcome" => "throttled").increment(1);
        let detail = format!("too many tries: wait {seconds} seconds and try again");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", detail).retry_after(seconds)
    })
}

/// The try was right.
pub(crate) fn succeeded(app: &App, ticket: Ticket<'_>) {
    app.guessed_right(Guess::Password, ticket);
}

pub(crate) async fn failed(app: &App, tried: &str, peer: SocketAddr) -> Result<(), ApiError> {
    metrics::counter!("motehub_logins_total", "outcome" => "failed").increment(1);
    Ok(app.perform(person::log_in_failed(tried, &address(peer))).await?)
}

/// One answer for an unknown name, a wrong password and a disabled user.
fn bad_login() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "bad_login", "the name or the password is wrong")
}

async fn is_setup_code(app: &App, code: Digest) -> Result<bool, ApiError> {
    let setup = *app.setup.lock().unwrap_or_else(PoisonError::into_inner);
    if setup.is_some_and(|(expected, expires_at)| expected == code && app.now() < expires_at) {
        return Ok(true);
    }
    // It may have been printed by another node.
    Ok(!app.cluster.is_alone() && start::is_setup_code(&app.store, code, app.now()).await?)
}

async fn wrong_code(app: &App, name: &str, peer: SocketAddr) -> Result<ApiError, ApiError> {
    failed(app, name, peer).await?;
    let sentence = "this set-up link is wrong, used or expired: restart the hub for a new link";
    Ok(Rejection::forbidden(sentence).into())
}

fn login_of(caller: &Caller) -> Result<(UserId, Digest), ApiError> {
    match caller.proof {
        Proof::Login { user, digest, .. } => Ok((user, digest)),
        Proof::Token => {
            Err(Rejection::forbidden("a token has no login and no password: delete the token instead").into())
        }
    }
}

fn about_new(mut rejection: Rejection) -> Rejection {
    rejection.sentence = rejection.sentence.replacen("password: ", "new: ", 1);
    rejection
}

/// A login, and the secret of its cookie, of which only the digest is kept.
fn new_login(user: UserId, peer: SocketAddr, now: Time) -> (String, Login) {
    let secret = random::secret();
    let digest = secrets::digest(&secret);
    let login =
        Login { digest, user, created_at: now, seen_at: now, address: address(peer), csrf: random::secret() };
    (secret, login)
}

fn address(peer: SocketAddr) -> String {
    IpAddr::to_canonical(&peer.ip()).to_string()
}

fn entered(app: &App, user: &User, csrf: String, secret: &str, headers: &HeaderMap) -> Response {
    let must_change_password = user.must_change_password;
    let me = Me {
        name: user.name.clone(),
        role: user.role.into(),
        kind: MeKind::User,
        must_change_password,
        csrf,
        seq: user.role.is_staff().then(|| app.live.last_seq()),
    };
    with_cookie(axum::Json(me).into_response(), secret, LOGIN_AGE_MAX.0 / 1000, headers)
}

fn left(headers: &HeaderMap) -> Response {
    with_cookie(StatusCode::NO_CONTENT.into_response(), "", 0, headers)
}

/// Sets the cookie; `Secure` if the browser came by HTTPS, which a proxy in front of the hub says.
fn with_cookie(mut response: Response, secret: &str, max_age_seconds: i64, headers: &HeaderMap) -> Response {
    let is_https =
        headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_seconds}{secure}"
    );
    let cookie = HeaderValue::try_from(cookie).expect("because secrets are letters and digits");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}
