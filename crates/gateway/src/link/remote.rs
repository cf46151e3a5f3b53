//! The hub at the far end of a link, for the gateways of this process.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, GatewayId};
use motehub_domain::kept::{Batch, Principal, Recalled};
use motehub_domain::message::{Downlink, Offer};
use motehub_domain::shadow::{self, Request, Shadow};
use motehub_domain::time::Time;
use motehub_protocol::MqttMessage;
use motehub_protocol::aws::Ask;
use motehub_protocol::link::Wire;
use tokio::sync::{mpsc, watch};

use super::deliver::Saying;
use super::live::{Live, Lost, unlinked};
use super::proof::PrivateKey;
use super::verdicts::Verdicts;
use super::{Order, Question, Route, Spool, Stamped};
use crate::hub::{
    Answer, Arrival, Client, Connection, ConnectionId, Held, Hub, Kept, Knock, Refusal, UplinkError,
};

/// How much of an artifact is asked for at once.
const PART_BYTES: usize = 256 * 1024;
/// How many arrivals that need no acknowledgement wait; further ones are dropped.
const OFFERED_MAX: usize = 20_000;

/// How many batches of things in order wait; further ones are not taken.
const SAYINGS_MAX: usize = 20_000;
/// How many connections are said again at once when the link is back.
const SETTLING_MAX: usize = 64;

/// What the time is.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Where the MQTT broker of a gateway keeps what must survive a restart: on its own disk, so that it acknowledges
/// while the link is down.
pub trait Notes: Send + Sync + 'static {
    /// See [`Hub::keep`].
    fn keep<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Result<(), UplinkError>>;
    /// See [`Hub::recall`].
    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>>;
    /// Something small that was kept under a name.
    fn note<'a>(&'a self, name: &'a str) -> Answer<'a, Result<Option<Vec<u8>>, UplinkError>>;
    /// Keeps it, or nothing any more.
    fn set_note<'a>(&'a self, name: &'a str, body: Option<Vec<u8>>) -> Answer<'a, Result<(), UplinkError>>;
}

/// What makes a gateway reach its hub.
pub struct Settings {
    /// The ways there: one to each node of the hub, tried in this order; at least one.
    pub routes: Vec<Route>,
    /// The hub's name for machines.
    pub hub: String,
    /// Which gateway this is.
    pub gateway: GatewayId,
    /// Its key.
    pub key: PrivateKey,
    /// What kinds of devices it serves, for people.
    pub serves: String,
    /// Of this program.
    pub version: String,
    /// What the time is.
    pub clock: Clock,
    /// Where its broker keeps things.
    pub notes: Box<dyn Notes>,
    /// Where what devices say waits for the link.
    pub spool: Spool,
}

/// The hub at the far end. Cheap to clone; somebody has to [`RemoteHub::run`] it.
#[derive(Clone)]
pub struct RemoteHub {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) settings: Settings,
    /// The link while there is one.
    pub(super) live: watch::Sender<Option<Arc<Live>>>,
    /// The connections of devices to this gateway.
    attached: Mutex<HashMap<ConnectionId, Attached>>,
    offered: mpsc::Sender<Arrival>,
    pub(super) sayings: mpsc::Sender<Saying>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) verdicts: Verdicts,
    pub(super) messages: AtomicU64,
    /// What waited on disk and was refused by the hub.
    pub(super) refused: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) round_trip_ms: AtomicU64,
}

struct Attached {
    connection: Connection,
    downlinks: mpsc::Sender<Downlink>,
    listens: bool,
}

/// What a remote hub gives to those who made it.
pub struct Ends {
    /// What was said without wanting an acknowledgement, for [`RemoteHub::run`].
    pub(super) offered: mpsc::Receiver<Arrival>,
    /// What was said in an order, for [`RemoteHub::run`].
    pub(super) sayings: mpsc::Receiver<Saying>,
    /// What the hub wants of the broker.
    orders: Option<mpsc::Receiver<Order>>,
}

impl Ends {
    /// What the hub wants of the broker, for whoever has one. Whatever nobody takes is dropped.
    pub fn take_orders(&mut self) -> mpsc::Receiver<Order> {
        self.orders.take().unwrap_or_else(|| mpsc::channel(1).1)
    }
}

impl RemoteHub {
    /// A hub that is not reached yet.
    pub fn new(settings: Settings) -> (Self, Ends) {
        let (offered, offers) = mpsc::channel(OFFERED_MAX);
        let (sayings, said) = mpsc::channel(SAYINGS_MAX);
        let (orders, ordered) = mpsc::channel(OFFERED_MAX);
        let shared = Shared {
            settings,
            live: watch::Sender::new(None),
            attached: Mutex::default(),
            offered,
            sayings,
            orders,
            verdicts: Verdicts::default(),
            messages: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            links: AtomicU64::new(0),
            round_trip_ms: AtomicU64::new(0),
        };
        (Self { shared: Arc::new(shared) }, Ends { offered: offers, sayings: said, orders: Some(ordered) })
    }

