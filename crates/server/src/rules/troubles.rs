//! What goes wrong with rules: it is in memory of the node that tells them what happens, which others ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use motehub_domain::id::RuleId;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};

use super::Rules;
use crate::app::App;
use crate::cluster::Work;
use crate::cluster::ask::Question;
use crate::cluster::words::Word;

/// What went wrong with a rule since the hub started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// How often.
    pub(crate) count: u64,
    /// What, the last time.
    pub(crate) message: String,
    /// When.
    #[serde(with = "crate::clock::as_number")]
    pub(crate) at: Time,
}

/// Of all rules.
pub(crate) type Troubles = Mutex<HashMap<RuleId, Trouble>>;

impl Rules {
    /// Something went wrong with a rule.
    pub(super) fn trouble(&self, rule: RuleId, message: String, at: Time) {
        metrics::counter!("motehub_rule_errors_total").increment(1);
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let count = troubles.get(&rule).map_or(0, |trouble| trouble.count) + 1;
        troubles.insert(rule, Trouble { count, message, at });
    }

    /// What went wrong with rules that are told here, by their ids.
    pub(crate) fn troubles(&self) -> HashMap<String, Trouble> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|(rule, trouble)| (rule.to_string(), trouble.clone())).collect()
    }

    /// A person changed a rule: what went wrong before is forgotten.
    pub(crate) fn forgive(&self, rule: RuleId) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(&rule);
    }
}

impl App {
    /// A person changed a rule: what went wrong before is forgotten, at every node.
    pub(crate) fn forgive_rule(&self, rule: RuleId) {
        self.rules.forgive(rule);
        self.say_to_all(&Word::Forgive(rule));
    }

    /// What went wrong with rules, at whatever node.
    pub(crate) async fn rule_troubles(&self) -> HashMap<RuleId, Trouble> {
        let troubles: HashMap<String, Trouble> = match self.cluster.holds(Work::Rules) {
            true => self.rules.troubles(),
            false => self.ask_who_knows(&Question::Troubles).await.unwrap_or_default(),
        };
        troubles.into_iter().filter_map(|(rule, trouble)| Some((rule.parse().ok()?, trouble))).collect()
    }
}
