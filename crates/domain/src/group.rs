//! Groups: selectors with a name, usable in other selectors as `group=kitchen`.
//!
//! Who is a member follows from the selector at the moment it is asked: nothing is stored per device, and nothing
//! is done to a device that becomes a member.

use serde_json::json;

use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::GroupId;
use crate::rejection::Rejection;
use crate::selector::{Field, Known, Operator, Selector, Value};
use crate::text;
use crate::time::Time;

/// Most groups.
pub const GROUPS_MAX: usize = 1000;
/// Most comparisons of a selector after its groups are put in.
pub const EXPANDED_TERMS_MAX: usize = 500;

/// A selector with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Who its members are; a text that [`Selector::parse`] takes.
    pub selector: String,
    /// When it was made.
    pub created_at: Time,
    /// Guard against lost updates, from 1.
    pub revision: i64,
}

/// What a person says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Who its members are.
    pub selector: String,
}

/// Makes a group. `groups` are all there are.
///
/// # Errors
/// `invalid` for a selector that cannot be read or names a group that is not there, `name_taken`, `too_large`.
pub fn create(
    id: GroupId,
    words: &Description,
    groups: &[Group],
    actor: &Actor,
    now: Time,
) -> Result<(Group, Effects), Rejection> {
    if groups.len() >= GROUPS_MAX {
        return Err(Rejection::too_large("groups", format!("at most {GROUPS_MAX}")));
    }
    let group = Group {
        id,
        name: text::name("name", &words.name)?,
        description: text::description("description", &words.description)?,
        selector: words.selector.trim().to_owned(),
        created_at: now,
        revision: 1,
    };
    check(&group, groups)?;
    let change = fact(ChangeKind::GroupCreated, &group, actor, None, Some(described(&group)));
    Ok((group.clone(), saving(Save::Group(Box::new(group)), change)))
}

/// Changes a group. One that other groups name keeps its name.
///
/// # Errors
/// As [`create`]; also `conflict` for a new name while other groups use the old one, and `invalid` if the group
/// would contain itself.
pub fn edit(
    group: &Group,
    words: &Description,
    groups: &[Group],
    actor: &Actor,
) -> Result<Effects, Rejection> {
    let edited = Group {
        name: text::name("name", &words.name)?,
        description: text::description("description", &words.description)?,
        selector: words.selector.trim().to_owned(),
        revision: group.revision + 1,
        ..group.clone()
    };
    if edited.name.to_lowercase() != group.name.to_lowercase() {
        unused(group, groups, "renamed")?;
    }
    check(&edited, groups)?;
    if edited == (Group { revision: edited.revision, ..group.clone() }) {
        return Ok(Effects::none());
    }
    let (before, after) = (described(group), described(&edited));
    let change = fact(ChangeKind::GroupEdited, &edited, actor, Some(before), Some(after));
    Ok(saving(Save::Group(Box::new(edited)), change))
}

/// Deletes a group that no other group names. Its members stay as they are.
///
/// # Errors
/// `conflict` while other groups use it.
pub fn delete(group: &Group, groups: &[Group], actor: &Actor) -> Result<Effects, Rejection> {
    unused(group, groups, "deleted")?;
    let change = fact(ChangeKind::GroupDeleted, group, actor, Some(described(group)), None);
    Ok(saving(Save::DeleteGroup(group.id), change))
}

/// A selector with the selectors of groups in the place of their names.
///
/// # Errors
/// `invalid` if a group is not there or contains itself, `too_large` if the whole has more than
/// [`EXPANDED_TERMS_MAX`] comparisons.
pub fn expand(selector: &Selector, groups: &[Group]) -> Result<Selector, Rejection> {
    Expansion { groups, terms: 0, inside: Vec::new() }.expand(selector)
}

/// Whether a selector names a group.
pub fn names_group(selector: &Selector) -> bool {
    !names(selector).is_empty()
}

struct Expansion<'a> {
    groups: &'a [Group],
    terms: usize,
    inside: Vec<String>,
}

