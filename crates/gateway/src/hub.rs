//! The one narrow door between gateways and the rest of the product.
//!
//! A gateway knows sockets and dialects; the hub knows devices, rights and storage. `uplink().await` is the
//! acknowledgement: it resolves when everything in the batch is on disk, and PUBACK, PUBREC or the HTTP answer
//! is sent only then. Calls are per batch, not per message, so a boxed future is cheap.

mod nodes;
mod shown;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, TokenId};
use motehub_domain::kept::{Batch, Principal, Recalled};
use motehub_domain::message::{Downlink, Offer, Uplink};
use motehub_domain::shadow::{self, Shadow};
use motehub_domain::time::{Span, Time};
use motehub_domain::topic::TopicRights;
use motehub_protocol::aws::Ask;
use motehub_protocol::{Identity, MqttMessage};
use tokio::sync::mpsc;

use crate::http::Lent;

pub use nodes::{Moved, Nodes, Owned, PassedRows, RetainedRows};
pub(crate) use shown::Shown;

/// What the hub answers, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which kept sessions a broker has at present, by their numbers.
pub type Held<'a> = dyn Fn() -> BTreeSet<u64> + Send + Sync + 'a;
/// What [`Hub::keep`] answers: those of them that other nodes have taken.
pub type Kept<'a> = Answer<'a, Result<BTreeSet<u64>, UplinkError>>;

/// The methods through which gateways reach the product. Two implementations: in this process, and at the far
/// end of a link to another host.
pub trait Hub: Send + Sync + 'static {
    /// Who knocks, and what may they do?
    fn authenticate(&self, knock: Knock) -> Answer<'_, Result<Client, Refusal>>;

    /// The keys with which whoever says to be this device may prove it over DTLS: none for nobody, several while a new
    /// credential is on its way.
    fn keys(&self, identity: String) -> Answer<'_, Result<Vec<String>, UplinkError>>;

    /// Takes what devices said. One outcome per arrival, in order; resolves when every `Ok` is durable.
    fn uplink(&self, batch: Vec<Arrival>) -> Answer<'_, Vec<Result<(), UplinkError>>>;

    /// Like [`Hub::uplink`] for what needs no acknowledgement (QoS 0): returns at once. If the bounded queue is
    /// full the arrivals are dropped and counted.
    fn offer(&self, batch: Vec<Arrival>);

    /// A client published to a topic of which the hub wanted to hear, see [`crate::mqtt::Handle::tap`].
    fn published(&self, _topic: &str, _payload: &[u8]) {}

    /// A device asks something of its own shadow and waits for the answer. Requests of one device are done in the order
    /// in which this is called.
    fn shadow(
        &self,
        device: DeviceId,
        request: shadow::Request,
    ) -> Answer<'_, Result<Result<Shadow, shadow::Refusal>, UplinkError>>;

    /// Somebody asked something by a topic of AWS. What is said about a shadow is published before this resolves; what
    /// is answered about jobs is returned, and is for the asker alone. In the order in which this is called, too.
    fn asked(&self, who: Principal, ask: Ask) -> Answer<'_, Result<Option<MqttMessage>, UplinkError>>;

    /// A device's live connection begins: it is online from now on, and its downlinks come to `downlinks`.
    /// A former connection of the device stays attached until it detaches; presence is keyed by connection.
    fn attach(&self, connection: Connection, downlinks: mpsc::Sender<Downlink>) -> Answer<'_, ()>;

    /// A connection is over. The device is offline if no other connection of it is attached.
    fn detach(&self, connection: ConnectionId) -> Answer<'_, ()>;

    /// How often connections of somebody were ended since the start. If that is more than before somebody was looked
    /// up, it may have been meant for them.
    fn endings(&self) -> u64 {
        0
    }

    /// A device hears downlinks from now on: what waits for it is recomputed from stored state and sent to its
    /// connections. Called after [`Hub::attach`], whenever the device subscribes, polls anew or opens a socket.
    fn listens(&self, device: DeviceId) -> Answer<'_, ()>;

    /// What waits for a device, recomputed from stored state; `None` if nothing does.
    fn pending(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>>;

    /// What the device shall run now: what waits for it, or else what it was last given.
    fn current(&self, device: DeviceId) -> Answer<'_, Result<Option<Offer>, UplinkError>>;

    /// A message of a device was refused at the border; told to its owner and counted.
    fn refused(&self, device: DeviceId, why: String) -> Answer<'_, ()>;

    /// Keeps a batch of the MQTT broker's memory on disk; resolves when all of it is there. After an error nothing of
    /// it is, and the same batch may be given again. Gives those of the held sessions that other nodes have taken
    /// meanwhile: of them nothing was written, see [`Batch::lose`].
    fn keep<'a>(&'a self, batch: &'a Batch, held: &'a Held<'a>) -> Kept<'a>;

    /// Everything that was kept, for a gateway that starts.
    fn recall(&self) -> Answer<'_, Result<Recalled, UplinkError>>;

    /// Whether boards may be called and units dialled from here: of several nodes of a hub one at a time does. Asked
    /// before each time, since another one may have taken over from a process that stood still.
    fn may_call(&self) -> bool {
        true
    }

    /// What is behind an address at which devices fetch firmware, if another node of the hub lent it.
    fn lent(&self, _name: String) -> Answer<'_, Option<Lent>> {
        Box::pin(std::future::ready(None))
    }

    /// The other nodes of the hub; `None` where it is alone.
    fn nodes(&self) -> Option<&dyn Nodes> {
        None
    }

    /// What somebody who was let in before may do now; `None` for those who are gone.
    fn who(&self, principals: Vec<Principal>) -> Answer<'_, Result<Vec<Option<Client>>, UplinkError>>;

    /// How many bytes an artifact has that this device may have: what waits for it, what it runs, or what it can return
    /// to. `None` if it is none of these.
    fn artifact_size(
        &self,
        device: DeviceId,
        digest: Digest,
    ) -> Answer<'_, Result<Option<usize>, UplinkError>>;

    /// A part of the bytes of an artifact, within its size.
    fn artifact_part(&self, digest: Digest, part: Range<usize>) -> Answer<'_, Result<Bytes, UplinkError>>;

    /// The bytes of an artifact.
    fn artifact(&self, digest: Digest) -> Answer<'_, Result<Option<Bytes>, UplinkError>>;
}

