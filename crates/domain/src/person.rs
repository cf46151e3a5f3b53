//! People who log in, programs with tokens, and what operators grant devices on MQTT topics.

use serde_json::{Map, Value, json};

use crate::access::Role;
use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::{DeviceId, GrantId, TokenId, UserId};
use crate::rejection::Rejection;
use crate::text;
use crate::time::{Span, Time};
use crate::topic::TopicFilter;

mod customer;
mod grant;

pub use customer::{bring, keep_brought, sign_up};
pub use grant::{GRANTS_MAX, GrantRequest, add_grant, remove_grant};

/// How long a login lives after it was last used.
pub const LOGIN_IDLE_MAX: Span = Span::days(7);
/// How long a login lives at most.
pub const LOGIN_AGE_MAX: Span = Span::days(30);
/// Most users.
pub const USERS_MAX: usize = 1000;
/// Most API tokens.
pub const TOKENS_MAX: usize = 1000;

/// A person who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique; compared without case.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// A disabled user cannot log in and has no logins.
    pub disabled: bool,
    /// Argon2id, in the PHC string format.
    pub password_hash: String,
    /// The password is a one-time password: it must be changed before anything else.
    pub must_change_password: bool,
    /// When the user was made.
    pub created_at: Time,
    /// When the person last logged in.
    pub last_login_at: Option<Time>,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// One login of a person: what the cookie stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// SHA-256 of the cookie's secret.
    pub digest: Digest,
    /// Whose.
    pub user: UserId,
    /// When the person logged in.
    pub created_at: Time,
    /// When it was last used, to the minute.
    pub seen_at: Time,
    /// From which address.
    pub address: String,
    /// What a changing request must repeat in a header.
    pub csrf: String,
}

impl Login {
    /// Whether it has expired, idle or absolute.
    pub fn has_expired(&self, now: Time) -> bool {
        now - self.seen_at > LOGIN_IDLE_MAX || now - self.created_at > LOGIN_AGE_MAX
    }
}

/// A token with which a program calls the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// Whether it has an access key beside its secret, with which requests are signed.
    pub has_access_key: bool,
    /// When it was made.
    pub created_at: Time,
    /// When it stops; `None` never.
    pub expires_at: Option<Time>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Time>,
}

/// Who a topic grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// One device.
    Device(DeviceId),
    /// All devices with a tag.
    Tag(String),
}

/// A permission of devices on MQTT topics beyond their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// For whom.
    pub grantee: Grantee,
    /// Which topics.
    pub filter: TopicFilter,
    /// Whether they may publish there.
    pub publish: bool,
    /// Whether they may subscribe there.
    pub subscribe: bool,
}

/// What an administrator wants changed of a user; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// New role.
    pub role: Option<Role>,
    /// Whether the user is shut out.
    pub disabled: Option<bool>,
}

impl User {
    fn is_active_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }
}

/// Makes the first administrator, who is logged in at once. Refused once there is an administrator.
pub fn set_up(
    name: &str,
    password_hash: String,
    login: Login,
    users: &[User],
    now: Time,
) -> Result<(User, Effects), Rejection> {
    if users.iter().any(User::is_active_admin) {
        return Err(Rejection::forbidden("this hub is set up already: log in"));
    }
    let mut user = new_user(login.user, name, Role::Admin, users, now)?;
    user.password_hash = password_hash;
    user.last_login_at = Some(now);
    let actor = Actor::User(user.name.clone());
    let done = fact(ChangeKind::SetupDone, &user.id, &user.name, &actor)
        .after(json!({ "role": user.role.as_str() }));
    let entered =
        fact(ChangeKind::LoginSucceeded, &user.id, &user.name, &actor).after(from_address(&login.address));
    let save = vec![Save::User(Box::new(user.clone())), Save::Login(login)];
    Ok((user, Effects { save, changes: vec![done.0, entered.0], ..Effects::none() }))
}

