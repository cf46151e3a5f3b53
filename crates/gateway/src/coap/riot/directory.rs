//! A resource directory (RFC 9176) for nodes that register instead of announcing themselves: a registration says which
//! node it is, for how long, and what it has. Only those that are let in can look others up.

use std::net::SocketAddr;

use motehub_protocol::coap::{Code, ExchangeId, Request, Response, format, link};
use motehub_protocol::riot;

use super::{Hands, Riot, SignOf, address};
use crate::coap::core::{Wish, unavailable};
use crate::hub::ConnectionId;

/// Where nodes register.
pub(in crate::coap) const DIRECTORY: &str = "rd";
/// The links of the directory itself.
pub(in crate::coap) const LINKS: &str = concat!(
    "</rd>;rt=\"core.rd\";ct=\"40\",",
    "</rd-lookup/res>;rt=\"core.rd-lookup-res\";ct=\"40\",",
    "</rd-lookup/ep>;rt=\"core.rd-lookup-ep\";ct=\"40\"",
);
/// How long a registration holds if it does not say it, in seconds.
const LIFETIME_S: u64 = 90_000;
/// The shortest and the longest that is taken, in seconds.
const LIFETIMES_S: std::ops::RangeInclusive<u64> = 60..=4_294_967_295;
/// Most links of one answer; `page` and `count` of the query lead on.
const FOUND_MAX: usize = 200;

impl Riot {
    /// `POST /rd?ep=NAME&lt=SECONDS` with a list of resources. Returns the answer if there is one already.
    pub(in crate::coap) fn register(
        &mut self,
        hands: Hands<'_>,
        exchange: ExchangeId,
        from: SocketAddr,
        request: &Request,
    ) -> Option<Response> {
        let Some(name) = argument(request, "ep") else {
            return Some(Response::text(Code::BAD_REQUEST, "say which node it is, such as ?ep=window"));
        };
        let uid = match riot::sign(format!("reset:{name}").as_bytes()) {
            Ok(sign) if !name.contains(':') => sign.uid.unwrap_or_default(),
            Ok(_) | Err(_) => {
                let sentence = "ep: 1 to 64 letters, digits or the signs - _ .";
                return Some(Response::text(Code::BAD_REQUEST, sentence));
            }
        };
        let lifetime_s = match argument(request, "lt").map(str::parse) {
            None => LIFETIME_S,
            Some(Ok(seconds)) if LIFETIMES_S.contains(&seconds) => seconds,
            Some(_) => return Some(Response::text(Code::BAD_REQUEST, "lt: 60 to 4294967295 seconds")),
        };
        if request.format.is_some_and(|format| format != format::LINKS) {
            return Some(Response::text(Code::UNSUPPORTED_FORMAT, "a registration is a list of links (40)"));
        }
        let list = String::from_utf8_lossy(&request.payload).into_owned();
        let location = vec![DIRECTORY.to_owned(), uid.clone()];
        let receipt = Response { location, ..Response::new(Code::CREATED) };
        let (lifetime_ms, list) = (Some(lifetime_s.saturating_mul(1_000)), Some(list));
        self.signed(hands, SignOf { exchange, from, uid, has_started: true, receipt, lifetime_ms, list })
    }

    /// `POST /rd/NAME`: it is still there. Returns the answer if there is one already.
    pub(in crate::coap) fn refresh(
        &mut self,
        hands: Hands<'_>,
        exchange: ExchangeId,
        from: SocketAddr,
        uid: &str,
    ) -> Option<Response> {
        let (uid, receipt) = (uid.to_owned(), Response::new(Code::CHANGED));
        let sign = SignOf { exchange, from, uid, has_started: false, receipt, lifetime_ms: None, list: None };
        match self.known(&sign) {
            Some(_) => self.signed(hands, sign),
            None => Some(no_registration()),
        }
    }

    /// `DELETE /rd/NAME`: it goes.
    pub(in crate::coap) fn unregister(
        &mut self,
        mut hands: Hands<'_>,
        from: SocketAddr,
        uid: &str,
    ) -> Response {
        let known = self.by_uid.get(uid).copied();
        let is_its = |connection: &ConnectionId| {
            self.nodes.get(connection).is_some_and(|node| address(node.place) == address(from))
        };
        match known.filter(is_its) {
            Some(connection) => {
                self.forget(&mut hands, connection);
                Response::new(Code::DELETED)
            }
            None => no_registration(),
        }
    }

    /// Somebody announced itself, in whichever way. Returns the answer if there is one already.
    pub(super) fn signed(&mut self, mut hands: Hands<'_>, sign: SignOf) -> Option<Response> {
        match self.known(&sign) {
            Some(connection) => self.heard(&mut hands, connection, sign),
            None if hands.out.may_knock() => hands.out.wishes.push_back(Wish::Admit(sign)),
            None => {
                hands.out.counters.dropped += 1;
                return Some(unavailable());
            }
        }
        None
    }

    /// `GET /rd-lookup/res` and `/rd-lookup/ep`, with filters such as `?ep=window&rt=light`.
    pub(in crate::coap) fn look_up(&self, from: SocketAddr, request: &Request) -> Response {
        if !self.by_address.contains_key(&address(from)) {
            return Response::text(Code::FORBIDDEN, "only nodes that are let in can look others up");
        }
        let is_nodes = request.path.last().is_some_and(|what| what == "ep");
        let number = |name: &str| argument(request, name).and_then(|text| text.parse::<usize>().ok());
        let count = number("count").unwrap_or(FOUND_MAX).min(FOUND_MAX);
        let skipped = number("page").unwrap_or(0).saturating_mul(count);
        let mut nodes: Vec<_> = self.nodes.values().collect();
        nodes.sort_by(|one, other| one.uid.cmp(&other.uid));
        let wanted: Vec<&String> = request
            .query
            .iter()
            .filter(|part| !part.starts_with("page=") && !part.starts_with("count="))
            .collect();
        let mut found = Vec::new();
        for node in nodes {
            let base = format!("coap://{}", node.place);
            let own = link::Link {
                target: format!("/{DIRECTORY}/{}", node.uid),
                attributes: vec![
                    ("ep".to_owned(), Some(node.uid.clone())),
                    ("base".to_owned(), Some(base.clone())),
                    ("rt".to_owned(), Some("core.rd-ep".to_owned())),
                ],
            };
            let fits = |link: &link::Link| wanted.iter().all(|filter| link.fits(filter) || own.fits(filter));
            if is_nodes {
                found.extend(Some(own.clone()).filter(fits));
            } else {
                let absolute = |link: &link::Link| link::Link {
                    target: format!("{base}{}", link.target),
                    attributes: link.attributes.clone(),
                };
                found.extend(node.links.iter().filter(|link| fits(link)).map(absolute));
            }
        }
        let page: Vec<link::Link> = found.into_iter().skip(skipped).take(count).collect();
        Response::with(Code::CONTENT, format::LINKS, link::write(&page).into_bytes())
    }
}

/// The value of an argument of the query.
fn argument<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn no_registration() -> Response {
    Response::text(Code::NOT_FOUND, "there is no such registration from this address: register anew, at /rd")
}
