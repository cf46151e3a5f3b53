//! Motehub's own protocol: a device's topics lie under `devices/<its id>/`, where the id is ours or its own.

use motehub_domain::message::{Downlink, Uplink};

use crate::{DecodeError, Identity, MqttMessage, command, telemetry};

/// `devices/<id>` for each id the device is known by.
pub fn own_prefixes(identity: &Identity) -> impl Iterator<Item = String> {
    let external = identity.external_id.iter().filter(|id| !id.contains(['/', '+', '#']));
    std::iter::once(identity.device.to_string()).chain(external.cloned()).map(|id| format!("devices/{id}"))
}

/// `devices/<id>/telemetry` carries measurements; other topics are plain pub/sub.
pub fn mqtt_uplink(identity: &Identity, topic: &str, payload: &[u8]) -> Option<Result<Uplink, DecodeError>> {
    let (id, kind) = topic.strip_prefix("devices/")?.rsplit_once('/')?;
    let is_own = identity.external_id.as_deref() == Some(id) || id == identity.device.to_string();
    match kind {
        "telemetry" if is_own => Some(telemetry::decode_json(payload).map(Uplink::Telemetry)),
        "reply" if is_own => Some(json(payload).and_then(|value| command::reply(&value))),
        _ => None,
    }
}

fn json(payload: &[u8]) -> Result<serde_json::Value, DecodeError> {
    serde_json::from_slice(payload).map_err(|error| DecodeError(format!("not JSON: {error}")))
}

/// Native devices are told of an offer on `devices/<id>/offer` and of a command on `devices/<id>/command`.
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Option<MqttMessage> {
    let (kind, payload) = match downlink {
        Downlink::Offer(offer) => {
            let digest = offer.digest.to_string();
            ("offer", serde_json::json!({ "digest": digest, "size": offer.size_bytes }))
        }
        Downlink::Command(order) => ("command", command::order(order)),
        Downlink::Credential(secret) => ("credential", serde_json::json!({ "secret": secret.0 })),
    };
    Some(MqttMessage {
        topic: format!("devices/{}/{kind}", identity.device),
        payload: payload.to_string().into_bytes(),
        qos: 1,
    })
}
