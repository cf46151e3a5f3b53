//! Requests by the topics of AWS, from devices and from programs. Those about shadows are answered on their own topic,
//! and what everybody may hear is published by `perform`; those about jobs are in `jobs.rs`.

use motehub_domain::change::Actor;
use motehub_domain::id::DeviceId;
use motehub_domain::kept::Principal;
use motehub_domain::shadow::{Deed, Refusal, Request, document, rejected};
use motehub_gateway::hub::{Answer, UplinkError};
use motehub_gateway::link::Order;
use motehub_protocol::MqttMessage;
use motehub_protocol::aws::Ask;
use motehub_protocol::shadow;
use motehub_store::StoreError;
use serde_json::Value;

use crate::app::App;
use crate::perform::Failure;

impl App {
    /// Does what was asked, after what the same asked before. An answer that is returned is for the asker alone.
    pub(crate) fn ask(
        &self,
        who: Principal,
        ask: Ask,
    ) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>> {
        let mut turn = self.shadows.line_up_to_ask(who, ask.thing());
        Box::pin(async move {
            turn.comes().await;
            match ask {
                Ask::Shadow(ask) => self.ask_shadow(who, ask).await.map(|()| None),
                Ask::Job(ask) => self.ask_job(who, ask).await.map(Some),
            }
        })
    }

    async fn ask_shadow(&self, who: Principal, ask: shadow::Ask) -> Result<(), UplinkError> {
        let shadow::Ask { topic, thing, token, request } = ask;
        let done = match request {
            Ok(request) => self.answer(who, &thing, &request).await,
            Err(refusal) => Ok(Err(refusal)),
        };
        let (verdict, payload) = match done {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(document))) => ("accepted", document),
            Ok(Err(refusal)) => ("rejected", rejected(&refusal, token.as_deref(), self.now())),
            Err(failure) => {
                tracing::warn!(%failure, "a shadow could not be read or written");
                let refused = rejected(&Refusal::Internal, token.as_deref(), self.now());
                self.say_on(&topic, "rejected", &refused);
                return Err(UplinkError::Unavailable(failure.to_string()));
            }
        };
        self.say_on(&topic, verdict, &payload);
        Ok(())
    }

    /// The document that answers a request; none if `perform` has published the answer.
    async fn answer(
        &self,
        who: Principal,
        thing: &str,
        request: &Request,
    ) -> Result<Result<Option<Value>, Refusal>, Failure> {
        let Some(actor) = self.actor(who).await? else { return Ok(Err(Refusal::Unauthorized)) };
        let Some(device) = self.thing(who, thing).await? else { return Ok(Err(Refusal::NoThing)) };
        let mut turn = self.shadows.line_up(device);
        turn.comes().await;
        Ok(self.on_shadow(device, request, Some(&actor)).await?.map(|shadow| match &request.deed {
            Deed::Get(token) => Some(document(&shadow, token.as_deref(), self.now())),
            Deed::Update(_) | Deed::Delete(_) => None,
        }))
    }

    /// Who asks; `None` for somebody who showed nothing, and for those who are gone.
    async fn actor(&self, who: Principal) -> Result<Option<Actor>, StoreError> {
        Ok(match who {
            Principal::Device(id) => self.store.device(id).await?.map(|device| Actor::Device(device.name)),
            Principal::Token(id) => self.store.token(id).await?.map(|token| Actor::Token(token.name)),
            Principal::Anonymous => None,
        })
    }

    /// The device that a thing is: by its id, or by its own. Of several devices with one id of their own the asking one
    /// is meant, and otherwise the one that speaks the native protocol.
    pub(crate) async fn thing(&self, who: Principal, thing: &str) -> Result<Option<DeviceId>, StoreError> {
        if let Ok(id) = thing.parse()
            && let Some(device) = self.store.device(id).await?
        {
            return Ok(Some(device.id));
        }
        let found = self.store.devices_by_external_id(thing).await?;
        let own = found.iter().find(|device| who == Principal::Device(device.id));
        let native = found.iter().find(|device| device.dialect.speaks_native());
        Ok(own.or(native).or(found.first()).map(|device| device.id))
    }

    /// Here, and behind the gateways, where the asker may be.
    fn say_on(&self, topic: &str, verdict: &str, payload: &Value) {
        let (topic, payload) = (format!("{topic}/{verdict}"), payload.to_string().into_bytes().into());
        self.order(&Order::Publish { topic, payload, qos: 1, retain: false });
    }
}
