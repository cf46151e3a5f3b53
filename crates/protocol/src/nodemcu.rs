//! NodeMCU boards with the IoT Executor firmware: they are woken on one MQTT topic, poll and download over HTTP,
//! and report nothing explicitly. User programs may send telemetry as native devices do.

use motehub_domain::message::Downlink;

use crate::payload::Encoding;
use crate::{DecodeError, Identity, MqttMessage, Said, native};

/// The topic boards listen on; the payload is a chip id in decimal digits. The leading slash is part of it.
pub const WAKE_TOPIC: &str = "/mutation/update";

/// What user programs may say; the firmware itself says nothing over MQTT.
const UPLINKS: [&str; 3] = ["telemetry", "event", "log"];

/// Telemetry, events and log lines of user programs, here and on Mongoose OS.
pub fn mqtt_uplink(
    identity: &Identity,
    topic: &str,
    encoding: Encoding,
    payload: &[u8],
) -> Option<Result<Said, DecodeError>> {
    let kind = native::kind(identity, topic).filter(|kind| UPLINKS.contains(kind))?;
    native::uplink(kind, encoding, payload)
}

/// The wake-up: QoS 0, never retained (a retained one would make the board run its program twice).
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Vec<MqttMessage> {
    match (downlink, &identity.external_id) {
        (Downlink::Offer(_), Some(id)) => {
            vec![MqttMessage { topic: WAKE_TOPIC.to_owned(), payload: id.clone().into_bytes(), qos: 0 }]
        }
        (
            Downlink::Offer(_)
            | Downlink::Cancel(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Command(_)
            | Downlink::Credential(_)
            | Downlink::Delta(_)
            | Downlink::Passed(_)
            | Downlink::Shadow(_),
            _,
        ) => Vec::new(),
    }
}