/// Makes a user with a one-time password. `users` are all there are.
pub fn create_user(
    id: UserId,
    name: &str,
    role: Role,
    password_hash: String,
    users: &[User],
    actor: &Actor,
    now: Time,
) -> Result<(User, Effects), Rejection> {
    staff(role)?;
    let user = User { password_hash, must_change_password: true, ..new_user(id, name, role, users, now)? };
    let change =
        fact(ChangeKind::UserCreated, &id, &user.name, actor).after(json!({ "role": role.as_str() }));
    let effects = saving(Save::User(Box::new(user.clone())), change);
    Ok((user, effects))
}

/// Changes a user's role, shuts the user out or lets the user in again. Returns the user as it is then;
/// nothing is written if nothing differs. `users` are all there are: one active administrator must remain.
pub fn edit_user(
    user: &User,
    edit: UserEdit,
    users: &[User],
    actor: &Actor,
) -> Result<(User, Effects), Rejection> {
    let role = edit.role.unwrap_or(user.role);
    let disabled = edit.disabled.unwrap_or(user.disabled);
    let (mut before, mut after) = (Map::new(), Map::new());
    if role != user.role {
        staff(role.min(user.role))?;
        before.insert("role".into(), json!(user.role.as_str()));
        after.insert("role".into(), json!(role.as_str()));
    }
    if disabled != user.disabled {
        before.insert("disabled".into(), json!(user.disabled));
        after.insert("disabled".into(), json!(disabled));
    }
    if after.is_empty() {
        return Ok((user.clone(), Effects::none()));
    }
    let edited = User { role, disabled, revision: user.revision + 1, ..user.clone() };
    let mut save = vec![Save::User(Box::new(edited.clone()))];
    if user.is_active_admin() && !edited.is_active_admin() {
        save.push(remaining_admin(user, users)?);
    }
    if disabled {
        save.push(Save::EndLoginsOf(user.id));
    }
    let change =
        fact(ChangeKind::UserEdited, &user.id, &user.name, actor).before(before.into()).after(after.into());
    Ok((edited, Effects { save, changes: vec![change.0], ..Effects::none() }))
}

/// Gives a user another password and ends the user's logins, but for the one that is kept.
pub fn set_password(
    user: &User,
    password_hash: String,
    is_one_time: bool,
    kept: Option<Digest>,
    actor: &Actor,
) -> Effects {
    let revision = user.revision + 1;
    let edited = User { password_hash, must_change_password: is_one_time, revision, ..user.clone() };
    let end = match kept {
        Some(kept) => Save::EndOtherLoginsOf(user.id, kept),
        None => Save::EndLoginsOf(user.id),
    };
    let save = vec![Save::User(Box::new(edited)), end];
    let change = fact(ChangeKind::PasswordChanged, &user.id, &user.name, actor)
        .after(json!({ "one_time": is_one_time }));
    Effects { save, changes: vec![change.0], ..Effects::none() }
}

/// Deletes a user with all logins. `users` are all there are: one active administrator must remain.
pub fn delete_user(user: &User, users: &[User], actor: &Actor) -> Result<Effects, Rejection> {
    let mut save = vec![Save::DeleteUser(user.id)];
    if user.is_active_admin() {
        save.push(remaining_admin(user, users)?);
    }
    let change = fact(ChangeKind::UserDeleted, &user.id, &user.name, actor)
        .before(json!({ "role": user.role.as_str() }));
    Ok(Effects { save, changes: vec![change.0], ..Effects::none() })
}

/// Makes an API token; only its digest is kept. `tokens` are all there are.
pub fn create_token(
    token: &Token,
    tokens: &[Token],
    actor: &Actor,
    now: Time,
) -> Result<(Token, Effects), Rejection> {
    let token = Token { name: text::name("name", &token.name)?, ..token.clone() };
    staff(token.role)?;
    if tokens.iter().any(|other| other.name == token.name) {
        return Err(Rejection::conflict("name_taken", "name: another token has it already, choose another"));
    }
    if tokens.len() >= TOKENS_MAX {
        return Err(Rejection::too_large("tokens", format!("at most {TOKENS_MAX}: delete those not in use")));
    }
    if token.expires_at.is_some_and(|at| at <= now) {
        return Err(Rejection::invalid(
            "expires_at",
            "a token expires in the future, or never if it is left out",
        ));
    }
    let expires = token.expires_at.is_some();
    let after =
        json!({ "role": token.role.as_str(), "expires": expires, "access_key": token.has_access_key });
    let change = fact(ChangeKind::TokenCreated, &token.id, &token.name, actor).after(after);
    let effects = saving(Save::Token(token.clone()), change);
    Ok((token, effects))
}

