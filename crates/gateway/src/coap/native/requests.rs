//! Requests of a device that is known.

use motehub_domain::shadow::{self, Deed, Shadow, ShadowName};
use motehub_protocol::coap::{Code, Method, Request, Response, format};
use motehub_protocol::native::said::parse_digest;
use motehub_protocol::{Encoding, Identity, Said, native, payload};
use serde_json::json;

use super::waiting::number;
use super::{Asked, HELD_MAX, Native, Observer};
use crate::coap::core::{Wish, unavailable};
use crate::coap::riot::Hands;
use crate::hub::{ConnectionId, UplinkError};

/// Kinds that a device is told.
fn told_kind(name: &str) -> Option<&'static str> {
    native::DOWNLINKS.into_iter().find(|kind| *kind == name)
}

impl Native {
    /// A request of a device that was let in. Returns the answer if there is one already.
    pub(super) fn serve(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        asked: Asked,
    ) -> Option<Response> {
        self.speaks_from(connection, asked.from, hands.now_ms);
        let speaker = self.speakers.get_mut(&connection)?;
        let device = speaker.identity.device;
        let answers = match asked.request.accept {
            Some(accepted) => match encoding(Some(accepted)) {
                Some(encoding) => encoding,
                // The bytes of an artifact are neither, nor is the list of resources.
                None if matches!(accepted, format::BYTES | format::LINKS) => Encoding::Json,
                None => {
                    return Some(Response::text(Code::NOT_ACCEPTABLE, "answers are JSON (50) or CBOR (60)"));
                }
            },
            None => Encoding::Json,
        };
        if asked.request.path.first().is_some_and(|first| first == ".well-known") {
            let links = links(&speaker.identity).into_bytes();
            return Some(Response::with(Code::CONTENT, format::LINKS, links));
        }
        let rest: Vec<&str> = asked.request.path.iter().skip(2).map(String::as_str).collect();
        match (asked.request.method, &rest[..]) {
            (Method::Get, ["shadow"]) => {
                let request = match shadow_wanted(&asked.request) {
                    Ok(request) => request,
                    Err(wrong) => return Some(wrong),
                };
                hands.out.wishes.push_back(Wish::Shadow(asked.exchange, device, request, answers));
                None
            }
            (Method::Get, ["artifacts", digest]) => match parse_digest(digest) {
                Some(digest) => {
                    hands.out.wishes.push_back(Wish::Part(asked.exchange, device, digest, asked.block));
                    None
                }
                None => Some(no_artifact()),
            },
            (Method::Get, [name]) => match told_kind(name) {
                Some(kind) => self.ask_for(hands, connection, asked, kind, answers),
                None if native::UPLINKS.contains(name) => Some(only("POST")),
                None => Some(no_resource()),
            },
            (Method::Post, [kind]) if native::UPLINKS.contains(kind) => {
                let kind = (*kind).to_owned();
                self.taken(hands, connection, &asked, &kind, answers)
            }
            (_, ["artifacts", _]) => Some(only("GET")),
            (_, [kind]) if told_kind(kind).is_some() => Some(only("GET")),
            (_, [kind]) if native::UPLINKS.contains(kind) => Some(only("POST")),
            _ => Some(no_resource()),
        }
    }

    /// What waits of a kind is asked for, and perhaps observed from now on.
    fn ask_for(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        asked: Asked,
        kind: &'static str,
        encoding: Encoding,
    ) -> Option<Response> {
        let speaker = self.speakers.get_mut(&connection)?;
        match &mut speaker.held {
            Some(held) if held.len() >= HELD_MAX => Some(unavailable()),
            Some(held) => {
                held.push((asked, kind, encoding));
                None
            }
            None => {
                // It begins to listen: what was lost on the way is said again.
                if asked.request.observe == Some(true) {
                    hands.out.wishes.push_back(Wish::Listen(speaker.identity.device));
                }
                self.told(hands, connection, &asked, kind, encoding);
                None
            }
        }
    }

