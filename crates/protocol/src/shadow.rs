//! Shadows on the wire: the documents of AWS, and its topics `$aws/things/<thing>/shadow/…`, which every device may
//! use whatever its dialect. A thing is a device by its id with us or by its own.

use motehub_domain::message::Downlink;
use motehub_domain::shadow::{
    self, Deed, Refusal, Request, Saying, ShadowName, Spoken, TOKEN_BYTES_MAX, Update,
};
use motehub_domain::topic::{TopicFilter, TopicRights};
use serde_json::Value;

use crate::{DecodeError, Identity, MqttMessage, payload};

/// What stands before the topics that only the hub may give a meaning.
const RESERVED: &str = "$aws/";
/// Largest request that is read at all, in bytes; what it may contain is less.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// A request that came on a topic of AWS.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The topic; the answer goes to the same with `/accepted` or `/rejected`.
    pub topic: String,
    /// Of which device, by any of its ids.
    pub thing: String,
    /// Comes back in the answer.
    pub token: Option<String>,
    /// What is asked, if it can be understood.
    pub request: Result<Request, Refusal>,
}

/// What a publish on a topic of AWS asks; `None` if the topic is another one.
pub fn ask(topic: &str, payload: &[u8]) -> Option<Ask> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once("/shadow/")?;
    let (name, verb) = match rest.strip_prefix("name/").and_then(|rest| rest.split_once('/')) {
        Some((name, verb)) => (Some(name), verb),
        None => (None, rest),
    };
    if !matches!(verb, "get" | "update" | "delete") || thing.contains('/') {
        return None;
    }
    let (token, request) = request(verb, name, payload);
    Some(Ask { topic: topic.to_owned(), thing: thing.to_owned(), token, request })
}

/// What is asked of a shadow: `verb` is `get`, `update` or `delete`. Gives the client token, which comes back in the
/// answer, and the request.
pub fn request(verb: &str, name: Option<&str>, payload: &[u8]) -> (Option<String>, Result<Request, Refusal>) {
    let shadow = name.map(|name| ShadowName::parse(name).ok_or(Refusal::InvalidName)).transpose();
    let body = match verb {
        "update" => read(payload),
        _ if payload.is_empty() => Ok(Value::Object(serde_json::Map::new())),
        _ => read(payload),
    };
    let token = body.as_ref().ok().and_then(token);
    let deed = |body: Value| match verb {
        "update" => Update::from_device(body).map(|update| Deed::Update(Box::new(update))),
        _ if !body.is_object() => Err(Refusal::InvalidJson),
        _ if token.is_none() && !body["clientToken"].is_null() => Err(Refusal::InvalidToken),
        "get" => Ok(Deed::Get(token.clone())),
        _ => Ok(Deed::Delete(token.clone())),
    };
    let request = shadow.and_then(|shadow| Ok(Request { shadow, deed: body.and_then(deed)? }));
    (token, request)
}

fn token(body: &Value) -> Option<String> {
    body["clientToken"].as_str().filter(|token| token.len() <= TOKEN_BYTES_MAX).map(str::to_owned)
}

/// Reads a document.
pub fn read(payload: &[u8]) -> Result<Value, Refusal> {
    if payload.len() > REQUEST_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Refusal::Encoding)?;
    payload::strict(text).map_err(|_| Refusal::InvalidJson)
}

/// Whether only requests that [`ask`] knows may be published there: the rest are answers, which are the hub's.
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with(RESERVED)
}

/// The topics on which something is said about a shadow, one for each id of its device.
pub fn topics(spoken: &Spoken) -> Vec<String> {
    let what = match spoken.saying {
        Saying::UpdateAccepted => "update/accepted",
        Saying::Delta => "update/delta",
        Saying::Documents => "update/documents",
        Saying::DeleteAccepted => "delete/accepted",
    };
    let own = spoken.device.to_string();
    let external = spoken.external_id.as_deref().filter(|id| is_level(id));
    let topic = |thing: &str| format!("{}/{what}", base(thing, spoken.shadow.as_ref()));
    std::iter::once(own.as_str()).chain(external).map(topic).collect()
}

