//! `motehub ctl device import`: many devices from one CSV table.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use super::Caller;
use super::print::{cell, out, table};
use crate::api::Refusal;

/// Largest table in bytes: the hub takes no larger one.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How many wrong rows are printed.
const PRINTED_MAX: usize = 50;

/// What is imported, and how.
#[derive(clap::Args)]
pub(super) struct Import {
    /// A CSV table with a header: name, dialect, external_id, tags, description, address
    file: PathBuf,
    /// Register nothing; say what would be
    #[arg(long)]
    dry_run: bool,
    /// Register the good rows even if others are wrong
    #[arg(long)]
    skip_wrong: bool,
    /// Where the credentials are written, readable by you only; they are shown only now
    #[arg(long, value_name = "OUT.csv")]
    credentials: Option<PathBuf>,
}

pub(super) fn run(caller: &Caller, import: &Import) -> anyhow::Result<()> {
    let text = read(&import.file)?;
    if import.dry_run {
        return caller
            .show(&post(caller, &text, "?dry_run=true")?, |report| told(report, "would be registered"));
    }
    let Some(path) = &import.credentials else {
        bail!("say with --credentials OUT.csv where the credentials go: they are shown only once");
    };
    // Made before anything is registered, so that no credential is lost for want of a place.
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("--credentials {}: making a new file", path.display()))?;
    let query = if import.skip_wrong { "?on_error=skip" } else { "" };
    let done = post(caller, &text, query);
    let report = match done {
        Ok(report) => report,
        Err(error) => {
            drop(std::fs::remove_file(path));
            if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 422) {
                out(&told(&post(caller, &text, "?dry_run=true")?, "are good"))?;
            }
            return Err(error);
        }
    };
    let credentials = report["credentials"].as_str().unwrap_or_default();
    file.write_all(credentials.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))?;
    caller.show(&without_credentials(report), |report| {
        format!("{}credentials in {}\n", told(report, "are registered"), path.display())
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let about = || format!("reading {}", path.display());
    let size = std::fs::metadata(path).with_context(about)?.len();
    if size > BYTES_MAX {
        bail!("{} has {size} bytes, and a table at most {BYTES_MAX}: split it", path.display());
    }
    std::fs::read(path).with_context(about)
}

fn post(caller: &Caller, text: &[u8], query: &str) -> anyhow::Result<Value> {
    caller.api.send("POST", &format!("/devices/import{query}"), "text/csv", text)
}

/// They are in the file, and nowhere else.
fn without_credentials(mut report: Value) -> Value {
    if let Some(fields) = report.as_object_mut() {
        fields.remove("credentials");
    }
    report
}

fn told(report: &Value, what: &str) -> String {
    let good = cell(&report["good"]);
    let mut text = format!("{good} of {} rows {what}\n", cell(&report["rows"]));
    let errors = report["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !errors.is_empty() {
        let row = |error: &Value| ["row", "field", "detail"].map(|key| cell(&error[key])).to_vec();
        let rows: Vec<Vec<String>> = errors.iter().take(PRINTED_MAX).map(row).collect();
        text.push_str(&table(&["ROW", "COLUMN", "WHAT IS WRONG"], &rows));
        let total = report["errors_total"].as_u64().unwrap_or(0);
        let more = total.saturating_sub(rows.len() as u64);
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
    }
    text
}
