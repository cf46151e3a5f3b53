//! Pusher apps: with one, programs and web pages speak the Pusher protocol with the hub; and an original base comes in
//! by one. The secret of an app is nowhere here: the hub derives it.

use serde_json::json;

use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::PusherAppId;
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

/// Most apps.
pub const APPS_MAX: usize = 100;
/// How long a key is, at least and at most.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 4..=64;

/// What a program or a page uses to speak the Pusher protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PusherApp {
    /// Its id.
    pub id: PusherAppId,
    /// Its number, 1 to 999,999,999, unique: what the libraries call the id of an app has digits only.
    pub number: u32,
    /// Unique.
    pub name: String,
    /// What a client names in its address; unique, and no secret.
    pub key: String,
    /// Of the token by which an original base comes in with this app, if one does.
    pub base_token: Option<Digest>,
    /// When it was added.
    pub created_at: Time,
}

/// Adds an app. `apps` are all there are.
pub fn add(app: &PusherApp, apps: &[PusherApp], actor: &Actor) -> Result<(PusherApp, Effects), Rejection> {
    let app = PusherApp { name: text::name("name", &app.name)?, ..app.clone() };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !KEY_CHARS.contains(&app.key.len()) || !app.key.chars().all(is_plain) {
        let how = format!("{} to {} letters, digits, - and _", KEY_CHARS.start(), KEY_CHARS.end());
        return Err(Rejection::invalid("key", how));
    }
    if apps.iter().any(|other| other.name == app.name) {
        return Err(Rejection::conflict("name_taken", "name: another app has it already, choose another"));
    }
    if apps.iter().any(|other| other.key == app.key) {
        return Err(Rejection::conflict("key_taken", "key: another app has it already, choose another"));
    }
    if app.base_token.is_some() && apps.iter().any(|other| other.base_token == app.base_token) {
        return Err(Rejection::conflict("token_taken", "base_token: another app has it already"));
    }
    if apps.iter().any(|other| other.number == app.number) {
        return Err(Rejection::conflict("number_taken", "the number that was drawn is taken: try again"));
    }
    if apps.len() >= APPS_MAX {
        return Err(Rejection::too_large("apps", format!("at most {APPS_MAX}: delete those not in use")));
    }
    let after = json!({ "key": app.key, "base": app.base_token.is_some() });
    let change = fact(ChangeKind::PusherAppAdded, &app, actor, Some(after));
    let save = vec![Save::PusherApp(Box::new(app.clone()))];
    Ok((app, Effects { save, changes: vec![change], ..Effects::none() }))
}

/// Deletes an app: whoever came in by it is cut off.
pub fn delete(app: &PusherApp, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::PusherAppDeleted, app, actor, None);
    Effects { save: vec![Save::DeletePusherApp(app.id)], changes: vec![change], ..Effects::none() }
}

/// An original base is there, and hears what its units are to be given.
pub fn base_connected(app: &PusherApp, address: &str) -> Effects {
    let after = json!({ "address": address });
    let change = fact(ChangeKind::BaseConnected, app, &Actor::System, Some(after));
    Effects { changes: vec![change], ..Effects::none() }
}

/// An original base is gone.
pub fn base_disconnected(app: &PusherApp, address: &str) -> Effects {
    let after = json!({ "address": address });
    let change = fact(ChangeKind::BaseDisconnected, app, &Actor::System, Some(after));
    Effects { changes: vec![change], ..Effects::none() }
}

fn fact(kind: ChangeKind, app: &PusherApp, actor: &Actor, after: Option<serde_json::Value>) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: app.id.to_string(),
        subject_name: app.name.clone(),
        device: None,
        before: None,
        after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(number: u32, name: &str, key: &str) -> PusherApp {
        PusherApp {
            id: PusherAppId::from_parts(1, number.into()),
            number,
            name: name.to_owned(),
            key: key.to_owned(),
            base_token: None,
            created_at: Time(0),
        }
    }

    #[test]
    fn an_app_is_added_once() {
        let ada = Actor::User("ada".to_owned());
        let page = app(1, "page", "abc123");
        assert!(add(&page, &[], &ada).is_ok());
        let refused =
            |app: PusherApp| add(&app, std::slice::from_ref(&page), &ada).expect_err("is refused").code;
        assert_eq!(refused(app(2, "page", "other")), "name_taken");
        assert_eq!(refused(app(2, "other", "abc123")), "key_taken");
        assert_eq!(refused(app(1, "other", "other")), "number_taken");
        assert_eq!(refused(app(2, " ", "other")), "invalid");
        for key in ["abc", "a b c d", "a/b/c", &"a".repeat(65)] {
            assert_eq!(refused(app(2, "other", key)), "invalid");
        }
        let base = PusherApp { base_token: Some(Digest([1; 32])), ..page };
        let other = PusherApp { base_token: base.base_token, ..app(2, "other", "other") };
        assert_eq!(add(&other, &[base], &ada).expect_err("is refused").code, "token_taken");
    }
}
