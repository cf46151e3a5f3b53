//! What waits for a device, as it sees it: of each kind of message the one that is to be done next. A command waits
//! until it is answered or too late; of what is desired there is one for each shadow; of all else the newest counts.

use std::collections::{HashMap, VecDeque};

use motehub_domain::flow::wire_name;
use motehub_domain::message::{Downlink, Uplink};
use motehub_domain::report::Progress;
use motehub_domain::shadow::{Deed, ShadowName};
use motehub_protocol::coap::{Code, Response, format};
use motehub_protocol::native::said::digest_text;
use motehub_protocol::{Encoding, Identity, native, payload};
use serde_json::{Value, json};

/// How many of one kind wait; further ones are dropped and said again later.
const OF_A_KIND_MAX: usize = 16;
/// For how long a representation is fresh, in seconds: one who observes and hears nothing for longer asks again.
const MAX_AGE_S: u32 = 120;

#[derive(Default)]
pub(super) struct Waiting(HashMap<&'static str, VecDeque<Item>>);

struct Item {
    key: String,
    value: Value,
    until_ms: Option<u64>,
}

impl Waiting {
    /// Something is to be said. Returns its kind if that is another than before.
    pub(super) fn add(
        &mut self,
        identity: &Identity,
        downlink: &Downlink,
        now_ms: u64,
    ) -> Option<&'static str> {
        let (kind, mut value) = native::downlink(identity, downlink)?;
        if let Downlink::Credential(secret) = downlink {
            value = json!({ "secret": secret.coap_key });
        }
        let (key, until_ms) = match downlink {
            Downlink::Command(order) => {
                (order.id.to_string(), Some(now_ms + u64::try_from(order.ttl.0).unwrap_or(0)))
            }
            Downlink::Delta(delta) => (name_of(delta.shadow.as_ref()), None),
            // Of each step the newest value.
            Downlink::Passed(passed) => (wire_name(passed.flow, &passed.from), None),
            Downlink::Cancel(digest) => {
                self.done("offer", |item| item.value["digest"] == digest_text(*digest));
                (String::new(), None)
            }
            Downlink::Offer(_)
            | Downlink::Credential(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Shadow(_) => (String::new(), None),
        };
        let queue = self.0.entry(kind).or_default();
        if let Some(known) = queue.iter_mut().find(|item| item.key == key) {
            // A command that is said again is the same; only less time is left.
            let is_new = known.until_ms.is_none() && known.value != value;
            (known.value, known.until_ms) = (value, until_ms);
            return is_new.then_some(kind);
        }
        if queue.len() >= OF_A_KIND_MAX {
            return None;
        }
        queue.push_back(Item { key, value, until_ms });
        (queue.len() == 1).then_some(kind)
    }

    /// A device said something that ends what waits. Returns the kinds of which another is next.
    pub(super) fn answered(&mut self, uplink: &Uplink) -> Vec<&'static str> {
        match uplink {
            Uplink::Reply { command, .. } => {
                let id = command.to_string();
                self.done("command", |item| item.key == id).into_iter().collect()
            }
            Uplink::Task(report) if matches!(report.progress, Progress::Done | Progress::Failed(_)) => {
                let digest = digest_text(report.digest);
                let kinds = ["offer", "cancel", "commit", "revert"];
                kinds
                    .into_iter()
                    .filter_map(|kind| self.done(kind, |item| item.value["digest"] == digest))
                    .collect()
            }
            Uplink::Shadow(request) if matches!(request.deed, Deed::Update(_)) => {
                let name = name_of(request.shadow.as_ref());
                self.done("delta", |item| item.key == name).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// What is too late is not said any more. Returns the kinds of which another is next.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<&'static str> {
        self.done("command", |item| item.until_ms.is_some_and(|until| until <= now_ms)).into_iter().collect()
    }

    /// When something is too late next.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        self.0.values().flatten().filter_map(|item| item.until_ms).min()
    }

    /// What there is of a kind, as it is told to the device: empty if nothing is.
    pub(super) fn representation(&self, kind: &str, encoding: Encoding, now_ms: u64) -> Response {
        let next = self.0.get(kind).and_then(VecDeque::front);
        let body = next.map(|item| {
            let mut value = item.value.clone();
            if let Some(until) = item.until_ms {
                value["ttl"] = (until.saturating_sub(now_ms) / 1_000).into();
            }
            payload::encode(encoding, &value)
        });
        let content = match body {
            Some(body) => Response::with(Code::CONTENT, number(encoding), body),
            None => Response::new(Code::CONTENT),
        };
        Response { max_age_s: Some(MAX_AGE_S), observe: Some(0), ..content }
    }

    fn done(&mut self, kind: &'static str, is_done: impl Fn(&Item) -> bool) -> Option<&'static str> {
        let queue = self.0.get_mut(kind)?;
        let was_first = queue.front().is_some_and(&is_done);
        queue.retain(|item| !is_done(item));
        was_first.then_some(kind)
    }
}

/// The name of a shadow; the one without a name has an empty one.
fn name_of(shadow: Option<&ShadowName>) -> String {
    shadow.map(|name| name.as_str().to_owned()).unwrap_or_default()
}

/// The number of a content format.
pub(super) fn number(encoding: Encoding) -> u16 {
    match encoding {
        Encoding::Json => format::JSON,
        Encoding::Cbor => format::CBOR,
    }
}
