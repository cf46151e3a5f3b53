//! What people do with rules: make, change, turn on and off, delete.

use serde_json::{Value, json};

use super::{RULES_MAX, Rule, meaning};
use crate::alarm::{self, Alarm};
use crate::change::{Actor, Change, ChangeKind};
use crate::effects::{Effects, Save};
use crate::id::RuleId;
use crate::rejection::Rejection;
use crate::text;
use crate::time::Time;

/// What a person says of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it is on.
    pub enabled: bool,
    /// What it does.
    pub document: Value,
}

/// Makes a rule. `count`: how many there are.
///
/// # Errors
/// `invalid` for a document that cannot be meant, `name_taken`, `too_large`.
pub fn create(
    id: RuleId,
    words: &Words,
    count: usize,
    actor: &Actor,
    now: Time,
) -> Result<(Rule, Effects), Rejection> {
    if count >= RULES_MAX {
        return Err(Rejection::too_large("rules", format!("at most {RULES_MAX}")));
    }
    let rule = Rule {
        id,
        name: text::name("name", &words.name)?,
        description: text::description("description", &words.description)?,
        enabled_at: words.enabled.then_some(now),
        meaning: meaning(&words.document)?,
        document: words.document.clone(),
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let change = fact(ChangeKind::RuleCreated, &rule, actor, None, Some(described(&rule)));
    Ok((rule.clone(), saving(rule, change)))
}

/// Changes a rule, turns it on or off. If it does something else than before it begins anew: what it waited for is
/// forgotten, and its alarms are cleared. `open`: those that are not cleared.
///
/// # Errors
/// As [`create`].
pub fn edit(
    rule: &Rule,
    words: &Words,
    open: &[Alarm],
    actor: &Actor,
    now: Time,
) -> Result<(Rule, Effects), Rejection> {
    let is_same = words.document == rule.document && words.enabled == rule.is_enabled();
    let edited = Rule {
        name: text::name("name", &words.name)?,
        description: text::description("description", &words.description)?,
        enabled_at: if is_same { rule.enabled_at } else { words.enabled.then_some(now) },
        meaning: meaning(&words.document)?,
        document: words.document.clone(),
        updated_at: now,
        revision: rule.revision + 1,
        ..rule.clone()
    };
    if is_same && edited.name == rule.name && edited.description == rule.description {
        return Ok((rule.clone(), Effects::none()));
    }
    let change =
        fact(ChangeKind::RuleEdited, &edited, actor, Some(described(rule)), Some(described(&edited)));
    let mut effects = saving(edited.clone(), change);
    if !is_same {
        effects.save.push(Save::ForgetRuleStates(rule.id));
        effects = effects.and(cleared(rule, open, actor, now));
    }
    Ok((edited, effects))
}

/// Deletes a rule with its firings. Its alarms are cleared and stay as history.
pub fn delete(rule: &Rule, open: &[Alarm], actor: &Actor, now: Time) -> Effects {
    let change = fact(ChangeKind::RuleDeleted, rule, actor, Some(described(rule)), None);
    let mut effects =
        Effects { changes: vec![change], ..Effects::none() }.and(cleared(rule, open, actor, now));
    effects.save.push(Save::DeleteRule(rule.id));
    effects
}

/// Clears all alarms of a rule; one that was raised meanwhile is a conflict.
fn cleared(rule: &Rule, open: &[Alarm], actor: &Actor, now: Time) -> Effects {
    let mut effects = Effects::none();
    for one in open {
        effects = effects.and(alarm::clear(one, actor, now));
    }
    effects.save.push(Save::NoOpenAlarm(rule.id));
    effects
}

fn saving(rule: Rule, change: Change) -> Effects {
    Effects { save: vec![Save::Rule(Box::new(rule))], changes: vec![change], ..Effects::none() }
}

fn described(rule: &Rule) -> Value {
    json!({ "name": rule.name, "description": rule.description, "enabled": rule.is_enabled(), "rule": rule.document })
}

fn fact(kind: ChangeKind, rule: &Rule, actor: &Actor, before: Option<Value>, after: Option<Value>) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: rule.id.to_string(),
        subject_name: rule.name.clone(),
        device: None,
        before,
        after,
    }
}
