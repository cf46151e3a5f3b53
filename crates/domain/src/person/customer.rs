//! People who are not made with a one-time password: customers, who come by themselves with an invitation or a claim
//! code, and those who are brought from another product with the password that they have there.

use super::{Login, User, fact, from_address, new_user};
use crate::access::Role;
use crate::change::{Actor, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::UserId;
use crate::rejection::Rejection;
use crate::time::Time;

/// Brings a person with the password that the person has elsewhere.
///
/// # Errors
/// `invalid` for a name that cannot be one.
pub fn bring(
    id: UserId,
    name: &str,
    role: Role,
    password_hash: String,
    actor: &Actor,
    now: Time,
) -> Result<(User, Effects), Rejection> {
    let user = User { password_hash, ..new_user(id, name, role, &[], now)? };
    let brought = fact(ChangeKind::UserCreated, &id, &user.name, actor);
    let brought = brought.after(serde_json::json!({ "role": role.as_str() }));
    let save = vec![Save::User(Box::new(user.clone()))];
    Ok((user, Effects { save, changes: vec![brought.0], ..Effects::none() }))
}

/// A person came in with a password that was brought: it is kept as all others are from now on. One that anybody would
/// try is to be changed before anything else.
pub fn keep_brought(user: &User, password_hash: String, is_weak: bool) -> (User, Effects) {
    let revision = user.revision + 1;
    let must_change_password = user.must_change_password || is_weak;
    let kept = User { password_hash, must_change_password, revision, ..user.clone() };
    let save = vec![Save::User(Box::new(kept.clone()))];
    (kept, Effects { save, ..Effects::none() })
}

/// Makes a customer, who is logged in at once. What the invitation gives besides is [`crate::share::redeem`]'s.
///
/// The store refuses a name that somebody has: there may be too many customers to look at all of them here.
///
/// # Errors
/// `invalid` for a name that cannot be one.
pub fn sign_up(
    id: UserId,
    name: &str,
    password_hash: String,
    login: Login,
    now: Time,
) -> Result<(User, Effects), Rejection> {
    let plain = new_user(id, name, Role::Customer, &[], now)?;
    let user = User { password_hash, last_login_at: Some(now), ..plain };
    let actor = Actor::User(user.name.clone());
    let signed_up = fact(ChangeKind::CustomerSignedUp, &user.id, &user.name, &actor);
    let signed_up = signed_up.after(from_address(&login.address));
    let save = vec![Save::User(Box::new(user.clone())), Save::Login(login)];
    Ok((user, Effects { save, changes: vec![signed_up.0], ..Effects::none() }))
}
