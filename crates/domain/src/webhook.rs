//! Webhooks: addresses outside to which changes are posted, signed, in their order.
//!
//! A webhook says which changes it wants; rules may put deliveries to it as well. Its secret is not here: it is
//! derived from the webhook's id and the number of the secret, so that the store has none.

pub mod delivery;

use serde_json::json;

use crate::camera::Address;
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::WebhookId;
use crate::rejection::Rejection;
use crate::selector::Selector;
use crate::text;
use crate::time::{Span, Time};

pub use delivery::{Answer, Delivery, DeliveryState, Mail, Recipient, Stage};

/// Most webhooks.
pub const WEBHOOKS_MAX: usize = 100;
/// Most patterns of kinds of one webhook.
pub const PATTERNS_MAX: usize = 50;
/// How long the former secret signs beside a new one.
pub const FORMER_SECRET: Span = Span::days(1);

/// An address outside that changes are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Unique without regard to case.
    pub name: String,
    /// Where to post.
    pub url: String,
    /// Which kinds of changes: names such as `device_offline`, or beginnings such as `device_*`; `*` is any. Without
    /// one only rules deliver to it.
    pub changes: Vec<String>,
    /// Only changes that concern devices of this selector; those that concern no device then do not count.
    pub devices: Option<String>,
    /// Whether it is delivered to. What waits stays while it is not.
    pub enabled: bool,
    /// Why the hub disabled it, if the hub did.
    pub disabled_because: Option<String>,
    /// The number of its secret, from 1.
    pub secret: i64,
    /// When the secret before this one was replaced.
    pub rotated_at: Option<Time>,
    /// The last change before it was made or enabled again, by its place in the activity: later ones are delivered.
    pub after: i64,
    /// When it was made.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// What a person says of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Unique without regard to case.
    pub name: String,
    /// Where to post.
    pub url: String,
    /// Which kinds of changes.
    pub changes: Vec<String>,
    /// Of which devices.
    pub devices: Option<String>,
}

impl Webhook {
    /// Whether it wants changes of this kind; devices are another question.
    pub fn wants(&self, kind: ChangeKind) -> bool {
        self.enabled && self.changes.iter().any(|pattern| fits(pattern, kind))
    }

    /// The numbers of the secrets that sign now: the newest first.
    pub fn secrets(&self, now: Time) -> Vec<i64> {
        let former = self.rotated_at.filter(|at| now - *at < FORMER_SECRET).map(|_| self.secret - 1);
        [self.secret].into_iter().chain(former).collect()
    }
}

/// Makes a webhook. `webhooks` are all there are, `after` is the last change before it.
///
/// # Errors
/// `invalid` for an address, pattern or selector that cannot be read, `name_taken`, `too_large`.
pub fn create(
    id: WebhookId,
    words: &Description,
    webhooks: &[Webhook],
    after: i64,
    actor: &Actor,
    now: Time,
) -> Result<(Webhook, Effects), Rejection> {
    if webhooks.len() >= WEBHOOKS_MAX {
        return Err(Rejection::too_large("webhooks", format!("at most {WEBHOOKS_MAX}")));
    }
    let Description { name, url, changes, devices } = checked(id, words, webhooks)?;
    let webhook = Webhook {
        id,
        name,
        url,
        changes,
        devices,
        enabled: true,
        disabled_because: None,
        secret: 1,
        rotated_at: None,
        after,
        created_at: now,
        revision: 1,
    };
    let change = fact(ChangeKind::WebhookCreated, &webhook, actor, None, Some(described(&webhook)));
    Ok((webhook.clone(), saving(webhook, change)))
}

/// Changes what a webhook is. What waits goes to the new address.
///
/// # Errors
/// As [`create`].
pub fn edit(
    webhook: &Webhook,
    words: &Description,
    webhooks: &[Webhook],
    actor: &Actor,
) -> Result<Effects, Rejection> {
    let Description { name, url, changes, devices } = checked(webhook.id, words, webhooks)?;
    let edited = Webhook { name, url, changes, devices, ..webhook.clone() };
    if edited == *webhook {
        return Ok(Effects::none());
    }
    let (before, after) = (described(webhook), described(&edited));
    let change = fact(ChangeKind::WebhookEdited, &edited, actor, Some(before), Some(after));
    Ok(saving(next(edited), change))
}

