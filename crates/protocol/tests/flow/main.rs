//! Generated code does on real interpreters what the hub does with the same steps.

mod differential;
mod golden;
mod graphs;
mod lua;
mod python;

use std::collections::BTreeSet;

use motehub_domain::flow::{self, Graph, StepId};
use motehub_domain::id::FlowId;
use serde_json::Value;

fn id(text: &str) -> StepId {
    StepId::parse(text).expect("an id")
}

fn ids(texts: &[&str]) -> BTreeSet<StepId> {
    texts.iter().map(|text| id(text)).collect()
}

fn read(document: &Value) -> Graph {
    flow::graph(document).unwrap_or_else(|rejection| panic!("{rejection}: {document}"))
}

fn flow_id(number: u128) -> FlowId {
    FlowId::from_parts(1_700_000_000_000, number)
}
