//! `motehub ctl metric`: what metrics are called, their units, and how long they are kept.

use clap::Subcommand;
use serde_json::{Map, Value};

use super::print::{cell, table};
use super::{Caller, Usage, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List metrics and entries; 0 days is for ever
    List {
        /// Only those whose names contain this text
        #[arg(long, value_name = "TEXT")]
        find: Option<String>,
    },
    /// Say something of a metric, or of all whose names fit: * stands for any text
    Set {
        /// Its name, such as temperature or 'temp*'
        metric: String,
        /// Such as °C; an empty text says nothing any more
        #[arg(long)]
        unit: Option<String>,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        /// How many digits behind the point are shown: 0 to 9
        #[arg(long)]
        decimals: Option<u8>,
        /// How many days its points are kept, 0 for ever
        #[arg(long, value_name = "DAYS")]
        keep_points: Option<u32>,
        /// How many days summaries of its minutes are kept, 0 for ever
        #[arg(long, value_name = "DAYS")]
        keep_minutes: Option<u32>,
        /// How many days summaries of its hours are kept, 0 for ever
        #[arg(long, value_name = "DAYS")]
        keep_hours: Option<u32>,
    },
    /// Remove what was said of a metric
    Reset {
        /// Its name as it was set
        metric: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List { find: part } => {
            let query = part.as_ref().map(|part| format!("&q={}", find::encode(part))).unwrap_or_default();
            let list = find::all(caller, "/metrics", &query)?;
            caller.show(&list, |list| metrics_table(list["items"].as_array().into_iter().flatten()))
        }
        Verb::Set { metric, unit, name, decimals, keep_points, keep_minutes, keep_hours } => {
            let mut edit = Map::new();
            for (key, text) in [("unit", unit), ("display_name", name)] {
                if let Some(text) = text {
                    let value = if text.is_empty() { Value::Null } else { Value::from(text.as_str()) };
                    edit.insert(key.to_owned(), value);
                }
            }
            let days =
                [("points_days", keep_points), ("minutes_days", keep_minutes), ("hours_days", keep_hours)];
            for (key, days) in days {
                edit.extend(days.map(|days| (key.to_owned(), Value::from(days))));
            }
            edit.extend(decimals.map(|decimals| ("decimals".to_owned(), Value::from(decimals))));
            if edit.is_empty() {
                let sentence =
                    "say what to set, such as --unit °C (`motehub ctl metric set --help` shows all)";
                return Err(Usage(sentence.to_owned()).into());
            }
            let path = format!("/metrics/{}", find::encode(metric));
            let edited = caller.api.call("PATCH", &path, Some(&Value::Object(edit)))?;
            caller.show(&edited, |edited| metrics_table(std::iter::once(edited)))
        }
        Verb::Reset { metric } => {
            caller.api.call("DELETE", &format!("/metrics/{}", find::encode(metric)), None)?;
            Ok(())
        }
    }
}

fn metrics_table<'v>(metrics: impl Iterator<Item = &'v Value>) -> String {
    let keys =
        ["name", "display_name", "unit", "decimals", "devices", "points_days", "minutes_days", "hours_days"];
    let rows: Vec<Vec<String>> = metrics.map(|metric| keys.map(|key| cell(&metric[key])).to_vec()).collect();
    table(&["METRIC", "CALLED", "UNIT", "DECIMALS", "DEVICES", "POINTS", "MINUTES", "HOURS"], &rows)
}
