//! `motehub ctl telemetry`, `activity` and `doctor`: what only looks.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Telemetry {
    /// Show the points of a device, oldest first
    Show {
        /// Its id, name or external id
        device: String,
        /// One metric [default: all]
        #[arg(long)]
        metric: Option<String>,
        /// From this time on: RFC 3339 or milliseconds since 1970
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Before this time
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// How many at most, the newest of the range
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
}

#[derive(Subcommand)]
pub(super) enum Activity {
    /// List the last changes, newest first
    List {
        /// How many at most: 1 to 1000
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

pub(super) fn telemetry(caller: &Caller, verb: &Telemetry) -> anyhow::Result<()> {
    let Telemetry::Show { device, metric, from, to, limit } = verb;
    let mut path = format!("/devices/{}/telemetry?limit={limit}", find::id(caller, "device", device)?);
    for (key, value) in [("metric", metric), ("from", from), ("to", to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", find::encode(value)));
        }
    }
    caller.show(&caller.get(&path)?, |list| {
        let rows = list["items"].as_array().into_iter().flatten();
        let rows = rows.map(|point| ["time", "metric", "value"].map(|key| cell(&point[key])).to_vec());
        table(&["TIME (MS)", "METRIC", "VALUE"], &rows.collect::<Vec<_>>())
    })
}

pub(super) fn activity(caller: &Caller, verb: &Activity) -> anyhow::Result<()> {
    let Activity::List { limit } = verb;
    caller.show(&caller.get(&format!("/activity?limit={limit}"))?, |list| {
        let rows = list["items"].as_array().into_iter().flatten().map(|change| {
            let actor = cell(&change["actor"]["name"]);
            let mut row = vec![cell(&change["time"]), actor];
            row.extend(["kind", "noun", "subject_name"].map(|key| cell(&change[key])));
            row
        });
        table(&["TIME", "BY", "WHAT", "NOUN", "NAME"], &rows.collect::<Vec<_>>())
    })
}

pub(super) fn doctor(caller: &Caller) -> anyhow::Result<()> {
    let me = caller.get("/me")?;
    let system = caller.get("/system")?;
    let devices = find::all(caller, "/devices", "")?;
    let is_failing = |device: &&Value| !device["problem"].is_null();
    let failing: Vec<&Value> = devices["items"].as_array().into_iter().flatten().filter(is_failing).collect();
    let found = json!({ "hub": caller.hub, "me": me, "system": system, "failing": failing });
    caller.show(&found, |found| {
        let mut text = format!(
            "hub     {} answers, version {}\ntoken   valid: {}, role {}\n",
            found["hub"].as_str().unwrap_or_default(),
            cell(&system["version"]),
            cell(&me["name"]),
            cell(&me["role"])
        );
        for weakness in system["weaknesses"].as_array().into_iter().flatten() {
            text.push_str(&format!("weak    {}\n", cell(&weakness["sentence"])));
        }
        for device in &failing {
            text.push_str(&format!("device  {}: {}\n", cell(&device["name"]), cell(&device["problem"])));
        }
        if failing.is_empty() {
            text.push_str("device  none has a problem\n");
        }
        text
    })
}
