//! NodeMCU boards with the IoT Executor firmware: they are woken on one MQTT topic, poll and download over HTTP,
//! and report nothing explicitly. User programs may send telemetry as native devices do.

use motehub_domain::message::{Downlink, Uplink};

use crate::{DecodeError, Identity, MqttMessage, native};

/// The topic boards listen on; the payload is a chip id in decimal digits. The leading slash is part of it.
pub const WAKE_TOPIC: &str = "/mutation/update";

/// Telemetry of user programs.
pub fn mqtt_uplink(identity: &Identity, topic: &str, payload: &[u8]) -> Option<Result<Uplink, DecodeError>> {
    native::mqtt_uplink(identity, topic, payload)
}

/// The wake-up: QoS 0, never retained (a retained one would make the board run its program twice).
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Option<MqttMessage> {
    match downlink {
        Downlink::Offer(_) => {
            let payload = identity.external_id.clone()?.into_bytes();
            Some(MqttMessage { topic: WAKE_TOPIC.to_owned(), payload, qos: 0 })
        }
        Downlink::Command(_) | Downlink::Credential(_) => None,
    }
}
