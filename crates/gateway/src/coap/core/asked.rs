//! What peers ask, and who answers it.

use motehub_protocol::coap::{Code, Method, Response, format, link};
use motehub_protocol::riot::{ALIVE, SERVER};

use super::{Core, unavailable};
use crate::coap::dtls::{Proven, SessionId};
use crate::coap::native::{Asked, Native};
use crate::coap::riot::{DIRECTORY, Hands, LINKS};
use crate::hub::Credentials;

impl Core {
    pub(super) fn asked(&mut self, asked: Asked, now_ms: u64) {
        let exchange = asked.exchange;
        let answer = match self.sessions {
            Some(_) => self.asked_by_session(asked, now_ms),
            None => self.asked_by_anybody(asked, now_ms),
        };
        if let Some(answer) = answer {
            self.out.counters.refused += u64::from(!answer.code.is_success());
            self.endpoint.respond(exchange, answer, now_ms);
        }
    }

    /// Who asks has proven who it is.
    fn asked_by_session(&mut self, asked: Asked, now_ms: u64) -> Option<Response> {
        let is_list = asked.request.path_text() == LIST && asked.request.method == Method::Get;
        if !is_list && !Native::is_meant(&asked.request) {
            return Some(nothing());
        }
        let proven = SessionId::of(asked.from)
            .and_then(|session| self.sessions.as_ref().and_then(|sessions| sessions.proven(session)));
        let Some(Proven { identity, key, place }) = proven else { return Some(unavailable()) };
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        self.native.asked(hands, asked, Some((Credentials::Psk { identity, key }, place)))
    }

    fn asked_by_anybody(&mut self, asked: Asked, now_ms: u64) -> Option<Response> {
        let path = asked.request.path_text();
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        match (asked.request.method, path.as_str()) {
            (Method::Post, ALIVE) => {
                self.riot.alive(hands, asked.exchange, asked.from, &asked.request.payload)
            }
            (Method::Post, SERVER) => {
                self.riot.posted(hands, asked.exchange, asked.from, &asked.request.payload)
            }
            (_, ALIVE | SERVER) => Some(Response::text(Code::METHOD_NOT_ALLOWED, "only POST is known here")),
            (Method::Get, LIST) => Some(own_links(&asked.request.query)),
            _ if asked.request.path.first().is_some_and(|first| first.starts_with(DIRECTORY)) => {
                self.asked_of_directory(&asked, now_ms)
            }
            _ if Native::is_meant(&asked.request) => self.native.asked(hands, asked, None),
            _ => Some(nothing()),
        }
    }
}

impl Core {
    fn asked_of_directory(&mut self, asked: &Asked, now_ms: u64) -> Option<Response> {
        let Asked { exchange, from, request, .. } = asked;
        let hands = Hands { endpoint: &mut self.endpoint, out: &mut self.out, now_ms };
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method, &path[..]) {
            (Method::Post, [DIRECTORY]) => self.riot.register(hands, *exchange, *from, request),
            (Method::Post, [DIRECTORY, uid]) => self.riot.refresh(hands, *exchange, *from, uid),
            (Method::Delete, [DIRECTORY, uid]) => Some(self.riot.unregister(hands, *from, uid)),
            (Method::Get, ["rd-lookup", "res" | "ep"]) => Some(self.riot.look_up(*from, request)),
            (_, [DIRECTORY | "rd-lookup", ..]) => {
                Some(Response::text(Code::METHOD_NOT_ALLOWED, "the directory does not know this"))
            }
            _ => Some(nothing()),
        }
    }
}

/// What is here, as far as it fits a filter.
fn own_links(filters: &[String]) -> Response {
    let all = format!("<{ALIVE}>;rt=\"pyaiot.alive\",<{SERVER}>;rt=\"pyaiot.server\",{LINKS}");
    let (mut links, _) = link::read(&all);
    links.retain(|link| filters.iter().all(|filter| link.fits(filter)));
    Response::with(Code::CONTENT, format::LINKS, link::write(&links).into_bytes())
}

/// Where a list of resources is (RFC 6690).
const LIST: &str = "/.well-known/core";

fn nothing() -> Response {
    Response::text(Code::NOT_FOUND, "there is no such resource")
}