/// A delta that was said before, for a device that has just subscribed to it there.
pub(crate) fn downlink(identity: &Identity, downlink: &Downlink) -> Vec<MqttMessage> {
    let Downlink::Delta(delta) = downlink else { return Vec::new() };
    if !delta.is_again {
        // Whoever has subscribed gets what is published.
        return Vec::new();
    }
    let payload = shadow::delta_document(delta).to_string().into_bytes();
    let topics =
        things(identity).map(|thing| format!("{}/update/delta", base(&thing, delta.shadow.as_ref())));
    topics.map(|topic| MqttMessage { topic, payload: payload.clone(), qos: 1 }).collect()
}

/// The topics of a device's own shadows.
pub(crate) fn rights(identity: &Identity) -> TopicRights {
    let mut rights = TopicRights::default();
    for thing in things(identity) {
        rights.subscribe.extend(TopicFilter::parse(&format!("{}/#", base(&thing, None))));
        rights.publish.extend(requests(&thing, &["get", "update", "delete"]));
    }
    rights
}

/// The topics of requests of some kinds to a thing; `+` for every thing.
pub fn requests(thing: &str, verbs: &[&str]) -> Vec<TopicFilter> {
    let topics = |verb: &&str| {
        let base = base(thing, None);
        [format!("{base}/{verb}"), format!("{base}/name/+/{verb}")]
    };
    verbs.iter().flat_map(topics).filter_map(|topic| TopicFilter::parse(&topic).ok()).collect()
}

/// Whether a subscription to this filter brings deltas of the device.
pub(crate) fn listens(identity: &Identity, filter: &TopicFilter) -> bool {
    let level = filter.as_str().split('/').nth(5).unwrap_or_default();
    let name = ShadowName::parse(level).or_else(|| ShadowName::parse("any"));
    things(identity).any(|thing| {
        [None, name.as_ref()]
            .into_iter()
            .any(|name| filter.matches(&format!("{}/update/delta", base(&thing, name))))
    })
}

fn base(thing: &str, shadow: Option<&ShadowName>) -> String {
    match shadow {
        None => format!("$aws/things/{thing}/shadow"),
        Some(name) => format!("$aws/things/{thing}/shadow/name/{}", name.as_str()),
    }
}

pub(crate) fn things(identity: &Identity) -> impl Iterator<Item = String> {
    let external = identity.external_id.iter().filter(|id| is_level(id)).cloned();
    std::iter::once(identity.device.to_string()).chain(external)
}

/// Whether an id can be a level of a topic.
pub fn is_level(id: &str) -> bool {
    !id.contains(['/', '+', '#'])
}

/// What a device of the native protocol reports into its shadow or wants of it: `kind` is `shadow`, `shadow-get` or
/// `shadow-delete`.
pub(crate) fn native(kind: &str, mut value: Value) -> Result<Request, DecodeError> {
    let refused = |refusal: Refusal| DecodeError(refusal.to_string());
    let shadow = match value.as_object_mut().and_then(|members| members.remove("name")) {
        None | Some(Value::Null) => None,
        Some(name) => {
            let name = name.as_str().and_then(ShadowName::parse);
            Some(name.ok_or_else(|| DecodeError("name: 1 to 64 letters, digits or - _ :".to_owned()))?)
        }
    };
    let deed = match kind {
        "shadow-get" => Deed::Get(None),
        "shadow-delete" => Deed::Delete(None),
        _ => Deed::Update(Box::new(Update::from_device(value).map_err(refused)?)),
    };
    Ok(Request { shadow, deed })
}

/// A document as a device of the native protocol is given it: without metadata, with the name of the shadow if it has
/// one.
pub(crate) fn without_metadata(mut document: Value, shadow: Option<&ShadowName>) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.remove("metadata");
        members.extend(shadow.map(|name| ("name".to_owned(), name.as_str().into())));
    }
    document
}
