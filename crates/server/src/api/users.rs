//! Users: the people who may log in. Administrators make, change and delete them.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use motehub_domain::access::Role;
use motehub_domain::id::UserId;
use motehub_domain::person::{self, UserEdit};
use motehub_domain::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Caller;
use super::extract::{Body, id, rfc3339};
use super::problem::{ApiError, Problem};
use crate::app::App;
use crate::perform::Failure;
use crate::random;

/// What a caller may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(crate) enum RoleName {
    /// Sees and controls only what is shared with it.
    Customer,
    /// Sees.
    Viewer,
    /// Also activates assigned scripts, and forces, cancels, retries or rolls back an update.
    Manager,
    /// Also makes and changes devices, scripts, deployments and topic grants.
    Engineer,
    /// Also makes and changes users and tokens.
    Admin,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Customer => Self::Customer,
            Role::Viewer => Self::Viewer,
            Role::Manager => Self::Manager,
            Role::Engineer => Self::Engineer,
            Role::Admin => Self::Admin,
        }
    }
}

/// Reads a role.
pub(crate) fn role(text: &str) -> Result<Role, Rejection> {
    let wrong = || Rejection::invalid("role", "a role is viewer, manager, engineer or admin");
    Role::parse(text).ok_or_else(wrong)
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    /// Its id.
    id: String,
    /// Unique without case.
    name: String,
    /// What the person may do.
    role: RoleName,
    /// Whether the person is shut out.
    disabled: bool,
    /// When the user was made.
    created_at: String,
    /// When the person last logged in.
    last_login_at: Option<String>,
    /// Whether the password is a one-time password.
    must_change_password: bool,
}

impl From<person::User> for User {
    fn from(user: person::User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name,
            role: user.role.into(),
            disabled: user.disabled,
            created_at: rfc3339(user.created_at),
            last_login_at: user.last_login_at.map(rfc3339),
            must_change_password: user.must_change_password,
        }
    }
}

/// All users.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserList {
    /// By name.
    items: Vec<User>,
    /// How many there are.
    total: usize,
}

/// What makes a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// 1 to 80 characters, unique without case.
    name: String,
    /// What the person may do.
    #[schema(value_type = RoleName)]
    role: String,
}

/// A new user with the one-time password, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserCreated {
    /// Its id.
    id: String,
    /// Must be changed at the first login.
    password: String,
}

/// A new one-time password, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct OneTimePassword {
    /// Must be changed at the next login.
    password: String,
}

/// What changes a user; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChange {
    /// New role.
    #[schema(value_type = Option<RoleName>)]
    role: Option<String>,
    /// Whether the person is shut out; it ends the person's logins.
    disabled: Option<bool>,
}

/// All users but customers.
#[utoipa::path(get, path = "/api/v1/users", tag = "users",
    responses((status = 200, body = UserList), (status = 403, body = Problem)))]
pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<UserList>, ApiError> {
    let items: Vec<User> = app.store.users().await?.into_iter().map(User::from).collect();
    Ok(axum::Json(UserList { total: items.len(), items }))
}

/// Makes a user with a one-time password.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = UserCreated), (status = 400, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, axum::Json<UserCreated>), ApiError> {
    let role = role(&new.role)?;
    let password = random::one_time_password();
    let hash = app.throttle.hash(password.clone()).await?;
    let now = app.now();
    let id: UserId = random::id(now);
    let made = app.attempt(|| async {
        let users = app.store.users().await?;
        Ok(person::create_user(id, &new.name, role, hash.clone(), &users, &caller.actor(), now)?)
    });
    let id = made.await?.id.to_string();
    Ok((StatusCode::CREATED, axum::Json(UserCreated { id, password })))
}

/// Changes a user's role, shuts the user out or lets the user in again.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", request_body = UserChange,
    responses((status = 200, body = User), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Body(change): Body<UserChange>,
) -> Result<axum::Json<User>, ApiError> {
    let id: UserId = id("user", &path)?;
    let edit = UserEdit { role: change.role.as_deref().map(role).transpose()?, disabled: change.disabled };
    let edited = app.attempt(|| async {
        let (user, users) = load(&app, id).await?;
        Ok(person::edit_user(&user, edit, &users, &caller.actor())?)
    });
    Ok(axum::Json(edited.await?.into()))
}

/// Gives a user a new one-time password and ends the user's logins.
#[utoipa::path(post, path = "/api/v1/users/{id}/password", tag = "users",
    responses((status = 200, body = OneTimePassword), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(crate) async fn reset_password(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<axum::Json<OneTimePassword>, ApiError> {
    let id: UserId = id("user", &path)?;
    let password = random::one_time_password();
    let hash = app.throttle.hash(password.clone()).await?;
    let reset = app.attempt(|| async {
        let (user, _) = load(&app, id).await?;
        Ok(((), person::set_password(&user, hash.clone(), true, None, &caller.actor())))
    });
    reset.await?;
    Ok(axum::Json(OneTimePassword { password }))
}

/// Deletes a user with all logins.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users",
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: UserId = id("user", &path)?;
    let deleted = app.attempt(|| async {
        let (user, users) = load(&app, id).await?;
        Ok(((), person::delete_user(&user, &users, &caller.actor())?))
    });
    deleted.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One user, who may be a customer, and all others of the vendor.
async fn load(app: &App, id: UserId) -> Result<(person::User, Vec<person::User>), Failure> {
    let user = app.store.user(id).await?.ok_or_else(|| Rejection::not_found("user", id))?;
    Ok((user, app.store.users().await?))
}
