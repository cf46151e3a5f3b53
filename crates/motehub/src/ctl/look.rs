//! `motehub ctl telemetry` and `activity`: what only looks.

use clap::Subcommand;
use serde_json::{Value, json};

use super::live::{Live, News};
use super::print::{cell, out, table};
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
    /// Print the points of devices as they arrive, until you end it; with --json one object a line
    Tail {
        /// Ids, names or external ids; 50 at most
        #[arg(required = true, num_args = 1..=50, value_name = "DEVICE")]
        devices: Vec<String>,
        /// One metric [default: all]
        #[arg(long)]
        metric: Option<String>,
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
    /// Print the last changes, then each as it happens, until you end it; with --json one object a line
    Tail {
        /// How many of the last ones: 0 to 1000
        #[arg(long, default_value_t = 10)]
        last: u32,
        /// All behind this change (`seq` in the JSON), instead of the last ones
        #[arg(long, value_name = "SEQ", conflicts_with = "last")]
        after: Option<i64>,
        /// Of these kinds only, such as device_online; may be given several times
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
    },
}

pub(super) fn telemetry(caller: &Caller, verb: &Telemetry) -> anyhow::Result<()> {
    let (device, metric, from, to, limit) = match verb {
        Telemetry::Show { device, metric, from, to, limit } => (device, metric, from, to, limit),
        Telemetry::Tail { devices, metric } => return follow(caller, devices, metric.as_deref()),
    };
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
    let limit = match verb {
        Activity::List { limit } => limit,
        Activity::Tail { last, after, kinds } => return tail(caller, *last, *after, kinds),
    };
    caller.show(&caller.get(&format!("/activity?limit={limit}"))?, |list| {
        let rows = list["items"].as_array().into_iter().flatten().map(row);
        table(&["TIME", "BY", "WHAT", "NOUN", "NAME"], &rows.collect::<Vec<_>>())
    })
}

fn follow(caller: &Caller, devices: &[String], metric: Option<&str>) -> anyhow::Result<()> {
    let found: anyhow::Result<Vec<Value>> =
        devices.iter().map(|text| find::one(caller, "device", text)).collect();
    let found = found?;
    let watch = found.iter().map(|device| cell(&device["id"])).collect();
    Live { watch, ..Live::default() }.follow(caller, &mut |news| match news {
        News::Change(_) => Ok(()),
        News::Telemetry(frame) => {
            for device in &found {
                let points = frame[cell(&device["id"])].as_array().into_iter().flatten();
                for point in points.filter(|point| metric.is_none_or(|metric| point[0] == metric)) {
                    point_line(caller, device, point)?;
                }
            }
            Ok(())
        }
    })
}

fn point_line(caller: &Caller, device: &Value, point: &Value) -> anyhow::Result<()> {
    let [metric, time, value] = [&point[0], &point[1], &point[2]];
    if caller.json {
        let line = json!({ "device": device["id"], "metric": metric, "time": time, "value": value });
        return out(&format!("{line}\n"));
    }
    let at = time.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| cell(time), |at| format!("{at:.3}"));
    out(&format!("{at}  {}  {}  {}\n", cell(&device["name"]), cell(metric), cell(value)))
}

fn row(change: &Value) -> Vec<String> {
    let mut row = vec![cell(&change["time"]), cell(&change["actor"]["name"])];
    row.extend(["kind", "noun", "subject_name"].map(|key| cell(&change[key])));
    row
}

fn tail(caller: &Caller, last: u32, after: Option<i64>, kinds: &[String]) -> anyhow::Result<()> {
    let print = |change: &Value| {
        if !kinds.is_empty() && !kinds.iter().any(|kind| change["kind"] == **kind) {
            return Ok(());
        }
        match caller.json {
            true => out(&format!("{change}\n")),
            false => out(&format!("{}\n", row(change).join("  "))),
        }
    };
    let after = match after {
        Some(after) => after,
        None => {
            // At least one is asked for: what is behind the newest is followed.
            let list = caller.get(&format!("/activity?limit={}", last.clamp(1, 1000)))?;
            let newest = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let shown = newest.get(..newest.len().min(last as usize)).unwrap_or_default();
            shown.iter().rev().try_for_each(print)?;
            newest.first().and_then(|change| change["seq"].as_i64()).unwrap_or(0)
        }
    };
    let live = Live { after: Some(after), ..Live::default() };
    live.follow(caller, &mut |news| match news {
        News::Change(change) => print(&change),
        News::Telemetry(_) => Ok(()),
    })
}
