//! People who log in, programs with tokens, and what operators grant devices on MQTT topics.

use crate::access::Role;
use crate::id::{DeviceId, GrantId, TokenId, UserId};
use crate::script::Digest;
use crate::time::{Span, Time};
use crate::topic::TopicFilter;

/// How long a login lives after it was last used.
pub const LOGIN_IDLE_MAX: Span = Span::days(7);
/// How long a login lives at most.
pub const LOGIN_AGE_MAX: Span = Span::days(30);

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
