//! Questions to other nodes about what only they have in memory, and orders about it, as JSON. What a node does not
//! answer in time is missing, and whoever asked says so.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use motehub_gateway::http;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Work;
use crate::api::{RetentionDto, Sessions};
use crate::app::App;
use crate::pusher::LetIn;

/// How long a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What one node asks another.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Which sessions of MQTT clients it has: a `Part`.
    Sessions(Sessions),
    /// One of them by its number: a `Connection`, or null.
    Session(u64),
    /// It ends the connection of one: whether there was one.
    Disconnect(u64),
    /// It forgets one: whether there was one.
    Forget(u64),
    /// How a flow is doing, by its id; null if it does not pass values. So with the next two.
    Flow(String),
    /// How the worker is doing that removes what is too old.
    Retention,
    /// What went wrong with rules.
    Troubles,
    /// What is behind an address at which devices fetch firmware: a `Lent`, or null.
    Lent(String),
    /// By which app a socket of the Pusher protocol is there: a `Found`, or null.
    Socket(String),
    /// One of its sockets may hear a channel: whether it has that socket.
    LetIn(LetIn),
}

/// What is behind an address, as it crosses nodes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lent {
    device: String,
    digest: String,
    size: usize,
}

impl Lent {
    fn of(lent: http::Lent) -> Self {
        Self { device: lent.device.to_string(), digest: lent.digest.to_string(), size: lent.size }
    }

    /// None if it is something else.
    pub(crate) fn read(self) -> Option<http::Lent> {
        let (device, digest) = (self.device.parse().ok()?, self.digest.parse().ok()?);
        Some(http::Lent { device, digest, size: self.size })
    }
}

impl App {
    /// What another node answers; none if it does not answer in time.
    pub(crate) async fn ask_node<A: DeserializeOwned>(&self, node: &str, question: &Question) -> Option<A> {
        let asked = serde_json::to_vec(question).ok()?;
        let answer = self.cluster.bus().request(&format!("node.{node}.ask"), asked, ANSWER_MAX).await;
        let answer = answer.map_err(|error| tracing::warn!(node, %error, "a node did not answer")).ok()?;
        let answer = serde_json::from_slice(&answer);
        answer.map_err(|error| tracing::warn!(node, %error, "the answer of a node is not understood")).ok()
    }

    /// What all other nodes answer that live, each with its name.
    pub(crate) async fn ask_others<A: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> Vec<(String, Option<A>)> {
        let asked = self.cluster.others().into_iter().map(async |node| {
            let answer = self.ask_node(&node, question).await;
            (node, answer)
        });
        join_all(asked).await
    }

    /// What the first other node answers that knows; none if none does in time.
    pub(crate) async fn ask_who_knows<A: DeserializeOwned>(&self, question: &Question) -> Option<A> {
        let asked = self.cluster.others().into_iter();
        let mut answers: FuturesUnordered<_> =
            asked.map(async |node| self.ask_node::<Option<A>>(&node, question).await).collect();
        while let Some(answer) = answers.next().await {
            if let Some(known) = answer.flatten() {
                return Some(known);
            }
        }
        None
    }

    /// What this node answers; null to what only the holder of a work knows, if that is another one.
    pub(crate) fn answer_node(&self, question: Question) -> Value {
        let holds = |work| self.cluster.holds(work);
        let mqtt = self.mqtt.get();
        match question {
            Question::Sessions(wanted) => json!(self.sessions_for_a_node(&wanted)),
            Question::Session(serial) => json!(self.session_here(serial).ok().flatten()),
            Question::Disconnect(serial) => json!(mqtt.is_some_and(|mqtt| mqtt.disconnect_session(serial))),
            Question::Forget(serial) => json!(mqtt.is_some_and(|mqtt| mqtt.remove_session(serial))),
            Question::Flow(flow) => match flow.parse() {
                Ok(flow) if holds(Work::Flows) => self.flows.doing(flow).said(),
                _ => Value::Null,
            },
            Question::Retention => {
                json!(holds(Work::Upkeep).then(|| RetentionDto::of(self.retention.status())))
            }
            Question::Troubles => json!(holds(Work::Rules).then(|| self.rules.troubles())),
            Question::Lent(name) => json!(self.lent.find(&name).map(Lent::of)),
            Question::Socket(socket) => json!(self.socket_here(&socket)),
            Question::LetIn(told) => json!(self.let_in_here(&told)),
        }
    }
}

/// Answers other nodes until shutdown.
pub(crate) async fn listen(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut asked = app.cluster.bus().subscribe(&format!("node.{}.ask", app.cluster.node())).await;
    loop {
        let message = tokio::select! {
            Some(message) = asked.next() => message,
            () = shutdown.cancelled() => return,
        };
        let Some(reply) = &message.reply else { continue };
        match serde_json::from_slice(&message.payload) {
            Ok(question) => {
                let answer = app.answer_node(question);
                app.cluster.bus().answer(reply, answer.to_string());
            }
            Err(error) => tracing::warn!(%error, "the question of another node is not understood"),
        }
    }
}
