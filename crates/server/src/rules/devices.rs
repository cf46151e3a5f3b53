//! The devices that rules look at, and what conditions see of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use motehub_domain::device::Device;
use motehub_domain::group;
use motehub_domain::id::DeviceId;
use motehub_domain::rejection::Rejection;
use motehub_domain::rule::{Meaning, STABLE_SELECTOR, is_stable};
use motehub_domain::selector::Selector;
use motehub_domain::time::Time;
use motehub_store::DeviceQuery;
use serde_json::{Value, json};

use crate::app::App;
use crate::perform::Failure;

/// How many devices are read at once.
const PAGE: usize = 1_000;

/// What conditions see of a device, and when it was registered.
pub(super) type Facts = (Value, Time);

/// What conditions see of devices.
pub(super) type AllFacts = HashMap<DeviceId, Facts>;

fn facts(device: &Device) -> Facts {
    let seen = json!({
        "id": device.id.to_string(),
        "name": device.name,
        "external_id": device.external_id,
        "dialect": device.dialect.as_str(),
        "tags": device.tags,
        "capabilities": device.capabilities,
    });
    (seen, device.created_at)
}

impl App {
    /// The devices of a selector.
    async fn devices_of(&self, selector: Option<Selector>) -> Result<BTreeMap<DeviceId, Facts>, Failure> {
        let mut found = BTreeMap::new();
        loop {
            let query = DeviceQuery {
                selector: selector.clone(),
                now: self.now(),
                offset: found.len(),
                limit: PAGE,
                ..DeviceQuery::default()
            };
            let (views, _) = self.store.devices(query).await?;
            let is_last = views.len() < PAGE;
            found.extend(views.iter().map(|view| (view.device.id, facts(&view.device))));
            if is_last {
                return Ok(found);
            }
        }
    }

    /// What conditions see of all devices.
    pub(super) async fn rule_facts(&self) -> Result<AllFacts, Failure> {
        Ok(self.devices_of(None).await?.into_iter().collect())
    }

    /// The devices that a rule looks at; `None` for all.
    pub(super) async fn rule_members(
        &self,
        meaning: &Meaning,
    ) -> Result<Option<BTreeSet<DeviceId>>, Failure> {
        let Some(selector) = &meaning.devices else { return Ok(None) };
        let selector = self.stable(selector).await?;
        Ok(Some(self.devices_of(Some(selector)).await?.into_keys().collect()))
    }

    /// The devices that a rule looks at, with what conditions see of them.
    pub(super) async fn rule_devices(&self, meaning: &Meaning) -> Result<BTreeMap<DeviceId, Facts>, Failure> {
        if !meaning.is_about_devices() {
            return Ok(BTreeMap::new());
        }
        let selector = match &meaning.devices {
            Some(selector) => Some(self.stable(selector).await?),
            None => None,
        };
        self.devices_of(selector).await
    }

    /// A selector with its groups put in, if it stays the same whatever devices measure.
    async fn stable(&self, selector: &Selector) -> Result<Selector, Failure> {
        let selector = match group::names_group(selector) {
            true => group::expand(selector, &self.store.groups().await?)?,
            false => selector.clone(),
        };
        match is_stable(&selector) {
            true => Ok(selector),
            false => Err(Rejection::invalid("devices", STABLE_SELECTOR).into()),
        }
    }

    /// Checks that the devices of a rule can be picked, and its webhooks are there.
    pub(crate) async fn check_rule(&self, meaning: &Meaning) -> Result<usize, Failure> {
        for action in &meaning.actions {
            if let motehub_domain::rule::Action::Webhook(id) = action {
                let webhook = match id.parse() {
                    Ok(id) => self.store.webhook(id).await?,
                    Err(_) => None,
                };
                if webhook.is_none() {
                    return Err(Rejection::invalid("actions", format!("there is no webhook {id}")).into());
                }
            }
        }
        Ok(self.rule_devices(meaning).await?.len())
    }
}
