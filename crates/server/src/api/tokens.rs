//! API tokens: how programs come in. Administrators make and revoke them.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use motehub_domain::id::TokenId;
use motehub_domain::kept::Principal;
use motehub_domain::person;
use motehub_domain::rejection::Rejection;
use motehub_domain::time::Time;
use motehub_gateway::link::Order;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use super::users::{RoleName, role};
use crate::app::App;
use crate::people::token_secret;
use crate::{random, secrets};

/// An API token; its secret is not kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Its id.
    id: String,
    /// Unique.
    name: String,
    /// What the program may do.
    role: RoleName,
    /// The id of its access key, if it has one.
    access_key_id: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it stops; never if null.
    expires_at: Option<String>,
    /// When it was last used, to the minute.
    last_used_at: Option<String>,
}

impl From<person::Token> for Token {
    fn from(token: person::Token) -> Self {
        Self {
            id: token.id.to_string(),
            access_key_id: token.has_access_key.then(|| token.id.to_string()),
            name: token.name,
            role: token.role.into(),
            created_at: rfc3339(token.created_at),
            expires_at: token.expires_at.map(rfc3339),
            last_used_at: token.last_used_at.map(rfc3339),
        }
    }
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenList {
    /// By name.
    items: Vec<Token>,
    /// How many there are.
    total: usize,
}

/// What makes a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// 1 to 80 characters, unique.
    name: String,
    /// What the program may do.
    #[schema(value_type = RoleName)]
    role: String,
    /// When it stops, as RFC 3339; never if left out.
    expires_at: Option<String>,
    /// Whether it also has an access key, for programs that sign as AWS does (SigV4); no if left out.
    #[serde(default)]
    access_key: bool,
}

/// A new token, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenCreated {
    /// Its id.
    id: String,
    /// For the header `Authorization: Bearer TOKEN`, and as an MQTT password.
    token: String,
    /// Of its access key, if one was asked for.
    access_key_id: Option<String>,
    /// The secret of its access key.
    secret_access_key: Option<String>,
}

/// All tokens.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = TokenList), (status = 403, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<TokenList>, ApiError> {
    let items: Vec<Token> = app.store.tokens().await?.into_iter().map(Token::from).collect();
    Ok(axum::Json(TokenList { total: items.len(), items }))
}

/// Makes a token.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = TokenCreated), (status = 400, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, axum::Json<TokenCreated>), ApiError> {
    let secret = token_secret();
    let now = app.now();
    let token = person::Token {
        id: random::id(now),
        name: new.name,
        role: role(&new.role)?,
        digest: secrets::digest(&secret),
        has_access_key: new.access_key,
        created_at: now,
        expires_at: new.expires_at.as_deref().map(expiry).transpose()?,
        last_used_at: None,
    };
    let made = app.attempt(|| async {
        let tokens = app.store.tokens().await?;
        Ok(person::create_token(&token, &tokens, &caller.actor(), now)?)
    });
    let made = made.await?;
    let id = made.id.to_string();
    let created = TokenCreated {
        access_key_id: made.has_access_key.then(|| id.clone()),
        secret_access_key: made.has_access_key.then(|| app.access_keys.secret_of(&made)),
        id,
        token: secret,
    };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Revokes a token: it stops at once, and its MQTT connections and sessions end.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: TokenId = id("token", &path)?;
    let token = app.store.token(id).await?.ok_or_else(|| ApiError::not_found("token", id))?;
    app.perform(person::delete_token(&token, &caller.actor())).await?;
    app.order(&Order::Forget(Principal::Token(id)));
    Ok(StatusCode::NO_CONTENT)
}

fn expiry(text: &str) -> Result<Time, Rejection> {
    let wrong =
        |_| Rejection::invalid("expires_at", "a time is written as RFC 3339, such as 2027-01-31T00:00:00Z");
    text.parse::<Timestamp>().map(|at| Time(at.as_millisecond())).map_err(wrong)
}
