//! Who somebody is that knocks: by what is shown, and what that lets them do.

use std::net::IpAddr;

use motehub_domain::access::{Permission, Role};
use motehub_domain::artifact::Digest;
use motehub_domain::device::{Device, Dialect};
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::person::Token;
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::Client;
use motehub_protocol::{Identity, esp_firmware};
use motehub_store::StoreError;

use crate::app::App;
use crate::secrets;

impl App {
    pub(super) async fn mqtt_client(
        &self,
        client_id: &str,
        user: Option<&str>,
        password: Option<&[u8]>,
        address: IpAddr,
    ) -> Result<Option<Client>, StoreError> {
        let Some(password) = password else {
            return self.without_credentials(client_id, user, address).await;
        };
        let digest = secrets::digest(password);
        // The SDKs of AWS say behind the name which they are.
        let name = user.unwrap_or(client_id);
        let name = name.split_once("?SDK=").map_or(name, |(name, _)| name);
        if let Some(device) = self.device_by_secret(digest, name).await? {
            let is_its_name = device.external_id.as_deref() == Some(name) || device.id.to_string() == name;
            return if is_its_name { self.device_client(device).await.map(Some) } else { Ok(None) };
        }
        let token = self.store.token_by_digest(digest).await?;
        Ok(token.filter(|token| token.expires_at.is_none_or(|at| at > self.now())).map(program))
    }

