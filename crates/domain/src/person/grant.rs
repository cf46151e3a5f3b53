//! Verbs over topic grants: what operators open to devices beyond their own topics.

use serde_json::{Value, json};

use super::{Fact, Grant, Grantee, fact, saving};
use crate::change::{Actor, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::GrantId;
use crate::rejection::Rejection;
use crate::text;
use crate::topic::TopicFilter;

/// Most topic grants.
pub const GRANTS_MAX: usize = 1000;

/// What an engineer says to open topics to devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRequest {
    /// For whom.
    pub grantee: Grantee,
    /// The grantee's name, for the activity log.
    pub grantee_name: String,
    /// Which topics, as text.
    pub filter: String,
    /// Whether they may publish there.
    pub publish: bool,
    /// Whether they may subscribe there.
    pub subscribe: bool,
}

/// Opens topics to devices beyond their own. `grants` are all there are.
pub fn add_grant(
    id: GrantId,
    request: &GrantRequest,
    grants: &[Grant],
    actor: &Actor,
) -> Result<(Grant, Effects), Rejection> {
    let filter = granted_filter(&request.filter)?;
    let grantee = match &request.grantee {
        Grantee::Device(device) => Grantee::Device(*device),
        Grantee::Tag(tag) => Grantee::Tag(granted_tag(tag)?),
    };
    let (publish, subscribe) = (request.publish, request.subscribe);
    if !publish && !subscribe {
        return Err(Rejection::invalid("publish", "a grant lets devices publish, subscribe or both"));
    }
    let grant = Grant { id, grantee, filter, publish, subscribe };
    if grants.iter().any(|other| Grant { id, ..other.clone() } == grant) {
        return Err(Rejection::conflict("conflict", "there is the same grant already"));
    }
    if grants.len() >= GRANTS_MAX {
        return Err(Rejection::too_large("grants", format!("at most {GRANTS_MAX}: grant to a tag instead")));
    }
    let change =
        granted(ChangeKind::GrantAdded, &grant, &request.grantee_name, actor).after(described(&grant));
    let effects = saving(Save::Grant(grant.clone()), change);
    Ok((grant, effects))
}

/// Takes a grant back.
pub fn remove_grant(grant: &Grant, grantee_name: &str, actor: &Actor) -> Effects {
    let change = granted(ChangeKind::GrantRemoved, grant, grantee_name, actor).before(described(grant));
    saving(Save::DeleteGrant(grant.id), change)
}

fn granted_filter(text: &str) -> Result<TopicFilter, Rejection> {
    if text.starts_with('$') {
        return Err(Rejection::invalid("filter", "topics that begin with $ are the hub's own"));
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::invalid("filter", "a topic filter has no control characters"));
    }
    TopicFilter::parse(text).map_err(|rejection| {
        let why = rejection.sentence.split_once(": ").map_or(rejection.sentence.as_str(), |(_, why)| why);
        Rejection::invalid("filter", why)
    })
}

fn granted_tag(tag: &str) -> Result<String, Rejection> {
    let tags = text::tags(&[tag.to_owned()]);
    let tags =
        tags.map_err(|rejection| Rejection::invalid("tag", rejection.sentence.trim_start_matches("tags: ")))?;
    Ok(tags.concat())
}

fn described(grant: &Grant) -> Value {
    let tag = match &grant.grantee {
        Grantee::Device(_) => None,
        Grantee::Tag(tag) => Some(tag),
    };
    json!({
        "tag": tag, "filter": grant.filter.as_str(), "publish": grant.publish, "subscribe": grant.subscribe,
    })
}

fn granted(kind: ChangeKind, grant: &Grant, grantee_name: &str, actor: &Actor) -> Fact {
    let mut fact = fact(kind, &grant.id, grantee_name, actor);
    if let Grantee::Device(device) = grant.grantee {
        fact.0.device = Some(device);
    }
    fact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(grantee: Grantee, filter: &str, publish: bool, subscribe: bool) -> GrantRequest {
        GrantRequest {
            grantee,
            grantee_name: "kitchen".to_owned(),
            filter: filter.to_owned(),
            publish,
            subscribe,
        }
    }

    fn add(request: &GrantRequest, grants: &[Grant]) -> Result<(Grant, Effects), Rejection> {
        add_grant(GrantId::from_parts(1, 1), request, grants, &Actor::User("ada".to_owned()))
    }

    #[test]
    fn a_grant_names_topics_a_grantee_and_a_deed() {
        let tag = || Grantee::Tag("kitchen".to_owned());
        let refused = [
            (ask(tag(), "$SYS/#", false, true), "filter"),
            (ask(tag(), "$share/group/a", false, true), "filter"),
            (ask(tag(), "a#", false, true), "filter"),
            (ask(tag(), "", false, true), "filter"),
            (ask(tag(), "a/\u{7}", false, true), "filter"),
            (ask(tag(), "a/b", false, false), "publish"),
            (ask(Grantee::Tag("two words".to_owned()), "a/b", true, false), "tag"),
            (ask(Grantee::Tag(String::new()), "a/b", true, false), "tag"),
        ];
        for (request, field) in refused {
            let rejection = add(&request, &[]).expect_err("is refused");
            assert!(rejection.sentence.starts_with(&format!("{field}: ")), "{request:?}: {rejection}");
        }
        let (grant, effects) = add(&ask(tag(), "house/+/light", true, true), &[]).expect("is granted");
        assert_eq!(effects.save, [Save::Grant(grant)]);
        assert_eq!(effects.changes[0].kind, ChangeKind::GrantAdded);
        assert_eq!(effects.changes[0].subject_name, "kitchen");
    }

    #[test]
    fn the_same_grant_is_not_added_twice() {
        let request = ask(Grantee::Tag("kitchen".to_owned()), "a/b", true, false);
        let (grant, _) = add(&request, &[]).expect("is granted");
        assert_eq!(add(&request, &[grant]).expect_err("is refused").code, "conflict");
    }

    #[test]
    fn a_grant_to_one_device_is_a_fact_about_that_device() {
        let device = crate::id::DeviceId::from_parts(2, 2);
        let (grant, effects) =
            add(&ask(Grantee::Device(device), "a/b", true, false), &[]).expect("is granted");
        assert_eq!(effects.changes[0].device, Some(device));
        let effects = remove_grant(&grant, "lamp", &Actor::System);
        assert_eq!(effects.save, [Save::DeleteGrant(grant.id)]);
        assert_eq!(effects.changes[0].device, Some(device));
    }
}
