//! The scripted hub: who is known, what they may do, and who may come in.

use motehub_domain::device::Dialect;
use motehub_domain::id::{DeviceId, TokenId};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{Client, Credentials, Refusal};
use motehub_protocol::{Identity, dialect};

use super::World;

impl World {
    pub(super) fn device(&mut self, name: &str) -> DeviceId {
        let next = self.devices.len() as u128 + 1;
        *self.devices.entry(name.to_owned()).or_insert_with(|| DeviceId::from_parts(0, next))
    }

    pub(super) fn name(&self, device: DeviceId) -> String {
        self.devices.iter().find(|(_, id)| **id == device).map(|(name, _)| name.clone()).unwrap()
    }

    pub(super) fn token(&mut self, name: &str) -> TokenId {
        let next = self.tokens.len() as u128 + 1;
        *self.tokens.entry(name.to_owned()).or_insert_with(|| TokenId::from_parts(0, next))
    }

    pub(super) fn judge(&mut self, credentials: &Credentials) -> Result<Client, Refusal> {
        let Credentials::Mqtt { user, .. } = credentials else { panic!("{credentials:?}") };
        self.client(user.as_deref().unwrap_or("anonymous"))
    }

    pub(super) fn client(&mut self, name: &str) -> Result<Client, Refusal> {
        let name = name.to_owned();
        let everything = |filters: &[&str]| filters.iter().map(|f| TopicFilter::parse(f).unwrap()).collect();
        match name.as_str() {
            name if name == "eve" || self.unknown.contains(name) => Err(Refusal::BadCredentials),
            "disabled" => Err(Refusal::NotAllowed),
            "away" => Err(Refusal::Unavailable),
            "anonymous" => {
                let open: Vec<TopicFilter> = everything(&["open/#"]);
                Ok(Client {
                    device: None,
                    token: None,
                    name,
                    rights: TopicRights { publish: open.clone(), subscribe: open },
                    until: None,
                    silence_max: None,
                })
            }
            app if app.starts_with("app") => {
                let all: Vec<TopicFilter> = everything(&["#", "$SYS/#"]);
                let token = Some(self.token(app));
                let until = self.until.get(app).copied();
                Ok(Client {
                    device: None,
                    token,
                    name,
                    rights: TopicRights { publish: all.clone(), subscribe: all },
                    until,
                    silence_max: None,
                })
            }
            _ => {
                let device = self.device(&name);
                let identity = Identity { device, external_id: Some(name.clone()), dialect: Dialect::Native };
                let mut rights = dialect::mqtt_rights(&identity);
                rights.publish.extend(TopicFilter::parse("shared/#"));
                rights.subscribe.extend(TopicFilter::parse("shared/#"));
                Ok(Client {
                    device: Some(identity),
                    token: None,
                    name,
                    rights,
                    until: None,
                    silence_max: None,
                })
            }
        }
    }
}