/// Deletes a webhook with all its deliveries.
pub fn delete(webhook: &Webhook, actor: &Actor) -> Effects {
    let change = fact(ChangeKind::WebhookDeleted, webhook, actor, Some(described(webhook)), None);
    Effects { save: vec![Save::DeleteWebhook(webhook.id)], changes: vec![change], ..Effects::none() }
}

/// Lets a webhook be delivered to again; what waits goes on where it was. `after` is the last change before that.
pub fn enable(webhook: &Webhook, after: i64, actor: &Actor) -> Effects {
    if webhook.enabled {
        return Effects::none();
    }
    let enabled = Webhook { enabled: true, disabled_because: None, after, ..webhook.clone() };
    let change = fact(ChangeKind::WebhookEnabled, &enabled, actor, None, None);
    saving(next(enabled), change)
}

/// Stops deliveries to a webhook. What waits stays; changes that happen meanwhile are not put in.
pub fn disable(webhook: &Webhook, because: Option<&str>, actor: &Actor) -> Effects {
    if !webhook.enabled {
        return Effects::none();
    }
    let disabled =
        Webhook { enabled: false, disabled_because: because.map(str::to_owned), ..webhook.clone() };
    let after = because.map(|because| json!({ "reason": because }));
    let change = fact(ChangeKind::WebhookDisabled, &disabled, actor, None, after);
    saving(next(disabled), change)
}

/// Gives a webhook a new secret. The former one signs beside it for [`FORMER_SECRET`].
pub fn rotate(webhook: &Webhook, actor: &Actor, now: Time) -> (Webhook, Effects) {
    let rotated = Webhook { secret: webhook.secret + 1, rotated_at: Some(now), ..webhook.clone() };
    let change = fact(ChangeKind::WebhookSecretRotated, &rotated, actor, None, None);
    (rotated.clone(), saving(next(rotated), change))
}

fn checked(id: WebhookId, words: &Description, webhooks: &[Webhook]) -> Result<Description, Rejection> {
    let name = text::name("name", &words.name)?;
    let key = name.to_lowercase();
    if webhooks.iter().any(|other| other.id != id && other.name.to_lowercase() == key) {
        return Err(Rejection::conflict("name_taken", "name: it is taken already, choose another"));
    }
    let why = "an address with http:// or https:// and without a password, such as https://example.org/hook";
    let url = Address::parse(words.url.trim()).ok_or_else(|| Rejection::invalid("url", why))?.text();
    let mut changes: Vec<String> = words.changes.iter().map(|text| text.trim().to_owned()).collect();
    changes.sort();
    changes.dedup();
    if changes.len() > PATTERNS_MAX {
        return Err(Rejection::too_large("changes", format!("at most {PATTERNS_MAX} patterns")));
    }
    for pattern in &changes {
        if !ChangeKind::ALL.iter().any(|kind| fits(pattern, *kind)) {
            let shown = text::shown(pattern, 60);
            let why = format!("no kind of change is {shown}: name one, or a beginning such as device_*");
            return Err(Rejection::invalid("changes", why));
        }
    }
    let devices = words.devices.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if let Some(selector) = devices {
        Selector::parse(selector)?;
    }
    Ok(Description { name, url, changes, devices: devices.map(str::to_owned) })
}

fn fits(pattern: &str, kind: ChangeKind) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.as_str().starts_with(beginning),
        None => kind.as_str() == pattern,
    }
}

/// What the activity log tells. The path of an address is often its secret, so only its host is told.
fn described(webhook: &Webhook) -> serde_json::Value {
    let Webhook { name, url, changes, devices, .. } = webhook;
    let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
    let host = host.split('?').next().unwrap_or_default();
    json!({ "name": name, "host": host, "changes": changes, "devices": devices })
}

fn next(webhook: Webhook) -> Webhook {
    Webhook { revision: webhook.revision + 1, ..webhook }
}

fn saving(webhook: Webhook, change: Change) -> Effects {
    Effects { save: vec![Save::Webhook(Box::new(webhook))], changes: vec![change], ..Effects::none() }
}

