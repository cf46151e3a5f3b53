//! Users of mDash. People are made by the hub's own means; only the users that the original phone app makes up, whose
//! name is their password, are made here, and only if the hub was told to let them in.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use motehub_domain::access::Role;
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::person::{self, User};
use motehub_domain::rejection::Rejection;
use motehub_domain::share::{self, Share};
use motehub_store::StoreError;
use serde_json::{Value, json};

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::{Caller, USER_PREFIX};
use crate::api::rfc3339;
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// How the names begin that the original app makes up.
const APP_PREFIX: &str = "mos_app_";
/// Why somebody is not let in or made.
const OFF: &str = "users whose name is their password are off: start the hub with --mdash-app-users to let the \
    original phone app in, or use the app at /app";

/// Whether this is a user of the original app, and such are let in.
pub(crate) fn is_let_in(app: &App, name: &str) -> bool {
    app.settings.mdash_app_users && name.starts_with(APP_PREFIX)
}

/// `POST /api/v2/user/add {"name","pass"}`: as often as one likes.
pub(super) async fn add(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let text = |field: &str| body[field].as_str().map(str::trim).filter(|text| !text.is_empty());
    let name = text("name").ok_or_else(|| Refusal::invalid("name: of the user"))?;
    if let Some(user) = app.store.user_by_name(name).await? {
        return Ok(axum::Json(shown(&user)));
    }
    let password = text("pass").ok_or_else(|| Refusal::invalid("pass: the password of the user"))?;
    if !is_let_in(app, name) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, OFF));
    }
    let hash = app.throttle.hash(password.to_owned()).await?;
    let now = app.now();
    let made = person::bring(random::id(now), name, Role::Customer, hash, &caller.actor(), now)?;
    let (user, effects) = made;
    match app.perform(effects).await {
        Ok(()) => Ok(axum::Json(shown(&user))),
        // It was asked twice at once.
        Err(Failure::Store(StoreError::Taken { .. })) => {
            let user = app.store.user_by_name(name).await?;
            user.map(|user| axum::Json(shown(&user)))
                .ok_or_else(|| Refusal::not_found("there is no such user"))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn shown(user: &User) -> Value {
    json!({
        "id": format!("{USER_PREFIX}{}", user.name),
        "name": user.name,
        "created_at": rfc3339(user.created_at),
    })
}

/// Pairs a device with a user of the original app, without a proof that the user has it: that is what the app does.
/// A device that has an owner is not taken from it.
pub(super) async fn pair(
    app: &App,
    caller: &Caller,
    device: &Device,
    user: &str,
    name: Option<&str>,
) -> Result<(), Refusal> {
    let user = user.trim().strip_prefix(USER_PREFIX).unwrap_or(user.trim());
    if !is_let_in(app, user) {
        let how = "a customer claims a device with its code; the original phone app may pair one without, if the hub \
            was started with --mdash-app-users";
        return Err(Refusal::new(StatusCode::FORBIDDEN, how));
    }
    let user = app.store.user_by_name(user).await?.filter(|user| user.role == Role::Customer);
    let user = user.ok_or_else(|| Refusal::not_found("there is no such user"))?;
    let actor = caller.actor();
    app.attempt(|| async {
        let shares = app.store.shares_of(device.id).await?;
        let shares: Vec<Share> = shares.into_iter().map(|shared| shared.share).collect();
        let own = shares.iter().find(|share| share.user == user.id).cloned();
        let (own, effects) = match own {
            Some(own) => (own, Effects::none()),
            None => {
                let effects = share::claim(device, &user, &shares, app.now())?;
                let made = effects.save.iter().find_map(claimed);
                (made.ok_or_else(|| Rejection::not_found("share", device.id))?, effects)
            }
        };
        let (_, renamed) = share::rename(device, &own, name, None, &actor)?;
        Ok(((), effects.and(renamed)))
    })
    .await?;
    Ok(())
}

fn claimed(save: &Save) -> Option<Share> {
    match save {
        Save::Share(share) => Some((**share).clone()),
        _ => None,
    }
}