impl Expansion<'_> {
    fn expand(&mut self, selector: &Selector) -> Result<Selector, Rejection> {
        let both = |this: &mut Self, left: &Selector, right: &Selector| -> Result<_, Rejection> {
            Ok((Box::new(this.expand(left)?), Box::new(this.expand(right)?)))
        };
        Ok(match selector {
            Selector::Not(inner) => Selector::Not(Box::new(self.expand(inner)?)),
            Selector::And(left, right) => {
                let (left, right) = both(self, left, right)?;
                Selector::And(left, right)
            }
            Selector::Or(left, right) => {
                let (left, right) = both(self, left, right)?;
                Selector::Or(left, right)
            }
            Selector::Compare(Field::Known(Known::Group), operator, Value::Text(name)) => {
                let members = self.group(name)?;
                match operator {
                    Operator::Unequal => Selector::Not(Box::new(members)),
                    _ => members,
                }
            }
            Selector::Among(Field::Known(Known::Group), names) => {
                let mut any: Option<Selector> = None;
                for name in names {
                    let Value::Text(name) = name else { continue };
                    let members = self.group(name)?;
                    any = Some(match any {
                        Some(any) => Selector::Or(Box::new(any), Box::new(members)),
                        None => members,
                    });
                }
                any.unwrap_or(Selector::Not(Box::new(Selector::All)))
            }
            term => {
                self.terms += 1;
                if self.terms > EXPANDED_TERMS_MAX {
                    let why = format!("with its groups it has more than {EXPANDED_TERMS_MAX} comparisons");
                    return Err(Rejection::too_large("selector", why));
                }
                term.clone()
            }
        })
    }

    fn group(&mut self, name: &str) -> Result<Selector, Rejection> {
        let key = name.to_lowercase();
        if self.inside.contains(&key) {
            let path = [self.inside.as_slice(), std::slice::from_ref(&key)].concat().join(" → ");
            return Err(Rejection::invalid("selector", format!("a group cannot contain itself: {path}")));
        }
        let group = self.groups.iter().find(|group| group.name.to_lowercase() == key);
        let group =
            group.ok_or_else(|| Rejection::invalid("selector", format!("there is no group {name}")))?;
        let selector = Selector::parse(&group.selector)?;
        self.inside.push(key);
        let expanded = self.expand(&selector)?;
        self.inside.pop();
        Ok(expanded)
    }
}

/// Whether the group may stand among the others: its selector can be read and its groups are there and do not lead
/// back to it.
fn check(group: &Group, groups: &[Group]) -> Result<(), Rejection> {
    let key = group.name.to_lowercase();
    if groups.iter().any(|other| other.id != group.id && other.name.to_lowercase() == key) {
        return Err(Rejection::conflict("name_taken", "name: it is taken already, choose another"));
    }
    let selector = Selector::parse(&group.selector)?;
    let others = groups.iter().filter(|other| other.id != group.id).cloned();
    let all: Vec<Group> = others.chain([group.clone()]).collect();
    Expansion { groups: &all, terms: 0, inside: vec![key] }.expand(&selector).map(drop)
}

fn unused(group: &Group, groups: &[Group], done: &str) -> Result<(), Rejection> {
    let key = group.name.to_lowercase();
    let uses = |other: &&Group| {
        other.id != group.id && Selector::parse(&other.selector).is_ok_and(|it| names(&it).contains(&key))
    };
    let users: Vec<&str> = groups.iter().filter(uses).map(|other| other.name.as_str()).collect();
    match users.is_empty() {
        true => Ok(()),
        false => Err(Rejection::conflict(
            "conflict",
            format!("it cannot be {done}: these groups use it: {}", users.join(", ")),
        )),
    }
}

/// The names of the groups in a selector, in lower case.
fn names(selector: &Selector) -> Vec<String> {
    let values = selector.terms().into_iter().flat_map(|term| match term {
        Selector::Compare(Field::Known(Known::Group), _, value) => std::slice::from_ref(value),
        Selector::Among(Field::Known(Known::Group), values) => values.as_slice(),
        _ => &[],
    });
    let name = |value: &Value| match value {
        Value::Text(name) => Some(name.to_lowercase()),
        Value::Number(_) | Value::Truth(_) | Value::Age(_) => None,
    };
    values.filter_map(name).collect()
}

