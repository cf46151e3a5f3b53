//! What a gateway on another host and its hub say to each other: the calls of [`crate::hub::Hub`] as questions with
//! a number, and around them the handshake and the heartbeat.

use bytes::Bytes;
use motehub_domain::artifact::Digest;
use motehub_domain::id::{DeviceId, GatewayId};
use motehub_domain::kept::Principal;
use motehub_domain::message::Downlink;
use motehub_domain::shadow::Request;
use motehub_domain::time::Time;
use motehub_domain::topic::TopicRights;
use motehub_protocol::aws::Ask;
use motehub_protocol::link::{Reader, Wire, Writer};
use motehub_protocol::{DecodeError, wire};

use crate::boards;
use crate::hub::{
    Arrival, Client, Connection, ConnectionId, Credentials, Knock, Refusal, Transport, UplinkError,
};
use crate::units::Unit;

/// From a gateway to its hub.
#[derive(Debug)]
pub enum Up {
    /// It is this gateway: the signature over what [`super::proof`] says. The answer is a welcome or a refusal.
    Proof {
        /// Which.
        gateway: GatewayId,
        /// By its private key.
        signature: Bytes,
        /// Which spool it has; numbers of another one mean nothing.
        spool: u64,
        /// What kinds of devices it serves, for people, such as "mqtt".
        serves: String,
        /// The version of the program.
        program: String,
    },
    /// A call of the hub. Answered by its number.
    Ask {
        /// Larger for later ones.
        id: u64,
        /// Which call.
        question: Question,
    },
    /// It is alive, and how it is. Answered at once.
    Beat(Status),
}

/// From a hub to a gateway.
#[derive(Debug)]
pub enum Down {
    /// The first frame: what is to be signed.
    Challenge {
        /// The hub's name for machines, which never changes.
        hub: String,
        /// Random, for this connection only.
        nonce: Bytes,
    },
    /// The hub does not let it in; the connection ends.
    Refused {
        /// In a sentence that says what to do.
        why: String,
    },
    /// The hub lets it in.
    Welcome {
        /// What the time is there.
        now: Time,
    },
    /// The answer to a call, encoded.
    Answer {
        /// Of the call.
        id: u64,
        /// What the call returns.
        answer: Bytes,
    },
    /// Something for a device.
    Downlink {
        /// On which of its connections.
        connection: ConnectionId,
        /// What.
        downlink: Downlink,
    },
    /// The hub ends a connection of a device.
    Ended {
        /// Which.
        connection: ConnectionId,
    },
    /// Something for the gateway itself.
    Order(Order),
    /// Answers a beat.
    Beat,
}

/// What a hub wants of a gateway's broker and of what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// End the connections of a device; it was disabled, or has a new credential.
    Disconnect(DeviceId),
    /// A device may do this from now on.
    Rights(DeviceId, TopicRights),
    /// Somebody is gone, with all sessions.
    Forget(Principal),
    /// Publish in the name of the server.
    Publish {
        /// Where.
        topic: String,
        /// What.
        payload: Bytes,
        /// Quality of service.
        qos: u8,
        /// Whether it is retained.
        retain: bool,
    },
    /// These are all units that the gateway reaches.
    Units(Vec<Unit>),
}

/// A call of the hub, with what it returns.
#[derive(Debug, Clone)]
pub enum Question {
    /// `Result<Client, Refusal>`
    Authenticate(Knock),
    /// `Vec<Result<(), UplinkError>>`
    Uplink(Vec<Stamped>),
    /// The same for what has numbers, which ascend: each is an encoded [`Stamped`]. What is stored already is answered
    /// with `Ok`. After an `Unavailable` nothing more is taken, so that the order stays.
    Numbered {
        /// In which lane.
        lane: Lane,
        /// These.
        rows: Vec<(u64, Bytes)>,
    },
    /// `Result<Result<Shadow, shadow::Refusal>, UplinkError>`
    Shadow(DeviceId, Request),
    /// `Result<Option<MqttMessage>, UplinkError>`
    Asked(Principal, Ask),
    /// `()`
    Attach(Connection),
    /// `()`
    Detach(ConnectionId),
    /// `()`; all connections that the gateway has are attached: devices that are not among them are gone.
    Settled,
    /// `()`
    Listens(DeviceId),
    /// `Result<Option<Offer>, UplinkError>`
    Pending(DeviceId),
    /// `Result<Option<Offer>, UplinkError>`
    Current(DeviceId),
    /// `()`
    Refused(DeviceId, String),
    /// `Result<Vec<Option<Client>>, UplinkError>`
    Who(Vec<Principal>),
    /// `Result<Option<u64>, UplinkError>`
    ArtifactSize(DeviceId, Digest),
    /// `Result<Bytes, UplinkError>`
    ArtifactPart(Digest, u64, u64),
    /// `Result<Vec<String>, UplinkError>`
    Keys(String),
}

