//! What nodes of a hub say to each other, as bytes: CBOR by the same table as on the links of gateways, behind a byte
//! for the version and the name of who says it. All of it can be lost: it makes known quickly what is in the store.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use motehub_domain::artifact::Digest;
use motehub_domain::id::{CommandId, DeviceId, FlowId, GatewayId, PusherAppId, RuleId, UserId};
use motehub_domain::message::{Downlink, Outcome};
use motehub_domain::report::LogLine;
use motehub_domain::shadow::Shadow;
use motehub_domain::telemetry::{Metric, PointValue};
use motehub_domain::time::Time;
use motehub_gateway::boards;
use motehub_gateway::link::Order;
use motehub_protocol::link::{self, Reader, Wire, Writer};
use motehub_protocol::{DecodeError, wire};

use super::told::Touched;
use crate::api::Guess;
use crate::gateways::seen::Seen;
use crate::live::watched::Watch;
use crate::live::{News, Shown};
use crate::pusher::elsewhere::Audience;

/// The version of all of this. One more with every change of it.
const VERSION: u8 = 1;
/// Longest name of a node that is read.
const NODE_BYTES_MAX: usize = 64;

/// What a node says to another one, or to all others.
#[derive(Debug)]
pub(crate) enum Word {
    /// It listens from now on, or again: it is told what readers elsewhere watch.
    Hello,
    /// Something for a device that is there.
    Down(DeviceId, Downlink),
    /// What waits for these devices is looked at once more.
    Anew(Vec<DeviceId>),
    /// Something for the brokers behind which a device is connected.
    OrderAbout(DeviceId, Order),
    /// Something for all brokers.
    Order(Order),
    /// The connections of a device end, those of MQTT excepted.
    Disconnect(DeviceId),
    /// The link of a gateway ends, for this reason.
    CutGateway(GatewayId, String),
    /// The rights of these devices are looked up anew.
    Rights(Vec<DeviceId>),
    /// A device answered a command, and nobody waited for that there.
    Answered(CommandId, Outcome),
    /// Records were written; and whether facts were.
    Told(Vec<Touched>, bool),
    /// Its readers watch this.
    Watch(Watch),
    /// What readers there watch.
    Shown(Shows),
    /// A customer asks for a device, whose button is to be pressed.
    Claims(DeviceId, UserId),
    /// How the link of a gateway is; it has none there any more.
    Linked(GatewayId, Option<Seen>),
    /// Something was said on a channel of an app, or on one that the hub fills itself in all apps.
    Channel(Option<PusherAppId>, String, String),
    /// Something was heard of a board, for the node that calls it.
    Board(DeviceId, boards::Word),
    /// Something for the script of a board, by whatever connections it has there.
    Script(DeviceId, Downlink),
    /// A person changed a rule: what went wrong with it before is forgotten.
    Forgive(RuleId),
    /// Who hears some Pusher channels there; or all that anybody hears there, of which further words may follow.
    Audience(Vec<Audience>, bool),
    /// Somebody guessed something, by a name and from an address; and whether that was right.
    Tried(Guess, String, String, bool),
    /// A token of a Pyaiot gateway that serves once has served, and is remembered until then.
    Served(Digest, Time),
}

/// News, as far as they cross nodes.
#[derive(Debug)]
pub(crate) enum Shows {
    /// Points.
    Telemetry(Vec<Shown>),
    /// Shadows as they are.
    Shadows(Vec<Shadow>),
    /// How the wires of a flow stand.
    Flow(FlowId, serde_json::Value),
    /// Log lines with the time of their arrival.
    Log(Vec<(DeviceId, (Time, LogLine))>),
}

wire! {
    enum Word {
        0 = Hello,
        1 = Down(device, downlink),
        2 = Anew(devices),
        3 = OrderAbout(device, order),
        4 = Order(order),
        5 = Disconnect(device),
        6 = CutGateway(gateway, why),
        7 = Rights(devices),
        8 = Answered(command, outcome),
        9 = Told(touched, states_facts),
        10 = Watch(watch),
        11 = Shown(shows),
        12 = Claims(device, user),
        13 = Channel(app, channel, said),
        14 = Linked(gateway, seen),
        15 = Board(device, word),
        16 = Script(device, downlink),
        17 = Audience(heard, is_all),
        18 = Tried(guess, name, address, is_right),
        19 = Forgive(rule),
        20 = Served(token, until),
    }
    enum Guess { 0 = Password, 1 = Code }
    enum Shows { 0 = Telemetry(shown), 1 = Shadows(shadows), 2 = Flow(flow, wires), 3 = Log(lines) }
}

