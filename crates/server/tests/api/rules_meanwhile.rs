//! Rules that are changed while they are told something: what was decided by a rule as it was is not written.

use motehub_domain::change::Actor;
use motehub_domain::effects::Effects;
use motehub_domain::rule::{self, Rule, Words};
use motehub_domain::time::{Span, Time};
use motehub_store::{Store, StoreUrl};
use serde_json::{Value, json};

use crate::support::Hub;
use crate::support::mqtt::Publisher;

/// A hub with a stove that is hot, of which two rules have raised an alarm that is over.
struct Kitchen {
    hub: Hub,
    stove: Publisher,
    changed: String,
    other: String,
}

impl Kitchen {
    async fn new() -> Self {
        let hub = Hub::start().await;
        let board = json!({ "name": "stove", "dialect": "native", "external_id": "stove" });
        let credential = hub.post("/devices", board).await.string("credential");
        let rule = |name: &str| {
            json!({ "name": name, "enabled": true, "when": { "metric": "t" }, "condition": "value > 30",
                "actions": [{ "alarm": { "severity": "critical", "message": "hot" } }] })
        };
        let changed = hub.post("/rules", rule("changed")).await.string("id");
        let other = hub.post("/rules", rule("other")).await.string("id");
        let stove = Publisher::connect(&hub, "stove", &credential).await.unwrap();
        let mut kitchen = Self { hub, stove, changed, other };
        kitchen.says(31).await;
        kitchen.says(20).await;
        kitchen
            .hub
            .until("both fired", || async {
                kitchen.hub.clock.advance(Span(100));
                let (changed, other) =
                    (kitchen.firings(&kitchen.changed).await, kitchen.firings(&kitchen.other).await);
                let is_over = |firings: &[Value]| firings.len() == 1 && !firings[0]["ended_at"].is_null();
                (is_over(&changed) && is_over(&other)).then_some(())
            })
            .await;
        kitchen
    }

    async fn says(&mut self, t: i64) {
        self.hub.clock.advance(Span(10));
        self.stove
            .publish("devices/stove/telemetry", json!({ "t": t }).to_string().as_bytes())
            .await
            .unwrap();
    }

    async fn firings(&self, rule: &str) -> Vec<Value> {
        let list = self.hub.get(&format!("/rules/{rule}/firings?limit=100")).await;
        list.json()["items"].as_array().cloned().unwrap_or_default()
    }

    /// The rule is changed in the store, and the worker does not know of it yet when the stove is hot again.
    async fn hot_after(&mut self, change: impl FnOnce(&Rule) -> Effects) {
        let url: StoreUrl = servers::store_of(self.hub.folder()).parse().unwrap();
        let store = Store::open(&url).await.unwrap();
        let rule = store.rule(self.changed.parse().unwrap()).await.unwrap().unwrap();
        self.hub.clock.advance(Span(10));
        store.commit(&change(&rule), self.hub.clock.now()).await.unwrap();
        self.says(32).await;
        self.hub
            .until("the other rule fired", || async {
                self.hub.clock.advance(Span(100));
                (self.firings(&self.other).await.len() == 2).then_some(())
            })
            .await;
    }

    /// The rules that have an alarm that is not cleared.
    async fn alarms(&self) -> Vec<Value> {
        let list = self.hub.get("/alarms?state=raised").await.json();
        list["items"].as_array().unwrap().iter().map(|alarm| alarm["rule_name"].clone()).collect()
    }
}

fn words(rule: &Rule) -> Words {
    let (name, description) = (rule.name.clone(), rule.description.clone());
    Words { name, description, enabled: rule.is_enabled(), document: rule.document.clone() }
}

fn edited(rule: &Rule, words: &Words, now: Time) -> Effects {
    rule::edit(rule, words, &[], &Actor::System, now).unwrap().1
}

#[tokio::test]
async fn a_rule_that_is_off_by_now_raises_no_alarm() {
    let mut kitchen = Kitchen::new().await;
    let now = kitchen.hub.clock.now();
    kitchen.hot_after(|rule| edited(rule, &Words { enabled: false, ..words(rule) }, now)).await;
    assert_eq!(
        (kitchen.firings(&kitchen.changed).await.len(), kitchen.alarms().await),
        (1, vec![json!("other")])
    );
    kitchen.hub.is_well().await;
}

#[tokio::test]
async fn a_rule_that_is_gone_by_now_raises_no_alarm() {
    let mut kitchen = Kitchen::new().await;
    let now = kitchen.hub.clock.now();
    kitchen.hot_after(|rule| rule::delete(rule, &[], &Actor::System, now)).await;
    assert_eq!(kitchen.alarms().await, ["other"]);
    kitchen.hub.is_well().await;
}

#[tokio::test]
async fn a_rule_that_is_another_by_now_is_told_as_it_is() {
    let mut kitchen = Kitchen::new().await;
    let now = kitchen.hub.clock.now();
    let change = |rule: &Rule| {
        let mut words = words(rule);
        words.document["condition"] = "value > 31".into();
        edited(rule, &words, now)
    };
    kitchen.hot_after(change).await;
    let firings = kitchen.firings(&kitchen.changed).await;
    let conditions: Vec<&Value> = firings.iter().map(|firing| &firing["trace"]["condition"]).collect();
    assert_eq!(conditions, ["value > 31", "value > 30"]);
    kitchen.hub.is_well().await;
}
