//! API keys of mDash are API tokens. Their secret is shown when they are made, and not kept.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use motehub_domain::access::Role;
use motehub_domain::effects::Effects;
use motehub_domain::person::{self, Token};
use motehub_domain::rejection::Rejection;
use serde_json::{Value, json};

use super::Front;
use super::answer::{Body, Refusal};
use super::caller::{Caller, USER_PREFIX};
use crate::api::rfc3339;
use crate::{people, random, secrets};

/// What a key may do unless its maker says otherwise: devices, not users.
const ROLE: Role = Role::Engineer;
/// When something never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// All keys, without their secrets.
pub(super) async fn list(State(front): State<Arc<Front>>) -> Result<axum::Json<Vec<Value>>, Refusal> {
    Ok(axum::Json(
        front.app.store.tokens().await?.iter().map(|token| shown(token, &token.id.to_string())).collect(),
    ))
}

/// Makes a key; its id is its secret, this once.
pub(super) async fn create(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let app = &front.app;
    let now = app.now();
    let secret = people::token_secret();
    let name =
        body["name"].as_str().map_or_else(|| format!("mDash {}", &random::hex24()[..8]), str::to_owned);
    let role = match body["role"].as_str() {
        Some(role) => {
            Role::parse(role).ok_or_else(|| Refusal::invalid("role: viewer, manager, engineer or admin"))?
        }
        None => ROLE,
    };
    let id = random::id(now);
    let digest = secrets::digest(&secret);
    let token = Token {
        id,
        name,
        role,
        digest,
        has_access_key: false,
        created_at: now,
        expires_at: None,
        last_used_at: None,
    };
    let made = app.attempt(|| async {
        let tokens = app.store.tokens().await?;
        Ok(person::create_token(&token, &tokens, &caller.actor(), now)?)
    });
    Ok(axum::Json(shown(&made.await?, &secret)))
}

/// Revokes a key, by its id or its secret.
pub(super) async fn delete(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Result<axum::Json<bool>, Refusal> {
    let app = &front.app;
    let by_id = match key.parse() {
        Ok(id) => app.store.token(id).await?,
        Err(_) => app.store.token_by_digest(secrets::digest(&key)).await?,
    };
    let token = by_id.ok_or_else(|| Refusal::from(Rejection::not_found("key", "this one")))?;
    let effects: Effects = person::delete_token(&token, &caller.actor());
    app.perform(effects).await?;
    Ok(axum::Json(true))
}

fn shown(token: &Token, id: &str) -> Value {
    json!({
        "id": id,
        "user_id": format!("{USER_PREFIX}{}", token.name),
        "created_at": rfc3339(token.created_at),
        "last_used": token.last_used_at.map_or_else(|| NEVER.to_owned(), rfc3339),
    })
}