impl Wire for Shown {
    fn put(&self, writer: &mut Writer) {
        self.device.put(writer);
        writer.items(self.points.len());
        for (metric, time, value) in &self.points {
            metric.put(writer);
            time.put(writer);
            value.put(writer);
        }
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let device = DeviceId::get(reader)?;
        let point = |reader: &mut Reader<'_>| {
            Ok::<_, DecodeError>((Metric::get(reader)?, Time::get(reader)?, PointValue::get(reader)?))
        };
        let points = (0..reader.items()?).map(|_| point(reader)).collect::<Result<_, _>>()?;
        Ok(Self { device, points })
    }
}

impl Word {
    /// How many devices, or records, one word names at most.
    pub(crate) const DEVICES_MAX: usize = 1_000;

    /// What node `by` says, as bytes.
    pub(crate) fn encode(&self, by: &str) -> Bytes {
        let said = link::encode(self);
        let mut bytes = BytesMut::with_capacity(2 + by.len() + said.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::try_from(by.len()).unwrap_or(0));
        bytes.put_slice(by.as_bytes());
        bytes.put_slice(&said);
        bytes.freeze()
    }

    /// Who says what.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(&str, Self), DecodeError> {
        let wrong = |why: &str| DecodeError(format!("a word of another node: {why}"));
        let [version, length, rest @ ..] = bytes else { return Err(wrong("it is too short")) };
        if *version != VERSION {
            return Err(wrong(&format!("it has version {version}, this node speaks {VERSION}")));
        }
        let length = usize::from(*length);
        let (by, said) = rest.split_at_checked(length).ok_or_else(|| wrong("it is cut off"))?;
        let by = std::str::from_utf8(by).ok().filter(|by| !by.is_empty() && by.len() <= NODE_BYTES_MAX);
        Ok((by.ok_or_else(|| wrong("it does not say who says it"))?, link::decode(said)?))
    }
}

impl Shows {
    /// What crosses of some news; none of what each node finds by itself.
    pub(crate) fn of(news: News) -> Option<Self> {
        Some(match news {
            News::Telemetry(shown) => Self::Telemetry(Arc::unwrap_or_clone(shown)),
            News::Shadows(shadows) => Self::Shadows(Arc::unwrap_or_clone(shadows)),
            News::Flow(flow, wires) => Self::Flow(flow, Arc::unwrap_or_clone(wires)),
            News::Log(lines) => {
                let lines = Arc::unwrap_or_clone(lines).into_iter();
                Self::Log(lines.map(|(device, at, line)| (device, (at, line))).collect())
            }
            News::Changes(_) | News::Inbox(_) => return None,
        })
    }

    /// The same for readers here.
    pub(crate) fn into_news(self) -> News {
        match self {
            Self::Telemetry(shown) => News::Telemetry(Arc::new(shown)),
            Self::Shadows(shadows) => News::Shadows(Arc::new(shadows)),
            Self::Flow(flow, wires) => News::Flow(flow, Arc::new(wires)),
            Self::Log(lines) => {
                let lines = lines.into_iter().map(|(device, (at, line))| (device, at, line));
                News::Log(Arc::new(lines.collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_said_and_nothing_else_is_one() {
        let device = DeviceId::from_parts(7, 8);
        let points = vec![(Metric::parse("t").expect("it is one"), Time(9), PointValue::Number(21.5))];
        let line = LogLine { level: motehub_domain::report::Level::Warn, text: "hot".to_owned(), time: None };
        let words = [
            Word::Hello,
            Word::Anew(vec![device]),
            Word::Served(Digest([7; 32]), Time(9)),
            Word::Tried(Guess::Code, "ada".to_owned(), "192.0.2.7".to_owned(), true),
            Word::Told(vec![Touched::Holder(device, Some("b".to_owned()), 3), Touched::Knocks], true),
            Word::Watch(Watch { devices: vec![device], all: true, ..Watch::default() }),
            Word::Shown(Shows::Telemetry(vec![Shown { device, points }])),
            Word::Shown(Shows::Log(vec![(device, (Time(1), line))])),
        ];
        for word in words {
            let bytes = word.encode("a");
            let (by, read) = Word::decode(&bytes).expect("it is a word");
            assert_eq!((by, format!("{read:?}")), ("a", format!("{word:?}")));
            for end in 0..bytes.len() {
                assert!(Word::decode(&bytes[..end]).is_err(), "{word:?} cut at {end}");
            }
        }
        let other = [b"".as_slice(), b"\x02\x01a\x81\x00", b"\x01\x00\x81\x00", b"\x01\xffabc"];
        assert!(other.iter().all(|bytes| Word::decode(bytes).is_err()));
    }
}
