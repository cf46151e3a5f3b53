//! The hub in this process: how gateways reach the product.

mod who;

use std::ops::Range;

use bytes::Bytes;
use motehub_domain::artifact::{Artifact, Digest};
use motehub_domain::deployment::{HEALTH_WINDOW, Target};
use motehub_domain::device::Device;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::{Batch, Principal, Recalled};
use motehub_domain::message::{Downlink, Offer};
use motehub_domain::shadow::{self, Request, Shadow};
use motehub_domain::topic::TopicRights;
use motehub_gateway::http::Lent;
use motehub_gateway::hub::{
    Answer, Arrival, Client, Connection, ConnectionId, Credentials, Held, Hub, Kept, Knock, Nodes, Refusal,
    Transport, UplinkError,
};
use motehub_gateway::link::Order;
use motehub_protocol::aws::Ask;
use motehub_protocol::{Identity, MqttMessage, dialect};
use motehub_store::StoreError;
use tokio::sync::mpsc;

use crate::app::App;
use crate::cluster::ask::{self, Question};
use crate::cluster::words::Word;

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
                Credentials::Unproven { id } => self.unproven_device(id, knock.address.ip()).await,
                Credentials::Psk { identity, key } => self.keyed_device(identity, key).await,
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

    fn keys(&self, identity: String) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        Box::pin(async move {
            let _door = self.doors.acquire().await.expect("because it is never closed");
            let keys = self.keys_of(&identity).await.map_err(|e| unavailable(&e))?;
            Ok(keys.into_iter().map(|(_, key)| key).collect())
        })
    }

    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>> {
        let places = self.line_up(&batch);
        Box::pin(self.take(batch, places))
    }

    fn published(&self, topic: &str, payload: &[u8]) {
        self.flow_published(topic, payload);
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
        // Boards that are called are there if they answer, whatever connections they have.
        let boards = self.called.boards().filter(|_| connection.transport == Transport::Mqtt);
        if !boards.is_some_and(|boards| boards.connected(&connection, &downlinks)) {
            self.connections.attach(&connection, downlinks, self.now());
        }
        Box::pin(std::future::ready(()))
    }

    fn detach(&self, connection: ConnectionId) -> Answer<'_, ()> {
        self.board_left(connection);
        self.connections.detach(connection);
        Box::pin(std::future::ready(()))
    }

    fn endings(&self) -> u64 {
        self.connections.endings()
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

    fn keep<'a>(&'a self, batch: &'a Batch, held: &'a Held<'a>) -> Kept<'a> {
        Box::pin(async move { self.keep_mqtt(batch, held).await.map_err(|e| unavailable(&e)) })
    }

    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        Box::pin(async move { self.recall_mqtt().await.map_err(|e| unavailable(&e)) })
    }

    fn may_call(&self) -> bool {
        self.held().is_none_or(|held| self.cluster.leases().is_held(held))
    }

    fn lent(&self, name: String) -> Answer<'_, Option<Lent>> {
        Box::pin(async move {
            let _place = self.doors.acquire().await.expect("because it is never closed");
            let lent: Option<ask::Lent> = self.ask_who_knows(&Question::Lent(name)).await;
            lent?.read()
        })
    }

    fn nodes(&self) -> Option<&dyn Nodes> {
        (!self.cluster.is_alone()).then_some(self)
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
        for some in devices.chunks(Word::DEVICES_MAX) {
            self.say_to_all(&Word::Rights(some.to_vec()));
        }
        self.rights_changed_here(devices).await;
    }

    /// The same for sessions at this node, and behind gateways that are linked to it.
    pub(crate) async fn rights_changed_here(&self, devices: &[DeviceId]) {
        self.gateways.look_again(devices);
        // Whoever is about to be let in with what was right before is asked for again then.
        let has_session = |id: &DeviceId| {
            let is_here = self.mqtt.get().is_some_and(|mqtt| mqtt.changed(Principal::Device(*id)));
            is_here || self.gateways.are_linked()
        };
        for id in devices.iter().copied().filter(has_session) {
            let rights = match self.store.device(id).await {
                Ok(Some(device)) => self.rights_of(&device).await,
                Ok(None) => Ok(TopicRights::default()),
                Err(error) => Err(error),
            };
            match rights {
                Ok(rights) => self.order_here(&Order::Rights(id, rights)),
                Err(error) => {
                    tracing::warn!(%error, device = %id, "its rights could not be looked up: it is disconnected");
                    self.order_here(&Order::Disconnect(id));
                }
            }
        }
    }
}

fn offer(artifact: Artifact) -> Offer {
    Offer::new(&artifact, HEALTH_WINDOW)
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}
