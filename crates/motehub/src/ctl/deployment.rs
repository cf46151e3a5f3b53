//! `motehub ctl deployment`.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{cell, out, table};
use super::{Caller, find};

/// How long `--wait` rests between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Deploy a script or a firmware, such as `deployment start climate --selector 'tag=kitchen' --wait`
    #[command(group(clap::ArgGroup::new("where").required(true).args(["selector", "devices"])))]
    Start {
        /// The script's name or id
        #[arg(required_unless_present = "firmware", conflicts_with = "firmware")]
        script: Option<String>,
        /// The id of a firmware, instead of a script
        #[arg(long, value_name = "ID", conflicts_with = "version")]
        firmware: Option<String>,
        /// Which version of the script [default: the newest]
        #[arg(long)]
        version: Option<u32>,
        /// The devices for which this is true, such as `tag=kitchen and online`
        #[arg(long, value_name = "TEXT")]
        selector: Option<String>,
        /// A device by id, name or external id; may be given several times
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<String>,
        /// Show progress until all tasks ended; fails if any task did
        #[arg(long)]
        wait: bool,
        /// How long to wait at most
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait_max: u64,
    },
    /// List deployments, newest first
    List,
    /// Show a deployment with its tasks
    Show {
        /// Its id
        id: String,
    },
    /// End the tasks that have not ended
    Cancel {
        /// Its id
        id: String,
    },
    /// Begin the tasks that failed again
    Retry {
        /// Its id
        id: String,
    },
    /// Give the devices back what they ran before
    Rollback {
        /// Its id
        id: String,
    },
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    let path = |id: &str, verb: &str| format!("/deployments/{}{verb}", find::encode(id));
    match verb {
        Verb::Start { script, firmware, version, selector, devices, wait, wait_max } => {
            let script = script.as_ref().map(|script| find::id(caller, "script", script)).transpose()?;
            let mut new = json!({ "script": script, "version": version, "firmware": firmware });
            match selector {
                Some(selector) => new["selector"] = json!(selector),
                None => {
                    let ids: anyhow::Result<Vec<String>> =
                        devices.iter().map(|device| find::id(caller, "device", device)).collect();
                    new["devices"] = json!(ids?);
                }
            }
            let begun = caller.post("/deployments", &new)?;
            if !wait {
                return caller.show(&begun, begun_line);
            }
            eprint!("{}", begun_line(&begun));
            until_ended(caller, &path(&cell(&begun["id"]), ""), Duration::from_secs(*wait_max))
        }
        Verb::List => caller.show(&find::all(caller, "/deployments", "")?, |list| {
            let rows = list["items"].as_array().into_iter().flatten().map(|it| {
                let keys = ["title", "state", "total", "created_by", "created_at", "id"];
                keys.map(|key| cell(&it[key])).to_vec()
            });
            table(&["TITLE", "STATE", "DEVICES", "BY", "BEGUN", "ID"], &rows.collect::<Vec<_>>())
        }),
        Verb::Show { id } => caller.show(&caller.get(&path(id, ""))?, tasks),
        Verb::Cancel { id } => {
            caller.post(&path(id, "/cancel"), &json!({}))?;
            if caller.json { Ok(()) } else { out("cancelled\n") }
        }
        Verb::Retry { id } => caller.show(&caller.post(&path(id, "/retry"), &json!({}))?, |retried| {
            format!("{} tasks begun again\n", cell(&retried["tasks"]))
        }),
        Verb::Rollback { id } => caller.show(&caller.post(&path(id, "/rollback"), &json!({}))?, begun_line),
    }
}

fn begun_line(begun: &Value) -> String {
    format!("deployment {} on {} devices\n", cell(&begun["id"]), cell(&begun["total"]))
}

fn tasks(deployment: &Value) -> String {
    let rows = deployment["tasks"].as_array().into_iter().flatten().map(|task| {
        ["device_name", "state", "version", "updated_at", "reason"].map(|key| cell(&task[key])).to_vec()
    });
    let title = format!("{}: {}\n\n", cell(&deployment["title"]), cell(&deployment["state"]));
    title + &table(&["DEVICE", "STATE", "VERSION", "CHANGED", "REASON"], &rows.collect::<Vec<_>>())
}

fn until_ended(caller: &Caller, path: &str, wait_max: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut said = String::new();
    loop {
        let now = caller.get(path)?;
        let counts = now["counts"].as_object().cloned().unwrap_or_default();
        let parts = counts.iter().filter(|(_, count)| **count != 0);
        let progress = parts.map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
        if progress != said {
            eprintln!("{progress}");
            said = progress;
        }
        if now["state"] != "Running" {
            caller.show(&now, tasks)?;
            let is_bad = |(state, count): (&String, &Value)| *count != 0 && state != "Done";
            if now["state"] != "Done" || counts.iter().any(is_bad) {
                bail!("the deployment did not succeed everywhere: {}", cell(&now["state"]));
            }
            return Ok(());
        }
        if start.elapsed() >= wait_max {
            bail!("still running after {} s; it goes on at the hub", wait_max.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
