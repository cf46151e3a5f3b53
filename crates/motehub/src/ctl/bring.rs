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
    /// What the dashboard of IoT base keeps, of both schemas: units, devices, their history, the blocks of its page
    IotBase {
        /// A dump of MySQL or MariaDB, or the tables as CSV with the names of their columns
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Change nothing; say what would be made, and what is wrong
        #[arg(long)]
        dry_run: bool,
        /// Import the good rows even if others are wrong
        #[arg(long)]
        skip_wrong: bool,
        /// How many minutes the times in the files are ahead of UTC
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        offset_minutes: i32,
    },
}

/// A file, or several as one, and how it is imported.
struct Import<'a> {
    path: &'a str,
    kind: &'a str,
    bytes: Vec<u8>,
    /// Further parts of the query, each with `&` in front.
    more: String,
    is_dry: bool,
    skips: bool,
    /// Its report for people.
    told: fn(&Value, &str) -> String,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let import = match verb {
        Verb::Mdash { file, dry_run, skip_wrong } => Import {
            path: "/import/mdash",
            kind: "application/json",
            bytes: read(std::slice::from_ref(file))?,
            more: String::new(),
            is_dry: *dry_run,
            skips: *skip_wrong,
            told: of_mdash,
        },
        Verb::IotBase { files, dry_run, skip_wrong, offset_minutes } => Import {
            path: "/import/iot-base",
            kind: "text/plain",
            bytes: read(files)?,
            more: format!("&offset_minutes={offset_minutes}"),
            is_dry: *dry_run,
            skips: *skip_wrong,
            told: of_iot_base,
        },
    };
    import.run(caller)
}

impl Import<'_> {
    fn post(&self, caller: &Caller, query: &str) -> anyhow::Result<Value> {
        let path = format!("{}?{query}{}", self.path, self.more);
        caller.api.send("POST", &path, self.kind, &self.bytes)
    }

    fn run(&self, caller: &Caller) -> anyhow::Result<()> {
        if self.is_dry {
            let report = self.post(caller, "dry_run=true")?;
            return caller.show(&report, |report| (self.told)(report, "would be made"));
        }
        match self.post(caller, if self.skips { "on_error=skip" } else { "on_error=stop" }) {
            Ok(report) => caller.show(&report, |report| (self.told)(report, "are made")),
            Err(error) => {
                if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 422) {
                    out(&(self.told)(&self.post(caller, "dry_run=true")?, "are good"))?;
                }
                Err(error)
            }
        }
    }
}

/// The files one behind the other.
fn read(files: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in files {
        let about = || format!("reading {}", file.display());
        let size = std::fs::metadata(file).with_context(about)?.len();
        if all.len() as u64 + size > BYTES_MAX {
            bail!(
                "with {} there are more than {BYTES_MAX} bytes, which is all that the hub takes",
                file.display()
            );
        }
        let bytes = std::fs::read(file).with_context(about)?;
        if !all.is_empty() {
            all.push(b'\n');
        }
        all.extend_from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
    }
    Ok(all)
}

fn of_mdash(report: &Value, what: &str) -> String {
    let made = |noun: &str| format!("{} {noun}", cell(&report["made"][noun]));
    let counts = ["users", "keys", "devices", "shadows", "shares"].map(made).join(", ");
    let (known, left_out) = (cell(&report["known"]), cell(&report["left_out"]));
    let entries = entries(report);
    format!("{counts} {what}; {known} are here already, {left_out} are left out\n{entries}")
}

fn of_iot_base(report: &Value, what: &str) -> String {
    let made = |noun: &str| format!("{} {noun}", cell(&report["made"][noun]));
    let counts = ["devices", "dashboards"].map(made).join(", ");
    let (points, known) = (cell(&report["points"]), cell(&report["known"]));
    let entries = entries(report);
    format!("{counts} {what}, with a history of {points} points; {known} are here already\n{entries}")
}

fn entries(report: &Value) -> String {
    let good = rows(report, "entries", &["KIND", "NAME", "OUTCOME", "AS WHAT"]);
    good + &rows(report, "errors", &["KIND", "NAME", "WHAT IS WRONG"])
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
