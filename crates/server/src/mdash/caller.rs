//! Who calls the API of mDash: by an API key, in the header or in the address, or by name and password. A password
//! comes with every request here, so that one that was right a moment ago is not hashed again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::access::{Permission, Role};
use motehub_domain::artifact::Digest;
use motehub_domain::change::Actor;
use motehub_domain::id::UserId;
use motehub_domain::person::User;
use motehub_domain::time::{Span, Time};

use super::answer::Refusal;
use super::{Front, users};
use crate::api;
use crate::secrets;

/// What mDash puts before the name of a user to make its id.
pub(super) const USER_PREFIX: &str = "email_";
/// How long a password that was right is not hashed again.
const KNOWN_FOR: Span = Span::minutes(5);
/// How many of them are remembered.
const KNOWN_MAX: usize = 1_000;

/// Passwords that were right lately: SHA-256 of name and password, with the user and the hash that it fitted.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Digest, (UserId, String, Time)>>);

/// What a route needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    /// A caller of the vendor with a permission.
    Needs(Permission),
    /// The same, or a customer: the handler asks for the customer's share.
    Shared(Permission),
}

/// The authenticated person or program behind a request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Its name.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// The person; `None` for an API key.
    pub(super) user: Option<UserId>,
}

impl Caller {
    /// The caller as the activity log names it.
    pub(super) fn actor(&self) -> Actor {
        match self.user {
            Some(_) => Actor::User(self.name.clone()),
            None => Actor::Token(self.name.clone()),
        }
    }
    /// Whether it sees only what is shared with it.
    pub(super) fn is_customer(&self) -> bool {
        !self.role.is_staff()
    }
    /// Refuses if the caller's role lacks a permission.
    pub(super) fn must(&self, permission: Permission) -> Result<(), Refusal> {
        match self.role.may(permission) {
            true => Ok(()),
            false => {
                let why = format!("your role, {}, may not do this", self.role.as_str());
                Err(Refusal::new(StatusCode::FORBIDDEN, why))
            }
        }
    }
}

/// The middleware of one route.
pub(super) async fn guard(
    State((front, access)): State<(Arc<Front>, Access)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let caller = caller(&front, peer, request.headers(), request.uri()).await?;
    match access {
        Access::Shared(_) if caller.is_customer() => {}
        Access::Needs(permission) | Access::Shared(permission) => caller.must(permission)?,
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Who calls; refused if nobody known.
pub(super) async fn caller(
    front: &Front,
    peer: SocketAddr,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Caller, Refusal> {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, rest) = shown.and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("Basic") {
        let decoded =
            BASE64_STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or_else(Refusal::unauthenticated)?;
        let (name, password) = decoded.split_once(':').ok_or_else(Refusal::unauthenticated)?;
        return by_password(front, peer, name, password).await;
    }
    let key = match scheme.eq_ignore_ascii_case("Bearer") {
        true => Some(rest.trim()),
        false => access_token(uri),
    };
    let key = key.ok_or_else(Refusal::unauthenticated)?;
    let token = api::by_token(&front.app, key).await.map_err(Refusal::from)?;
    Ok(Caller { name: token.name, role: token.role, user: None })
}

/// `?access_token=…`; keys are letters and digits, so nothing in them is escaped.
fn access_token(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("access_token="))
}

async fn by_password(front: &Front, peer: SocketAddr, name: &str, password: &str) -> Result<Caller, Refusal> {
    let app = &front.app;
    let name = name.trim().strip_prefix(USER_PREFIX).unwrap_or(name.trim());
    let shown = secrets::digest(format!("{name}\0{password}"));
    let found = app.store.user_by_name(name).await?;
    if name == password {
        if !users::is_let_in(app, name) {
            return Err(Refusal::unauthenticated());
        }
        if found.is_none() {
            // The original app asks before its user is made, which it does not wait for.
            return Ok(Caller { name: name.to_owned(), role: Role::Customer, user: None });
        }
    }
    if let Some(user) = found.as_ref().filter(|user| front.known.knows(shown, user, app.now())) {
        return person(user);
    }
    let ticket = api::admit(app, name, peer)?;
    let Some(user) = api::owner_of_password(app, name, password.to_owned()).await? else {
        api::failed(app, name, peer).await?;
        return Err(Refusal::unauthenticated());
    };
    api::succeeded(app, ticket);
    front.known.remember(shown, &user, app.now());
    person(&user)
}

fn person(user: &User) -> Result<Caller, Refusal> {
    if user.must_change_password {
        let how = "this is a one-time password: log in to the dashboard and choose your own first";
        return Err(Refusal::new(StatusCode::FORBIDDEN, how));
    }
    Ok(Caller { name: user.name.clone(), role: user.role, user: Some(user.id) })
}

impl Known {
    fn knows(&self, shown: Digest, user: &User, now: Time) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&shown).is_some_and(|(id, hash, at)| {
            *id == user.id && *hash == user.password_hash && !user.disabled && now - *at < KNOWN_FOR
        })
    }

    fn remember(&self, shown: Digest, user: &User, now: Time) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(shown, (user.id, user.password_hash.clone(), now));
    }
}