    /// A device is told what waits of a kind.
    pub(super) fn told(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        asked: &Asked,
        kind: &'static str,
        encoding: Encoding,
    ) {
        let Some(speaker) = self.speakers.get_mut(&connection) else { return };
        let said = speaker.waiting.representation(kind, encoding, hands.now_ms);
        let observer = hands.endpoint.respond(asked.exchange, said, hands.now_ms);
        if let Some(id) = observer {
            speaker.observers.retain(|known| known.id != id);
            speaker.observers.push(Observer { id, kind, encoding });
            self.observers.insert(id, connection);
        }
    }

    /// A device says something. It is answered when that is durable.
    fn taken(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        asked: &Asked,
        kind: &str,
        answers: Encoding,
    ) -> Option<Response> {
        let speaker = self.speakers.get_mut(&connection)?;
        let device = speaker.identity.device;
        let Some(written) = encoding(asked.request.format) else {
            let sentence = "payloads are JSON (content format 50) or CBOR (60)";
            return Some(Response::text(Code::UNSUPPORTED_FORMAT, sentence));
        };
        let Some(said) = native::uplink(kind, written, &asked.request.payload) else {
            return Some(no_resource());
        };
        let Said { uplink, refused } = match said {
            Ok(said) => said,
            Err(error) => {
                hands.out.wishes.push_back(Wish::Refuse(device, error.0.clone()));
                return Some(Response::text(Code::BAD_REQUEST, error.0));
            }
        };
        let mut then = Response::new(Code::CHANGED);
        if let Some(why) = refused {
            let body = payload::encode(answers, &json!({ "refused": why }));
            then = Response::with(Code::CHANGED, number(answers), body);
            hands.out.wishes.push_back(Wish::Refuse(device, why));
        }
        let next = speaker.waiting.answered(&uplink);
        let is_taken = hands.out.say(device, uplink, Some((asked.exchange, then)));
        for kind in next {
            self.notify(hands, connection, kind);
        }
        (!is_taken).then(unavailable)
    }
}

/// By its number; what is not said is JSON, and text is taken for it.
fn encoding(number: Option<u16>) -> Option<Encoding> {
    match number {
        None | Some(format::JSON | format::TEXT) => Some(Encoding::Json),
        Some(format::CBOR) => Some(Encoding::Cbor),
        Some(_) => None,
    }
}

/// `?name=<name>` picks a named shadow.
fn shadow_wanted(request: &Request) -> Result<shadow::Request, Response> {
    let wrong = || Response::text(Code::BAD_REQUEST, "name: 1 to 64 letters, digits or - _ :");
    let shadow = match &request.query[..] {
        [] => None,
        [one] => {
            let name = one.strip_prefix("name=").and_then(ShadowName::parse);
            Some(name.ok_or_else(wrong)?)
        }
        _ => return Err(wrong()),
    };
    Ok(shadow::Request { shadow, deed: Deed::Get(None) })
}

/// How a shadow is answered; one that does not exist is empty and has the version 0.
pub(in crate::coap) fn document(
    identity: motehub_domain::id::DeviceId,
    request: shadow::Request,
    found: Result<Result<Shadow, shadow::Refusal>, UplinkError>,
    encoding: Encoding,
) -> Response {
    let Ok(found) = found else { return unavailable() };
    let shadow = found.unwrap_or_else(|_| Shadow::none(identity, request.shadow));
    let body = payload::encode(encoding, &native::document(&shadow));
    Response::with(Code::CONTENT, number(encoding), body)
}

/// The resources of a device, for `/.well-known/core`.
fn links(identity: &Identity) -> String {
    let prefix = format!("/devices/{}", identity.device);
    let told =
        native::DOWNLINKS.map(|kind| format!("<{prefix}/{kind}>;rt=\"motehub.{kind}\";obs;ct=\"50 60\""));
    let said = native::UPLINKS.map(|kind| format!("<{prefix}/{kind}>;rt=\"motehub.{kind}\""));
    [told.join(","), said.join(",")].join(",")
}

fn no_resource() -> Response {
    Response::text(Code::NOT_FOUND, "there is no such resource of a device")
}

/// For a digest that is not meant for the device.
pub(in crate::coap) fn no_artifact() -> Response {
    Response::text(Code::NOT_FOUND, "nothing with this digest is meant for this device")
}

fn only(method: &str) -> Response {
    Response::text(Code::METHOD_NOT_ALLOWED, format!("only {method} is known here"))
}
