//! What the resources of a node say: stored as measurements, and told to the shadow.

use std::net::SocketAddr;

use motehub_domain::message::Uplink;
use motehub_domain::telemetry::Metric;
use motehub_protocol::coap::{Code, ExchangeId, Response};
use motehub_protocol::riot;

use super::{Hands, Riot, address, receipt};
use crate::coap::core::{Wish, unavailable};
use crate::hub::ConnectionId;
use crate::nodes::{RESOURCES_MAX, Taken};

impl Riot {
    /// Something was posted to `/server`. Returns the answer if there is one already.
    pub(in crate::coap) fn posted(
        &mut self,
        mut hands: Hands<'_>,
        exchange: ExchangeId,
        from: SocketAddr,
        payload: &[u8],
    ) -> Option<Response> {
        let of_address = self.by_address.get(&address(from)).map(Vec::as_slice).unwrap_or_default();
        let at_port = |connection: &&ConnectionId| {
            self.nodes.get(*connection).is_some_and(|node| node.is_steady && node.place == from)
        };
        let speaker = match of_address {
            [one] => *one,
            several => match several.iter().filter(at_port).collect::<Vec<_>>()[..] {
                [one] => *one,
                _ => return Some(self.nobodys(&mut hands, from)),
            },
        };
        let device = self.nodes.get(&speaker)?.device;
        let (name, text) = match riot::posted(payload) {
            Ok(posted) => posted,
            Err(error) => {
                hands.out.wishes.push_back(Wish::Refuse(device, error.0.clone()));
                return Some(Response::text(Code::BAD_REQUEST, error.0));
            }
        };
        self.value(&mut hands, speaker, &name, text, Some((exchange, receipt(payload))))
    }

    /// A value from an address of no node, or of several that cannot be told apart.
    fn nobodys(&self, hands: &mut Hands<'_>, from: SocketAddr) -> Response {
        let of_address = self.by_address.get(&address(from)).map(Vec::as_slice).unwrap_or_default();
        if of_address.is_empty() {
            return Response::text(Code::FORBIDDEN, "announce the node first, at /alive");
        }
        hands.out.counters.ambiguous += 1;
        let why = format!(
            "a value came from {}, where {} nodes are, and from a port of none of them: it is taken for no node; \
             let each have an address or a port of its own",
            address(from),
            of_address.len()
        );
        for node in of_address.iter().filter_map(|connection| self.nodes.get(connection)) {
            hands.out.wishes.push_back(Wish::Refuse(node.device, why.clone()));
        }
        Response::text(
            Code::FORBIDDEN,
            "several nodes have this address: it cannot be told whose value this is",
        )
    }

    /// A resource of a node has a value. What was posted is answered when it is durable; returns the answer if it is
    /// so already, or refused.
    pub(super) fn value(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        name: &str,
        text: String,
        then: Option<(ExchangeId, Response)>,
    ) -> Option<Response> {
        let node = self.nodes.get_mut(&connection)?;
        let device = node.device;
        let unit = riot::quantity(&text).and_then(|(_, unit)| unit.map(str::to_owned));
        let Some(Taken { points, is_unit_new }) = node.values.take(name, text, then.is_some()) else {
            let why = format!("a node has at most {RESOURCES_MAX} resources");
            hands.out.wishes.push_back(Wish::Refuse(device, why.clone()));
            return Some(Response::text(Code::BAD_REQUEST, why));
        };
        if let (true, Some(unit), Ok(metric)) = (is_unit_new, unit, Metric::parse(name)) {
            hands.out.say(device, Uplink::Unit { metric, unit }, None);
        }
        let answer = if points.is_empty() {
            // Nothing new is said by it, and what it says was stored before.
            then.map(|(_, receipt)| receipt)
        } else {
            let is_answered = then.is_some();
            let is_taken = hands.out.say(device, Uplink::Telemetry(points), then);
            (!is_taken && is_answered).then(unavailable)
        };
        self.report(hands, connection);
        answer
    }

    /// Tells the shadow what is new, if that was not done a moment ago.
    pub(super) fn report(&mut self, hands: &mut Hands<'_>, connection: ConnectionId) {
        if let Some(node) = self.nodes.get_mut(&connection)
            && let Some(report) = node.values.take_report(hands.now_ms)
        {
            hands.out.say(node.device, report, None);
        }
        self.schedule(connection);
    }
}
