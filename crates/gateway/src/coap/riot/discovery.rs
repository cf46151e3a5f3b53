//! Finding out what a node has: its list of resources, then the value of each, one after the other.

use std::collections::VecDeque;

use motehub_domain::message::Uplink;
use motehub_protocol::coap::{Failure, Method, Request, Response, link};
use motehub_protocol::riot;

use super::node::Discovery;
use super::{About, Hands, Purpose, Riot, sentence};
use crate::coap::core::Wish;
use crate::hub::ConnectionId;
use crate::nodes::RESOURCES_MAX;

/// How long a node may take to answer.
const WAIT_MS: u64 = 30_000;

impl Riot {
    /// Asks a node which resources it has.
    pub(super) fn discover(&mut self, hands: &mut Hands<'_>, connection: ConnectionId) {
        let request = Request::new(Method::Get, "/.well-known/core");
        self.step(hands, connection, request, Purpose::Links, VecDeque::new());
    }

    /// A step of it: asks something, and notes what is asked after that.
    fn step(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        request: Request,
        purpose: Purpose,
        todo: VecDeque<Vec<String>>,
    ) {
        let Some(node) = self.nodes.get(&connection) else { return };
        let asked = self.place(node).and_then(|place| {
            let asked = hands.endpoint.request(place, request, WAIT_MS, hands.now_ms);
            asked.map_err(|failure| failure.to_string())
        });
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        match asked {
            Ok(call) => {
                hands.out.calls.insert(call, About { connection, purpose });
                node.discovery = Discovery::Running(todo);
            }
            Err(why) => {
                node.discovery = Discovery::Wanted;
                let why = format!("its resources could not be read: {why}");
                hands.out.wishes.push_back(Wish::Refuse(node.device, why));
            }
        }
    }

    /// A node said which resources it has, or did not.
    pub(super) fn listed(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        outcome: Result<Response, Failure>,
    ) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        if outcome.is_err() {
            let why = sentence(&outcome).unwrap_or_default();
            node.discovery = Discovery::Wanted;
            // Behind a router with one address it may only be reached where it speaks from.
            node.is_at_its_port = !node.is_at_its_port;
            let why = format!("its resources could not be read: {why}");
            return hands.out.wishes.push_back(Wish::Refuse(node.device, why));
        }
        let list = outcome.ok().filter(|response| response.code.is_success());
        let list = list.map(|response| String::from_utf8_lossy(response.payload()).into_owned());
        let (links, fault) = link::read(&list.unwrap_or_default());
        if let Some(fault) = fault {
            let why = format!("its list of resources: {}", fault.0);
            hands.out.wishes.push_back(Wish::Refuse(node.device, why));
        }
        let mut todo: Vec<Vec<String>> = links.iter().filter_map(link::Link::path).collect();
        todo.retain(|path| riot::is_name(&path.join("/")) && path.join("/") != ".well-known/core");
        todo.sort();
        todo.dedup();
        todo.truncate(RESOURCES_MAX);
        self.read_next(hands, connection, todo.into());
    }

    fn read_next(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        mut todo: VecDeque<Vec<String>>,
    ) {
        match todo.pop_front() {
            Some(path) => {
                let name = path.join("/");
                let request = Request { path, ..Request::new(Method::Get, "/") };
                self.step(hands, connection, request, Purpose::Read { name }, todo);
            }
            None => {
                let Some(node) = self.nodes.get_mut(&connection) else { return };
                node.discovery = Discovery::Done;
                if let Some(said) = node.values.introduction() {
                    hands.out.say(node.device, Uplink::Announced(Box::new(said)), None);
                }
                self.report(hands, connection);
            }
        }
    }

    /// A node said the value of a resource, or did not. A resource that it lists and does not have is left out.
    pub(super) fn read(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        name: &str,
        outcome: Result<Response, Failure>,
    ) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        let Discovery::Running(todo) = &mut node.discovery else { return };
        let todo = std::mem::take(todo);
        let device = node.device;
        match outcome {
            Ok(response) if response.code.is_success() => match riot::value(name, response.payload()) {
                Ok(text) => drop(self.value(hands, connection, name, text, None)),
                Err(error) => {
                    let why = format!("its resource {name}: {}", error.0);
                    hands.out.wishes.push_back(Wish::Refuse(device, why));
                }
            },
            Ok(_) => {}
            Err(_) => {
                // It is asked again when it announces itself the next time.
                node.discovery = Discovery::Wanted;
                return self.report(hands, connection);
            }
        }
        self.read_next(hands, connection, todo);
    }
}
