//! `motehub ctl flow`: flows as documents in files, and where their steps run.

mod placement;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List flows
    List,
    /// Print a flow as a document, as `flow save` reads it
    Show {
        /// Its name or id
        flow: String,
        /// Which version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Save a document (JSON) as a new flow, or as a new version of the flow with that name; it does not run yet
    Save {
        /// The file
        file: PathBuf,
        /// The flow's name [default: that in the document, or the file's name without .json]
        #[arg(long)]
        name: Option<String>,
        /// What changed
        #[arg(long)]
        comment: Option<String>,
    },
    /// Place the steps on boards and give them their programs; an older version rolls back
    Deploy {
        /// Its name or id
        flow: String,
        /// Which version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Stop a flow; its boards are told
    Stop {
        /// Its name or id
        flow: String,
    },
    /// Show where each step runs and why, what boards carry, and what passes along the wires
    Placement {
        /// Its name or id
        flow: String,
        /// Show how the boards compare for this step instead
        #[arg(long)]
        step: Option<String>,
    },
    /// Show where the steps would run now, or if boards were gone; nothing is changed
    DryRun {
        /// Its name or id
        flow: String,
        /// Which version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
        /// A board that is supposed to be gone, by id, name or external id; may be given several times
        #[arg(long, value_name = "DEVICE")]
        without: Vec<String>,
        /// Show how the boards compare for this step instead
        #[arg(long)]
        step: Option<String>,
    },
    /// List what moved when, and because of what, newest first
    History {
        /// Its name or id
        flow: String,
        /// How many at most: 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Print the code that was generated for a board
    Program {
        /// The name or id of a flow on it
        flow: String,
        /// The board, by id, name or external id
        device: String,
    },
    /// Read flows that Node-RED exported (a JSON array of nodes), and print them as documents
    ImportNodeRed {
        /// The file
        file: PathBuf,
        /// Save them as new flows
        #[arg(long)]
        save: bool,
    },
    /// Stop a flow and delete it with its versions and its history
    Delete {
        /// Its name or id
        flow: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List => caller.show(&find::all(caller, "/flows", "")?, list),
        Verb::Show { flow, version } => show(caller, flow, *version),
        Verb::Save { file, name, comment } => save(caller, file, name.as_deref(), comment.as_deref()),
        Verb::Deploy { flow, version } => {
            let path = path(&one(caller, flow)?, "/deploy");
            caller.show(&caller.post(&path, &json!({ "version": version }))?, placement::shown)
        }
        Verb::Stop { flow } => {
            let flow = one(caller, flow)?;
            caller.post(&path(&flow, "/stop"), &json!({}))?;
            said(caller, "stopped", &flow)
        }
        Verb::Placement { flow, step } => {
            let found = caller.get(&path(&one(caller, flow)?, "/placement"))?;
            placement::show(caller, &found, step.as_deref())
        }
        Verb::DryRun { flow, version, without, step } => {
            let without: anyhow::Result<Vec<String>> =
                without.iter().map(|device| find::id(caller, "device", device)).collect();
            let trial = json!({ "version": version, "without": without? });
            let planned = caller.post(&path(&one(caller, flow)?, "/dry-run"), &trial)?;
            placement::show(caller, &planned, step.as_deref())
        }
        Verb::History { flow, limit } => {
            let path = path(&one(caller, flow)?, &format!("/placements?limit={limit}"));
            caller.show(&caller.get(&path)?, placement::history)
        }
        Verb::Program { flow, device } => {
            let device = find::id(caller, "device", device)?;
            let program = caller.get(&path(&one(caller, flow)?, &format!("/programs/{device}")))?;
            caller.show(&program, |it| it["source"].as_str().unwrap_or_default().to_owned())
        }
        Verb::ImportNodeRed { file, save } => import(caller, file, *save),
        Verb::Delete { flow } => {
            let flow = one(caller, flow)?;
            caller.api.call("DELETE", &path(&flow, ""), None)?;
            said(caller, "deleted", &flow)
        }
    }
}

fn path(flow: &Value, what: &str) -> String {
    format!("/flows/{}{what}", cell(&flow["id"]))
}

fn said(caller: &Caller, deed: &str, flow: &Value) -> anyhow::Result<()> {
    if caller.json { Ok(()) } else { out(&format!("{deed} {}\n", cell(&flow["name"]))) }
}

fn one(caller: &Caller, text: &str) -> anyhow::Result<Value> {
    match known(caller, text)? {
        Some(flow) => Ok(flow),
        None => bail!("no flow has the id or name {text:?}; `motehub ctl flow list` shows all"),
    }
}

fn known(caller: &Caller, text: &str) -> anyhow::Result<Option<Value>> {
    let all = find::all(caller, "/flows", "")?;
    let is_it =
        |flow: &&Value| flow["id"] == text || cell(&flow["name"]).to_lowercase() == text.to_lowercase();
    Ok(all["items"].as_array().into_iter().flatten().find(is_it).cloned())
}

fn list(all: &Value) -> String {
    let rows = all["items"].as_array().into_iter().flatten().map(|flow| {
        ["name", "state", "deployed", "latest_version", "devices", "unplaced", "updated_at", "id"]
            .map(|key| cell(&flow[key]))
            .to_vec()
    });
    let heading = ["NAME", "STATE", "RUNS VERSION", "NEWEST", "BOARDS", "WITHOUT PLACE", "UPDATED", "ID"];
    table(&heading, &rows.collect::<Vec<_>>())
}

/// The document of a version: what can be saved again.
fn show(caller: &Caller, flow: &str, version: Option<u32>) -> anyhow::Result<()> {
    let flow = one(caller, flow)?;
    let version = version.map_or_else(|| cell(&flow["latest_version"]), |number| number.to_string());
    let version = caller.get(&path(&flow, &format!("/versions/{version}")))?;
    let mut document = version["graph"].clone();
    document["name"] = flow["name"].clone();
    out(&format!("{document:#}\n"))
}

fn save(caller: &Caller, file: &Path, name: Option<&str>, comment: Option<&str>) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut document: Value = serde_json::from_slice(&text)
        .with_context(|| format!("nothing was saved: {} is not JSON", file.display()))?;
    let Some(fields) = document.as_object_mut() else {
        bail!("nothing was saved: {} is not an object with \"steps\" and \"wires\"", file.display());
    };
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let drawn = fields.get("name").and_then(Value::as_str).filter(|name| !name.trim().is_empty());
    let name = name.or(drawn).unwrap_or(&stem).to_owned();
    fields.insert("name".to_owned(), json!(name));
    if let Some(comment) = comment {
        fields.insert("comment".to_owned(), json!(comment));
    }
    let saved = match known(caller, &name)? {
        Some(flow) => caller.post(&path(&flow, "/versions"), &document)?,
        None => caller.post("/flows", &document)?,
    };
    caller.show(&saved, saved_line)
}

fn saved_line(flow: &Value) -> String {
    format!("{} version {}\n", cell(&flow["name"]), cell(&flow["latest_version"]))
}

fn import(caller: &Caller, file: &Path, save: bool) -> anyhow::Result<()> {
    let nodes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let path = if save { "/flows/import/node-red?save=true" } else { "/flows/import/node-red" };
    let read = caller.api.send("POST", path, "application/json", &nodes)?;
    if !caller.json {
        for warning in read["warnings"].as_array().into_iter().flatten() {
            eprintln!("node {}: {}", cell(&warning["node"]), cell(&warning["message"]));
        }
    }
    caller.show(&read, |read| match save {
        true => read["flows"].as_array().into_iter().flatten().map(saved_line).collect(),
        false => format!("{:#}\n", read["flows"]),
    })
}
