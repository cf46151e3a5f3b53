//! Finding out what a node has: its list of resources, then the value of each, one after the other.

use std::collections::VecDeque;

use motehub_domain::message::Uplink;
use motehub_protocol::coap::{CallId, Failure, Method, Request, Response, link};
use motehub_protocol::riot;

use super::node::{Discovery, Resource};
use super::{About, Hands, Purpose, Riot, sentence};
use crate::coap::core::Wish;
use crate::hub::ConnectionId;
use crate::nodes::RESOURCES_MAX;

/// Most resources of one node that are observed; the others are read once.
const OBSERVED_MAX: usize = 8;
/// How long a node may take to answer.
const WAIT_MS: u64 = 30_000;

impl Riot {
    /// Asks a node which resources it has.
    pub(super) fn discover(&mut self, hands: &mut Hands<'_>, connection: ConnectionId) {
        let request = Request::new(Method::Get, "/.well-known/core");
        self.step(hands, connection, request, Purpose::Links, VecDeque::new());
    }

    /// What is observed of a node is not any more: it is asked for anew.
    fn forget_observed(hands: &mut Hands<'_>, connection: ConnectionId) {
        let is_old = |about: &About| {
            about.connection == connection && matches!(about.purpose, Purpose::Observed { .. })
        };
        let old: Vec<CallId> =
            hands.out.calls.iter().filter(|(_, about)| is_old(about)).map(|(call, _)| *call).collect();
        for call in old {
            hands.endpoint.cancel(call);
            hands.out.calls.remove(&call);
        }
    }

    /// A step of it: asks something, and notes what is asked after that.
    fn step(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        request: Request,
        purpose: Purpose,
        todo: VecDeque<Resource>,
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
        self.take_list(hands, connection, &list.unwrap_or_default());
    }

    /// The list of resources of a node, from wherever.
    pub(super) fn take_list(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, list: &str) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        Self::forget_observed(hands, connection);
        let (mut links, fault) = link::read(list);
        if let Some(fault) = fault {
            let why = format!("its list of resources: {}", fault.0);
            hands.out.wishes.push_back(Wish::Refuse(node.device, why));
        }
        let is_name = |path: &Vec<String>| {
            let name = path.join("/");
            riot::is_name(&name) && name != ".well-known/core"
        };
        let resource = |link: &link::Link| {
            let is_observable = link.attributes.iter().any(|(name, _)| name == "obs");
            Some(Resource { path: link.path().filter(is_name)?, is_observable })
        };
        let mut todo: Vec<Resource> = links.iter().filter_map(resource).collect();
        todo.sort();
        todo.dedup_by(|one, other| one.path == other.path);
        todo.truncate(RESOURCES_MAX);
        let observable = todo.iter_mut().filter(|resource| resource.is_observable);
        observable.skip(OBSERVED_MAX).for_each(|resource| resource.is_observable = false);
        links
            .retain(|link| link.path().is_some_and(|path| todo.iter().any(|resource| resource.path == path)));
        node.links = links;
        self.read_next(hands, connection, todo.into());
    }

    fn read_next(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, mut todo: VecDeque<Resource>) {
        match todo.pop_front() {
            Some(Resource { path, is_observable }) => {
                let name = path.join("/");
                let observe = is_observable.then_some(true);
                let request = Request { path, observe, ..Request::new(Method::Get, "/") };
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

    /// A resource that is observed has a new value, or is observed no more: then the node is asked for all of them when
    /// it announces itself the next time.
    pub(super) fn observed(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        name: &str,
        outcome: Result<Response, Failure>,
    ) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        let device = node.device;
        match outcome {
            Ok(response) if response.code.is_success() => match riot::value(name, response.payload()) {
                Ok(text) => drop(self.value(hands, connection, name, text, None)),
                Err(error) => {
                    let why = format!("its resource {name}: {}", error.0);
                    hands.out.wishes.push_back(Wish::Refuse(device, why));
                }
            },
            Ok(_) | Err(_) => {
                if matches!(node.discovery, Discovery::Done) {
                    node.discovery = Discovery::Wanted;
                }
            }
        }
    }
}