/// Revokes a token: it stops at once.
pub fn delete_token(token: &Token, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::TokenRevoked, &token.id, &token.name, actor);
    saving(Save::DeleteToken(token.id), change)
}

/// A person proved who they are. Refused if the user is disabled.
pub fn log_in(user: &User, login: Login, now: Time) -> Result<Effects, Rejection> {
    if user.disabled {
        return Err(Rejection::forbidden("this user is disabled: ask an administrator"));
    }
    let actor = Actor::User(user.name.clone());
    let change =
        fact(ChangeKind::LoginSucceeded, &user.id, &user.name, &actor).after(from_address(&login.address));
    let seen = User { last_login_at: Some(now), revision: user.revision + 1, ..user.clone() };
    let save = vec![Save::User(Box::new(seen)), Save::Login(login)];
    Ok(Effects { save, changes: vec![change.0], ..Effects::none() })
}

/// Somebody did not get in. The name that was tried is cut, and its control characters are removed.
pub fn log_in_failed(tried: &str, address: &str) -> Effects {
    let name: String = tried.chars().filter(|c| !c.is_control()).take(text::NAME_CHARS_MAX).collect();
    let change = fact(ChangeKind::LoginFailed, &name, &name, &Actor::System).after(from_address(address));
    Effects { changes: vec![change.0], ..Effects::none() }
}

/// A person ends one login.
pub fn log_out(user: UserId, name: &str, login: Digest) -> Effects {
    let change = fact(ChangeKind::LoggedOut, &user, name, &Actor::User(name.to_owned()));
    saving(Save::EndLogin(login), change)
}

/// A person ends all their logins.
pub fn log_out_everywhere(user: UserId, name: &str) -> Effects {
    let change = fact(ChangeKind::LoggedOut, &user, name, &Actor::User(name.to_owned()));
    saving(Save::EndLoginsOf(user), change.after(json!({ "everywhere": true })))
}

/// Customers are people who were invited: nobody is made one, and nobody stops being one.
fn staff(role: Role) -> Result<(), Rejection> {
    match role.is_staff() {
        true => Ok(()),
        false => Err(Rejection::invalid(
            "role",
            "a customer signs up with an invitation or a claim code, and stays a customer",
        )),
    }
}

fn new_user(id: UserId, name: &str, role: Role, users: &[User], now: Time) -> Result<User, Rejection> {
    let name = text::name("name", name)?;
    let plain = name.to_lowercase();
    if users.iter().any(|other| other.name.to_lowercase() == plain) {
        return Err(Rejection::conflict("name_taken", "name: another user has it already, choose another"));
    }
    if users.len() >= USERS_MAX {
        return Err(Rejection::too_large("users", format!("at most {USERS_MAX}: delete those who left")));
    }
    Ok(User {
        id,
        name,
        role,
        disabled: false,
        password_hash: String::new(),
        must_change_password: false,
        created_at: now,
        last_login_at: None,
        revision: 1,
    })
}

/// The administrator who remains when one goes. The record is written again, so that two who send each other
/// away at the same moment collide and one of them stays.
fn remaining_admin(leaving: &User, users: &[User]) -> Result<Save, Rejection> {
    let remaining = users.iter().find(|user| user.id != leaving.id && user.is_active_admin());
    let remaining = remaining.ok_or_else(|| {
        Rejection::conflict("conflict", "this is the last active administrator: make somebody else one first")
    })?;
    Ok(Save::User(Box::new(User { revision: remaining.revision + 1, ..remaining.clone() })))
}

fn from_address(address: &str) -> Value {
    json!({ "address": address })
}

fn saving(save: Save, change: Fact) -> Effects {
    Effects { save: vec![save], changes: vec![change.0], ..Effects::none() }
}

/// A fact in the making.
struct Fact(Change);

fn fact(kind: ChangeKind, subject: &impl ToString, subject_name: &str, actor: &Actor) -> Fact {
    Fact(Change {
        actor: actor.clone(),
        kind,
        subject: subject.to_string(),
        subject_name: subject_name.to_owned(),
        device: None,
        before: None,
        after: None,
    })
}

