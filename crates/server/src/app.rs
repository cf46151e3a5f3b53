//! What all parts of the shell share.

use std::sync::{Arc, OnceLock};

use crate::access_key;
use crate::api::Throttle;
use crate::boards::Called;
use crate::claims::Claims;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::commands::Commands;
use crate::flows::Flows;
use crate::gateways::Gateways;
use crate::inbox::Knocks;
use crate::ingest::{Intake, Rate};
use crate::live::Live;
use crate::mailer::Mailer;
use crate::outside::Outside;
use crate::presence::Connections;
use crate::presence::elsewhere::Elsewhere;
use crate::pusher::Pusher;
use crate::pyaiot::Pyaiot;
use crate::reports::Events;
use crate::retention::Retention;
use crate::rollouts::Rollouts;
use crate::rotation::Origins;
use crate::rules::Rules;
use crate::server::Addresses;
use crate::settings::Settings;
use crate::shadows::Shadows;
use crate::units::Reached;
use crate::webhooks::Webhooks;
use motehub_domain::effects::Save;
use motehub_domain::gateway::Taken;
use motehub_domain::time::Time;
use motehub_gateway::http::Links;
use motehub_gateway::mqtt;
use motehub_store::{Held, Store};

/// One struct of handles, cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    parts: Arc<Parts>,
    /// What is committed together with whatever is performed.
    along: Option<Taken>,
    /// Under which lease it works, if it is the work of one node.
    held: Option<Held>,
}

/// The handles.
pub(crate) struct Parts {
    /// Remembers everything.
    pub(crate) store: Store,
    /// Tells the time.
    pub(crate) clock: Clock,
    /// What was set at start.
    pub(crate) settings: Settings,
    /// This node, and what it knows of the others.
    pub(crate) cluster: Cluster,
    /// When the hub started.
    pub(crate) started_at: Time,
    /// Who watches what, live.
    pub(crate) live: Live,
    /// Which other node has which device.
    pub(crate) elsewhere: Elsewhere,
    /// The live connections of devices.
    pub(crate) connections: Connections,
    /// The links of gateways in processes of their own.
    pub(crate) gateways: Gateways,
    /// From where devices came lately.
    pub(crate) origins: Origins,
    /// Unknown devices that knocked.
    pub(crate) knocks: Knocks,
    /// The queue of what needs no acknowledgement.
    pub(crate) intake: Intake,
    /// How many events devices reported lately.
    pub(crate) events: Events,
    /// What the rollouts worker is told.
    pub(crate) rollouts: Rollouts,
    /// The flows that run.
    pub(crate) flows: Flows,
    /// The rules that are on.
    pub(crate) rules: Rules,
    /// What the commands worker is told.
    pub(crate) commands: Commands,
    /// Whose turn it is with the shadows of a device.
    pub(crate) shadows: Shadows,
    /// How the worker is doing that removes old telemetry.
    pub(crate) retention: Retention,
    /// From what the secrets of access keys are derived.
    pub(crate) access_keys: access_key::Origin,
    /// Slows down whoever guesses passwords.
    pub(crate) throttle: Throttle,
    /// Slows down whoever guesses claim codes and invitations.
    pub(crate) guesses: Throttle,
    /// Keys of Pyaiot gateways, and those that are here.
    pub(crate) pyaiot: Pyaiot,
    /// Pusher apps, and who is here by them.
    pub(crate) pusher: Pusher,
    /// Customers who were told to press the button of a device.
    pub(crate) claims: Claims,
    /// The digest of the one-time set-up code and when it expires, until there is an administrator.
    pub(crate) setup: std::sync::Mutex<Option<(motehub_domain::artifact::Digest, Time)>>,
    /// How many bulk actions may begin.
    pub(crate) bulk: Arc<tokio::sync::Semaphore>,
    /// How many devices and programs may be looked up that ask to be let in.
    pub(crate) doors: tokio::sync::Semaphore,
    /// How many firmware files may be received.
    pub(crate) uploads: tokio::sync::Semaphore,
    /// How many more may read the activity as it happens.
    pub(crate) streams: Arc<tokio::sync::Semaphore>,
    /// How many may look at dashboards.
    pub(crate) looks: Arc<tokio::sync::Semaphore>,
    /// How many may look at dashboards by public links.
    pub(crate) public_looks: Arc<tokio::sync::Semaphore>,
    /// How many points were taken lately.
    pub(crate) points: Rate,
    /// Where it listens, once it is bound.
    pub(crate) bound: OnceLock<Addresses>,
    /// What the broker needs where the hub has several nodes.
    pub(crate) broker: crate::cluster::mqtt::Broker,
    /// The broker, once it is bound.
    pub(crate) mqtt: OnceLock<mqtt::Handle>,
    /// The way to addresses outside, once it is bound.
    pub(crate) outside: OnceLock<Outside>,
    /// The way to the mail server, if one is set.
    pub(crate) mailer: Option<Mailer>,
    /// What the webhooks worker is told.
    pub(crate) webhooks: Webhooks,
    /// Boards that are called.
    pub(crate) called: Called,
    /// Addresses at which devices that are here fetch firmware.
    pub(crate) lent: Links,
    /// Units, here and behind gateways.
    pub(crate) units: Reached,
    /// Renders the metrics.
    pub(crate) metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl App {
    /// Wraps the handles.
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), along: None, held: None }
    }

    /// The same, but whatever is performed through it also says that something of a gateway was taken.
    pub(crate) fn taking(&self, taken: Taken) -> Self {
        Self { parts: self.parts.clone(), along: Some(taken), held: self.held.clone() }
    }

    /// The same, but whatever is performed through it is refused once another node holds the lease.
    pub(crate) fn under(&self, held: Held) -> Self {
        Self { held: Some(held), ..self.clone() }
    }

    /// The lease under which it works.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// What is committed together with whatever is performed.
    pub(crate) fn along(&self) -> Option<Save> {
        self.along.clone().map(Save::Taken)
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Addresses {
        *self.bound.get().expect("because it is bound before anybody is let in")
    }

    /// The way to addresses outside.
    pub(crate) fn outside(&self) -> &Outside {
        self.outside.get().expect("because it is made when everything is bound")
    }

    /// Now.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.parts
    }
}
