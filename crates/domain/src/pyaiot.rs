//! Keys of Pyaiot gateways: what an original gateway proves itself with, and for which nodes it may speak.
//!
//! A gateway sends its secret encrypted. The encryption key has to be kept to read that; of the secret only the digest
//! is, so that what is kept can check a token and not make one (docs/decisions/0018).

use serde_json::json;

use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::PyaiotKeyId;
use crate::rejection::Rejection;
use crate::selector::Selector;
use crate::text;
use crate::time::{Span, Time};

/// Most keys.
pub const KEYS_MAX: usize = 100;
/// The shortest and longest age of a token that a key may ask for.
pub const TOKEN_AGE_RANGE: (Span, Span) = (Span::seconds(10), Span::days(1));
/// How exactly the last use of a key is kept.
pub const USE_RESOLUTION: Span = Span::minutes(1);

/// A Fernet key. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fernet(pub [u8; 32]);

impl std::fmt::Debug for Fernet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fernet")
    }
}

/// A key that one gateway or several have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: PyaiotKeyId,
    /// Unique.
    pub name: String,
    /// With which tokens are encrypted: `private` in a key file.
    pub fernet: Fernet,
    /// SHA-256 of what has to be in them: `secret` in a key file.
    pub secret: Digest,
    /// The devices that its gateways may speak for; all of the riot dialect if it is not said.
    pub devices: Option<String>,
    /// How old a token may be; then each serves once. Without it tokens serve for ever, as they do in Pyaiot.
    pub token_age_max: Option<Span>,
    /// When it was added.
    pub created_at: Time,
    /// When a gateway last came in with it.
    pub last_used_at: Option<Time>,
}

/// Adds a key. `keys` are all there are.
pub fn add(key: &Key, keys: &[Key], actor: &Actor) -> Result<(Key, Effects), Rejection> {
    let devices = key.devices.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let key =
        Key { name: text::name("name", &key.name)?, devices: devices.map(str::to_owned), ..key.clone() };
    if let Some(selector) = &key.devices {
        Selector::parse(selector)?;
    }
    if key.token_age_max.is_some_and(|age| age < TOKEN_AGE_RANGE.0 || age > TOKEN_AGE_RANGE.1) {
        return Err(Rejection::invalid("token_age_max_seconds", "10 seconds to a day, or none"));
    }
    if keys.iter().any(|other| other.name == key.name) {
        return Err(Rejection::conflict("name_taken", "name: another key has it already, choose another"));
    }
    if keys.iter().any(|other| other.fernet == key.fernet) {
        return Err(Rejection::conflict("key_taken", "this key file was added before, under another name"));
    }
    if keys.len() >= KEYS_MAX {
        return Err(Rejection::too_large("keys", format!("at most {KEYS_MAX}: revoke those not in use")));
    }
    let age = key.token_age_max.map(|age| age.0 / 1000);
    let after = json!({ "devices": key.devices, "token_age_max_seconds": age });
    let change = fact(ChangeKind::PyaiotKeyAdded, &key, actor, Some(after));
    let save = vec![Save::PyaiotKey(Box::new(key.clone()))];
    Ok((key, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Revokes a key: its gateways are cut off and not let in again.
pub fn revoke(key: &Key, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::PyaiotKeyRevoked, key, actor, None);
    Effects { save: vec![Save::DeletePyaiotKey(key.id)], changes: vec![change], ..Effects::none() }
}

/// A gateway came in with a key.
pub fn connected(key: &Key, address: &str, now: Time) -> Effects {
    let after = json!({ "address": address });
    let change = fact(ChangeKind::PyaiotGatewayConnected, key, &Actor::System, Some(after));
    let is_new = key.last_used_at.is_none_or(|at| now - at > USE_RESOLUTION);
    let save = is_new.then_some(Save::PyaiotKeyUsed(key.id, now)).into_iter().collect();
    Effects { save, changes: vec![change], ..Effects::none() }
}

/// A gateway that came in with a key is gone.
pub fn disconnected(key: &Key, address: &str, why: &str) -> Effects {
    let after = json!({ "address": address, "reason": why });
    let change = fact(ChangeKind::PyaiotGatewayDisconnected, key, &Actor::System, Some(after));
    Effects { changes: vec![change], ..Effects::none() }
}

fn fact(kind: ChangeKind, key: &Key, actor: &Actor, after: Option<serde_json::Value>) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: key.id.to_string(),
        subject_name: key.name.clone(),
        device: None,
        before: None,
        after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, byte: u8) -> Key {
        Key {
            id: PyaiotKeyId::from_parts(1, u128::from(byte)),
            name: name.to_owned(),
            fernet: Fernet([byte; 32]),
            secret: Digest([byte; 32]),
            devices: None,
            token_age_max: None,
            created_at: Time(0),
            last_used_at: None,
        }
    }

    #[test]
    fn a_key_is_added_once_with_a_selector_that_can_be_read() {
        let ada = Actor::User("ada".to_owned());
        let lab = key("lab", 1);
        assert!(add(&lab, &[], &ada).is_ok());
        let refused = |key: Key| add(&key, std::slice::from_ref(&lab), &ada).expect_err("is refused").code;
        assert_eq!(refused(key("lab", 2)), "name_taken");
        assert_eq!(refused(key("attic", 1)), "key_taken");
        assert_eq!(refused(key(" ", 2)), "invalid");
        assert_eq!(refused(Key { devices: Some("tag=".to_owned()), ..key("attic", 2) }), "invalid");
        for age in [Span::seconds(9), Span::days(2)] {
            assert_eq!(refused(Key { token_age_max: Some(age), ..key("attic", 2) }), "invalid");
        }
        let blank = Key { devices: Some(" ".to_owned()), ..key("attic", 2) };
        assert_eq!(add(&blank, &[], &ada).expect("is added").0.devices, None);
    }

    #[test]
    fn nothing_that_is_told_of_a_key_shows_it() {
        let told = format!("{:?}", add(&key("lab", 0x5a), &[], &Actor::System).expect("is added").1.changes);
        assert!(!told.contains("5a5a") && !told.contains("90, 90"), "{told}");
        assert!(!format!("{:?}", key("lab", 0x5a).fernet).contains("90"));
    }
}