fn described(group: &Group) -> serde_json::Value {
    json!({ "name": group.name, "selector": group.selector, "description": group.description })
}

fn saving(save: Save, change: Change) -> Effects {
    Effects { save: vec![save], changes: vec![change], ..Effects::none() }
}

fn fact(
    kind: ChangeKind,
    group: &Group,
    actor: &Actor,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Change {
    let (subject, subject_name) = (group.id.to_string(), group.name.clone());
    Change { actor: actor.clone(), kind, subject, subject_name, device: None, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, selector: &str) -> Description {
        Description { name: name.into(), description: String::new(), selector: selector.into() }
    }

    fn group(number: u128, name: &str, selector: &str) -> Group {
        let words = words(name, selector);
        Group {
            id: GroupId::from_parts(0, number),
            name: words.name,
            description: words.description,
            selector: words.selector,
            created_at: Time(0),
            revision: 1,
        }
    }

    fn expanded(text: &str, groups: &[Group]) -> Result<String, String> {
        let selector = Selector::parse(text).map_err(|error| error.sentence)?;
        expand(&selector, groups).map(|it| it.to_string()).map_err(|error| error.sentence)
    }

    #[test]
    fn groups_are_put_in_where_their_names_stand() {
        let groups = [
            group(1, "Kitchen", "tag = kitchen or tag = galley"),
            group(2, "silent", "group = kitchen and not online"),
        ];
        assert_eq!(
            expanded("group=SILENT", &groups).as_deref(),
            Ok("(tag = kitchen or tag = galley) and not online")
        );
        assert_eq!(
            expanded("failing and group != kitchen", &groups).as_deref(),
            Ok("failing and not (tag = kitchen or tag = galley)")
        );
        assert!(expanded("group in (kitchen, silent)", &groups).is_ok());
        assert_eq!(expanded("group = cellar", &groups), Err("selector: there is no group cellar".into()));
    }

    #[test]
    fn a_group_never_contains_itself() {
        let groups = [group(1, "a", "group=b"), group(2, "b", "online")];
        let actor = Actor::System;
        let refused = edit(&groups[1], &words("b", "failing or group=a"), &groups, &actor);
        assert!(refused.unwrap_err().sentence.contains("b → a → b"));
        let refused = create(GroupId::from_parts(0, 3), &words("c", "not group=C"), &groups, &actor, Time(0));
        assert!(refused.unwrap_err().sentence.contains("contain itself: c → c"));
        // Even a store that holds such groups is answered.
        let bad = [group(1, "a", "group=b"), group(2, "b", "group=a")];
        assert!(expanded("group=a", &bad).unwrap_err().contains("a → b → a"));
    }

    #[test]
    fn a_group_in_use_is_neither_deleted_nor_renamed() {
        let groups = [group(1, "a", "online"), group(2, "b", "group in (A)")];
        let actor = Actor::System;
        assert!(delete(&groups[0], &groups, &actor).unwrap_err().sentence.ends_with("use it: b"));
        assert!(edit(&groups[0], &words("z", "online"), &groups, &actor).is_err());
        assert!(
            edit(&groups[0], &words("A", "online"), &groups, &actor).is_ok(),
            "the same name but for case"
        );
        assert!(delete(&groups[1], &groups, &actor).is_ok());
        assert!(edit(&groups[0], &words("a", "online"), &groups, &actor).unwrap().is_empty());
    }

    #[test]
    fn names_are_unique_and_the_whole_is_bounded() {
        let groups = [group(1, "Kitchen", &vec!["online"; 40].join(" or "))];
        let made = |name: &str, selector: &str| {
            create(GroupId::from_parts(0, 9), &words(name, selector), &groups, &Actor::System, Time(0))
        };
        assert_eq!(made("kitchen", "all").unwrap_err().code, "name_taken");
        let many = vec!["group=kitchen"; 20].join(" or ");
        assert_eq!(made("many", &many).unwrap_err().code, "too_large");
        assert_eq!(made("wrong", "tag <").unwrap_err().position, Some(5));
        assert!(made("fine", "group=kitchen or tag=a").is_ok());
    }
}
