//! Requests by the topics of AWS on their way, and whether anybody hears what is answered.

use std::pin::Pin;
use std::sync::Arc;

use motehub_domain::kept::Principal;
use motehub_protocol::MqttMessage;
use motehub_protocol::aws::Ask;
use tokio::sync::Semaphore;

use super::{Handle, Token};
use crate::hub::{Hub, UplinkError};

/// How many may be under way on one connection; more are refused, as AWS does.
const ASKS_MAX: usize = 10;

/// What became of a batch.
pub(super) struct Settled {
    /// Those that are acknowledged with it.
    pub tokens: Vec<Token>,
    /// Their outcomes.
    pub outcomes: Vec<Result<(), UplinkError>>,
    /// What is answered to this connection alone.
    pub reply: Option<MqttMessage>,
}

/// Those of one connection.
pub(super) struct Asks(Arc<Semaphore>);

impl Default for Asks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ASKS_MAX)))
    }
}

impl Asks {
    /// Hands a request to the hub at once, so that requests keep their order; what it returns is awaited later.
    pub(super) fn start<'a>(
        &self,
        hub: &'a dyn Hub,
        token: Option<Token>,
        who: Principal,
        mut ask: Ask,
    ) -> Pin<Box<dyn Future<Output = Settled> + Send + 'a>> {
        let permit = self.0.clone().try_acquire_owned();
        if permit.is_err() {
            ask.throttle();
        }
        let answer = hub.asked(who, ask);
        Box::pin(async move {
            let (reply, outcome) = match answer.await {
                Ok(reply) => (reply, Ok(())),
                Err(error) => (None, Err(error)),
            };
            drop(permit);
            Settled { tokens: token.into_iter().collect(), outcomes: vec![outcome], reply }
        })
    }
}

impl Handle {
    /// Whether anybody has subscribed to a topic.
    pub fn is_heard(&self, topic: &str) -> bool {
        self.shared.look(|broker, _| broker.routes.has_match(topic))
    }
}
