//! The one visible table of dialects, and what they have in common.

use motehub_domain::device::Dialect;
use motehub_domain::id::DeviceId;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::topic::{TopicFilter, TopicRights};

use crate::payload::Encoding;
use crate::{aws, esp_firmware, native, nodemcu, shadow};

/// Who a device is, as far as its dialect needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id with us.
    pub device: DeviceId,
    /// Its own id, such as the chip id of a NodeMCU board.
    pub external_id: Option<String>,
    /// How it speaks.
    pub dialect: Dialect,
}

/// Bytes that do not mean anything; the sentence says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// What a message means.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What is taken.
    pub uplink: Uplink,
    /// What of it is not, by name and with the reason: one bad point of a batch.
    pub refused: Option<String>,
}

impl From<Uplink> for Said {
    fn from(uplink: Uplink) -> Self {
        Self { uplink, refused: None }
    }
}

/// A message to publish to a device's own session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Quality of service, 0 to 2.
    pub qos: u8,
}

/// What a publish of this device means to the product: `None` if the topic is no address of its dialect (plain
/// pub/sub), an error if the topic is but the payload is not.
pub fn mqtt_uplink(
    identity: &Identity,
    topic: &str,
    encoding: Encoding,
    payload: &[u8],
) -> Option<Result<Said, DecodeError>> {
    match identity.dialect {
        Dialect::Native | Dialect::Micropython => native::mqtt_uplink(identity, topic, encoding, payload),
        // Programs on these say what they measure; their firmware itself says nothing over MQTT.
        Dialect::Nodemcu | Dialect::Mongoose | Dialect::Riot | Dialect::Line => {
            nodemcu::mqtt_uplink(identity, topic, encoding, payload)
        }
        Dialect::EspFirmware => esp_firmware::mqtt_uplink(identity, topic, payload)
            .or_else(|| nodemcu::mqtt_uplink(identity, topic, encoding, payload)),
    }
}

/// How a downlink is said over MQTT: the first message to whose topic the device has subscribed is sent. Empty if
/// this dialect does not say it over MQTT.
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Vec<MqttMessage> {
    let mut messages = match identity.dialect {
        Dialect::Native | Dialect::Micropython => native::mqtt_downlink(identity, downlink),
        Dialect::Nodemcu => nodemcu::mqtt_downlink(identity, downlink),
        Dialect::EspFirmware => esp_firmware::mqtt_downlink(identity, downlink),
        Dialect::Mongoose | Dialect::Riot | Dialect::Line => Vec::new(),
    };
    messages.extend(shadow::downlink(identity, downlink));
    messages
}

/// The topics that belong to a device of this dialect.
pub fn mqtt_rights(identity: &Identity) -> TopicRights {
    let own = native::own_prefixes(identity).filter_map(|p| TopicFilter::parse(&format!("{p}/#")).ok());
    let mut rights = TopicRights { publish: own.collect(), subscribe: Vec::new() };
    rights.subscribe = rights.publish.clone();
    let TopicRights { publish, subscribe } = aws::rights(identity);
    rights.publish.extend(publish);
    rights.subscribe.extend(subscribe);
    match identity.dialect {
        Dialect::Native | Dialect::Micropython | Dialect::Mongoose | Dialect::Riot | Dialect::Line => {}
        Dialect::Nodemcu => rights.subscribe.extend(TopicFilter::parse(nodemcu::WAKE_TOPIC)),
        Dialect::EspFirmware => {
            let TopicRights { publish, subscribe } = esp_firmware::rights(identity);
            rights.publish.extend(publish);
            rights.subscribe.extend(subscribe);
        }
    }
    rights
}

/// Whether a subscription to this filter lets a device of this dialect hear its downlinks.
pub fn listens(identity: &Identity, filter: &TopicFilter) -> bool {
    let own = match identity.dialect {
        Dialect::Native | Dialect::Micropython => native::listens(identity, filter),
        // A board with the IoT Executor firmware asks by itself once it has started; Mongoose OS has a WebSocket, and
        // RIOT nodes are asked over CoAP. Boards with ESP-FIRMWARE are posted what they run; units have a socket.
        Dialect::Nodemcu | Dialect::Mongoose | Dialect::Riot | Dialect::EspFirmware | Dialect::Line => false,
    };
    own || shadow::listens(identity, filter)
}