    /// Whom a certificate of ours proves to be; nobody if it was revoked. Names and passwords say nothing beside it.
    pub(super) async fn certified(&self, certificate: &[u8]) -> Result<Option<Client>, StoreError> {
        match self.store.device_by_certificate(secrets::digest(certificate)).await? {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// A board that an operator lets in without a credential is known by its chip id; anybody else is confined
    /// to the topic filters that were opened by a setting.
    async fn without_credentials(
        &self,
        client_id: &str,
        user: Option<&str>,
        address: IpAddr,
    ) -> Result<Option<Client>, StoreError> {
        let name = user.unwrap_or(client_id);
        let found = self.store.devices_by_external_id(name).await?;
        let is_it = |device: &Device| device.dialect != Dialect::EspFirmware && device.is_open_to(address);
        if let Some(device) = found.into_iter().find(is_it) {
            return self.device_client(device).await.map(Some);
        }
        match self.open_board(name, address).await? {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(self.anonymous()),
        }
    }

    /// A board with ESP-FIRMWARE is known by its address, or else by its name, which is in its client ids.
    async fn open_board(&self, client_id: &str, address: IpAddr) -> Result<Option<Device>, StoreError> {
        let Some(name) = esp_firmware::name_in(client_id).filter(|_| self.called.are_called()) else {
            return Ok(None);
        };
        for id in [address.to_canonical().to_string(), name] {
            let found = self.store.devices_by_external_id(&id).await?;
            let is_it =
                |device: &Device| device.dialect == Dialect::EspFirmware && device.is_open_to(address);
            if let Some(device) = found.into_iter().find(is_it) {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    fn anonymous(&self) -> Option<Client> {
        let open = &self.settings.mqtt_anonymous;
        let rights = TopicRights { publish: open.clone(), subscribe: open.clone() };
        let anonymous = Client {
            device: None,
            token: None,
            name: "anonymous".to_owned(),
            rights,
            until: None,
            silence_max: None,
        };
        (!open.is_empty()).then_some(anonymous)
    }

    /// What somebody who was let in before may do now.
    pub(super) async fn client_of(&self, principal: Principal) -> Result<Option<Client>, StoreError> {
        match principal {
            Principal::Device(id) => match self.store.device(id).await? {
                Some(device) => self.device_client(device).await.map(Some),
                None => Ok(None),
            },
            Principal::Token(id) => {
                let token = self.store.token(id).await?;
                Ok(token.filter(|token| token.expires_at.is_none_or(|at| at > self.now())).map(program))
            }
            Principal::Anonymous => Ok(self.anonymous()),
        }
    }

    pub(super) async fn nodemcu_board(
        &self,
        chip_id: &str,
        secret: Option<&str>,
        address: IpAddr,
    ) -> Result<Option<Client>, StoreError> {
        let is_it = |device: &Device| {
            device.dialect == Dialect::Nodemcu && device.external_id.as_deref() == Some(chip_id)
        };
        let device = match secret {
            Some(secret) => self.store.device_by_credential(secrets::digest(secret)).await?.filter(is_it),
            None => {
                let found = self.store.devices_by_external_id(chip_id).await?;
                found.into_iter().find(|device| is_it(device) && device.is_open_to(address))
            }
        };
        match device {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn native_device(&self, id: &str, secret: &str) -> Result<Option<Client>, StoreError> {
        let found = self.device_by_secret(secrets::digest(secret), id).await?;
        let is_it = |device: &Device| {
            device.dialect.speaks_native()
                && (device.external_id.as_deref() == Some(id) || device.id.to_string() == id)
        };
        match found.filter(is_it) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn mongoose_device(&self, secret: &str) -> Result<Option<Client>, StoreError> {
        let found = self.store.device_by_credential(secrets::digest(secret)).await?;
        match found.filter(|device| device.dialect == Dialect::Mongoose) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// A node is known by its uid; where it speaks from is all that can be looked at beside that.
    pub(super) async fn riot_node(&self, uid: &str, address: IpAddr) -> Result<Option<Client>, StoreError> {
        let found = self.store.devices_by_external_id(uid).await?;
        let is_it = |device: &Device| device.dialect == Dialect::Riot && device.is_open_to(address);
        match found.into_iter().find(is_it) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// The device of the native protocol that is known by this id.
    pub(crate) async fn native_named(&self, id: &str) -> Result<Option<Device>, StoreError> {
        if let Ok(id) = id.parse::<DeviceId>()
            && let Some(device) = self.store.device(id).await?
        {
            return Ok(Some(device).filter(|device| device.dialect.speaks_native()));
        }
        let found = self.store.devices_by_external_id(id).await?;
        Ok(found.into_iter().find(|device| device.dialect.speaks_native()))
    }

    /// A device that shows nothing, over CoAP: anybody can write its address on a datagram, so there has to be one.
    pub(super) async fn unproven_device(
        &self,
        id: &str,
        address: IpAddr,
    ) -> Result<Option<Client>, StoreError> {
        let is_open = |device: &Device| device.allowed_from.is_some() && device.is_open_to(address);
        match self.native_named(id).await?.filter(is_open) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// The credentials that a device may have, by their digests, each with the key that is derived from it.
    pub(super) async fn keys_of(&self, identity: &str) -> Result<Vec<(Digest, String)>, StoreError> {
        let Some(device) = self.native_named(identity).await? else { return Ok(Vec::new()) };
        let mut digests: Vec<Digest> = self.store.credential(device.id).await?.into_iter().collect();
        digests.extend(self.store.next_credentials(device.id).await?);
        let key = |digest| (digest, self.access_keys.coap_key_of(device.id, digest));
        Ok(digests.into_iter().map(key).collect())
    }

    /// A device that has proven over DTLS that it has a key.
    pub(super) async fn keyed_device(&self, identity: &str, key: &str) -> Result<Option<Client>, StoreError> {
        let keys = self.keys_of(identity).await?;
        let Some((digest, _)) = keys.into_iter().find(|(_, known)| known == key) else { return Ok(None) };
        match self.device_by_secret(digest, identity).await? {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn device_client(&self, device: Device) -> Result<Client, StoreError> {
        let rights = self.rights_of(&device).await?;
        let Device { id, name, external_id, dialect, silence_max, .. } = device;
        let device = Some(Identity { device: id, external_id, dialect });
        Ok(Client { device, token: None, name, rights, until: None, silence_max })
    }
}

/// Programs may read everything; those that may build may also publish, but never as a device. They may ask for shadows
/// and jobs as people with their role may.
fn program(token: Token) -> Client {
    let everything: Vec<TopicFilter> = TopicFilter::parse("#").into_iter().collect();
    let mut publish = if may_publish(token.role) { everything.clone() } else { Vec::new() };
    let operates = token.role.may(Permission::Operate);
    let verbs: &[&str] = if operates { &["get", "update", "delete"] } else { &["get"] };
    publish.extend(motehub_protocol::shadow::requests("+", verbs));
    publish.extend(motehub_protocol::jobs::requests(operates));
    let mut rights = TopicRights { publish, subscribe: everything };
    let heard = ["$aws/things/+/shadow/#", "$aws/things/+/jobs/#"];
    rights.subscribe.extend(heard.iter().filter_map(|filter| TopicFilter::parse(filter).ok()));
    let until = token.expires_at;
    Client { device: None, token: Some(token.id), name: token.name, rights, until, silence_max: None }
}

fn may_publish(role: Role) -> bool {
    role.may(Permission::Build)
}
