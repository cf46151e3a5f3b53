//! How flows are doing: what passed along their wires, and what their steps could not do. The node that passes values
//! knows; of several nodes the others ask it.

use std::collections::BTreeMap;
use std::time::Duration;

use motehub_domain::flow::StepId;
use motehub_domain::id::FlowId;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cluster::Work;

/// The subject of the bus.
const SUBJECT: &str = "flows.doing";
/// How long the other node may take to answer: who asks is shown nothing then.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What passed along a wire since the hub started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// How many values were handed over.
    pub(crate) messages: u64,
    /// How many were not: the step runs nowhere, or its board is away.
    pub(crate) dropped: u64,
    /// The last one, and when.
    #[serde(with = "last")]
    pub(crate) last: Option<(Time, Value)>,
}

/// What a step could not do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// Why, the last time.
    pub(crate) message: String,
    /// How often.
    pub(crate) count: u64,
    /// When last.
    #[serde(with = "time")]
    pub(crate) at: Time,
}

/// How a flow is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Doing {
    /// By the steps at its ends.
    pub(crate) wires: BTreeMap<(StepId, StepId), Wire>,
    /// By step.
    pub(crate) errors: BTreeMap<StepId, Fault>,
}

/// The same as it crosses nodes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    wires: Vec<(String, String, Wire)>,
    errors: Vec<(String, Fault)>,
}

impl Doing {
    fn encode(&self) -> Vec<u8> {
        let wires =
            self.wires.iter().map(|((from, to), wire)| (from.to_string(), to.to_string(), wire.clone()));
        let errors = self.errors.iter().map(|(step, fault)| (step.to_string(), fault.clone()));
        let said = Said { wires: wires.collect(), errors: errors.collect() };
        serde_json::to_vec(&said).unwrap_or_default()
    }

    /// None if it is something else.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let Said { wires, errors } = serde_json::from_slice(bytes).ok()?;
        let step = |text: &str| StepId::parse(text).ok();
        let wires = wires.into_iter().map(|(from, to, wire)| Some(((step(&from)?, step(&to)?), wire)));
        let errors = errors.into_iter().map(|(at, fault)| Some((step(&at)?, fault)));
        Some(Self { wires: wires.collect::<Option<_>>()?, errors: errors.collect::<Option<_>>()? })
    }
}

impl App {
    /// How a flow is doing, at whatever node it runs.
    pub(crate) async fn flow_doing(&self, flow: FlowId) -> Doing {
        if self.cluster.holds(Work::Flows) {
            return self.flows.doing(flow);
        }
        match self.cluster.bus().request(SUBJECT, flow.to_string(), ANSWER_MAX).await {
            Ok(said) => Doing::decode(&said).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%flow, %error, "how a flow is doing is not known");
                Doing::default()
            }
        }
    }
}

/// Answers other nodes, until shutdown.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    if app.cluster.is_alone() {
        return;
    }
    let mut asked = app.cluster.bus().subscribe(SUBJECT).await;
    while let Some(Some(message)) = shutdown.run_until_cancelled(asked.next()).await {
        let flow = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
        if let (Some(flow), Some(reply), true) = (flow, &message.reply, app.cluster.holds(Work::Flows)) {
            app.cluster.bus().answer(reply, app.flows.doing(flow).encode());
        }
    }
}

mod time {
    use motehub_domain::time::Time;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        i64::deserialize(from).map(Time)
    }
}

mod last {
    use motehub_domain::time::Time;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(last: &Option<(Time, Value)>, to: S) -> Result<S::Ok, S::Error> {
        last.as_ref().map(|(at, value)| (at.0, value)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(Time, Value)>, D::Error> {
        let last = Option::<(i64, Value)>::deserialize(from)?;
        Ok(last.map(|(at, value)| (Time(at), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_flow_is_doing_comes_over_as_it_is() {
        let step = |text| StepId::parse(text).expect("it is one");
        let wire = Wire { messages: 7, dropped: 1, last: Some((Time(9), Value::from(21.5))) };
        let fault = Fault { message: "no".to_owned(), count: 2, at: Time(8) };
        let doing = Doing {
            wires: [((step("a"), step("b")), wire), ((step("b"), step("c")), Wire::default())].into(),
            errors: [(step("c"), fault)].into(),
        };
        assert_eq!(Doing::decode(&doing.encode()), Some(doing));
        assert_eq!(Doing::decode(b"{}"), None);
    }
}