impl Fact {
    fn before(self, value: Value) -> Self {
        Self(Change { before: Some(value), ..self.0 })
    }
    fn after(self, value: Value) -> Self {
        Self(Change { after: Some(value), ..self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    fn user(number: u64, name: &str, role: Role) -> User {
        let id = UserId::from_parts(number, 0);
        let hash = "$argon2id$of a secret".to_owned();
        let made = create_user(id, name, role, hash, &[], &Actor::System, NOW);
        made.unwrap_or_else(|rejection| panic!("{name}: {rejection}")).0
    }

    fn login(user: &User) -> Login {
        Login {
            digest: Digest([7; 32]),
            user: user.id,
            created_at: NOW,
            seen_at: NOW,
            address: "192.0.2.1".to_owned(),
            csrf: "csrf".to_owned(),
        }
    }

    fn token(name: &str, expires_at: Option<Time>) -> Token {
        let (id, digest) = (TokenId::from_parts(1, 1), Digest([9; 32]));
        Token {
            id,
            name: name.to_owned(),
            role: Role::Viewer,
            digest,
            has_access_key: false,
            created_at: NOW,
            expires_at,
            last_used_at: None,
        }
    }

    fn ada() -> Actor {
        Actor::User("ada".to_owned())
    }

    #[test]
    fn a_new_user_must_change_the_one_time_password() {
        let bo = user(2, "  Bo ", Role::Viewer);
        assert_eq!((bo.name.as_str(), bo.must_change_password, bo.revision), ("Bo", true, 1));
    }

    #[test]
    fn names_of_users_are_unique_without_case_and_bounded() {
        let users = [user(1, "Ädä", Role::Admin)];
        let make = |name: &str, users: &[User]| {
            let id = UserId::from_parts(9, 9);
            create_user(id, name, Role::Viewer, "hash".to_owned(), users, &ada(), NOW)
                .map(|(user, _)| user.name)
        };
        assert_eq!(make("äDÄ", &users).expect_err("is refused").code, "name_taken");
        for name in ["", " ", "a\0b", "two\nlines", &"x".repeat(81)] {
            assert_eq!(make(name, &users).expect_err("is refused").code, "invalid", "{name:?}");
        }
        assert_eq!(
            make("<img src=x onerror=alert(1)>", &users).as_deref(),
            Ok("<img src=x onerror=alert(1)>")
        );
        let many = vec![users[0].clone(); USERS_MAX];
        assert_eq!(make("one too many", &many).expect_err("is refused").code, "too_large");
    }

    #[test]
    fn the_first_administrator_is_made_once() {
        let mut ada = user(1, "ada", Role::Admin);
        let (first, effects) = set_up("ada", "hash".to_owned(), login(&ada), &[], NOW).expect("is made");
        assert_eq!((first.role, first.must_change_password), (Role::Admin, false));
        assert_eq!(effects.save, [Save::User(Box::new(first)), Save::Login(login(&ada))]);
        let kinds: Vec<_> = effects.changes.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::SetupDone, ChangeKind::LoginSucceeded]);
        let again = |users: &[User]| set_up("eve", "hash".to_owned(), login(&users[0]), users, NOW);
        assert_eq!(again(&[ada.clone()]).expect_err("is refused").code, "forbidden");
        ada.disabled = true;
        assert!(again(&[ada]).is_ok());
    }

    #[test]
    fn the_last_active_administrator_stays() {
        let ada_user = user(1, "ada", Role::Admin);
        let gone = User { disabled: true, ..user(2, "bo", Role::Admin) };
        let users = [ada_user.clone(), gone.clone(), user(3, "eve", Role::Engineer)];
        let demoted = UserEdit { role: Some(Role::Engineer), disabled: None };
        let disabled = UserEdit { role: None, disabled: Some(true) };
        for edit in [demoted, disabled] {
            assert_eq!(edit_user(&ada_user, edit, &users, &ada()).expect_err("is refused").code, "conflict");
        }
        assert_eq!(delete_user(&ada_user, &users, &ada()).expect_err("is refused").code, "conflict");
        assert!(delete_user(&gone, &users, &ada()).is_ok());
    }

    #[test]
    fn two_administrators_who_send_each_other_away_collide() {
        let users = [user(1, "ada", Role::Admin), user(2, "bo", Role::Admin)];
        let demote = UserEdit { role: Some(Role::Viewer), disabled: None };
        let (_, effects) = edit_user(&users[0], demote, &users, &ada()).expect("is done");
        let witness = User { revision: users[1].revision + 1, ..users[1].clone() };
        assert!(effects.save.contains(&Save::User(Box::new(witness.clone()))));
        let effects = delete_user(&users[0], &users, &ada()).expect("is done");
        assert!(effects.save.contains(&Save::User(Box::new(witness))));
    }

    #[test]
    fn disabling_a_user_ends_the_logins() {
        let bo = user(2, "bo", Role::Viewer);
        let edit = UserEdit { role: None, disabled: Some(true) };
        let (edited, effects) = edit_user(&bo, edit, &[], &ada()).expect("is done");
        assert!(edited.disabled);
        assert!(effects.save.contains(&Save::EndLoginsOf(bo.id)));
        assert_eq!(effects.changes[0].after, Some(json!({ "disabled": true })));
        let (_, nothing) = edit_user(&edited, edit, &[], &ada()).expect("is done");
        assert!(nothing.is_empty());
        assert_eq!(log_in(&edited, login(&edited), NOW).expect_err("is refused").code, "forbidden");
    }

    #[test]
    fn another_password_ends_all_logins_but_the_one_that_is_kept() {
        let bo = user(2, "bo", Role::Viewer);
        let kept = login(&bo).digest;
        let effects = set_password(&bo, "new".to_owned(), false, Some(kept), &ada());
        let [Save::User(edited), end] = effects.save.as_slice() else { panic!("{effects:?}") };
        assert_eq!((edited.password_hash.as_str(), edited.must_change_password), ("new", false));
        assert_eq!(*end, Save::EndOtherLoginsOf(bo.id, kept));
        let reset = set_password(&bo, "new".to_owned(), true, None, &ada());
        assert_eq!(reset.save[1], Save::EndLoginsOf(bo.id));
        assert!(!format!("{:?}", reset.changes).contains("new"), "a secret is in the facts");
    }

    #[test]
    fn who_did_not_get_in_is_recorded_without_what_could_forge_a_line() {
        let tried = format!("eve\r\n\0\u{1b}[31m{}", "x".repeat(500));
        let effects = log_in_failed(&tried, "192.0.2.1");
        let change = &effects.changes[0];
        assert!(effects.save.is_empty());
        assert!(change.subject_name.starts_with("eve[31mxxx"));
        assert_eq!(change.subject_name.chars().count(), text::NAME_CHARS_MAX);
        assert_eq!(change.after, Some(json!({ "address": "192.0.2.1" })));
    }

    #[test]
    fn a_login_ends_alone_or_with_all_others() {
        let bo = user(2, "bo", Role::Viewer);
        assert_eq!(log_out(bo.id, "bo", Digest([7; 32])).save, [Save::EndLogin(Digest([7; 32]))]);
        assert_eq!(log_out_everywhere(bo.id, "bo").save, [Save::EndLoginsOf(bo.id)]);
    }

    #[test]
    fn tokens_have_their_own_name_and_expire_in_the_future() {
        let make = |token: Token, tokens: &[Token]| create_token(&token, tokens, &ada(), NOW);
        let (made, effects) = make(token("ci", Some(NOW + Span::days(1))), &[]).expect("is made");
        assert_eq!(effects.save, [Save::Token(made.clone())]);
        assert_eq!(
            make(token(" ci ", None), std::slice::from_ref(&made)).expect_err("is refused").code,
            "name_taken"
        );
        for at in [NOW, NOW - Span::days(1)] {
            let rejection = make(token("late", Some(at)), &[]).expect_err("is refused");
            assert!(rejection.sentence.starts_with("expires_at: "), "{rejection}");
        }
        assert_eq!(delete_token(&made, &ada()).save, [Save::DeleteToken(made.id)]);
    }
}
