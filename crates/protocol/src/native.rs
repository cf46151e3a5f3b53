//! Motehub's own protocol: a device's topics lie under `devices/<its id>/`, where the id is ours or its own. The
//! same kinds of messages are carried by MQTT, HTTP and WebSocket; `docs/reference/native-protocol.md` is its
//! description for those who write a client.

pub mod said;

use motehub_domain::artifact::ArtifactKind;
use motehub_domain::message::{Downlink, Offer, Uplink};
use motehub_domain::shadow::Shadow;
use motehub_domain::topic::TopicFilter;
use serde_json::{Value, json};

use crate::payload::{self, Encoding};
use crate::{DecodeError, Identity, MqttMessage, Said, command, passed, shadow, telemetry};

/// The kinds of messages a device sends.
pub const UPLINKS: [&str; 10] = [
    "announce",
    "telemetry",
    "event",
    "log",
    "task",
    "reply",
    "shadow",
    "shadow-get",
    "shadow-delete",
    "flow-out",
];

/// The kinds of messages a device is sent.
pub const DOWNLINKS: [&str; 9] =
    ["offer", "command", "credential", "cancel", "commit", "revert", "delta", "shadow-document", "flow-in"];

/// `devices/<id>` for each id the device is known by.
pub fn own_prefixes(identity: &Identity) -> impl Iterator<Item = String> {
    let external = identity.external_id.iter().filter(|id| !id.contains(['/', '+', '#']));
    std::iter::once(identity.device.to_string()).chain(external.cloned()).map(|id| format!("devices/{id}"))
}

/// Whether the device is known by this id.
pub fn is_own(identity: &Identity, id: &str) -> bool {
    identity.external_id.as_deref() == Some(id) || identity.device.is_written(id)
}

/// The kind of a message by its topic, `devices/<id>/<kind>`; `None` if it is not one of this device.
pub(crate) fn kind<'a>(identity: &Identity, topic: &'a str) -> Option<&'a str> {
    let (id, kind) = topic.strip_prefix("devices/")?.rsplit_once('/')?;
    is_own(identity, id).then_some(kind)
}

/// What a publish to one of the device's own topics means; other topics are plain pub/sub.
pub fn mqtt_uplink(
    identity: &Identity,
    topic: &str,
    encoding: Encoding,
    payload: &[u8],
) -> Option<Result<Said, DecodeError>> {
    uplink(kind(identity, topic)?, encoding, payload)
}

/// What a message of a kind means; `None` if there is no such kind.
pub fn uplink(kind: &str, encoding: Encoding, payload: &[u8]) -> Option<Result<Said, DecodeError>> {
    let read = || match (kind, payload) {
        // Of the one shadow without a name there is nothing more to say.
        ("shadow-get" | "shadow-delete", []) => Ok(Value::Null),
        _ => payload::decode(encoding, kind, payload),
    };
    UPLINKS.contains(&kind).then(|| read().and_then(|value| meaning(kind, value)))
}

/// What a message of a kind means, once it is a value.
pub fn meaning(kind: &str, value: Value) -> Result<Said, DecodeError> {
    let named = |e: DecodeError| DecodeError(format!("{kind}: {}", e.0));
    match kind {
        "telemetry" => telemetry::decode(&value),
        "announce" => {
            said::announcement(value).map(|said| Uplink::Announced(Box::new(said)).into()).map_err(named)
        }
        "event" => said::event(value).map(|event| Uplink::Event(event).into()).map_err(named),
        "log" => said::log(value).map(|lines| Uplink::Log(lines).into()).map_err(named),
        "task" => said::task(value).map(|report| Uplink::Task(report).into()).map_err(named),
        "reply" => command::reply(&value).map(Said::from).map_err(named),
        "flow-out" => {
            passed::read(value).map(|passed| Uplink::Passed(Box::new(passed)).into()).map_err(named)
        }
        "shadow" | "shadow-get" | "shadow-delete" => {
            shadow::native(kind, value).map(|request| Uplink::Shadow(request).into()).map_err(named)
        }
        _ => Err(DecodeError(format!("{kind:?} is no kind of message; they are {}", UPLINKS.join(", ")))),
    }
}

/// A downlink as kind and payload; `None` if it is not said in this protocol.
pub fn downlink(identity: &Identity, downlink: &Downlink) -> Option<(&'static str, Value)> {
    match downlink {
        Downlink::Offer(offer) => Some(("offer", offered(identity, offer))),
        Downlink::Command(order) => Some(("command", command::order(order))),
        Downlink::Credential(secret) => Some(("credential", json!({ "secret": secret.credential }))),
        Downlink::Cancel(digest) => Some(("cancel", json!({ "digest": said::digest_text(*digest) }))),
        Downlink::Commit(digest) => Some(("commit", json!({ "digest": said::digest_text(*digest) }))),
        Downlink::Revert(digest) => Some(("revert", json!({ "digest": said::digest_text(*digest) }))),
        Downlink::Delta(delta) => {
            let document = motehub_domain::shadow::delta_document(delta);
            Some(("delta", shadow::without_metadata(document, delta.shadow.as_ref())))
        }
        Downlink::Passed(passed) => Some(("flow-in", passed::write(passed))),
        Downlink::Shadow(shadow) => Some(("shadow-document", document(shadow))),
    }
}

/// A shadow as a device is given it: without metadata, devices are small.
pub fn document(shadow: &Shadow) -> Value {
    shadow::without_metadata(
        motehub_domain::shadow::document(shadow, None, shadow.updated_at),
        shadow.name.as_ref(),
    )
}

fn offered(identity: &Identity, offer: &Offer) -> Value {
    let digest = said::digest_text(offer.digest);
    let mut offered = json!({
        "digest": digest,
        "size": offer.size_bytes,
        "path": format!("/devices/{}/artifacts/{digest}", identity.device),
        "health_window": offer.health_window.0 / 1000,
    });
    match offer.kind {
        ArtifactKind::Script { version, .. } => offered["version"] = version.into(),
        ArtifactKind::Firmware(_) => offered["firmware"] = true.into(),
    }
    offered
}

/// Native devices are told on `devices/<id>/<kind>`, as JSON. One message for each id the device is known by: only
/// the first to which it has subscribed is sent.
pub fn mqtt_downlink(identity: &Identity, said: &Downlink) -> Vec<MqttMessage> {
    let Some((kind, payload)) = downlink(identity, said) else { return Vec::new() };
    let payload = payload.to_string().into_bytes();
    // A live value is not kept for a device that is away.
    let qos = if matches!(said, Downlink::Passed(_)) { 0 } else { 1 };
    let topics = own_prefixes(identity).map(|prefix| format!("{prefix}/{kind}"));
    topics.map(|topic| MqttMessage { topic, payload: payload.clone(), qos }).collect()
}

/// Whether a subscription to this filter brings any of the device's downlinks.
pub fn listens(identity: &Identity, filter: &TopicFilter) -> bool {
    own_prefixes(identity)
        .any(|prefix| DOWNLINKS.iter().any(|kind| filter.matches(&format!("{prefix}/{kind}"))))
}
