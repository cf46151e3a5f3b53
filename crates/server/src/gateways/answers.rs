//! What a gateway asks, answered by the hub in this process, for devices that it may speak for and no others.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use motehub_domain::device::Device;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::gateway::Hindrance;
use motehub_domain::group;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::selector::Selector;
use motehub_gateway::hub::{Answer, Client, Connection, ConnectionId, Hub, Knock, Refusal, UplinkError};
use motehub_gateway::link::{Down, Question, Stamped};
use motehub_protocol::link::encode;
use motehub_store::StoreError;

use super::session::Peer;
use crate::perform::Failure;

/// What is answered about devices of others.
const NOT_ALLOWED: &str = "this gateway may not speak for this device";

impl Peer {
    /// The welcome; none if its key was revoked while it came in.
    pub(super) async fn welcome(&self) -> Result<Option<Down>, StoreError> {
        let known = self.app.store.gateway(self.link.gateway).await?;
        let is_good = known.is_some_and(|view| view.gateway.key == Some(self.key));
        Ok(is_good.then(|| Down::Welcome { now: self.app.now() }))
    }

    /// The answer to a question, as bytes. What has an order takes its place when this is called.
    pub(super) fn answer(self: &Arc<Self>, question: Question) -> Answer<'_, Bytes> {
        match question {
            Question::Authenticate(knock) => Box::pin(async move { encode(&self.authenticate(knock).await) }),
            Question::Keys(identity) => Box::pin(async move { encode(&self.keys(identity).await) }),
            Question::Uplink(batch) => self.uplink(batch),
            Question::Numbered { lane, rows } => {
                Box::pin(async move { encode(&self.numbered(lane, rows).await) })
            }
            Question::Shadow(device, request) => {
                let answer = self.app.shadow(device, request);
                Box::pin(async move {
                    encode(&match self.may(device).await {
                        Ok(()) => answer.await,
                        Err(error) => Err(error),
                    })
                })
            }
            Question::Asked(who, ask) => {
                let answer = self.app.asked(who, ask);
                Box::pin(async move {
                    encode(&match self.may_be(who).await {
                        Ok(()) => answer.await,
                        Err(error) => Err(error),
                    })
                })
            }
            Question::Attach(connection) => Box::pin(async move { encode(&self.attach(connection).await) }),
            Question::Detach(connection) => {
                self.detach(connection);
                Box::pin(std::future::ready(encode(&())))
            }
            Question::Settled => Box::pin(async move { encode(&self.settled().await) }),
            Question::Listens(device) => Box::pin(async move {
                if self.may(device).await.is_ok() {
                    self.app.listens(device).await;
                }
                encode(&())
            }),
            Question::Pending(device) => Box::pin(async move {
                encode(&match self.may(device).await {
                    Ok(()) => self.app.pending(device).await,
                    Err(error) => Err(error),
                })
            }),
            Question::Current(device) => Box::pin(async move {
                encode(&match self.may(device).await {
                    Ok(()) => self.app.current(device).await,
                    Err(error) => Err(error),
                })
            }),
            Question::Refused(device, why) => Box::pin(async move {
                if self.may(device).await.is_ok() {
                    self.app.refused(device, why).await;
                }
                encode(&())
            }),
            Question::Who(principals) => Box::pin(async move { encode(&self.who(principals).await) }),
            Question::ArtifactSize(device, digest) => Box::pin(async move {
                encode(&match self.may(device).await {
                    Ok(()) => {
                        self.app.artifact_size(device, digest).await.map(|size| size.map(|it| it as u64))
                    }
                    Err(error) => Err(error),
                })
            }),
            Question::ArtifactPart(digest, from, to) => Box::pin(async move {
                let size = self.app.store.artifact_size(digest).await.map_err(|error| unavailable(&error));
                let place = |at: u64, size: usize| usize::try_from(at).unwrap_or(size).min(size);
                let part = match size {
                    Ok(size) => {
                        let size = size.unwrap_or_default();
                        self.app.artifact_part(digest, place(from, size)..place(to, size)).await
                    }
                    Err(error) => Err(error),
                };
                encode(&part)
            }),
        }
    }

    async fn authenticate(&self, knock: Knock) -> Result<Client, Refusal> {
        let has_shown = knock.credentials.has_secret();
        let client = self.app.authenticate(knock).await?;
        let Some(device) = client.device.as_ref().map(|identity| identity.device) else {
            // Programs show a token. Who shows nothing may not come in through a gateway.
            let token = client.token.ok_or(Refusal::NotAllowed)?;
            self.app.gateways.token_shown(self.link.gateway, token);
            return Ok(client);
        };
        match self.let_in(device, has_shown).await {
            Ok(None) => Ok(client),
            Ok(Some(hindrance)) => {
                let gateway = self.link.gateway;
                tracing::info!(%gateway, %device, ?hindrance, "a device came through a gateway that is not its own");
                metrics::counter!("motehub_gateway_devices_refused_total").increment(1);
                Err(Refusal::NotAllowed)
            }
            Err(error) => {
                tracing::warn!(%error, "whether a gateway may speak for a device could not be looked up");
                Err(Refusal::Unavailable)
            }
        }
    }

    /// The keys of a device, for a gateway that may speak for it once it has shown one of them.
    async fn keys(&self, identity: String) -> Result<Vec<String>, UplinkError> {
        let device = self.app.native_named(&identity).await.map_err(|error| unavailable(&error))?;
        let Some(device) = device else { return Ok(Vec::new()) };
        match self.hindrance(&device, true).await {
            Ok(None) => self.app.keys(identity).await,
            Ok(Some(_)) => Ok(Vec::new()),
            Err(error) => Err(UplinkError::Unavailable(error.to_string())),
        }
    }

    /// A device came; that it showed its own credential is remembered.
    async fn let_in(&self, id: DeviceId, has_shown: bool) -> Result<Option<Hindrance>, Failure> {
        let Some(device) = self.app.store.device(id).await? else { return Ok(Some(Hindrance::NotItsOwn)) };
        let hindrance = self.hindrance(&device, has_shown).await?;
        if hindrance.is_none() {
            if has_shown && !self.app.store.has_shown(self.link.gateway, id).await? {
                let save = vec![Save::ShownThrough(self.link.gateway, id)];
                self.app.perform(Effects { save, ..Effects::none() }).await?;
            }
            self.link.allowed().insert(id);
        }
        Ok(hindrance)
    }

    async fn hindrance(&self, device: &Device, has_shown: bool) -> Result<Option<Hindrance>, Failure> {
        let app = &self.app;
        let Some(view) = app.store.gateway(self.link.gateway).await? else {
            return Ok(Some(Hindrance::NotItsOwn));
        };
        let is_selected = match view.gateway.selector.as_str() {
            "" => None,
            text => {
                let groups = app.store.groups().await?;
                let selector = group::expand(&Selector::parse(text)?, &groups)?;
                Some(app.store.is_selected(device.id, &selector, app.now()).await?)
            }
        };
        Ok(view.gateway.hindrance(device, is_selected, has_shown))
    }

    /// Whether the gateway may speak for a device now.
    pub(super) async fn may(&self, id: DeviceId) -> Result<(), UplinkError> {
        if self.link.allowed().contains(&id) {
            return Ok(());
        }
        let looked_up = async {
            let has_shown = self.app.store.has_shown(self.link.gateway, id).await?;
            self.let_in(id, has_shown).await
        };
        match looked_up.await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let gateway = self.link.gateway;
                tracing::warn!(%gateway, device = %id, "a gateway speaks for a device that is not its own");
                metrics::counter!("motehub_gateway_devices_refused_total").increment(1);
                Err(UplinkError::Refused(NOT_ALLOWED.to_owned()))
            }
            Err(error) => Err(UplinkError::Unavailable(error.to_string())),
        }
    }

    async fn may_be(&self, who: Principal) -> Result<(), UplinkError> {
        match who {
            Principal::Device(device) => self.may(device).await,
            Principal::Token(token) if self.app.gateways.has_shown_token(self.link.gateway, token) => Ok(()),
            Principal::Token(_) | Principal::Anonymous => Err(UplinkError::Refused(NOT_ALLOWED.to_owned())),
        }
    }

    /// Takes what devices said, of those for whom the gateway may speak.
    fn uplink(&self, batch: Vec<Stamped>) -> Answer<'_, Bytes> {
        let is_known = {
            let allowed = self.link.allowed();
            batch.iter().all(|said| allowed.contains(&said.arrival.device))
        };
        if is_known {
            let taken = self.app.take_stamped(batch);
            return Box::pin(async move { encode(&taken.await) });
        }
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.len());
            let mut good = Vec::new();
            for said in batch {
                match self.may(said.arrival.device).await {
                    Ok(()) => {
                        outcomes.push(None);
                        good.push(said);
                    }
                    Err(error) => outcomes.push(Some(Err(error))),
                }
            }
            let mut taken = self.app.take_stamped(good).await.into_iter();
            let none = || Err(UplinkError::Unavailable("it was not taken".to_owned()));
            let all: Vec<_> = outcomes
                .into_iter()
                .map(|it| it.unwrap_or_else(|| taken.next().unwrap_or_else(none)))
                .collect();
            encode(&all)
        })
    }

    async fn attach(&self, connection: Connection) {
        if self.may(connection.device).await.is_err() {
            self.link.say(Down::Ended { connection: connection.id });
            return;
        }
        let ours = self.app.gateways.next_connection();
        let before = self.connections().insert(connection.id, ours);
        let theirs = connection.id;
        self.app.connections.attach_behind(
            &self.link,
            theirs,
            &Connection { id: ours, ..connection },
            self.app.now(),
        );
        if let Some(before) = before {
            self.app.connections.detach(before);
        }
    }

    fn detach(&self, connection: ConnectionId) {
        let ours = self.connections().remove(&connection);
        if let Some(ours) = ours {
            self.app.connections.detach(ours);
        }
    }

    /// All devices of the gateway that are connected were attached: the others are gone.
    async fn settled(&self) {
        let gateway = self.link.gateway;
        let gone = async {
            let mut gone = self.app.store.unreachable(gateway).await?;
            if !self.app.cluster.is_alone() {
                // Those that came at the node to which it was linked before.
                gone.extend(self.app.store.held_behind(gateway, self.app.cluster.node()).await?);
            }
            Ok::<_, StoreError>(gone)
        };
        match gone.await {
            Ok(gone) => self.app.connections.settled(gateway, gone),
            Err(error) => tracing::warn!(%error, "unreachable devices could not be looked up"),
        }
    }

    async fn who(&self, principals: Vec<Principal>) -> Result<Vec<Option<Client>>, UplinkError> {
        let mut clients = self.app.who(principals.clone()).await?;
        for (principal, client) in principals.into_iter().zip(&mut clients) {
            // What a program may do is no secret; a device of others is none to this gateway.
            let Principal::Device(device) = principal else { continue };
            match self.may(device).await {
                Ok(()) => {}
                Err(UplinkError::Refused(_)) => *client = None,
                Err(error) => return Err(error),
            }
        }
        Ok(clients)
    }

    fn connections(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<ConnectionId, ConnectionId>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(error: &StoreError) -> UplinkError {
    UplinkError::Unavailable(error.to_string())
}
