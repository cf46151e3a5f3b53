//! What rules want becomes one transaction: firings with their traces, alarms, posts and mails, how rules stand, and
//! how far they were told. What devices are to do follows behind it, by [`super::deeds`].

use std::collections::{BTreeMap, HashMap};

use motehub_domain::alarm::{self, Alarm, AlarmState, Severity};
use motehub_domain::change::Actor;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::id::{AlarmId, FiringId, RuleId};
use motehub_domain::rule::engine::State;
use motehub_domain::rule::{Deed, Firing, Record, Rule};
use motehub_domain::webhook::{Delivery, Mail};
use motehub_store::{AlarmQuery, StoreError};
use serde_json::json;

use super::live::{Done, Key, On};
use crate::app::App;
use crate::perform::{ATTEMPTS_MAX, Failure};
use crate::random;

/// The open alarms of rules, as they are after what was decided so far.
type Open = HashMap<Key, Option<Alarm>>;

impl App {
    /// Writes what came of telling rules something.
    ///
    /// # Errors
    /// A conflict if one of the rules is another by now.
    pub(super) async fn do_what_rules_want(
        &self,
        rules: &BTreeMap<RuleId, On>,
        done: Vec<Done>,
        states: &[(Key, State)],
        mark: (&str, Vec<u8>),
    ) -> Result<(), Failure> {
        for Done { key, at, outcome } in &done {
            if let Some(error) = &outcome.error {
                self.rules.trouble(key.0, error.clone(), *at);
            }
        }
        // The same ids if it is decided again.
        let ids: Vec<FiringId> = done.iter().map(|_| random::id(self.now())).collect();
        let mut told = Vec::new();
        for ((rule, device), state) in states {
            if let Some(On { rule, .. }) = rules.get(rule) {
                told.push(Save::RuleState(rule.id, rule.revision, *device, Box::new(state.clone())));
            }
        }
        told.push(Save::Note(mark.0.to_owned(), Some(mark.1)));
        let mut attempts = 1;
        loop {
            let mut open = Open::new();
            let mut effects = Effects::none();
            for (one, id) in done.iter().zip(&ids) {
                if let Some(On { rule, .. }) = rules.get(&one.key.0) {
                    effects = effects.and(self.decided(rule, one, *id, &mut open).await?);
                }
            }
            let has_deeds = effects.save.iter().any(|save| matches!(save, Save::Firing(it) if !it.done));
            effects.save.extend(told.iter().cloned());
            match self.perform(effects).await {
                // A person was quicker with an alarm. Where it was a rule, all of it was decided by what is not so.
                Err(Failure::Store(StoreError::Conflict { what: "alarm" })) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    if has_deeds {
                        self.rules.deeds.notify_one();
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn decided(
        &self,
        rule: &Rule,
        done: &Done,
        id: FiringId,
        open: &mut Open,
    ) -> Result<Effects, Failure> {
        let Done { key, at, outcome } = done;
        let actor = Actor::Token(format!("rule {}", rule.name));
        let mut effects = Effects::none();
        if outcome.ended {
            effects.save.push(Save::FiringEnded(key.0, key.1, *at));
            if rule.meaning.has_alarm()
                && let Some(alarm) = self.open_alarm(*key, open).await?
            {
                effects = effects.and(alarm::clear(&alarm, &actor, *at));
                open.insert(*key, None);
            }
        }
        if let Some(firing) = &outcome.firing {
            metrics::counter!("motehub_rule_firings_total").increment(1);
            effects = effects.and(self.fired(rule, *key, firing, id, &actor, open).await?);
        }
        Ok(effects)
    }

    async fn fired(
        &self,
        rule: &Rule,
        key: Key,
        firing: &Firing,
        id: FiringId,
        actor: &Actor,
        open: &mut Open,
    ) -> Result<Effects, Failure> {
        let mut effects = Effects::none();
        let mut problems = Vec::new();
        let mut is_done = true;
        for deed in &firing.deeds {
            match deed {
                Deed::Alarm { severity, message } => {
                    if self.open_alarm(key, open).await?.is_none() {
                        let alarm = raised(random::id(self.now()), rule, firing, *severity, message);
                        open.insert(key, Some(alarm.clone()));
                        effects = effects.and(alarm::raise(alarm, actor));
                    }
                }
                Deed::Webhook(webhook) => match self.posted(rule, firing, webhook).await? {
                    Ok(delivery) => effects.save.push(Save::Delivery(Box::new(delivery))),
                    Err(why) => problems.push(why),
                },
                Deed::Mail { to, subject, text } => {
                    let to = to.split(',').map(|address| address.trim().to_owned()).collect();
                    let mail = Mail { to, subject: subject.clone(), text: text.clone() };
                    match Delivery::mail(random::id(self.now()), &mail, self.now()) {
                        Ok(delivery) => effects.save.push(Save::Delivery(Box::new(delivery))),
                        Err(wrong) => problems.push(format!("mail: {wrong}")),
                    }
                }
                Deed::Unmade(noun, why) => problems.push(format!("{noun}: {why}")),
                Deed::Desired { .. } | Deed::Command { .. } | Deed::Publish { .. } => is_done = false,
            }
        }
        if let Some(problem) = problems.first() {
            self.rules.trouble(rule.id, problem.clone(), firing.at);
        }
        let record = Record {
            id,
            rule: rule.id,
            device: firing.device,
            at: firing.at,
            trace: firing.trace.clone(),
            ended_at: None,
            done: is_done,
            problems,
        };
        effects.save.insert(0, Save::Firing(Box::new(record)));
        Ok(effects)
    }

    async fn posted(
        &self,
        rule: &Rule,
        firing: &Firing,
        webhook: &str,
    ) -> Result<Result<Delivery, String>, Failure> {
        let found = match webhook.parse() {
            Ok(id) => self.store.webhook(id).await?,
            Err(_) => None,
        };
        let Some(webhook) = found else { return Ok(Err(format!("webhook: there is no webhook {webhook}"))) };
        let device = match firing.device {
            Some(device) => self.store.device(device).await?,
            None => None,
        };
        let device = device.map(|device| json!({ "id": device.id.to_string(), "name": device.name }));
        let body = json!({
            "rule": { "id": rule.id.to_string(), "name": rule.name },
            "device": device, "at": firing.at.0, "trace": firing.trace,
        });
        let id = random::id(self.now());
        Ok(Ok(Delivery::new(id, webhook.id, "rule_fired", body, self.now())))
    }

    async fn open_alarm(&self, key: Key, open: &mut Open) -> Result<Option<Alarm>, Failure> {
        if let Some(known) = open.get(&key) {
            return Ok(known.clone());
        }
        let wanted = AlarmQuery {
            states: vec![AlarmState::Raised, AlarmState::Acknowledged],
            rule: Some(key.0),
            device: key.1,
            limit: 1,
            ..AlarmQuery::default()
        };
        let found = self.store.alarms(&wanted).await?.0.pop().map(|view| view.alarm);
        open.insert(key, found.clone());
        Ok(found)
    }
}

fn raised(id: AlarmId, rule: &Rule, firing: &Firing, severity: Severity, message: &str) -> Alarm {
    Alarm {
        id,
        rule: rule.id,
        rule_name: rule.name.clone(),
        device: firing.device,
        severity,
        message: message.to_owned(),
        value: Some(firing.trace["came"]["value"].clone()).filter(|value| !value.is_null()),
        state: AlarmState::Raised,
        raised_at: firing.at,
        acknowledged_at: None,
        acknowledged_by: None,
        cleared_at: None,
        cleared_by: None,
        revision: 1,
    }
}
