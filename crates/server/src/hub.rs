//! The hub in this process: how gateways reach the product.

use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use motehub_domain::access::{Permission, Role};
use motehub_domain::artifact::{Artifact, Digest};
use motehub_domain::deployment::{HEALTH_WINDOW, Target};
use motehub_domain::device::{Device, Dialect};
use motehub_domain::id::DeviceId;
use motehub_domain::kept::{Batch, Principal, Recalled};
use motehub_domain::message::{Downlink, Offer};
use motehub_domain::person::Token;
use motehub_domain::shadow::{self, Request, Shadow};
use motehub_domain::topic::{TopicFilter, TopicRights};
use motehub_gateway::hub::{
    Answer, Arrival, Client, Connection, ConnectionId, Credentials, Hub, Knock, Refusal, UplinkError,
};
use motehub_gateway::link::Order;
use motehub_protocol::aws::Ask;
use motehub_protocol::{Identity, MqttMessage, dialect};
use motehub_store::StoreError;
use tokio::sync::mpsc;

use crate::app::App;
use crate::secrets;

/// How many that ask to be let in are looked up at once. When a whole fleet comes back, the others wait here and not
/// in the store, where people who look at the dashboard would wait behind all of them.
pub(crate) const DOORS: usize = 32;

impl Hub for App {
    fn authenticate(&self, knock: Knock) -> Answer<'_, Result<Client, Refusal>> {
        Box::pin(async move {
            let door = self.doors.acquire().await.expect("because it is never closed");
            let known = match &knock.credentials {
                Credentials::Mqtt { certificate: Some(certificate), .. } => self.certified(certificate).await,
                Credentials::Mqtt { client_id, user, password, certificate: None } => {
                    let address = knock.address.ip();
                    self.mqtt_client(client_id, user.as_deref(), password.as_deref(), address).await
                }
                Credentials::Nodemcu { chip_id, secret } => {
                    self.nodemcu_board(chip_id, secret.as_deref(), knock.address.ip()).await
                }
                Credentials::Bearer { id, secret } => self.native_device(id, secret).await,
                Credentials::Token { secret } => self.mongoose_device(secret).await,
                Credentials::Riot { uid } => self.riot_node(uid, knock.address.ip()).await,
            };
            drop(door);
            match known {
                Ok(Some(client)) => {
                    if let Some(identity) = client.device.as_ref().filter(|_| knock.credentials.has_secret())
                    {
                        self.arrived(identity.device, knock.address).await;
                    }
                    Ok(client)
                }
                Ok(None) => {
                    tracing::info!(address = %knock.address, who = ?knock.credentials, "somebody was not let in");
                    metrics::counter!("motehub_not_admitted_total").increment(1);
                    self.knocked(&knock).await;
                    Err(Refusal::BadCredentials)
                }
                Err(error) => {
                    tracing::warn!(%error, "who knocks could not be looked up");
                    Err(Refusal::Unavailable)
                }
            }
        })
    }

    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>> {
        let places = self.line_up(&batch);
        Box::pin(self.take(batch, places))
    }

    fn shadow(
        &self,
        device: DeviceId,
        request: Request,
    ) -> Answer<'_, Result<Result<Shadow, shadow::Refusal>, UplinkError>> {
        let mut turn = self.shadows.line_up(device);
        Box::pin(async move {
            turn.comes().await;
            let done = self.on_shadow(device, &request, None).await;
            done.map_err(|failure| UplinkError::Unavailable(failure.to_string()))
        })
    }

    fn asked(&self, who: Principal, ask: Ask) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>> {
        self.ask(who, ask)
    }

    fn offer(&self, batch: Vec<Arrival>) {
        self.intake.offer(batch);
    }

    fn attach(&self, connection: Connection, downlinks: mpsc::Sender<Downlink>) -> Answer<'_, ()> {
        self.connections.attach(&connection, downlinks, self.now());
        Box::pin(std::future::ready(()))
    }

    fn detach(&self, connection: ConnectionId) -> Answer<'_, ()> {
        self.connections.detach(connection);
        Box::pin(std::future::ready(()))
    }

    fn listens(&self, device: DeviceId) -> Answer<'_, ()> {
        Box::pin(self.tell_waiting(device))
    }

    fn artifact_size(
        &self,
        device: DeviceId,
        digest: Digest,
    ) -> Answer<'_, Result<Option<usize>, UplinkError>> {
        Box::pin(async move {
            let target = self.store.target(device).await.map_err(|e| unavailable(&e))?;
            let Some(Target { software, open, .. }) = target else { return Ok(None) };
            let pending = software.pending.map(|(_, artifact)| artifact).or(open.map(|task| task.artifact));
            let own = [pending, software.running, software.good, software.active, software.firmware];
            if !own.into_iter().flatten().any(|artifact| artifact.digest == digest) {
                return Ok(None);
            }
            self.store.artifact_size(digest).await.map_err(|e| unavailable(&e))
        })
    }

    fn artifact_part(&self, digest: Digest, part: Range<usize>) -> Answer<'_, Result<Bytes, UplinkError>> {
        Box::pin(async move {
            let bytes = self.store.artifact_part(digest, part).await.map_err(|e| unavailable(&e))?;
            Ok(Bytes::from(bytes))
        })
    }

    fn pending(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(async move {
            let software = self.store.software(device).await.map_err(|e| unavailable(&e))?;
            Ok(software.pending.map(|(_, artifact)| offer(artifact)))
        })
    }

    fn current(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(async move {
            let software = self.store.software(device).await.map_err(|e| unavailable(&e))?;
            let pending = software.pending.map(|(_, artifact)| artifact);
            Ok(pending.or(software.running).or(software.active).map(offer))
        })
    }

    fn artifact(&self, digest: Digest) -> Answer<'_, Result<Option<Bytes>, UplinkError>> {
        Box::pin(async move {
            Ok(self.store.artifact(digest).await.map_err(|e| unavailable(&e))?.map(Bytes::from))
        })
    }

    fn keep<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<(), UplinkError>> {
        Box::pin(async move { self.store.keep(batch).await.map_err(|e| unavailable(&e)) })
    }

    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        Box::pin(async move { self.store.recall().await.map_err(|e| unavailable(&e)) })
    }

    fn who(&self, principals: Vec<Principal>) -> Answer<'_, Result<Vec<Option<Client>>, UplinkError>> {
        Box::pin(async move {
            let mut clients = Vec::with_capacity(principals.len());
            for principal in principals {
                clients.push(self.client_of(principal).await.map_err(|e| unavailable(&e))?);
            }
            Ok(clients)
        })
    }

    fn refused(&self, device: DeviceId, why: String) -> Answer<'_, ()> {
        Box::pin(async move { self.state_refusal(device, &why).await })
    }
}

