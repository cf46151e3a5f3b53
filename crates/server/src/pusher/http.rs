//! The HTTP API of the Pusher protocol: programs publish events, and ask who hears what. Each request is signed with
//! the secret of the app. Answers are texts, as the libraries expect them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use md5::{Digest, Md5};
use motehub_domain::pusher::PusherApp;
use motehub_domain::time::Span;
use motehub_protocol::DecodeError;
use motehub_protocol::pusher::signature::{self, Signed};
use motehub_protocol::pusher::trigger::{self, Refused, Trigger};
use motehub_protocol::pusher::{Channel, Kind, frame};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::Front;
use super::rooms::ChannelView;

/// By how much the clocks may differ.
const CLOCKS_DIFFER_MAX: Span = Span::seconds(600);
/// What can be asked of a channel.
const USER_COUNT: &str = "user_count";
const SUBSCRIPTION_COUNT: &str = "subscription_count";

/// Why nothing is done: a status and a sentence.
pub(super) struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl Refusal {
    fn wrong(why: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, why.into())
    }
    fn unsigned(why: impl Into<String>) -> Self {
        metrics::counter!("motehub_pusher_unsigned_total").increment(1);
        Self(StatusCode::UNAUTHORIZED, why.into())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wrong(why) => Self(StatusCode::BAD_REQUEST, why),
            Refused::TooLarge(why) => Self(StatusCode::PAYLOAD_TOO_LARGE, why),
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::wrong(error.0)
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// `POST /apps/{id}/events`: one event for some channels.
pub(super) async fn events(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let (app, _) = signed(&front, &id, &Method::POST, &uri, &body)?;
    let trigger = trigger::one(&body)?;
    may_trigger(&trigger)?;
    let told = publish(&front, &app, &trigger)?;
    Ok(Json(match told {
        Some(channels) => json!({ "channels": channels }),
        None => json!({}),
    }))
}

/// `POST /apps/{id}/batch_events`: some events. All are published, or none.
pub(super) async fn batch_events(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let (app, _) = signed(&front, &id, &Method::POST, &uri, &body)?;
    let batch = trigger::batch(&body)?;
    batch.iter().try_for_each(may_trigger)?;
    let mut told = Vec::new();
    for trigger in &batch {
        let channels = publish(&front, &app, trigger)?;
        let of_one = channels.and_then(|channels| channels.into_iter().next());
        told.push(of_one.map_or_else(|| json!({}), |(_, info)| info));
    }
    let asked = batch.iter().any(|trigger| trigger.info.is_some());
    Ok(Json(if asked { json!({ "batch": told }) } else { json!({}) }))
}

/// Nobody but the hub says something on the hub's own channels.
fn may_trigger(trigger: &Trigger) -> Result<(), Refusal> {
    match trigger.channels.iter().find(|channel| channel.is_reserved()) {
        None => Ok(()),
        Some(channel) => {
            let why =
                format!("{}: this channel is the hub's own, nobody else publishes there", channel.as_str());
            Err(Refusal(StatusCode::FORBIDDEN, why))
        }
    }
}

/// Says it to all that hear the channels. Returns what was asked of them.
fn publish(front: &Front, app: &PusherApp, trigger: &Trigger) -> Result<Option<Map<String, Value>>, Refusal> {
    let except = match &trigger.except {
        None => None,
        Some(id) => Some(id.parse().map_err(|()| Refusal::wrong("socket_id: digits, a dot, digits"))?),
    };
    let rooms = &front.app.pusher.rooms;
    for channel in &trigger.channels {
        let said = frame::event(channel.as_str(), &trigger.name, &trigger.data, None);
        rooms.publish(app.id, channel, &said, except);
        front.app.say_on_channel(Some(app.id), channel, said);
    }
    let Some(info) = trigger.info.as_deref() else { return Ok(None) };
    let told = trigger.channels.iter().map(|channel| {
        let view = rooms.channel(app.id, channel);
        (channel.as_str().to_owned(), Value::Object(known(channel.kind(), view.as_ref(), info)))
    });
    Ok(Some(told.collect()))
}

/// `GET /apps/{id}/channels`: which channels somebody hears.
pub(super) async fn channels(State(front): State<Arc<Front>>, Path(id): Path<String>, uri: Uri) -> Answer {
    let (app, signed) = signed(&front, &id, &Method::GET, &uri, &[])?;
    let prefix = signed.parameter("filter_by_prefix").unwrap_or_default();
    let info = signed.parameter("info").unwrap_or_default();
    if info.split(',').any(|word| word == USER_COUNT) && !prefix.starts_with("presence-") {
        return Err(Refusal::wrong(
            "info: user_count is known of presence channels; filter_by_prefix=presence-",
        ));
    }
    let views = front.app.pusher.rooms.channels(app.id, prefix);
    let told: Map<String, Value> = views
        .iter()
        .map(|view| (view.name.clone(), Value::Object(known(kind_of(view), Some(view), info))))
        .collect();
    Ok(Json(json!({ "channels": told })))
}

/// `GET /apps/{id}/channels/{name}`: whether somebody hears a channel.
pub(super) async fn channel(
    State(front): State<Arc<Front>>,
    Path((id, name)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (app, signed) = signed(&front, &id, &Method::GET, &uri, &[])?;
    let channel = Channel::parse(&name)?;
    let info = signed.parameter("info").unwrap_or_default();
    if info.split(',').any(|word| word == USER_COUNT) && channel.kind() != Kind::Presence {
        return Err(Refusal::wrong("info: user_count is known of presence channels only"));
    }
    let view = front.app.pusher.rooms.channel(app.id, &channel);
    let mut told = known(channel.kind(), view.as_ref(), info);
    told.insert("occupied".to_owned(), json!(view.is_some()));
    Ok(Json(Value::Object(told)))
}

/// `GET /apps/{id}/channels/{name}/users`: who is there.
pub(super) async fn users(
    State(front): State<Arc<Front>>,
    Path((id, name)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (app, _) = signed(&front, &id, &Method::GET, &uri, &[])?;
    let channel = Channel::parse(&name)?;
    if channel.kind() != Kind::Presence {
        return Err(Refusal::wrong("only presence channels have users"));
    }
    let members =
        front.app.pusher.rooms.channel(app.id, &channel).map(|view| view.members).unwrap_or_default();
    let users: Vec<Value> = members.into_iter().map(|id| json!({ "id": id })).collect();
    Ok(Json(json!({ "users": users })))
}

fn kind_of(view: &ChannelView) -> Kind {
    Channel::parse(&view.name).map_or(Kind::Public, |channel| channel.kind())
}

/// What is asked of a channel, as far as it is known.
fn known(kind: Kind, view: Option<&ChannelView>, info: &str) -> Map<String, Value> {
    let mut told = Map::new();
    for word in info.split(',').map(str::trim) {
        if word == USER_COUNT && kind == Kind::Presence {
            told.insert(word.to_owned(), json!(view.map_or(0, |view| view.members.len())));
        } else if word == SUBSCRIPTION_COUNT {
            told.insert(word.to_owned(), json!(view.map_or(0, |view| view.sockets)));
        }
    }
    told
}

/// The app whose secret signed this very request, lately.
fn signed(
    front: &Front,
    id: &str,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<(PusherApp, Signed), Refusal> {
    let path = signature::decoded(uri.path());
    let signed = signature::signed(method.as_str(), &path, uri.query().unwrap_or_default());
    let signed = signed.map_err(|error| Refusal::unsigned(error.0))?;
    let app = front.app.pusher.app(|app| app.key == signed.key && app.number.to_string() == id);
    let app = app.ok_or_else(|| Refusal::unsigned("there is no such app, or the key is that of another"))?;
    let now_s = front.app.now().0 / 1000;
    if now_s.saturating_sub(signed.at_s).saturating_abs() > CLOCKS_DIFFER_MAX.0 / 1000 {
        return Err(Refusal::unsigned(format!(
            "auth_timestamp: it is more than 600 s from the hub's clock, which says {now_s}"
        )));
    }
    // It compares in constant time.
    hmac::verify(&front.app.pusher_key(&app), signed.text.as_bytes(), &signed.signature).map_err(|_| {
        Refusal::unsigned("auth_signature: it is not what the secret of this app makes of this request")
    })?;
    let digest = signature::hex(&Md5::digest(body));
    match &signed.body_md5 {
        Some(said) if *said != digest => Err(Refusal::unsigned("body_md5: the body is another one")),
        None if !body.is_empty() => Err(Refusal::unsigned("body_md5 is missing in the query")),
        Some(_) | None => Ok((app, signed)),
    }
}
