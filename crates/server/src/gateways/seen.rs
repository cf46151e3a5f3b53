//! How the link of a gateway is, for people. Links to other nodes are as these last said.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use motehub_domain::id::GatewayId;
use motehub_domain::time::Time;
use motehub_gateway::link::Status;
use motehub_protocol::wire;
use tokio::time::Instant;

use super::{Gateways, Link};
use crate::app::App;
use crate::cluster::words::Word;

/// How long it holds what another node said: a few times as long as a gateway says that it is alive.
const SAID_FOR: Duration = Duration::from_secs(20);
/// Of how many gateways it is remembered.
const GATEWAYS_MAX: usize = 10_000;

/// How a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Since when it is there.
    pub(crate) since: Time,
    /// What kinds of devices the gateway serves.
    pub(crate) serves: String,
    /// The version of its program.
    pub(crate) program: String,
    /// What the gateway last said of itself.
    pub(crate) status: Status,
    /// How many messages its devices say within a minute.
    pub(crate) per_minute: u64,
}

wire! {
    struct Seen { since, serves, program, status, per_minute }
}

/// How links to other nodes are.
#[derive(Default)]
pub(super) struct Elsewhere(Mutex<HashMap<GatewayId, (Seen, Instant)>>);

impl Link {
    fn seen(&self) -> Seen {
        let (status, per_minute) = self.status();
        let (serves, program) = (self.serves.clone(), self.program.clone());
        Seen { since: self.since, serves, program, status, per_minute }
    }
}

impl Gateways {
    /// How the link of a gateway is, if it has one to whatever node.
    pub(crate) fn seen(&self, gateway: GatewayId) -> Option<Seen> {
        if let Some(link) = self.link(gateway) {
            return Some(link.seen());
        }
        let elsewhere = self.elsewhere.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, at) = elsewhere.get(&gateway)?;
        (at.elapsed() < SAID_FOR).then(|| seen.clone())
    }

    /// Another node says how the link of a gateway is, or that it is over.
    pub(crate) fn hear(&self, gateway: GatewayId, seen: Option<Seen>) {
        let mut elsewhere = self.elsewhere.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Some(seen) if elsewhere.len() < GATEWAYS_MAX || elsewhere.contains_key(&gateway) => {
                elsewhere.insert(gateway, (seen, Instant::now()));
            }
            Some(_) => elsewhere.retain(|_, (_, at)| at.elapsed() < SAID_FOR),
            None => drop(elsewhere.remove(&gateway)),
        }
    }
}

impl App {
    /// Says to the other nodes how the link of a gateway to this one is.
    pub(super) fn say_link(&self, link: &Link) {
        self.say_to_all(&Word::Linked(link.gateway, Some(link.seen())));
    }
}
