//! Motehub's own protocol: a device's topics lie under `devices/<its id>/`, where the id is ours or its own.

use motehub_domain::message::{Downlink, Uplink};

use crate::{DecodeError, Identity, MqttMessage, telemetry};

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
        _ => None,
    }
}

/// Native devices are told of an offer on `devices/<id>/offer`, as JSON.
pub fn mqtt_downlink(identity: &Identity, downlink: &Downlink) -> Option<MqttMessage> {
    let Downlink::Offer(offer) = downlink;
    let payload = serde_json::json!({ "digest": offer.digest.to_string(), "size": offer.size_bytes });
    Some(MqttMessage {
        topic: format!("devices/{}/offer", identity.device),
        payload: payload.to_string().into_bytes(),
        qos: 1,
    })
}