/// Somebody who asks to be let in.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The remote address.
    pub address: SocketAddr,
    /// Through which transport, for the activity log.
    pub transport: Transport,
    /// What they show.
    pub credentials: Credentials,
}

/// The transports gateways listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// MQTT over TCP, TLS or WebSocket.
    Mqtt,
    /// HTTP requests of devices.
    Http,
    /// The native protocol over WebSocket.
    WebSocket,
    /// CoAP over UDP.
    Coap,
    /// MQTT or MQTT-SN of a node that has no credential: no session of the broker.
    MqttNode,
    /// Plain TCP to or from a unit.
    Line,
}

/// What somebody shows to be let in. Secrets here are never logged: `Debug` leaves them out.
#[derive(Clone)]
pub enum Credentials {
    /// An MQTT CONNECT.
    Mqtt {
        /// The client identifier (a device without user name may be known by it).
        client_id: String,
        /// The user name, if given.
        user: Option<String>,
        /// The password, if given.
        password: Option<Vec<u8>>,
        /// The certificate that was shown in TLS and comes from the hub's authority, DER.
        certificate: Option<Vec<u8>>,
    },
    /// The NodeMCU HTTP rules: a chip id, and the secret path prefix if there was one.
    Nodemcu {
        /// The chip id in decimal digits.
        chip_id: String,
        /// The credential in the path, if there was one.
        secret: Option<String>,
    },
    /// The native protocol over HTTP: an id in the path, and the credential as a bearer token.
    Bearer {
        /// The device's id with us, or its own.
        id: String,
        /// The credential.
        secret: String,
    },
    /// Mongoose OS: the credential alone says which device it is.
    Token {
        /// The credential.
        secret: String,
    },
    /// A RIOT node, which has no credential: its address has to fit.
    Riot {
        /// What it calls itself.
        uid: String,
    },
    /// The native protocol without a credential, over CoAP: its address has to fit.
    Unproven {
        /// The device's id with us, or its own.
        id: String,
    },
    /// DTLS: the peer has proven that it has this key of this identity. Both come from [`Hub::keys`], some time ago.
    Psk {
        /// The device's id with us, or its own.
        identity: String,
        /// The key.
        key: String,
    },
}