impl App {
    async fn mqtt_client(
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
    async fn certified(&self, certificate: &[u8]) -> Result<Option<Client>, StoreError> {
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
        if let Some(device) = found.into_iter().find(|device| device.is_open_to(address)) {
            return self.device_client(device).await.map(Some);
        }
        Ok(self.anonymous())
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
    async fn client_of(&self, principal: Principal) -> Result<Option<Client>, StoreError> {
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

    async fn nodemcu_board(
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

    async fn native_device(&self, id: &str, secret: &str) -> Result<Option<Client>, StoreError> {
        let found = self.device_by_secret(secrets::digest(secret), id).await?;
        let is_it = |device: &Device| {
            device.dialect == Dialect::Native
                && (device.external_id.as_deref() == Some(id) || device.id.to_string() == id)
        };
        match found.filter(is_it) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    async fn mongoose_device(&self, secret: &str) -> Result<Option<Client>, StoreError> {
        let found = self.store.device_by_credential(secrets::digest(secret)).await?;
        match found.filter(|device| device.dialect == Dialect::Mongoose) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    /// A node is known by its uid; where it speaks from is all that can be looked at beside that.
    async fn riot_node(&self, uid: &str, address: IpAddr) -> Result<Option<Client>, StoreError> {
        let found = self.store.devices_by_external_id(uid).await?;
        let is_it = |device: &Device| device.dialect == Dialect::Riot && device.is_open_to(address);
        match found.into_iter().find(is_it) {
            Some(device) => self.device_client(device).await.map(Some),
            None => Ok(None),
        }
    }

    async fn device_client(&self, device: Device) -> Result<Client, StoreError> {
        let rights = self.rights_of(&device).await?;
        let Device { id, name, external_id, dialect, silence_max, .. } = device;
        let device = Some(Identity { device: id, external_id, dialect });
        Ok(Client { device, token: None, name, rights, until: None, silence_max })
    }

    /// The topics of a device: its dialect's, and what was granted to it or to its tags.
    async fn rights_of(&self, device: &Device) -> Result<TopicRights, StoreError> {
        let external_id = device.external_id.clone();
        let mut rights =
            dialect::mqtt_rights(&Identity { device: device.id, external_id, dialect: device.dialect });
        for grant in self.store.grants_for(device.id, &device.tags).await? {
            if grant.publish {
                rights.publish.push(grant.filter.clone());
            }
            if grant.subscribe {
                rights.subscribe.push(grant.filter);
            }
        }
        Ok(rights)
    }

    /// Gives devices, as far as they have sessions, the rights that they have now. Call it after their tags or
    /// grants changed.
    pub(crate) async fn rights_changed(&self, devices: &[DeviceId]) {
        self.gateways.look_again(devices);
        let has_session = |id: &DeviceId| {
            let is_here = self.mqtt.get().is_some_and(|mqtt| mqtt.has_session(&Principal::Device(*id)));
            is_here || self.gateways.are_linked()
        };
        for id in devices.iter().copied().filter(has_session) {
            let rights = match self.store.device(id).await {
                Ok(Some(device)) => self.rights_of(&device).await,
                Ok(None) => Ok(TopicRights::default()),
                Err(error) => Err(error),
            };
            match rights {
                Ok(rights) => self.order(&Order::Rights(id, rights)),
                Err(error) => {
                    tracing::warn!(%error, device = %id, "its rights could not be looked up: it is disconnected");
                    self.order(&Order::Disconnect(id));
                }
            }
        }
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

fn offer(artifact: Artifact) -> Offer {
    Offer::new(&artifact, HEALTH_WINDOW)
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}
