//! Requests about shadows on their way, and whether anybody hears what is answered.

use std::pin::Pin;
use std::sync::Arc;

use motehub_domain::kept::Principal;
use motehub_domain::shadow::Refusal;
use motehub_protocol::shadow::Ask;
use tokio::sync::Semaphore;

use super::connection::Settled;
use super::{Handle, Token};
use crate::hub::Hub;

/// How many may be under way on one connection; more are refused, as AWS does.
const ASKS_MAX: usize = 10;

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
            ask.request = Err(Refusal::TooManyRequests);
        }
        let answer = hub.asked(who, ask);
        Box::pin(async move {
            let outcome = answer.await;
            drop(permit);
            (token.into_iter().collect(), vec![outcome])
        })
    }
}

impl Handle {
    /// Whether anybody has subscribed to a topic.
    pub fn is_heard(&self, topic: &str) -> bool {
        self.shared.look(|broker, _| broker.routes.has_match(topic))
    }
}
