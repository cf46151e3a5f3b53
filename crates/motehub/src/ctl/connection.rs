//! `motehub ctl connection`: who is connected by MQTT, and which sessions wait for clients that are away.

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List connections and sessions that wait, and what the broker holds
    List {
        /// A part of the client identifier, name or address
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Only clients that are connected
        #[arg(long, conflicts_with = "away")]
        connected: bool,
        /// Only sessions that wait for their clients
        #[arg(long)]
        away: bool,
        /// Only those of this node of the hub
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Show one session with its subscriptions
    Show {
        /// Its number or client identifier
        connection: String,
    },
    /// End a connection; the client may come back at once, and what waits for it stays
    Disconnect {
        /// Its number or client identifier
        connection: String,
    },
    /// Forget a session with all that waits for it
    Forget {
        /// Its number or client identifier
        connection: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List { search, connected, away, node } => {
            let mut query = String::new();
            if let Some(text) = search {
                query.push_str(&format!("&q={}", find::encode(text)));
            }
            if let Some(node) = node {
                query.push_str(&format!("&node={}", find::encode(node)));
            }
            for (is_wanted, state) in [(connected, "connected"), (away, "away")] {
                if *is_wanted {
                    query.push_str(&format!("&state={state}"));
                }
            }
            caller.show(&find::all(caller, "/connections", &query)?, connections)
        }
        Verb::Show { connection } => caller.show(&one(caller, connection)?, shown),
        Verb::Disconnect { connection } => {
            let found = one(caller, connection)?;
            caller.post(&format!("/connections/{}/disconnect", cell(&found["id"])), &json!({}))?;
            said(caller, "disconnected", &found)
        }
        Verb::Forget { connection } => {
            let found = one(caller, connection)?;
            caller.api.call("DELETE", &format!("/connections/{}", cell(&found["id"])), None)?;
            said(caller, "forgot", &found)
        }
    }
}

fn said(caller: &Caller, deed: &str, found: &Value) -> anyhow::Result<()> {
    match caller.json {
        true => Ok(()),
        false => out(&format!("{deed} {} ({})\n", cell(&found["client_id"]), cell(&found["name"]))),
    }
}

/// The one session with this number or client identifier.
fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    if let Ok(number) = text.parse::<u64>()
        && let Ok(found) = caller.get(&format!("/connections/{number}"))
    {
        return Ok(found);
    }
    let found = find::all(caller, "/connections", &format!("&q={}", find::encode(text)))?;
    let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fitting: Vec<&Value> = items.iter().filter(|item| item["client_id"] == text).collect();
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => bail!(
            "no session has this number or client identifier: {text:?}; `motehub ctl connection list` shows all"
        ),
        _ => {
            let numbers: Vec<String> = fitting
                .iter()
                .map(|item| format!("\n  {}  {}", cell(&item["id"]), cell(&item["name"])))
                .collect();
            bail!("{text:?} is the client identifier of several; use a number:{}", numbers.concat())
        }
    }
}

fn connections(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten().map(|item| {
        let state = if item["connected"] == true { "connected" } else { "away" };
        let mut row =
            vec![cell(&item["id"]), cell(&item["client_id"]), cell(&item["name"]), state.to_owned()];
        row.extend(
            ["node", "address", "transport", "version", "subscription_count"].map(|key| cell(&item[key])),
        );
        row.extend(["in_flight", "queued", "queued_bytes", "dropped"].map(|key| cell(&item[key])));
        row
    });
    let heading = [
        "ID", "CLIENT", "WHO", "STATE", "NODE", "ADDRESS", "OVER", "MQTT", "SUBS", "SENT", "QUEUED", "BYTES",
        "DROPPED",
    ];
    let silent = list["silent"].as_array().into_iter().flatten();
    let silent: String =
        silent.map(|node| format!("{} does not answer: its are missing\n", cell(node))).collect();
    table(&heading, &rows.collect::<Vec<_>>()) + &silent
}

fn shown(item: &Value) -> String {
    let keys = [
        "id",
        "client_id",
        "name",
        "kind",
        "connected",
        "node",
        "address",
        "transport",
        "version",
        "since",
        "keep_alive_seconds",
        "expiry_seconds",
        "ends_at",
        "in_flight",
        "queued",
        "queued_bytes",
        "dropped",
    ];
    let mut text: String = keys.iter().map(|key| format!("{key:<19} {}\n", cell(&item[key]))).collect();
    for subscription in item["subscriptions"].as_array().into_iter().flatten() {
        let (filter, qos) = (cell(&subscription["filter"]), cell(&subscription["qos"]));
        text.push_str(&format!("{:<19} {filter} (QoS {qos})\n", "subscribed to"));
    }
    text
}