fn fact(
    kind: ChangeKind,
    webhook: &Webhook,
    actor: &Actor,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Change {
    let (subject, subject_name) = (webhook.id.to_string(), webhook.name.clone());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, url: &str, changes: &[&str]) -> Description {
        let changes = changes.iter().map(|text| (*text).to_owned()).collect();
        Description { name: name.into(), url: url.into(), changes, devices: None }
    }

    fn made(words: &Description, webhooks: &[Webhook]) -> Result<Webhook, Rejection> {
        create(WebhookId::from_parts(0, 9), words, webhooks, 0, &Actor::System, Time(5)).map(|(it, _)| it)
    }

    #[test]
    fn a_webhook_says_which_changes_it_wants() {
        let of = |changes: &[&str]| made(&words("ci", "https://example.org/x", changes), &[]).unwrap();
        let devices = of(&["device_*", "task_moved"]);
        assert!(devices.wants(ChangeKind::DeviceOffline) && devices.wants(ChangeKind::TaskMoved));
        assert!(!devices.wants(ChangeKind::FlowSaved));
        assert!(ChangeKind::ALL.iter().all(|kind| of(&["*"]).wants(*kind)));
        assert!(!ChangeKind::ALL.iter().any(|kind| of(&[]).wants(*kind)), "only rules deliver to it");
        assert!(!Webhook { enabled: false, ..devices }.wants(ChangeKind::DeviceOffline));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let good = made(&words("Ci", "https://example.org/x", &[]), &[]).unwrap();
        let other = Webhook { id: WebhookId::from_parts(0, 1), ..good };
        assert_eq!(made(&words("cI", "https://a/", &[]), &[other]).unwrap_err().code, "name_taken");
        let slack = words("chat", "https://hooks.example.org/services/T0/SECRET?x=SECRET", &[]);
        let (_, effects) =
            create(WebhookId::from_parts(0, 3), &slack, &[], 0, &Actor::System, Time(0)).unwrap();
        assert!(!format!("{:?}", effects.changes).contains("SECRET"), "{:?}", effects.changes);
        for url in ["", "ftp://x/", "https://ada:secret@x/", "javascript:alert(1)", "https://a b/"] {
            let refused = made(&words("ci", url, &[]), &[]).unwrap_err();
            assert!(refused.sentence.starts_with("url: "), "{url}: {refused}");
        }
        for pattern in ["", "nothing", "*_offline", "telemetry"] {
            let refused = made(&words("ci", "https://a/", &[pattern]), &[]).unwrap_err();
            assert!(refused.sentence.starts_with("changes: "), "{pattern}: {refused}");
        }
        let wrong = Description { devices: Some("tag <".into()), ..words("ci", "https://a/", &[]) };
        assert_eq!(made(&wrong, &[]).unwrap_err().position, Some(5));
    }

    #[test]
    fn the_former_secret_signs_for_a_day() {
        let webhook = made(&words("ci", "https://a/", &[]), &[]).unwrap();
        assert_eq!(webhook.secrets(Time(0)), [1]);
        let (rotated, effects) = rotate(&webhook, &Actor::System, Time(10));
        assert_eq!(effects.changes.len(), 1);
        assert_eq!(rotated.secrets(Time(10) + Span::days(1) - Span(1)), [2, 1]);
        assert_eq!(rotated.secrets(Time(10) + Span::days(1)), [2]);
    }

    #[test]
    fn enabling_what_is_enabled_does_nothing() {
        let webhook = made(&words("ci", "https://a/", &[]), &[]).unwrap();
        assert!(enable(&webhook, 8, &Actor::System).is_empty());
        let disabled = disable(&webhook, Some("it answered 410"), &Actor::System);
        let Some(Save::Webhook(disabled)) = disabled.save.first() else { panic!("it is saved") };
        assert_eq!(disabled.disabled_because.as_deref(), Some("it answered 410"));
        assert!(disable(disabled, None, &Actor::System).is_empty());
        let enabled = enable(disabled, 8, &Actor::System);
        let Some(Save::Webhook(enabled)) = enabled.save.first() else { panic!("it is saved") };
        assert_eq!((enabled.enabled, &enabled.disabled_because, enabled.revision), (true, &None, 3));
        assert_eq!(enabled.after, 8, "what was meanwhile is not put in");
    }
}
