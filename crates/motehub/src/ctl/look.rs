//! `motehub ctl activity`: what was changed, and by whom.

use clap::Subcommand;
use serde_json::Value;

use super::Caller;
use super::live::{Live, News};
use super::print::{cell, out, table};

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
        News::Telemetry(_) | News::Log(_) => Ok(()),
    })
}