/// What a device said, and when the gateway heard it.
#[derive(Debug, Clone)]
pub struct Stamped {
    /// What.
    pub arrival: Arrival,
    /// When, by the clock of the gateway.
    pub at: Time,
}

/// The rows in which a gateway numbers what is to be stored once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Everything but measurements, in the order in which it was said.
    Said = 0,
    /// Measurements that waited for the link.
    Measured = 1,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Said, Lane::Measured];

    /// The name of its folder, and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::Measured => "measured",
        }
    }
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// How long the last beat took to be answered.
    pub round_trip_ms: u64,
    /// How often the link was made since the gateway started.
    pub links: u64,
    /// Messages of devices that wait on its disk.
    pub spooled: u64,
    /// Bytes of those.
    pub spooled_bytes: u64,
    /// Messages that were dropped from its disk because they were too many or too old.
    pub dropped: u64,
    /// Messages that waited on its disk and that the hub refused for good when they came.
    pub refused: u64,
    /// Messages of devices since it started.
    pub messages: u64,
    /// Devices that are connected to it.
    pub devices: u64,
}

wire! {
    struct Stamped { arrival, at }
    struct Arrival { device, uplink, mark, again }
    struct Unit { device, line, silence_max }
    struct Knock { address, transport, credentials }
    struct Client { device, token, name, rights, until, silence_max }
    struct Connection { id, device, address, transport, silence_max }
    struct Status { round_trip_ms, links, spooled, spooled_bytes, dropped, refused, messages, devices }
}

wire! {
    enum boards::Word {
        0 = Announced,
        1 = Running(is_running),
        2 = Nodes(nodes),
        3 = Memory { free, taken },
        4 = Left,
        5 = Wants(digest),
    }
}

wire! {
    enum Up {
        0 = Proof { gateway, signature, spool, serves, program },
        1 = Ask { id, question },
        2 = Beat(status),
    }
    enum Down {
        0 = Challenge { hub, nonce },
        1 = Refused { why },
        2 = Welcome { now },
        3 = Answer { id, answer },
        4 = Downlink { connection, downlink },
        5 = Ended { connection },
        6 = Order(order),
        7 = Beat,
    }
    enum Order {
        0 = Disconnect(device),
        1 = Rights(device, rights),
        2 = Forget(principal),
        3 = Publish { topic, payload, qos, retain },
        4 = Units(units),
    }
    enum Question {
        0 = Authenticate(knock),
        1 = Uplink(batch),
        2 = Numbered { lane, rows },
        3 = Shadow(device, request),
        4 = Asked(who, ask),
        5 = Attach(connection),
        6 = Detach(connection),
        7 = Settled,
        8 = Listens(device),
        9 = Pending(device),
        10 = Current(device),
        11 = Refused(device, why),
        12 = Who(principals),
        13 = ArtifactSize(device, digest),
        14 = ArtifactPart(digest, from, to),
        15 = Keys(identity),
    }
    enum Lane { 0 = Said, 1 = Measured }
    enum Transport { 0 = Mqtt, 1 = Http, 2 = WebSocket, 3 = Coap, 4 = MqttNode, 5 = Line }
    enum Refusal { 0 = BadCredentials, 1 = NotAllowed, 2 = Unavailable }
    enum UplinkError { 0 = Refused(why), 1 = Unavailable(why) }
    enum Credentials {
        0 = Mqtt { client_id, user, password, certificate },
        1 = Nodemcu { chip_id, secret },
        2 = Bearer { id, secret },
        3 = Token { secret },
        4 = Riot { uid },
        5 = Unproven { id },
        6 = Psk { identity, key },
    }
}

impl Wire for ConnectionId {
    fn put(&self, writer: &mut Writer) {
        self.0.put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u64::get(reader).map(Self)
    }
}
