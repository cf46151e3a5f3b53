//! The rules that are on, the devices that each looks at, and which pairs wait for a time of their own.

use std::collections::{BTreeMap, BTreeSet};

use motehub_domain::id::RuleId;
use motehub_domain::rule::engine::State;
use motehub_domain::rule::{Rule, Runner, Wants, When};
use motehub_domain::time::Span;

use super::{Key, On, Waiting, Worker};
use crate::perform::Failure;
use crate::rules::devices::AllFacts;
use crate::rules::join;

/// Most pairs of a rule and a device that wait for a time of their own.
const WAITING_MAX: usize = 500_000;

impl Worker {
    /// Reads the rules that are on, and their devices; whether not all that they want was kept until now.
    pub(super) async fn reload(&mut self, rules_changed: bool) -> Result<bool, Failure> {
        let app = self.app.clone();
        let rules: Vec<Rule> = app.store.rules().await?.into_iter().filter(Rule::is_enabled).collect();
        self.facts = match rules.is_empty() {
            true => AllFacts::new(),
            false => app.rule_facts().await?,
        };
        let before = std::mem::take(&mut self.rules);
        let mut wants = Wants::default();
        for rule in rules {
            let members = match app.rule_members(&rule.meaning).await {
                Ok(members) => members,
                Err(error) => {
                    app.rules.trouble(rule.id, error.to_string(), app.now());
                    Some(BTreeSet::new())
                }
            };
            join(&mut wants, &rule.meaning.wants);
            self.rules.insert(rule.id, On { rule, members });
        }
        let is_behind = app.rules.want((!self.rules.is_empty()).then(|| wants.clone()));
        if is_behind {
            app.rules.intake().fall_behind();
        }
        // What is known of devices is read again where a rule wants more of them, or they are others now.
        if self.wants != wants {
            self.known.clear();
        }
        for (device, known) in &mut self.known {
            if let Some((facts, _)) = self.facts.get(device) {
                known.device = facts.clone();
            }
        }
        self.wants = wants;
        self.index();
        let others = self.others_than(&before);
        self.waiting.retain(|(id, _), _| !others.contains(id));
        self.due.retain(|(_, (id, _))| !others.contains(id));
        // How rules stand is read behind them: what is newer than a rule of here is not written over.
        if rules_changed || !others.is_empty() {
            self.stored = self.app.store.rule_states().await?;
        }
        self.wait_for_times();
        Ok(is_behind)
    }

    /// The rules that do something else than before, or begin anew.
    fn others_than(&self, before: &BTreeMap<RuleId, On>) -> BTreeSet<RuleId> {
        let does = |on: &On| (on.rule.enabled_at, on.rule.document.clone());
        let is_other = |id: &RuleId| self.rules.get(id).map(does) != before.get(id).map(does);
        self.rules.keys().chain(before.keys()).copied().filter(is_other).collect()
    }

    fn index(&mut self) {
        self.by_metric.clear();
        self.others.clear();
        for (id, On { rule, .. }) in &self.rules {
            match &rule.meaning.when {
                When::Metric(metric) => self.by_metric.entry(metric.clone()).or_default().push(*id),
                _ => self.others.push(*id),
            }
        }
    }

    /// Rules with a time of their own, an absence or a schedule, wait for it with each device.
    fn wait_for_times(&mut self) {
        let mut keys = Vec::new();
        for (id, on) in &self.rules {
            match &on.rule.meaning.when {
                When::Absence(..) => {}
                When::Schedule(_) if on.rule.meaning.is_about_devices() => {}
                When::Schedule(_) => {
                    keys.push((*id, None));
                    continue;
                }
                _ => continue,
            }
            match &on.members {
                Some(members) => keys.extend(members.iter().map(|device| (*id, Some(*device)))),
                None => keys.extend(self.facts.keys().map(|device| (*id, Some(*device)))),
            }
            if keys.len() > WAITING_MAX {
                let why = format!(
                    "more than {WAITING_MAX} pairs of rules and devices would wait: name fewer devices"
                );
                self.app.rules.trouble(*id, why, self.app.now());
                keys.truncate(WAITING_MAX);
                break;
            }
        }
        // What stands on disk with a device waits too: a condition that holds, a time to be quiet.
        keys.extend(self.stored.keys().copied());
        for key in keys {
            self.wait(key);
        }
    }

    /// A rule and a device, if the rule is on and looks at it.
    pub(super) fn wait(&mut self, key: Key) -> bool {
        if self.waiting.contains_key(&key) {
            return true;
        }
        let Some(on) = self.rules.get(&key.0) else { return false };
        let is_member = match (&on.members, key.1) {
            (_, None) => !on.rule.meaning.is_about_devices(),
            (Some(members), Some(device)) => members.contains(&device),
            (None, Some(device)) => on.rule.meaning.is_about_devices() && self.facts.contains_key(&device),
        };
        if !is_member {
            return false;
        }
        let begun = on.rule.enabled_at.unwrap_or(self.until).max(self.up);
        let mut state = self.stored.get(&key).cloned().unwrap_or_else(|| State::new(begun));
        // Every moment of a schedule before this was looked at.
        state.from = state.from.max(self.until.max(begun) - Span(1));
        self.waiting.insert(key, Waiting { runner: Runner::new(state, [], self.up), queued: None });
        self.queue(key);
        true
    }
}
