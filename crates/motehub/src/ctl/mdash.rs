//! `motehub ctl import`: everything that another product keeps.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::Value;

use super::Caller;
use super::print::{cell, out, table};
use crate::api::Refusal;

/// Largest file in bytes: the hub takes no larger one.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How many entries are printed.
const PRINTED_MAX: usize = 200;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// The db.json of mDash: users, API keys, devices with their tokens and shadows, who sees which; what is here stays
    Mdash {
        /// The file
        file: PathBuf,
        /// Change nothing; say what would be made, and what is wrong
        #[arg(long)]
        dry_run: bool,
        /// Import the good entries even if others are wrong
        #[arg(long)]
        skip_wrong: bool,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let Verb::Mdash { file, dry_run, skip_wrong } = verb;
    let about = || format!("reading {}", file.display());
    let size = std::fs::metadata(file).with_context(about)?.len();
    if size > BYTES_MAX {
        bail!("{} has {size} bytes, and a db.json at most {BYTES_MAX}", file.display());
    }
    let bytes = std::fs::read(file).with_context(about)?;
    let post =
        |query: &str| caller.api.send("POST", &format!("/import/mdash{query}"), "application/json", &bytes);
    if *dry_run {
        return caller.show(&post("?dry_run=true")?, |report| told(report, "would be made"));
    }
    match post(if *skip_wrong { "?on_error=skip" } else { "" }) {
        Ok(report) => caller.show(&report, |report| told(report, "are made")),
        Err(error) => {
            if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 422) {
                out(&told(&post("?dry_run=true")?, "are good"))?;
            }
            Err(error)
        }
    }
}

fn told(report: &Value, what: &str) -> String {
    let made = |noun: &str| format!("{} {noun}", cell(&report["made"][noun]));
    let counts = ["users", "keys", "devices", "shadows", "shares"].map(made).join(", ");
    let (known, left_out) = (cell(&report["known"]), cell(&report["left_out"]));
    let mut text = format!("{counts} {what}; {known} are here already, {left_out} are left out\n");
    text.push_str(&rows(report, "entries", &["KIND", "NAME", "OUTCOME", "AS WHAT"]));
    text.push_str(&rows(report, "errors", &["KIND", "NAME", "WHAT IS WRONG"]));
    text
}

fn rows(report: &Value, part: &str, heading: &[&str]) -> String {
    let entries = report[part].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let keys = ["kind", "name", "outcome", "detail"].into_iter();
    let keys: Vec<&str> = keys.filter(|key| entries[0].get(*key).is_some()).collect();
    let row = |entry: &Value| keys.iter().map(|key| cell(&entry[*key])).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = entries.iter().take(PRINTED_MAX).map(row).collect();
    let total = report[format!("{part}_total")].as_u64().unwrap_or(0);
    let more = total.saturating_sub(rows.len() as u64);
    let rest = if more > 0 { format!("and {more} more\n") } else { String::new() };
    format!("\n{}{rest}", table(heading, &rows))
}
