//! `motehub ctl node`: the nodes of a hub, and what is wrong between them.

use clap::Subcommand;
use serde_json::Value;

use super::Caller;
use super::print::{cell, table};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the nodes of the hub: how much each has to do, and which work it does for all
    List,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let Verb::List = verb;
    caller.show(&caller.get("/nodes")?, |list| {
        let rows: Vec<_> = list["items"].as_array().into_iter().flatten().map(row).collect();
        let columns = ["NODE", "STATE", "VERSION", "CONNECTIONS", "MESSAGES/S", "LOAD", "LAG", "WORK"];
        let troubles = list["troubles"].as_array().into_iter().flatten();
        let troubles = troubles.map(|it| format!("{}: {}\n", cell(&it["code"]), cell(&it["why"])));
        table(&columns, &rows) + &troubles.collect::<String>()
    })
}

fn row(node: &Value) -> Vec<String> {
    let state = match (node["alive"] == true, node["draining"] == true) {
        (true, true) => "ends",
        (true, false) => "here",
        (false, _) => "gone",
    };
    let figures = &node["figures"];
    let work = node["work"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut row = vec![cell(&node["name"]), state.to_owned(), cell(&node["version"])];
    row.extend(
        ["connections", "messages_per_second", "load", "lag_changes"].map(|name| cell(&figures[name])),
    );
    row.push(work.collect::<Vec<_>>().join(" "));
    row
}