impl Credentials {
    /// Whether a secret is shown.
    pub fn has_secret(&self) -> bool {
        match self {
            Self::Mqtt { password, certificate, .. } => password.is_some() || certificate.is_some(),
            Self::Nodemcu { secret, .. } => secret.is_some(),
            Self::Bearer { .. } | Self::Token { .. } | Self::Psk { .. } => true,
            Self::Riot { .. } | Self::Unproven { .. } => false,
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mqtt { client_id, user, .. } => write!(f, "mqtt client {client_id:?} user {user:?}"),
            Self::Nodemcu { chip_id, .. } => write!(f, "nodemcu {chip_id:?}"),
            Self::Bearer { id, .. } => write!(f, "device {id:?}"),
            Self::Token { .. } => f.write_str("a Mongoose OS device"),
            Self::Riot { uid } => write!(f, "riot node {uid:?}"),
            Self::Unproven { id } => write!(f, "device {id:?} without a credential"),
            Self::Psk { identity, .. } => write!(f, "device {identity:?} over DTLS"),
        }
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Client {
    /// The device it is; `None` for programs, people and anonymous clients, which only publish and subscribe.
    pub device: Option<Identity>,
    /// The token that was shown, if one was.
    pub token: Option<TokenId>,
    /// A name for logs and the connections page: the device's, token's or "anonymous".
    pub name: String,
    /// Topics it may use, including those its dialect gives it.
    pub rights: TopicRights,
    /// When this ends: its connections are closed then, and its sessions end.
    pub until: Option<Time>,
    /// How long it may be silent, if that is said of it and its dialect has a use for it.
    pub silence_max: Option<Span>,
}

impl Client {
    /// Whose its sessions are.
    pub fn principal(&self) -> Principal {
        match (&self.device, self.token) {
            (Some(identity), _) => Principal::Device(identity.device),
            (None, Some(token)) => Principal::Token(token),
            (None, None) => Principal::Anonymous,
        }
    }
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown, or a wrong secret; which of the two is not said.
    BadCredentials,
    /// Known, but not allowed here (disabled, or this transport is not allowed for it).
    NotAllowed,
    /// The hub cannot tell at present (store away, too many at once): try again later.
    Unavailable,
}

/// One message of a device.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who said it.
    pub device: DeviceId,
    /// What it said.
    pub uplink: Uplink,
    /// Identifies one message of one session, where the transport can repeat it (MQTT QoS 1 and 2): the same
    /// message sent again has the same mark. Points without a time of their own are recognised by it.
    pub mark: Option<u64>,
    /// Whether the transport says that this may be a repetition (the DUP flag).
    pub again: bool,
}

/// Why an arrival was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// It cannot be accepted, now or later; the sentence says why.
    #[error("{0}")]
    Refused(String),
    /// It cannot be stored at present (disk full, database away). It is not stored: send it again later.
    #[error("it cannot be stored at present: {0}")]
    Unavailable(String),
}

/// Identifies one live connection of a device; larger for later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A live connection of a device.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Unique while the hub runs.
    pub id: ConnectionId,
    /// Whose.
    pub device: DeviceId,
    /// The remote address.
    pub address: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// After so much silence the gateway ends it; `None` for never.
    pub silence_max: Option<Span>,
}
