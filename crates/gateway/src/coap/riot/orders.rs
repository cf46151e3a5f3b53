//! What nodes are told: a value that is desired becomes a PUT, and so does a command with the name of a resource; a
//! command without arguments reads it. A node that does not answer in time has failed to do it.

use motehub_domain::id::CommandId;
use motehub_domain::message::{Downlink, Order, Outcome, Uplink};
use motehub_protocol::coap::{Failure, Method, Request, Response};
use motehub_protocol::riot;
use serde_json::Value;

use super::{About, Hands, Purpose, Riot, sentence};
use crate::coap::core::Wish;
use crate::hub::ConnectionId;

/// How long a node may take to answer.
const WAIT_MS: u64 = 20_000;

impl Riot {
    /// The hub has something for a node.
    pub(in crate::coap) fn say(
        &mut self,
        mut hands: Hands<'_>,
        connection: ConnectionId,
        downlink: &Downlink,
    ) {
        match downlink {
            Downlink::Command(order) => self.order(&mut hands, connection, order),
            Downlink::Delta(delta) if delta.shadow.is_none() => {
                for (name, value) in &delta.state {
                    self.desired(&mut hands, connection, name, value);
                }
            }
            // Nodes know nothing of these.
            Downlink::Delta(_)
            | Downlink::Credential(_)
            | Downlink::Offer(_)
            | Downlink::Cancel(_)
            | Downlink::Commit(_)
            | Downlink::Revert(_)
            | Downlink::Passed(_)
            | Downlink::Shadow(_) => {}
        }
    }

    fn desired(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, name: &str, value: &Value) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        // It says that already, and only writes it in another way.
        if node.values.says(name, value) {
            node.values.took(name, value);
            return self.report(hands, connection);
        }
        let is_same = |about: &About| match &about.purpose {
            Purpose::Write { name: other, value: asked, order: None } => {
                about.connection == connection && other == name && asked == value
            }
            Purpose::Write { .. }
            | Purpose::Ask { .. }
            | Purpose::Read { .. }
            | Purpose::Observed { .. }
            | Purpose::Links => false,
        };
        if hands.out.calls.values().any(is_same) {
            return;
        }
        let request = Request {
            payload: riot::said(value).into_bytes(),
            ..Request::new(Method::Put, &format!("/{name}"))
        };
        let purpose = Purpose::Write { name: name.to_owned(), value: value.clone(), order: None };
        self.ask(hands, connection, request, purpose, WAIT_MS);
    }

    fn order(&mut self, hands: &mut Hands<'_>, connection: ConnectionId, order: &Order) {
        let Some(node) = self.nodes.get_mut(&connection) else { return };
        if !node.orders.insert(order.id) {
            return;
        }
        let name = order.name.trim_start_matches('/').to_owned();
        let path = format!("/{name}");
        let wait = WAIT_MS.min(u64::try_from(order.ttl.0).unwrap_or(0));
        let (request, purpose) = match &order.arguments {
            Value::Null => (Request::new(Method::Get, &path), Purpose::Ask { name, order: order.id }),
            value => (
                Request { payload: riot::said(value).into_bytes(), ..Request::new(Method::Put, &path) },
                Purpose::Write { name, value: value.clone(), order: Some(order.id) },
            ),
        };
        self.ask(hands, connection, request, purpose, wait);
    }

    fn ask(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        request: Request,
        purpose: Purpose,
        wait_ms: u64,
    ) {
        let Some(node) = self.nodes.get(&connection) else { return };
        let asked = self.place(node).and_then(|place| {
            let asked = hands.endpoint.request(place, request, wait_ms, hands.now_ms);
            asked.map_err(|failure| failure.to_string())
        });
        let about = About { connection, purpose };
        match asked {
            Ok(call) => drop(hands.out.calls.insert(call, about)),
            Err(why) => self.failed(hands, about, why),
        }
    }

    /// A node answered something that it was asked, or did not.
    pub(in crate::coap) fn answered(
        &mut self,
        mut hands: Hands<'_>,
        about: About,
        outcome: Result<Response, Failure>,
    ) {
        let connection = about.connection;
        if let Some(why) = sentence(&outcome)
            && !matches!(about.purpose, Purpose::Links | Purpose::Read { .. } | Purpose::Observed { .. })
        {
            if outcome.is_err()
                && let Some(node) = self.nodes.get_mut(&connection)
            {
                node.is_owed = true;
            }
            return self.failed(&mut hands, about, why);
        }
        match about.purpose {
            Purpose::Links => self.listed(&mut hands, connection, outcome),
            Purpose::Read { name } => self.read(&mut hands, connection, &name, outcome),
            Purpose::Observed { name } => self.observed(&mut hands, connection, &name, outcome),
            Purpose::Ask { name, order } => {
                let Ok(response) = outcome else { return };
                let value = riot::value(&name, response.payload());
                let outcome = match value {
                    Ok(text) => {
                        let meaning = riot::meaning(&text);
                        drop(self.value(&mut hands, connection, &name, text, None));
                        Outcome::Done(Some(meaning))
                    }
                    Err(error) => Outcome::Failed(error.0),
                };
                self.reply(&mut hands, connection, order, outcome);
            }
            Purpose::Write { name, value, order } => {
                if let Some(node) = self.nodes.get_mut(&connection) {
                    node.values.took(&name, &value);
                }
                self.report(&mut hands, connection);
                if let (Some(order), Ok(response)) = (order, outcome) {
                    let text = riot::value(&name, response.payload()).unwrap_or_default();
                    let result = (!text.is_empty()).then(|| riot::meaning(&text));
                    self.reply(&mut hands, connection, order, Outcome::Done(result));
                }
            }
        }
    }

    fn failed(&mut self, hands: &mut Hands<'_>, about: About, why: String) {
        let Some(node) = self.nodes.get(&about.connection) else { return };
        match about.order() {
            Some(order) => self.reply(hands, about.connection, order, Outcome::Failed(why)),
            None => {
                let name = match about.purpose {
                    Purpose::Write { name, .. }
                    | Purpose::Ask { name, .. }
                    | Purpose::Read { name }
                    | Purpose::Observed { name } => name,
                    Purpose::Links => "its list of resources".to_owned(),
                };
                let why = format!("what is desired of {name} could not be set: {why}");
                hands.out.wishes.push_back(Wish::Refuse(node.device, why));
            }
        }
    }

    fn reply(
        &mut self,
        hands: &mut Hands<'_>,
        connection: ConnectionId,
        command: CommandId,
        outcome: Outcome,
    ) {
        if let Some(node) = self.nodes.get_mut(&connection) {
            node.orders.remove(&command);
            hands.out.say(node.device, Uplink::Reply { command, outcome }, None);
        }
    }
}