    /// Resolves when there is a link.
    pub async fn is_linked(&self) {
        let _ = self.shared.live.subscribe().wait_for(Option::is_some).await;
    }

    /// What waits on disk.
    pub(super) fn spool(&self) -> &Spool {
        &self.shared.settings.spool
    }

    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.shared.live.borrow().clone()
    }

    pub(super) async fn ask<T: Wire>(&self, question: Question) -> Result<T, Lost> {
        let live = self.live().ok_or(Lost)?;
        live.ask(question).await
    }

    async fn ask_or_wait<T: Wire>(&self, question: Question) -> Result<T, UplinkError> {
        self.ask::<Result<T, UplinkError>>(question).await.unwrap_or_else(|Lost| Err(unlinked()))
    }

    /// Says again which devices are connected, to a hub that forgot.
    pub(super) async fn settle(&self) -> Result<(), Lost> {
        let attached: Vec<(Connection, bool)> =
            self.attached().values().map(|it| (it.connection.clone(), it.listens)).collect();
        let here: HashSet<DeviceId> = attached.iter().map(|(connection, _)| connection.device).collect();
        let knocks = self.shared.verdicts.all(|who| match who {
            Principal::Device(device) => here.contains(device),
            Principal::Token(_) | Principal::Anonymous => true,
        });
        let again = knocks.into_iter().map(|(who, knock)| self.ask_for(who, knock));
        stream::iter(again).buffer_unordered(SETTLING_MAX).try_collect::<()>().await?;
        let again = attached.into_iter().map(|(connection, listens)| async move {
            let (id, device) = (connection.id, connection.device);
            // It went meanwhile, or is not let in any more.
            if !self.attached().contains_key(&id) {
                return Ok(());
            }
            self.ask::<()>(Question::Attach(connection)).await?;
            if listens {
                self.ask::<()>(Question::Listens(device)).await?;
            }
            Ok::<(), Lost>(())
        });
        stream::iter(again).buffer_unordered(SETTLING_MAX).try_collect::<()>().await?;
        self.ask(Question::Settled).await
    }

    /// Whether somebody who is here would be let in now: the hub may have decided otherwise while the link was cut.
    async fn ask_for(&self, who: Principal, knock: Knock) -> Result<(), Lost> {
        let settings = &self.shared.settings;
        let verdict: Result<Client, Refusal> = self.ask(Question::Authenticate(knock.clone())).await?;
        let now = (settings.clock)();
        self.shared.verdicts.heard(&*settings.notes, &settings.key, &knock, &verdict, now).await;
        if !matches!(verdict, Err(Refusal::BadCredentials | Refusal::NotAllowed)) {
            return Ok(());
        }
        tracing::info!(who = ?knock.credentials, "somebody is not let in any more");
        let order = match who {
            Principal::Device(device) => Order::Disconnect(device),
            Principal::Token(_) | Principal::Anonymous => Order::Forget(who),
        };
        self.obey(order).await;
        Ok(())
    }

    /// Does what the hub wants of this gateway, and hands it on to the broker. `false` if that does not follow.
    pub(super) async fn obey(&self, order: Order) -> bool {
        let settings = &self.shared.settings;
        self.shared.verdicts.obey(&*settings.notes, &order, (settings.clock)()).await;
        if let Order::Disconnect(device) = &order {
            // Whoever serves a connection sees the end of its downlinks.
            self.attached().retain(|_, it| it.connection.device != *device);
        }
        !matches!(self.shared.orders.try_send(order), Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Something for a device. A full queue loses it: it is recomputed from stored state.
    pub(super) fn said(&self, connection: ConnectionId, downlink: Downlink) {
        if let Some(attached) = self.attached().get(&connection)
            && attached.downlinks.try_send(downlink).is_err()
        {
            metrics::counter!("motehub_downlinks_dropped_total").increment(1);
        }
    }

    /// The hub ends a connection: whoever serves it sees the end of its downlinks.
    pub(super) fn ended(&self, connection: ConnectionId) {
        self.attached().remove(&connection);
    }

    /// How many connections of devices there are.
    pub(super) fn devices(&self) -> usize {
        self.attached().len()
    }

    fn attached(&self) -> MutexGuard<'_, HashMap<ConnectionId, Attached>> {
        self.shared.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stamped(&self, batch: Vec<Arrival>) -> Vec<Stamped> {
        let at = (self.shared.settings.clock)();
        self.shared.messages.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.into_iter().map(|arrival| Stamped { arrival, at }).collect()
    }
}

impl Hub for RemoteHub {
    fn authenticate(&self, knock: Knock) -> Answer<'_, Result<Client, Refusal>> {
        Box::pin(async move {
            let settings = &self.shared.settings;
            let (verdicts, notes) = (&self.shared.verdicts, &*settings.notes);
            let asked = self.ask(Question::Authenticate(knock.clone())).await;
            let now = (settings.clock)();
            match asked {
                Ok(verdict) => {
                    verdicts.heard(notes, &settings.key, &knock, &verdict, now).await;
                    verdict
                }
                Err(Lost) => verdicts.remembered(notes, &settings.key, &knock, now).await,
            }
        })
    }

    fn keys(&self, identity: String) -> Answer<'_, Result<Vec<String>, UplinkError>> {
        Box::pin(async move {
            let verdicts = &self.shared.verdicts;
            match self.ask(Question::Keys(identity.clone())).await {
                Ok(Ok(keys)) => Ok(verdicts.keys_heard(identity, keys)),
                Ok(Err(error)) => Err(error),
                Err(Lost) => verdicts.keys_remembered(&identity).ok_or_else(unlinked),
            }
        })
    }

    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>> {
        Box::pin(self.take(self.stamped(batch)))
    }

    fn offer(&self, batch: Vec<Arrival>) {
        for arrival in batch {
            if self.shared.offered.try_send(arrival).is_err() {
                metrics::counter!("motehub_uplinks_dropped_total", "reason" => "queue_full").increment(1);
            }
        }
    }

    fn shadow(
        &self,
        device: DeviceId,
        request: Request,
    ) -> Answer<'_, Result<Result<Shadow, shadow::Refusal>, UplinkError>> {
        let coming = self.live().map(|live| live.begin(Question::Shadow(device, request)));
        Box::pin(async move {
            let coming = coming.ok_or_else(unlinked)?;
            coming.answer().await.unwrap_or_else(|Lost| Err(unlinked()))
        })
    }

    fn asked(&self, who: Principal, ask: Ask) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>> {
        let coming = self.live().map(|live| live.begin(Question::Asked(who, ask)));
        Box::pin(async move {
            let coming = coming.ok_or_else(unlinked)?;
            coming.answer().await.unwrap_or_else(|Lost| Err(unlinked()))
        })
    }

    fn attach(&self, connection: Connection, downlinks: mpsc::Sender<Downlink>) -> Answer<'_, ()> {
        let attached = Attached { connection: connection.clone(), downlinks, listens: false };
        self.attached().insert(connection.id, attached);
        // If the link is lost meanwhile, it is said again when there is one.
        Box::pin(async move { self.ask(Question::Attach(connection)).await.unwrap_or_default() })
    }

    fn detach(&self, connection: ConnectionId) -> Answer<'_, ()> {
        let was_attached = self.attached().remove(&connection).is_some();
        Box::pin(async move {
            if was_attached {
                self.ask::<()>(Question::Detach(connection)).await.unwrap_or_default();
            }
        })
    }

    fn endings(&self) -> u64 {
        self.shared.verdicts.endings()
    }

    fn listens(&self, device: DeviceId) -> Answer<'_, ()> {
        let mut table = self.attached();
        table.values_mut().filter(|it| it.connection.device == device).for_each(|it| it.listens = true);
        drop(table);
        Box::pin(async move { self.ask(Question::Listens(device)).await.unwrap_or_default() })
    }

    fn pending(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(self.ask_or_wait(Question::Pending(device)))
    }

    fn current(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>> {
        Box::pin(self.ask_or_wait(Question::Current(device)))
    }

    fn refused(&self, device: DeviceId, why: String) -> Answer<'_, ()> {
        Box::pin(async move { self.ask(Question::Refused(device, why)).await.unwrap_or_default() })
    }

    fn keep<'a>(&'a self, batch: &'a Batch, _: &'a Held<'a>) -> Kept<'a> {
        let kept = self.shared.settings.notes.keep(batch);
        Box::pin(async move { kept.await.map(|()| BTreeSet::new()) })
    }

    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>> {
        self.shared.settings.notes.recall()
    }

    fn who(&self, principals: Vec<Principal>) -> Answer<'_, Result<Vec<Option<Client>>, UplinkError>> {
        Box::pin(async move {
            if principals.is_empty() {
                return Ok(Vec::new());
            }
            self.ask_or_wait(Question::Who(principals)).await
        })
    }

    fn artifact_size(
        &self,
        device: DeviceId,
        digest: Digest,
    ) -> Answer<'_, Result<Option<usize>, UplinkError>> {
        Box::pin(async move {
            let size: Option<u64> = self.ask_or_wait(Question::ArtifactSize(device, digest)).await?;
            Ok(size.and_then(|size| usize::try_from(size).ok()))
        })
    }

    fn artifact_part(&self, digest: Digest, part: Range<usize>) -> Answer<'_, Result<Bytes, UplinkError>> {
        Box::pin(self.ask_or_wait(Question::ArtifactPart(digest, part.start as u64, part.end as u64)))
    }

    fn artifact(&self, digest: Digest) -> Answer<'_, Result<Option<Bytes>, UplinkError>> {
        Box::pin(async move {
            let mut whole = Vec::new();
            loop {
                let part = self.artifact_part(digest, whole.len()..whole.len() + PART_BYTES).await?;
                whole.extend_from_slice(&part);
                if part.len() < PART_BYTES {
                    return Ok((!whole.is_empty()).then(|| whole.into()));
                }
            }
        })
    }
}
