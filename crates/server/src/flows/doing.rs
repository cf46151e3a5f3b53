//! How flows are doing: what passed along their wires, and what their steps could not do. The node that passes values
//! knows; of several nodes the others ask it.

use std::collections::BTreeMap;

use motehub_domain::flow::StepId;
use motehub_domain::id::FlowId;
use motehub_domain::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::cluster::Work;
use crate::cluster::ask::Question;

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
    #[serde(with = "crate::clock::as_number")]
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
    /// For another node.
    pub(crate) fn said(&self) -> Value {
        let wires =
            self.wires.iter().map(|((from, to), wire)| (from.to_string(), to.to_string(), wire.clone()));
        let errors = self.errors.iter().map(|(step, fault)| (step.to_string(), fault.clone()));
        serde_json::json!(Said { wires: wires.collect(), errors: errors.collect() })
    }

    /// From another node; none if it is something else.
    fn of(said: Said) -> Option<Self> {
        let Said { wires, errors } = said;
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
        let said = self.ask_who_knows(&Question::Flow(flow.to_string())).await;
        said.and_then(Doing::of).unwrap_or_default()
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
        let said = serde_json::from_value(doing.said()).expect("it can be read");
        assert_eq!(Doing::of(said), Some(doing));
    }
}
